"""The official SDKs as people use them: one function for each way of calling, and what came of it.

Nothing is patched, and nothing is configured but the base URL and the key. Each function is synchronous, so that many
of them can be under way at once, each in a thread of its own.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import openai
from google import genai
from google.genai import types

SILENT: Mapping[str, str] = MappingProxyType({"Prefer": "heartbeat=0"})
"""The caller's own wish: no heartbeats."""
PREVIEWS = 2


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One call: whom, and for what."""

    front: str
    """Where the SDK is told that the API is."""
    key: str
    prompt: str
    size: str = "1K"
    headers: Mapping[str, str] = field(default_factory=dict)
    retries: int = 0
    """`max_retries` of openai; Google's SDK makes none unless it is told to."""
    timeout_s: float | None = None
    """The SDK's own, if it is to have another than it comes with."""
    verify: Any = None
    """The authorities to trust, for a front with TLS."""


@dataclass(kw_only=True)
class Got:
    """What an SDK gave its caller."""

    generation_id: str = ""
    images: list[bytes] = field(default_factory=list)
    previews: list[bytes] = field(default_factory=list)
    before_the_image_s: list[float] = field(default_factory=list)
    """When something else of a stream came, seconds from its beginning."""
    reasons: list[str] = field(default_factory=list)
    """Google's words for how it ended: of the prompt's feedback, or of a candidate."""
    took_s: float = 0.0


Caller = Callable[[Asked], Got]


def openai_options(asked: Asked) -> dict[str, Any]:
    """Give what the client of openai is made with."""
    options = {"base_url": f"{asked.front}/v1", "api_key": asked.key, "max_retries": asked.retries}
    return options | ({} if asked.timeout_s is None else {"timeout": asked.timeout_s})


def openai_fields(asked: Asked, model: str) -> dict[str, Any]:
    """Give what `images.generate` is called with."""
    size = {"1K": "1024x1024", "4K": "4096x4096"}[asked.size]
    return {"model": model, "prompt": asked.prompt, "size": size, "extra_headers": asked.headers}


def _openai_client(asked: Asked) -> openai.OpenAI:
    if asked.verify is None:
        return openai.OpenAI(**openai_options(asked))
    return openai.OpenAI(**openai_options(asked), http_client=openai.DefaultHttpxClient(verify=asked.verify))


def call_openai(asked: Asked) -> Got:
    """`OpenAI().images.generate`."""
    with _openai_client(asked) as client:
        return _images(client.images.generate(**openai_fields(asked, "nano-banana-pro")))


def call_openai_async(asked: Asked) -> Got:
    """`AsyncOpenAI().images.generate`."""

    async def call() -> Got:
        async with openai.AsyncOpenAI(**openai_options(asked)) as client:
            return _images(await client.images.generate(**openai_fields(asked, "gpt-image-2")))

    return asyncio.run(call())


def _images(answer: Any) -> Got:
    images = [base64.b64decode(item.b64_json) for item in answer.data]
    return Got(generation_id=answer.generation_id, images=images)


def call_openai_stream(asked: Asked) -> Got:
    """`OpenAI().images.generate(stream=True)`."""
    with _openai_client(asked) as client:
        events = client.images.generate(**openai_fields(asked, "nano-banana-pro"), stream=True, partial_images=0)
        return _events(events)


def call_openai_previews(asked: Asked) -> Got:
    """The same with two partial images, of a model that makes them."""
    with _openai_client(asked) as client:
        fields = openai_fields(asked, "gpt-image-2")
        return _events(client.images.generate(**fields, stream=True, partial_images=PREVIEWS))


def call_openai_async_stream(asked: Asked) -> Got:
    """`AsyncOpenAI().images.generate(stream=True)`, with two partial images."""

    async def call() -> Got:
        async with openai.AsyncOpenAI(**openai_options(asked)) as client:
            fields = openai_fields(asked, "gpt-image-2")
            events = await client.images.generate(**fields, stream=True, partial_images=PREVIEWS)
            got = Got()
            began_at = time.monotonic()
            async for event in events:
                _take(got, event, began_at)
            return got

    return asyncio.run(call())


def _events(events: Iterable[Any]) -> Got:
    got = Got()
    began_at = time.monotonic()
    for event in events:
        _take(got, event, began_at)
    return got


def _take(got: Got, event: Any, began_at: float) -> None:
    image = base64.b64decode(event.b64_json)
    if event.type == "image_generation.partial_image":
        got.previews.append(image)
        got.before_the_image_s.append(time.monotonic() - began_at)
    else:
        assert event.type == "image_generation.completed"
        got.images.append(image)
        got.generation_id = event.generation_id


def google_client(asked: Asked, **http_options: Any) -> genai.Client:
    """Make the client of google-genai."""
    options: dict[str, Any] = {"base_url": asked.front, "headers": dict(asked.headers), **http_options}
    if asked.timeout_s is not None:
        options["timeout"] = round(asked.timeout_s * 1000)
    if asked.verify is not None:
        options |= {"client_args": {"verify": asked.verify}, "async_client_args": {"ssl": asked.verify}}
    return genai.Client(api_key=asked.key, http_options=types.HttpOptions(**options))


def _google_call(asked: Asked, model: str = "gemini-3-pro-image") -> dict[str, Any]:
    config = types.GenerateContentConfig(
        response_modalities=["TEXT", "IMAGE"], image_config=types.ImageConfig(image_size=asked.size)
    )
    return {"model": model, "contents": asked.prompt, "config": config}


def call_google(asked: Asked) -> Got:
    """`Client().models.generate_content`."""
    with google_client(asked) as client:
        return _chunks([client.models.generate_content(**_google_call(asked))])


def call_google_async(asked: Asked) -> Got:
    """`Client().aio.models.generate_content`, of a model that another kind of upstream makes."""

    async def call() -> Got:
        with google_client(asked) as client:
            async with client.aio as aio:
                return _chunks([await aio.models.generate_content(**_google_call(asked, "gpt-image-2"))])

    return asyncio.run(call())


def call_google_stream(asked: Asked) -> Got:
    """`Client().models.generate_content_stream`."""
    with google_client(asked) as client:
        return _chunks(client.models.generate_content_stream(**_google_call(asked)))


def call_google_async_stream(asked: Asked) -> Got:
    """`Client().aio.models.generate_content_stream`."""

    async def call() -> Got:
        with google_client(asked) as client:
            async with client.aio as aio:
                chunks: AsyncIterator[Any] = await aio.models.generate_content_stream(**_google_call(asked))
                return _chunks([chunk async for chunk in chunks])

    return asyncio.run(call())


def _chunks(chunks: Iterable[Any]) -> Got:
    got = Got()
    began_at = time.monotonic()
    for chunk in chunks:
        got.generation_id = chunk.sdk_http_response.headers["generation-id"]
        images = [part.inline_data.data for part in chunk.parts or () if part.inline_data]
        got.images += images
        feedback = [chunk.prompt_feedback.block_reason] if chunk.prompt_feedback else []
        got.reasons += [
            reason.name for reason in (*feedback, *(each.finish_reason for each in chunk.candidates or ())) if reason
        ]
        if not images:
            got.before_the_image_s.append(time.monotonic() - began_at)
    return got


FLAVOURS: Mapping[str, Caller] = MappingProxyType(
    {
        "openai": call_openai,
        "openai-async": call_openai_async,
        "openai-stream": call_openai_stream,
        "openai-previews": call_openai_previews,
        "openai-async-stream": call_openai_async_stream,
        "google": call_google,
        "google-async": call_google_async,
        "google-stream": call_google_stream,
        "google-async-stream": call_google_async_stream,
    }
)
"""Every way in which the two SDKs ask for an image."""


def call(flavour: str, asked: Asked) -> Got:
    """Make one call, and note how long it took."""
    began_at = time.monotonic()
    got = FLAVOURS[flavour](asked)
    got.took_s = time.monotonic() - began_at
    return got
