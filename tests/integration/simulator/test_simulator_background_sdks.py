"""The official SDKs against the simulated background APIs: what they read here they read at the vendors."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import google.genai
import openai
import pytest
from google.genai import types
from openai.types.responses.response_output_item import ImageGenerationCall

from holdfast.wire.image import ImageMeter

# google-genai 3.4 does with aiohttp what aiohttp advises against; that is between the two of them.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
TOOL: Any = {"type": "image_generation", "model": "gpt-image-2", "size": "1024x1024"}


def openai_at(caller: Any) -> openai.AsyncOpenAI:
    """Make an OpenAI client that tries once."""
    return openai.AsyncOpenAI(base_url=f"{caller.url}/v1", api_key="any", max_retries=0)


def size_of(coded: str | None) -> tuple[int, int]:
    """Look at a picture."""
    meter = ImageMeter()
    meter.feed(base64.b64decode(coded or ""))
    info, is_whole = meter.finish()
    assert is_whole
    assert info is not None
    return info.width_px, info.height_px


async def test_openai_leaves_and_comes_back(lab: Any) -> None:
    """create, retrieve until it has ended, and the image in the call of the tool; again, for nothing."""
    caller = await lab.start(speed=20.0)
    async with openai_at(caller) as client:
        made = await client.responses.create(
            model="gpt-5.5", input="a lighthouse [sim delay=10]", tools=[TOOL], background=True
        )
        assert made.status == "queued"
        async with asyncio.timeout(10):
            while made.status in ("queued", "in_progress"):
                await asyncio.sleep(0.05)
                made = await client.responses.retrieve(made.id)
        again = await client.responses.retrieve(made.id)
    assert made.status == "completed"
    (call,) = [item for item in made.output if isinstance(item, ImageGenerationCall)]
    assert size_of(call.result) == (1024, 1024)
    assert made.output_text == "Here is your picture."
    assert made.tool_usage is not None
    assert made.tool_usage.image_gen.output_tokens > 0
    assert made.usage is not None
    assert again == made
    assert [row["outcome"] for row in await caller.charges()] == ["made"]


async def test_openai_is_told_of_a_refusal(lab: Any) -> None:
    """In the call of the tool, with its stage."""
    caller = await lab.start()
    async with openai_at(caller) as client:
        made = await client.responses.create(
            model="gpt-5.5", input="a lighthouse [sim refused_input]", tools=[TOOL], background=True
        )
        made = await client.responses.retrieve(made.id)
    (call,) = [item for item in made.output if isinstance(item, ImageGenerationCall)]
    assert call.error is not None
    assert call.error.moderation_details is not None
    assert (call.error.code, call.error.moderation_details.moderation_stage) == ("moderation_blocked", "input")


async def test_openai_cancels(lab: Any) -> None:
    """In time: nothing is charged, and it stays so."""
    caller = await lab.start()
    async with openai_at(caller) as client:
        made = await client.responses.create(
            model="gpt-5.5", input="a lighthouse [sim delay=60]", tools=[TOOL], background=True
        )
        assert (await client.responses.cancel(made.id)).status == "cancelled"
        assert (await client.responses.retrieve(made.id)).status == "cancelled"
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve("resp_of_nobody")
    assert await caller.charges() == []


def interactions_at(caller: Any) -> tuple[google.genai.Client, Any]:
    """Make a Gemini client, and give its interactions."""
    client = google.genai.Client(api_key="any", http_options=types.HttpOptions(base_url=caller.url))
    return client, client.aio.interactions


async def test_google_leaves_and_comes_back(lab: Any) -> None:
    """create, get until it has ended, and `output_image`."""
    caller = await lab.start(speed=20.0)
    client, interactions = interactions_at(caller)
    try:
        made = await interactions.create(
            model="gemini-3-pro-image",
            input="a lighthouse [sim delay=10]",
            background=True,
            response_format={"type": "image", "aspect_ratio": "16:9", "image_size": "1K"},
        )
        assert made.status == "queued"
        async with asyncio.timeout(10):
            while made.status in ("queued", "in_progress"):
                await asyncio.sleep(0.05)
                made = await interactions.get(made.id)
    finally:
        await client.aio.aclose()
    assert made.status == "completed"
    assert size_of(made.output_image.data) == (1376, 768)
    assert made.output_text == "Here is your picture."
    assert made.usage.total_thought_tokens > 0
    assert [row["outcome"] for row in await caller.charges()] == ["made"]


async def test_google_cancels(lab: Any) -> None:
    """In time: nothing is charged."""
    caller = await lab.start()
    client, interactions = interactions_at(caller)
    try:
        made = await interactions.create(
            model="gemini-3-pro-image",
            input="a lighthouse [sim delay=60]",
            background=True,
            response_format={"type": "image"},
        )
        assert (await interactions.cancel(made.id)).status == "cancelled"
    finally:
        await client.aio.aclose()
    assert await caller.charges() == []
