"""Retention at rest: who may be deleted when, marks and tombstones, and reference images that several share.

Run on every engine (`database`, in `tests/conftest.py`).
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.policy.retention import Retention
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.bookkeeping import ledger_of, ledger_sums
from holdfast.store.generations import accept, get_record, mark_received, pass_deadline
from holdfast.store.queries import migrations, queries, schema
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration, Record, Told
from holdfast.store.retention import Due, Place, Receipt, attempt_state, bury, has_input_ref, is_kept, mark_due
from holdfast.store.sqlite import SqliteStore
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

PRICE = 240_000
RETENTION = Retention(max_s=50 * 60, after_finish_s=20 * 60, after_collect_s=5 * 60)
"""In the minutes of the test's own hour."""
UNKNOWN = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="the connection ended")
EXCEEDED = Told(code="deadline_exceeded", message="too late", charge=Charge.UNKNOWN)
CAP = 50


def at(minute: int) -> str:
    """A moment of the test's own day."""
    return f"2026-01-17T{12 + minute // 60:02d}:{minute % 60:02d}:00.000Z"


class Bench:
    """Generations, and what is done to them."""

    def __init__(self, store: Any) -> None:
        self.run = store.write_sync

    def accept(self, id_: str = "gen_1", *, n: int = 1, parts: int = 1, inputs: tuple[str, ...] = ()) -> None:
        """Accept a generation, and send each of its parts."""
        new = NewGeneration(
            id=id_,
            key_id="key_1",
            surface="openai",
            model="nano-banana-pro",
            tier="4K",
            size="4096x4096",
            n=n,
            parts=parts,
            request=b'{"prompt":"a secret"}',
            deadline_at=at(59),
            hard_deadline=False,
            created_at=at(0),
            currency="USD",
            unit_micros=PRICE,
            held_micros=n * PRICE,
            inputs=inputs,
        )
        self.run(accept, new)
        for part in range(parts):
            attempt = NewAttempt(
                id=f"att_{id_}_{part}",
                generation_id=id_,
                part=part,
                drive=0,
                upstream="google",
                provider="gemini",
                model="m",
                idempotency_key="k",
                estimated_micros=PRICE,
                owner="me",
                sent_at=at(0),
            )
            self.run(begin_attempt, attempt)

    def end(self, id_: str = "gen_1", *kinds: str, part: int = 0, minute: int = 0, **overrides: Any) -> None:
        """Settle one part with images of these kinds."""
        info = ImageInfo(mime="image/png", width_px=4096, height_px=4096, bytes=1000, sha256="ab" * 32)
        blobs = tuple(
            NewBlob(id=f"img_{id_}_{part}_{n}", kind=kind, position=n, store_key=f"blobs/{id_}-{part}-{n}", info=info)
            for n, kind in enumerate(kinds)
        )
        values = {"at": at(minute), "purge_after": at(minute + CAP), "blobs": blobs, "answer": b"words"} | overrides
        self.run(end_attempt, AttemptEnd(attempt_id=f"att_{id_}_{part}", **values))

    def made(self, id_: str = "gen_1", *, minute: int = 0, inputs: tuple[str, ...] = ()) -> None:
        """Make a generation that succeeded with one image."""
        self.accept(id_, inputs=inputs)
        self.end(id_, "result", minute=minute)

    def collect(self, id_: str = "gen_1", *, minute: int, image_id: str | None = None) -> None:
        """Note an answer with an image."""
        self.run(mark_received, [Receipt(id_, True, image_id)], at(minute), RETENTION)

    def record(self, id_: str = "gen_1") -> Record:
        """All of it."""
        record: Record | None = self.run(get_record, id_)
        assert record is not None
        return record

    def ends(self, id_: str = "gen_1") -> tuple[str | None, set[str | None]]:
        """When the generation may go, and what its images say."""
        record = self.record(id_)
        return record.generation.purge_after, {blob.delete_after for blob in record.blobs}

    def due(self, minute: int, after: Place | None = None, count: int = 200) -> list[str]:
        """Mark what is due; its ids."""
        marked: tuple[Due, ...] = self.run(mark_due, at(minute), after or Place(), count)
        return [each.place.generation_id for each in marked]

    def states(self, id_: str = "gen_1") -> list[str]:
        """How its images stand."""
        return [blob.state for blob in self.record(id_).blobs]

    def purged_at(self, id_: str = "gen_1") -> str | None:
        """When it was purged."""
        query = "SELECT purged_at FROM generation WHERE id = :id"
        found: str | None = self.run(lambda conn: conn.execute(query, {"id": id_}).fetchone()[0])
        return found


@pytest.fixture
def bench(database: Any) -> Iterator[Bench]:
    """An empty database of each implementation."""
    made = database.open()
    yield Bench(made)
    made.close()


# Collecting moves the end


def test_what_was_never_collected_stays_until_the_cap(bench: Bench) -> None:
    """Not a moment earlier, whatever else was answered."""
    bench.made()
    bench.run(mark_received, [Receipt("gen_1", False)], at(1), RETENTION)
    assert bench.ends() == (at(CAP), {at(CAP)})
    assert bench.due(CAP - 1) == []
    assert bench.due(CAP) == ["gen_1"]


@pytest.mark.parametrize(("minute", "end"), [(1, 20), (14, 20), (16, 21), (40, 45), (48, 50)])
def test_what_was_collected_goes_earlier(bench: Bench, minute: int, end: int) -> None:
    """A while after its end and after its collecting, whichever is later, and never after the cap."""
    bench.made()
    bench.collect(minute=minute)
    assert bench.ends() == (at(end), {at(end)})
    assert bench.due(end - 1) == []
    assert bench.due(end) == ["gen_1"]


def test_the_first_collecting_counts(bench: Bench) -> None:
    """Who fetches an image again does not keep it longer."""
    bench.made()
    bench.collect(minute=16)
    bench.collect(minute=30)
    assert bench.ends() == (at(21), {at(21)})


def test_one_image_of_several_does_not_take_the_others_along(bench: Bench) -> None:
    """They go together, once the last of them was collected; drafts are not waited for."""
    bench.accept(n=2)
    bench.end("gen_1", "draft", "result", "result")
    bench.collect(minute=16, image_id="img_gen_1_0_1")
    assert bench.record().generation.collected_at == at(16)
    assert bench.ends() == (at(CAP), {at(CAP)})
    bench.collect(minute=17, image_id="img_gen_1_0_1")
    assert bench.ends() == (at(CAP), {at(CAP)})
    bench.collect(minute=18, image_id="img_gen_1_0_2")
    assert bench.ends() == (at(23), {at(23)})


def test_an_image_of_another_generation_is_not_collected_by_its_id(bench: Bench) -> None:
    """A receipt speaks of its own generation only."""
    bench.made("gen_1")
    bench.made("gen_2")
    bench.collect("gen_1", minute=1, image_id="img_gen_2_0_0")
    assert [bench.ends(id_)[0] for id_ in ("gen_1", "gen_2")] == [at(CAP), at(CAP)]


def test_an_image_collected_before_its_generation_ends_counts_when_the_rest_is(bench: Bench) -> None:
    """There is no end to count from yet; the receipt is not lost."""
    bench.accept(n=2, parts=2)
    bench.end("gen_1", "result", part=0)
    bench.collect(minute=1, image_id="img_gen_1_0_0")
    assert bench.record().generation.purge_after is None
    bench.end("gen_1", "result", part=1, minute=2)
    assert bench.record().generation.purge_after == at(2 + CAP)
    bench.collect(minute=3, image_id="img_gen_1_1_0")
    assert bench.ends() == (at(22), {at(22)})


def test_a_late_success_counts_from_its_image(bench: Bench) -> None:
    """It came long after the end that was told first."""
    bench.accept()
    bench.run(pass_deadline, "gen_1", EXCEEDED, at(1), at(1 + CAP), False)
    bench.end("gen_1", "result", minute=30)
    assert bench.ends() == (at(30 + CAP), {at(30 + CAP)})
    bench.collect(minute=31)
    assert bench.ends() == (at(50), {at(50)})


def test_a_failure_that_nobody_collects_is_kept_like_an_image(bench: Bench) -> None:
    """Its prompt goes at the cap; until then a late image can be understood."""
    bench.accept()
    bench.end("gen_1", failure=UNKNOWN, answer=None)
    assert bench.due(CAP - 1) == []
    assert bench.due(CAP) == ["gen_1"]
    assert bench.run(bury, ["gen_1"], at(CAP)).generations == 1
    assert bench.record().generation.request is None


# What is due


def test_what_is_due_comes_oldest_first_in_bounded_batches(bench: Bench) -> None:
    """Each batch goes on where the last one ended; equal moments are told apart by their ids."""
    for id_, minute in [("gen_3", 0), ("gen_1", 1), ("gen_2", 1), ("gen_4", 9)]:
        bench.made(id_, minute=minute)
    assert bench.due(CAP + 2, count=2) == ["gen_3", "gen_1"]
    assert bench.due(CAP + 2, Place(at(1 + CAP), "gen_1"), 2) == ["gen_2"]
    assert bench.due(CAP + 2, Place(at(1 + CAP), "gen_2"), 2) == []
    assert bench.states("gen_4") == ["stored"]


def test_what_is_open_is_never_due(bench: Bench) -> None:
    """Nor what has ended while an attempt of it is still in flight: its image is on its way."""
    bench.accept("gen_1")
    bench.accept("gen_2")
    bench.run(pass_deadline, "gen_2", EXCEEDED, at(1), at(2), False)
    assert bench.due(999) == []
    bench.end("gen_2", failure=UNKNOWN, minute=3)
    assert bench.due(999) == ["gen_2"]


def test_marked_images_are_given_with_their_files_until_they_are_buried(bench: Bench) -> None:
    """A run that died after marking is taken up by the next one, files and all."""
    bench.made()
    (first,) = bench.run(mark_due, at(CAP), Place(), 9)
    (again,) = bench.run(mark_due, at(CAP), Place(), 9)
    assert first == again == Due(place=Place(at(CAP), "gen_1"), store_keys=("blobs/gen_1-0-0",), bytes=1000)
    assert bench.states() == ["deleting"]
    assert bench.run(is_kept, "blobs/gen_1-0-0")
    bench.run(bury, ["gen_1"], at(CAP))
    assert bench.due(999) == []
    assert not bench.run(is_kept, "blobs/gen_1-0-0")


# Tombstones


def test_a_tombstone_keeps_the_record_and_the_money_and_nothing_of_what_was_said(bench: Bench) -> None:
    """Prompt and model's words go in the same commit as the images; hash, size, ledger and log stay."""
    bench.made()
    before, money = bench.record(), bench.run(ledger_of, "gen_1")
    bench.due(CAP)
    assert bench.record().generation.request is not None
    buried = bench.run(bury, ["gen_1"], at(CAP + 1))
    assert (buried.generations, buried.images, buried.inputs) == (1, 1, ())
    after = bench.record()
    assert bench.purged_at() == at(CAP + 1)
    assert after.generation == before.generation.but(request=None, purged_at=at(CAP + 1))
    assert [attempt.answer for attempt in after.attempts] == [None]
    assert [attempt.but(answer=None) for attempt in before.attempts] == list(after.attempts)
    assert [blob.but(state="deleted") for blob in before.blobs] == list(after.blobs)
    assert bench.run(ledger_of, "gen_1") == money
    assert bench.run(ledger_sums).hold


def test_a_generation_is_buried_once(bench: Bench) -> None:
    """A second run changes nothing, and counts nothing."""
    bench.made()
    bench.due(CAP)
    bench.run(bury, ["gen_1"], at(CAP))
    again = bench.run(bury, ["gen_1", "gen_none"], at(CAP + 5))
    assert (again.generations, again.images, bench.purged_at()) == (0, 0, at(CAP))


def test_what_is_not_due_is_not_buried(bench: Bench) -> None:
    """Whatever a mistake of ours asks for: open, or before its time, it stays."""
    bench.made("gen_1")
    bench.accept("gen_2")
    assert bench.run(bury, ["gen_1", "gen_2"], at(CAP - 1)).generations == 0
    assert bench.record("gen_1").generation.request is not None
    assert bench.record("gen_2").generation.request is not None


def test_an_image_that_comes_between_mark_and_tombstone_is_kept(bench: Bench) -> None:
    """What was marked is gone; the late one, and the prompt beside it, have a new end."""
    bench.accept(n=2, parts=2)
    bench.end("gen_1", "result", part=0)
    bench.end("gen_1", failure=UNKNOWN, part=1, answer=None)
    bench.due(CAP)
    bench.end("gen_1", "result", part=1, minute=CAP)
    buried = bench.run(bury, ["gen_1"], at(CAP))
    assert (buried.generations, buried.images, bench.purged_at()) == (0, 1, None)
    assert bench.states() == ["deleted", "stored"]
    assert bench.record().generation.request is not None
    assert bench.due(2 * CAP - 1) == []
    assert bench.due(2 * CAP) == ["gen_1"]
    assert bench.run(bury, ["gen_1"], at(2 * CAP)).generations == 1


def test_an_image_that_comes_after_the_tombstone_is_swept_in_its_own_time(bench: Bench) -> None:
    """It is kept as long as any other, though the prompt is gone."""
    bench.accept()
    bench.end("gen_1", "draft", failure=UNKNOWN, answer=None)
    bench.due(CAP)
    bench.run(bury, ["gen_1"], at(CAP))
    bench.end("gen_1", "result", minute=CAP + 5)
    row = bench.record().generation
    assert (row.state, row.late, row.purge_after, row.request) == ("succeeded", 1, at(2 * CAP + 5), None)
    assert (bench.states(), bench.purged_at()) == (["stored"], None)
    assert bench.due(2 * CAP + 5) == ["gen_1"]


def test_an_extra_image_keeps_what_was_collected_before_it(bench: Bench) -> None:
    """Nobody has fetched it: it stays until its own cap, or until it is fetched."""
    bench.accept(n=2, parts=2)
    bench.end("gen_1", "result", part=0)
    bench.end("gen_1", failure=UNKNOWN, part=1, answer=None)
    bench.collect(minute=1)
    assert bench.ends()[0] == at(20)
    bench.end("gen_1", "result", part=1, minute=10)
    assert bench.record().blobs[1].kind == "late"
    assert bench.ends()[0] == at(10 + CAP)
    bench.collect(minute=12, image_id="img_gen_1_1_0")
    assert bench.ends() == (at(30), {at(30)})


def test_a_generation_that_is_gone_is_not_moved_by_a_receipt(bench: Bench) -> None:
    """Who had opened its image before it went may say so afterwards."""
    bench.made()
    bench.due(CAP)
    bench.run(bury, ["gen_1"], at(CAP))
    bench.collect(minute=CAP + 1)
    assert bench.record().generation.collected_at == at(CAP + 1)
    assert bench.ends()[0] == at(CAP)
    assert bench.due(999) == []


# Reference images


def test_a_reference_image_goes_with_the_last_generation_that_names_it(bench: Bench) -> None:
    """Shared by its digest: one that is kept keeps it for all."""
    bench.made("gen_1", inputs=("inputs/a", "inputs/b", "inputs/a"))
    bench.made("gen_2", minute=5, inputs=("inputs/b",))
    assert bench.run(has_input_ref, "inputs/a")
    assert bench.due(CAP) == ["gen_1"]
    assert bench.run(bury, ["gen_1"], at(CAP)).inputs == ("inputs/a",)
    assert (bench.run(has_input_ref, "inputs/a"), bench.run(has_input_ref, "inputs/b")) == (False, True)
    assert bench.due(CAP + 5) == ["gen_2"]
    assert bench.run(bury, ["gen_2"], at(CAP + 5)).inputs == ("inputs/b",)


def test_two_that_go_together_give_their_reference_image_once(bench: Bench) -> None:
    """Neither keeps it for the other."""
    for id_ in ("gen_1", "gen_2"):
        bench.made(id_, inputs=("inputs/a",))
    assert bench.due(CAP) == ["gen_1", "gen_2"]
    assert bench.run(bury, ["gen_1", "gen_2"], at(CAP)).inputs == ("inputs/a",)


def test_an_attempt_tells_how_it_stands(bench: Bench) -> None:
    """By its name alone, as a file has it."""
    bench.accept()
    assert bench.run(attempt_state, "att_gen_1_0") == "sent"
    assert bench.run(attempt_state, "att_nobody") is None


def test_no_query_reads_a_table_that_grows() -> None:
    """A run every minute, and a receipt for each image, find what they need by an index."""
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.executescript(schema())
        for name, query in queries("retention").items():
            values = dict.fromkeys(re.findall(r":(\w+)", re.sub(r"--.*", "", query)), 0)
            plan = " ".join(row[3] for row in conn.execute(f"EXPLAIN QUERY PLAN {query}", values))
            assert "SCAN" not in plan, f"{name}: {plan}"
            assert "TEMP B-TREE" not in plan, f"{name}: {plan}"
            assert name != "due" or "INDEX generation_to_purge" in plan, plan


# What an older version left


def test_a_folder_of_an_older_version_names_its_reference_images_and_keeps_what_was_not_collected(
    tmp_path: Path,
) -> None:
    """Its rows said a day for everything; nothing had been deleted, and nothing may be before its time."""
    path = tmp_path / "holdfast.sqlite3"
    row = (
        "INSERT INTO generation (id, key_id, surface, model, tier, size, n, request, state, parts, parts_open, "
        "deadline_at, created_at, finished_at, collected_at, purge_after, currency, unit_micros, held_micros) VALUES "
        "(?, 'k', 'gemini', 'm', '1K', '1x1', 1, ?, ?, 1, 0, 'd', 'c', ?, ?, ?, 'USD', 1, 1)"
    )
    request = b'{"prompt":"p","inputs":[{"store_key":"inputs/a"},{"store_key":"inputs/b"},{"store_key":"inputs/a"}]}'
    ended, day = "2026-01-17T12:00:00.123Z", "2026-01-18T12:00:00.123Z"
    with closing(sqlite3.connect(path)) as conn:
        conn.executescript(f"BEGIN;\n{migrations()[0]}\nPRAGMA user_version = 1;\nCOMMIT;")
        conn.execute(row, ("gen_1", request, "succeeded", ended, None, day))
        conn.execute(row, ("gen_2", b'{"prompt":"p"}', "succeeded", ended, ended, day))
        conn.execute(row, ("gen_3", None, "running", None, None, None))
        conn.commit()
    with closing(SqliteStore(path, "me")) as store:
        refs = store.write_sync(lambda conn: [tuple(ref) for ref in conn.execute("SELECT * FROM input_ref")])
        ends = store.write_sync(lambda conn: [tuple(end) for end in conn.execute("SELECT purge_after FROM generation")])
    assert sorted(refs) == [("gen_1", "inputs/a"), ("gen_1", "inputs/b")]
    assert ends == [("2026-01-24T12:00:00.123Z",), (day,), (None,)]
