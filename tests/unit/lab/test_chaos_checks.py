"""Each way in which the lab of chaos can find an invariant broken is found, and a run that is well breaks none."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

GEN, ATT = "gen_1", "att_1"
PICTURE = "sha-1"


class Case:
    """One order, accepted, bought once and delivered, by a keyed caller; a test changes what it is about."""

    def __init__(self, checks: ModuleType, evidence: ModuleType, orders: ModuleType) -> None:
        self._checks, self._evidence, self._orders = checks, evidence, orders
        self.limits = checks.Limits(concurrency=2, late_s=10.0, restart_s=30.0)
        self.attempts = [self.attempt()]
        self.images = [self.image()]
        self.events = [(1, "queued", 0.0), (2, "running", 1.0), (3, "succeeded", 20.0)]
        self.generation: dict[str, Any] = {"state": "succeeded"}
        self.journal = [self.charge()]
        self.told = [self.caller()]
        self.rest: dict[str, Any] = {}
        self.troubles: list[Any] = []
        self.restarts: dict[str, list[float]] = {}

    def attempt(self, **fields: Any) -> Any:
        """A call that brought its image."""
        known = {
            "id": ATT,
            "generation_id": GEN,
            "part": 0,
            "drive": 1,
            "number": 1,
            "epoch": 1,
            "upstream": "sync",
            "key_number": 1,
            "key": "gen_1.0.1",
            "state": "settled",
            "charge": "yes",
            "sent_at": 1.0,
            "ended_at": 20.0,
            "booked_micros": 134_000,
            "worker": "work-1",
        }
        return self._evidence.Attempt(**(known | fields))

    def image(self, **fields: Any) -> Any:
        """Its image."""
        known = {"id": "img_1", "generation_id": GEN, "attempt_id": ATT, "kind": "result", "state": "stored"}
        return self._evidence.Image(**(known | {"store_key": "blobs/1", "sha256": PICTURE} | fields))

    def charge(self, **fields: Any) -> Any:
        """What the upstream took for it."""
        return self._evidence.Charge(
            **({"key": "gen_1.0.1", "micros": 134_000, "outcome": "made", "at": 19.0} | fields)
        )

    def caller(self, **fields: Any) -> Any:
        """Who asked for it."""
        known = {"number": 1, "kind": "sdk keyed", "end": "image", "at": 21.0, "sha256": PICTURE, "serial": "s1"}
        return self._orders.Told(**(known | {"generation_id": GEN, "ids": [GEN]} | fields))

    def unknown(self, **fields: Any) -> Any:
        """A call of which nobody knows what became."""
        lost = {"state": "unknown", "charge": "unknown", "booked_micros": 0, "exposed_micros": 134_000}
        return self.attempt(**(lost | fields))

    def judged(self) -> Any:
        """Hold all of it against each other."""
        known = {
            "id": GEN,
            "number": 1,
            "key": "chaos-000001",
            "drive": 1,
            "late": False,
            "paid": None,
            "created_at": 0.0,
            "deadline_at": 300.0,
            "finished_at": 20.0,
        }
        generation = self._evidence.Generation(
            **(known | self.generation),
            events=tuple(self.events),
            attempts=tuple(self.attempts),
            images=tuple(self.images),
        )
        keys = frozenset(each.store_key for each in self.images)
        ends = [(f"msg_{at}", GEN, f"generation.{type_}") for _, type_, at in self.events if type_ == "succeeded"]
        usual = {"objects": keys, "hooked": ends, "accounts": {"revenue": -1, "customer:k": 1}}
        evidence = self._evidence.Evidence(
            generations={GEN: generation}, journal=self.journal, told=self.told, **(usual | self.rest)
        )
        return self._checks.judge(evidence, self.limits, self.troubles, self.restarts)

    def broken(self) -> set[str]:
        """Name the invariants that are found broken."""
        return {name for name, found in self.judged().broken.items() if found}


@pytest.fixture
def case(chaos_checks: ModuleType, chaos_evidence: ModuleType, chaos_orders: ModuleType) -> Case:
    """All is well."""
    return Case(chaos_checks, chaos_evidence, chaos_orders)


def test_a_run_that_is_well_breaks_nothing(case: Case) -> None:
    """And its figures are those of one image."""
    verdict = case.judged()
    assert {name: found for name, found in verdict.broken.items() if found} == {}
    assert (verdict.figures["generations"], verdict.figures["charged"], verdict.figures["unknown"]) == (1, 1, 0)
    assert set(verdict.broken) == {f"I{number}" for number in range(1, 21)}


def test_what_has_no_end_is_seen(case: Case) -> None:
    """A generation, a call, a caller, and one whom nobody knows."""
    case.generation["state"] = "running"
    case.images, case.events = [], case.events[:2]
    case.attempts = [case.attempt(state="polling", charge="unknown", ended_at=float("inf"), booked_micros=0)]
    case.journal, case.told = [], [case.caller(end="nothing", sha256=None, serial=None, error="still waiting")]
    found = case.judged().broken["I1"]
    assert len(found) == 3, found
    case.told[0].ids = ["gen_2"]
    assert any("gen_2" in each for each in case.judged().broken["I1"])


def test_an_end_long_behind_its_deadline_is_seen(case: Case) -> None:
    """The time that the run allows is allowed."""
    case.generation |= {"deadline_at": 15.0}
    case.attempts = [case.attempt(sent_at=1.0)]
    assert case.broken() == set()
    case.generation |= {"deadline_at": 5.0}
    assert case.broken() == {"I1"}


def test_a_second_charge_needs_an_unknown_outcome_before_it(case: Case) -> None:
    """Then it is counted apart; else it is the worst that there is."""
    second = case.attempt(id="att_2", number=2, epoch=2, sent_at=11.0)
    case.attempts = [case.unknown(ended_at=10.0), second]
    case.images = [case.image(attempt_id="att_2")]
    case.journal = [case.charge(), case.charge(at=9.0)]
    verdict = case.judged()
    assert not any(verdict.broken.values()), verdict.broken
    assert (verdict.figures["paid_twice_allowed"], verdict.figures["unknown_charged"]) == (1, 1)
    case.attempts[0] = case.attempt(ended_at=10.0)
    case.images.append(case.image(id="img_2", store_key="blobs/2", sha256="sha-2"))
    assert case.broken() >= {"I2"}


def test_what_was_charged_and_is_nowhere_is_lost(case: Case) -> None:
    """By a call that is on record as turned away, or by none at all."""
    case.attempts = [case.attempt(state="rejected", charge="no", booked_micros=0)]
    case.images = []
    assert case.broken() >= {"I3", "I4", "I19"}
    case.attempts = []
    assert case.broken() >= {"I6"}


def test_an_image_that_cannot_be_had_is_lost(case: Case) -> None:
    """Whom it was for has not got it, and fetching it at the end brought nothing, or something else."""
    case.told = [case.caller(end="nothing", sha256=None, serial=None)]
    assert case.broken() == {"I3"}
    case.rest["fetched"] = {GEN: [PICTURE]}
    assert case.broken() == set()
    case.rest["fetched"] = {GEN: ["sha-9"]}
    assert case.broken() == {"I3", "I11"}


def test_who_is_told_that_it_is_deleted_is_seen(case: Case) -> None:
    """Nothing is deleted in the minutes that a run takes."""
    case.told = [case.caller(end="told", sha256=None, serial=None, code="image_expired")]
    case.rest["fetched"] = {GEN: [PICTURE]}
    assert case.broken() == {"I3"}


@pytest.mark.parametrize("booked", [0, 134_001])
def test_the_ledger_is_held_against_the_journal(case: Case, booked: int) -> None:
    """Neither less nor more than was taken; and it sums to nothing, with nothing held."""
    case.attempts = [case.attempt(booked_micros=booked)]
    assert case.broken() == {"I4"}


@pytest.mark.parametrize("rest", [{"accounts": {"revenue": 1}}, {"accounts": {"held": 5, "x": -5}}, {"audit": ["bad"]}])
def test_the_ledger_has_to_sum_to_nothing(case: Case, rest: dict[str, Any]) -> None:
    """And its own rules have to hold."""
    case.rest |= rest
    assert case.broken() == {"I4"}


def test_two_payers_at_a_time_are_seen(case: Case) -> None:
    """A call that begins before the one before has ended, or in no newer epoch."""
    case.attempts = [case.unknown(ended_at=12.0), case.attempt(id="att_2", number=2, epoch=1, sent_at=11.0)]
    case.images = [case.image(attempt_id="att_2")]
    assert len(case.judged().broken["I5"]) == 2


def test_what_is_sent_too_late_is_seen(case: Case) -> None:
    """Behind the deadline, and behind the end."""
    case.generation["deadline_at"] = 0.5
    case.limits = replace(case.limits, late_s=60.0)
    assert case.broken() == {"I7"}
    case.generation["deadline_at"] = 300.0
    case.attempts = [case.attempt(sent_at=21.0, ended_at=22.0)]
    assert case.broken() == {"I7"}


def test_what_callers_note_is_kept_under_its_name(case: Case) -> None:
    """And a picture of somebody else is nobody's own."""
    case.told[0].notes = ["I8: two generations", "I15: an error with data"]
    assert case.broken() == {"I8", "I15"}
    case.told = [case.caller(sha256="sha-9")]
    assert case.broken() == {"I8", "I3"}


def test_credentials_have_limits(case: Case) -> None:
    """As seen at one moment over all replicas."""
    case.rest["open_at_once"] = {"sync 1": 2}
    assert case.broken() == set()
    case.rest["open_at_once"] = {"sync 1": 3}
    assert case.broken() == {"I9"}


def test_one_picture_for_two_is_seen(case: Case) -> None:
    """The upstream makes none twice."""
    case.told.append(case.caller(number=2, generation_id=None, ids=[]))
    assert "I11" in case.broken()


def test_events_have_no_gap(case: Case) -> None:
    """Neither on record, nor as they were read; nor a second end in one round."""
    case.told[0].numbers = [1, 3]
    assert case.broken() == {"I12"}
    case.told[0].numbers = [1, 2, 3]
    case.events = [*case.events[:2], (4, "succeeded", 20.0)]
    assert case.broken() == {"I16"}
    case.events = [(1, "queued", 0.0), (2, "succeeded", 1.0), (3, "succeeded", 20.0)]
    case.attempts = [case.attempt(sent_at=0.5)]
    assert "I16" in case.broken()


def test_every_end_is_told_once(case: Case) -> None:
    """By one id, however often; and nothing is left to be told."""
    ended = (GEN, "generation.succeeded")
    case.rest["hooked"] = [("msg_1", *ended), ("msg_1", *ended)]
    assert case.broken() == set()
    case.rest["hooked"] = [("msg_1", *ended), ("msg_2", *ended)]
    assert case.broken() == {"I13"}
    case.rest["hooked"] = []
    assert case.broken() == {"I13"}
    case.rest |= {"hooked": [("msg_1", *ended)], "undelivered": 1}
    assert case.broken() == {"I13"}


@pytest.mark.parametrize(
    "rest", [{"objects": frozenset()}, {"objects": frozenset({"blobs/1", "blobs/2"})}, {"spooled": ["att_1-0.part"]}]
)
def test_rows_and_objects_agree(case: Case, rest: dict[str, Any]) -> None:
    """Neither without the other, and nothing in a spool."""
    case.rest |= rest
    assert case.broken() == {"I14"}


def test_a_success_has_an_image_and_nothing_else_has(case: Case) -> None:
    """By the rows."""
    case.images = []
    assert case.broken() >= {"I15", "I3"}


def test_what_a_replica_holds_is_bounded(case: Case) -> None:
    """Files by what it had at first, memory by a bound."""
    case.rest["rest"] = {"serve-1": {"files": 80, "files_at_first": 30, "rss_kb": 100_000}}
    assert case.broken() == set()
    case.rest["rest"] = {"serve-1": {"files": 180, "files_at_first": 30, "rss_kb": 800_000}}
    assert len(case.judged().broken["I17"]) == 2


def test_a_start_that_takes_long_is_seen(case: Case) -> None:
    """By the run's bound."""
    case.restarts = {"work-1": [3.0, 31.0]}
    assert case.broken() == {"I18"}


@pytest.mark.parametrize(("paid", "charged"), [("no", True), ("yes", False)])
def test_what_is_said_of_charges_is_true(case: Case, paid: str, charged: bool) -> None:
    """On record, and to whoever asked."""
    case.generation |= {"state": "failed", "paid": paid}
    case.events = [*case.events[:2], (3, "failed", 20.0)]
    case.rest["hooked"] = [("msg_1", GEN, "generation.failed")]
    case.images, case.attempts = [], [case.unknown()]
    case.journal = [case.charge()] if charged else []
    case.told = [case.caller(end="told", sha256=None, serial=None, paid=paid, code="outcome_unknown")]
    assert len(case.judged().broken["I19"]) == 2
    assert case.broken() == {"I19"}


def test_a_later_round_does_not_make_a_liar_of_what_was_told_before(case: Case) -> None:
    """A failure that cost nothing is driven again by a repeat: its charge comes after the telling."""
    case.attempts = [
        case.attempt(state="rejected", charge="no", booked_micros=0, ended_at=2.0),
        case.attempt(id="att_2", drive=2, number=2, epoch=2, key="gen_1.0.2", sent_at=10.0),
    ]
    case.generation["drive"] = 2
    case.images = [case.image(attempt_id="att_2")]
    case.journal = [case.charge(key="gen_1.0.1", micros=0, outcome="failed"), case.charge(key="gen_1.0.2")]
    case.events = [(1, "queued", 0.0), (2, "failed", 2.0), (3, "queued", 9.0), (4, "succeeded", 20.0)]
    failed = ("msg_0", GEN, "generation.failed")
    case.rest["hooked"] = [failed, ("msg_1", GEN, "generation.succeeded")]
    case.told = [case.caller(), case.caller(end="told", at=3.0, sha256=None, serial=None, paid="no")]
    assert case.broken() == set()
    case.told[1].at = 21.0
    assert case.broken() == {"I19"}


def test_logs_tell_no_secret_and_no_mistake(case: Case) -> None:
    """Each by itself."""
    case.rest["indiscreet"] = ["serve-1: a prompt"]
    assert case.broken() == {"I20"}
    case.rest = {"internal": ["serve-1: fault.internal"]}
    assert case.broken() == {"I1"}


def test_an_unknown_outcome_is_held_against_the_faults(case: Case, chaos_checks: ModuleType) -> None:
    """Its worker's, while it was in flight; another's explain nothing."""
    case.attempts = [case.unknown(ended_at=20.0), case.attempt(id="att_2", number=2, epoch=2, sent_at=20.0)]
    case.images = [case.image(attempt_id="att_2")]
    trouble = chaos_checks.Trouble(kind="kill", target="work-2", peer="", from_s=5.0, to_s=5.0)
    case.troubles = [trouble]
    assert case.judged().figures["unknown_by_cause"] == {"none": 1}
    assert len(case.judged().figures["unexplained"]) == 1
    case.troubles = [trouble, replace(trouble, target="work-1")]
    assert case.judged().figures["unknown_by_cause"] == {"kill": 1}
    away = replace(trouble, kind="partition", target="work-1", peer="objects")
    case.troubles = [away]
    assert case.judged().figures["unknown_by_cause"] == {"none": 1}
    case.troubles = [replace(away, peer="upstream")]
    assert case.judged().figures["unknown_by_cause"] == {"partition upstream": 1}


def test_taking_over_is_timed_by_the_last_call(
    case: Case, chaos_checks: ModuleType, chaos_evidence: ModuleType
) -> None:
    """From the kill; not while the database was away."""
    kill = chaos_checks.Trouble(kind="kill", target="work-1", peer="", from_s=5.0, to_s=5.0)
    generation = chaos_evidence.Generation(
        id=GEN,
        number=1,
        key=None,
        state="failed",
        drive=1,
        late=False,
        paid="unknown",
        created_at=0.0,
        deadline_at=300.0,
        finished_at=20.0,
        attempts=(case.unknown(ended_at=13.0), case.unknown(id="att_2", ended_at=17.5)),
    )
    found = chaos_evidence.Evidence(generations={GEN: generation}, journal=[], told=[])
    assert chaos_checks.takeovers_s(found, [kill]) == [12.5]
    away = replace(kill, kind="database outage", target="", to_s=9.0)
    assert chaos_checks.takeovers_s(found, [kill, away]) == []
