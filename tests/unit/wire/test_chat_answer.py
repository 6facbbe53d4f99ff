"""Chat completions that hold a picture: four shapes, plain and streamed, and what else they say."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from holdfast.types import Usage
from holdfast.wire.answers import Answer, Reader, Role
from holdfast.wire.chat_answer import (
    CHAT_ANSWER_IMAGE,
    CHAT_ANSWER_PROSE,
    ChatReader,
    ChatStreamReader,
    links_of,
    merged,
)
from holdfast.wire.errors import EndsEarly, WireError
from holdfast.wire.scan import ImageBegan, ImageBytes, ImageEnded

STEPS = (1, 7, 1 << 20)
LINK = "https://x.test/1.png"


def url_of(raw: bytes, mime: str = "image/png") -> str:
    """A data URL."""
    return f"data:{mime};base64,{base64.b64encode(raw).decode()}"


def part(url: str) -> dict[str, Any]:
    """A part of a message, or an entry of `images`."""
    return {"type": "image_url", "image_url": {"url": url}}


def message(content: Any, *, finish: str | None = "stop", images: Any = None, **more: Any) -> dict[str, Any]:
    """A plain answer."""
    said = {"role": "assistant", "content": content} | ({} if images is None else {"images": images})
    return {"id": "c1", "model": "m", "choices": [{"index": 0, "message": said, "finish_reason": finish}], **more}


def read(reader: Reader, body: bytes, step: int = 1 << 20) -> tuple[dict[int, bytes], Answer]:
    """Feed it in pieces; images by number."""
    images: dict[int, bytes] = {}
    opened: list[int] = []
    for at in range(0, len(body), step):
        for event in reader.feed(body[at : at + step]):
            match event:
                case ImageBegan(index=index):
                    opened.append(index)
                    images[index] = b""
                case ImageBytes(index=index, data=data):
                    images[index] += data
                case ImageEnded(index=index):
                    assert opened.pop() == index
    assert opened == []
    return images, reader.finish()


def plain(document: Any, step: int = 1 << 20) -> tuple[dict[int, bytes], Answer]:
    """Read a plain answer."""
    return read(ChatReader(), json.dumps(document).encode(), step)


def streamed(*chunks: Any, step: int = 1 << 20, done: bool = True) -> tuple[dict[int, bytes], Answer]:
    """Read a stream; a text stands for itself."""
    return read(ChatStreamReader(), stream_of(*chunks, done=done), step)


def stream_of(*chunks: Any, done: bool = True) -> bytes:
    """Write a stream."""
    parts = [each if isinstance(each, str) else f"data: {json.dumps(each)}\n\n" for each in chunks]
    return ("".join(parts) + ("data: [DONE]\n\n" if done else "")).encode()


def chunk(content: Any = None, *, finish: str | None = None, images: Any = None, **more: Any) -> dict[str, Any]:
    """One event of a stream."""
    delta: dict[str, Any] = {} if content is None else {"content": content}
    if images is not None:
        delta["images"] = images
    return {"id": "c1", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


SHAPES: dict[str, tuple[Any, Any]] = {
    "images": ("Here.", [part(url_of(b"one"))]),
    "images, url alone": ("Here.", [{"type": "image_url", "image_url": url_of(b"one")}]),
    "parts": ([{"type": "text", "text": "Here."}, part(url_of(b"one"))], None),
    "markdown": (f"Here.\n\n![image]({url_of(b'one')})\n", None),
    "markdown in a part": ([{"type": "text", "text": f"![image]({url_of(b'one')})"}], None),
    "bare": (url_of(b"one"), None),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_picture_is_found_in_every_shape(shape: str, step: int) -> None:
    """Plain, and in the delta of a stream."""
    content, images = SHAPES[shape]
    for found, answer in (
        plain(message(content, images=images), step),
        streamed(chunk(content, images=images), chunk(finish="stop"), step=step),
        streamed(chunk(content, images=images, finish="stop"), step=step, done=False),
    ):
        assert found == {0: b"one"}
        assert [(image.index, image.role) for image in answer.images] == [(0, Role.RESULT)]
        assert (answer.url_only, answer.error, answer.finish_reason) == (False, None, "stop")


@pytest.mark.parametrize("step", STEPS)
def test_the_first_shape_counts_and_the_others_are_kept(step: int) -> None:
    """They were paid for as well."""
    content = f"![image]({url_of(b'text')})"
    images = [part(url_of(b"field"))]
    for found, answer in (
        plain(message(content, images=images), step),
        streamed(chunk(content, images=images), chunk(finish="stop"), step=step),
    ):
        assert found == {0: b"text", 1: b"field"}
        assert {found[image.index]: image.role for image in answer.images} == {
            b"text": Role.DRAFT,
            b"field": Role.RESULT,
        }


def test_of_several_the_last_is_meant() -> None:
    """The model shows its drafts before it."""
    found, answer = plain(message(f"![1]({url_of(b'draft')}) ![2]({url_of(b'result')})"))
    assert found == {0: b"draft", 1: b"result"}
    assert [image.role for image in answer.images] == [Role.DRAFT, Role.RESULT]


def test_what_a_text_calls_its_picture_is_told() -> None:
    """A data URL names a type; it is not to be trusted."""
    _, answer = plain(message(f"![1]({url_of(b'x', 'image/jpeg')})"))
    assert answer.images[0].declared_mime == "image/jpeg"


@pytest.mark.parametrize(
    "content",
    [
        f"![image]({LINK})",
        f"Here.\n![a picture]( {LINK} )",
        f"![image](<{LINK}>)",
        [{"type": "text", "text": f"![image]({LINK})"}],
        [part(LINK)],
        [{"type": "image_url", "image_url": LINK}],
    ],
)
@pytest.mark.parametrize("step", STEPS)
def test_a_link_is_told_as_one(content: Any, step: int) -> None:
    """Of parts and of text, plain and streamed."""
    for found, answer in (
        plain(message(content), step),
        streamed(chunk(content), chunk(finish="stop"), step=step),
    ):
        assert (found, answer.images, answer.url_only) == ({}, (), True)
        assert links_of(json.loads(answer.document)) == (LINK,)


def test_a_long_link_is_told_whole() -> None:
    """A signed one may hold a token of some thousand characters; a part of it leads nowhere."""
    link = "https://x.test/1.png?token=" + "k" * 16_000
    assert links_of(message(f"![i]({link})")) == (link,)


def test_links_of_the_images_field_come_first() -> None:
    """As its pictures do; a data URL beside a link is the picture."""
    document = message("![i](https://x.test/text.png)", images=[part(LINK)])
    assert links_of(json.loads(plain(document)[1].document)) == (LINK,)
    found, answer = plain(message(f"![i]({LINK})", images=[part(url_of(b"x"))]))
    assert (found, answer.url_only) == ({0: b"x"}, False)


@pytest.mark.parametrize(
    "content", ["[not a picture](https://x.test/1.png)", "https://x.test/1.png", "![i](ftp://x/1)", "", None]
)
def test_other_links_are_no_pictures(content: Any) -> None:
    """Whoever asks back may name a page."""
    assert not plain(message(content))[1].url_only


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("size", [1, 5, 20])
def test_a_picture_in_pieces_of_a_stream_is_put_together(size: int, step: int) -> None:
    """Some relays cut texts anywhere, and say that they are alive in between."""
    text = f"Here: ![image]({url_of(bytes(range(90)))}) done"
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    chunks: list[Any] = [": PING\n\n"]
    for piece in pieces:
        chunks += [chunk(piece), ": PING\n\n"]
    found, answer = streamed(*chunks, chunk(finish="stop"), step=step)
    assert found == {0: bytes(range(90))}
    said = json.loads(answer.document)["choices"][0]["message"]["content"]
    assert said == "Here: ![image](data:image/png;base64,0) done"


def test_a_stream_is_over_when_its_model_has_stopped() -> None:
    """Some relays leave the line open then; `[DONE]` is not waited for, nor a count of tokens."""
    reader = ChatStreamReader()
    reader.feed(stream_of(chunk(f"![i]({url_of(b'x')})"), done=False))
    assert not reader.complete
    reader.feed(stream_of(chunk(finish="stop"), done=False)[:-1])
    assert not reader.complete
    reader.feed(b"\n")
    assert reader.complete
    assert reader.finish().finish_reason == "stop"


def test_a_stream_without_a_picture_is_read_to_its_end() -> None:
    """One that comes behind its `finish_reason` is not lost."""
    reader = ChatStreamReader()
    reader.feed(stream_of(chunk("Here"), chunk(finish="stop"), done=False))
    assert not reader.complete
    events = reader.feed(stream_of(chunk(images=[part(url_of(b"late"))])))
    assert ImageBytes(0, b"late") in events
    assert [image.role for image in reader.finish().images] == [Role.RESULT]


def test_a_plain_answer_is_over_when_its_document_has_closed() -> None:
    """Some relays never end the transfer."""
    reader = ChatReader()
    body = json.dumps(message(f"![i]({url_of(b'x')})")).encode()
    reader.feed(body[:-1])
    assert not reader.complete
    reader.feed(body[-1:])
    assert reader.complete
    assert "ChatReader" in repr(reader)


def test_a_picture_at_the_very_end_of_a_text_ends_with_the_message() -> None:
    """No bracket follows it."""
    found, _ = streamed(chunk(url_of(b"abcd")[:-4]), chunk(url_of(b"abcd")[-4:]), chunk(finish="stop"))
    assert found == {0: b"abcd"}


def test_usage_and_names_are_told() -> None:
    """As OpenAI counts tokens of a chat."""
    usage = {
        "prompt_tokens": 12,
        "completion_tokens": 1128,
        "prompt_tokens_details": {"image_tokens": 4},
        "completion_tokens_details": {"image_tokens": 1120},
    }
    expected = Usage(input_tokens=12, input_image_tokens=4, output_tokens=1128, output_image_tokens=1120)
    _, answer = plain(message("x", usage=usage))
    assert (answer.usage, answer.model_version, answer.response_id) == (expected, "m", "c1")
    _, answer = streamed(chunk("x"), {"choices": [], "usage": usage, "model": "m2"})
    assert (answer.usage, answer.model_version, answer.response_id) == (expected, "m2", "c1")
    assert plain(message("x"))[1].usage is None


def test_why_it_stopped_is_told_in_both_words() -> None:
    """OpenRouter passes on its provider's own."""
    document = message("")
    document["choices"][0] |= {"finish_reason": "content_filter", "native_finish_reason": "IMAGE_SAFETY"}
    _, answer = plain(document)
    assert (answer.finish_reason, answer.finish_message, answer.text_chars) == ("content_filter", "IMAGE_SAFETY", 0)


def test_text_in_the_place_of_a_picture_is_counted() -> None:
    """A question, perhaps."""
    assert plain(message(" Which colour? "))[1].text_chars == len("Which colour?")
    assert streamed(chunk("Which "), chunk("colour?"))[1].text_chars == len("Which colour?")


@pytest.mark.parametrize(
    "document",
    [
        {"error": {"message": "no", "code": 429}},
        {"choices": [{"error": {"message": "no", "code": 429}, "finish_reason": "error", "message": {}}]},
    ],
)
def test_an_error_inside_a_200_is_told(document: dict[str, Any]) -> None:
    """Of the answer, or of a choice; a stream is over with it."""
    for _, answer in (plain(document), streamed(chunk("x"), document)):
        assert answer.error is not None
        assert (answer.error.code, answer.error.message) == ("429", "no")
    reader = ChatStreamReader()
    reader.feed(stream_of(document, done=False))
    assert reader.complete
    assert "over=True" in repr(reader)


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"choices": None},
        {"choices": "x"},
        {"choices": [None, 1]},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": 5, "images": 7}}]},
        {"choices": [{"message": {"content": [None, 3], "images": [None, {"image_url": None}, {"image_url": 4}]}}]},
        {"choices": [{"message": {"content": "", "images": []}}]},
    ],
)
def test_an_answer_without_a_picture_is_an_answer(document: Any) -> None:
    """That there is none is for the provider to judge."""
    found, answer = plain(document)
    assert (found, answer.images, answer.url_only, answer.error) == ({}, (), False, None)


def test_a_number_that_somebody_writes_is_no_picture() -> None:
    """A place is known by where a picture was cut out, never by what stands there."""
    found, answer = plain(message("![i](data:image/png;base64,)", images=[part("0")]))
    assert (found, answer.images, answer.url_only) == ({}, (), False)


def test_choices_are_merged_by_their_index() -> None:
    """What is said of each stays with it."""
    document = merged(
        [
            {"choices": [{"index": 1, "delta": {"content": "b"}}, {"index": 0, "delta": {"content": "a"}}]},
            {"choices": [{"index": 1, "delta": {"content": [part(LINK)]}, "finish_reason": "stop"}]},
        ]
    )
    assert [choice["message"]["content"] for choice in document["choices"]] == [
        "a",
        [{"type": "text", "text": "b"}, part(LINK)],
    ]
    assert "finish_reason" not in document["choices"][0]


def test_a_cut_answer_is_no_answer() -> None:
    """Plain: it ends early. A stream that brought nothing holds no data."""
    reader = ChatReader()
    reader.feed(json.dumps(message(url_of(b"x" * 90))).encode()[:-30])
    with pytest.raises(EndsEarly):
        reader.finish()
    with pytest.raises(WireError, match="no data"):
        streamed(": PING\n\n")


def test_bounds_hold() -> None:
    """On each picture, in every shape, and on their number."""
    for content, images in SHAPES.values():
        with pytest.raises(WireError) as large:
            read(ChatReader(image_bytes_max=2), json.dumps(message(content, images=images)).encode())
        assert large.value.code == "too_large"
    with pytest.raises(WireError) as many:
        plain(message(f"![i]({url_of(b'x')})" * 17))
    assert many.value.code == "too_large"


def test_paths_of_both_kinds_are_told_apart() -> None:
    """A text is searched; the string of a picture is one."""
    assert CHAT_ANSWER_IMAGE(("choices", "delta", "images", "image_url", "url"))
    assert not CHAT_ANSWER_IMAGE(("choices", "message", "content"))
    assert CHAT_ANSWER_PROSE(("choices", "message", "content"))
    assert not CHAT_ANSWER_PROSE(("choices", "message", "images", "image_url", "url"))
    assert not CHAT_ANSWER_PROSE(("choices", "message", "reasoning"))
