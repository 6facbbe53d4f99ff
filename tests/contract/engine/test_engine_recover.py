"""Every row of the crash matrix, made on disk as a dead process leaves it; then a start, and another one."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from holdfast.clock import rfc3339
from holdfast.engine import recover as recovering
from holdfast.engine.attempt import Attempted
from holdfast.engine.converter import Converter, FileFormat
from holdfast.engine.recover import recover
from holdfast.engine.settle import commit as settle_commit
from holdfast.engine.settle import settle
from holdfast.errors import StorageError
from holdfast.providers.conversation import Done, Keep, Step, Wait
from holdfast.store.generations import get_generation
from holdfast.store.records import Record
from holdfast.store.spool import Spooled
from holdfast.types import Geometry, Tier

USD = 1_000_000
GPT = "gpt-image-2"


async def recovered_twice(bench: Any, *ids: str, settings: Any = None) -> list[Record]:
    """Start, let everything end, start again: the second start must find nothing to do, and change nothing."""
    await bench.restart(settings)
    await bench.quiet()
    first = [await bench.record(id_) for id_ in ids]
    events = [await bench.events(id_) for id_ in ids]
    asked, balance = len(bench.upstream.asked), await bench.balance()
    again = await bench.restart()
    assert (again.settled, again.unknown, again.to_drive) == (0, 0, ())
    assert [await bench.record(id_) for id_ in ids] == first
    assert [await bench.events(id_) for id_ in ids] == events
    assert (len(bench.upstream.asked), await bench.balance()) == (asked, balance)
    await bench.is_clean(*ids)
    return first


def sends(bench: Any) -> list[tuple[str, int]]:
    """Which parts the upstream was asked for since the bench began; none may stand here twice."""
    found = [(asked.generation_id, asked.part) for asked in bench.upstream.asked]
    assert len(set(found)) == len(found), "a part was sent twice"
    return found


async def test_accepted_and_not_sent_is_sent(bench: Any, a_picture: bytes) -> None:
    """Commit 1 is a promise: the next start keeps it, with the request as it was asked."""
    new, _ = await bench.accepted()
    (record,) = await recovered_twice(bench, new.id)
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", USD)
    assert bench.bytes_of(record) == a_picture
    assert sends(bench) == [(new.id, 0)]
    assert b"a lighthouse" in b"".join(bench.upstream.asked[0].request.body)


async def test_sent_and_nothing_more_is_unknown(bench: Any) -> None:
    """Commit 2 without an answer: nobody can know, nobody pays, and nothing is sent a second time."""
    new, live = await bench.accepted()
    await bench.sent(live)
    (record,) = await recovered_twice(bench, new.id)
    told = record.generation.told
    assert told is not None
    assert (record.generation.state, told.code, told.charge) == ("failed", "outcome_unknown", "unknown")
    assert "stopped" in told.message
    assert [(each.state, each.charge) for each in record.attempts] == [("unknown", "unknown")]
    assert await bench.verbs(new.id) == ["hold", "void"]
    assert sends(bench) == []


@pytest.mark.parametrize("left_s", [recovering.CONVERT_S, 0.0])
async def test_an_answer_in_the_spool_is_made_into_the_format_that_was_asked_for(
    bench: Any, shapes: Any, make: Any, a_picture: bytes, monkeypatch: pytest.MonkeyPatch, left_s: float
) -> None:
    """As if nothing had happened, as long as there is time for it; else as it came. The original stays beside it."""
    made = BytesIO()
    Image.new("RGB", (64, 64)).save(made, "JPEG")

    def draw(source: Path, target: Path) -> None:
        assert source.read_bytes() == a_picture
        target.write_bytes(made.getvalue())

    async def convert(source: Path, target: Path, wanted: FileFormat) -> bool:
        assert (wanted.name, wanted.quality) == ("jpeg", 70)
        draw(source, target)
        return True

    monkeypatch.setattr(recovering, "CONVERT_S", left_s)
    new, live = await bench.accepted(make(output_format="jpeg", output_compression=70))
    attempt = await bench.sent(live)
    bench.received(live, attempt, shapes.gemini(a_picture))
    await bench.close()
    bench.open()
    bench.core.converter = Converter(bench.spool, bench.threads, convert=convert)
    recovered = await bench.engine.start()
    assert recovered.settled == 1
    record = await bench.record(new.id)
    kinds = {blob.kind: (bench.root / blob.store_key).read_bytes() for blob in record.blobs}
    assert kinds == ({"result": made.getvalue(), "draft": a_picture} if left_s else {"result": a_picture})
    assert (await bench.restart()).settled == 0
    await bench.is_clean(new.id)


async def test_an_answer_in_the_spool_is_settled(bench: Any, shapes: Any, a_picture: bytes) -> None:
    """Received whole and not recorded: a success as if nothing had happened, usage and draft included."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    bench.received(live, attempt, shapes.gemini(a_picture, drafts=[shapes.png(7)]))
    (record,) = await recovered_twice(bench, new.id)
    row, (settled,) = record.generation, record.attempts
    assert (row.state, row.late, row.charged_micros) == ("succeeded", 0, USD)
    assert bench.bytes_of(record) == a_picture
    assert [blob.kind for blob in record.blobs] == ["draft", "result"]
    assert settled.used is not None
    assert settled.used.output_tokens == 1120
    assert settled.received_at is not None
    assert await bench.events(new.id) == ["queued", "running", "succeeded"]
    assert sends(bench) == []


async def test_an_answer_to_what_cannot_be_read_any_more_is_settled(bench: Any, shapes: Any, a_picture: bytes) -> None:
    """Another version wrote the request: its image is here all the same, and the start goes on."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    bench.received(live, attempt, shapes.gemini(a_picture))
    await bench.store.write(lambda conn: conn.execute('UPDATE generation SET request = \'{"surface":"later"}\''))
    (record,) = await recovered_twice(bench, new.id)
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", USD)
    assert bench.bytes_of(record) == a_picture


@pytest.mark.parametrize("step", [Keep(handle="h"), Wait(delay_s=1.0, why="it was still at work")])
async def test_an_answer_that_was_to_be_gone_on_with_does_not_stop_the_start(
    bench: Any, shapes: Any, a_picture: bytes, monkeypatch: pytest.MonkeyPatch, step: Step
) -> None:
    """One that held an image and promised more, before its handle was on record: what is there is delivered."""

    class GoesOn:
        def received(self, *_: object) -> Step:
            return step

    monkeypatch.setattr(recovering, "_conversation_of", lambda *_: GoesOn())
    new, live = await bench.accepted()
    bench.received(live, await bench.sent(live), shapes.gemini(a_picture))
    (record,) = await recovered_twice(bench, new.id)
    assert record.generation.state == "succeeded"
    assert bench.bytes_of(record) == a_picture


async def test_what_was_received_when_is_read_from_the_file(bench: Any, shapes: Any, a_picture: bytes) -> None:
    """The upstream's time ended when the image was here, not when the next process found it."""
    _, live = await bench.accepted()
    attempt = await bench.sent(live)
    spooled: Spooled = bench.received(live, attempt, shapes.gemini(a_picture))
    written_at = spooled.images[0].path.stat().st_mtime
    (record,) = await recovered_twice(bench, live.id)
    assert record.attempts[0].received_at == rfc3339(datetime.fromtimestamp(written_at, UTC))


async def test_images_without_the_rest_of_their_answer_are_settled(bench: Any, shapes: Any, a_picture: bytes) -> None:
    """The last bytes of the document were never written; the images that came to their end are whole all the same."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    bench.received(live, attempt, shapes.gemini(a_picture, drafts=[shapes.png(7)]), finish=False)
    (record,) = await recovered_twice(bench, new.id)
    assert record.generation.state == "succeeded"
    assert bench.bytes_of(record) == a_picture
    assert [blob.kind for blob in record.blobs] == ["draft", "result"]


async def test_every_image_of_an_images_answer_is_a_result(bench: Any, make: Any, shapes: Any) -> None:
    """An upstream that makes several shows no drafts: without the rest of the answer each whole one still counts."""
    pictures = [shapes.png(shade) for shade in range(3)]
    new, live = await bench.accepted(make(model=GPT, n=4))
    attempt = await bench.sent(live)
    bench.received(live, attempt, shapes.openai(*pictures), finish=False)
    (record,) = await recovered_twice(bench, new.id)
    assert [bench.bytes_of(record, at) for at in range(3)] == pictures
    assert (record.generation.partial_result, record.generation.charged_micros) == (1, 3 * USD)


@pytest.mark.parametrize("finish", [True, False])
async def test_more_than_asked_for_is_an_extra_after_a_crash_too(
    bench: Any, make: Any, shapes: Any, finish: bool
) -> None:
    """A start judges as the attempt itself would have: what was not asked for is kept, not delivered."""
    new, live = await bench.accepted(make(model=GPT))
    attempt = await bench.sent(live)
    bench.received(live, attempt, shapes.openai(shapes.png(1), shapes.png(2)), finish=finish)
    (record,) = await recovered_twice(bench, new.id)
    assert [blob.kind for blob in record.blobs] == ["result", "draft"]
    assert bench.bytes_of(record) == shapes.png(1)
    assert record.generation.charged_micros == USD


async def test_a_refusal_in_the_spool_stays_a_refusal(bench: Any, shapes: Any) -> None:
    """It came with drafts, and the process died before it was recorded: told as refused and free, not as malformed."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    bench.received(live, attempt, shapes.gemini(drafts=[shapes.png(1)], finish="IMAGE_SAFETY"))
    (record,) = await recovered_twice(bench, new.id)
    told = record.generation.told
    assert told is not None
    assert (told.code, told.reason, told.charge) == ("content_refused", "IMAGE_SAFETY", "no")
    assert [blob.kind for blob in record.blobs] == ["draft"]


@pytest.mark.parametrize("left", ["torn.part", "cut.done", "preview", "torn.answer"])
async def test_a_torn_spool_is_unknown_and_emptied(bench: Any, shapes: Any, a_picture: bytes, left: str) -> None:
    """What is not whole is no image, wherever the write stopped."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    name, _, suffix = left.rpartition(".")
    cut = a_picture[: len(a_picture) // 2]
    match left:
        case "torn.answer":
            (bench.spool / f"{attempt.id}.answer").write_bytes(b'{"images":[{"ind')
            (bench.spool / f"{attempt.id}.new").write_bytes(b"")
        case "preview":
            (bench.spool / f"{attempt.id}-0.preview").write_bytes(a_picture)
        case _:
            (bench.spool / f"{attempt.id}-0.{suffix}").write_bytes(cut)
    (record,) = await recovered_twice(bench, new.id)
    assert record.generation.told is not None, name
    assert (record.generation.told.code, record.generation.told.charge) == ("outcome_unknown", "unknown")
    assert record.blobs == ()


async def test_a_torn_answer_beside_a_whole_image_costs_nothing(bench: Any, shapes: Any, a_picture: bytes) -> None:
    """The image speaks for itself."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    bench.received(live, attempt, shapes.gemini(a_picture), finish=False)
    (bench.spool / f"{attempt.id}.answer").write_bytes(b'{"images":[{"ind')
    (record,) = await recovered_twice(bench, new.id)
    assert bench.bytes_of(record) == a_picture


async def test_an_image_that_lacks_its_last_name_is_whole(bench: Any, shapes: Any, a_picture: bytes) -> None:
    """Synced, and the process died before the rename."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    bench.received(live, attempt, shapes.gemini(a_picture), finish=False)
    (path,) = bench.spool.iterdir()
    path.rename(path.with_suffix(".part"))
    (record,) = await recovered_twice(bench, new.id)
    assert bench.bytes_of(record) == a_picture


async def test_an_image_in_the_blob_store_is_adopted(bench: Any, shapes: Any, a_picture: bytes) -> None:
    """Its place follows from the attempt alone: the next start finds the same one, and makes no second copy."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    spooled = bench.received(live, attempt, shapes.gemini(a_picture))
    bench.linked(attempt, spooled)
    bench.clock.jump(86_400.0)
    (record,) = await recovered_twice(bench, new.id)
    assert bench.bytes_of(record) == a_picture
    files = [path for path in (bench.root / "blobs").rglob("*") if path.is_file()]
    assert files == [bench.root / record.results[0].store_key]


async def test_a_spool_of_what_is_settled_is_emptied(bench: Any, shapes: Any, a_picture: bytes) -> None:
    """The record was committed and the process died before it cleared up: nothing is written twice."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    spooled = bench.received(live, attempt, shapes.gemini(a_picture))
    kept = {path: path.read_bytes() for path in bench.spool.iterdir()}
    done = Done(results=(0,), drafts=(), answer=spooled.answer)
    attempted = Attempted(new=attempt, done=done, failure=None, spooled=spooled, http_status=200, received_at=None)
    row = await settle(bench.core, live, attempted)
    assert row is not None
    for path, data in kept.items():
        path.write_bytes(data)
    before = await bench.record(new.id)
    (record,) = await recovered_twice(bench, new.id)
    assert record == before
    assert await bench.verbs(new.id) == ["hold", "capture"]


async def test_a_stranger_in_the_spool_is_removed(bench: Any, a_picture: bytes) -> None:
    """Files of an attempt that no record knows, and what request bodies left half read, belong to nobody."""
    (bench.spool / "att_01ARZ3NDEKTSV4RRFFQ69G5FAV-0.done").write_bytes(a_picture)
    (bench.spool / "input-req_1-0.part").write_bytes(a_picture)
    await recovered_twice(bench)
    assert bench.spooled() == []


async def test_parts_in_every_state_come_to_one_end(bench: Any, make: Any, shapes: Any) -> None:
    """One settled, one spooled, one in flight, one never sent: each goes its own way, and the sum is one success."""
    new, live = await bench.accepted(make(n=4))
    settled, spooled, _ = [await bench.sent(live, part) for part in range(3)]
    first = bench.received(live, settled, shapes.gemini(shapes.png(1)))
    done = Done(results=(0,), drafts=(), answer=first.answer)
    attempted = Attempted(new=settled, done=done, failure=None, spooled=first, http_status=200, received_at=None)
    assert await settle(bench.core, live, attempted) is None
    bench.received(live, spooled, shapes.gemini(shapes.png(2)))
    bench.upstream.by_part[3] = shapes.Reply(body=shapes.gemini(shapes.png(4)))
    (record,) = await recovered_twice(bench, new.id)
    row = record.generation
    assert (row.state, row.partial_result, row.charged_micros) == ("succeeded", 1, 3 * USD)
    assert [bench.bytes_of(record, at) for at in range(3)] == [shapes.png(1), shapes.png(2), shapes.png(4)]
    assert {each.part: each.state for each in record.attempts} == {
        0: "settled",
        1: "settled",
        2: "unknown",
        3: "settled",
    }
    assert sends(bench) == [(new.id, 3)]


async def test_a_gap_among_the_parts_is_filled_and_nothing_else(bench: Any, make: Any) -> None:
    """The first part was never sent and the last one was: only the first is sent now, or the last is paid twice."""
    new, live = await bench.accepted(make(n=3))
    await bench.sent(live, 1)
    await bench.sent(live, 2)
    (record,) = await recovered_twice(bench, new.id)
    assert sends(bench) == [(new.id, 0)]
    assert {each.part: each.state for each in record.attempts} == {0: "settled", 1: "unknown", 2: "unknown"}
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", USD)


# The deadline, the route, and settings that changed meanwhile


async def test_a_deadline_that_passed_while_down_is_free_if_nothing_was_sent(
    bench: Any, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """Nobody waits any more: it is not bought, and told so."""
    new, _ = await bench.accepted()
    bench.clock.jump(3600.0)
    (record,) = await recovered_twice(bench, new.id)
    told = record.generation.told
    assert told is not None
    assert (told.code, told.charge) == ("deadline_exceeded", "no")
    assert await bench.verbs(new.id) == ["hold", "void"]
    assert sends(bench) == []
    (finished,) = log("generation.finished")
    assert finished["elapsed_s"] == 3600.0


async def test_a_deadline_that_passed_while_down_delivers_what_is_there(bench: Any, make: Any, shapes: Any) -> None:
    """One of two parts was received before the crash: a success of one, and the other is not bought any more."""
    new, live = await bench.accepted(make(n=2))
    attempt = await bench.sent(live, 0)
    bench.received(live, attempt, shapes.gemini(shapes.png(3)))
    bench.clock.jump(3600.0)
    (record,) = await recovered_twice(bench, new.id)
    assert (record.generation.state, record.generation.partial_result) == ("succeeded", 1)
    assert bench.bytes_of(record) == shapes.png(3)
    assert sends(bench) == []


async def test_a_deadline_that_passed_while_down_may_have_cost_what_was_sent(bench: Any, make: Any) -> None:
    """One of two parts was in flight: told as possibly paid."""
    new, live = await bench.accepted(make(n=2))
    await bench.sent(live, 0)
    bench.clock.jump(3600.0)
    (record,) = await recovered_twice(bench, new.id)
    assert record.generation.told is not None
    assert (record.generation.told.code, record.generation.told.charge) == ("deadline_exceeded", "unknown")


async def test_the_rest_of_a_budget_still_counts(bench: Any) -> None:
    """A caller gave 60 s, 50 of them passed while nobody ran: at 60 it is told, as if nothing had happened."""
    new, _ = await bench.accepted(asked_s=60.0)
    bench.hold_back()
    bench.clock.jump(50.0)
    await bench.restart()
    await bench.in_flight()
    bench.clock.jump(9.0)
    await bench.turn()
    assert bench.engine.open_generations == 1
    bench.clock.jump(1.5)
    await bench.until(lambda: bench.engine.open_generations == 0)
    record = await bench.record(new.id)
    assert record.generation.told is not None
    assert (record.generation.told.code, record.generation.told.charge) == ("deadline_exceeded", "unknown")


async def without_route(settings_of: Callable[..., Any]) -> Any:
    """Settings that no longer serve the model."""
    return settings_of(routes=[{"model": GPT, "upstreams": [{"upstream": "openai", "model": GPT}]}])


async def test_a_route_that_is_gone_is_told_and_free(bench: Any, settings_of: Callable[..., Any]) -> None:
    """It cannot be driven and was never sent: ended, not left open for ever."""
    new, _ = await bench.accepted()
    (record,) = await recovered_twice(bench, new.id, settings=await without_route(settings_of))
    told = record.generation.told
    assert told is not None
    assert (record.generation.state, told.code, told.charge) == ("failed", "internal_error", "no")
    assert sends(bench) == []


async def test_an_answer_outlives_its_route(
    bench: Any, settings_of: Callable[..., Any], shapes: Any, a_picture: bytes
) -> None:
    """What was received whole is settled by what it says itself; the part that was never sent is not bought."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    bench.received(live, attempt, shapes.gemini(a_picture, drafts=[shapes.png(7)]))
    (record,) = await recovered_twice(bench, new.id, settings=await without_route(settings_of))
    assert record.generation.state == "succeeded"
    assert bench.bytes_of(record) == a_picture
    assert [blob.kind for blob in record.blobs] == ["draft", "result"]


async def test_parts_are_what_they_were_when_it_was_accepted(
    bench: Any, make: Any, settings_of: Callable[..., Any], shapes: Any
) -> None:
    """The route was moved to an upstream that makes several a call: the four parts stay four calls of one."""
    new, _ = await bench.accepted(make(n=4))
    moved = [{"model": "nano-banana-pro", "upstreams": [{"upstream": "openai", "model": GPT}]}]
    bench.upstream.usual = shapes.Reply(body=shapes.openai(shapes.png()))
    (record,) = await recovered_twice(bench, new.id, settings=settings_of(routes=moved))
    assert sorted(part for _, part in sends(bench)) == [0, 1, 2, 3]
    assert record.generation.charged_micros == 4 * USD


async def test_a_request_that_this_version_cannot_read_does_not_stop_the_start(bench: Any) -> None:
    """It is ended and told as free; everybody else is served."""
    unreadable, _ = await bench.accepted()
    other, _ = await bench.accepted()

    spoilt = {"request": b'{"surface":"telex"}', "id": unreadable.id}

    def spoil(conn: Any) -> None:
        conn.execute("UPDATE generation SET request = :request WHERE id = :id", spoilt)

    await bench.store.write(spoil)
    first, second = await recovered_twice(bench, unreadable.id, other.id)
    assert first.generation.told is not None
    assert (first.generation.told.code, first.generation.told.charge) == ("internal_error", "no")
    assert second.generation.state == "succeeded"


async def test_a_file_that_cannot_be_read_does_not_stop_the_start(
    bench: Any, shapes: Any, a_picture: bytes, monkeypatch: pytest.MonkeyPatch, log: Callable[..., Any]
) -> None:
    """One broken sector keeps nobody else from being served; once it can be read, it is a late success."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    bench.received(live, attempt, shapes.gemini(a_picture))
    real = recover.__globals__["spool"].recover

    def broken(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(recover.__globals__["spool"], "recover", broken)
    await bench.restart()
    assert log("fault.internal")[0]["attempt_id"] == attempt.id
    assert (await bench.record(new.id)).generation.state == "failed"
    monkeypatch.setattr(recover.__globals__["spool"], "recover", real)
    (record,) = await recovered_twice(bench, new.id)
    assert (record.generation.state, record.generation.late) == ("succeeded", 1)
    assert bench.bytes_of(record) == a_picture


# The same process, twice


async def test_recovering_twice_in_one_process_writes_nothing_twice(bench: Any, shapes: Any) -> None:
    """A start that was cut off after its work is the same as one that was not: no event, no line of the ledger more."""
    spooled, live = await bench.accepted()
    bench.received(live, await bench.sent(live), shapes.gemini(shapes.png(1)))
    lost, live = await bench.accepted()
    await bench.sent(live)
    queued, _ = await bench.accepted()
    first = await recover(bench.core)
    seen = [(await bench.events(new.id), await bench.verbs(new.id)) for new in (spooled, lost, queued)]
    again = await recover(bench.core)
    assert [(await bench.events(new.id), await bench.verbs(new.id)) for new in (spooled, lost, queued)] == seen
    assert (first.settled, first.unknown, len(first.to_drive)) == (1, 1, 1)
    assert (again.settled, again.unknown, len(again.to_drive)) == (0, 0, 1)
    assert seen == [
        (["queued", "running", "succeeded"], ["hold", "capture"]),
        (["queued", "running", "failed"], ["hold", "void"]),
        (["queued"], ["hold"]),
    ]


async def test_epochs_only_grow(bench: Any, make: Any) -> None:
    """Every start and every send bumps the epoch: an earlier owner's claim can no longer succeed."""
    new, live = await bench.accepted(make(n=3))
    seen = [0]

    async def look() -> None:
        row = await bench.store.read(get_generation, new.id)
        seen.append(row.epoch)

    for part in range(3):
        await bench.sent(live, part)
        await look()
        await recover(bench.core)
        if part < 2:
            await look()
    assert seen == [0, 1, 2, 3, 4, 5]
    assert [attempt.epoch for attempt in (await bench.record(new.id)).attempts] == [1, 3, 5]


async def test_what_is_taken_up_has_its_room_set_aside(bench: Any, make: Any) -> None:
    """A start counts what it drives as if it had just accepted it: parts that are not driven take no room."""
    k4 = Geometry(tier=Tier.K4, aspect_ratio="1:1", width_px=4096, height_px=4096)
    _, live = await bench.accepted(make(n=3, geometry=k4))
    await bench.sent(live, 0)
    gate = bench.hold_back()
    await bench.restart()
    assert repr(bench.engine) == "<Engine 1 generations open, 2 tasks, 52000000 bytes set aside>"
    gate.set()
    await bench.quiet()
    await bench.is_clean(live.id)


async def test_a_start_tells_what_it_found(bench: Any, shapes: Any, log: Callable[..., list[dict[str, Any]]]) -> None:
    """One line for the operator after a crash; none after an orderly end."""
    assert log("recovery.done") == []
    _, live = await bench.accepted()
    bench.received(live, await bench.sent(live), shapes.gemini(shapes.png(1)))
    lost, live = await bench.accepted()
    attempt = await bench.sent(live)
    await bench.accepted()
    bench.clock.jump(30.0)
    await bench.restart()
    assert log("recovery.done") == [{"settled": 1, "unknown": 1, "taken_up": 1, "resumed": 0}]
    (unknown,) = log("attempt.unknown")
    assert unknown["elapsed_s"] == 30.0
    assert (unknown["generation_id"], unknown["attempt_id"]) == (lost.id, attempt.id)
    assert (unknown["key_id"], unknown["upstream"], unknown["size"]) == ("key_1", "google", "1K")
    await bench.quiet()


@pytest.mark.parametrize("dsn", ["sqlite"], indirect=True)
async def test_many_are_put_right_in_few_commits(bench: Any) -> None:
    """A start after a crash with thousands open does not sync the disk for each."""
    ids = []
    for _ in range(300):
        _, live = await bench.accepted()
        await bench.sent(live)
        ids.append(live.id)
    unsent, _ = await bench.accepted()
    recovered = await bench.restart()
    writes, commits = map(int, re.findall(r"(\d+) writes in (\d+) commits", repr(bench.store))[0])
    assert (recovered.unknown, len(recovered.to_drive)) == (300, 1)
    assert writes >= 301
    assert commits < 100
    assert [live.id for live, _ in recovered.to_drive] == [unsent.id]
    await bench.quiet()
    await bench.is_clean(*ids, unsent.id)


async def test_what_fails_of_many_is_told_when_the_others_have_ended(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of a start that was given up goes on behind it; the next start puts the rest right."""
    _, broken = await bench.accepted()
    await bench.sent(broken)
    others = []
    for _ in range(20):
        _, live = await bench.accepted()
        await bench.sent(live)
        others.append(live.id)

    async def failing(core: Any, about: Any, *args: Any, **options: Any) -> Any:
        if about.generation_id == broken.id:
            raise StorageError("The disk is gone.", reason="broken")
        return await settle_commit(core, about, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr("holdfast.engine.recover.commit", failing)
        with pytest.raises(StorageError, match="The disk is gone"):
            await bench.restart()
    assert {(await bench.record(id_)).generation.state for id_ in others} == {"failed"}
    assert (await bench.record(broken.id)).generation.state == "running"
    assert (await bench.restart()).unknown == 1
    await bench.is_clean(broken.id, *others)
