"""How upstreams and keys stand in this process: noted as attempts end, told to the lines and to the log.

`policy.standings` is the rule. Here its changes are carried out: a key that rests gets no place in line, and an
upstream whose circuit is open none with any key; each transition is one line of the log, with the key's number, never
the key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from holdfast.clock import Clock
from holdfast.config import RetrySettings
from holdfast.engine.course import Course, Target
from holdfast.engine.queue import Queue, Ticket
from holdfast.engine.renewal import by_name, kept_of
from holdfast.log import emit
from holdfast.policy.credentials import RETIRED, KeyPolicy
from holdfast.policy.health import HealthPolicy
from holdfast.policy.mishaps import CLAIM_LOST
from holdfast.policy.retry_budget import RetryBudget
from holdfast.policy.routing import Choice, choose
from holdfast.policy.standings import Change, Standings
from holdfast.types import Failure


class _Full:
    """The upstreams where a part would have to stand in line; asked only for those that a choice comes to."""

    __slots__ = ("_queue",)

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def __contains__(self, upstream: object) -> bool:
        assert isinstance(upstream, str)
        return self._queue.free(upstream) == 0


def standings_of(targets: Mapping[str, Sequence[Target]], settings: RetrySettings) -> Standings:
    """Begin with everything well; several routes may lead to one upstream."""
    keys = {name: len(target.keys) for name, target in by_name(targets).items()}
    key_policy, health_policy, budget = rules_of(settings)
    return Standings(keys, key_policy=key_policy, health_policy=health_policy, budget=budget)


def rules_of(settings: RetrySettings) -> tuple[KeyPolicy, HealthPolicy, RetryBudget]:
    """Say by which rules keys and upstreams rest, and what each upstream's repeats begin with."""
    key_policy = KeyPolicy(
        eject_after=settings.eject_after,
        eject_s=settings.eject_s,
        eject_s_max=settings.eject_s_max,
        cool_s_first=settings.backoff_s_first,
        cool_s_max=settings.backoff_s_max,
    )
    budget = RetryBudget.full(share=settings.budget_share, burst=settings.budget_burst)
    return key_policy, HealthPolicy(fail_after=settings.eject_after), budget


class Upstreams:
    """All upstreams of this process."""

    def __init__(
        self, targets: Mapping[str, Sequence[Target]], settings: RetrySettings, queue: Queue, clock: Clock
    ) -> None:
        self.standings = standings_of(targets, settings)
        self._targets = by_name(targets)
        self._queue = queue
        self._clock = clock
        self._full = _Full(queue)
        self._rests: dict[tuple[str, int], float] = {}
        """What the lines were told, by upstream and key."""

    def __repr__(self) -> str:
        return repr(self.standings)

    def follow(
        self, targets: Mapping[str, Sequence[Target]], before: Mapping[str, Sequence[Target]], settings: RetrySettings
    ) -> None:
        """Take over other settings, after the queue has; what they still have stands as it stood."""
        key_policy, health_policy, budget = rules_of(settings)
        self.standings.follow(
            kept_of(targets, before),
            now=self._clock.monotonic(),
            key_policy=key_policy,
            health_policy=health_policy,
            budget=budget,
        )
        self._targets = by_name(targets)
        self._rests = {of: until for of, until in self._rests.items() if of[0] in self._targets}
        for name in self._targets:
            self._tell_line(name)

    def choose(self, course: Course, avoided: Mapping[int, float], *, patience_s: float = 0.0) -> Choice:
        """Choose where a part is sent, or when."""
        return choose(
            course.entries,
            self.standings.ready,
            now=self._clock.monotonic(),
            sample=self._clock.random() if len(course.entries) > 1 else 0.0,
            avoided=avoided,
            full=self._full,
            patience_s=patience_s,
        )

    def is_ready(self, upstream: str) -> bool:
        """Whether it may be asked at this moment: it is well, and has a key that does not rest."""
        return self.standings.ready[upstream] <= self._clock.monotonic()

    def sent(self, upstream: str, *, is_repeat: bool) -> None:
        """Note that an attempt is sent; where the circuit is half-open, the others wait for this one."""
        self.standings.sent(upstream, now=self._clock.monotonic(), is_repeat=is_repeat)
        if self.standings.of(upstream).health.is_open:
            self._tell_line(upstream)

    def succeeded(self, upstream: str, key: int, *, sent_at: float) -> None:
        """Note that an image came of an attempt that was sent at this monotonic second."""
        now = self._clock.monotonic()
        self._carry_out(upstream, self.standings.succeeded(upstream, key, sent_at=sent_at, now=now))

    def failed(self, upstream: str, key: int, failure: Failure, *, sent_at: float) -> None:
        """Note how an attempt failed that was sent at this monotonic second; one that never left says nothing of it."""
        if failure is CLAIM_LOST:
            return
        now, jitter = self._clock.monotonic(), self._clock.random()
        changes = self.standings.failed(upstream, key, failure, sent_at=sent_at, now=now, jitter=jitter)
        self._carry_out(upstream, changes, failure)

    def _carry_out(self, upstream: str, changes: Sequence[Change], failure: Failure | None = None) -> None:
        self._tell_line(upstream)
        now = self._clock.monotonic()
        for change in changes:
            emit(
                f"upstream.{change.kind.value}",
                level="info" if failure is None else "warning",
                upstream=upstream,
                key_number=None if change.key is None else self._targets[upstream].number_of(change.key),
                for_s=round(max(0.0, change.until - now), 3),
                kind=None if failure is None else failure.kind.value,
                status=None if failure is None else failure.status,
            )

    def pressed_key(self, ticket: Ticket) -> int | None:
        """Name the key that a call may go with though it rests: of those that have room the one that rests least."""
        keys = self.standings.of(ticket.upstream).keys
        able = (at for at, key in enumerate(keys) if key is not RETIRED and self._queue.may_press(ticket, at))
        return min(able, key=lambda at: keys[at].until, default=None)

    def _tell_line(self, upstream: str) -> None:
        of = self.standings.of(upstream)
        for key, standing in enumerate(of.keys):
            until = max(standing.until, of.health.ready_at, 0.0)
            if self._rests.get((upstream, key), 0.0) != until:
                self._rests[upstream, key] = until
                self._queue.rest(upstream, key, until)
