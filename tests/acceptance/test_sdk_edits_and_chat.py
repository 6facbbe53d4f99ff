"""The stock SDK of OpenAI, edits and chat: files as it sends them, streams as it reads them, nothing but a base URL."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from io import BytesIO
from types import ModuleType
from typing import Any

import openai
import pytest
from PIL import Image

Drawn = Callable[[bytes], bool]


@pytest.fixture
def client(stage: Any, callers: ModuleType) -> Iterator[openai.OpenAI]:
    """Make a client of openai, through nginx as documented."""
    with openai.OpenAI(**callers.openai_options(stage.asked("unused"))) as made:
        yield made


def a_file(name: str = "x.png", size: tuple[int, int] = (640, 360), mode: str = "RGB") -> BytesIO:
    """Draw a picture, as a file with a name."""
    made = BytesIO()
    picture = Image.effect_mandelbrot(size, (-2.0, -1.0, 1.0, 1.0), 60).convert(mode)
    picture.save(made, "JPEG" if name.endswith("jpg") else "PNG")
    made.seek(0)
    made.name = name
    return made


def size_of(image: bytes) -> tuple[int, int]:
    """Read a picture's true size."""
    with Image.open(BytesIO(image)) as opened:
        return opened.size


def images_of(answer: Any) -> list[bytes]:
    """Decode the images of an answer."""
    return [base64.b64decode(item.b64_json or "") for item in answer.data or ()]


def shown(text: str) -> bytes:
    """Decode the image in a text."""
    head, _, coded = text.partition(";base64,")
    assert head.startswith("![image](data:image/")
    return base64.b64decode(coded.removesuffix(")"))


def test_one_file(stage: Any, client: openai.OpenAI, as_drawn: Drawn) -> None:
    """A file object; its ratio is taken over, and the upstream has seen an image."""
    prompt = stage.asked("edited from a file").prompt
    answer = client.images.edit(model="nano-banana-pro", image=a_file(), prompt=prompt)
    (image,) = images_of(answer)
    assert as_drawn(image)
    assert size_of(image) == (1376, 768)
    assert answer.usage is not None
    assert answer.usage.input_tokens > 258


@pytest.mark.parametrize("model", ["nano-banana-pro", "gpt-image-2"])
def test_a_list_of_files(stage: Any, client: openai.OpenAI, as_drawn: Drawn, model: str) -> None:
    """Bytes with a name, a file object, a tuple that names a wrong type: the bytes decide."""
    files: Any = [("a.png", a_file().getvalue()), a_file("b.jpg"), ("c.txt", a_file().getvalue(), "text/plain")]
    prompt = stage.asked(f"edited from a list by {model}").prompt
    answer = client.images.edit(model=model, image=files, prompt=prompt, size="1024x1024", n=1, quality="low")
    (image,) = images_of(answer)
    assert as_drawn(image)
    assert size_of(image) == (1024, 1024)


def test_a_mask(stage: Any, client: openai.OpenAI, as_drawn: Drawn) -> None:
    """Where the upstream takes one; where it does not, that is said with its name, and nothing is bought."""
    prompt = stage.asked("edited with a mask").prompt
    mask = a_file("mask.png", mode="RGBA")
    answer = client.images.edit(
        model="gpt-image-2", image=a_file(), mask=mask, prompt=prompt, size="1024x1024", input_fidelity="high"
    )
    assert as_drawn(images_of(answer)[0])
    mask.seek(0)
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.edit(model="nano-banana-pro", image=a_file(), mask=mask, prompt=prompt)
    assert refused.value.param == "mask"
    assert "takes no mask" in refused.value.message


@pytest.mark.parametrize("previews", [0, 2])
def test_an_edit_is_streamed(stage: Any, client: openai.OpenAI, as_drawn: Drawn, previews: int) -> None:
    """Events of edits, with previews if they are wanted."""
    prompt = stage.asked(f"edited in a stream with {previews}").prompt
    events = list(
        client.images.edit(
            model="gpt-image-2", image=a_file(), prompt=prompt, size="1024x1024", stream=True, partial_images=previews
        )
    )
    assert [event.type for event in events] == ["image_edit.partial_image"] * previews + ["image_edit.completed"]
    assert as_drawn(base64.b64decode(events[-1].b64_json))


def test_an_edit_of_the_asynchronous_client(stage: Any, callers: ModuleType, as_drawn: Drawn) -> None:
    """The other half of the SDK writes its form itself."""

    async def edited() -> bytes:
        async with openai.AsyncOpenAI(**callers.openai_options(stage.asked("unused"))) as client:
            prompt = stage.asked("edited asynchronously").prompt
            answer = await client.images.edit(model="nano-banana-pro", image=[a_file(), a_file()], prompt=prompt)
            return images_of(answer)[0]

    assert as_drawn(asyncio.run(edited()))


def test_a_conversation(stage: Any, client: openai.OpenAI, as_drawn: Drawn) -> None:
    """A turn, and another that goes on from what was shown: the answer comes back as it was given."""
    messages: Any = [{"role": "user", "content": stage.asked("a first turn").prompt}]
    first = client.chat.completions.create(model="nano-banana-pro", messages=messages)
    (choice,) = first.choices
    assert as_drawn(shown(choice.message.content or ""))
    assert choice.finish_reason == "stop"
    assert first.usage is not None
    before = first.usage.prompt_tokens
    messages += [choice.message, {"role": "user", "content": stage.asked("a second turn").prompt}]
    second = client.chat.completions.create(model="nano-banana-pro", messages=messages)
    assert as_drawn(shown(second.choices[0].message.content or ""))
    assert second.usage is not None
    assert second.usage.prompt_tokens > before + 200


def test_a_conversation_is_streamed(stage: Any, client: openai.OpenAI, as_drawn: Drawn) -> None:
    """Deltas that make up one text, and tokens at the end."""
    messages: Any = [{"role": "user", "content": stage.asked("a streamed turn").prompt}]
    chunks = list(
        client.chat.completions.create(
            model="nano-banana-pro", messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert as_drawn(shown(text))
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"


def test_a_conversation_in_the_words_of_openrouter(stage: Any, client: openai.OpenAI, as_drawn: Drawn) -> None:
    """`modalities` and `image_config` in, `message.images` out."""
    picture = f"data:image/png;base64,{base64.b64encode(a_file().getvalue()).decode()}"
    parts = [
        {"type": "text", "text": stage.asked("in other words").prompt},
        {"type": "image_url", "image_url": {"url": picture}},
    ]
    answer: Any = client.chat.completions.create(
        model="gemini-3-pro-image-preview",
        messages=[{"role": "user", "content": parts}],  # type: ignore[list-item, misc]
        extra_body={"modalities": ["image", "text"], "image_config": {"aspect_ratio": "1:1", "image_size": "2K"}},
    )
    message = answer.choices[0].message
    image = base64.b64decode(message.images[0]["image_url"]["url"].partition(",")[2])
    assert as_drawn(image)
    assert size_of(image) == (2048, 2048)


def test_a_refusal_in_a_conversation(stage: Any, client: openai.OpenAI) -> None:
    """Not an exception: an answer that says so, with its reason to end."""
    messages: Any = [{"role": "user", "content": stage.asked("[sim fault=refused_output]").prompt}]
    # However busy the machine is, no beat comes before it.
    silent = {"Prefer": "heartbeat=0"}
    answer = client.chat.completions.create(model="nano-banana-pro", messages=messages, extra_headers=silent)
    (choice,) = answer.choices
    assert choice.finish_reason == "content_filter"
    assert choice.message.refusal


def test_errors_of_both_are_the_sdk_s(stage: Any, client: openai.OpenAI) -> None:
    """A model that is not served, and a file that is no image."""
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hello"}])
    with pytest.raises(openai.BadRequestError, match="not a whole PNG"):
        client.images.edit(model="nano-banana-pro", image=("x.png", b"no"), prompt=stage.asked("broken").prompt)
