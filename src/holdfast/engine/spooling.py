"""Between a body that comes and the spool: what a worker thread of the transport does with each piece.

It knows no attempt, no store and no loop: pieces go in, and what was made of them is read when the exchange has ended.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast import faults
from holdfast.store.spool import PartialReady, Spooled, SpoolWriter
from holdfast.transport.exchange import Piece, Sink
from holdfast.wire.scan import WireError


class SpoolSink(Sink):
    """Hands the pieces of a body to the spool, in the transport's worker thread."""

    def __init__(self, writer: SpoolWriter, on_partial: Callable[[PartialReady], None]) -> None:
        self.writer = writer
        self._on_partial = on_partial
        self.outcome: Spooled | WireError | None = None
        """What `end` made of the body; None before."""
        self.kept: Spooled | None = None
        """Images that were whole when the exchange broke."""

    def feed(self, pieces: list[Piece]) -> bool:
        """Decode, write, hash; previews are announced as they are finished."""
        faults.point_sync("receive.before_pieces")
        for partial in self.writer.feed(pieces):
            self._on_partial(partial)
        faults.point_sync("receive.after_pieces")
        if self.writer.complete:
            # While this thread has it: that saves a hop to the loop and back.
            self.end()
        return self.writer.complete

    def end(self) -> None:
        """Say that the body has ended, and make what was received durable; runs in a thread."""
        if self.outcome is None:
            try:
                self.outcome = self.writer.finish()
            except WireError as exc:
                self.outcome = exc

    def rest(self) -> None:
        """Keep no file open while nothing comes."""
        self.writer.rest()

    def close(self) -> None:
        """Drop what is not whole: the exchange broke.

        A whole answer stays, and a whole image of one that is not: they are paid for. If the process ends before they
        are settled, the next start takes them in.
        """
        if not self.is_whole:
            self.kept = self.writer.discard()

    @property
    def is_whole(self) -> bool:
        """Whether the whole answer is durable, whatever became of its exchange."""
        return isinstance(self.outcome, Spooled)
