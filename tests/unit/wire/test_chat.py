"""Answers of the chat surface, in the three places where programs look for images."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from holdfast.types import Usage
from holdfast.wire.chat import (
    PIECE_BYTES,
    ChatHead,
    ChatImage,
    Shape,
    chat_usage,
    render_chat_error,
    render_chunks,
    render_completion,
    render_refusal,
)
from holdfast.wire.template import Template, filled, length_of, slots_of

HEAD = ChatHead(generation_id="gen_1", created=1_764_000_000, model="gemini-3-pro-image")
LINK = "https://images.example/v1/generations/gen_1/images/0?sig=x"
PICTURE = bytes(range(256)) * 1000
USAGE = Usage(input_tokens=5, output_tokens=1290, output_image_tokens=1120)
DATA_URL = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"


def an_image(slot: int = 0, **overrides: Any) -> ChatImage:
    """One image of an answer."""
    return ChatImage(**{"slot": slot, "mime": "image/png", "url": LINK, **overrides})


def written(template: Template, *pictures: bytes) -> bytes:
    """Fill a template, and see that its length was foretold."""
    images = dict(enumerate(pictures))
    made = filled(template, images)
    assert len(made) == length_of(template, {index: len(picture) for index, picture in images.items()})
    return made


def chunks_of(made: bytes) -> list[dict[str, Any]]:
    """The documents of a stream; `[DONE]` is its last word."""
    *events, done, rest = made.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    assert all(event.startswith(b"data: ") for event in events)
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


def delta_text(chunks: list[dict[str, Any]], index: int = 0) -> str:
    """What a program puts together of a stream's text."""
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get("content", "") for choice in choices)


@pytest.mark.parametrize(
    ("shape", "content", "images"),
    [
        (Shape.CONTENT, f"![image]({DATA_URL})", None),
        (Shape.IMAGES, "", [{"type": "image_url", "image_url": {"url": DATA_URL}, "index": 0}]),
        (Shape.LINK, f"![image]({LINK})", None),
    ],
)
def test_a_plain_answer_carries_its_image(shape: Shape, content: str, images: Any) -> None:
    """In the text with its bytes, beside the text, or as a link."""
    template = render_completion(HEAD, [an_image()], shape, USAGE)
    document = json.loads(written(template, PICTURE))
    (choice,) = document["choices"]
    assert choice["message"]["content"] == content
    assert choice["message"].get("images") == images
    assert (choice["index"], choice["finish_reason"]) == (0, "stop")
    assert document["object"] == "chat.completion"
    assert document["id"] == "chatcmpl-gen_1"
    assert document["usage"] == chat_usage(USAGE)
    assert document["usage"]["total_tokens"] == 1295
    assert bool(slots_of(template)) is (shape is not Shape.LINK)


def test_several_images_are_several_choices() -> None:
    """Each with its own bytes."""
    template = render_completion(HEAD, [an_image(0), an_image(1, mime="image/jpeg")], Shape.CONTENT, None)
    first, second = json.loads(written(template, b"one", b"two"))["choices"]
    assert first["message"]["content"] == "![image](data:image/png;base64,b25l)"
    assert second["message"]["content"] == "![image](data:image/jpeg;base64,dHdv)"
    assert second["index"] == 1


def test_a_link_that_is_gone_is_replaced_by_the_bytes() -> None:
    """An answer always shows its image."""
    template = render_completion(HEAD, [an_image(url=None)], Shape.LINK, None)
    assert json.loads(written(template, b"one"))["choices"][0]["message"]["content"].endswith(";base64,b25l)")


@pytest.mark.parametrize("size", [1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 5])
def test_a_stream_brings_text_in_lines_below_64_kib(size: int) -> None:
    """aiohttp breaks at 128 KiB, Go's scanners and asyncio's readers at 64; put together, it is the whole image."""
    picture = (PICTURE * (size // len(PICTURE) + 1))[:size]
    made = written(render_chunks(HEAD, [an_image()], Shape.CONTENT, USAGE, tells_usage=False), picture)
    assert max(map(len, made.split(b"\n"))) < 65_536
    chunks = chunks_of(made)
    assert delta_text(chunks) == f"![image](data:image/png;base64,{base64.b64encode(picture).decode()})"
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk["id"] for chunk in chunks} == {"chatcmpl-gen_1"}
    assert all("usage" not in chunk for chunk in chunks)


@pytest.mark.parametrize("shape", [Shape.IMAGES, Shape.LINK])
def test_a_stream_has_the_other_shapes_in_one_delta(shape: Shape) -> None:
    """As OpenRouter streams them; a link is short anyway."""
    chunks = chunks_of(written(render_chunks(HEAD, [an_image()], shape, None, tells_usage=False), PICTURE))
    assert len(chunks) == 3
    delta = chunks[1]["choices"][0]["delta"]
    if shape is Shape.IMAGES:
        assert delta["images"][0]["image_url"]["url"] == DATA_URL
    else:
        assert delta["content"] == f"![image]({LINK})"


def test_a_stream_tells_tokens_to_those_who_asked() -> None:
    """In an event of its own without choices, as OpenAI documents `include_usage`."""
    template = render_chunks(HEAD, [an_image(0), an_image(1)], Shape.CONTENT, USAGE, tells_usage=True)
    chunks = chunks_of(written(template, b"one", b"two"))
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"]) == ([], 1290)
    assert delta_text(chunks, 1) == "![image](data:image/png;base64,dHdv)"


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_shown_and_says_how_it_ended(stream: bool) -> None:
    """Programs show the text; code finds `content_filter`, and no image anywhere."""
    template = render_refusal(HEAD, "google refused the prompt", stream=stream, tells_usage=True)
    made = written(template)
    if stream:
        chunks = chunks_of(made)
        assert delta_text(chunks) == "google refused the prompt"
        assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None, "content_filter"]
        assert chunks[-1]["usage"]["total_tokens"] == 0
        return
    (choice,) = json.loads(made)["choices"]
    assert choice["message"]["content"] == choice["message"]["refusal"] == "google refused the prompt"
    assert choice["finish_reason"] == "content_filter"


def test_an_error_in_a_stream_is_an_event_without_a_name() -> None:
    """Both SDKs raise on the member `error`; programs that read only `data:` see it too."""
    assert written(render_chat_error(b'{"error":{"message":"x"}}')) == b'data: {"error":{"message":"x"}}\n\n'
