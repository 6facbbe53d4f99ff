"""Relays on sockets: a picture in every shape that they use is bought once, kept here, and delivered as bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

suite = pytest.importorskip("provider_suite")

IMAGES = suite.Door(
    name="relay-images", provider="openai", model="nano-banana-pro", path="/v1", extra={"flavor": "relay"}
)
CHAT = suite.Door(
    name="relay-chat", provider="openai", api="chat", model="gemini-3-pro-image", path="/v1", extra={"flavor": "relay"}
)
Starter = Callable[..., Awaitable[Any]]


@pytest.fixture
def before(start: Any, upstream: Any) -> Starter:
    """Start a gateway whose one upstream is this door."""

    async def begin(door: Any, **more: Any) -> Any:
        return await start(**door.sections({**door.upstream(upstream.port), **more}))

    return begin


async def image(gateway: Any, **fields: Any) -> Any:
    """Ask for one."""
    return await gateway.images(model=suite.MODEL, size="1K", **fields)


@pytest.mark.parametrize("stream", ["never", "always"])
@pytest.mark.parametrize("shape", ["images", "parts", "markdown", "link"])
async def test_a_chat_brings_its_picture_in_any_shape(before: Starter, upstream: Any, shape: str, stream: str) -> None:
    """Streamed from there or not: one purchase, whole bytes, tokens as it counted them."""
    gateway = await before(CHAT, stream=stream)
    upstream.suffers(f"shape={shape}")
    answer = await image(gateway)
    assert answer.status == 200, answer
    assert answer.json["data"][0]["size"] == "1024x1024"
    assert gateway.stored(answer.generation_id) == [answer.picture()]
    assert answer.json["usage"]["output_tokens"] == 1128
    assert upstream.outcomes == ["made"]
    (attempt,) = gateway.record(answer.generation_id).attempts
    assert (attempt.state, attempt.charge) == ("settled", "yes")


@pytest.mark.parametrize("shape", ["data_url", "link"])
async def test_the_images_door_takes_what_stands_in_the_place_of_a_link(
    before: Starter, upstream: Any, shape: str
) -> None:
    """A data URL is decoded, a link fetched: the caller gets an image that does not expire with it."""
    gateway = await before(IMAGES)
    upstream.suffers(f"shape={shape}")
    answer = await image(gateway)
    assert answer.status == 200, answer
    assert gateway.stored(answer.generation_id) == [answer.picture()]
    assert "/_sim/" not in answer.body.decode()
    assert upstream.outcomes == ["made"]


@pytest.mark.parametrize("way", [IMAGES, CHAT], ids=str)
async def test_a_link_that_is_dead_at_first_is_asked_for_again(before: Starter, upstream: Any, way: Any) -> None:
    """And nothing is bought again."""
    gateway = await before(way)
    upstream.suffers("shape=link expired")
    answer = await image(gateway)
    assert answer.status == 200, answer
    assert upstream.outcomes == ["made"]
    assert len(gateway.record(answer.generation_id).attempts) == 1


@pytest.mark.parametrize("way", [IMAGES, CHAT], ids=str)
@pytest.mark.parametrize("fault", ["not_image", "cut_image"])
async def test_a_link_that_stays_dead_was_paid_for(
    before: Starter, upstream: Any, way: Any, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told as it is, after all tries; never bought again."""
    monkeypatch.setattr("holdfast.providers.linked.FETCH_S_FIRST", 0.01)
    gateway = await before(way)
    upstream.suffers(f"shape=link {fault}")
    answer = await image(gateway)
    assert (answer.status, answer.error["holdfast_code"], answer.error["paid"]) == (502, "upstream_failed", "yes")
    failure = gateway.record(answer.generation_id).attempts[-1].failed
    assert failure is not None
    assert failure.kind == "malformed"
    assert upstream.outcomes == ["made"]


async def test_a_relay_that_answers_a_fixed_price_bills_its_refusals(before: Starter, upstream: Any) -> None:
    """Of the picture it made, and of the prompt that its own upstream blocked."""
    gateway = await before(CHAT)
    upstream.suffers("refused_output", "refused_input")
    for stage in ("output", "input"):
        answer = await gateway.images(model=suite.MODEL, size="1K", prompt=f"{suite.PROMPT} {stage}")
        assert (answer.status, answer.error["code"], answer.error["paid"]) == (400, "moderation_blocked", "yes")


async def test_reference_images_go_into_the_message(before: Starter, upstream: Any) -> None:
    """As data URLs, in order, and the picture takes the ratio that was asked for."""
    gateway = await before(CHAT)
    answer = await gateway.gemini(contents=suite.inline(suite.paint(64, 64, "png"), suite.paint(32, 16, "png")))
    assert answer.status == 200, answer
    (asked,) = upstream.asked
    assert (asked.inputs, asked.is_chat) == (2, True)


async def test_several_images_are_several_chats(before: Starter, upstream: Any) -> None:
    """One makes one."""
    gateway = await before(CHAT)
    answer = await image(gateway, n=3)
    assert answer.status == 200, answer
    assert len(answer.json["data"]) == 3
    async with asyncio.timeout(5):
        while upstream.charges.count < 3:
            await asyncio.sleep(0.01)
    assert upstream.outcomes == ["made"] * 3


async def test_a_draft_is_kept_and_the_last_picture_delivered(before: Starter, upstream: Any) -> None:
    """Relays pass on all that the model drew."""
    gateway = await before(CHAT)
    upstream.suffers("shape=markdown drafts=1")
    answer = await image(gateway)
    assert answer.status == 200, answer
    assert [entry["size"] for entry in answer.json["data"]] == ["1024x1024"]
    record = gateway.record(answer.generation_id)
    assert len(record.drafts()) == 1
