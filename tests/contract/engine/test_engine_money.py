"""What an engine makes of prices, margins, counts and rules: the ledger of whole lives, kills included."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.types import Charge, Failure, FailureKind, Phase

USD = 1_000_000
GPT = "gpt-image-2"
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="the connection ended")
RELAY = [
    {"name": "google", "provider": "gemini", "base_url": "http://google.test", "keys": ["k"], "flavor": "relay"},
    {"name": "openai", "provider": "openai", "base_url": "http://openai.test/v1", "keys": ["k"]},
]


def gemini_counting(tokens: int, *images: bytes) -> bytes:
    """An answer of several image parts, of which `usageMetadata` counts so many tokens."""
    parts = [{"inlineData": {"mimeType": "image/png", "data": base64.b64encode(image).decode()}} for image in images]
    details = [{"modality": "IMAGE", "tokenCount": tokens}]
    usage = {"candidatesTokenCount": tokens + 90, "candidatesTokensDetails": details}
    candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}
    return json.dumps({"candidates": [candidate], "usageMetadata": usage}).encode()


async def account(bench: Any, name: str) -> int:
    """A balance."""
    micros: int = await bench.balance(name)
    return micros


async def test_the_margin_is_the_customer_s_and_the_list_price_the_upstream_s(bench: Any, settings_of: Any) -> None:
    """Sold at three times its cost."""
    await bench.restart(settings_of(money={"margin": 3.0}))
    record = await bench.made()
    assert record.generation.charged_micros == 3 * USD
    assert await bench.taken(record.generation.id) == [("cost", USD)]
    assert (await account(bench, "revenue"), await account(bench, "provider_cost")) == (-3 * USD, USD)
    await bench.is_clean(record.generation.id)


async def test_a_price_that_changes_while_a_call_waits_changes_nothing(bench: Any, settings_of: Any) -> None:
    """Taken up by another process under another margin: both sides are of the day on which it was accepted."""
    new, _ = await bench.accepted()
    await bench.restart(settings_of(money={"margin": 5.0}))
    await bench.quiet()
    record = await bench.record(new.id)
    assert record.generation.charged_micros == USD
    assert await bench.taken(new.id) == [("cost", USD)]


@pytest.mark.parametrize(("tokens", "extras"), [(1120, 0), (2240, 1), (3 * 1120, 2), (10 * 1120, 2)])
async def test_drafts_that_gemini_counts_cost_the_operator_only(
    bench: Any, shapes: Any, tokens: int, extras: int
) -> None:
    """The customer pays the image asked for; what its upstream bills beyond stands with the extras."""
    body = gemini_counting(tokens, shapes.png(1), shapes.png(2), shapes.png(3))
    bench.upstream.usual = shapes.Reply(body=body)
    record = await bench.made()
    assert (record.generation.charged_micros, len(record.results), len(record.blobs)) == (USD, 1, 3)
    assert await account(bench, "provider_cost") == USD
    assert await account(bench, "extra_images") == extras * USD
    assert await account(bench, "provider:google") == -(1 + extras) * USD


async def test_a_relay_that_bills_a_refusal_is_paid_and_its_customer_is_not(
    bench: Any, settings_of: Any, shapes: Any, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """Captured and given back in one commit; the record and the log say both."""
    await bench.restart(settings_of(upstreams=RELAY))
    bench.upstream.usual = shapes.Reply(body=shapes.gemini(finish="IMAGE_SAFETY"))
    record = await bench.made()
    row = record.generation
    assert row.told is not None
    assert (row.state, row.told.code, row.told.charge) == ("failed", "content_refused", Charge.YES)
    assert (row.charged_micros, row.compensated_micros) == (USD, USD)
    assert await bench.verbs(row.id) == ["hold", "capture", "compensate"]
    assert await bench.taken(row.id) == [("cost", USD)]
    assert await bench.balance() == 0
    (finished,) = log("generation.finished")
    assert (finished["charged_micros"], finished["compensated_micros"]) == (USD, USD)
    await bench.is_clean(row.id)


async def test_the_operator_s_rules_are_the_engine_s(bench: Any, settings_of: Any, shapes: Any) -> None:
    """A quarter for refusals, as written."""
    rules = [{"when": "refused", "share": 0.25}]
    await bench.restart(settings_of(upstreams=RELAY, compensation=rules))
    bench.upstream.usual = shapes.Reply(body=shapes.gemini(finish="IMAGE_SAFETY"))
    row = (await bench.made()).generation
    assert (row.charged_micros, row.compensated_micros) == (USD, USD // 4)
    assert await bench.balance() == USD - USD // 4


@pytest.mark.parametrize(("seconds", "given"), [(100.0, 0), (200.0, USD)])
async def test_a_slow_image_is_given_back(bench: Any, seconds: float, given: int) -> None:
    """From acceptance to the end, by the wall clock of the records."""
    gate = bench.hold_back()
    id_, caller = await bench.ask()
    await bench.in_flight()
    bench.clock.jump(seconds)
    gate.set()
    await caller.ended()
    row = (await bench.record(id_)).generation
    assert (row.state, row.charged_micros, row.compensated_micros) == ("succeeded", USD, given)
    assert await bench.balance() == USD - given


async def test_a_lost_reply_is_an_exposure_and_its_spool_resolves_it(bench: Any, shapes: Any, a_picture: bytes) -> None:
    """Told as unknown by one start, found in the spool by the next: moved once, however often it starts."""
    new, live = await bench.accepted()
    attempt = await bench.sent(live)
    await bench.restart()
    assert await account(bench, "unknown_exposure") == USD
    bench.received(live, attempt, shapes.gemini(a_picture))
    for _ in range(2):
        await bench.restart()
        await bench.quiet()
        assert await bench.verbs(new.id) == ["hold", "void"]
        assert (await account(bench, "unknown_exposure"), await account(bench, "extra_images")) == (0, USD)
        assert await account(bench, "provider:google") == -USD
    assert (await bench.record(new.id)).generation.late == 1
    await bench.is_clean(new.id)


async def test_what_was_in_flight_at_a_deadline_and_lost_its_process_is_an_exposure(bench: Any) -> None:
    """Its caller was told before; nobody has the attempt any more, and what it may have cost is booked all the same."""
    bench.hold_back()
    id_, caller = await bench.ask(asked_s=10.0)
    await bench.in_flight()
    bench.clock.jump(10.5)
    await caller.ended()
    before = (await bench.record(id_)).generation
    assert (before.state, await account(bench, "unknown_exposure")) == ("failed", 0)
    recovered = await bench.restart()
    assert recovered.unknown == 1
    record = await bench.record(id_)
    assert record.generation == before
    assert [(each.state, each.charge) for each in record.attempts] == [("unknown", "unknown")]
    assert await account(bench, "unknown_exposure") == USD
    assert (await bench.restart()).unknown == 0
    assert await bench.taken(id_) == [("exposure", USD)]
    await bench.is_clean(id_)


async def test_an_images_answer_costs_what_it_delivers(bench: Any, make: Any, shapes: Any) -> None:
    """Two of three asked for: two list prices, two charges."""
    bench.upstream.usual = shapes.Reply(body=shapes.openai(shapes.png(1), shapes.png(2)))
    record = await bench.made(make(model=GPT, n=3))
    assert (record.generation.charged_micros, record.generation.partial_result) == (2 * USD, 1)
    assert await bench.taken(record.generation.id) == [("cost", 2 * USD)]


@pytest.mark.parametrize("sections", [{"retry": {"sends_max": 1}}])
async def test_parts_are_booked_each_for_itself(bench: Any, make: Any, shapes: Any) -> None:
    """One image, one lost, one that was never bought."""
    bench.upstream.by_part[1] = shapes.Reply(failure=LOST)
    bench.upstream.by_part[2] = shapes.Reply(body=b"{}", status=503)
    record = await bench.made(make(n=3))
    row = record.generation
    assert (row.state, row.charged_micros, row.compensated_micros) == ("succeeded", USD, 0)
    assert sorted(await bench.taken(row.id)) == [("cost", USD), ("exposure", USD)]
    await bench.is_clean(row.id)


async def test_an_image_that_was_cut_on_its_way_was_billed(bench: Any, make: Any, shapes: Any) -> None:
    """One of two arrived whole and is charged; the upstream made both."""
    bench.upstream.usual = shapes.Reply(body=shapes.openai(shapes.png(1), shapes.png(2)[:-20]))
    record = await bench.made(make(model=GPT, n=2))
    assert (record.generation.charged_micros, record.generation.partial_result) == (USD, 1)
    assert await bench.taken(record.generation.id) == [("cost", 2 * USD)]


async def test_of_an_answer_that_is_here_in_part_what_was_asked_for_was_billed(
    bench: Any, make: Any, shapes: Any
) -> None:
    """A kill tore it: nobody knows how many images stood in the rest."""
    new, live = await bench.accepted(make(model=GPT, n=3))
    attempt = await bench.sent(live)
    bench.received(live, attempt, shapes.openai(shapes.png(1), shapes.png(2)), finish=False)
    await bench.restart()
    await bench.quiet()
    record = await bench.record(new.id)
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", 2 * USD)
    assert await bench.taken(new.id) == [("cost", 3 * USD)]
    await bench.is_clean(new.id)
