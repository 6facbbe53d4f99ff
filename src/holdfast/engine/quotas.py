"""How much of each key is being made, and was accepted in the last minute: what its limits are held against.

Kept in memory, for keys that ask: a restart forgets a minute, and counts what it takes up again as open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.clock import Clock
from holdfast.engine.core import Live
from holdfast.errors import RequestError
from holdfast.policy.access import NO_LIMITS, Limits, Window, too_many

WINDOWS_MAX = 10_000
"""Keys whose last minute is remembered; beyond, those that were idle for it are let go of first."""


class Lives(dict[str, Live]):
    """The generations that this process drives, by id, counted by key."""

    def __init__(self) -> None:
        super().__init__()
        self.of_key: Counter[str] = Counter()

    def __setitem__(self, id_: str, live: Live) -> None:
        """Add one; an id may be driven again, by another `Live` of the same key."""
        if id_ not in self:
            self.of_key[live.key_id] += 1
        super().__setitem__(id_, live)

    def __delitem__(self, id_: str) -> None:
        """Let go of one."""
        key_id = self[id_].key_id
        super().__delitem__(id_)
        _count_down(self.of_key, key_id)


class Quotas:
    """Holds keys to their limits."""

    def __init__(self, lives: Lives, clock: Clock) -> None:
        self._lives = lives
        self._clock = clock
        self._arriving: Counter[str] = Counter()
        self._windows: dict[str, Window] = {}

    def __repr__(self) -> str:
        return f"<Quotas: {self._arriving.total()} arrive, {len(self._windows)} keys with a rate>"

    def refusal(self, key_id: str, limits: Limits) -> RequestError | None:
        """Say what stands against another generation of a key; None when it is taken."""
        if limits == NO_LIMITS:
            return None
        return too_many(
            limits,
            self._windows.get(key_id),
            open_=self._lives.of_key[key_id],
            arriving=self._arriving[key_id],
            now_s=self._clock.monotonic(),
        )

    @contextmanager
    def arriving(self, key_id: str) -> Iterator[None]:
        """Count one that is being accepted: a hundred may ask at one instant."""
        self._arriving[key_id] += 1
        try:
            yield
        finally:
            _count_down(self._arriving, key_id)

    def accepted(self, key_id: str, limits: Limits) -> None:
        """Note that one was accepted; until it is driven, in the same step, it counts as arriving."""
        if limits.rate_per_min is None:
            return
        now_s = self._clock.monotonic()
        window = self._windows.get(key_id)
        if window is None:
            self._make_room(now_s)
            window = self._windows[key_id] = Window()
        window.take(now_s)

    @contextmanager
    def passing(self, key_id: str, limits: Limits) -> Iterator[None]:
        """Count a call that is passed through, and so is no generation, as one of the key's.

        Raises:
            RequestError: 429 `rate_limited` or `concurrency_limited`.
        """
        refusal = self.refusal(key_id, limits)
        if refusal is not None:
            raise refusal
        self.accepted(key_id, limits)
        self._lives.of_key[key_id] += 1
        try:
            yield
        finally:
            _count_down(self._lives.of_key, key_id)

    def _make_room(self, now_s: float) -> None:
        if len(self._windows) < WINDOWS_MAX:
            return
        self._windows = {key: each for key, each in self._windows.items() if not each.is_idle(now_s)}
        while len(self._windows) >= WINDOWS_MAX:
            # All of them are busy: the oldest begins anew.
            del self._windows[next(iter(self._windows))]


def _count_down(counts: Counter[str], key_id: str) -> None:
    counts[key_id] -= 1
    if not counts[key_id]:
        del counts[key_id]
