"""OpenAI Images: what we write we read, whatever is in it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import RequestError
from holdfast.types import Geometry, Request, Surface, Tier, Usage
from holdfast.wire.answers import Answer, Reader, Role
from holdfast.wire.openai import (
    ImagesReader,
    ImagesStreamReader,
    ImageView,
    decode_error,
    decode_images_request,
    encode_images_request,
    render_completed_event,
    render_images,
    render_partial_event,
)
from holdfast.wire.scan import ImageBytes
from holdfast.wire.template import filled, length_of

TEXT = st.text(max_size=30)
COUNTS = st.integers(0, 1 << 40)
USAGES = st.builds(
    lambda texts, images, words, pictures: Usage(
        input_tokens=texts + images,
        input_image_tokens=images,
        output_tokens=words + pictures,
        output_image_tokens=pictures,
    ),
    COUNTS,
    COUNTS,
    COUNTS,
    COUNTS,
)
IMAGES = st.lists(
    st.tuples(st.binary(min_size=1, max_size=50), st.none() | TEXT, st.none() | TEXT), min_size=1, max_size=4
)
REQUESTS = st.builds(
    Request,
    surface=st.just(Surface.OPENAI),
    model=TEXT,
    prompt=st.text(min_size=1, max_size=60).filter(str.strip),
    geometry=st.just(Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=1024, height_px=1024)),
    output_format=st.none() | st.sampled_from(["png", "jpeg", "webp"]),
    quality=st.none() | st.sampled_from(["auto", "low", "high"]),
    background=st.none() | st.sampled_from(["auto", "transparent", "opaque"]),
    moderation=st.none() | st.sampled_from(["auto", "low"]),
    output_compression=st.none() | st.integers(0, 100),
    partial_images=st.integers(0, 3),
    end_user=st.none() | TEXT,
)


def read(reader: Reader, body: bytes, step: int) -> tuple[dict[int, bytes], Answer]:
    """Read in pieces; images by number."""
    images: dict[int, bytes] = {}
    for at in range(0, len(body), step):
        for event in reader.feed(body[at : at + step]):
            if isinstance(event, ImageBytes):
                images[event.index] = images.get(event.index, b"") + event.data
    return images, reader.finish()


@settings(deadline=None)
@given(REQUESTS, st.integers(1, 10), st.booleans(), st.none() | st.sampled_from(["auto", "1024x1024"]))
def test_a_request_written_is_the_request_read(request: Request, n: int, stream: bool, size: str | None) -> None:
    """decode(encode(x)) == x."""
    (body,) = encode_images_request(request, model="up", size=size, n=n, stream=stream)
    assert isinstance(body, bytes)
    read_back, ignored = decode_images_request(body)
    assert ignored == ()
    assert (read_back.prompt, read_back.model, read_back.n, read_back.size) == (request.prompt, "up", n, size)
    assert (read_back.output_format, read_back.quality) == (request.output_format, request.quality)
    assert (read_back.background, read_back.moderation) == (request.background, request.moderation)
    assert (read_back.output_compression, read_back.user) == (request.output_compression, request.end_user)
    assert bool(read_back.stream) is stream


@settings(deadline=None)
@given(IMAGES, st.none() | USAGES, TEXT, st.integers(1, 300))
def test_an_answer_written_is_the_answer_read(
    images: list[tuple[bytes, str | None, str | None]], usage: Usage | None, model: str, step: int
) -> None:
    """decode(encode(x)) == x, and the promised length is kept."""
    views = [
        ImageView(slot=index, url=url, size="1x1", revised_prompt=prompt)
        for index, (_, url, prompt) in enumerate(images)
    ]
    template = render_images(created=1, images=views, usage=usage, model=model, generation_id="gen_1")
    raw = {index: image[0] for index, image in enumerate(images)}
    body = filled(template, raw)
    assert length_of(template, {index: len(data) for index, data in raw.items()}) == len(body)
    found, answer = read(ImagesReader(), body, step)
    assert found == raw
    assert answer.usage == usage
    assert [image.revised_prompt for image in answer.results] == [prompt or None for _, _, prompt in images]
    assert answer.model_version == (model or None)


@settings(deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=50), max_size=3),
    st.binary(min_size=1, max_size=50),
    USAGES,
    st.integers(1, 300),
)
def test_a_stream_written_is_the_stream_read(partials: list[bytes], final: bytes, usage: Usage, step: int) -> None:
    """Previews and result, in order."""
    raw = dict(enumerate([*partials, final]))
    stream = b""
    for index in range(len(partials)):
        event = render_partial_event(slot=index, partial_image_index=index, created_at=1, size="1x1")
        stream += filled(event, raw) + b"\n"
    view = ImageView(slot=len(partials), url=None, size="1x1")
    completed = render_completed_event(image=view, created_at=1, usage=usage, model="m", generation_id="g")
    found, answer = read(ImagesStreamReader(), stream + filled(completed, raw), step)
    assert found == raw
    assert [image.role for image in answer.images] == [Role.PARTIAL] * len(partials) + [Role.RESULT]
    assert answer.usage == usage


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["data", "url", "usage", "error", "code", "message", "prompt", "n", "type", "created", "output_tokens"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=300)
@given(JSON)
def test_no_document_crashes_a_reader(document: Any) -> None:
    """Odd types are answers without images, errors without words, requests that are refused."""
    body = json.dumps(document).encode()
    decode_error(500, body)
    if isinstance(document, dict | list) and b"NaN" not in body and b"Infinity" not in body:
        assert read(ImagesReader(), body, 1 << 20)[1].images == ()
    try:
        decode_images_request(body)
    except RequestError as error:
        assert error.message
