"""OpenAI's conversation: what is sent to the vendor and to relays, and how each kind of answer is judged."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from holdfast.providers.conversation import Done, Failed, Fetch, Send, Wait
from holdfast.providers.error_body import ErrorReader
from holdfast.providers.http import Head, HttpRequest
from holdfast.providers.openai import OpenAIConversation
from holdfast.types import Charge, Failure, FailureKind, Geometry, InputImage, Phase, Request, Surface, Tier
from holdfast.wire.image_file import ImageFileReader
from holdfast.wire.openai import ImagesReader, ImagesStreamReader
from holdfast.wire.template import Slot, filled

KEY = "sk-the-credential"
PROMPT = "a lighthouse at the end of the world"
PNG = "iVBORw0KGgo="


def a_request(**overrides: Any) -> Request:
    """What a caller asked for."""
    usual: dict[str, Any] = {
        "surface": Surface.OPENAI,
        "model": "gpt-image-2",
        "prompt": PROMPT,
        "geometry": Geometry(tier=Tier.K2, aspect_ratio="16:9", width_px=2752, height_px=1536),
    }
    return Request(**{**usual, **overrides})


def a_conversation(**overrides: Any) -> OpenAIConversation:
    """One attempt."""
    usual: dict[str, Any] = {
        "upstream": "openai",
        "base_url": "https://api.openai.com/v1",
        "model": "gpt-image-2",
        "key": KEY,
        "request": a_request(),
        "idempotency_key": "gen_1.0.0",
    }
    return OpenAIConversation(**{**usual, **overrides})


def sent_by(conversation: OpenAIConversation) -> HttpRequest:
    """Its request."""
    step = conversation.start()
    assert isinstance(step, Send)
    return step.request


def body_of(conversation: OpenAIConversation, *images: bytes) -> dict[str, Any]:
    """The JSON it sends."""
    return dict(json.loads(filled(sent_by(conversation).body, dict(enumerate(images)))))


def a_head(status: int = 200, content_type: str = "application/json", **headers: str) -> Head:
    """The head of an answer."""
    named = {name.replace("_", "-"): (value,) for name, value in headers.items()}
    return Head(status=status, headers=MappingProxyType({"content-type": (content_type,), **named}))


def judge(body: Any, *, head: Head | None = None, **overrides: Any) -> Done | Failure:
    """Feed an answer; give the verdict. A list of events is a stream."""
    conversation = a_conversation(**overrides)
    if isinstance(body, list):
        head = head or a_head(content_type="text/event-stream")
        raw = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in body)
    else:
        head = head or a_head()
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    reader = conversation.head(head)
    reader.feed(raw)
    step = conversation.received(head, reader.finish())
    assert isinstance(step, Done | Failed)
    return step if isinstance(step, Done) else step.failure


def images(count: int, **more: Any) -> dict[str, Any]:
    """A plain answer."""
    return {"created": 1, "data": [{"b64_json": PNG}] * count, **more}


def test_the_request_is_what_openai_documents() -> None:
    """No `response_format`: GPT image models refuse it. Sizes are OpenAI's own."""
    request = sent_by(a_conversation())
    assert (request.method, request.url) == ("POST", "https://api.openai.com/v1/images/generations")
    assert dict(request.headers) == {
        "Authorization": f"Bearer {KEY}",
        "Content-Type": "application/json",
        "Accept": "application/json",
        "Idempotency-Key": "gen_1.0.0",
    }
    assert body_of(a_conversation()) == {"model": "gpt-image-2", "prompt": PROMPT, "n": 1, "size": "2720x1536"}


def test_every_wish_travels_on() -> None:
    """The end user included, by the field's older name, which every version takes."""
    request = a_request(
        quality="high",
        output_format="webp",
        output_compression=0,
        background="opaque",
        moderation="low",
        end_user="u-1",
        partial_images=2,
    )
    wished = {
        "quality": "high",
        "output_format": "webp",
        "output_compression": 0,
        "background": "opaque",
        "moderation": "low",
        "user": "u-1",
        "n": 4,
    }
    sent = body_of(a_conversation(request=request, n=4))
    assert {name: sent[name] for name in wished} == wished
    assert "stream" not in sent
    assert "partial_images" not in sent, "previews exist in streams only"
    streamed = body_of(a_conversation(request=request, stream=True))
    assert (streamed["stream"], streamed["partial_images"]) == (True, 2)
    assert dict(sent_by(a_conversation(stream=True)).headers)["Accept"] == "text/event-stream"


@pytest.mark.parametrize(
    ("as_asked", "size"), [("2K", "2K"), ("1792x1024", "1792x1024"), ("auto", "auto"), (None, "2752x1536")]
)
def test_a_relay_gets_the_callers_size_and_is_asked_for_base64(as_asked: str | None, size: str) -> None:
    """Its sizes are its own; some relays give links unless told otherwise."""
    sent = body_of(a_conversation(is_relay=True, request=a_request(size_as_asked=as_asked)))
    assert (sent["size"], sent["response_format"]) == (size, "b64_json")


@pytest.mark.parametrize(
    ("tier", "ratio", "size"),
    [
        (Tier.K1, "1:1", "1024x1024"),
        (Tier.K4, "1:1", "2880x2880"),
        (Tier.K1, "2:3", "832x1248"),
        (Tier.K4, "9:16", "2160x3840"),
        (Tier.K4, "21:9", "3840x1648"),
    ],
)
def test_sizes_are_those_that_openai_draws(tier: Tier, ratio: str, size: str) -> None:
    """Multiples of 16, at most 3840 on an edge, turned for portrait."""
    geometry = Geometry(tier=tier, aspect_ratio=ratio, width_px=1, height_px=1)
    assert body_of(a_conversation(request=a_request(geometry=geometry)))["size"] == size


@pytest.mark.parametrize("is_relay", [False, True])
def test_reference_images_go_to_edits_as_data_urls(is_relay: bool) -> None:
    """The JSON form of the endpoint; bytes are streamed into their slots."""
    inputs = tuple(
        InputImage(sha256=str(number) * 64, mime=mime, bytes=3, store_key=f"inputs/{number}")
        for number, mime in enumerate(("image/png", "image/webp"))
    )
    conversation = a_conversation(request=a_request(inputs=inputs), is_relay=is_relay)
    request = sent_by(conversation)
    assert request.url == "https://api.openai.com/v1/images/edits"
    assert [part.index for part in request.body if isinstance(part, Slot)] == [0, 1]
    sent = body_of(conversation, b"one", b"two")
    assert sent["images"] == [
        {"image_url": "data:image/png;base64,b25l"},
        {"image_url": "data:image/webp;base64,dHdv"},
    ]
    assert (sent["prompt"], sent["n"]) == (PROMPT, 1)
    assert ("response_format" in sent) is is_relay


def test_a_base_url_may_end_in_a_slash() -> None:
    """Two slashes would be another path."""
    assert sent_by(a_conversation(base_url="https://r.example/v1/")).url == "https://r.example/v1/images/generations"


def test_neither_credential_nor_prompt_shows_where_it_may_be_logged() -> None:
    """In the representation of the attempt, of its request, or of its step."""
    conversation = a_conversation()
    for shown in (repr(conversation), repr(sent_by(conversation)), repr(conversation.start())):
        assert KEY not in shown
        assert PROMPT not in shown


@pytest.mark.parametrize(
    ("asked_stream", "status", "content_type", "reader"),
    [
        (False, 200, "application/json", ImagesReader),
        (True, 200, "text/event-stream", ImagesStreamReader),
        (True, 200, "application/json", ImagesReader),
        (False, 200, "text/event-stream; charset=utf-8", ImagesStreamReader),
        (True, 429, "text/event-stream", ErrorReader),
        (False, 500, "", ErrorReader),
    ],
)
def test_who_reads_is_chosen_by_what_came(
    asked_stream: bool, status: int, content_type: str, reader: type[Any]
) -> None:
    """A relay that was asked for a stream may answer plainly."""
    assert isinstance(a_conversation(stream=asked_stream).head(a_head(status, content_type)), reader)


@pytest.mark.parametrize(
    ("asked", "came", "results", "drafts"),
    [(1, 1, (0,), ()), (3, 3, (0, 1, 2), ()), (1, 3, (0,), (1, 2)), (3, 2, (0, 1), ())],
)
def test_what_was_asked_for_is_delivered_and_the_rest_kept(
    asked: int, came: int, results: tuple[int, ...], drafts: tuple[int, ...]
) -> None:
    """An extra image is paid for; fewer than asked for is a partial result."""
    done = judge(images(came), n=asked)
    assert isinstance(done, Done)
    assert (done.results, done.drafts) == (results, drafts)


def test_previews_of_a_stream_are_neither_results_nor_drafts() -> None:
    """They were passed on as they came."""
    partial = {"type": "image_generation.partial_image", "b64_json": PNG, "partial_image_index": 0}
    completed = {"type": "image_generation.completed", "b64_json": PNG}
    done = judge([partial, partial, completed], stream=True)
    assert isinstance(done, Done)
    assert (done.results, done.drafts) == ((2,), ())


@pytest.mark.parametrize(
    ("answer", "kind", "charge"),
    [
        ({"created": 1, "data": []}, FailureKind.NO_IMAGE, Charge.UNKNOWN),
        ({"created": 1}, FailureKind.NO_IMAGE, Charge.UNKNOWN),
        ({"data": [{"b64_json": None, "revised_prompt": "x"}]}, FailureKind.NO_IMAGE, Charge.UNKNOWN),
        ({"data": [{"url": "", "b64_json": ""}]}, FailureKind.NO_IMAGE, Charge.UNKNOWN),
        ({"data": [{"url": "ftp://r.example/x.png"}]}, FailureKind.NO_IMAGE, Charge.UNKNOWN),
    ],
)
def test_a_200_without_an_image_is_a_failure(answer: dict[str, Any], kind: FailureKind, charge: Charge) -> None:
    """An empty string is no link."""
    failure = judge(answer)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.charge, failure.phase) == (kind, charge, Phase.RECEIVE)
    assert "example" not in failure.detail


@pytest.mark.parametrize("is_relay", [False, True])
def test_a_link_is_fetched_and_never_bought_again(is_relay: bool) -> None:
    """Without the key; what breaks on the way is asked for again, and its file is the answer."""
    conversation = a_conversation(is_relay=is_relay)
    head, answer = a_head(), json.dumps({"data": [{"url": "https://r.example/x.png", "b64_json": ""}]}).encode()
    reader = conversation.head(head)
    reader.feed(answer)
    step = conversation.received(head, reader.finish())
    assert isinstance(step, Fetch)
    assert step.url == "https://r.example/x.png"
    assert conversation.start() == step
    broken = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="reset")
    assert isinstance(conversation.failed(broken), Wait)
    assert isinstance(conversation.head(a_head(404)), ErrorReader)
    assert isinstance(conversation.received(a_head(404), ErrorReader().finish()), Wait)
    file = conversation.head(a_head(content_type="image/png"))
    assert isinstance(file, ImageFileReader)
    ended = conversation.received(a_head(content_type="image/png"), ErrorReader().finish())
    assert isinstance(ended, Done)
    assert (ended.results, ended.drafts) == ((0,), ())


def test_of_several_links_as_many_are_delivered_as_were_asked_for() -> None:
    """The others are kept."""
    conversation = a_conversation(n=2)
    links = [{"url": f"https://r.example/{index}.png"} for index in range(3)]
    reader = conversation.head(a_head())
    reader.feed(json.dumps({"data": links}).encode())
    step = conversation.received(a_head(), reader.finish())
    for _ in links[:-1]:
        assert isinstance(step, Fetch)
        step = conversation.received(a_head(), ErrorReader().finish())
    ended = conversation.received(a_head(), ErrorReader().finish())
    assert isinstance(ended, Done)
    assert (ended.results, ended.drafts) == ((0, 1), (2,))


def test_an_image_counts_though_an_error_stands_beside_it() -> None:
    """It was paid for."""
    assert isinstance(judge(images(1, error={"message": "late", "code": "server_error"})), Done)


def openai_error(code: str | int | None, type_: str = "invalid_request_error", **more: Any) -> dict[str, Any]:
    """OpenAI's envelope."""
    return {"error": {"message": "words", "type": type_, "param": None, "code": code, **more}}


def stage(name: str) -> dict[str, Any]:
    """Where moderation struck."""
    return {"moderation_details": {"moderation_stage": name, "categories": ["violence"]}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "charge"),
    [
        (400, openai_error("unknown_parameter"), FailureKind.BAD_REQUEST, Charge.NO),
        (422, openai_error(None), FailureKind.BAD_REQUEST, Charge.NO),
        (413, openai_error(None), FailureKind.BAD_REQUEST, Charge.NO),
        (401, openai_error("invalid_api_key"), FailureKind.CREDENTIAL, Charge.NO),
        (403, openai_error("unsupported_country_region_territory"), FailureKind.CREDENTIAL, Charge.NO),
        (404, openai_error("model_not_found"), FailureKind.BAD_REQUEST, Charge.NO),
        (400, openai_error("billing_hard_limit_reached"), FailureKind.QUOTA_SPENT, Charge.NO),
        (429, openai_error("insufficient_quota", "insufficient_quota"), FailureKind.QUOTA_SPENT, Charge.NO),
        (429, openai_error("credit_balance_exhausted", "insufficient_quota"), FailureKind.QUOTA_SPENT, Charge.NO),
        (429, openai_error("rate_limit_exceeded", "requests"), FailureKind.RATE_LIMITED, Charge.NO),
        (429, openai_error("slow_down", "rate_limit_error"), FailureKind.RATE_LIMITED, Charge.NO),
        (500, openai_error(None, "server_error"), FailureKind.SERVER_FAULT, Charge.UNKNOWN),
        (503, openai_error("server_is_overloaded", "service_unavailable_error"), FailureKind.OVERLOADED, Charge.NO),
        (504, openai_error(None), FailureKind.UPSTREAM_TIMEOUT, Charge.UNKNOWN),
        (409, openai_error(None), FailureKind.SERVER_FAULT, Charge.UNKNOWN),
        (408, openai_error(None), FailureKind.UPSTREAM_TIMEOUT, Charge.UNKNOWN),
        (520, b"<html>cloudflare</html>", FailureKind.SERVER_FAULT, Charge.UNKNOWN),
        (524, b"<html>cloudflare</html>", FailureKind.UPSTREAM_TIMEOUT, Charge.UNKNOWN),
    ],
)
def test_an_error_is_judged_by_status_and_code(status: int, body: Any, kind: FailureKind, charge: Charge) -> None:
    """Money and rate come with the same 429: only the code tells them apart."""
    failure = judge(body, head=a_head(status))
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.charge, failure.status) == (kind, charge, status)


@pytest.mark.parametrize(
    ("details", "kind", "charge"),
    [
        (stage("input"), FailureKind.REFUSED_INPUT, Charge.NO),
        (stage("output"), FailureKind.REFUSED_OUTPUT, Charge.UNKNOWN),
        (stage("unknown"), FailureKind.REFUSED_OUTPUT, Charge.UNKNOWN),
        ({}, FailureKind.REFUSED_OUTPUT, Charge.UNKNOWN),
    ],
)
@pytest.mark.parametrize("code", ["moderation_blocked", "content_policy_violation"])
@pytest.mark.parametrize("is_relay", [False, True])
def test_a_refusal_says_at_which_stage_and_so_what_it_cost(
    details: dict[str, Any], kind: FailureKind, charge: Charge, code: str, is_relay: bool
) -> None:
    """Before the work it is free; after it OpenAI does not say; a relay at a fixed price bills both."""
    failure = judge(openai_error(code, "image_generation_user_error", **details), head=a_head(400), is_relay=is_relay)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.charge) == (kind, Charge.YES if is_relay else charge)


@pytest.mark.parametrize(
    ("status", "code", "kind", "charge"),
    [
        (500, "get_channel_failed", FailureKind.OVERLOADED, Charge.NO),
        (503, "model_not_found", FailureKind.OVERLOADED, Charge.NO),
        (500, "do_request_failed", FailureKind.SERVER_FAULT, Charge.UNKNOWN),
        (500, "channel:response_time_exceeded", FailureKind.UPSTREAM_TIMEOUT, Charge.UNKNOWN),
        (403, "insufficient_user_quota", FailureKind.QUOTA_SPENT, Charge.NO),
        (403, "entitlement_image_limit_exceeded", FailureKind.QUOTA_SPENT, Charge.NO),
        (403, "access_denied", FailureKind.CREDENTIAL, Charge.NO),
        (500, "token_concurrency_limit_reached", FailureKind.RATE_LIMITED, Charge.NO),
        (400, "prompt_blocked", FailureKind.REFUSED_INPUT, Charge.YES),
        (400, "sensitive_words_detected", FailureKind.REFUSED_INPUT, Charge.NO),
        (500, "empty_response", FailureKind.NO_IMAGE, Charge.UNKNOWN),
        (500, "read_response_body_failed", FailureKind.SERVER_FAULT, Charge.UNKNOWN),
        (500, "shell_api_error", FailureKind.SERVER_FAULT, Charge.NO),
        (500, "write_response_body_failed", FailureKind.SERVER_FAULT, Charge.NO),
    ],
)
def test_a_relays_code_says_more_than_its_status(status: int, code: str, kind: FailureKind, charge: Charge) -> None:
    """new-api answers 500 for nearly everything."""
    failure = judge(openai_error(code, "new_api_error"), head=a_head(status), is_relay=True)
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.charge, failure.reason) == (kind, charge, code)


@pytest.mark.parametrize("where", ["document", "stream"])
@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (openai_error("rate_limit_exceeded", "requests"), FailureKind.RATE_LIMITED, 500),
        (openai_error(503), FailureKind.OVERLOADED, 503),
        (openai_error("something_else", "server_error"), FailureKind.SERVER_FAULT, 500),
    ],
)
def test_an_error_inside_a_200_is_the_error(where: str, error: dict[str, Any], kind: FailureKind, status: int) -> None:
    """Its numeric code is its status; without one it is 500, the charge unknown."""
    failure = judge(error if where == "document" else [error])
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.status) == (kind, status)


def test_the_hint_to_wait_comes_from_the_head() -> None:
    """OpenAI's envelope holds none."""
    head = a_head(429, retry_after_ms="1500", retry_after="9")
    failure = judge(openai_error("rate_limit_exceeded", "requests"), head=head)
    assert isinstance(failure, Failure)
    assert failure.retry_after_s == 1.5


def test_a_broken_exchange_ends_the_attempt_as_the_upstreams() -> None:
    """Retries are decided elsewhere; whose host it was is told, since a caller knows only the gateway's."""
    failure = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="silent")
    step = a_conversation(upstream="mine", base_url="http://10.0.0.1:99/v1").failed(failure)
    assert step == Failed(failure=replace(failure, detail="the upstream 'mine' (10.0.0.1:99) failed: silent"))
