"""From answers to images, money and a final state: several parts, odd pictures, refusals, failures."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from holdfast.clock import rfc3339
from holdfast.engine.watchers import Ended
from holdfast.errors import ConfigError
from holdfast.transport.breaks import Progress, total_passed
from holdfast.transport.exchange import NotSent
from holdfast.types import Charge, Failure, FailureKind, InputImage, Phase

USD = 1_000_000
GPT = "gpt-image-2"
ONE_SEND = pytest.mark.parametrize("sections", [{"retry": {"sends_max": 1}}])
"""For what becomes of a failure once nothing more is tried; that something is, `test_engine_retry.py` has."""
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="the connection broke")
BUSY = b'{"error":{"message":"busy","type":"service_unavailable_error","code":"server_is_overloaded"}}'


async def test_images_that_cannot_be_made_together_are_parts(bench: Any, make: Any, shapes: Any) -> None:
    """Three images from an upstream that makes one a call: three calls at once, delivered in their own order."""
    pictures = [shapes.png(shade) for shade in (10, 20, 30)]
    gates = [bench.hold_back(part) for part in range(3)]
    for part, picture in enumerate(pictures):
        bench.upstream.by_part[part] = shapes.Reply(body=shapes.gemini(picture), when=gates[part])
    id_, caller = await bench.ask(make(n=3))
    await bench.in_flight(3)
    for part in (2, 0, 1):
        assert caller.ends == 0
        gates[part].set()
        await asyncio.sleep(0)
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert [bench.bytes_of(record, at) for at in range(3)] == pictures
    assert sorted(asked.part for asked in bench.upstream.asked) == [0, 1, 2]
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", 3 * USD)
    assert sorted(attempt.number for attempt in record.attempts) == [1, 2, 3]
    assert len({attempt.epoch for attempt in record.attempts}) == 3
    await bench.is_clean(id_)


async def test_an_upstream_that_makes_several_is_asked_once(bench: Any, make: Any, shapes: Any) -> None:
    """One call, one attempt, all its images in order; the attempt is estimated at the price of all."""
    pictures = [shapes.png(shade) for shade in range(4)]
    bench.upstream.usual = shapes.Reply(body=shapes.openai(*pictures))
    record = await bench.made(make(model=GPT, n=4))
    assert [bench.bytes_of(record, at) for at in range(4)] == pictures
    (asked,) = bench.upstream.asked
    assert json.loads(b"".join(asked.request.body))["n"] == 4
    assert record.generation.charged_micros == 4 * USD
    await bench.is_clean(record.generation.id)


@ONE_SEND
async def test_some_parts_fail_and_what_is_there_is_delivered(bench: Any, make: Any, shapes: Any) -> None:
    """One image or more is a success: it is charged, the rest of the hold is given back, the record says so."""
    bench.upstream.by_part[0] = shapes.Reply(body=BUSY, status=503)
    bench.upstream.by_part[2] = shapes.Reply(failure=LOST)
    record = await bench.made(make(n=3))
    row = record.generation
    assert (row.state, row.partial_result, row.charged_micros, row.told) == ("succeeded", 1, USD, None)
    assert {attempt.part: (attempt.state, attempt.charge) for attempt in record.attempts} == {
        0: ("rejected", "no"),
        1: ("settled", "yes"),
        2: ("unknown", "unknown"),
    }
    assert [blob.part for blob in record.results] == [1]
    assert (await bench.balance(), await bench.balance("revenue")) == (USD, -USD)
    await bench.is_clean(row.id)


@ONE_SEND
async def test_when_every_part_fails_the_one_that_may_have_cost_most_is_told(
    bench: Any, make: Any, shapes: Any
) -> None:
    """Its error is the story, whichever ended first: words and charge are of one failure."""
    gates = [bench.hold_back(part) for part in range(2)]
    bench.upstream.by_part[0] = shapes.Reply(body=BUSY, status=503, when=gates[0])
    bench.upstream.by_part[1] = shapes.Reply(failure=LOST, when=gates[1])
    id_, caller = await bench.ask(make(n=2))
    await bench.in_flight(2)
    gates[1].set()
    await bench.until(lambda: "1 tasks" in repr(bench.engine))
    assert caller.ends == 0
    gates[0].set()
    await caller.ended()
    await bench.quiet()
    row = (await bench.record(id_)).generation
    assert row.told is not None
    assert (row.state, row.told.code, row.told.kind, row.told.charge) == (
        "failed",
        "outcome_unknown",
        "lost_reply",
        "unknown",
    )
    assert await bench.verbs(id_) == ["hold", "void"]
    assert await bench.balance() == 0
    await bench.is_clean(id_)


@pytest.mark.parametrize(
    "cut",
    [lambda png: png[:-8], lambda png: png[:20], lambda png: b"GIF?" * 50],
    ids=["without-its-end", "header-only", "no-image"],
)
@pytest.mark.parametrize("model", ["nano-banana-pro", GPT])
async def test_a_picture_that_is_not_whole_is_never_delivered(
    bench: Any, make: Any, shapes: Any, model: str, cut: Callable[[bytes], bytes]
) -> None:
    """It is paid for, and told so; nothing of it is kept, nothing of it is charged to the customer."""
    body = shapes.openai if model == GPT else shapes.gemini
    bench.upstream.usual = shapes.Reply(body=body(cut(shapes.png())))
    record = await bench.made(make(model=model))
    row = record.generation
    assert row.told is not None
    assert (row.told.code, row.told.kind, row.told.charge) == ("upstream_failed", "malformed", "yes")
    assert record.blobs == ()
    assert [attempt.state for attempt in record.attempts] == ["charged_failed"]
    assert await bench.balance() == 0
    await bench.is_clean(row.id)


async def test_a_cut_picture_among_whole_ones_costs_its_place(bench: Any, make: Any, shapes: Any) -> None:
    """Of three, the two that are whole are delivered and charged."""
    one, two, three = (shapes.png(shade) for shade in range(3))
    bench.upstream.usual = shapes.Reply(body=shapes.openai(one, two[:-8], three))
    record = await bench.made(make(model=GPT, n=3))
    assert [bench.bytes_of(record, at) for at in range(2)] == [one, three]
    assert (record.generation.partial_result, record.generation.charged_micros) == (1, 2 * USD)
    await bench.is_clean(record.generation.id)


async def test_more_than_asked_for_is_kept_and_not_delivered(bench: Any, make: Any, shapes: Any) -> None:
    """An upstream that sends three for one was paid for three; the caller gets and pays the one."""
    bench.upstream.usual = shapes.Reply(body=shapes.openai(*(shapes.png(shade) for shade in range(3))))
    record = await bench.made(make(model=GPT))
    assert [blob.kind for blob in record.blobs] == ["result", "draft", "draft"]
    assert record.generation.charged_micros == USD
    await bench.is_clean(record.generation.id)


async def test_drafts_are_kept_beside_the_result(bench: Any, shapes: Any) -> None:
    """What a model drew on its way was paid for: it is kept, and is never taken for the result."""
    drafts = [shapes.png(1), shapes.png(2)]
    bench.upstream.usual = shapes.Reply(body=shapes.gemini(shapes.png(9), drafts=drafts))
    record = await bench.made()
    assert [(blob.kind, blob.position) for blob in record.blobs] == [("draft", 0), ("draft", 1), ("result", 2)]
    assert bench.bytes_of(record) == shapes.png(9)
    assert [(bench.root / blob.store_key).read_bytes() for blob in record.drafts()] == drafts
    assert record.generation.charged_micros == USD
    await bench.is_clean(record.generation.id)


async def test_another_size_than_asked_is_delivered_as_it_is(bench: Any, shapes: Any) -> None:
    """A whole image is whole, whatever its size: its true one is told."""
    bench.upstream.usual = shapes.Reply(body=shapes.gemini(shapes.png(width_px=80, height_px=48)))
    record = await bench.made()
    assert [(blob.width_px, blob.height_px) for blob in record.results] == [(80, 48)]
    assert record.generation.size == "64x64"
    assert record.generation.state == "succeeded"


async def test_a_refusal_after_drafts_keeps_the_drafts(bench: Any, shapes: Any) -> None:
    """The refusal is told as it is, and free by the upstream's own word; what was drawn is not thrown away."""
    bench.upstream.usual = shapes.Reply(body=shapes.gemini(drafts=[shapes.png(1)], finish="IMAGE_SAFETY"))
    record = await bench.made()
    row = record.generation
    assert row.told is not None
    assert (row.state, row.told.code, row.told.reason, row.told.charge) == (
        "failed",
        "content_refused",
        "IMAGE_SAFETY",
        "no",
    )
    assert [blob.kind for blob in record.blobs] == ["draft"]
    assert await bench.balance() == 0
    await bench.is_clean(row.id)


async def test_a_lost_reply_is_told_as_unknown_and_the_hold_given_back(bench: Any, shapes: Any) -> None:
    """Nobody knows whether it was paid: the customer does not pay, and is never told that nothing was bought."""
    bench.upstream.usual = shapes.Reply(failure=LOST)
    record = await bench.made()
    row = record.generation
    assert row.told is not None
    assert (row.state, row.told.code, row.told.charge) == ("failed", "outcome_unknown", "unknown")
    assert [(each.state, each.charge, each.received_at) for each in record.attempts] == [("unknown", "unknown", None)]
    assert await bench.verbs(row.id) == ["hold", "void"]
    assert len(bench.upstream.asked) == 1
    await bench.is_clean(row.id)


async def test_a_body_that_breaks_off_leaves_nothing_in_the_spool(bench: Any, shapes: Any, a_picture: bytes) -> None:
    """Half an image is no image, and takes no room."""
    half = shapes.gemini(a_picture)[:120]
    bench.upstream.usual = shapes.Reply(body=half, failure=LOST)
    record = await bench.made()
    assert record.generation.told is not None
    assert record.generation.told.code == "outcome_unknown"
    await bench.is_clean(record.generation.id)


async def test_a_stream_that_ends_before_its_image_may_have_cost_nothing(bench: Any, make: Any, shapes: Any) -> None:
    """A document was made before it was sent; a stream was not: `unknown`, and never told as surely charged."""
    bench.upstream.usual = shapes.Reply(body=b"\r\n\r\n", content_type="text/event-stream")
    record = await bench.made(make(stream=True))
    (attempt,) = record.attempts
    assert attempt.failed is not None
    assert (attempt.state, attempt.charge, attempt.failed.kind) == ("unknown", "unknown", "lost_reply")
    await bench.is_clean(record.generation.id)


async def test_html_with_a_200_is_malformed(bench: Any, shapes: Any) -> None:
    """A login page is no answer; that it was paid for cannot be ruled out, so it counts as paid."""
    bench.upstream.usual = shapes.Reply(body=b"<html>please log in</html>")
    record = await bench.made()
    assert [(each.state, each.charge) for each in record.attempts] == [("charged_failed", "yes")]
    await bench.is_clean(record.generation.id)


async def test_a_timeout_of_the_attempt_is_told_as_unknown(bench: Any, shapes: Any) -> None:
    """The transport's own verdict passes through, with the upstream's name; the limits are the size's."""
    silent = total_passed(Progress(body=None, head=None, has_begun=False), 180.0)
    bench.upstream.usual = shapes.Reply(failure=silent)
    record = await bench.made()
    (attempt,) = record.attempts
    told = "the upstream 'google' (google.test) failed: no answer within 180 s"
    assert attempt.failed == replace(silent, detail=told)
    (asked,) = bench.upstream.asked
    assert (asked.timeouts.total_s, asked.timeouts.read_idle_s) == (180.0, 180.0)
    assert dict(asked.request.headers)["X-Server-Timeout"] == "180"


@ONE_SEND
async def test_when_the_answer_was_all_here_is_noted(bench: Any, shapes: Any) -> None:
    """`received_at` parts the upstream's time from ours; a refusal is an answer too, a broken connection is none."""
    bench.clock.jump(7.0)
    gate = bench.hold_back()
    id_, caller = await bench.ask()
    await bench.in_flight()
    bench.clock.jump(40.0)
    gate.set()
    await caller.ended()
    (attempt,) = (await bench.record(id_)).attempts
    assert attempt.received_at == rfc3339(bench.clock.now())
    assert attempt.sent_at < attempt.received_at
    bench.upstream.usual = shapes.Reply(body=BUSY, status=503)
    (refused,) = (await bench.made()).attempts
    assert refused.received_at == rfc3339(bench.clock.now())
    bench.upstream.usual = shapes.Reply(failure=LOST)
    # Its key rests for a moment.
    bench.clock.jump(2.0)
    (lost,) = (await bench.made()).attempts
    assert lost.received_at is None


async def test_a_preview_is_shown_while_its_image_is_made(bench: Any, make: Any, shapes: Any) -> None:
    """Told as it comes, with a file that can be read until the end; not kept, not delivered."""
    preview, picture = shapes.png(1), shapes.png(2)
    events = (
        {"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": preview},
        {"type": "image_generation.completed", "b64_json": picture},
    )
    coded = (event | {"b64_json": base64.b64encode(event["b64_json"]).decode()} for event in events)
    body = b"".join(b"event: %s\ndata: %s\n\n" % (each["type"].encode(), json.dumps(each).encode()) for each in coded)
    bench.upstream.usual = shapes.Reply(body=body, content_type="text/event-stream")
    shown: list[bytes] = []
    id_, caller = await bench.ask(make(model=GPT, stream=True, partial_images=1))
    bench.core.watchers.add(
        id_, lambda notice: shown.append(notice.path.read_bytes()) if not isinstance(notice, Ended) else None
    )
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert shown == [preview]
    assert [(notice.index, notice.info.mime) for notice in caller.notices[:-1]] == [(0, "image/png")]
    assert bench.bytes_of(record) == picture
    assert len(record.blobs) == 1
    await bench.is_clean(id_)


# Our own disk, our own mistakes


@pytest.mark.parametrize("point", ["spool.image_began", "spool.image_synced", "receive.before_pieces"])
async def test_a_disk_that_fails_under_an_answer_is_told_honestly(
    bench: Any, arm: Callable[[str], None], point: str
) -> None:
    """The image was made and we lost it: `paid: yes`, never `no`; nothing of it stays in the spool."""
    arm(f"{point}:error")
    record = await bench.made()
    row = record.generation
    assert row.told is not None
    assert (row.state, row.told.kind, row.told.charge) == ("failed", "lost_reply", "yes")
    assert "could not be stored" in row.told.message
    assert [attempt.state for attempt in record.attempts] == ["charged_failed"]
    assert await bench.balance() == 0
    await bench.is_clean(row.id)
    assert (await bench.made()).generation.state == "succeeded"


@pytest.mark.parametrize("point", ["spool.before_answer", "spool.finished"])
async def test_a_disk_that_fails_behind_a_whole_image_does_not_take_it_back(
    bench: Any, arm: Callable[[str], None], a_picture: bytes, point: str
) -> None:
    """It is synced under its last name; what the answer said besides is not needed for it."""
    arm(f"{point}:error")
    record = await bench.made()
    assert (record.generation.state, record.generation.told) == ("succeeded", None)
    assert bench.bytes_of(record) == a_picture
    await bench.is_clean(record.generation.id)


@pytest.mark.parametrize("point", ["spool.image_began", "spool.image_synced"])
async def test_a_disk_that_fails_before_an_image_has_its_name_leaves_no_rest(
    bench: Any, arm: Callable[[str], None], point: str
) -> None:
    """Nothing counts as durable then: told as paid, and the room is given back at once."""
    arm(f"{point}:error")
    record = await bench.made()
    assert record.generation.told is not None
    assert record.generation.told.charge == "yes"
    assert record.blobs == ()
    await bench.is_clean(record.generation.id)


@pytest.mark.parametrize("charge", [Charge.YES, Charge.UNKNOWN])
async def test_an_answer_that_became_whole_as_its_exchange_was_given_up_is_delivered(
    bench: Any, shapes: Any, a_picture: bytes, charge: Charge
) -> None:
    """The deadline passed while the last piece was being written: it is here, it is paid for, it is no failure."""
    passed = Failure(kind=FailureKind.MALFORMED, phase=Phase.RECEIVE, charge=charge, detail="not whole within 120 s")
    bench.upstream.usual = shapes.Reply(body=shapes.gemini(a_picture), failure=passed)
    record = await bench.made()
    assert (record.generation.state, record.generation.told) == ("succeeded", None)
    assert bench.bytes_of(record) == a_picture
    assert record.attempts[0].received_at is not None
    await bench.is_clean(record.generation.id)


async def test_an_image_that_was_not_whole_when_its_exchange_was_given_up_is_none(
    bench: Any, shapes: Any, a_picture: bytes
) -> None:
    """A few bytes short of its end: told as the exchange tells it, and nothing is left of it."""
    passed = Failure(kind=FailureKind.MALFORMED, phase=Phase.RECEIVE, charge=Charge.YES, detail="not whole in time")
    bench.upstream.usual = shapes.Reply(body=shapes.gemini(a_picture).partition(b'"}}')[0][:-4], failure=passed)
    record = await bench.made()
    assert record.generation.told is not None
    assert (record.generation.told.charge, record.blobs) == ("yes", ())
    await bench.is_clean(record.generation.id)


async def test_a_mistake_behind_a_whole_answer_keeps_its_image(
    bench: Any, arm: Callable[[str], None], a_picture: bytes
) -> None:
    """The caller is told of a failure that cost money; what it bought is stored all the same."""
    arm("receive.after_body:error")
    record = await bench.made()
    assert record.generation.told is not None
    assert record.generation.told.charge == "yes"
    (kept,) = record.blobs
    assert (kept.kind, kept.bytes) == ("draft", len(a_picture))
    await bench.is_clean(record.generation.id)


@ONE_SEND
async def test_a_reference_image_that_is_gone_was_never_sent(bench: Any, make: Any) -> None:
    """Found before the first byte: `paid: no`, and not `the answer was lost`."""
    gone = InputImage(sha256="0" * 64, mime="image/png", bytes=100, store_key="inputs/gone")
    record = await bench.made(make(inputs=(gone,)))
    row = record.generation
    assert row.told is not None
    assert (row.told.code, row.told.kind, row.told.charge) == ("upstream_failed", "unreachable", "no")
    assert "No such file" in row.told.message
    assert bench.upstream.asked == []
    await bench.is_clean(row.id)


async def test_a_reference_image_that_breaks_off_on_its_way_is_unknown(bench: Any, shapes: Any) -> None:
    """A request left in part, and what was made of it is not ours to say: no more than `unknown`, no less."""
    bench.upstream.usual = shapes.Reply(error=OSError(5, "Input/output error"))
    record = await bench.made()
    row = record.generation
    assert row.told is not None
    assert (row.told.code, row.told.charge) == ("outcome_unknown", "unknown")
    await bench.is_clean(row.id)


@ONE_SEND
async def test_what_the_transport_knows_was_not_sent_is_free(
    bench: Any, shapes: Any, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """A setting that turns out wrong, or a mistake of ours, costs nothing, and is in the log."""
    bench.upstream.usual = shapes.Reply(error=NotSent(ConfigError("bad PEM", key="upstreams.ca_file")))
    row = (await bench.made()).generation
    assert row.told is not None
    assert (row.told.code, row.told.kind, row.told.charge) == ("upstream_failed", "unreachable", "no")
    assert "ConfigError" in row.told.message
    assert len(log("fault.internal")) == 1
    await bench.is_clean(row.id)


@ONE_SEND
async def test_a_mistake_before_sending_is_free(bench: Any, arm: Callable[[str], None]) -> None:
    """Between the send commit and the first byte nothing can have been charged."""
    arm("send.after_commit:error")
    record = await bench.made()
    assert record.generation.told is not None
    assert record.generation.told.charge == "no"
    assert bench.upstream.asked == []
    await bench.is_clean(record.generation.id)


async def test_a_mistake_of_ours_in_one_part_ends_that_part_alone(
    bench: Any, make: Any, shapes: Any, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """It is logged and told as unknown; the other parts go on, and whoever waits gets what they bring."""
    bench.upstream.by_part[1] = shapes.Reply(error=RuntimeError("a bug of ours"))
    gate = bench.hold_back(0)
    id_, caller = await bench.ask(make(n=2))
    await bench.in_flight(2)
    await bench.until(lambda: log("fault.internal"))
    assert caller.ends == 0
    gate.set()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.partial_result) == ("succeeded", 1)
    assert {each.part: each.charge for each in record.attempts} == {0: "yes", 1: "unknown"}
    (fault,) = log("fault.internal")
    assert fault["generation_id"] == id_
    await bench.is_clean(id_)


async def test_a_mistake_of_ours_in_the_only_part_is_told(bench: Any, shapes: Any) -> None:
    """Nobody waits for ever for what a bug has ended."""
    bench.upstream.usual = shapes.Reply(error=RuntimeError("a bug of ours"))
    record = await bench.made()
    row = record.generation
    assert row.told is not None
    assert (row.state, row.told.code, row.told.charge) == ("failed", "outcome_unknown", "unknown")
    await bench.is_clean(row.id)
