"""Whatever happens, in whatever order: the days of usage say what the rows and the ledger say, to the micro-unit.

Several keys, models, sizes and upstreams; attempts that bring images, fail in every way, come late, run beside one
another or go on; deadlines, cancels, generations that are driven again, days that pass; rules that change.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from holdfast.clock import rfc3339
from holdfast.config import Compensation, CompensationReason
from holdfast.generation import OPEN_ATTEMPT_STATES, State
from holdfast.policy.compensation import STANDARD, Rules, rules_of
from holdfast.policy.fingerprint import VERSION
from holdfast.policy.joining import Claim
from holdfast.policy.reconcile import Resolution
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.audit import audit
from holdfast.store.cancelling import ask_cancel
from holdfast.store.exposure import Cap
from holdfast.store.generations import get_record, pass_deadline
from holdfast.store.joining import Entering, enter
from holdfast.store.queries import schema
from holdfast.store.reconcile import resolve_exposures
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration, Told
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

from .usage_books import expected, kept

EXCEEDED = Told(code="deadline_exceeded", message="too late", charge=Charge.UNKNOWN)
INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="ab" * 32)
LIST = 1_000
failures = st.builds(
    Failure,
    kind=st.sampled_from(FailureKind),
    phase=st.just(Phase.WAIT),
    charge=st.sampled_from(Charge),
    detail=st.just("it failed"),
)
rules = st.just(STANDARD) | st.builds(
    rules_of,
    st.lists(
        st.builds(
            Compensation,
            when=st.sampled_from(CompensationReason),
            share=st.sampled_from([0.0, 0.3, 1.0]),
            cap_micros_per_day=st.sampled_from([0, 1500]),
        ),
        max_size=4,
        unique_by=lambda each: each.when,
    ),
)
upstreams = st.sampled_from(["google", "relay", "fal"])


class Histories(RuleBasedStateMachine):
    """Generations of several customers, side by side in one database."""

    generations: Bundle[str] = Bundle("generations")

    def __init__(self) -> None:
        super().__init__()
        self.conn = sqlite3.connect(":memory:", isolation_level=None)
        self.conn.row_factory = sqlite3.Row
        self.conn.executescript(schema())
        self.moment = datetime(2026, 1, 17, 23, 50, tzinfo=UTC)
        self.count = 0

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run one function of the store in a transaction, as the writing thread does."""
        self.conn.execute("BEGIN IMMEDIATE")
        value = function(self.conn, *args)
        self.conn.execute("COMMIT")
        return value

    def now(self, seconds: int = 1) -> str:
        """A later moment each time; a day ends after ten minutes."""
        self.moment += timedelta(seconds=seconds)
        return rfc3339(self.moment)

    @rule(seconds=st.sampled_from([200, 700, 90_000]))
    def wait(self, seconds: int) -> None:
        """Time passes: images become slow, and days end."""
        self.now(seconds)

    def _asking(self, key_id: str, model: str, tier: str, parts: int, each: int, claim: Claim) -> Entering:
        self.count += 1
        unit = LIST * 2
        new = NewGeneration(
            id=f"gen_{self.count}",
            key_id=key_id,
            surface="openai",
            model=model,
            tier=tier,
            size="1x1",
            n=parts * each,
            parts=parts,
            request=b"{}",
            deadline_at="later",
            hard_deadline=False,
            created_at=self.now(),
            currency="USD",
            unit_micros=unit,
            held_micros=unit * parts * each,
            list_micros=LIST,
            fingerprint=b"\x01" * 32,
            fingerprint_version=VERSION,
            idempotency_key=claim.idempotency_key,
            callers=1,
            watched_by="me",
        )
        return Entering(new=new, claim=claim)

    @rule(
        target=generations,
        key_id=st.sampled_from(["key_1", "key_2"]),
        model=st.sampled_from(["m", "other"]),
        tier=st.sampled_from(["1K", "4K"]),
        parts=st.integers(1, 2),
        each=st.integers(1, 2),
        keyed=st.booleans(),
    )
    def ask(self, key_id: str, model: str, tier: str, parts: int, each: int, keyed: bool) -> str:
        """Somebody asks; one who repeats joins, or drives a failure again."""
        claim = Claim(idempotency_key="again" if keyed else None, by_fingerprint=False, says_retry=False)
        entered = self.run(enter, self._asking(key_id, model, tier, parts, each, claim))
        assert entered.generation_id is not None
        return str(entered.generation_id)

    @rule(generation_id=generations, upstream=upstreams, part=st.integers(0, 1), hedge=st.booleans())
    def begin(self, generation_id: str, upstream: str, part: int, hedge: bool) -> None:
        """Send a part, or a second attempt beside one that is slow; what may not be sent is not."""
        record = self.run(get_record, generation_id)
        row = record.generation
        if part >= row.parts:
            return
        self.count += 1
        new = NewAttempt(
            id=f"att_{self.count}",
            generation_id=generation_id,
            part=part,
            drive=row.drive,
            upstream=upstream,
            provider="openai",
            model="m",
            idempotency_key="",
            estimated_micros=LIST * row.n // row.parts,
            owner="me",
            sent_at=self.now(),
            hedge=int(hedge),
        )
        self.run(begin_attempt, new, Cap(model=row.model, micros=10**9) if hedge else None)

    @rule(
        generation_id=generations,
        which=st.integers(0, 5),
        failure=st.none() | failures,
        images=st.integers(1, 3),
        billed=st.none() | st.integers(0, 3),
        goes_on=st.booleans(),
        rules=rules,
    )
    def end(
        self,
        generation_id: str,
        which: int,
        failure: Failure | None,
        images: int,
        billed: int | None,
        goes_on: bool,
        rules: Rules,
    ) -> None:
        """One of its attempts ends: with images, in time, late or outrun; or it fails, and perhaps goes on."""
        attempts = self.run(get_record, generation_id).attempts
        ending = [each for each in attempts if each.state in (*OPEN_ATTEMPT_STATES, "unknown")]
        if not ending:
            return
        attempt = ending[which % len(ending)]
        blobs = tuple(
            NewBlob(id=f"img_{attempt.id}_{at}", kind="result", position=at, store_key=f"{attempt.id}-{at}", info=INFO)
            for at in range(0 if failure else images)
        )
        may_go_on = goes_on and failure is not None and failure.charge is not Charge.YES
        end = AttemptEnd(
            attempt_id=attempt.id,
            at=self.now(),
            purge_after="later",
            blobs=blobs,
            failure=failure,
            cost_micros=None if billed is None else billed * LIST,
            retry_at="soon" if may_go_on else None,
            cap=Cap(model="m", micros=10**9) if may_go_on else None,
        )
        self.run(end_attempt, end, rules)

    @rule(generation_id=generations, caller_waits=st.booleans(), rules=rules)
    def pass_deadline(self, generation_id: str, caller_waits: bool, rules: Rules) -> None:
        """Its time is over."""
        self.run(pass_deadline, generation_id, EXCEEDED, self.now(), "later", caller_waits, rules)

    @rule(generation_id=generations, rules=rules)
    def cancel(self, generation_id: str, rules: Rules) -> None:
        """Its owner wants it no longer."""
        self.run(ask_cancel, generation_id, self.now(), "later", rules)

    @rule(generation_id=generations, micros=st.sampled_from([None, 0, LIST, 5 * LIST]))
    def find_out(self, generation_id: str, micros: int | None) -> None:
        """An operator finds in a provider's list what became of what nobody knew."""
        record = self.run(get_record, generation_id)
        self.now(4000)
        unknown = [each.id for each in record.attempts if each.state == "unknown"]
        if unknown and State(record.generation.state).is_final:
            self.run(resolve_exposures, [Resolution(attempt_id=unknown[0], micros=micros)], self.now())

    @invariant()
    def the_days_say_what_rows_and_ledger_say(self) -> None:
        """By key, model, size, day, upstream and outcome; nothing below zero but where a later day takes it back."""
        days = kept(self.conn)
        assert days == expected(self.conn)
        assert self.run(audit).problems == ()
        assert all(min(sums["generations"], sums["images"], sums["charged_micros"]) >= 0 for sums in days.values())

    def teardown(self) -> None:
        """The connection's end."""
        self.conn.close()


Histories.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class TestHistories(Histories.TestCase):
    """The machine, as tests."""
