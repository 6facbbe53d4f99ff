"""Gemini's conversation: what is sent, byte for byte where it matters, and how each kind of answer is judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from holdfast.providers.conversation import Done, Failed, Send
from holdfast.providers.error_body import ErrorReader
from holdfast.providers.gemini import GeminiConversation
from holdfast.providers.http import Head, HttpRequest
from holdfast.types import Charge, Failure, FailureKind, Geometry, InputImage, Phase, Request, Surface, Tier
from holdfast.wire.gemini import GenerateReader, GenerateStreamReader
from holdfast.wire.template import Slot, filled

KEY = "AIza-the-credential"
PROMPT = "a lighthouse at the end of the world"
PNG = "iVBORw0KGgo="


def a_request(**overrides: Any) -> Request:
    """What a caller asked for."""
    usual: dict[str, Any] = {
        "surface": Surface.OPENAI,
        "model": "nano-banana-pro",
        "prompt": PROMPT,
        "geometry": Geometry(tier=Tier.K4, aspect_ratio="16:9", width_px=5504, height_px=3072),
    }
    return Request(**{**usual, **overrides})


def a_conversation(**overrides: Any) -> GeminiConversation:
    """One attempt."""
    usual: dict[str, Any] = {
        "upstream": "google",
        "base_url": "https://generativelanguage.googleapis.com",
        "model": "gemini-3-pro-image",
        "key": KEY,
        "request": a_request(),
        "idempotency_key": "gen_1.0.0",
        "timeout_s": 300.0,
    }
    return GeminiConversation(**{**usual, **overrides})


def sent_by(conversation: GeminiConversation) -> HttpRequest:
    """Its request."""
    step = conversation.start()
    assert isinstance(step, Send)
    return step.request


def a_head(status: int = 200, content_type: str = "application/json", **headers: str) -> Head:
    """The head of an answer."""
    named = {name.replace("_", "-"): (value,) for name, value in headers.items()}
    return Head(status=status, headers=MappingProxyType({"content-type": (content_type,), **named}))


def judge(body: Any, *, status: int = 200, stream: bool = False, **overrides: Any) -> Done | Failure:
    """Feed an answer; give the verdict. A list is a stream of chunks."""
    conversation = a_conversation(stream=stream, **overrides)
    if isinstance(body, list):
        head = a_head(status, "text/event-stream")
        raw = b"".join(b"data: " + json.dumps(chunk).encode() + b"\r\n\r\n" for chunk in body)
    else:
        head = a_head(status)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reader = conversation.head(head)
    reader.feed(raw)
    step = conversation.received(head, reader.finish())
    assert isinstance(step, Done | Failed)
    return step if isinstance(step, Done) else step.failure


def a_candidate(*parts: dict[str, Any], finish: str | None = "STOP", **more: Any) -> dict[str, Any]:
    """An answer with one candidate."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], **more}


def an_image(**more: Any) -> dict[str, Any]:
    """A part that holds a picture."""
    return {"inlineData": {"mimeType": "image/png", "data": PNG}, **more}


def test_the_request_is_what_google_documents() -> None:
    """Method, path, credential and timeout header; nothing that names the caller."""
    request = sent_by(a_conversation())
    assert request.method == "POST"
    assert request.url == ("https://generativelanguage.googleapis.com/v1beta/models/gemini-3-pro-image:generateContent")
    assert dict(request.headers) == {
        "x-goog-api-key": KEY,
        "Content-Type": "application/json",
        "Accept": "application/json",
        "X-Server-Timeout": "300",
        "Idempotency-Key": "gen_1.0.0",
    }
    assert json.loads(filled(request.body, {})) == {
        "contents": [{"role": "user", "parts": [{"text": PROMPT}]}],
        "generationConfig": {
            "responseModalities": ["TEXT", "IMAGE"],
            "imageConfig": {"aspectRatio": "16:9", "imageSize": "4K"},
        },
    }


def test_a_stream_is_asked_for_as_events() -> None:
    """Without `alt=sse` Google sends one JSON array."""
    request = sent_by(a_conversation(stream=True))
    assert request.url.endswith("/v1beta/models/gemini-3-pro-image:streamGenerateContent?alt=sse")
    assert dict(request.headers)["Accept"] == "text/event-stream"
    assert dict(request.headers)["X-Server-Timeout"] == "300"


@pytest.mark.parametrize(("timeout_s", "told"), [(300.0, "300"), (216.01, "217"), (0.4, "1")])
@pytest.mark.parametrize("stream", [False, True])
def test_the_server_is_always_told_the_timeout_in_whole_seconds(timeout_s: float, told: str, stream: bool) -> None:
    """Rounded up: a server that gives up before us would turn a paid image into a 504."""
    assert dict(sent_by(a_conversation(timeout_s=timeout_s, stream=stream)).headers)["X-Server-Timeout"] == told


@pytest.mark.parametrize(
    ("base_url", "before_models"),
    [
        ("https://g.example", "https://g.example/v1beta"),
        ("https://g.example/", "https://g.example/v1beta"),
        ("https://g.example/v1", "https://g.example/v1"),
        ("https://g.example/v1beta/", "https://g.example/v1beta"),
        ("https://g.example/relay", "https://g.example/relay/v1beta"),
        ("https://g.example/v1alpha", "https://g.example/v1alpha"),
        ("https://g.example/tv1", "https://g.example/tv1/v1beta"),
    ],
)
def test_a_version_is_added_where_the_operator_named_none(base_url: str, before_models: str) -> None:
    """Google's SDK takes the base URL without one, relays print it with one."""
    assert sent_by(a_conversation(base_url=base_url)).url.partition("/models/")[0] == before_models


@pytest.mark.parametrize(("model", "has_size"), [("gemini-2.5-flash-image", False), ("gemini-3.1-flash-image", True)])
def test_a_model_that_refuses_image_size_is_not_sent_one(model: str, has_size: bool) -> None:
    """gemini-2.5-flash-image answers 400 to the field."""
    config = json.loads(filled(sent_by(a_conversation(model=model)).body, {}))["generationConfig"]["imageConfig"]
    assert ("imageSize" in config) is has_size
    assert config["aspectRatio"] == "16:9"


def test_reference_images_are_slots_in_order() -> None:
    """Their bytes are streamed from files; the type is the true one."""
    inputs = tuple(
        InputImage(sha256=str(number) * 64, mime=mime, bytes=3, store_key=f"inputs/{number}")
        for number, mime in enumerate(("image/png", "image/jpeg"))
    )
    body = sent_by(a_conversation(request=a_request(inputs=inputs))).body
    assert [part.index for part in body if isinstance(part, Slot)] == [0, 1]
    parts = json.loads(filled(body, {0: b"one", 1: b"two"}))["contents"][0]["parts"]
    assert parts[1:] == [
        {"inlineData": {"mimeType": "image/png", "data": "b25l"}},
        {"inlineData": {"mimeType": "image/jpeg", "data": "dHdv"}},
    ]


def test_a_body_that_came_in_this_dialect_travels_on() -> None:
    """Tools, safety settings and signatures are the caller's and the upstream's business."""
    dialect_body = json.dumps(
        {
            "contents": [{"parts": [{"text": PROMPT, "thoughtSignature": "c2ln"}]}],
            "tools": [{"googleSearch": {}}],
            "generationConfig": {"candidateCount": 3, "seed": 7},
        }
    )
    sent = json.loads(filled(sent_by(a_conversation(request=a_request(n=3, dialect_body=dialect_body))).body, {}))
    assert sent["tools"] == [{"googleSearch": {}}]
    assert sent["contents"][0]["parts"][0]["thoughtSignature"] == "c2ln"
    assert sent["generationConfig"] == {"seed": 7, "imageConfig": {"imageSize": "4K"}}


def test_neither_credential_nor_prompt_shows_where_it_may_be_logged() -> None:
    """In the representation of the attempt, of its request, or of its step."""
    conversation = a_conversation()
    for shown in (repr(conversation), repr(sent_by(conversation)), repr(conversation.start())):
        assert KEY not in shown
        assert PROMPT not in shown
    assert "gen_1.0.0" in repr(conversation)


@pytest.mark.parametrize(
    ("asked_stream", "status", "content_type", "reader"),
    [
        (False, 200, "application/json; charset=UTF-8", GenerateReader),
        (True, 200, "text/event-stream; charset=utf-8", GenerateStreamReader),
        (True, 200, "application/json", GenerateReader),
        (False, 200, "Text/Event-Stream", GenerateStreamReader),
        (True, 503, "text/event-stream", ErrorReader),
        (False, 302, "text/html", ErrorReader),
    ],
)
def test_who_reads_is_chosen_by_what_came(
    asked_stream: bool, status: int, content_type: str, reader: type[Any]
) -> None:
    """Relays answer plainly when a stream was wished, and the other way round."""
    assert isinstance(a_conversation(stream=asked_stream).head(a_head(status, content_type)), reader)


@pytest.mark.parametrize(
    ("parts", "results", "drafts"),
    [
        ([an_image()], (0,), ()),
        ([{"text": "Here"}, an_image(), {"text": "Enjoy"}], (0,), ()),
        ([an_image(thought=True), an_image(thought=True), an_image()], (2,), (0, 1)),
        ([an_image(), an_image(), an_image()], (2,), (0, 1)),
        ([an_image(), an_image(thought=True)], (0,), (1,)),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_the_last_image_is_the_result(
    parts: Sequence[dict[str, Any]], results: tuple[int, ...], drafts: tuple[int, ...], stream: bool
) -> None:
    """Drafts are kept, marked by the model or not: they are billed."""
    plain = a_candidate(*parts)
    chunks = [*(a_candidate(part, finish=None) for part in parts[:-1]), a_candidate(parts[-1])]
    done = judge(chunks if stream else plain, stream=stream)
    assert isinstance(done, Done)
    assert (done.results, done.drafts) == (results, drafts)


def test_an_image_counts_whatever_stands_beside_it() -> None:
    """A finishReason, or an error in the same answer, does not undo what was paid for."""
    for answer in (
        a_candidate(an_image(), finish="MAX_TOKENS"),
        a_candidate(an_image(), finish=None),
        {**a_candidate(an_image()), "error": {"code": 500, "status": "INTERNAL", "message": "late"}},
    ):
        assert isinstance(judge(answer), Done)


REFUSED_OUTPUT = [
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "PROHIBITED_CONTENT",
    "SAFETY",
    "BLOCKLIST",
    "SPII",
    "IMAGE_RECITATION",
    "RECITATION",
    "MODEL_ARMOR",
]


@pytest.mark.parametrize(("is_relay", "charge"), [(False, Charge.NO), (True, Charge.YES)])
@pytest.mark.parametrize("reason", REFUSED_OUTPUT)
def test_a_refused_image_is_unpaid_at_google_and_paid_at_a_relay(reason: str, is_relay: bool, charge: Charge) -> None:
    """Google states that it bills no picture then; a reseller at a fixed price bills the call."""
    failure = judge(a_candidate(finish=reason), is_relay=is_relay)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.charge, failure.phase) == (FailureKind.REFUSED_OUTPUT, charge, Phase.RECEIVE)
    assert (failure.reason, failure.status) == (reason, 200)
    assert reason in failure.detail


@pytest.mark.parametrize(("is_relay", "charge"), [(False, Charge.NO), (True, Charge.YES)])
@pytest.mark.parametrize(
    "reason", ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK", "NEW"]
)
def test_a_blocked_prompt_is_refused_input(reason: str, is_relay: bool, charge: Charge) -> None:
    """Within seconds, whatever the reason is called."""
    failure = judge({"promptFeedback": {"blockReason": reason}, "usageMetadata": {}}, is_relay=is_relay)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.charge, failure.reason) == (FailureKind.REFUSED_INPUT, charge, reason)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (a_candidate(finish="NO_IMAGE"), "NO_IMAGE"),
        (a_candidate(finish="IMAGE_OTHER"), "IMAGE_OTHER"),
        (a_candidate({"text": "Which lighthouse?"}), "STOP"),
        (a_candidate({"text": "thinking"}, finish="MAX_TOKENS"), "MAX_TOKENS"),
        (a_candidate(finish="SOMETHING_NEW"), "SOMETHING_NEW"),
        ({"candidates": [{"content": {}}]}, None),
        ({"candidates": [{"content": {"parts": None}, "finishReason": "STOP"}]}, "STOP"),
        ({"candidates": []}, None),
        ({}, None),
    ],
)
def test_an_answer_without_a_picture_is_no_image_and_may_be_paid(answer: dict[str, Any], reason: str | None) -> None:
    """Text tokens are billed; whether the picture would have come, another try tells."""
    failure = judge(answer)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.charge, failure.reason) == (FailureKind.NO_IMAGE, Charge.UNKNOWN, reason)


def test_prose_instead_of_a_picture_is_told_but_not_quoted() -> None:
    """The model's words may repeat the prompt."""
    failure = judge(a_candidate({"text": f"You asked for {PROMPT}"}))
    assert isinstance(failure, Failure)
    assert "in its place text" in failure.detail
    assert PROMPT not in failure.detail


def test_a_stream_without_a_finish_reason_was_cut() -> None:
    """The picture may have been on its way: unknown, not `no image`."""
    failure = judge([a_candidate({"text": "Drawing"}, finish=None)], stream=True)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.charge) == (FailureKind.LOST_REPLY, Charge.UNKNOWN)


def google_error(code: int, status: str, *details: dict[str, Any], message: str = "words") -> dict[str, Any]:
    """Google's envelope."""
    return {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


def rpc(type_: str, **fields: Any) -> dict[str, Any]:
    """One entry of `details`."""
    return {"@type": f"type.googleapis.com/google.rpc.{type_}", **fields}


PER_DAY = rpc("QuotaFailure", violations=[{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}])
PER_MINUTE = rpc("QuotaFailure", violations=[{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}])
BAD_KEY = rpc("ErrorInfo", reason="API_KEY_INVALID")
FULL = rpc("ErrorInfo", reason="MODEL_CAPACITY_EXHAUSTED")
IN_34_S = rpc("RetryInfo", retryDelay="34s")


@pytest.mark.parametrize("inside_200", [False, True])
@pytest.mark.parametrize(
    ("body", "kind", "charge", "retry_after_s"),
    [
        (google_error(400, "INVALID_ARGUMENT"), FailureKind.BAD_REQUEST, Charge.NO, None),
        (google_error(400, "INVALID_ARGUMENT", BAD_KEY), FailureKind.CREDENTIAL, Charge.NO, None),
        (google_error(400, "FAILED_PRECONDITION"), FailureKind.CREDENTIAL, Charge.NO, None),
        (google_error(402, "BILLING"), FailureKind.QUOTA_SPENT, Charge.NO, None),
        (google_error(403, "PERMISSION_DENIED"), FailureKind.CREDENTIAL, Charge.NO, None),
        (google_error(404, "NOT_FOUND"), FailureKind.BAD_REQUEST, Charge.NO, None),
        (google_error(429, "RESOURCE_EXHAUSTED", PER_MINUTE, IN_34_S), FailureKind.RATE_LIMITED, Charge.NO, 34.0),
        (google_error(429, "RESOURCE_EXHAUSTED"), FailureKind.RATE_LIMITED, Charge.NO, None),
        (google_error(429, "RESOURCE_EXHAUSTED", PER_DAY, IN_34_S), FailureKind.QUOTA_SPENT, Charge.NO, 34.0),
        (google_error(429, "RESOURCE_EXHAUSTED", FULL), FailureKind.OVERLOADED, Charge.NO, None),
        (google_error(499, "CANCELLED"), FailureKind.CANCELLED, Charge.UNKNOWN, None),
        (google_error(500, "INTERNAL"), FailureKind.SERVER_FAULT, Charge.UNKNOWN, None),
        (google_error(503, "UNAVAILABLE"), FailureKind.OVERLOADED, Charge.NO, None),
        (google_error(504, "DEADLINE_EXCEEDED"), FailureKind.UPSTREAM_TIMEOUT, Charge.UNKNOWN, None),
    ],
)
def test_an_error_is_judged_by_its_structure(
    body: dict[str, Any], kind: FailureKind, charge: Charge, retry_after_s: float | None, inside_200: bool
) -> None:
    """By status, `ErrorInfo.reason` and quota id, with its own status or inside a 200; never by its words."""
    failure = judge(body, status=200 if inside_200 else body["error"]["code"])
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.charge, failure.retry_after_s) == (kind, charge, retry_after_s)
    assert failure.status == body["error"]["code"]
    assert "google" in failure.detail
    assert f"answered {body['error']['code']}" in failure.detail


def test_an_error_in_a_stream_is_the_error() -> None:
    """Both SDKs raise on it, and so it ends the attempt."""
    failure = judge([a_candidate({"text": "…"}, finish=None), google_error(503, "UNAVAILABLE")], stream=True)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.charge) == (FailureKind.OVERLOADED, Charge.NO)


@pytest.mark.parametrize(
    ("status", "body", "kind", "charge"),
    [
        (502, b"<html>Bad Gateway</html>", FailureKind.SERVER_FAULT, Charge.UNKNOWN),
        (504, b"", FailureKind.UPSTREAM_TIMEOUT, Charge.UNKNOWN),
        (404, b"<html>nginx</html>", FailureKind.UNREACHABLE, Charge.NO),
        (503, b"\xff\xfe", FailureKind.OVERLOADED, Charge.NO),
        (429, b"[]", FailureKind.RATE_LIMITED, Charge.NO),
        (400, b'[{"error":{"code":400,"status":"FAILED_PRECONDITION"}}]', FailureKind.CREDENTIAL, Charge.NO),
    ],
)
def test_an_error_that_is_no_envelope_is_judged_by_its_status(
    status: int, body: bytes, kind: FailureKind, charge: Charge
) -> None:
    """A proxy's page, an empty body, an array: none of them raises."""
    failure = judge(body, status=status)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.charge) == (kind, charge)
    assert "html" not in failure.detail


def test_the_upstreams_words_help_to_mend_a_request_and_quote_nothing() -> None:
    """Shown for a mistake of the caller's, unless they repeat the credential or the prompt."""
    helpful = judge(google_error(400, "INVALID_ARGUMENT", message="Unknown name 'imageSizes'."), status=400)
    assert isinstance(helpful, Failure)
    assert helpful.detail == "google answered 400 INVALID_ARGUMENT: Unknown name 'imageSizes'."
    for quoted in (f"key {KEY} is odd", f"cannot draw: {PROMPT}", f"cannot draw: {PROMPT[:20]}…"):
        failure = judge(google_error(400, "INVALID_ARGUMENT", message=quoted), status=400)
        assert isinstance(failure, Failure)
        assert failure.detail == "google answered 400 INVALID_ARGUMENT"


def test_a_broken_exchange_ends_the_attempt_as_the_upstreams() -> None:
    """Retries are decided elsewhere; whose host it was is told, since a caller knows only the gateway's."""
    failure = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="refused")
    step = a_conversation(upstream="mine", base_url="http://10.0.0.1:99/v1").failed(failure)
    detail = "the upstream 'mine' (10.0.0.1:99) cannot be reached: refused"
    assert step == Failed(failure=replace(failure, detail=detail))
