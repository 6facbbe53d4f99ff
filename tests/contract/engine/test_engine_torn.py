"""An answer that breaks off behind a whole image: that image is paid for, and here."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.types import Charge, Failure, FailureKind, Phase

LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.RECEIVE, charge=Charge.UNKNOWN, detail="the connection broke")
OPENAI = "gpt-image-2"


def behind(body: bytes, images: int) -> bytes:
    """The answer up to the closing quote of so many images."""
    pieces = body.split(b'"data": "' if b"inlineData" in body else b'"b64_json": "')
    last = pieces[images].partition(b'"')[0] + b'"'
    mark = b'"data": "' if b"inlineData" in body else b'"b64_json": "'
    return mark.join([*pieces[:images], last])


@pytest.mark.parametrize("wanted", [1, 2])
async def test_a_whole_image_of_an_answer_that_broke_off_is_delivered(
    bench: Any, make: Any, shapes: Any, wanted: int
) -> None:
    """No loss is told of what is here; of two, one is delivered and the other is not charged to the customer."""
    whole = shapes.png(1)
    body = behind(shapes.openai(whole, shapes.png(2)), 1)
    bench.upstream.usual = shapes.Reply(body=body, failure=LOST)
    record = await bench.made(make(OPENAI, n=wanted))
    row = record.generation
    assert (row.state, row.told, row.partial_result) == ("succeeded", None, int(wanted == 2))
    assert bench.bytes_of(record) == whole
    assert [(each.state, each.charge) for each in record.attempts] == [("settled", "yes")]
    assert row.charged_micros == row.unit_micros
    assert len(bench.upstream.asked) == 1
    await bench.is_clean(row.id)


async def test_of_a_model_that_draws_drafts_the_last_whole_image_counts(bench: Any, shapes: Any) -> None:
    """Nothing that came says more of it; the drafts are kept beside."""
    draft, result = shapes.png(1), shapes.png(2)
    body = behind(shapes.gemini(result, drafts=[draft]), 2)
    bench.upstream.usual = shapes.Reply(body=body, failure=LOST)
    record = await bench.made()
    assert record.generation.state == "succeeded"
    assert sorted(blob.kind for blob in record.blobs) == ["draft", "result"]
    kept = {blob.kind: bench.core.blobs.path_of(blob.store_key).read_bytes() for blob in record.blobs}
    assert kept == {"draft": draft, "result": result}
    await bench.is_clean(record.generation.id)


@pytest.mark.parametrize("rest", [b" <garbage>", b""])
async def test_whatever_follows_a_whole_image_does_not_unmake_it(
    bench: Any, make: Any, shapes: Any, rest: bytes
) -> None:
    """Garbage, or an end that is none."""
    whole = shapes.png(1)
    bench.upstream.usual = shapes.Reply(body=behind(shapes.openai(whole), 1) + rest)
    record = await bench.made(make(OPENAI))
    assert record.generation.state == "succeeded"
    assert bench.bytes_of(record) == whole
    await bench.is_clean(record.generation.id)


async def test_an_image_that_is_cut_beside_a_broken_answer_is_none(bench: Any, make: Any, shapes: Any) -> None:
    """Its string closed, and the picture in it has no end: nothing may be delivered, and nothing stays."""
    body = behind(shapes.openai(shapes.png(1)[:-12]), 1)
    bench.upstream.usual = shapes.Reply(body=body, failure=LOST)
    record = await bench.made(make(OPENAI))
    assert record.generation.told is not None
    assert record.generation.told.code == "outcome_unknown"
    assert record.blobs == ()
    await bench.is_clean(record.generation.id)


async def test_a_stop_leaves_a_whole_image_to_the_next_start(bench: Any, make: Any, shapes: Any) -> None:
    """The process ends between an image's end and its document's: what is paid for is taken in, and not told lost."""
    whole = shapes.png(1)
    body = behind(shapes.openai(whole, shapes.png(2)), 1)
    bench.upstream.usual = shapes.Reply(body=body, end_when=asyncio.Event())
    id_, _ = await bench.ask(make(OPENAI, n=2))
    await bench.until(lambda: any(name.endswith(".done") for name in bench.spooled()))
    recovered = await bench.restart()
    assert (recovered.settled, recovered.unknown) == (1, 0)
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.partial_result) == ("succeeded", 1)
    assert bench.bytes_of(record) == whole
    assert len(bench.upstream.asked) == 1
    await bench.is_clean(id_)
