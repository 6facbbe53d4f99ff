"""The sending commit and the settling commit, with every way in which an attempt can end.

Run on every engine (`database`, in `tests/conftest.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from holdfast import faults
from holdfast.faults import InjectedFault
from holdfast.store.attempts import begin_attempt, end_attempt, get_attempt, keep_handle
from holdfast.store.bookkeeping import ledger_of, ledger_sums
from holdfast.store.generations import (
    accept,
    attempts_of,
    blobs_of,
    events_of,
    get_generation,
    get_record,
    pass_deadline,
    take_over,
    take_over_one,
)
from holdfast.store.records import AttemptEnd, Ended, GenerationRow, NewAttempt, NewBlob, NewGeneration, Record, Told
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase, Usage

PRICE = 240_000
UNKNOWN = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="the connection ended")
UNKNOWN_TOO = Failure(kind=FailureKind.UPSTREAM_TIMEOUT, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="too slow")
UNPAID = Failure(kind=FailureKind.OVERLOADED, phase=Phase.RECEIVE, charge=Charge.NO, detail="busy", status=503)
UNSENT = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="nothing was sent")
PAID = Failure(kind=FailureKind.MALFORMED, phase=Phase.DECODE, charge=Charge.YES, detail="cut image", status=200)
EXCEEDED = Told(code="deadline_exceeded", message="too late", charge=Charge.UNKNOWN)

Tables = dict[str, list[tuple[Any, ...]]]


class Bench:
    """One generation, and what is done to it."""

    def __init__(self, database: Any) -> None:
        self.database, self.store = database, database.open()
        self.run = self.store.write_sync

    def accept(self, id_: str = "gen_1", *, n: int = 1, parts: int = 1) -> None:
        """Accept a generation of `n` images."""
        new = NewGeneration(
            id=id_,
            key_id="key_1",
            surface="openai",
            model="nano-banana-pro",
            tier="4K",
            size="4096x4096",
            n=n,
            parts=parts,
            request=b"{}",
            deadline_at=at(59),
            hard_deadline=False,
            created_at=at(0),
            currency="USD",
            unit_micros=PRICE,
            held_micros=n * PRICE,
        )
        self.run(accept, new)

    def begin(
        self, part: int = 0, *, id_: str | None = None, generation_id: str = "gen_1", second: int = 1, owner: str = "me"
    ) -> Any:
        """Make the sending commit of one part; `att_<part>` unless named otherwise."""
        new = NewAttempt(
            id=id_ or f"att_{part}",
            generation_id=generation_id,
            part=part,
            drive=0,
            upstream="google",
            provider="gemini",
            model="gemini-3-pro-image",
            idempotency_key=f"{generation_id}.{part}.0",
            estimated_micros=PRICE,
            owner=owner,
            sent_at=at(second),
        )
        return self.run(begin_attempt, new)

    def end(self, part: int = 0, **overrides: Any) -> Ended:
        """Make the settling commit of one part's attempt."""
        values = {"attempt_id": f"att_{part}", "at": at(30), "purge_after": at(50)} | overrides
        ended: Ended = self.run(end_attempt, AttemptEnd(**values))
        return ended

    def cancel(self) -> None:
        """Set the flag that a cancel sets."""
        self.run(lambda conn: conn.execute("UPDATE generation SET cancel_requested = 1").rowcount)

    def row(self) -> GenerationRow:
        """The generation as it stands."""
        row: GenerationRow | None = self.run(get_generation, "gen_1")
        assert row is not None
        return row

    def record(self) -> Record:
        """The generation as it stands, with all that belongs to it."""
        record: Record | None = self.run(get_record, "gen_1")
        assert record is not None
        return record

    def events(self) -> list[str]:
        """What its log says."""
        return [event.type for event in self.run(events_of, "gen_1")]

    def verbs(self) -> list[str]:
        """What happened to its customer's account, in order."""
        lines = self.run(ledger_of, "gen_1")
        return list(dict.fromkeys(verb for verb, account, _ in lines if account.startswith("customer:")))

    def kinds(self) -> dict[str, str]:
        """Its stored images by key, with their kind."""
        return {blob.store_key: blob.kind for blob in self.run(blobs_of, "gen_1")}

    def everything(self) -> Tables:
        """Every row of every table."""
        found: Tables = self.database.everything(self.store)
        return found


@pytest.fixture
def bench(database: Any) -> Iterator[Bench]:
    """An empty database of each implementation; at the end its ledger must hold."""
    bench = Bench(database)
    yield bench
    sums = bench.run(ledger_sums)
    assert sums.hold


def at(second: int) -> str:
    """A moment of the test's own minute."""
    return f"2026-01-17T12:00:{second:02d}.000Z"


def blobs(part: int = 0, *kinds: str) -> tuple[NewBlob, ...]:
    """Images of one attempt, each of a size of its own."""
    return tuple(
        NewBlob(
            id=f"img_{part}_{position}",
            kind=kind,
            position=position,
            store_key=f"blobs/{part}-{position}",
            info=ImageInfo(mime="image/png", width_px=4096, height_px=4096 - position, bytes=position + 1, sha256="ab"),
        )
        for position, kind in enumerate(kinds or ("result",))
    )


# Sending


def test_sending_claims_the_generation_and_writes_the_attempt(bench: Bench) -> None:
    """All of it in one commit, before the first byte may leave."""
    bench.accept()
    assert bench.begin() == 1
    attempt = bench.run(get_attempt, "att_0")
    assert (attempt.generation_id, attempt.part, attempt.drive, attempt.number, attempt.epoch) == ("gen_1", 0, 0, 1, 1)
    assert (attempt.upstream, attempt.provider, attempt.model) == ("google", "gemini", "gemini-3-pro-image")
    # Until its end is known it may have been paid for.
    assert (attempt.state, attempt.charge, attempt.sent_at) == ("sent", "unknown", at(1))
    assert (attempt.received_at, attempt.ended_at, attempt.failed, attempt.used, attempt.answer) == (None,) * 5
    row = bench.row()
    assert (row.state, row.epoch, row.started_at, row.parts_open) == ("running", 1, at(1), 1)
    running = bench.run(events_of, "gen_1")[-1]
    assert (running.type, json.loads(running.data)) == ("running", {"upstream": "google", "part": 0})


def test_every_sending_has_a_greater_epoch_and_number(bench: Bench) -> None:
    """Over all parts, and over a takeover; the generation started with the first."""
    bench.accept(n=3, parts=3)
    assert [bench.begin(0, second=1), bench.begin(1, second=2)] == [1, 2]
    bench.run(take_over, "next")
    assert bench.begin(2, second=3, owner="next") == 4
    assert [attempt.number for attempt in bench.run(attempts_of, "gen_1")] == [1, 2, 3]
    assert bench.row().started_at == at(1)
    bench.accept("gen_2")
    bench.begin(0, id_="att_x", generation_id="gen_2")
    assert bench.run(get_attempt, "att_x").number == 1


def test_who_was_taken_over_from_sends_nothing_more(bench: Bench) -> None:
    """A worker that slept past its lease finds out at its next commit, which writes nothing; the new owner goes on."""
    bench.accept(n=2, parts=2)
    assert bench.begin(0, second=1) == 1
    assert bench.run(take_over_one, "gen_1", "next")
    assert bench.begin(1, second=2) is None
    assert bench.begin(1, second=3, owner="next") == 3
    assert [each.part for each in bench.run(attempts_of, "gen_1")] == [0, 1]


def test_what_has_ended_is_taken_over_by_nobody(bench: Bench) -> None:
    """Its epoch and its owner stay as they were."""
    bench.accept()
    bench.begin(0)
    bench.end(0, failure=UNSENT)
    before = bench.row()
    assert not bench.run(take_over_one, "gen_1", "next")
    assert bench.row() == before


def test_nothing_is_sent_for_what_ended_was_cancelled_or_is_in_flight(bench: Bench) -> None:
    """None, and not one row has changed: whoever gets it sends nothing."""
    bench.accept(n=2, parts=2)
    bench.begin(0)
    refused = []
    before = bench.everything()
    refused.append(bench.begin(0, id_="att_again"))
    bench.run(lambda conn: conn.execute("UPDATE attempt SET state = 'polling'").rowcount)
    refused.append(bench.begin(0, id_="att_again"))
    bench.run(lambda conn: conn.execute("UPDATE attempt SET state = 'sent'").rowcount)
    refused.append(bench.begin(0, id_="att_x", generation_id="gen_none"))
    assert bench.everything() == before
    bench.cancel()
    before = bench.everything()
    refused.append(bench.begin(1))
    assert bench.everything() == before
    bench.run(pass_deadline, "gen_1", EXCEEDED, at(20), at(40), False)
    before = bench.everything()
    refused.append(bench.begin(1))
    assert bench.everything() == before
    assert refused == [None] * 5


def test_the_database_itself_refuses_a_second_payer(bench: Bench) -> None:
    """Should a process that was thought dead get past the check, the index stops it before it sends."""
    bench.accept()
    bench.begin(0)

    def copy(conn: Any) -> None:
        row = {**conn.execute("SELECT * FROM attempt").fetchone(), "id": "att_b", "number": 2}
        conn.execute(f"INSERT INTO attempt ({', '.join(row)}) VALUES ({', '.join(f':{name}' for name in row)})", row)

    with pytest.raises(bench.database.IntegrityError, match=r"attempt\.part, attempt\.hedge|attempt_open"):
        bench.run(copy)


@pytest.mark.parametrize("place", ["before_rows", "after_rows"])
@pytest.mark.parametrize("commit", ["accept", "send", "settle"])
def test_a_commit_that_breaks_half_way_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, commit: str, place: str
) -> None:
    """Whatever step it reached: all of its rows are there, or none; and the same step can be done again."""
    steps: list[tuple[str, Callable[[], Any]]] = [("accept", bench.accept), ("send", bench.begin)]
    steps.append(("settle", lambda: bench.end(blobs=blobs())))
    for name, step in steps:
        if name == commit:
            before = bench.everything()
            monkeypatch.setattr(faults, "_armed", {f"{commit}.{place}": faults._Armed("error", 1)})
            with pytest.raises(InjectedFault):
                step()
            assert bench.everything() == before
        step()
    assert bench.row().state == "succeeded"


# Settling


def test_an_image_ends_the_generation_and_its_money_in_one_commit(bench: Bench) -> None:
    """Rows of the image, the attempt's story, the capture and the final state."""
    bench.accept()
    bench.begin()
    usage = Usage(input_tokens=10, output_tokens=2000)
    ended = bench.end(blobs=blobs(), http_status=200, usage=usage, answer=b'{"candidates":[]}', received_at=at(29))
    assert ended.was_open
    assert ended.finished == bench.record()
    row = bench.row()
    assert (row.state, row.finished_at, row.purge_after, row.charged_micros) == ("succeeded", at(30), at(50), PRICE)
    assert (row.partial_result, row.late, row.parts_open, row.told) == (0, 0, 0, None)
    attempt = bench.run(get_attempt, "att_0")
    assert (attempt.state, attempt.charge, attempt.http_status, attempt.failed) == ("settled", "yes", 200, None)
    assert (attempt.received_at, attempt.ended_at) == (at(29), at(30))
    assert (attempt.used, attempt.answer) == (usage, b'{"candidates":[]}')
    (blob,) = bench.run(blobs_of, "gen_1")
    assert (blob.id, blob.attempt_id, blob.part, blob.position, blob.kind) == ("img_0_0", "att_0", 0, 0, "result")
    assert (blob.store_key, blob.sha256, blob.bytes, blob.mime) == ("blobs/0-0", "ab", 1, "image/png")
    assert (blob.width_px, blob.height_px, blob.state, blob.delete_after) == (4096, 4096, "stored", at(50))
    assert bench.verbs() == ["hold", "capture"]
    assert bench.events() == ["queued", "running", "succeeded"]


@pytest.mark.parametrize(("wanted", "brought", "charged"), [(4, 4, 4), (4, 1, 1), (1, 3, 1)])
def test_the_customer_pays_what_he_got_and_asked_for(bench: Bench, wanted: int, brought: int, charged: int) -> None:
    """Fewer than asked: those; more than asked: all are kept, and the surplus is free."""
    bench.accept(n=wanted)
    bench.begin()
    bench.end(blobs=blobs(0, *["result"] * brought))
    row = bench.row()
    assert (row.charged_micros, row.partial_result) == (charged * PRICE, int(brought < wanted))
    assert len(bench.kinds()) == brought
    assert bench.run(ledger_sums).accounts == {
        "customer:key_1": charged * PRICE,
        "held": 0,
        "revenue": -charged * PRICE,
        "provider_cost": PRICE,
        "provider:google": -PRICE,
    }


def test_drafts_are_kept_and_cost_the_customer_nothing(bench: Bench) -> None:
    """Beside a result, or beside a refusal that came after them."""
    bench.accept()
    bench.begin()
    bench.end(blobs=blobs(0, "draft", "draft", "result"))
    assert bench.row().charged_micros == PRICE
    assert bench.kinds() == {"blobs/0-0": "draft", "blobs/0-1": "draft", "blobs/0-2": "result"}


def test_drafts_of_a_refusal_are_kept(bench: Bench) -> None:
    """They are paid for, although nothing is delivered."""
    bench.accept()
    bench.begin()
    bench.end(failure=PAID, blobs=blobs(0, "draft"))
    row = bench.row()
    assert (row.state, row.charged_micros, row.compensated_micros) == ("failed", PRICE, PRICE)
    assert bench.kinds() == {"blobs/0-0": "draft"}


@pytest.mark.parametrize(
    ("failure", "state", "code"),
    [
        (UNPAID, "rejected", "overloaded"),
        (PAID, "charged_failed", "upstream_failed"),
        (UNKNOWN, "unknown", "outcome_unknown"),
    ],
)
def test_a_failure_is_told_with_what_it_may_have_cost_and_is_free(
    bench: Bench, failure: Failure, state: str, code: str
) -> None:
    """The attempt's state says whether it was paid for; where it was, the customer gets back what he is charged."""
    bench.accept()
    bench.begin()
    ended = bench.end(failure=failure, http_status=failure.status)
    assert ended.finished == bench.record()
    attempt = bench.run(get_attempt, "att_0")
    assert (attempt.state, attempt.charge, attempt.failed) == (state, failure.charge.value, failure)
    told = bench.row().told
    assert told is not None
    assert (told.code, told.charge, told.message) == (code, failure.charge, failure.detail)
    assert (told.kind, told.status, told.reason) == (failure.kind.value, failure.status, failure.reason)
    row = bench.row()
    assert (row.state, row.charged_micros) == ("failed", row.compensated_micros)
    assert bench.verbs() == ["hold", *(["capture", "compensate"] if failure is PAID else ["void"])]
    assert bench.run(ledger_sums).accounts["customer:key_1"] == 0
    assert bench.events() == ["queued", "running", "failed"]


def test_parts_end_one_by_one_and_the_last_one_concludes(bench: Bench) -> None:
    """In whatever order; until then nobody is told an end, and the log says what came."""
    bench.accept(n=3, parts=3)
    for part in range(3):
        bench.begin(part)
    assert bench.end(2, blobs=blobs(2)) == Ended(was_open=True)
    assert bench.end(0, failure=UNPAID) == Ended(was_open=True)
    assert (bench.row().state, bench.row().parts_open, bench.verbs()) == ("running", 1, ["hold"])
    record = bench.end(1, blobs=blobs(1)).finished
    assert record == bench.record()
    finished = record.generation
    assert (finished.state, finished.charged_micros, finished.partial_result) == ("succeeded", 2 * PRICE, 1)
    assert finished.told is None
    assert bench.events() == ["queued", *["running"] * 3, "stored", "progress", "succeeded"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
@pytest.mark.parametrize(
    ("failures", "story", "code"),
    [
        ((UNPAID, UNKNOWN, PAID), 2, "upstream_failed"),
        ((UNSENT, UNKNOWN, UNPAID), 1, "outcome_unknown"),
        ((UNSENT, UNPAID, UNSENT), 0, "upstream_failed"),
        ((UNPAID, UNKNOWN, UNKNOWN_TOO), 1, "outcome_unknown"),
    ],
)
def test_when_every_part_failed_words_and_charge_are_of_one_part(
    bench: Bench, failures: tuple[Failure, ...], story: int, code: str, order: tuple[int, ...]
) -> None:
    """The first of those that may have cost the most, whichever ended last: "not sent" is never told as unknown."""
    bench.accept(n=3, parts=3)
    for part in range(3):
        bench.begin(part)
    for part in order:
        ended = bench.end(part, failure=failures[part])
    assert ended.finished is not None
    told = ended.finished.generation.told
    assert told is not None
    it = failures[story]
    assert (told.code, told.message, told.charge) == (code, it.detail, it.charge)
    assert (told.kind, told.status, told.reason) == (it.kind.value, it.status, it.reason)


def test_after_a_cancel_an_image_is_delivered_and_a_failure_is_an_end(bench: Bench) -> None:
    """Nothing more is bought, but what arrives was paid for."""
    bench.accept()
    bench.begin()
    bench.cancel()
    bench.end(blobs=blobs())
    assert (bench.row().state, bench.verbs()) == ("succeeded", ["hold", "capture"])


def test_after_a_cancel_a_failure_is_a_cancellation(bench: Bench) -> None:
    """Its owner wanted it no longer, and is told so; the money is back."""
    bench.accept()
    bench.begin()
    bench.cancel()
    bench.end(failure=UNKNOWN)
    assert (bench.row().state, bench.verbs()) == ("cancelled", ["hold", "void"])
    assert bench.events()[-1] == "cancelled"


@pytest.mark.parametrize("first", ["images", "no", "yes"])
def test_what_has_ended_stays_as_it_is(bench: Bench, first: str) -> None:
    """A second settling, from a recovery or a stale worker, writes nothing at all."""
    bench.accept()
    bench.begin()
    match first:
        case "images":
            bench.end(blobs=blobs())
        case _:
            bench.end(failure={"no": UNPAID, "yes": PAID}[first])
    before = bench.everything()
    assert bench.end(blobs=blobs(1)) == Ended(was_open=False)
    assert bench.end(failure=UNKNOWN) == Ended(was_open=False)
    assert bench.everything() == before


def test_an_attempt_that_was_never_committed_cannot_end(bench: Bench) -> None:
    """Sending before the commit is the one mistake that must not be possible."""
    with pytest.raises(AssertionError, match="before it is sent"):
        bench.end(blobs=blobs())


# What comes late


@pytest.mark.parametrize("failure", [UNKNOWN, UNPAID, PAID])
def test_only_an_image_changes_what_is_unknown(bench: Bench, failure: Failure) -> None:
    """A recovery that finds nothing better leaves it: no failure is told twice, none is made milder."""
    bench.accept()
    bench.begin()
    bench.end(failure=UNKNOWN)
    before = bench.everything()
    assert bench.end(failure=failure, blobs=blobs(0, "draft")) == Ended(was_open=False)
    assert bench.everything() == before


def test_a_late_image_turns_an_unknown_outcome_into_a_success_that_is_free(bench: Bench) -> None:
    """Its hold was voided when it was told; the image is delivered to whoever asks again."""
    bench.accept()
    bench.begin()
    bench.end(failure=UNKNOWN)
    failed = bench.row()
    ended = bench.end(blobs=blobs(0, "draft", "result"), at=at(40), purge_after=at(58))
    row = bench.row()
    assert ended == Ended(was_open=True, finished=bench.record())
    assert (row.state, row.late, row.told, row.charged_micros) == ("succeeded", 1, None, 0)
    # It ended when it was told; only its images live from now.
    assert (row.finished_at, row.purge_after, row.partial_result) == (failed.finished_at, at(58), 0)
    assert bench.run(get_attempt, "att_0").state == "settled"
    assert bench.run(get_attempt, "att_0").failed is None
    assert bench.kinds() == {"blobs/0-0": "draft", "blobs/0-1": "result"}
    assert bench.verbs() == ["hold", "void"]
    assert bench.events() == ["queued", "running", "failed", "stored", "succeeded"]
    late = bench.run(events_of, "gen_1")[-2:]
    assert [json.loads(event.data) for event in late] == [{"late": True}] * 2


def test_an_attempt_in_flight_at_the_deadline_may_still_turn_it(bench: Bench) -> None:
    """It was never ended, only its generation was."""
    bench.accept(n=2, parts=2)
    bench.begin(0)
    bench.begin(1)
    bench.run(pass_deadline, "gen_1", EXCEEDED, at(20), at(40), False)
    assert bench.end(1, blobs=blobs(1)).finished == bench.record()
    assert (bench.row().state, bench.row().late, bench.row().partial_result) == ("succeeded", 1, 1)
    # Of two that come late the second is an extra: what was told as the result does not change.
    assert bench.end(0, blobs=blobs(0)) == Ended(was_open=True)
    assert bench.kinds() == {"blobs/0-0": "late", "blobs/1-0": "result"}
    assert bench.verbs() == ["hold", "void"]


def test_an_image_that_comes_after_any_other_end_is_kept_as_an_extra(bench: Bench) -> None:
    """After a failure that was no unknown outcome: the state stays, nobody is charged, the image is listed."""
    bench.accept(n=2, parts=2)
    bench.begin(0)
    bench.begin(1)
    bench.end(1, failure=UNKNOWN)
    bench.end(0, failure=PAID)
    told = bench.row()
    assert told.told is not None
    assert told.told.code == "upstream_failed"
    assert bench.end(1, blobs=blobs(1, "draft", "result")) == Ended(was_open=True)
    assert bench.kinds() == {"blobs/1-0": "draft", "blobs/1-1": "late"}
    after = bench.row()
    assert (after.state, after.told, after.late, after.charged_micros) == ("failed", told.told, 0, told.charged_micros)
    assert bench.events()[-1] == "stored"


@pytest.mark.parametrize("end", ["succeeded", "cancelled"])
def test_a_late_image_changes_no_success_and_no_cancellation(bench: Bench, end: str) -> None:
    """The end that was told stands; the image is kept."""
    bench.accept(n=2, parts=2)
    bench.begin(0)
    bench.begin(1)
    bench.end(1, failure=UNKNOWN)
    if end == "cancelled":
        bench.cancel()
        bench.end(0, failure=UNKNOWN)
    else:
        bench.end(0, blobs=blobs(0))
    before = bench.row()
    assert bench.end(1, blobs=blobs(1)) == Ended(was_open=True)
    after = bench.row()
    assert (after.state, after.charged_micros, after.partial_result) == (end, before.charged_micros, int(end[0] == "s"))
    assert bench.kinds()["blobs/1-0"] == "late"


def test_an_image_that_comes_late_while_others_are_in_flight_counts_as_delivered(bench: Bench) -> None:
    """Its part had ended as unknown: it is not counted twice, nothing ends early, and the end delivers it."""
    bench.accept(n=2, parts=2)
    bench.begin(0)
    bench.begin(1)
    bench.end(0, failure=UNKNOWN)
    assert bench.end(0, blobs=blobs(0)) == Ended(was_open=True)
    assert (bench.row().state, bench.row().parts_open) == ("running", 1)
    assert bench.end(1, failure=UNPAID).finished == bench.record()
    assert (bench.row().state, bench.row().charged_micros, bench.row().partial_result) == ("succeeded", PRICE, 1)
    assert bench.kinds() == {"blobs/0-0": "result"}


def test_a_failure_after_the_end_ends_the_attempt_only(bench: Bench) -> None:
    """The generation was told before; what the attempt cost, and what it drew, is still written down."""
    bench.accept()
    bench.begin()
    bench.run(pass_deadline, "gen_1", EXCEEDED, at(20), at(40), False)
    before, events = bench.row(), bench.events()
    assert bench.end(failure=PAID, blobs=blobs(0, "draft")) == Ended(was_open=True)
    # Kept as long as what had come in time.
    assert (bench.row(), bench.events()) == (before.but(purge_after=at(50)), events)
    assert bench.run(get_attempt, "att_0").state == "charged_failed"
    assert bench.kinds() == {"blobs/0-0": "draft"}


def test_a_draft_of_an_unknown_attempt_may_become_its_result(bench: Bench) -> None:
    """A recovery that reads the same files again takes the same places, and does not trip over them."""
    bench.accept()
    bench.begin()
    bench.end(failure=UNKNOWN, blobs=blobs(0, "draft", "draft"))
    bench.end(blobs=blobs(0, "draft", "result"), purge_after=at(58))
    assert bench.kinds() == {"blobs/0-0": "draft", "blobs/0-1": "result"}
    assert {blob.delete_after for blob in bench.run(blobs_of, "gen_1")} == {at(58)}
    assert bench.row().state == "succeeded"


def test_a_handle_is_kept_once_and_for_what_is_in_flight(bench: Bench) -> None:
    """From then on the attempt is polled; written again, as after a commit whose answer was lost, it stays."""
    bench.accept()
    bench.begin()
    assert bench.run(keep_handle, "att_0", "one") is True
    assert bench.run(keep_handle, "att_0", "another") is False
    attempt = bench.run(get_attempt, "att_0")
    assert (attempt.state, attempt.upstream_handle, attempt.charge) == ("polling", "one", "unknown")
    assert bench.run(get_record, "gen_1").has_open_attempts
    assert bench.begin(id_="att_9") is None, "one payer at a time, polled ones included"
    bench.end(blobs=blobs(0, "result"))
    assert bench.run(keep_handle, "att_0", "late") is False
    attempt = bench.run(get_attempt, "att_0")
    assert (attempt.state, attempt.upstream_handle) == ("settled", "one")
    assert bench.row().state == "succeeded"
