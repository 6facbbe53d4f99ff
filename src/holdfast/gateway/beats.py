"""One timer for all heartbeats.

Thousands of `call_later` handles cost memory and a heap; one tick over all of them stalls the loop (9,000 beats take
100-137 ms). So due times are gathered in slots of 50 ms, and each slot is served in its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from holdfast.log import emit

SLOT_S = 0.05
_NEVER = 1 << 62


class Ticket:
    """A place in the wheel; `cancel` lets go of the callback at once, the slot is emptied when it comes round."""

    __slots__ = ("tick",)

    def __init__(self, tick: Callable[[], float | None]) -> None:
        self.tick: Callable[[], float | None] | None = tick
        """Called when due; returns seconds until the next time, or None to leave the wheel."""

    def cancel(self) -> None:
        """Leave the wheel."""
        self.tick = None


class BeatWheel:
    """Calls tickets when they are due, within one slot, never early."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, list[Ticket]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next_slot = _NEVER
        """For which the timer is set."""
        self.ticks = 0
        """Callbacks made, for tests and metrics."""

    def __repr__(self) -> str:
        waiting = sum(len(slot) for slot in self._slots.values())
        return f"<BeatWheel {waiting} waiting in {len(self._slots)} slots, {self.ticks} ticks>"

    def add(self, after_s: float, tick: Callable[[], float | None]) -> Ticket:
        """Call `tick` in `after_s` seconds, and again as it says."""
        ticket = Ticket(tick)
        self._place(after_s, ticket)
        return ticket

    def _place(self, after_s: float, ticket: Ticket) -> None:
        slot = int((self._loop.time() + after_s) / SLOT_S) + 1
        self._slots.setdefault(slot, []).append(ticket)
        if slot < self._next_slot:
            self._schedule(slot)

    def _schedule(self, slot: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next_slot = slot
        self._timer = self._loop.call_at(slot * SLOT_S, self._turn)

    def _turn(self) -> None:
        self._timer = None
        self._next_slot = _NEVER
        now_slot = int(self._loop.time() / SLOT_S + 1e-6)
        for slot in sorted(slot for slot in self._slots if slot <= now_slot):
            for ticket in self._slots.pop(slot):
                again_s = self._call(ticket)
                if again_s is not None and ticket.tick is not None:
                    self._place(again_s, ticket)
        # `_place` has set the timer for the earliest of the new places; those who waited before may be due earlier.
        first = min(self._slots, default=_NEVER)
        if first < self._next_slot:
            self._schedule(first)

    def _call(self, ticket: Ticket) -> float | None:
        if ticket.tick is None:
            return None
        self.ticks += 1
        try:
            return ticket.tick()
        except Exception as exc:  # noqa: BLE001 - one caller's fault must not silence all the others of its slot
            emit("fault.internal", level="error", exc=exc)
            ticket.cancel()
            return None
