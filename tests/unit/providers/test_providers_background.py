"""A background conversation as transcripts, for both APIs: one submission, and as many questions as it takes."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pytest

from holdfast.config import Provider, Upstream, UpstreamApi
from holdfast.policy.polling import pause_s
from holdfast.providers.background import GONE_MAX, HINT_S_MAX, QUESTION_S, UNREADABLE_MAX, BackgroundConversation
from holdfast.providers.conversation import Cancellable, Done, Failed, Keep, Send, Step, Wait, malformed, unfinished
from holdfast.providers.error_body import ErrorReader
from holdfast.providers.http import Head
from holdfast.providers.registry import conversation_for
from holdfast.types import Charge, Failure, FailureKind, Geometry, InputImage, Phase, Request, Surface, Tier
from holdfast.wire.errors import EndsEarly, WireError
from holdfast.wire.template import filled

KEY = "the-credential"
PROMPT = "a lighthouse at the end of the world"
EXPECTED_S = 64.0
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n a picture").decode()
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="it was reset")
REFUSED = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="cannot connect")


@dataclass(frozen=True)
class Api:
    """One of the two, and how it spells things."""

    options: dict[str, Any]
    base_url: str
    url: str
    query: str
    handle: str
    key: tuple[str, str]

    def document(self, status: str, *pictures: str, **more: Any) -> dict[str, Any]:
        """Write an object."""
        body: dict[str, Any] = {"id": self.handle, "status": status, **more}
        if self.options["api"] is UpstreamApi.RESPONSES:
            return body | {"output": [{"type": "image_generation_call", "result": each} for each in pictures]}
        contents = [{"type": "image", "mime_type": "image/png", "data": each} for each in pictures]
        return body | {"steps": [{"type": "model_output", "content": contents}]}


OPENAI = Api(
    options={"provider": Provider.OPENAI, "api": UpstreamApi.RESPONSES, "outer_model": "gpt-5.5"},
    base_url="https://api.openai.com/v1",
    url="https://api.openai.com/v1/responses",
    query="",
    handle="resp_1",
    key=("Authorization", f"Bearer {KEY}"),
)
GOOGLE = Api(
    options={"provider": Provider.GEMINI, "api": UpstreamApi.INTERACTIONS},
    base_url="https://generativelanguage.googleapis.com",
    url="https://generativelanguage.googleapis.com/v1beta/interactions",
    query="?stream=false",
    handle="int_1",
    key=("x-goog-api-key", KEY),
)


@pytest.fixture(params=[OPENAI, GOOGLE], ids=["responses", "interactions"])
def api(request: pytest.FixtureRequest) -> Api:
    """Every transcript is one of both."""
    made: Api = request.param
    return made


def a_request(**overrides: Any) -> Request:
    """What a caller asked for."""
    usual: dict[str, Any] = {
        "surface": Surface.OPENAI,
        "model": "the-model",
        "prompt": PROMPT,
        "geometry": Geometry(tier=Tier.K2, aspect_ratio="16:9", width_px=2752, height_px=1536),
    }
    return Request(**{**usual, **overrides})


def a_conversation(api: Api, request: Request | None = None, **overrides: Any) -> BackgroundConversation:
    """One attempt."""
    usual: dict[str, Any] = {
        "model": "theirs",
        "key": KEY,
        "idempotency_key": "gen_1.0.0",
        "timeout_s": 215.5,
        "expected_s": EXPECTED_S,
    }
    upstream = Upstream(name="up", base_url=api.base_url, **api.options)
    made = conversation_for(upstream, request or a_request(), **{**usual, **overrides})
    assert isinstance(made, BackgroundConversation)
    return made


def told(talk: BackgroundConversation, document: Any, *, status: int = 200, **headers: str) -> Step:
    """Answer what it has asked."""
    head = Head(status=status, headers=MappingProxyType({name: (value,) for name, value in headers.items()}))
    reader = talk.head(head)
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    try:
        reader.feed(body)
    except WireError as error:
        return talk.failed(malformed(error, status=status))
    try:
        answer = reader.finish()
    except WireError as error:
        return talk.failed(unfinished(error, head))
    return talk.received(head, answer)


def taken(api: Api, **overrides: Any) -> BackgroundConversation:
    """One whose request is known by its handle, and which has waited once."""
    talk = a_conversation(api, **overrides)
    assert isinstance(talk.start(), Send)
    assert told(talk, api.document("queued")) == Keep(handle=api.handle)
    assert isinstance(talk.start(), Wait)
    return talk


def asks(step: Step, api: Api) -> None:
    """See that it is a question for the request."""
    assert isinstance(step, Send)
    assert (step.request.method, step.timeout_s) == ("GET", QUESTION_S)
    assert step.request.url == f"{api.url}/{api.handle}{api.query}"
    assert api.key in step.request.headers
    assert step.request.body == ()
    assert "Idempotency-Key" not in dict(step.request.headers)


def failed(step: Step, kind: str, charge: str) -> Failure:
    """See how it ended."""
    assert isinstance(step, Failed)
    assert (step.failure.kind, step.failure.charge) == (kind, charge), step.failure
    return step.failure


# Submitting


def test_it_is_submitted_once_and_kept_before_anything_else(api: Api) -> None:
    """POST, the handle, a pause, questions, the image."""
    talk = a_conversation(api)
    step = talk.start()
    assert isinstance(step, Send)
    assert (step.request.method, step.request.url, step.timeout_s) == ("POST", api.url, None)
    assert api.key in step.request.headers
    assert dict(step.request.headers)["Idempotency-Key"] == "gen_1.0.0"
    assert told(talk, api.document("queued")) == Keep(handle=api.handle)
    step = talk.start()
    assert step == Wait(delay_s=4.0, why="the request has just been taken")
    asks(talk.start(), api)
    assert isinstance(told(talk, api.document("in_progress")), Wait)
    asks(talk.start(), api)
    done = told(talk, api.document("completed", PNG))
    assert isinstance(done, Done)
    assert (done.results, done.drafts) == ((0,), ())


def test_what_has_ended_at_once_is_taken_as_it_is(api: Api) -> None:
    """A relay that works in the foreground has nothing to come back to."""
    talk = a_conversation(api)
    talk.start()
    assert isinstance(told(talk, api.document("completed", PNG)), Done)
    talk = a_conversation(api)
    talk.start()
    failed(told(talk, api.document("completed")), "no_image", "unknown")


def test_a_lost_submission_is_unknown(api: Api) -> None:
    """Taken, perhaps: nobody can ask, and nobody buys again."""
    talk = a_conversation(api)
    talk.start()
    failure = failed(talk.failed(LOST), "lost_reply", "unknown")
    assert "up" in failure.detail
    talk = a_conversation(api)
    talk.start()
    failed(talk.failed(REFUSED), "unreachable", "no")


@pytest.mark.parametrize("body", [b"<html>", b"", b"{}", b'{"status":"queued"}', b'{"id":"../x","status":"queued"}'])
def test_an_answer_that_names_no_request_is_a_lost_one(api: Api, body: bytes) -> None:
    """It came, and cannot be come back to: nothing was made by then."""
    talk = a_conversation(api)
    talk.start()
    failed(told(talk, body), "lost_reply", "unknown")


@pytest.mark.parametrize("more", [b"", b',"object":"resp', b',"x":*'])
def test_an_answer_that_broke_off_behind_the_name_is_enough(api: Api, more: bytes) -> None:
    """The request is known, and goes on."""
    talk = a_conversation(api)
    talk.start()
    assert told(talk, b'{"id":"%s"' % api.handle.encode() + more) == Keep(handle=api.handle)
    assert isinstance(talk.start(), Wait)
    asks(talk.start(), api)


def test_an_exchange_that_broke_behind_the_name_is_enough(api: Api) -> None:
    """The same, told by the transport."""
    talk = a_conversation(api)
    talk.start()
    reader = talk.head(Head(status=200, headers=MappingProxyType({})))
    reader.feed(b'{"id":"%s","obj' % api.handle.encode())
    assert talk.failed(LOST) == Keep(handle=api.handle)


def test_an_error_with_status_200_is_told_as_one(api: Api) -> None:
    """Relays do so."""
    talk = a_conversation(api)
    talk.start()
    failed(told(talk, {"error": {"code": "server_error", "message": "m"}}), "server_fault", "unknown")


@pytest.mark.parametrize(
    ("status", "kind", "charge"),
    [
        (400, "bad_request", "no"),
        (401, "credential", "no"),
        (402, "quota_spent", "no"),
        (403, "credential", "no"),
        (429, "rate_limited", "no"),
        (500, "server_fault", "unknown"),
        (503, "overloaded", "no"),
        (504, "upstream_timeout", "unknown"),
    ],
)
def test_one_that_is_turned_away_is_told_by_its_status(api: Api, status: int, kind: str, charge: str) -> None:
    """With the hint that came along."""
    talk = a_conversation(api)
    talk.start()
    step = told(talk, {"error": {"message": "no"}}, status=status, **{"retry-after": "7"})
    assert failed(step, kind, charge).retry_after_s == 7.0


# Asking


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 410, 422, 425, 429, 500, 502, 503, 504, 524, 302])
def test_no_answer_to_a_question_loses_a_request(api: Api, status: int) -> None:
    """It is asked again: a key may be changed, a proxy have a bad minute."""
    talk = taken(api)
    talk.start()
    step = told(talk, b"<html>", status=status)
    assert isinstance(step, Wait)
    assert str(status) in step.why
    asks(talk.start(), api)


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1]", b'{"status":"paused"}', b'{"status":'])
def test_a_page_in_the_place_of_an_answer_is_asked_about_again(api: Api, body: bytes) -> None:
    """However often."""
    talk = taken(api)
    for _ in range(20):
        asks(talk.start(), api)
        step = told(talk, body)
        assert isinstance(step, Wait)
        assert not step.is_made
    asks(talk.start(), api)


def test_a_broken_question_is_asked_again(api: Api) -> None:
    """However it broke."""
    talk = taken(api)
    for failure in (LOST, REFUSED):
        asks(talk.start(), api)
        step = talk.failed(failure)
        assert isinstance(step, Wait)
        assert step.why == failure.detail
    asks(talk.start(), api)


def test_an_image_that_had_begun_to_come_is_made(api: Api) -> None:
    """Then its attempt is given the time of a body beyond its own."""
    talk = taken(api)
    talk.start()
    whole = json.dumps(api.document("completed", PNG)).encode()
    reader = talk.head(Head(status=200, headers=MappingProxyType({})))
    reader.feed(whole[: whole.index(PNG[:8].encode()) + 8])
    step = talk.failed(LOST)
    assert isinstance(step, Wait)
    assert step.is_made
    talk.start()
    assert isinstance(told(talk, whole), Done)


def test_a_hint_is_waited_for_within_reason(api: Api) -> None:
    """A year is none."""
    for hint, delay_s in (("9", 9.0), ("31536000", HINT_S_MAX), ("-5", 0.0), ("soon", 0.0)):
        talk = taken(api)
        talk.start()
        step = told(talk, {}, status=429, **{"retry-after": hint})
        assert isinstance(step, Wait)
        assert step.delay_s == max(delay_s, pause_s(waited_s=4.0, expected_s=EXPECTED_S))


def test_questions_follow_the_pace(api: Api) -> None:
    """Each pause is that of what has been waited."""
    talk = taken(api)
    waited_s = 4.0
    for _ in range(30):
        talk.start()
        step = told(talk, api.document("in_progress"))
        assert isinstance(step, Wait)
        assert step.delay_s == pause_s(waited_s=waited_s, expected_s=EXPECTED_S)
        waited_s += step.delay_s


def test_what_nobody_knows_of_any_more_is_unknown(api: Api) -> None:
    """Not kept long enough: after a few questions in a row nothing is to be expected. One answer begins anew."""
    talk = taken(api)
    for _ in range(GONE_MAX - 1):
        talk.start()
        assert isinstance(told(talk, {}, status=404), Wait)
    talk.start()
    assert isinstance(told(talk, api.document("queued")), Wait)
    for _ in range(GONE_MAX - 1):
        talk.start()
        assert isinstance(told(talk, {}, status=404), Wait)
    talk.start()
    failure = failed(told(talk, {}, status=404), "lost_reply", "unknown")
    assert failure.status == 404


def test_an_image_that_cannot_be_read_is_read_again_and_then_paid_for(api: Api) -> None:
    """It is what they have: made, charged, and never bought again."""
    talk = taken(api)
    document = api.document("completed", "*#*#" + PNG)
    for _ in range(UNREADABLE_MAX - 1):
        talk.start()
        assert isinstance(told(talk, document), Wait)
    talk.start()
    failed(told(talk, document), "malformed", "yes")


def test_what_broke_between_two_unreadable_answers_begins_the_count_anew(api: Api) -> None:
    """Only one after the other they say that it stays so."""
    talk = taken(api)
    document = api.document("completed", "*#*#" + PNG)
    for _ in range(UNREADABLE_MAX * 2):
        talk.start()
        assert isinstance(told(talk, document), Wait)
        talk.start()
        assert isinstance(talk.failed(LOST), Wait)


# A restart


def test_a_handle_is_asked_for_and_never_submitted_again(api: Api) -> None:
    """At once, and then at the pace of one that is due."""
    talk = a_conversation(api, handle=api.handle)
    asks(talk.start(), api)
    step = told(talk, api.document("in_progress"))
    assert isinstance(step, Wait)
    assert step.delay_s == pause_s(waited_s=EXPECTED_S, expected_s=EXPECTED_S)
    asks(talk.start(), api)
    assert isinstance(told(talk, api.document("completed", PNG)), Done)


@pytest.mark.parametrize("handle", ["", "{", "../models", "a b", '{"request_id":"r-1"}'])
def test_a_handle_that_cannot_be_read_is_refused(api: Api, handle: str) -> None:
    """Another provider's, or a torn one."""
    with pytest.raises(WireError):
        a_conversation(api, handle=handle)


# Cancelling


def cancels(step: Step, api: Api) -> None:
    """See that it is taken back."""
    assert isinstance(step, Send)
    assert (step.request.method, step.request.url) == ("POST", f"{api.url}/{api.handle}/cancel")
    assert api.key in step.request.headers


def test_what_is_queued_is_taken_back_for_nothing(api: Api) -> None:
    """As soon as the API says that it is."""
    talk = taken(api)
    assert isinstance(talk, Cancellable)
    talk.cancel()
    asks(talk.start(), api)
    cancels(told(talk, api.document("queued")), api)
    failure = failed(told(talk, api.document("cancelled")), "cancelled", "no")
    assert "before it was begun" in failure.detail


def test_what_is_at_work_is_awaited(api: Api) -> None:
    """It is paid for."""
    talk = taken(api)
    talk.cancel()
    talk.start()
    for _ in range(3):
        assert isinstance(told(talk, api.document("in_progress")), Wait)
        asks(talk.start(), api)
    assert isinstance(told(talk, api.document("completed", PNG)), Done)


def test_a_cancel_that_came_too_late_gets_the_image(api: Api) -> None:
    """Its answer is how it ended."""
    talk = taken(api)
    talk.cancel()
    talk.start()
    cancels(told(talk, api.document("queued")), api)
    assert isinstance(told(talk, api.document("completed", PNG)), Done)


def test_a_cancel_is_asked_once_unless_it_was_lost(api: Api) -> None:
    """What is refused is not asked again; what broke is."""
    talk = taken(api)
    talk.cancel()
    talk.start()
    cancels(told(talk, api.document("queued")), api)
    assert isinstance(talk.failed(LOST), Wait)
    asks(talk.start(), api)
    cancels(told(talk, api.document("queued")), api)
    assert isinstance(told(talk, {}, status=400), Wait)
    asks(talk.start(), api)
    assert isinstance(told(talk, api.document("queued")), Wait)


def test_one_that_has_begun_before_it_was_cancelled_may_have_cost(api: Api) -> None:
    """Seen at work, or counted as such."""
    talk = taken(api)
    talk.start()
    told(talk, api.document("in_progress"))
    talk.cancel()
    talk.start()
    cancels(told(talk, api.document("queued")), api)
    failed(told(talk, api.document("cancelled")), "cancelled", "unknown")


def test_one_that_somebody_else_has_cancelled_may_have_cost(api: Api) -> None:
    """Nobody here knows what it had come to."""
    talk = taken(api)
    talk.start()
    failed(told(talk, api.document("cancelled")), "cancelled", "unknown")


def test_tokens_of_a_cancelled_one_are_not_free() -> None:
    """A usage is what is billed."""
    talk = taken(OPENAI)
    talk.cancel()
    talk.start()
    told(talk, OPENAI.document("queued"))
    failed(told(talk, OPENAI.document("cancelled", usage={"output_tokens": 9})), "cancelled", "unknown")


# What is asked for


def body_of(talk: BackgroundConversation, *pictures: bytes) -> Any:
    """What is submitted, images in their places."""
    step = talk.start()
    assert isinstance(step, Send)
    return json.loads(filled(step.request.body, dict(enumerate(pictures))))


AN_INPUT = InputImage(sha256="00", mime="image/jpeg", bytes=3, store_key="k")


def test_openais_request_is_one_call_of_the_tool() -> None:
    """The text model, told to leave the prompt alone; the image model and its options in the tool."""
    request = a_request(
        quality="high", output_format="webp", output_compression=80, background="opaque", moderation="low", end_user="u"
    )
    body = body_of(a_conversation(OPENAI, request))
    assert (body["model"], body["background"], body["store"]) == ("gpt-5.5", True, True)
    assert (body["max_tool_calls"], body["parallel_tool_calls"]) == (1, False)
    assert body["tool_choice"] == {"type": "image_generation"}
    assert body["input"] == [{"role": "user", "content": [{"type": "input_text", "text": PROMPT}]}]
    assert body["tools"] == [
        {
            "type": "image_generation",
            "model": "theirs",
            "size": "2720x1536",
            "action": "generate",
            "quality": "high",
            "output_format": "webp",
            "output_compression": 80,
            "background": "opaque",
            "moderation": "low",
        }
    ]
    assert body["safety_identifier"] == "u"
    assert "stream" not in body


def test_openais_reference_images_are_data_urls() -> None:
    """Behind the prompt, in order."""
    talk = a_conversation(OPENAI, a_request(inputs=(AN_INPUT, replace(AN_INPUT, mime="image/png"))))
    body = body_of(talk, b"one", b"two")
    contents = body["input"][0]["content"]
    assert [each["type"] for each in contents] == ["input_text", "input_image", "input_image"]
    assert contents[1]["image_url"] == "data:image/jpeg;base64," + base64.b64encode(b"one").decode()
    assert contents[2]["image_url"] == "data:image/png;base64," + base64.b64encode(b"two").decode()
    assert body["tools"][0]["action"] == "edit"


def test_openais_mask_stands_in_the_tool() -> None:
    """Behind the images, as a data URL; with how closely they are kept to."""
    mask = replace(AN_INPUT, mime="image/png")
    talk = a_conversation(OPENAI, a_request(inputs=(AN_INPUT,), mask=mask, input_fidelity="high"))
    body = body_of(talk, b"one", b"mask")
    assert body["tools"][0]["input_image_mask"] == {
        "image_url": "data:image/png;base64," + base64.b64encode(b"mask").decode()
    }
    assert body["tools"][0]["input_fidelity"] == "high"
    assert body["input"][0]["content"][1]["image_url"].endswith(base64.b64encode(b"one").decode())


def test_googles_request_names_the_picture() -> None:
    """Inline, stored, in the background; a format only where it can be chosen."""
    body = body_of(a_conversation(GOOGLE, a_request(output_format="jpeg")))
    assert (body["model"], body["background"], body["store"]) == ("theirs", True, True)
    assert body["input"] == [{"type": "text", "text": PROMPT}]
    assert body["response_format"] == {
        "type": "image",
        "aspect_ratio": "16:9",
        "delivery": "inline",
        "image_size": "2K",
        "mime_type": "image/jpeg",
    }
    body = body_of(a_conversation(GOOGLE, a_request(output_format="png"), model="gemini-2.5-flash-image"))
    assert body["response_format"] == {"type": "image", "aspect_ratio": "16:9", "delivery": "inline"}


def test_googles_reference_images_are_contents() -> None:
    """Behind the prompt, in order."""
    body = body_of(a_conversation(GOOGLE, a_request(inputs=(AN_INPUT,))), b"one")
    image = {"type": "image", "mime_type": "image/jpeg", "data": base64.b64encode(b"one").decode()}
    assert body["input"] == [{"type": "text", "text": PROMPT}, image]


def test_a_history_is_kept_turn_by_turn() -> None:
    """A caller of Google's own API who goes on with what the model has drawn."""
    turns = [
        {"role": "user", "parts": [{"text": "a lighthouse"}]},
        {
            "role": "model",
            "parts": [{"thought": True, "text": "hm"}, {"inlineData": {"mimeType": "image/png", "data": "0"}}],
        },
        {"role": "user", "parts": [{"text": "at night"}]},
    ]
    dialect = {"contents": turns, "systemInstruction": {"parts": [{"text": "In oil."}]}}
    request = a_request(surface=Surface.GEMINI, prompt="at night", inputs=(AN_INPUT,), dialect_body=json.dumps(dialect))
    body = body_of(a_conversation(GOOGLE, request), b"one")
    assert body["system_instruction"] == "In oil."
    assert body["input"] == [
        {"type": "user_input", "content": [{"type": "text", "text": "a lighthouse"}]},
        {
            "type": "model_output",
            "content": [{"type": "image", "mime_type": "image/png", "data": base64.b64encode(b"one").decode()}],
        },
        {"type": "user_input", "content": [{"type": "text", "text": "at night"}]},
    ]


# Secrets


def test_nothing_shows_key_or_prompt(api: Api) -> None:
    """Not in a traceback either, nor in what is told of an error that quotes them."""
    talk = a_conversation(api)
    step = talk.start()
    for shown in (repr(talk), repr(talk.api), repr(step)):
        assert KEY not in shown
        assert "lighthouse" not in shown
    error = {"error": {"code": "invalid_value", "message": f"{KEY} said {PROMPT}"}}
    failure = failed(told(talk, error, status=400), "bad_request", "no")
    assert KEY not in failure.detail
    assert "lighthouse" not in failure.detail


def test_errors_are_read_whatever_they_are(api: Api) -> None:
    """By the reader that never complains; an object only where it is a success."""
    talk = a_conversation(api)
    talk.start()
    assert isinstance(talk.head(Head(status=500, headers=MappingProxyType({}))), ErrorReader)
    assert not isinstance(talk.head(Head(status=200, headers=MappingProxyType({}))), ErrorReader)


def test_a_cut_answer_is_no_malformed_one(api: Api) -> None:
    """The transport says how it broke; the reader says that it was not whole."""
    talk = taken(api)
    talk.start()
    reader = talk.head(Head(status=200, headers=MappingProxyType({})))
    reader.feed(json.dumps(api.document("completed", PNG)).encode()[:-5])
    with pytest.raises(EndsEarly):
        reader.finish()
