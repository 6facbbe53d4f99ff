"""One HTTP exchange as values: what is sent, under which timeouts, and what came of it.

The transport decides nothing. It gives an `Exchange` when the body was handed to the sink whole, and a `Failure`
(`holdfast.types`) otherwise, created from the phase in which the exchange broke.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from holdfast.providers.http import Head, HttpRequest
from holdfast.types import Failure, Timeouts

__all__ = ["Exchange", "Head", "HttpRequest", "NotSent", "Piece", "Sink", "Timeouts", "Timings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Seconds since the exchange began at which its phases ended."""

    connected_s: float
    """The request began to be written."""
    sent_s: float | None
    """The last byte of the request was handed over; None when the answer came before that."""
    head_s: float
    first_byte_s: float | None
    """First byte of the document, leading white space not counted; None when the body held none."""
    body_s: float
    """Last byte handed to the sink."""
    admission_s: float
    """Spent waiting for memory and for the sink: our own time, none of the upstream's."""
    body_bytes: int
    """Bytes of the body, as decoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """An answer whose body was read to its end and handed to the sink."""

    head: Head
    timings: Timings
    cut: Failure | None = None
    """How the body of an error answer broke off. Its status still tells what happened, so it is no failure."""


class NotSent(Exception):
    """A mistake of ours, told by its cause, ended an exchange before one byte of it was handed to the socket."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(type(cause).__name__)
        self.cause = cause


Piece = bytes | bytearray | memoryview


class Sink(Protocol):
    """Where the body goes, in pieces, as it comes. Called in a worker thread, one call at a time."""

    def feed(self, pieces: list[Piece]) -> bool:
        """Take the next pieces; True says that the document is complete and that nothing more is needed.

        Their memory is used again as soon as this returns: what is to be kept, is copied.

        A `WireError` ends the exchange as `malformed`; any other exception comes out of `exchange` unchanged.
        """

    def rest(self) -> None:
        """Let go of what costs something while nothing comes, such as an open file; `feed` goes on where it was.

        Called on the loop, never while `feed` runs. Most have nothing of that kind.
        """
        return

    def close(self) -> None:
        """Drop what was kept, unless it is whole: the exchange ended without an `Exchange`.

        Its time may have run out while the last piece was being taken.
        """
