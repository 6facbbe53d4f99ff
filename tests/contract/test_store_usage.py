"""How generations and money come to stand in the days of usage: by hand, case for case, and for folders of before."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.audit import audit
from holdfast.store.exposure import Cap
from holdfast.store.generations import accept, pass_deadline
from holdfast.store.port import Store
from holdfast.store.queries import migrations
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration, Told
from holdfast.store.sqlite import SqliteStore
from holdfast.store.usage_report import usage_report
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase
from holdfast.wire.usage import By, UsageQuery

LIST, PRICE = 200, 240
IMAGE = {"generations": 1, "images": 1, "charged": PRICE, "cost": LIST}
INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="ab" * 32)
EXCEEDED = Told(code="deadline_exceeded", message="too late", charge=Charge.UNKNOWN)


def failed(kind: FailureKind, charge: Charge) -> Failure:
    """A failure that may have cost something."""
    return Failure(kind=kind, phase=Phase.RECEIVE, charge=charge, detail="it failed")


LOST = failed(FailureKind.LOST_REPLY, Charge.UNKNOWN)
REFUSED = failed(FailureKind.REFUSED_OUTPUT, Charge.YES)


class Days:
    """One database, and what is done to it."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def accept(self, name: str = "1", *, n: int = 1, parts: int = 1) -> None:
        """Somebody asks, on the 17th."""
        new = NewGeneration(
            id=f"gen_{name}",
            key_id="key_1",
            surface="openai",
            model="m",
            tier="1K",
            size="1x1",
            n=n,
            parts=parts,
            request=b"{}",
            deadline_at="later",
            hard_deadline=False,
            created_at="2026-01-17T12:00:00.000Z",
            currency="USD",
            unit_micros=PRICE,
            held_micros=PRICE * n,
            list_micros=LIST,
        )
        self.store.write_sync(accept, new)

    def send(self, attempt: str, upstream: str = "google", *, name: str = "1", part: int = 0, hedge: int = 0) -> None:
        """Send a part of it."""
        new = NewAttempt(
            id=f"att_{attempt}",
            generation_id=f"gen_{name}",
            part=part,
            drive=0,
            upstream=upstream,
            provider="gemini",
            model="m",
            idempotency_key="",
            estimated_micros=LIST,
            owner="me",
            sent_at="2026-01-17T12:00:01.000Z",
            hedge=hedge,
        )
        self.store.write_sync(begin_attempt, new, Cap(model="m", micros=10**9) if hedge else None)

    def end(self, attempt: str, failure: Failure | None = None, *, day: int = 17, goes_on: bool = False) -> None:
        """End an attempt, half a minute after noon of a day."""
        blob = NewBlob(id=f"img_{attempt}", kind="result", position=0, store_key=attempt, info=INFO)
        end = AttemptEnd(
            attempt_id=f"att_{attempt}",
            at=f"2026-01-{day}T12:00:30.000Z",
            purge_after="z",
            blobs=() if failure else (blob,),
            failure=failure,
            retry_at="soon" if goes_on else None,
            cap=Cap(model="m", micros=10**9) if goes_on else None,
        )
        self.store.write_sync(end_attempt, end)

    def told(self) -> dict[tuple[str, str, str], dict[str, int]]:
        """What stands in the days, without what is zero; the ledger holds, and agrees."""
        assert self.store.write_sync(audit).problems == ()
        query = UsageQuery(since=date(2026, 1, 1), until=date(2026, 2, 1), by=(By.DAY, By.UPSTREAM, By.OUTCOME))
        amounts = ("charged", "compensated", "cost", "extra", "unknown")
        names = ("generations", "images", *(f"{each}_micros" for each in amounts))
        rows = {}
        for row in self.store.write_sync(usage_report, query).rows:
            sums = {name.removesuffix("_micros"): much for name in names if (much := getattr(row, name))}
            if sums:
                rows[str(row.day)[-2:], str(row.upstream), str(row.outcome)] = sums
        return rows


@pytest.fixture
def days(database: Any) -> Days:
    """An empty database of each engine."""
    return Days(database.open())


def test_an_image_in_time_is_one_row(days: Days) -> None:
    """Counted, charged and paid under the upstream that made it."""
    days.accept()
    days.send("1")
    assert days.told() == {}
    days.end("1")
    assert days.told() == {("17", "google", "succeeded"): IMAGE}


def test_a_failure_that_was_paid_for_stands_under_its_code(days: Days) -> None:
    """Charged, and given back by rule."""
    days.accept()
    days.send("1")
    days.end("1", REFUSED)
    expected = {"generations": 1, "charged": PRICE, "compensated": PRICE, "cost": LIST}
    assert days.told() == {("17", "google", "content_refused"): expected}


def test_what_was_sent_nowhere_has_no_upstream(days: Days) -> None:
    """Its time was over before its turn came."""
    days.accept()
    days.store.write_sync(pass_deadline, "gen_1", EXCEEDED, "2026-01-18T12:00:00.000Z", "z", False)
    assert days.told() == {("18", "", "deadline_exceeded"): {"generations": 1}}


def test_what_was_booked_before_the_end_stands_open_until_then(days: Days) -> None:
    """Each cost on its own day, under the upstream that takes it; the image, slow by then, under its own."""
    days.accept()
    days.send("1")
    days.end("1", LOST, goes_on=True)
    assert days.told() == {("17", "google", "open"): {"unknown": LIST}}
    days.send("2", "relay")
    days.end("2", day=18)
    assert days.told() == {
        ("17", "google", "succeeded"): {"unknown": LIST},
        ("18", "relay", "succeeded"): {**IMAGE, "compensated": PRICE},
    }


def test_an_image_of_the_attempt_before_the_pause_takes_its_exposure_along(days: Days) -> None:
    """It had been given up on, and comes while the next one is waited for: nothing of it stays open."""
    days.accept()
    days.send("1")
    days.end("1", LOST, goes_on=True)
    assert days.told() == {("17", "google", "open"): {"unknown": LIST}}
    days.end("1")
    assert days.told() == {("17", "google", "succeeded"): IMAGE}


def test_a_late_image_turns_a_failure_where_it_was_counted(days: Days) -> None:
    """The generation stays on the day of its end; the exposure is resolved on the day the image came."""
    days.accept()
    days.send("1")
    days.end("1", LOST)
    assert days.told() == {("17", "google", "outcome_unknown"): {"generations": 1, "unknown": LIST}}
    days.end("1", day=18)
    assert days.told() == {
        ("17", "google", "succeeded"): {"generations": 1, "images": 1, "unknown": LIST},
        ("18", "google", "succeeded"): {"extra": LIST, "unknown": -LIST},
    }


def test_the_second_of_two_attempts_is_an_extra_of_its_own_upstream(days: Days) -> None:
    """The first image ends the generation, and is charged once."""
    days.accept()
    days.send("1")
    days.send("2", "relay", hedge=1)
    days.end("2")
    days.end("1", day=18)
    assert days.told() == {
        ("17", "relay", "succeeded"): IMAGE,
        ("18", "google", "succeeded"): {"extra": LIST},
    }


def test_parts_are_images_of_one_generation(days: Days) -> None:
    """Two of three came: two are counted and charged, each paid where it was made."""
    days.accept(n=3, parts=3)
    for part, upstream in enumerate(("relay", "google", "google")):
        days.send(str(part), upstream, part=part)
    days.end("0")
    assert days.told() == {("17", "relay", "open"): {"cost": LIST}}
    days.end("1", failed(FailureKind.OVERLOADED, Charge.NO))
    days.end("2")
    assert days.told() == {
        ("17", "google", "succeeded"): {"cost": LIST},
        ("17", "relay", "succeeded"): {"generations": 1, "images": 2, "charged": 2 * PRICE, "cost": LIST},
    }


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_folder_of_before_is_rolled_up_as_it_would_have_been(days: Days, tmp_path: Path) -> None:
    """The migration says of the same rows and lines what was counted as they were written."""
    days.accept("1")
    days.send("1")
    days.end("1", LOST, goes_on=True)
    days.send("2", "relay")
    days.end("2", day=18)
    days.accept("2", n=3, parts=3)
    for part in range(3):
        days.send(f"3{part}", "fal", name="2", part=part)
    days.end("30")
    days.end("31", REFUSED)
    days.accept("3")
    days.send("4", name="3")
    days.end("4", LOST)
    days.end("4", day=19)
    days.accept("4")
    days.store.write_sync(pass_deadline, "gen_4", EXCEEDED, "2026-01-18T12:00:00.000Z", "z", False)
    counted = days.told()
    days.store.close()
    (step,) = [each for each in migrations() if "CREATE TABLE usage_day" in each]
    with closing(sqlite3.connect(tmp_path / "holdfast.sqlite3")) as conn:
        conn.executescript(f"DROP TABLE usage_day; ALTER TABLE generation DROP COLUMN served_by; {step}")
    with closing(SqliteStore(tmp_path / "holdfast.sqlite3", "next")) as store:
        assert Days(store).told() == counted
    assert {outcome for _, _, outcome in counted} == {"succeeded", "deadline_exceeded", "open"}


def test_a_report_that_is_too_long_says_so(days: Days) -> None:
    """It is cut off, and is not taken for the whole."""
    for name in "12":
        days.accept(name)
        days.send(name, f"upstream-{name}", name=name)
        days.end(name)
    query = UsageQuery(since=date(2026, 1, 17), until=date(2026, 1, 17), by=(By.UPSTREAM,))
    report = days.store.write_sync(usage_report, query, rows_max=1)
    assert (len(report.rows), report.is_whole) == (1, False)
    report = days.store.write_sync(usage_report, query, rows_max=2)
    assert (len(report.rows), report.is_whole) == (2, True)
