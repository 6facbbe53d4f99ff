"""Gemini: parts in any order, spelling and alphabet; what we write we read."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import RequestError
from holdfast.wire.answers import Answer, Reader, Role
from holdfast.wire.gemini import (
    GEMINI_REQUEST_IMAGE,
    GenerateReader,
    GenerateStreamReader,
    decode_error,
    decode_generate_request,
    render_answer,
    render_answer_events,
)
from holdfast.wire.scan import ImageBytes, JsonReader
from holdfast.wire.template import filled

TEXTS = st.text(max_size=20)
PARTS = st.lists(
    st.tuples(st.just("text"), TEXTS, st.booleans())
    | st.tuples(st.just("image"), st.binary(min_size=1, max_size=40), st.booleans()),
    max_size=6,
)


def read(reader: Reader, body: bytes, step: int) -> tuple[dict[int, bytes], Answer]:
    """Read in pieces; images by number."""
    images: dict[int, bytes] = {}
    for at in range(0, len(body), step):
        for event in reader.feed(body[at : at + step]):
            if isinstance(event, ImageBytes):
                images[event.index] = images.get(event.index, b"") + event.data
    return images, reader.finish()


def spelled(
    parts: list[tuple[str, Any, bool]], *, snake: bool, url_safe: bool, padded: bool, prefix: bool
) -> list[Any]:
    """Write parts in one of the ways in which relays do."""
    out: list[Any] = []
    for kind, value, thought in parts:
        part: dict[str, Any] = {"thought": True} if thought else {}
        if kind == "text":
            out.append(part | {"text": value})
            continue
        text = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(value).decode()
        text = text if padded else text.rstrip("=")
        data = {
            "mime_type" if snake else "mimeType": "image/png",
            "data": ("data:image/png;base64," if prefix else "") + text,
        }
        out.append({"inline_data" if snake else "inlineData": data} | part)
    return out


def expected_roles(parts: list[tuple[str, Any, bool]]) -> list[Role]:
    """The last image that is no thought is the result."""
    thoughts = [thought for kind, _, thought in parts if kind == "image"]
    last = max((at for at, thought in enumerate(thoughts) if not thought), default=-1)
    return [Role.RESULT if at == last else Role.DRAFT for at in range(len(thoughts))]


@settings(deadline=None, max_examples=200)
@given(PARTS, st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.integers(1, 400))
def test_every_spelling_of_an_answer_is_read(
    parts: list[tuple[str, Any, bool]], snake: bool, url_safe: bool, padded: bool, prefix: bool, step: int
) -> None:
    """Both spellings, both alphabets, with and without padding and prefix."""
    written = spelled(parts, snake=snake, url_safe=url_safe, padded=padded, prefix=prefix)
    body = json.dumps({"candidates": [{"content": {"parts": written}, "finishReason": "STOP"}]}).encode()
    images, answer = read(GenerateReader(), body, step)
    assert list(images.values()) == [value for kind, value, _ in parts if kind == "image"]
    assert [image.role for image in answer.images] == expected_roles(parts)
    assert answer.text_chars == sum(len(value) for kind, value, thought in parts if kind == "text" and not thought)


@settings(deadline=None, max_examples=200)
@given(PARTS, st.integers(1, 400), st.booleans())
def test_an_answer_passed_on_is_the_same_answer(parts: list[tuple[str, Any, bool]], step: int, stream: bool) -> None:
    """Read, written whole or as a stream, and read again: the same document and images."""
    written = spelled(parts, snake=False, url_safe=False, padded=True, prefix=False)
    document = {
        "candidates": [{"content": {"role": "model", "parts": written}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 1},
    }
    images, answer = read(GenerateReader(), json.dumps(document).encode(), step)
    if stream:
        body = b"\r\n".join(filled(event, images) for event in render_answer_events(answer.document))
        again, merged = read(GenerateStreamReader(), body, step)
        assert json.loads(merged.document) == json.loads(answer.document)
        assert [image.role for image in merged.images] == [image.role for image in answer.images]
    else:
        body = filled(render_answer(answer.document), images)
        again, merged = read(GenerateReader(), body, step)
        assert merged == answer
        assert json.loads(body) == document
    assert again == images


@settings(deadline=None, max_examples=200)
@given(PARTS, st.booleans(), st.booleans())
def test_every_spelling_of_a_request_is_one_request(
    parts: list[tuple[str, Any, bool]], snake: bool, url_safe: bool
) -> None:
    """Spelling and alphabet change neither the images nor the normal form."""

    def decoded(**spelling: bool) -> tuple[list[bytes], Any]:
        written = spelled(parts, prefix=False, padded=True, **spelling)
        reader = JsonReader(GEMINI_REQUEST_IMAGE)
        images: dict[int, bytes] = {}
        for event in reader.feed(json.dumps({"contents": [{"role": "user", "parts": written}]}).encode()):
            if isinstance(event, ImageBytes):
                images[event.index] = images.get(event.index, b"") + event.data
        skeleton = reader.finish()
        try:
            return list(images.values()), decode_generate_request(skeleton)
        except RequestError as error:
            return list(images.values()), error.param

    images, view = decoded(snake=snake, url_safe=url_safe)
    assert (images, view) == decoded(snake=False, url_safe=False)
    assert images == [value for kind, value, _ in parts if kind == "image"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("candidates", "content", "parts", "text", "thought", "index", "error", "details", "@type"),
                    *("usageMetadata", "contents", "generationConfig", "imageConfig", "violations"),
                    *("promptFeedback", "inlineData", "inline_data"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@settings(deadline=None, max_examples=300)
@given(JSON)
def test_no_document_crashes_a_reader(document: Any) -> None:
    """Odd types are answers without images, errors without words, requests that are refused."""
    body = json.dumps(document).encode()
    decode_error(500, body)
    if isinstance(document, dict | list):
        assert read(GenerateReader(), body, 1 << 20)[1].images == ()
        read(GenerateStreamReader(), b"data: " + body + b"\r\n\r\n", 1 << 20)
    try:
        decode_generate_request(body)
    except RequestError as error:
        assert error.message
