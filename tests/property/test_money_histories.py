"""Whatever customers, operators and upstreams do: price, hold, capture, compensation and budget agree with the ledger.

A model of a few lines follows the shipped rules and the real functions of the store over a real database in memory:
keys in groups with prices of their own, limits that are raised, lowered and taken away while calls are held, keys that
change their group, days and months that end, images of every size and number, failures of every charge, repeats that
are driven again on another day, rules of compensation. After every step the ledger, recomputed, is what the model says,
and no hold was ever taken that passed a limit of that moment.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from holdfast.config import Compensation, CompensationReason, Settings
from holdfast.config.parse import parse
from holdfast.errors import RequestError
from holdfast.ledger.postings import COMPENSATION, HELD, REVENUE, customer
from holdfast.policy.budgets import Exhausted, Period, Scope, month_of
from holdfast.policy.compensation import STANDARD, Rules, rules_of
from holdfast.policy.fingerprint import VERSION
from holdfast.policy.joining import Answer, Claim
from holdfast.policy.prices import Wanted, quote
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.audit import audit
from holdfast.store.bookkeeping import ledger_sums
from holdfast.store.budgets import spent
from holdfast.store.generations import get_generation
from holdfast.store.joining import Entering, enter
from holdfast.store.keys import insert_key
from holdfast.store.queries import schema
from holdfast.store.records import AttemptEnd, GenerationRow, NewAttempt, NewBlob, NewGeneration
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase, Tariff, Tier

KEYS, GROUPS = ("key_1", "key_2", "key_3"), ("kgr_1", "kgr_2")
BEGAN = datetime(2026, 11, 29, 22)
INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="ab" * 32)
BOOK: Settings = parse(
    {
        "money": {"margin": 1.1},
        "prices": [
            {
                "model": "m",
                "micros": {"1K": 1_005, "1K/high": 3_000, "4K": 7_000, "4K*3": 5_000},
                "source": "s",
                "valid_from": "2026-01-01",
                "valid_until": "2026-11-30",
            },
            {"model": "m", "micros": {"1K": 1_500}, "source": "s", "valid_from": "2026-12-01"},
            {"model": "m", "group": "own", "micros": {"1K": 900}, "source": "s", "valid_from": "2026-11-30"},
        ],
    }
)
"""A price that ends with the month, its successor that knows fewer sizes, and one of a group that begins in between."""
TARIFFS = {None: None, "kgr_1": Tariff(group="own"), "kgr_2": Tariff(group="shared", margin_share=0.25)}

limits = st.none() | st.sampled_from([0, 3_000, 8_000, 20_000, 50_000])
wanted = st.builds(
    Wanted,
    tier=st.sampled_from([Tier.K1, Tier.K4]),
    aspect_ratio=st.just("1:1"),
    quality=st.sampled_from([None, "high"]),
    n=st.integers(1, 4),
)
UNPAID = Failure(kind=FailureKind.SERVER_FAULT, phase=Phase.RECEIVE, charge=Charge.NO, detail="it failed")
failures = st.just(UNPAID) | st.builds(
    Failure,
    kind=st.sampled_from(FailureKind),
    phase=st.just(Phase.RECEIVE),
    charge=st.sampled_from(Charge),
    detail=st.just("it failed"),
)
given_back = st.just(STANDARD) | st.builds(
    rules_of,
    st.lists(
        st.builds(
            Compensation,
            when=st.sampled_from(CompensationReason),
            slower_than_s=st.just(180.0),
            share=st.sampled_from([0.0, 0.3, 1.0]),
            cap_micros_per_day=st.sampled_from([0, 1_500]),
        ),
        max_size=4,
        unique_by=lambda rule: rule.when,
    ),
)


@dataclass
class Held:
    """What the model knows of one generation."""

    id: str
    key_id: str
    unit: int
    n: int
    day: str
    group: str | None
    drive: int = 0
    is_open: bool = True
    net: int = 0
    """Charged and not given back."""

    @property
    def price(self) -> int:
        """What is held for it."""
        return self.unit * self.n

    @property
    def counts(self) -> int:
        """What stands against its budgets."""
        return self.price if self.is_open else self.net

    @property
    def owners(self) -> tuple[str, ...]:
        """Whose budgets it stands against."""
        return (f"key:{self.key_id}",) if self.group is None else (f"key:{self.key_id}", f"group:{self.group}")


class Histories(RuleBasedStateMachine):
    """Money, whatever happens."""

    def __init__(self) -> None:
        super().__init__()
        self.conn = sqlite3.connect(":memory:", isolation_level=None)
        self.conn.row_factory = sqlite3.Row
        self.conn.execute("PRAGMA foreign_keys = ON")
        self.conn.executescript(schema())
        self.passed_s = 0
        self.all: dict[str, Held] = {}
        self.group_of: dict[str, str | None] = dict.fromkeys(KEYS)
        self.limits: dict[str, tuple[int | None, int | None]] = {}
        self.charged = self.given = self.attempts = 0
        for group in GROUPS:
            label = TARIFFS[group]
            assert label is not None
            self.conn.execute(
                "INSERT INTO key_group (id, label, margin_share, created_at) VALUES (?, ?, ?, 'now')",
                (group, label.group, label.margin_share),
            )
        for key_id in KEYS:
            self.run(insert_key, key_id, key_id.encode(), "", self.now())

    generations: Bundle[str] = Bundle("generations")
    failed: Bundle[str] = Bundle("failed")

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
        """The moment."""
        return f"{(BEGAN + timedelta(seconds=self.passed_s)).isoformat(timespec='milliseconds')}Z"

    @property
    def today(self) -> date:
        """The day, UTC."""
        return (BEGAN + timedelta(seconds=self.passed_s)).date()

    # What operators do

    @rule(seconds=st.sampled_from([1, 200, 3_600, 86_400, 14 * 86_400]))
    def wait(self, seconds: int) -> None:
        """Images become slow; days and months end, and prices with them."""
        self.passed_s += seconds

    @rule(who=st.sampled_from(KEYS), per_day=limits, per_month=limits)
    def limit_a_key(self, who: str, per_day: int | None, per_month: int | None) -> None:
        """Raise, lower or lift the limits of a key, whatever is held by it."""
        self._limit("api_key", f"key:{who}", who, per_day, per_month)

    @rule(who=st.sampled_from(GROUPS), per_day=limits, per_month=limits)
    def limit_a_group(self, who: str, per_day: int | None, per_month: int | None) -> None:
        """The same of a group."""
        self._limit("key_group", f"group:{who}", who, per_day, per_month)

    def _limit(self, table: str, owner: str, id_: str, per_day: int | None, per_month: int | None) -> None:
        statement = f"UPDATE {table} SET spend_micros_per_day = ?, spend_micros_per_month = ? WHERE id = ?"
        assert self.conn.execute(statement, (per_day, per_month, id_)).rowcount == 1
        self.limits[owner] = per_day, per_month

    @rule(who=st.sampled_from(KEYS), group=st.none() | st.sampled_from(GROUPS))
    def move_a_key(self, who: str, group: str | None) -> None:
        """Put a key into another group, or into none."""
        self.conn.execute("UPDATE api_key SET group_id = ? WHERE id = ?", (group, who))
        self.group_of[who] = group

    # What customers do

    @precondition(lambda self: sum(one.is_open for one in self.all.values()) < 6)
    @rule(target=generations, key_id=st.sampled_from(KEYS), asked=wanted)
    def ask(self, key_id: str, asked: Wanted) -> Any:
        """Ask for images: priced, and then held if every budget covers them."""
        tariff = TARIFFS[self.group_of[key_id]]
        try:
            quoted = quote(BOOK, "m", asked, self.today, tariff)
        except RequestError as refused:
            assert (refused.code, self.today >= date(2026, 12, 1)) == ("price_missing", True)
            return multiple()
        assert quoted.unit_micros == self._unit(asked, tariff)
        id_ = f"gen_{len(self.all)}"
        one = Held(
            id=id_,
            key_id=key_id,
            unit=quoted.unit_micros,
            n=asked.n,
            day=self.today.isoformat(),
            group=self.group_of[key_id],
        )
        entered = self.run(enter, self._entering(one, quoted.list_micros))
        if self._is_as_expected(one, entered.exhausted):
            assert entered.generation_id == id_
            self.all[id_] = one
            return id_
        assert (entered.generation_id, self.run(get_generation, id_)) == (None, None)
        return multiple()

    def _unit(self, asked: Wanted, tariff: Tariff | None) -> int:
        """The same price, by hand."""
        if self.today >= date(2026, 12, 1):
            base = 1_500
        elif asked.tier is Tier.K4:
            base = 5_000 if asked.n >= 3 else 7_000
        else:
            # The model chooses a quality by itself: then the size's own price counts.
            base = 3_000 if asked.quality == "high" else 1_005
        if tariff is not None and tariff.group == "own" and self.today >= date(2026, 11, 30) and asked.tier is Tier.K1:
            return 900
        share = 125 if tariff is not None and tariff.margin_share is not None else 110
        return (base * share + 50) // 100

    def _entering(self, one: Held, list_micros: int) -> Entering:
        new = NewGeneration(
            id=one.id,
            key_id=one.key_id,
            surface="openai",
            model="m",
            tier="1K",
            size="1x1",
            n=one.n,
            parts=1,
            request=b"{}",
            deadline_at="later",
            hard_deadline=False,
            created_at=self.now(),
            currency="USD",
            unit_micros=one.unit,
            held_micros=one.price,
            list_micros=list_micros,
            fingerprint=b"\x01" * 32,
            fingerprint_version=VERSION,
            idempotency_key=f"order {one.id}",
            watched_by="me",
        )
        claim = Claim(idempotency_key=new.idempotency_key, by_fingerprint=False, says_retry=False)
        return Entering(new=new, claim=claim)

    def _stands(self, owner: str, first: str, last: str) -> int:
        return sum(one.counts for one in self.all.values() if owner in one.owners and first <= one.day <= last)

    def _is_as_expected(self, one: Held, exhausted: Exhausted | None) -> bool:
        """A hold is taken exactly if it fits into every budget of this moment; else the first one is named."""
        day = date.fromisoformat(one.day)
        first, last = (each.isoformat() for each in month_of(day))
        for owner in one.owners:
            per_day, per_month = self.limits.get(owner, (None, None))
            for period, limit, so_far in (
                (Period.DAY, per_day, self._stands(owner, one.day, one.day)),
                (Period.MONTH, per_month, self._stands(owner, first, last)),
            ):
                if limit is not None and so_far + one.price > limit:
                    assert exhausted == Exhausted(
                        scope=Scope(owner.partition(":")[0]),
                        period=period,
                        day=day,
                        limit_micros=limit,
                        spent_micros=so_far,
                        needed_micros=one.price,
                    )
                    return False
        assert exhausted is None
        return True

    @rule(generation_id=consumes(failed), seconds=st.sampled_from([1, 86_400]))
    def ask_again(self, generation_id: str, seconds: int) -> None:
        """Repeat what failed unpaid: it is held anew, on the day of the repeat, by the group of then, if that fits."""
        self.passed_s += seconds
        before = self.all.pop(generation_id)
        again = Held(
            id=before.id,
            key_id=before.key_id,
            unit=before.unit,
            n=before.n,
            day=self.today.isoformat(),
            group=self.group_of[before.key_id],
            drive=before.drive + 1,
        )
        entered = self.run(enter, self._entering(again, 0))
        is_driven = entered.answer is Answer.DRIVE_AGAIN
        if entered.answer is Answer.REPLAY:
            # A failure that is final for what was asked: nothing is bought.
            assert entered.exhausted is None
            self.all[generation_id] = before
        elif self._is_as_expected(again, entered.exhausted):
            assert is_driven
            self.all[generation_id] = again
        else:
            assert not is_driven
            self.all[generation_id] = before

    # What upstreams do

    @rule(target=failed, generation_id=consumes(generations), what=st.integers(0, 5) | failures, rules=given_back)
    def end(self, generation_id: str, what: int | Failure, rules: Rules) -> Any:
        """Bring so many images, or fail; what is charged and given back follows from it."""
        return self._end(generation_id, what, rules)

    @precondition(lambda self: any(one.is_open and one.drive for one in self.all.values()))
    @rule(target=failed, what=st.integers(0, 5) | failures, rules=given_back)
    def end_what_was_driven_again(self, what: int | Failure, rules: Rules) -> Any:
        """The same for the oldest repeat that is open."""
        again = next((one.id for one in self.all.values() if one.is_open and one.drive), "none")
        return self._end(again, what, rules)

    def _end(self, generation_id: str, what: int | Failure, rules: Rules) -> Any:
        one = self.all.get(generation_id)
        if one is None or not one.is_open:
            return multiple()
        self.attempts += 1
        attempt = NewAttempt(
            id=f"att_{self.attempts}",
            generation_id=one.id,
            part=0,
            drive=one.drive,
            upstream="u",
            provider="openai",
            model="m",
            idempotency_key=f"{one.id}.{one.drive}",
            estimated_micros=500 * one.n,
            owner="me",
            sent_at=self.now(),
        )
        assert self.run(begin_attempt, attempt) is not None
        if what == 0:
            what = Failure(kind=FailureKind.NO_IMAGE, phase=Phase.RECEIVE, charge=Charge.YES, detail="nothing")
        failure = what if isinstance(what, Failure) else None
        blobs = tuple(
            NewBlob(id=f"img_{attempt.id}_{at}", kind="result", position=at, store_key=f"{attempt.id}-{at}", info=INFO)
            for at in range(0 if isinstance(what, Failure) else what)
        )
        end = AttemptEnd(attempt_id=attempt.id, at=self.now(), purge_after="later", blobs=blobs, failure=failure)
        self.run(end_attempt, end, rules)
        row: GenerationRow = self.run(get_generation, one.id)
        paid = one.price if failure is not None and failure.charge is Charge.YES else 0
        due = paid if failure is not None else one.unit * min(len(blobs), one.n)
        assert row.charged_micros == due
        assert 0 <= row.compensated_micros <= due
        one.is_open, one.net = False, due - row.compensated_micros
        self.charged += due
        self.given += row.compensated_micros
        is_unpaid = failure is not None and failure.charge is Charge.NO
        return one.id if is_unpaid else multiple()

    # What must hold

    @invariant()
    def the_ledger_is_what_the_model_says(self) -> None:
        """Sums are zero, and every account of the customers' side is known to the micro-unit."""
        sums = self.run(ledger_sums)
        assert sums.hold
        accounts = Counter(sums.accounts)
        assert accounts[HELD] == -sum(one.price for one in self.all.values() if one.is_open)
        assert (accounts[REVENUE], accounts[COMPENSATION]) == (-self.charged, self.given)
        for key_id in KEYS:
            assert accounts[customer(key_id)] == sum(one.counts for one in self.all.values() if one.key_id == key_id)

    @invariant()
    def budgets_count_what_the_ledger_has(self) -> None:
        """Day by day, key by key, group by group; and the audit, which adds it up by itself, finds nothing."""
        counted: Counter[tuple[str, str]] = Counter()
        for one in self.all.values():
            for owner in one.owners:
                counted[owner, one.day] += one.counts
        rows = self.conn.execute("SELECT owner, day, micros FROM spend_day").fetchall()
        stored = Counter({(row["owner"], row["day"]): row["micros"] for row in rows})
        assert +counted == +stored
        assert min(stored.values(), default=0) >= 0
        assert self.run(audit).problems == ()

    @invariant()
    def a_month_is_the_sum_of_its_days(self) -> None:
        """However it is asked for."""
        first, last = (each.isoformat() for each in month_of(self.today))
        for owner in (*(f"key:{each}" for each in KEYS), *(f"group:{each}" for each in GROUPS)):
            found = self.run(spent, owner, self.today.isoformat(), "USD")
            day = self.today.isoformat()
            assert (found.day_micros, found.month_micros) == (
                self._stands(owner, day, day),
                self._stands(owner, first, last),
            )

    def teardown(self) -> None:
        """Leave nothing open behind."""
        self.conn.close()


Histories.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


class TestHistories(Histories.TestCase):
    """The machine, as tests."""
