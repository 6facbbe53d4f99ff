"""Whatever happens to generations in whatever order, rows, log and ledger tell one story, and it adds up.

A model of a few lines follows the real functions of the store over a real SQLite database in memory: several customers,
several parts, attempts that bring images, fail in every way, or come late; deadlines, cancels, takeovers; and the money
of each, towards its customer and towards its upstream.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from holdfast.config import Compensation, CompensationReason
from holdfast.generation import LATE_IMAGE_CODES, OPEN_ATTEMPT_STATES, State, images_of_part
from holdfast.ledger.postings import (
    COMPENSATION,
    EXTRA_IMAGES,
    HELD,
    PROVIDER_COST,
    REVENUE,
    UNKNOWN_EXPOSURE,
    customer,
    provider,
)
from holdfast.policy.compensation import STANDARD, Rules, rules_of
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.audit import audit
from holdfast.store.bookkeeping import ledger_of, ledger_sums
from holdfast.store.generations import accept, events_of, get_record, left_open, pass_deadline, take_over
from holdfast.store.queries import schema
from holdfast.store.records import AttemptEnd, Ended, GenerationRow, NewAttempt, NewBlob, NewGeneration, Record, Told
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

KEYS = ("key_1", "key_2")
EXCEEDED = Told(code="deadline_exceeded", message="too late", charge=Charge.UNKNOWN)
INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="ab" * 32)

LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="the connection ended")
failures = st.just(LOST) | st.builds(
    Failure,
    kind=st.sampled_from(FailureKind),
    phase=st.sampled_from(Phase),
    charge=st.sampled_from(Charge),
    detail=st.just("it failed"),
)
counts = st.integers(0, 2)
written = st.lists(
    st.builds(
        Compensation,
        when=st.sampled_from(CompensationReason),
        share=st.sampled_from([0.0, 0.3, 1.0]),
        cap_micros_per_day=st.sampled_from([0, 1500]),
    ),
    max_size=4,
    unique_by=lambda rule: rule.when,
)
rules = st.just(STANDARD) | st.builds(rules_of, written)
BEGAN = datetime(2026, 1, 17, 12)


@dataclass
class Followed:
    """What the model knows of one generation."""

    id: str
    key_id: str
    n: int
    parts: int
    unit: int
    at_list: int
    """List price of an image: the unit price without a margin."""
    begun: dict[int, str] = field(default_factory=dict)
    """Part -> its attempt."""
    is_open: dict[str, bool] = field(default_factory=dict)
    """Attempt -> whether an image would still be taken in, for those that have not ended otherwise."""
    images: set[str] = field(default_factory=set)
    """Keys of everything that was handed over and accepted."""
    epoch: int = 0
    cancelled: bool = False
    is_stopped: bool = False
    """Whether its time was over while something was in flight: nothing more is sent."""
    ended: State | None = None
    ends: int = 0
    turned: int = 0
    charged: int = 0
    compensated: int = 0

    @property
    def held(self) -> int:
        """What was held for it."""
        return self.n * self.unit


class Lives(RuleBasedStateMachine):
    """Generations, side by side in one database."""

    def __init__(self) -> None:
        super().__init__()
        self.conn = sqlite3.connect(":memory:", isolation_level=None)
        self.conn.row_factory = sqlite3.Row
        self.conn.execute("PRAGMA foreign_keys = ON")
        self.conn.executescript(schema())
        self.all: dict[str, Followed] = {}
        self.attempts: dict[str, Followed] = {}
        self.owner = "me"
        """Who works on all that has not ended."""
        self.moment = 0
        self.waited_s = 0
        self.provider: Counter[str] = Counter()
        """What the upstream's attempts are booked on, by account."""
        self.exposed: set[str] = set()
        """Attempts whose cost nobody knows."""

    generations: Bundle[str] = Bundle("generations")
    attempts_: Bundle[str] = Bundle("attempts")

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run one function of the store in a transaction, as the writing thread does."""
        self.conn.execute("BEGIN IMMEDIATE")
        try:
            value = function(self.conn, *args)
        except BaseException:
            self.conn.execute("ROLLBACK")
            raise
        self.conn.execute("COMMIT")
        return value

    def now(self) -> str:
        """A later moment each time."""
        self.moment += 1
        moment = BEGAN + timedelta(seconds=self.waited_s, microseconds=self.moment)
        return f"{moment.isoformat(timespec='microseconds')}Z"

    @rule(seconds=st.sampled_from([100, 200, 100_000]))
    def wait(self, seconds: int) -> None:
        """Time passes: images become slow, and days end."""
        self.waited_s += seconds

    def record(self, generation_id: str) -> Record:
        """The generation as it stands."""
        record: Record | None = self.run(get_record, generation_id)
        assert record is not None
        return record

    # Few generations, so that much happens to each.
    @precondition(lambda self: sum(one.ended is None for one in self.all.values()) < 3)
    @rule(
        target=generations,
        key_id=st.sampled_from(KEYS),
        parts=st.integers(1, 3),
        each=st.integers(1, 2),
        unit=counts,
        margin=counts,
    )
    def accept(self, key_id: str, parts: int, each: int, unit: int, margin: int) -> str:
        """A caller asks; the free model is one of those, and so is a price below cost."""
        one = Followed(
            id=f"gen_{len(self.all)}",
            key_id=key_id,
            n=parts * each,
            parts=parts,
            unit=unit * margin * 1000,
            at_list=unit * 1000,
        )
        new = NewGeneration(
            id=one.id,
            key_id=key_id,
            surface="openai",
            model="m",
            tier="1K",
            size="1x1",
            n=one.n,
            parts=parts,
            request=b"{}",
            deadline_at="later",
            hard_deadline=False,
            created_at=self.now(),
            currency="USD",
            unit_micros=one.unit,
            held_micros=one.held,
            list_micros=one.at_list,
        )
        self.run(accept, new)
        self.all[one.id] = one
        return one.id

    @rule(target=attempts_, generation_id=generations)
    def begin_all(self, generation_id: str) -> Any:
        """Send all parts, as an engine does at once."""
        one = self.all[generation_id]
        unsent = [part for part in range(one.parts) if part not in one.begun]
        return multiple(*(id_ for part in unsent if (id_ := self._begin(one, part)) is not None))

    @rule(target=attempts_, generation_id=generations, part=st.integers(0, 2))
    def begin(self, generation_id: str, part: int) -> Any:
        """Send a part that was not sent, or try to send one that is in flight."""
        one = self.all[generation_id]
        if part >= one.parts or (part in one.begun and not self._is_in_flight(one.begun[part])):
            return multiple()
        id_ = self._begin(one, part)
        return multiple() if id_ is None else id_

    def _begin(self, one: Followed, part: int) -> str | None:
        id_ = f"att_{len(self.attempts)}"
        new = NewAttempt(
            id=id_,
            generation_id=one.id,
            part=part,
            drive=0,
            upstream="u",
            provider="openai",
            model="m",
            idempotency_key=f"{one.id}.{part}.0",
            estimated_micros=one.at_list * images_of_part(part, n=one.n, parts=one.parts),
            owner=self.owner,
            sent_at=self.now(),
        )
        epoch = self.run(begin_attempt, new)
        is_refused = one.ended is not None or one.cancelled or one.is_stopped or part in one.begun
        assert (epoch is None) == is_refused
        if epoch is None:
            return None
        assert epoch > one.epoch
        one.epoch, one.begun[part], one.is_open[id_] = epoch, id_, True
        self.attempts[id_] = one
        return id_

    def _is_in_flight(self, attempt_id: str) -> bool:
        (state,) = self.conn.execute("SELECT state FROM attempt WHERE id = ?", (attempt_id,)).fetchone()
        return state in OPEN_ATTEMPT_STATES

    @rule(attempt_id=attempts_, results=st.integers(1, 3), drafts=counts, billed=st.none() | counts, rules=rules)
    def bring_images(self, attempt_id: str, results: int, drafts: int, billed: int | None, rules: Rules) -> None:
        """An attempt brings images: in time, late, or a second time; its upstream may say how many it bills."""
        kinds = ["draft"] * drafts + ["result"] * results
        self._end(attempt_id, kinds, None, rules, billed)

    @rule(attempt_id=attempts_, failure=failures, drafts=counts, rules=rules)
    def fail(self, attempt_id: str, failure: Failure, drafts: int, rules: Rules) -> None:
        """An attempt fails, perhaps after drafts."""
        self._end(attempt_id, ["draft"] * drafts, failure, rules)

    @rule(attempt_id=attempts_, failure=st.none() | failures, rules=rules)
    def die_while_settling(self, attempt_id: str, failure: Failure | None, rules: Rules) -> None:
        """The process ends between the rows and their commit: nothing of either side of the books is left."""
        one = self.attempts[attempt_id]
        before = self.record(one.id), self.run(ledger_of, one.id), self.run(ledger_sums)
        blob = NewBlob(id="img_none", kind="result", position=0, store_key="blobs/none", info=INFO)
        blobs = () if failure else (blob,)
        end = AttemptEnd(attempt_id=attempt_id, at=self.now(), purge_after="later", blobs=blobs, failure=failure)
        self.conn.execute("BEGIN IMMEDIATE")
        end_attempt(self.conn, end, rules)
        self.conn.execute("ROLLBACK")
        assert (self.record(one.id), self.run(ledger_of, one.id), self.run(ledger_sums)) == before

    def _end(
        self, attempt_id: str, kinds: list[str], failure: Failure | None, rules: Rules, billed: int | None = None
    ) -> None:
        one = self.attempts[attempt_id]
        blobs = tuple(
            NewBlob(
                id=f"img_{attempt_id}_{at}_{self.moment}",
                kind=kind,
                position=at,
                store_key=f"blobs/{attempt_id}-{at}",
                info=INFO,
            )
            for at, kind in enumerate(kinds)
        )
        was_unknown = one.is_open[attempt_id] and not self._is_in_flight(attempt_id)
        before = self.record(one.id)
        cost = None if billed is None else billed * one.at_list
        end = AttemptEnd(
            attempt_id=attempt_id, at=self.now(), purge_after="later", blobs=blobs, failure=failure, cost_micros=cost
        )
        ended: Ended = self.run(end_attempt, end, rules)
        assert ended.was_open == (one.is_open[attempt_id] and not (was_unknown and failure is not None))
        if not ended.was_open:
            assert self.record(one.id) == before
            return
        self._book(one, attempt_id, failure, cost)
        one.is_open[attempt_id] = failure is not None and failure.charge is Charge.UNKNOWN
        one.images |= {blob.store_key for blob in blobs}
        if ended.finished is not None:
            assert ended.finished == self.record(one.id)
            self._ended(one, ended.finished.generation, before.generation)

    def _book(self, one: Followed, attempt_id: str, failure: Failure | None, cost: int | None) -> None:
        """Follow what the upstream takes: each attempt is booked once, where it turned out to belong."""
        (part,) = (part for part, begun in one.begun.items() if begun == attempt_id)
        estimate = one.at_list * images_of_part(part, n=one.n, parts=one.parts)
        if failure is not None and failure.charge is Charge.NO:
            return
        if failure is not None and failure.charge is Charge.UNKNOWN:
            self.exposed.add(attempt_id)
            self.provider[UNKNOWN_EXPOSURE] += estimate
            return
        if attempt_id in self.exposed:
            self.exposed.remove(attempt_id)
            self.provider[UNKNOWN_EXPOSURE] -= estimate
        took = estimate if cost is None else cost
        asked_for = 0 if one.ended is not None else min(took, estimate)
        self.provider[PROVIDER_COST] += asked_for
        self.provider[EXTRA_IMAGES] += took - asked_for

    def _ended(self, one: Followed, row: GenerationRow, before: GenerationRow) -> None:
        """A generation ends once; after that only an unknown failure may turn, once, into a free success."""
        state = State(row.state)
        assert state.is_final
        if one.ended is None:
            one.ends += 1
            one.charged = self._due(one)
            one.compensated = row.compensated_micros
            assert 0 <= one.compensated <= one.charged
        else:
            assert (one.ended, state, row.late) == (State.FAILED, State.SUCCEEDED, 1)
            assert before.told is not None
            assert before.told.code in LATE_IMAGE_CODES
            one.turned += 1
        one.ended = state

    def _due(self, one: Followed) -> int:
        """What the customer is charged: what is delivered, else what was certainly paid for."""
        record = self.record(one.id)
        if record.results:
            return one.unit * min(len(record.results), one.n)
        paid = {attempt.part for attempt in record.attempts if attempt.charge == "yes"}
        return sum(one.unit * images_of_part(part, n=one.n, parts=one.parts) for part in paid)

    @rule(generation_id=generations, caller_waits=st.booleans(), rules=rules)
    def pass_deadline(self, generation_id: str, caller_waits: bool, rules: Rules) -> None:
        """The time is over."""
        one = self.all[generation_id]
        before = self.record(generation_id)
        in_flight = any(attempt.state in OPEN_ATTEMPT_STATES for attempt in before.attempts)
        row = self.run(pass_deadline, generation_id, EXCEEDED, self.now(), "later", caller_waits, rules)
        assert (row is None) == (one.ended is not None or (in_flight and caller_waits))
        if row is None:
            open_ = sum(attempt.state in OPEN_ATTEMPT_STATES for attempt in before.attempts)
            # What is in flight is awaited; the parts that were not sent are not sent any more.
            one.is_stopped |= one.ended is None
            parts_open = before.generation.parts_open if one.ended is not None else open_
            expected = replace(before.generation, parts_open=parts_open)
            assert self.record(generation_id) == replace(before, generation=expected)
        else:
            self._ended(one, row, before.generation)

    @rule(generation_id=generations)
    def cancel(self, generation_id: str) -> None:
        """Its owner wants it no longer; the flag stops all further sending."""
        self.all[generation_id].cancelled = True
        self.run(lambda conn: conn.execute("UPDATE generation SET cancel_requested = 1 WHERE id = ?", (generation_id,)))

    @rule()
    def restart(self) -> None:
        """Another process takes all of it over."""
        self.owner = f"own_{self.moment}"
        taken = self.run(take_over, self.owner)
        still = [one for one in self.all.values() if one.ended is None]
        assert taken == len(still) == len(self.run(left_open)[1])
        for one in still:
            one.epoch += 1

    @rule(generation_id=consumes(generations))
    def forget(self, generation_id: str) -> None:
        """Nobody touches it any more, and so it has to stay right by itself."""

    @invariant()
    def the_ledger_adds_up(self) -> None:
        """Zero in sum; held is what is open; a customer owes what is open, and charges not given back."""
        sums = self.run(ledger_sums)
        assert sums.hold
        assert self.run(audit).problems == ()
        balance = sums.accounts
        still = [one for one in self.all.values() if one.ended is None]
        assert balance.get(HELD, 0) == -sum(one.held for one in still)
        for key in KEYS:
            owed = [one.held if one.ended is None else one.charged - one.compensated for one in self._of(key)]
            assert balance.get(customer(key), 0) == sum(owed)
        assert balance.get(REVENUE, 0) == -sum(one.charged for one in self.all.values())
        given = sum(one.compensated for one in self.all.values())
        assert balance.get(COMPENSATION, 0) == given
        (by_day,) = self.conn.execute("SELECT coalesce(sum(micros), 0) FROM compensation_day").fetchone()
        assert by_day == given

    def _of(self, key: str) -> list[Followed]:
        return [one for one in self.all.values() if one.key_id == key]

    @invariant()
    def what_upstreams_take_is_booked_once_and_where_it_belongs(self) -> None:
        """An exposure until its image comes, a cost in time, an extra after the end; and the upstream has all of it."""
        balance = self.run(ledger_sums).accounts
        for account in (PROVIDER_COST, UNKNOWN_EXPOSURE, EXTRA_IMAGES):
            assert balance.get(account, 0) == self.provider[account] >= 0
        assert balance.get(provider("u"), 0) == -self.provider.total()

    @invariant()
    def every_record_is_whole(self) -> None:
        """State, money, log, attempts and images of each generation agree with the model and with one another."""
        for one in self.all.values():
            record = self.record(one.id)
            row = record.generation
            assert one.ends == (one.ended is not None)
            assert one.turned <= 1
            if one.ended is None:
                assert row.state == ("running" if one.begun else "queued")
            else:
                assert row.state == one.ended
            assert row.epoch == one.epoch
            self._check_money(one, record)
            self._check_log(one, row)
            self._check_attempts(one, record)
            # What was paid for is never thrown away, whatever it is called.
            assert {blob.store_key for blob in record.blobs} == one.images

    def _check_money(self, one: Followed, record: Record) -> None:
        """A hold is resolved once, and the customer pays at most for what was asked for and delivered."""
        row = record.generation
        of_customer = [line for line in self.run(ledger_of, one.id) if line[1] == customer(one.key_id)]
        verbs = [verb for verb, _, _ in of_customer]
        assert verbs[: 1 + one.ends] in (["hold"], ["hold", "capture"], ["hold", "void"])
        assert verbs[1 + one.ends :] == ["compensate"] * bool(one.compensated)
        assert (row.charged_micros, row.compensated_micros) == (one.charged, one.compensated)
        if one.ended is State.SUCCEEDED:
            assert record.results
            assert row.told is None
            assert row.partial_result == (len(record.results) < row.n)
        if one.ended in (State.FAILED, State.CANCELLED):
            assert not record.results
            assert (row.told is not None) or one.ended is State.CANCELLED

    def _check_log(self, one: Followed, row: GenerationRow) -> None:
        """Events are numbered without a gap, and its end is told once; a turned failure is told twice."""
        events = self.run(events_of, one.id)
        assert [event.sequence_number for event in events] == list(range(1, len(events) + 1))
        assert row.sequence_number == len(events)
        ends = [event.type for event in events if event.type in ("succeeded", "failed", "cancelled")]
        assert len(ends) == one.ends + one.turned
        assert sum(event.type == "running" for event in events) == len(one.begun)

    def _check_attempts(self, one: Followed, record: Record) -> None:
        """One payer of a part at a time; numbers without a gap; epochs that only grow; parts counted down once each."""
        attempts = record.attempts
        assert [attempt.number for attempt in attempts] == list(range(1, len(attempts) + 1))
        epochs = [attempt.epoch for attempt in attempts]
        assert all(earlier < later for earlier, later in pairwise(epochs))
        assert all(epoch <= one.epoch for epoch in epochs)
        in_flight = [attempt.part for attempt in attempts if attempt.state in OPEN_ATTEMPT_STATES]
        assert len(set(in_flight)) == len(in_flight)
        if one.ended is None:
            unsent = 0 if one.is_stopped else one.parts - len(attempts)
            assert record.generation.parts_open == unsent + len(in_flight)

    def teardown(self) -> None:
        """Once everything has ended, nothing is held."""
        for one in self.all.values():
            row = self.run(pass_deadline, one.id, EXCEEDED, self.now(), "later", False)
            if row is not None:
                self._ended(one, row, row)
        self.the_ledger_adds_up()
        self.what_upstreams_take_is_booked_once_and_where_it_belongs()
        self.every_record_is_whole()
        assert self.run(ledger_sums).accounts.get(HELD, 0) == 0
        self.conn.close()


Lives.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class TestLives(Lives.TestCase):
    """The machine, as tests."""
