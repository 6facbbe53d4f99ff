"""fal's queue: what we write we read, whatever is in it and wherever it is cut."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import RequestError
from holdfast.providers.fal_urls import Urls, is_same_origin
from holdfast.types import Geometry, Request, Surface, Tier
from holdfast.wire.answers import Reader
from holdfast.wire.errors import WireError
from holdfast.wire.fal import (
    Detail,
    Handle,
    Link,
    QueueReader,
    QueueState,
    QueueStatus,
    ResultImage,
    ResultReader,
    decode_error,
    decode_handle,
    decode_input,
    decode_status,
    decode_submitted,
    encode_handle,
    encode_input,
    links_of,
    render_details,
    render_error,
    render_result,
    render_status,
    render_submitted,
)
from holdfast.wire.scan import ImageBytes
from holdfast.wire.template import filled, length_of

WORDS = st.text(max_size=20)
URLS = st.none() | st.text(min_size=1, max_size=40)
HANDLES = st.builds(
    Handle,
    request_id=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}", fullmatch=True),
    status_url=URLS,
    response_url=URLS,
    cancel_url=URLS,
)
STATUSES = st.builds(
    QueueStatus, state=st.just(QueueState.IN_QUEUE), queue_position=st.integers(0, 1 << 40)
) | st.builds(
    QueueStatus,
    state=st.just(QueueState.COMPLETED),
    error=st.none() | st.text(min_size=1, max_size=20),
    error_type=st.none() | st.text(min_size=1, max_size=20),
)
REQUESTS = st.builds(
    Request,
    surface=st.just(Surface.GENERATIONS),
    model=WORDS,
    prompt=st.text(min_size=1, max_size=60),
    geometry=st.builds(
        Geometry,
        tier=st.sampled_from(Tier),
        aspect_ratio=st.sampled_from(["1:1", "16:9", "9:16", "4:5"]),
        width_px=st.just(8),
        height_px=st.just(8),
    ),
    output_format=st.none() | st.sampled_from(["png", "jpeg", "webp"]),
)
LINKS = st.builds(lambda rest: f"https://{rest}", st.text(min_size=1, max_size=30))


def read(reader: Reader, body: bytes, cut: int) -> tuple[dict[int, bytes], Any]:
    """Read in two pieces; images by number."""
    images: dict[int, bytes] = {}
    for piece in (body[:cut], body[cut:]):
        for event in reader.feed(piece):
            if isinstance(event, ImageBytes):
                images[event.index] = images.get(event.index, b"") + event.data
    return images, reader.finish()


@given(REQUESTS, st.integers(1, 4), st.booleans())
def test_an_input_written_is_the_input_read(request: Request, n: int, states_resolution: bool) -> None:
    """decode(encode(x)) == x."""
    (body,) = encode_input(request, n=n, states_resolution=states_resolution)
    assert isinstance(body, bytes)
    back = decode_input(body)
    assert (back.prompt, back.num_images, back.output_format) == (request.prompt, n, request.output_format)
    assert back.aspect_ratio == request.geometry.aspect_ratio
    assert back.resolution == (request.geometry.tier.value if states_resolution else None)


@settings(deadline=None, max_examples=25)
@given(HANDLES)
def test_a_handle_written_is_the_handle_read(handle: Handle) -> None:
    """From the queue's answer, cut at every byte, and from our own record."""
    assert decode_handle(encode_handle(handle)) == handle
    body = render_submitted(handle)
    for cut in range(len(body) + 1):
        _, answer = read(QueueReader(), body, cut)
        assert decode_submitted(answer.document) == handle


@settings(deadline=None, max_examples=25)
@given(HANDLES, STATUSES)
def test_a_status_written_is_the_status_read(handle: Handle, status: QueueStatus) -> None:
    """decode(encode(x)) == x, cut at every byte."""
    body = render_status(handle, status)
    for cut in range(len(body) + 1):
        _, answer = read(QueueReader(), body, cut)
        assert decode_status(answer.document) == status


@settings(deadline=None, max_examples=25)
@given(st.lists(st.binary(min_size=1, max_size=30) | LINKS, max_size=4), WORDS)
def test_a_result_written_is_the_result_read(pictures: list[bytes | str], description: str) -> None:
    """Links and data URIs side by side, cut at every byte."""
    raw = [each for each in pictures if isinstance(each, bytes)]
    links = [each for each in pictures if isinstance(each, str)]
    slots = iter(range(len(raw)))
    images = [
        ResultImage(content_type="image/png", slot=next(slots))
        if isinstance(each, bytes)
        else ResultImage(content_type="image/png", url=each)
        for each in pictures
    ]
    template = render_result(images, description=description)
    body = filled(template, dict(enumerate(raw)))
    assert length_of(template, {index: len(data) for index, data in enumerate(raw)}) == len(body)
    assert json.loads(body)["description"] == description
    for cut in range(len(body) + 1):
        found, answer = read(ResultReader(), body, cut)
        assert found == dict(enumerate(raw))
        assert [image.index for image in answer.images] == list(range(len(raw)))
        assert links_of(answer.document) == tuple(Link(url=url, declared_mime="image/png") for url in links)


@given(st.text(min_size=1, max_size=50), st.none() | st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_an_error_written_is_the_error_read(message: str, error_type: str | None, type_: str) -> None:
    """Both kinds of document."""
    error = decode_error(render_error(message, error_type=error_type))
    assert (error.message, error.type, error.is_json) == (message, error_type, True)
    detail = decode_error(render_details([Detail(type=type_, msg=message)]))
    assert (detail.message, detail.type, detail.is_input) == (message, type_, True)


@given(
    HANDLES,
    st.sampled_from(["https://queue.fal.run", "http://127.0.0.1:16900/fal/"]),
    st.sampled_from(["fal-ai/nano-banana-pro", "fal-ai/nano-banana-pro/edit", "/fal-ai/x/"]),
)
def test_the_key_never_leaves_its_origin(handle: Handle, base_url: str, model: str) -> None:
    """Whatever URLs an answer gives, those that are followed are the upstream's own."""
    urls = Urls.of(handle, base_url=base_url, model=model)
    for url in (urls.status_url, urls.response_url, urls.cancel_url):
        assert is_same_origin(url, base_url)
        assert url.startswith(("https://queue.fal.run/", "http://127.0.0.1:16900/"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["images", "image", "url", "detail", "loc", "type", "msg", "status", "error", "request_id", "prompt"]
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
    """Odd types are read or refused, never met by an exception of another kind."""
    body = json.dumps(document).encode()
    assert decode_error(body).message
    for decode in (decode_submitted, decode_status, decode_input, links_of):
        try:
            decode(body)
        except (WireError, RequestError) as error:
            assert str(error)
    try:
        read(ResultReader(), body, len(body) // 2)
    except WireError as error:
        assert error.message
