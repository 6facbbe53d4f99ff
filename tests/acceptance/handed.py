"""The official SDKs with our clients handed to them: one function for each way of asking for an image."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

import openai
from google import genai
from google.genai import types
from PIL import Image

import holdfast

MODEL = "nano-banana-pro"
PREVIEWED = "gpt-image-2"
GEMINI = "gemini-3-pro-image"


@dataclass(frozen=True, kw_only=True)
class Order:
    """One call: whom, for what, with which client."""

    url: str
    key: str
    prompt: str
    retries: int = 0
    """The SDK's own, beside what the transport does."""
    timeout_s: float | None = None
    """The caller's own; None: he has none."""
    client: Mapping[str, Any] = field(default_factory=dict)
    """Options of `holdfast.httpx_client`."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Got:
    """What came of it."""

    images: list[bytes] = field(default_factory=list)
    previews: int = 0


@cache
def reference() -> bytes:
    """Draw an image to start from."""
    file = io.BytesIO()
    Image.effect_noise((300, 200), 80).save(file, "png")
    return file.getvalue()


def with_openai(order: Order) -> Any:
    """Make the client of openai."""
    return openai.OpenAI(http_client=holdfast.httpx_client(**order.client), **_openai(order))


def with_async_openai(order: Order) -> Any:
    """Make its asynchronous twin."""
    return openai.AsyncOpenAI(http_client=holdfast.httpx_async_client(**order.client), **_openai(order))


def _openai(order: Order) -> dict[str, Any]:
    own = {} if order.timeout_s is None else {"timeout": order.timeout_s}
    named = {"base_url": f"{order.url}/v1", "api_key": order.key, "max_retries": order.retries}
    return named | own | {"default_headers": dict(order.headers)}


@contextlib.contextmanager
def with_google(order: Order) -> Iterator[Any]:
    """Make the client of google-genai; it leaves the client that it was handed to whoever made that."""
    with holdfast.httpx_client(**order.client) as http:
        yield genai.Client(api_key=order.key, http_options=_google_options(order, httpx_client=http))


@contextlib.asynccontextmanager
async def with_async_google(order: Order) -> AsyncIterator[Any]:
    """Make its asynchronous twin."""
    async with holdfast.httpx_async_client(**order.client) as http:
        yield genai.Client(api_key=order.key, http_options=_google_options(order, httpx_async_client=http)).aio


def _google_options(order: Order, **clients: Any) -> Any:
    retries = types.HttpRetryOptions(attempts=order.retries + 1, initial_delay=0.1) if order.retries else None
    return types.HttpOptions(
        base_url=order.url,
        headers=dict(order.headers),
        timeout=None if order.timeout_s is None else round(order.timeout_s * 1000),
        retry_options=retries,
        **clients,
    )


def _fields(order: Order, model: str = MODEL) -> dict[str, Any]:
    return {"model": model, "prompt": order.prompt, "size": "1024x1024"}


def _google(order: Order) -> dict[str, Any]:
    config = types.GenerateContentConfig(response_modalities=["IMAGE"])
    return {"model": GEMINI, "contents": order.prompt, "config": config}


def _of_data(answer: Any) -> Got:
    return Got(images=[base64.b64decode(each.b64_json) for each in answer.data])


def _of_events(events: Iterable[Any]) -> Got:
    got = Got()
    for event in events:
        if event.type.endswith(".partial_image"):
            assert base64.b64decode(event.b64_json)
            got.previews += 1
        else:
            got.images.append(base64.b64decode(event.b64_json))
    return got


def _of_chunks(chunks: Iterable[Any]) -> Got:
    return Got(images=[part.inline_data.data for chunk in chunks for part in chunk.parts or () if part.inline_data])


def generate(order: Order) -> Got:
    """`images.generate`."""
    with with_openai(order) as client:
        return _of_data(client.images.generate(**_fields(order)))


def edit(order: Order) -> Got:
    """`images.edit`, a form with a file."""
    with with_openai(order) as client:
        return _of_data(client.images.edit(image=("one.png", reference(), "image/png"), **_fields(order)))


def stream(order: Order) -> Got:
    """`images.generate(stream=True)` with two previews."""
    with with_openai(order) as client:
        return _of_events(client.images.generate(**_fields(order, PREVIEWED), stream=True, partial_images=2))


def raw(order: Order) -> Got:
    """`images.with_streaming_response.generate`, read in pieces."""
    with with_openai(order) as client, client.images.with_streaming_response.generate(**_fields(order)) as answer:
        document = json.loads(b"".join(answer.iter_bytes(100_000)))
    return Got(images=[base64.b64decode(each["b64_json"]) for each in document["data"]])


def async_generate(order: Order) -> Got:
    """The same of AsyncOpenAI."""

    async def call() -> Got:
        async with with_async_openai(order) as client:
            return _of_data(await client.images.generate(**_fields(order)))

    return asyncio.run(call())


def async_edit(order: Order) -> Got:
    """`AsyncOpenAI().images.edit`."""

    async def call() -> Got:
        async with with_async_openai(order) as client:
            image = ("one.png", reference(), "image/png")
            return _of_data(await client.images.edit(image=image, **_fields(order)))

    return asyncio.run(call())


def async_stream(order: Order) -> Got:
    """`AsyncOpenAI().images.generate(stream=True)`."""

    async def call() -> Got:
        async with with_async_openai(order) as client:
            fields = _fields(order, PREVIEWED)
            events = await client.images.generate(**fields, stream=True, partial_images=2)
            return _of_events([event async for event in events])

    return asyncio.run(call())


def async_raw(order: Order) -> Got:
    """`AsyncOpenAI().images.with_streaming_response.generate`."""

    async def call() -> bytes:
        async with (
            with_async_openai(order) as client,
            client.images.with_streaming_response.generate(**_fields(order)) as answer,
        ):
            return b"".join([piece async for piece in answer.iter_bytes(100_000)])

    return Got(images=[base64.b64decode(each["b64_json"]) for each in json.loads(asyncio.run(call()))["data"]])


def google(order: Order) -> Got:
    """`models.generate_content`."""
    with with_google(order) as client:
        return _of_chunks([client.models.generate_content(**_google(order))])


def google_stream(order: Order) -> Got:
    """`models.generate_content_stream`."""
    with with_google(order) as client:
        return _of_chunks(client.models.generate_content_stream(**_google(order)))


def async_google(order: Order) -> Got:
    """`aio.models.generate_content`."""

    async def call() -> Got:
        async with with_async_google(order) as client:
            return _of_chunks([await client.models.generate_content(**_google(order))])

    return asyncio.run(call())


def async_google_stream(order: Order) -> Got:
    """`aio.models.generate_content_stream`."""

    async def call() -> Got:
        async with with_async_google(order) as client:
            chunks = await client.models.generate_content_stream(**_google(order))
            return _of_chunks([chunk async for chunk in chunks])

    return asyncio.run(call())


WAYS: Mapping[str, Callable[[Order], Got]] = MappingProxyType(
    {
        "openai": generate,
        "openai-edit": edit,
        "openai-stream": stream,
        "openai-raw": raw,
        "openai-async": async_generate,
        "openai-async-edit": async_edit,
        "openai-async-stream": async_stream,
        "openai-async-raw": async_raw,
        "google": google,
        "google-stream": google_stream,
        "google-async": async_google,
        "google-async-stream": async_google_stream,
    }
)
