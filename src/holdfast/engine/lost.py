"""What follows an attempt that died with its process.

Nobody knows whether it was charged, as after any other reply that was lost. So the next process decides as this one
would have: once more within the purchases, the daily cap and the time that are left, else an honest end. The upstream
is not to blame: it is asked again itself, and nothing is noted against it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import msgspec

from holdfast.engine.core import Core, Live
from holdfast.engine.deciding import limited, policies_of, policy_of
from holdfast.engine.exposure import Exposure
from holdfast.engine.resuming import tried_before
from holdfast.engine.sequel import Decide, Sequel
from holdfast.engine.submit import live_of_row
from holdfast.errors import RequestError
from holdfast.generation import OPEN_ATTEMPT_STATES, AttemptState
from holdfast.policy.retry import Circumstances, GiveUp, Tally, decide_after_failure
from holdfast.store.exposure import Cap
from holdfast.store.records import AttemptRow, Record
from holdfast.types import Failure, Tier


class Lost:
    """Decides for everything that one start finds."""

    def __init__(self, core: Core, kept_back: frozenset[str]) -> None:
        """Decide within the settings as they are now.

        Args:
            core: The engine's dependencies.
            kept_back: Attempts whose image is in the spool, which our own disk has not taken.
        """
        self._core = core
        self._kept_back = kept_back
        self._usual = policy_of(core.settings.retry)
        self._policies = policies_of(core.settings)
        self._exposure = Exposure(core)

    def cap(self, record: Record) -> Callable[[], Awaitable[Cap]]:
        """Say how to read what may be bought a second time today for a generation's model."""
        row = record.generation
        return partial(self._exposure.cap, row.model, price_micros=row.list_micros)

    def decide(self, record: Record, attempt: AttemptRow) -> Decide | None:
        """Say how to decide on the attempt's part; None: nothing may follow.

        Args:
            record: Its generation, which has not ended.
            attempt: In flight as the process died.
        """
        row = record.generation
        if row.cancel_requested or attempt.drive != row.drive or attempt.outrun:
            return None
        try:
            live = live_of_row(self._core, row)
        except (RequestError, msgspec.MsgspecError):
            # No route leads anywhere, or another version wrote it: it is told, and given up on, as a whole.
            return None
        at = live.course.find(attempt.upstream, attempt.model, Tier(attempt.tier or row.tier))
        if at is None or at in live.course.barred:
            return None
        return partial(self._decide, record, attempt, live, at)

    def _decide(self, record: Record, attempt: AttemptRow, live: Live, at: int, failure: Failure) -> Sequel:
        core, candidate = self._core, live.course.candidates[at]
        tried = tried_before(record, attempt, self._kept_back)
        beside = [each for each in record.attempts if _is_beside(each, attempt)]
        failures = (*(each.failure for each in tried), *(failure for _ in beside), failure)
        here = (*(each.failure for each in tried if each.upstream == attempt.upstream), failure)
        expect = core.latencies.expect(upstream=attempt.upstream, model=candidate.target.route, tier=candidate.tier)
        now_s = core.clock.monotonic()
        remaining_s = live.deadline_at - now_s
        decision = decide_after_failure(
            failure,
            tally=Tally.of(failures, here=here),
            now=Circumstances(
                remaining_s=remaining_s, expected_s=expect.expected_s, jitter=core.clock.random(), rest_s=None
            ),
            policy=limited(self._policies.get(live.model, self._usual), live.purchases_max),
        )
        is_end = isinstance(decision, GiveUp)
        return Sequel(
            decision=decision,
            kind=failure.kind,
            decided_at=now_s,
            remaining_s=remaining_s,
            # A new process begins with all of it.
            budget_left=core.settings.retry.budget_burst,
            to=None if is_end else candidate,
            expected_s=expect.expected_s,
        )


def _is_beside(other: AttemptRow, attempt: AttemptRow) -> bool:
    """Whether another attempt of the same part was in flight too, and so may have been charged as well.

    The record is as the start has found it: one of the two that was ended meanwhile stands in it as it was.
    """
    is_of_part = (other.part, other.drive) == (attempt.part, attempt.drive)
    return is_of_part and other.id != attempt.id and AttemptState(other.state) in OPEN_ATTEMPT_STATES
