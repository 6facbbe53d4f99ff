"""What else programs do with the two SDKs: list models, edit images, choose sizes, ask for several, take links."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from io import BytesIO
from types import ModuleType
from typing import Any

import httpx2
import openai
import pytest
from google import genai
from google.genai import types
from PIL import Image

NAMES = ["nano-banana-pro", "gemini-3-pro-image", "gemini-3-pro-image-preview", "gpt-image-2"]


@pytest.fixture
def client(stage: Any, callers: ModuleType) -> Iterator[openai.OpenAI]:
    """Make a client of openai, through nginx as documented."""
    with openai.OpenAI(**callers.openai_options(stage.asked("unused"))) as made:
        yield made


@pytest.fixture
def google(stage: Any, callers: ModuleType) -> Iterator[genai.Client]:
    """Make a client of google-genai, through nginx as documented."""
    with callers.google_client(stage.asked("unused")) as made:
        yield made


def size_of(image: bytes) -> tuple[int, int]:
    """Read a picture's true size."""
    with Image.open(BytesIO(image)) as opened:
        return opened.size


def parts_of(answer: types.GenerateContentResponse) -> list[bytes]:
    """Give the pictures of an answer."""
    return [part.inline_data.data for part in answer.parts or () if part.inline_data and part.inline_data.data]


def test_openai_lists_and_finds_models(client: openai.OpenAI) -> None:
    """Every name that a caller may write is there, aliases included."""
    assert [model.id for model in client.models.list()] == NAMES
    model = client.models.retrieve("gemini-3-pro-image")
    assert (model.id, model.object) == ("gemini-3-pro-image", "model")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("dall-e-3")


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_google_lists_and_finds_models(stage: Any, callers: ModuleType, version: str) -> None:
    """Under /v1, which openai shares, and under /v1beta, where older ones look; the credential tells the dialect."""
    with callers.google_client(stage.asked("unused"), api_version=version) as client:
        assert [model.name for model in client.models.list()] == [f"models/{name}" for name in NAMES]
        model = client.models.get(model="gemini-3-pro-image")
        assert model.name == "models/gemini-3-pro-image"
        assert "generateContent" in (model.supported_actions or [])


def test_google_asynchronous_lists_models_too(stage: Any, callers: ModuleType) -> None:
    """The other transport of that SDK, aiohttp, reads the same list."""

    async def listed() -> list[str | None]:
        with callers.google_client(stage.asked("unused")) as client:
            async with client.aio as aio:
                return [model.name async for model in await aio.models.list()]

    assert asyncio.run(listed()) == [f"models/{name}" for name in NAMES]


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_google_draws_under_both_versions(stage: Any, callers: ModuleType, version: str) -> None:
    """`api_version` moves the call, and changes nothing else."""
    asked = stage.asked(f"drawn under {version}")
    with callers.google_client(asked, api_version=version) as client:
        answer = client.models.generate_content(model="nano-banana-pro", contents=asked.prompt)
    (image,) = parts_of(answer)
    assert size_of(image) == (1024, 1024)


@pytest.mark.parametrize(
    ("ratio", "size", "pixels"),
    [
        ("16:9", "1K", (1376, 768)),
        ("9:16", "2K", (1536, 2752)),
        ("1:1", "4K", (4096, 4096)),
        (None, None, (1024, 1024)),
    ],
)
def test_google_chooses_ratio_and_size(
    stage: Any, google: genai.Client, ratio: str | None, size: str | None, pixels: tuple[int, int]
) -> None:
    """`ImageConfig` decides the pixels, and the bill."""
    asked = stage.asked(f"shaped {ratio} {size}")
    config = types.GenerateContentConfig(image_config=types.ImageConfig(aspect_ratio=ratio, image_size=size))
    answer = google.models.generate_content(model="gemini-3-pro-image", contents=asked.prompt, config=config)
    (image,) = parts_of(answer)
    assert size_of(image) == pixels
    generation_id = answer.sdk_http_response.headers["generation-id"]  # type: ignore[union-attr, index]
    (charge,) = stage.simulator.purchases(generation_id)
    assert charge["size"] == f"{pixels[0]}x{pixels[1]}"
    assert stage.gateway.record(generation_id)["cost"]["charged_micros"] == charge["micros"]


@pytest.mark.parametrize(
    ("size", "beside", "pixels"),
    [
        ("1024x1024", {}, (1024, 1024)),
        ("1536x1024", {}, (2528, 1696)),
        ("auto", {}, (1024, 1024)),
        ("1K", {"aspect_ratio": "16:9"}, (1376, 768)),
    ],
)
def test_openai_chooses_a_size(
    stage: Any, client: openai.OpenAI, size: Any, beside: dict[str, str], pixels: tuple[int, int]
) -> None:
    """Its words for a size lead to the nearest that the model draws, and the answer tells the true one."""
    prompt = stage.asked(f"sized {size}").prompt
    answer = client.images.generate(model="nano-banana-pro", prompt=prompt, size=size, extra_body=beside)
    (item,) = answer.data or []
    assert size_of(base64.b64decode(item.b64_json or "")) == pixels
    assert item.size == answer.size == f"{pixels[0]}x{pixels[1]}"  # type: ignore[attr-defined]
    assert answer.output_format == "png"


def test_the_edit_flow_of_google(stage: Any, google: genai.Client, as_drawn: Callable[[bytes], bool]) -> None:
    """A picture goes in beside the prompt, its ratio is taken over, and the answer can be sent back for a next turn."""
    asked = stage.asked("edited")
    picture = Image.effect_mandelbrot((640, 360), (-2.0, -1.0, 1.0, 1.0), 60).convert("RGB")
    first = google.models.generate_content(model="gemini-3-pro-image", contents=[asked.prompt, picture])
    (image,) = parts_of(first)
    assert size_of(image) == (1376, 768)
    assert as_drawn(image)
    # What the upstream counted of the picture: it got one.
    usage = first.usage_metadata
    assert usage is not None
    assert {each.modality.name for each in usage.prompt_tokens_details or () if each.modality} == {"TEXT", "IMAGE"}
    assert first.candidates is not None
    turns = [asked.prompt, first.candidates[0].content, "the sky in green, please"]
    second = google.models.generate_content(model="gemini-3-pro-image", contents=turns)
    assert len(parts_of(second)) == 1
    assert second.usage_metadata is not None
    assert (second.usage_metadata.prompt_token_count or 0) > 258


def test_the_chat_of_google_goes_back_and_forth(stage: Any, google: genai.Client) -> None:
    """`chats` sends the whole history each time, drawn images and their signatures included."""
    chat = google.chats.create(model="gemini-3-pro-image")
    for number in range(2):
        answer = chat.send_message(stage.asked(f"turn {number}").prompt)
        assert len(parts_of(answer)) == 1
    (model_turn,) = [content for content in chat.get_history()[:2] if content.role == "model"]
    signed = [part for part in model_turn.parts or () if part.inline_data]
    assert signed[0].thought_signature is not None


def test_several_images_of_openai(stage: Any, client: openai.OpenAI, as_drawn: Callable[[bytes], bool]) -> None:
    """An upstream that draws one at a time is asked twice; the caller sees one answer, and usage adds up."""
    answer = client.images.generate(model="nano-banana-pro", prompt=stage.asked("a pair").prompt, n=2)
    images = [base64.b64decode(item.b64_json or "") for item in answer.data or ()]
    assert len(set(images)) == 2
    assert all(as_drawn(image) for image in images)
    assert len(stage.simulator.purchases(answer.generation_id)) == 2  # type: ignore[attr-defined]
    usage = answer.usage
    assert usage is not None
    assert usage.output_tokens_details is not None
    assert usage.output_tokens_details.image_tokens == 2 * 1120
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens


def test_links_of_openai_are_fetched_without_a_key(
    stage: Any, client: openai.OpenAI, as_drawn: Callable[[bytes], bool]
) -> None:
    """`response_format="url"` answers in a few hundred bytes; the image is a download of its own."""
    answer = client.images.generate(
        model="nano-banana-pro", prompt=stage.asked("a link").prompt, response_format="url", size="1024x1024"
    )
    (item,) = answer.data or []
    assert item.b64_json is None
    assert item.url is not None
    assert item.url.startswith(stage.front("documented"))
    with httpx2.Client() as stranger:
        assert as_drawn(stranger.get(item.url).raise_for_status().content)


def test_what_has_no_effect_is_named(stage: Any, client: openai.OpenAI) -> None:
    """Fields that an upstream knows nothing of are no error, and no secret either."""
    answer = client.images.with_raw_response.generate(
        model="nano-banana-pro", prompt=stage.asked("ignored").prompt, quality="high", moderation="low"
    )
    assert answer.headers["holdfast-ignored"] == "quality, moderation"
    assert answer.headers["holdfast-served-by"] == "google/gemini-3-pro-image"
    assert answer.headers["x-request-id"].startswith("req_")
    assert len(answer.parse().data or ()) == 1
