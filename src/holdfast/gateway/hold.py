"""Holding a caller: silence first, then 200 and a byte every few seconds, until its generation ends.

Silence costs nothing and keeps the true status free; the first beat spends it. See http-contract §1 and
docs/discussions/why-heartbeats.md for why a line feed is the only beat that every client and every SDK accepts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from holdfast.gateway.beats import BeatWheel, Ticket
from holdfast.gateway.call import Call, Headers
from holdfast.policy.heartbeats import Schedule

BEAT = b"\n"
FILLING_BEAT = BEAT * 4_096
"""For HTTP/1.0: a proxy that speaks it to us may stand behind another one that does, which holds an answer back until a
buffer of 4 KiB is full (nginx before nginx, both as they come). Source: lab/matrix, `nginx-nginx-stock`."""


class Hold:
    """One caller waiting for one generation.

    It owns no task and no timer of its own: the shared wheel ticks it, the connection's loss and the generation's end
    wake it. What it costs is this object and one future.
    """

    __slots__ = (
        "_beat",
        "_call",
        "_head",
        "_is_paused",
        "_schedule",
        "_ticket",
        "_wake",
        "_wheel",
        "_woken",
        "committed",
        "left",
        "on_commit",
    )

    def __init__(
        self,
        call: Call,
        wheel: BeatWheel,
        schedule: Schedule,
        *,
        head: Callable[[], Headers],
        on_commit: Callable[[], None] | None = None,
    ) -> None:
        self._call = call
        self._beat = FILLING_BEAT if call.http_version == "1.0" else BEAT
        self._wheel = wheel
        self._schedule = schedule
        self._head = head
        self._ticket: Ticket | None = None
        self._wake: asyncio.Future[None] | None = None
        self._woken = False
        self._is_paused = False
        self.committed = False
        """Whether 200 is out: from then on a failure can no longer be told by its status."""
        self.left = False
        """Whether the caller's connection is gone."""
        self.on_commit = on_commit

    @property
    def stays_silent(self) -> bool:
        """Whether the caller asked for its true status, whatever the wait (`Prefer: heartbeat=0`)."""
        return self._schedule.first_beat_s is None

    def __enter__(self) -> Hold:
        call = self._call
        loop = asyncio.get_running_loop()
        call.protocol.on_lost = self._on_lost
        self.left = call.has_left
        if self._schedule.first_beat_s is not None:
            # The silence is counted from the head of the request: that is when the caller's idle timers began.
            waited_s = loop.time() - call.received_at
            self._ticket = self._wheel.add(max(0.0, self._schedule.first_beat_s - waited_s), self._tick)
        return self

    def __exit__(self, *_: object) -> None:
        self._call.protocol.on_lost = None
        self.quiet()

    def quiet(self) -> None:
        """Stop beating: the answer itself is about to flow."""
        if self._ticket is not None:
            self._ticket.cancel()
            self._ticket = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Send no beat meanwhile: something else is being written, in pieces."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    def wake(self) -> None:
        """Let `sleep` return: something happened to the generation."""
        self._woken = True
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def sleep(self) -> None:
        """Wait until `wake` is called or the caller leaves."""
        if not self._woken and not self.left:
            self._wake = asyncio.get_running_loop().create_future()
            try:
                await self._wake
            finally:
                self._wake = None
        self._woken = False

    def commit(self) -> None:
        """Spend the status: 200 and the first beat, in one segment."""
        if not self.committed and self._call.start_now(self._head(), self._beat):
            self.committed = True
            if self.on_commit is not None:
                self.on_commit()

    def beat_now(self) -> None:
        """Beat ahead of time: the answer to whether somebody is still there is what comes back, or does not."""
        if self._ticket is not None and not self._is_paused:
            self._tick()

    @property
    def is_there(self) -> bool:
        """Whether the caller is known to be there: all that it was sent, its kernel has taken.

        One that may be sent nothing before its answer is believed to be.
        """
        if self.left or self.stays_silent:
            return not self.left
        unacknowledged = self._call.protocol.unacknowledged_bytes()
        if unacknowledged is None:
            # A half-closed connection is not read any more: nobody else tells that it was reset.
            self._on_lost()
        return unacknowledged == 0

    def _tick(self) -> float | None:
        if self._is_paused:
            return self._schedule.beat_s
        if self.committed:
            self._call.write_now(self._beat)
        else:
            self.commit()
        return None if self.left else self._schedule.beat_s

    def _on_lost(self) -> None:
        self.left = True
        self.quiet()
        self.wake()
