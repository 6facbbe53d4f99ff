"""The chat of relays: what is sent, which form it takes, and how each kind of answer is judged."""

from __future__ import annotations

import base64
import json
from types import MappingProxyType
from typing import Any

import pytest

from holdfast.config import Flavor, Provider, Upstream, UpstreamApi, UpstreamChatForm
from holdfast.providers.chat import ChatConversation, form_of
from holdfast.providers.conversation import Done, Failed, Fetch, Send, Step, Wait
from holdfast.providers.error_body import ErrorReader
from holdfast.providers.http import Head
from holdfast.types import Charge, Failure, FailureKind, Geometry, InputImage, Phase, Request, Surface, Tier
from holdfast.wire.chat_answer import ChatReader, ChatStreamReader
from holdfast.wire.image_file import ImageFileReader
from holdfast.wire.relay_chat import ChatForm
from holdfast.wire.template import Slot, filled

KEY = "sk-the-credential"
PROMPT = "a lighthouse at the end of the world"
URL = f"data:image/png;base64,{base64.b64encode(b'png').decode()}"
LINK = "https://files.test/1.png"


def an_upstream(**overrides: Any) -> Upstream:
    """A relay that draws in chats."""
    usual: dict[str, Any] = {
        "name": "relay",
        "provider": Provider.OPENAI,
        "api": UpstreamApi.CHAT,
        "base_url": "https://relay.test/v1",
    }
    return Upstream(**{**usual, **overrides})


def a_request(**overrides: Any) -> Request:
    """What a caller asked for."""
    usual: dict[str, Any] = {
        "surface": Surface.OPENAI,
        "model": "nano-banana-pro",
        "prompt": PROMPT,
        "geometry": Geometry(tier=Tier.K2, aspect_ratio="16:9", width_px=2752, height_px=1536),
    }
    return Request(**{**usual, **overrides})


def a_conversation(**overrides: Any) -> ChatConversation:
    """One attempt."""
    upstream = overrides.pop("upstream", an_upstream())
    request = overrides.pop("request", a_request())
    usual: dict[str, Any] = {
        "model": "gemini-3-pro-image",
        "key": KEY,
        "idempotency_key": "gen_1.0.0",
        "stream": False,
        "image_bytes_max": 1 << 20,
    }
    return ChatConversation.at(upstream, request, **{**usual, **overrides})


def sent_by(conversation: ChatConversation, *images: bytes) -> tuple[Send, dict[str, Any]]:
    """Its step, and the JSON in it."""
    step = conversation.start()
    assert isinstance(step, Send)
    return step, json.loads(filled(step.request.body, dict(enumerate(images))))


def a_head(status: int = 200, content_type: str = "application/json") -> Head:
    """The head of an answer."""
    return Head(status=status, headers=MappingProxyType({"content-type": (content_type,)}))


def told(conversation: ChatConversation, body: Any, head: Head | None = None) -> Step:
    """Feed an answer; give the next step."""
    head = head or a_head()
    reader = conversation.head(head)
    reader.feed(body if isinstance(body, bytes) else json.dumps(body).encode())
    return conversation.received(head, reader.finish())


def failure_of(step: Step) -> Failure:
    """It must be one."""
    assert isinstance(step, Failed)
    return step.failure


def says(content: Any, finish: str | None = "stop", **more: Any) -> dict[str, Any]:
    """A plain answer."""
    return {"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": finish}], **more}


def test_the_request_is_a_chat() -> None:
    """One message, the key where OpenAI has it, and the attempt's name."""
    step, body = sent_by(a_conversation())
    assert (step.request.method, step.request.url) == ("POST", "https://relay.test/v1/chat/completions")
    assert dict(step.request.headers) == {
        "Authorization": f"Bearer {KEY}",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Idempotency-Key": "gen_1.0.0",
    }
    assert body["messages"] == [{"role": "user", "content": PROMPT}]
    assert body["extra_body"] == {"google": {"image_config": {"aspect_ratio": "16:9", "image_size": "2K"}}}
    assert KEY not in repr(a_conversation())


def test_a_stream_is_asked_for_as_one() -> None:
    """In head and body."""
    step, body = sent_by(a_conversation(stream=True))
    assert dict(step.request.headers)["Accept"] == "text/event-stream"
    assert body["stream"] is True


def test_reference_images_are_streamed_from_their_files() -> None:
    """As slots: not one byte of them is in memory."""
    image = InputImage(sha256="0" * 64, mime="image/png", bytes=3, store_key="k")
    conversation = a_conversation(request=a_request(inputs=(image,)))
    step, body = sent_by(conversation, b"png")
    assert Slot(0) in step.request.body
    assert body["messages"][0]["content"][1] == {"type": "image_url", "image_url": {"url": URL}}


@pytest.mark.parametrize(
    ("base_url", "setting", "form"),
    [
        ("https://openrouter.ai/api/v1", UpstreamChatForm.AUTO, ChatForm.OPENROUTER),
        ("https://eu.openrouter.ai./api/v1", UpstreamChatForm.AUTO, ChatForm.OPENROUTER),
        ("https://notopenrouter.ai/v1", UpstreamChatForm.AUTO, ChatForm.NEW_API),
        ("https://relay.test/openrouter.ai/v1", UpstreamChatForm.AUTO, ChatForm.NEW_API),
        ("https://relay.test/v1", UpstreamChatForm.OPENROUTER, ChatForm.OPENROUTER),
        ("https://openrouter.ai/api/v1", UpstreamChatForm.NEW_API, ChatForm.NEW_API),
    ],
)
def test_the_form_goes_by_the_address_unless_it_is_set(
    base_url: str, setting: UpstreamChatForm, form: ChatForm
) -> None:
    """The operator has the last word."""
    upstream = an_upstream(base_url=base_url, chat_form=setting)
    assert form_of(upstream) is form
    _, body = sent_by(a_conversation(upstream=upstream))
    assert ("image_config" in body) is (form is ChatForm.OPENROUTER)
    assert ("extra_body" in body) is (form is ChatForm.NEW_API)


@pytest.mark.parametrize("model", ["gemini-2.5-flash-image", "google/gemini-2.5-flash-image-preview"])
def test_a_model_of_one_size_is_told_none(model: str) -> None:
    """It would refuse the field."""
    _, body = sent_by(a_conversation(model=model))
    assert body["extra_body"] == {"google": {"image_config": {"aspect_ratio": "16:9"}}}


def test_who_reads_the_answer_goes_by_what_came() -> None:
    """Relays answer plainly when a stream was wished, and the other way round."""
    conversation = a_conversation(stream=True)
    assert isinstance(conversation.head(a_head()), ChatReader)
    assert isinstance(conversation.head(a_head(content_type="text/event-stream; charset=utf-8")), ChatStreamReader)
    assert isinstance(conversation.head(a_head(500)), ErrorReader)


def test_a_picture_is_delivered_and_what_came_before_it_kept() -> None:
    """The last of several."""
    step = told(a_conversation(), says(f"![1]({URL}) ![2]({URL})"))
    assert isinstance(step, Done)
    assert (step.results, step.drafts) == ((1,), (0,))


def test_a_link_is_fetched_without_the_key() -> None:
    """Then its file is the answer; a dead one is asked for again, and never bought again."""
    conversation = a_conversation()
    step = told(conversation, says(f"![1](https://files.test/0.png) ![2]({LINK})"))
    assert step == conversation.start()
    assert isinstance(step, Fetch)
    assert step.url == LINK
    assert isinstance(conversation.head(a_head(content_type="image/png")), ImageFileReader)
    again = conversation.received(a_head(404), ChatReaderAnswer)
    assert isinstance(again, Wait)
    broken = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="reset")
    assert isinstance(conversation.failed(broken), Wait)
    assert isinstance(conversation.start(), Fetch)
    ended = conversation.received(a_head(content_type="image/png"), ChatReaderAnswer)
    assert isinstance(ended, Done)
    assert ended.results == (0,)


ChatReaderAnswer = a_conversation().head(a_head(500)).finish()
"""An answer that nobody looks into: the file was read beside it."""


@pytest.mark.parametrize(("flavor", "charge"), [(Flavor.VENDOR, Charge.UNKNOWN), (Flavor.RELAY, Charge.YES)])
@pytest.mark.parametrize("finish", ["content_filter", "SAFETY", "image_safety"])
def test_a_refused_picture_costs_what_the_flavor_says(flavor: Flavor, charge: Charge, finish: str) -> None:
    """A reseller at a fixed price a call takes it for refusals, too."""
    failure = failure_of(told(a_conversation(upstream=an_upstream(flavor=flavor)), says("", finish)))
    assert (failure.kind, failure.charge, failure.reason) == (FailureKind.REFUSED_OUTPUT, charge, finish)


@pytest.mark.parametrize("native", ["IMAGE_SAFETY", "PROHIBITED_CONTENT", "image_recitation"])
def test_a_refusal_may_be_told_in_the_model_s_own_word_alone(native: str) -> None:
    """It would be refused again, and perhaps billed again."""
    document = says("")
    document["choices"][0]["native_finish_reason"] = native
    failure = failure_of(told(a_conversation(), document))
    assert (failure.kind, failure.charge, failure.reason) == (FailureKind.REFUSED_OUTPUT, Charge.UNKNOWN, native)


@pytest.mark.parametrize(("text", "words"), [("Which colour?", "in its place text"), ("", "made no image (stop)")])
def test_an_answer_without_a_picture_is_told(text: str, words: str) -> None:
    """Its text may have been billed."""
    failure = failure_of(told(a_conversation(), says(text)))
    assert (failure.kind, failure.charge) == (FailureKind.NO_IMAGE, Charge.UNKNOWN)
    assert words in failure.detail


def test_a_stream_that_ends_without_a_reason_was_cut() -> None:
    """Its picture may have been on its way."""
    body = b'data: {"choices":[{"delta":{"content":"Here"}}]}\n\n'
    failure = failure_of(told(a_conversation(), body, a_head(content_type="text/event-stream")))
    assert (failure.kind, failure.charge) == (FailureKind.LOST_REPLY, Charge.UNKNOWN)


def test_an_error_tells_neither_key_nor_prompt() -> None:
    """Whatever the relay quotes."""
    quoted = {"error": {"message": f"{PROMPT} with {KEY}", "type": "invalid_request_error", "code": "bad"}}
    for step in (told(a_conversation(), quoted, a_head(400)), told(a_conversation(), {**says(""), **quoted})):
        failure = failure_of(step)
        assert KEY not in failure.detail
        assert PROMPT not in failure.detail


def test_a_picture_beside_an_error_is_delivered() -> None:
    """What is here is here."""
    assert isinstance(told(a_conversation(), says(f"![i]({URL})", error={"message": "late"})), Done)


def test_a_broken_exchange_is_named() -> None:
    """To a caller a bare host would read as the gateway's own."""
    broken = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="refused")
    failure = failure_of(a_conversation().failed(broken))
    assert failure.detail == "the upstream 'relay' (relay.test) cannot be reached: refused"
