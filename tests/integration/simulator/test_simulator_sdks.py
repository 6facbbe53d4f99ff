"""The official SDKs, unmodified, against the simulated upstreams: what they read here they read at the vendors."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any

import google.genai
import google.genai.errors
import openai
import pytest
from google.genai import types
from PIL import Image

from holdfast.simulator.film import paint

# google-genai 3.4 does with aiohttp what aiohttp advises against; that is between the two of them.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")


def openai_at(caller: Any, **options: Any) -> openai.AsyncOpenAI:
    """Make an OpenAI client that tries once."""
    return openai.AsyncOpenAI(base_url=f"{caller.url}/v1", api_key="any", max_retries=0, **options)


def gemini_at(caller: Any, **options: Any) -> google.genai.Client:
    """Make a Gemini client."""
    return google.genai.Client(api_key="any", http_options=types.HttpOptions(base_url=caller.url, **options))


def config(**image: str) -> types.GenerateContentConfig:
    """Ask for a picture."""
    return types.GenerateContentConfig(response_modalities=["TEXT", "IMAGE"], image_config=types.ImageConfig(**image))


def opened(file: bytes) -> Image.Image:
    """Decode a whole picture."""
    image = Image.open(io.BytesIO(file))
    image.load()
    return image


async def test_openai_generates(lab: Any) -> None:
    """Two real pictures that differ, with usage."""
    caller = await lab.start(paint=paint)
    async with openai_at(caller) as client:
        made = await client.images.generate(model="gpt-image-2", prompt="a lighthouse", n=2, size="1024x1024")
    assert made.data is not None
    files = [base64.b64decode(item.b64_json or "") for item in made.data]
    assert [opened(file).size for file in files] == [(1024, 1024), (1024, 1024)]
    assert len({hashlib.sha256(file).digest() for file in files}) == 2
    assert made.usage is not None
    assert made.usage.output_tokens > 0
    assert (made.output_format, made.size) == ("png", "1024x1024")


async def test_openai_streams(lab: Any) -> None:
    """Previews, then the picture."""
    caller = await lab.start()
    async with openai_at(caller) as client:
        stream = await client.images.generate(model="gpt-image-2", prompt="a lighthouse", stream=True, partial_images=2)
        events = [event async for event in stream]
    assert [event.type for event in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert len({event.b64_json for event in events}) == 3
    assert events[-1].usage.total_tokens > 0


@pytest.mark.parametrize(
    ("words", "kind", "code"),
    [
        ("status=429 retry_after=3", openai.RateLimitError, "rate_limit_exceeded"),
        ("status=503", openai.InternalServerError, "server_is_overloaded"),
        ("status=401", openai.AuthenticationError, "invalid_api_key"),
        ("refused_output", openai.BadRequestError, "moderation_blocked"),
        ("status=500", openai.InternalServerError, None),
    ],
)
async def test_openai_raises_what_the_vendor_makes_it_raise(
    lab: Any, words: str, kind: type[openai.APIStatusError], code: str | None
) -> None:
    """By status, with the code inside."""
    caller = await lab.start()
    async with openai_at(caller) as client:
        with pytest.raises(kind) as raised:
            await client.images.generate(model="gpt-image-2", prompt=f"a [sim {words}]")
    assert raised.value.code == code


@pytest.mark.parametrize("words", ["truncate", "reset_body", "reset_sent"])
async def test_openai_buys_three_times_when_an_answer_is_lost(lab: Any, words: str) -> None:
    """The SDK repeats by itself, and the record shows what that costs."""
    caller = await lab.start()
    async with openai_at(caller).with_options(max_retries=2) as client:
        with pytest.raises(openai.APIConnectionError):
            await client.images.generate(model="gpt-image-2", prompt=f"a [sim {words}]")
    assert [row["outcome"] for row in await caller.charges()] == ["made"] * 3


async def test_openai_lists_models(lab: Any) -> None:
    """The route is there."""
    caller = await lab.start()
    async with openai_at(caller) as client:
        assert "gpt-image-2" in [model.id async for model in client.models.list()]


async def test_gemini_generates(lab: Any) -> None:
    """A real picture of the size that was asked for."""
    caller = await lab.start(paint=paint)
    async with gemini_at(caller, timeout=30_000).aio as client:
        made = await client.models.generate_content(
            model="gemini-3-pro-image", contents="a lighthouse", config=config(aspect_ratio="16:9", image_size="1K")
        )
    (part,) = [part for part in made.candidates[0].content.parts if part.inline_data]
    assert opened(part.inline_data.data).size == (1376, 768)
    assert part.inline_data.mime_type == "image/png"
    assert part.thought_signature
    assert made.usage_metadata.total_token_count > 1000
    assert made.candidates[0].finish_reason == types.FinishReason.STOP


@pytest.mark.parametrize("version", ["v1", "v1beta"])
async def test_gemini_streams(lab: Any, version: str) -> None:
    """Thoughts first, then text and the picture; at either version."""
    caller = await lab.start()
    async with gemini_at(caller, api_version=version).aio as client:
        stream = await client.models.generate_content_stream(
            model="gemini-3-pro-image", contents="a lighthouse", config=config(image_size="1K")
        )
        parts = [part async for chunk in stream for part in chunk.candidates[0].content.parts]
    assert [bool(part.thought) for part in parts] == [True, True, False, False]
    assert parts[-1].inline_data.data.startswith(b"\x89PNG")


async def test_gemini_edits(lab: Any) -> None:
    """The SDK sends images in the URL-safe alphabet; the picture follows theirs."""
    caller = await lab.start()
    image = types.Part.from_bytes(data=lab.paint(1536, 2752, "png"), mime_type="image/png")
    async with gemini_at(caller).aio as client:
        made = await client.models.generate_content(
            model="gemini-3-pro-image", contents=["redder", image], config=config()
        )
    modalities = {detail.modality for detail in made.usage_metadata.prompt_tokens_details}
    assert types.MediaModality.IMAGE in modalities
    (part,) = [part for part in made.candidates[0].content.parts if part.inline_data]
    assert opened(part.inline_data.data).size == (768, 1376)


async def test_gemini_reads_refusals(lab: Any) -> None:
    """As answers, not as errors."""
    caller = await lab.start()
    async with gemini_at(caller).aio as client:

        async def ask(words: str) -> Any:
            return await client.models.generate_content(
                model="gemini-3-pro-image", contents=f"a [sim {words}]", config=config()
            )

        assert (await ask("refused_input reason=SAFETY")).prompt_feedback.block_reason == types.BlockedReason.SAFETY
        hidden = await ask("refused_output")
        assert hidden.candidates[0].finish_reason == types.FinishReason.IMAGE_SAFETY
        nothing = await ask("no_image")
        assert nothing.candidates[0].finish_reason == types.FinishReason.NO_IMAGE
        assert "lighthouse" in (await ask("text_only")).text


@pytest.mark.parametrize(
    ("words", "kind", "status"),
    [
        ("status=429 retry_after=3", google.genai.errors.ClientError, "RESOURCE_EXHAUSTED"),
        ("status=503", google.genai.errors.ServerError, "UNAVAILABLE"),
        ("status=400", google.genai.errors.ClientError, "INVALID_ARGUMENT"),
    ],
)
@pytest.mark.parametrize("streams", [False, True])
async def test_gemini_raises_what_the_vendor_makes_it_raise(
    lab: Any, words: str, kind: type[google.genai.errors.APIError], status: str, streams: bool
) -> None:
    """By status, plain or streamed."""
    caller = await lab.start()
    asked: dict[str, Any] = {"model": "m", "contents": f"a [sim {words}]", "config": config()}
    async with gemini_at(caller).aio as client:
        with pytest.raises(kind) as raised:
            if streams:
                async for _ in await client.models.generate_content_stream(**asked):
                    pass
            else:
                await client.models.generate_content(**asked)
    assert raised.value.status == status


async def test_gemini_raises_when_a_stream_breaks(lab: Any) -> None:
    """An error event in the middle is an exception to it."""
    caller = await lab.start(speed=1000.0)
    async with gemini_at(caller).aio as client:
        stream = await client.models.generate_content_stream(model="m", contents="a [sim delay=100]", config=config())
        with pytest.raises(google.genai.errors.ServerError) as raised:
            async for _ in stream:
                pass
    assert raised.value.status == "DEADLINE_EXCEEDED"
