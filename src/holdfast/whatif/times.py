"""What the gateway learns while it is played, of how long images take: `engine.latencies`, by the agenda's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from holdfast.config import Settings
from holdfast.engine.latencies import Latencies
from holdfast.policy.deadlines import attempt_timeout_s, generation_s
from holdfast.policy.learning import Expectation
from holdfast.types import Tier
from holdfast.whatif.agenda import Agenda

LOOK_S = 10.0
"""For so long what was learnt is not looked at again. The gateway looks every second; of 500 microseconds a look."""
DAY = datetime(2026, 1, 17, tzinfo=UTC)
"""Any day will do: hours of the day are all that counts."""


class _Clock:
    """The agenda's time. Nothing else is asked of it."""

    def __init__(self, agenda: Agenda, start_s: float) -> None:
        self._agenda = agenda
        self._start = DAY + timedelta(seconds=start_s)

    def monotonic(self) -> float:
        """Seconds since the agenda began."""
        return self._agenda.now

    def now(self) -> datetime:
        """The time of day that the scenario says."""
        return self._start + timedelta(seconds=self._agenda.now)

    def random(self) -> float:
        """Never asked for: luck is the seed's."""
        raise AssertionError("what is learnt is not left to chance")

    def token(self, bytes_: int) -> bytes:
        """Never asked for."""
        raise AssertionError("what is learnt has no secrets")

    def new_id(self, prefix: str) -> str:
        """Never asked for."""
        raise AssertionError("what is learnt has no ids")


class Times(NamedTuple):
    """What holds for one upstream, model and size at the moment."""

    attempt_s: float
    """How long an attempt is awaited."""
    expected_s: float
    """The median."""
    known: Expectation
    """All that is known."""


class Learning:
    """All of it."""

    def __init__(self, settings: Settings, agenda: Agenda, *, start_s: float) -> None:
        """Begin with what is published.

        Args:
            settings: `[latency]` and `[deadlines]` count.
            agenda: Virtual time.
            start_s: Time of day, UTC, at which it begins.
        """
        self._agenda = agenda
        self._deadlines = settings.deadlines
        self._latencies = Latencies(settings.latency, _Clock(agenda, start_s))
        self._known: dict[tuple[str, str, Tier], tuple[float, Times]] = {}
        self._granted: dict[tuple[str, Tier], tuple[float, float]] = {}

    def of(self, upstream: str, model: str, tier: Tier) -> Times:
        """Say what holds for a call now.

        Args:
            upstream: Its name.
            model: The public one whose entry it is.
            tier: Size asked for.
        """
        key = upstream, model, tier
        known = self._known.get(key)
        if known is not None and self._agenda.now < known[0]:
            return known[1]
        p99_s = self._latencies.attempt_p99_s(upstream=upstream, model=model, tier=tier)
        expected = self._latencies.expect(upstream=upstream, model=model, tier=tier)
        times = Times(
            attempt_s=attempt_timeout_s(tier, self._deadlines, p99_s=p99_s),
            expected_s=expected.expected_s,
            known=expected,
        )
        self._known[key] = self._agenda.now + LOOK_S, times
        return times

    def generation_s(self, model: str, tier: Tier) -> float:
        """Say how long a generation that is accepted now is given.

        Args:
            model: The public one.
            tier: Size asked for.
        """
        known = self._granted.get((model, tier))
        if known is not None and self._agenda.now < known[0]:
            return known[1]
        slowness = self._latencies.slowness(model=model, tier=tier)
        granted_s = generation_s(tier, self._deadlines, slowness=slowness)
        self._granted[model, tier] = self._agenda.now + LOOK_S, granted_s
        return granted_s

    def came(self, upstream: str, model: str, tier: Tier, seconds: float) -> None:
        """Note that an image took so long."""
        self._latencies.learn(upstream=upstream, model=model, tier=tier, seconds=seconds)

    def was_cut(self, upstream: str, model: str, tier: Tier, seconds: float) -> None:
        """Note that one was not there after so long, and was waited for no longer."""
        self._latencies.gave_up(upstream=upstream, model=model, tier=tier, seconds=seconds)
