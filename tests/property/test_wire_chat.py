"""Chat completions: what we write we read, and an answer means the same wherever it is cut."""

from __future__ import annotations

import base64
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.errors import RequestError
from holdfast.policy.sizes import geometry_of
from holdfast.types import InputImage, Request, Surface, Tier
from holdfast.wire.answers import Answer, Reader
from holdfast.wire.chat_answer import ChatReader, ChatStreamReader, links_of
from holdfast.wire.errors import WireError
from holdfast.wire.fields import mapping_of
from holdfast.wire.relay_chat import (
    CHAT_REQUEST_IMAGE,
    ChatForm,
    decode_chat_request,
    encode_chat_request,
)
from holdfast.wire.scan import ImageBegan, ImageBytes, ImageEnded, JsonReader
from holdfast.wire.template import filled

TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=20)
RAW = st.binary(min_size=1, max_size=40)
LINKS = st.from_regex(r"https://[a-z]{1,8}\.test/[a-z0-9]{1,8}\.png", fullmatch=True)
REQUESTS = st.builds(
    Request,
    surface=st.just(Surface.OPENAI),
    model=TEXT,
    prompt=st.text(min_size=1, max_size=40).filter(str.strip),
    geometry=st.builds(geometry_of, st.sampled_from(Tier), st.sampled_from(["1:1", "16:9", "9:16", "4:5"])),
    end_user=st.none() | st.text(min_size=1, max_size=10),
)
Told = tuple[list[tuple[str, int]], dict[int, bytes], Answer]


def read(reader: Reader, pieces: list[bytes]) -> Told:
    """Give what began and ended in which order, the bytes of each image, and the answer."""
    order: list[tuple[str, int]] = []
    images: dict[int, bytes] = {}
    for piece in pieces:
        for event in reader.feed(piece):
            match event:
                case ImageBytes(index=index, data=data):
                    images[index] = images.get(index, b"") + data
                case ImageBegan(index=index) | ImageEnded(index=index):
                    order.append((type(event).__name__, index))
    return order, images, reader.finish()


def url_of(raw: bytes) -> str:
    """A data URL."""
    return f"data:image/png;base64,{base64.b64encode(raw).decode()}"


@st.composite
def messages(draw: st.DrawFn) -> tuple[dict[str, Any], list[bytes], list[str]]:
    """A message in any of the shapes; its pictures as they come, and its links as they count."""
    pictures = draw(st.lists(RAW | LINKS, max_size=3))
    shape = draw(st.sampled_from(["images", "parts", "markdown"]))
    urls = [url_of(each) if isinstance(each, bytes) else each for each in pictures]
    raw = [each for each in pictures if isinstance(each, bytes)]
    links = [each for each in pictures if isinstance(each, str)]
    # Not more text than could be taken for something else.
    words = draw(st.sampled_from(["", "Here is your picture.", 'Ein Leuchtturm 🌊 (é) "x" \\ [a] data: d', "\n\n"]))
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    if shape == "images":
        return {"content": words, "images": parts}, raw, links
    if shape == "parts":
        return {"content": [{"type": "text", "text": words}, *parts]}, raw, links
    return {"content": words + "".join(f" ![image]({url}) " for url in urls)}, raw, links


@settings(deadline=None)
@given(REQUESTS, st.sampled_from(ChatForm), st.booleans(), st.lists(RAW, max_size=3))
def test_a_request_written_is_the_request_read(
    request: Request, form: ChatForm, stream: bool, inputs: list[bytes]
) -> None:
    """decode(encode(x)) == x, reference images included."""
    images = [InputImage(sha256="0" * 64, mime="image/png", bytes=len(raw), store_key="k") for raw in inputs]
    request = Request(**{name: getattr(request, name) for name in request.__slots__} | {"inputs": tuple(images)})
    body = filled(encode_chat_request(request, model="m", form=form, stream=stream), dict(enumerate(inputs)))
    reader = JsonReader(CHAT_REQUEST_IMAGE)
    found: dict[int, bytes] = {}
    for event in reader.feed(body):
        if isinstance(event, ImageBytes):
            found[event.index] = found.get(event.index, b"") + event.data
    back = decode_chat_request(reader.finish())
    assert found == dict(enumerate(inputs))
    assert (back.model, back.prompt, back.form, back.stream) == ("m", request.prompt, form, stream)
    assert (back.aspect_ratio, back.image_size) == (request.geometry.aspect_ratio, request.geometry.tier.value)
    assert (back.images, back.end_user) == (len(inputs), request.end_user)


@settings(deadline=None, max_examples=40)
@given(messages())
def test_an_answer_means_the_same_wherever_it_is_cut(drawn: tuple[dict[str, Any], list[bytes], list[str]]) -> None:
    """Every cut at every byte: the same events, images and verdict; nothing of it is lost."""
    message, raw, links = drawn
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}, ensure_ascii=False).encode()
    whole = read(ChatReader(), [body])
    order, images, answer = whole
    assert images == dict(enumerate(raw))
    assert len(order) == 2 * len(raw)
    if raw:
        assert [image.index for image in answer.results] == [len(raw) - 1]
    else:
        assert list(links_of(json.loads(answer.document))) == links
    for cut in range(len(body) + 1):
        assert read(ChatReader(), [body[:cut], body[cut:]]) == whole


@settings(deadline=None, max_examples=40)
@given(messages(), st.integers(1, 30), st.integers(1, 60))
def test_a_stream_means_what_its_message_means(
    drawn: tuple[dict[str, Any], list[bytes], list[str]], pieces: int, step: int
) -> None:
    """However the relay cuts its text, and the network its bytes."""
    message, raw, _ = drawn
    content = message["content"]
    said = [content]
    if isinstance(content, str):
        said = [content[at : at + pieces] for at in range(0, len(content), pieces)]
    deltas: list[dict[str, Any]] = [{"content": each} for each in said]
    if "images" in message:
        deltas.append({"images": message["images"]})
    events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    body = "".join(f": PING\n\ndata: {json.dumps(event)}\n\n" for event in events).encode() + b"data: [DONE]\n\n"
    order, images, answer = read(ChatStreamReader(), [body[at : at + step] for at in range(0, len(body), step)])
    plain = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
    plain_order, plain_images, plain_answer = read(ChatReader(), [plain])
    assert images == plain_images == dict(enumerate(raw))
    assert sorted(order) == sorted(plain_order)
    assert [image.index for image in answer.results] == [image.index for image in plain_answer.results]
    assert (answer.url_only, answer.finish_reason) == (plain_answer.url_only, plain_answer.finish_reason)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("choices", "message", "delta", "content", "images", "image_url", "url", "error", "usage"),
                    *("messages", "role", "extra_body", "google", "image_config", "text", "type", "finish_reason"),
                    "index",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=14,
)


@settings(deadline=None, max_examples=300)
@given(JSON)
def test_no_document_crashes_a_reader(document: Any) -> None:
    """Odd types are answers without pictures, and requests that are refused."""
    body = json.dumps(document).encode()
    for reader, pieces in (
        (ChatReader(), [body]),
        (ChatStreamReader(), [b"data: " + body + b"\n\n"]),
    ):
        try:
            read(reader, pieces)
        except WireError as error:
            assert error.message
    links_of(mapping_of(document))
    try:
        decode_chat_request(body)
    except RequestError as error:
        assert error.message
