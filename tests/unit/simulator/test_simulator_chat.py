"""The simulator's chats and Vertex paths: as relays and Google write them, read back by the gateway's readers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.policy.sizes import geometry_of
from holdfast.simulator import chat, gemini, openai
from holdfast.simulator.asked import Asked, Head, Kind, Reading, route_of
from holdfast.simulator.faults import SHAPES, Fault, Wish, wish_of_words
from holdfast.simulator.plan import Circumstances, Plan, plan_of
from holdfast.simulator.replies import Drawn, Making, Reply, spliced
from holdfast.types import Surface, Tier
from holdfast.wire.answers import Answer, Role
from holdfast.wire.chat_answer import ChatReader, ChatStreamReader, links_of
from holdfast.wire.openai import ImagesReader, decode_error
from holdfast.wire.relay_chat import ChatForm
from holdfast.wire.template import Slot, filled

URLS = {0: "http://127.0.0.1:1/_sim/files/a/0.png"}


def asked(**changes: Any) -> Asked:
    """A chat."""
    usual = Asked(surface=Surface.OPENAI, model="m", prompt="a lighthouse", geometry=geometry_of(Tier.K1, "1:1"))
    return replace(usual, is_chat=True, **changes)


def a_making(*, drafts: int = 0, **changes: Any) -> Making:
    """Make something that is to be told."""
    drawn = tuple(
        Drawn(width_px=1024, height_px=1024, format="png", serial=f"{index:039d}.") for index in range(1 + drafts)
    )
    return Making(
        asked=asked(**changes), drawn=drawn, drafts=drafts, created=1_764_000_000, micros=1, declared_format="png"
    )


def written(reply: Reply, images: Mapping[int, bytes] | None = None) -> bytes:
    """Write a reply out, its pictures standing for their serials."""
    shown = images or {slot: drawn.serial.encode() for slot, drawn in reply.pictures.items()}
    return b"".join(filled(part.template, shown) for part in reply.parts)


def read(reply: Reply) -> Answer:
    """Read it as the gateway does."""
    reader = ChatStreamReader() if reply.is_stream else ChatReader()
    reader.feed(written(reply))
    return reader.finish()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("shape", ["images", "parts", "markdown"])
def test_every_shape_is_read_by_the_gateway(shape: str, stream: bool) -> None:
    """Drafts before the picture, tokens, and an end."""
    answer = read(chat.answer(a_making(drafts=1, stream=stream), shape=shape))
    assert [image.role for image in answer.images] == [Role.DRAFT, Role.RESULT]
    assert answer.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.output_image_tokens == 2 * chat.IMAGE_TOKENS


@pytest.mark.parametrize(
    ("form", "key"), [(ChatForm.OPENROUTER, '"images":'), (ChatForm.NEW_API, "![image]("), (None, "![image](")]
)
def test_a_relay_answers_in_its_own_shape(form: ChatForm | None, key: str) -> None:
    """As it was written to, unless a wish says otherwise."""
    assert key in written(chat.answer(a_making(chat_form=form), shape=None)).decode()


def test_a_stream_says_that_it_is_alive_and_when_it_ends() -> None:
    """As new-api's do."""
    reply = chat.answer(a_making(stream=True), shape="markdown")
    text = written(reply).decode()
    assert text.count(": PING\n\n") == 3
    assert text.endswith("data: [DONE]\n\n")
    assert [part.share for part in reply.parts] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_a_picture_may_lie_elsewhere() -> None:
    """A link in the text of a chat, or in the place of an image."""
    assert links_of(json.loads(written(chat.linked(a_making(), URLS)))) == (URLS[0],)
    reader = ImagesReader()
    reader.feed(written(openai.linked(a_making(), URLS)))
    assert reader.finish().url_only


def test_an_image_may_stand_in_the_place_of_a_link() -> None:
    """As a data URL."""
    reader = ImagesReader()
    reader.feed(written(openai.inlined(a_making())))
    assert [image.role for image in reader.finish().images] == [Role.RESULT]


def test_refusals_are_those_of_new_api() -> None:
    """A prompt is an error, a picture the end of a message, streamed or not."""
    error = decode_error(400, written(chat.refusal(a_making(), stage="input", reason=None)))
    assert (error.code, error.type) == ("prompt_blocked", "upstream_error")
    for stream in (False, True):
        answer = read(chat.refusal(a_making(stream=stream), stage="output", reason=None))
        assert (answer.finish_reason, answer.images) == ("content_filter", ())
        answer = read(chat.without_picture(a_making(stream=stream), text="Which one?"))
        assert (answer.finish_reason, answer.text_chars) == ("stop", len("Which one?"))


def test_marks_become_slots() -> None:
    """With something around each; a document without a mark stays."""
    assert spliced(b'["@@0@@","@@12@@"]', before=b"<", behind=b">") == (b'["<', Slot(0), b'>","<', Slot(12), b'>"]')
    assert spliced(b"{}") == (b"{}",)


def a_head(target: str, method: str = "POST", **headers: str) -> Head:
    """The head of a request."""
    return Head(method=method, target=target, headers={name.replace("_", "-"): text for name, text in headers.items()})


VERTEX = "/v1beta1/projects/my-project/locations/us-central1/publishers/google/models/gemini-3-pro-image"
EXPRESS = "/v1beta1/publishers/google/models/gemini-3-pro-image"


@pytest.mark.parametrize(
    ("path", "headers", "kind"),
    [
        (f"{VERTEX}:generateContent", {"authorization": "Bearer ya29"}, Kind.GENERATE),
        (f"{VERTEX}:streamGenerateContent?alt=sse", {"authorization": "Bearer ya29"}, Kind.GENERATE),
        (f"{VERTEX}:streamGenerateContent", {"authorization": "Bearer ya29"}, Kind.NOT_FOUND),
        (f"{VERTEX}:generateContent", {}, Kind.NOT_KNOWN),
        (f"{VERTEX}:generateContent", {"x_goog_api_key": "AIza"}, Kind.NOT_KNOWN),
        (f"{VERTEX}:generateContent", {"authorization": "Basic x"}, Kind.NOT_KNOWN),
        (f"{EXPRESS}:generateContent", {"x_goog_api_key": "AIza"}, Kind.GENERATE),
        (f"{EXPRESS}:generateContent", {"authorization": "Bearer ya29"}, Kind.NOT_KNOWN),
        ("/v1/chat/completions", {}, Kind.CHAT),
    ],
)
def test_routes(path: str, headers: dict[str, str], kind: Kind) -> None:
    """A token for a project, an API key without one; never the other way round."""
    route = route_of(a_head(path, **headers))
    assert route.kind is kind
    assert route.is_vertex is (kind is not Kind.CHAT)
    assert route_of(a_head(path.partition("?")[0], "GET", **headers)).kind is not Kind.GENERATE


def reading(target: str, body: Any, **headers: str) -> Asked:
    """Read a request."""
    intake = Reading(route_of(a_head(target, **headers)))
    intake.feed(json.dumps(body).encode())
    return intake.finish()


def test_a_chat_is_read() -> None:
    """Size and ratio in either form; reference images are counted."""
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
    body: dict[str, Any] = {
        "model": "m",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "p"}, image]}],
        "image_config": {"aspect_ratio": "16:9", "image_size": "2K"},
        "stream": True,
    }
    read_ = reading("/v1/chat/completions", body)
    assert (read_.prompt, read_.inputs, read_.is_edit, read_.stream) == ("p", 1, True, True)
    assert (read_.geometry.tier, read_.geometry.aspect_ratio) == (Tier.K2, "16:9")
    assert (read_.is_chat, read_.chat_form) == (True, ChatForm.OPENROUTER)
    camel = {"messages": body["messages"], "extra_body": {"google": {"imageConfig": {}}}}
    with pytest.raises(RequestError, match="snake_case"):
        reading("/v1/chat/completions", camel)


def test_vertex_is_read_as_gemini_is() -> None:
    """With the file format that can be chosen there."""
    config = {"imageConfig": {"imageSize": "2K", "imageOutputOptions": {"mimeType": "image/jpeg"}}}
    body = {"contents": [{"parts": [{"text": "p"}]}], "generationConfig": config}
    read_ = reading(f"{VERTEX}:generateContent", body, authorization="Bearer t")
    assert (read_.surface, read_.is_vertex, read_.format) == (Surface.GEMINI, True, "jpeg")


def planned(asked_: Asked, **wish: Any) -> Plan:
    """What becomes of it."""
    now = Circumstances(
        number=1,
        seed=0,
        speed=1.0,
        is_instant=True,
        surplus_tokens=0,
        created=0,
        price_micros=7,
        draft_micros=3,
        server_timeout_s=None,
    )
    return plan_of(asked_, Wish(delay_s=0.0, **wish), now)


@pytest.mark.parametrize("fault", [Fault.HTML, Fault.EMPTY, Fault.REFUSED_OUTPUT, Fault.NO_IMAGE, Fault.ERROR_IN_200])
def test_an_answer_without_a_picture_links_to_none(fault: Fault) -> None:
    """There is nothing to put anywhere."""
    assert planned(asked(), shape="link", fault=fault).linked is None


def test_links_are_written_where_they_are_wished_for() -> None:
    """By a wish, or by `response_format` on the Images API."""
    plan = planned(asked(), shape="link")
    assert plan.linked is not None
    assert URLS[0] in written(plan.linked(URLS)).decode()
    assert planned(asked()).linked is None
    images = replace(asked(), is_chat=False)
    assert planned(images).linked is None
    assert planned(replace(images, wants_links=True)).linked is not None
    assert planned(replace(images, is_queued=True), shape="link").linked is None


def test_shared_capacity_gives_no_hint() -> None:
    """On Vertex AI; a scripted hint is written as everywhere."""
    vertex = replace(asked(), surface=Surface.GEMINI, is_chat=False, is_vertex=True)
    assert planned(vertex, status=429).reply == gemini.exhausted()
    assert dict(planned(vertex, status=429, retry_after="3").reply.headers) == {"retry-after": "3"}
    assert b"details" not in written(gemini.exhausted())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_a_word(shape: str) -> None:
    """Beside a fault, or alone; a wish of more weight wins."""
    wish = wish_of_words(f"shape={shape} expired")
    assert (wish.shape, wish.fault) == (shape, Fault.EXPIRED)
    assert Wish(shape=shape).over(Wish(shape="images", delay_s=1.0)) == Wish(shape=shape, delay_s=1.0)
    assert Wish().over(Wish(shape=shape)).shape == shape


def test_an_unknown_shape_is_told() -> None:
    """With those that there are."""
    with pytest.raises(RequestError, match="markdown"):
        wish_of_words("shape=star")
