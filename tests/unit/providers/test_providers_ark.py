"""Ark's conversation as transcripts: one call for one picture, and its file where the answer only names it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from holdfast.policy.addresses import FILE_URL_CHARS_MAX, AddressRules
from holdfast.providers.ark import FETCH_TRIES, ArkConversation
from holdfast.providers.conversation import Done, Failed, Fetch, Keep, Send, Step, Wait, unfinished
from holdfast.providers.error_body import ErrorReader
from holdfast.providers.http import Head
from holdfast.types import Charge, Failure, FailureKind, Geometry, InputImage, Phase, Request, Surface, Tier
from holdfast.wire.ark import ArkReader, ArkStreamReader
from holdfast.wire.errors import WireError
from holdfast.wire.image_file import ImageFileReader
from holdfast.wire.template import filled

KEY = "the-credential"
PROMPT = "a lighthouse at the end of the world"
BASE = "https://ark.ap-southeast.bytepluses.com/api/v3"
LINK = "https://ark-content.example/x.jpeg?X-Tos-Signature=0f"
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU"
    b"\x00\x00\x00\nIDATx\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"
)
BROKEN = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="it was reset")
IMAGE = {"model": "m", "data": [{"b64_json": base64.b64encode(PNG).decode(), "size": "2048x2048"}]}
LINKED = {"model": "m", "data": [{"url": LINK, "size": "2048x2048"}], "usage": {"generated_images": 1}}


def a_request(**overrides: Any) -> Request:
    """What a caller asked for."""
    usual: dict[str, Any] = {
        "surface": Surface.OPENAI,
        "model": "seedream-4.5",
        "prompt": PROMPT,
        "geometry": Geometry(tier=Tier.K2, aspect_ratio="16:9", width_px=2752, height_px=1536),
    }
    return Request(**usual | overrides)


def a_conversation(**overrides: Any) -> ArkConversation:
    """One attempt."""
    usual: dict[str, Any] = {
        "upstream": "ark",
        "base_url": BASE,
        "model": "seedream-4-5-251128",
        "key": KEY,
        "request": a_request(),
        "idempotency_key": "gen_1.0.0",
    }
    return ArkConversation(**usual | overrides)


def says(talk: ArkConversation, body: Any, status: int = 200, media_type: str = "application/json") -> Step:
    """Answer what was asked: JSON, or bytes as they are."""
    head = Head(status=status, headers=MappingProxyType({"content-type": (media_type,)}))
    reader = talk.head(head)
    try:
        reader.feed(body if isinstance(body, bytes) else json.dumps(body).encode())
        return talk.received(head, reader.finish())
    except WireError as error:
        return talk.failed(unfinished(error, head))


def sent(talk: ArkConversation) -> dict[str, Any]:
    """Its body, as it leaves."""
    step = talk.start()
    assert isinstance(step, Send)
    images = {at: b"img%d" % at for at in range(len(talk.request.inputs))}
    body: dict[str, Any] = json.loads(filled(step.request.body, images))
    return body


def an_input(**overrides: Any) -> InputImage:
    """A reference image."""
    usual: dict[str, Any] = {"sha256": "0", "mime": "image/png", "bytes": 3, "store_key": "x"}
    return InputImage(**usual | overrides)


# The call


def test_a_call_says_what_is_wanted() -> None:
    """Pixels, base64, and no watermark; neither `stream` nor a group, which some models refuse to read of."""
    step = a_conversation().start()
    assert isinstance(step, Send)
    assert (step.request.method, step.request.url) == ("POST", f"{BASE}/images/generations")
    assert step.timeout_s is None
    headers = dict(step.request.headers)
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Idempotency-Key"] == headers["X-Client-Request-Id"] == "gen_1.0.0"
    assert sent(a_conversation()) == {
        "model": "seedream-4-5-251128",
        "prompt": PROMPT,
        "size": "2752x1536",
        "response_format": "b64_json",
        "watermark": False,
    }


def test_reference_images_go_along_as_data_urls() -> None:
    """In their order, each with its own type."""
    inputs = (an_input(), an_input(mime="image/jpeg"))
    assert sent(a_conversation(request=a_request(inputs=inputs)))["image"] == [
        "data:image/png;base64,aW1nMA==",
        "data:image/jpeg;base64,aW1nMQ==",
    ]


@pytest.mark.parametrize(
    ("model", "fields", "told"),
    [
        ("seedream-4-5-251128", {"output_format": "png", "background": "transparent"}, {}),
        ("seedream-5-0-260128", {"output_format": "png", "background": "opaque"}, {"output_format": "png"}),
        ("seedream-5-0-260128", {"output_format": "webp"}, {}),
        (
            "dola-seedream-5-5-261028",
            {"output_format": "jpeg", "background": "opaque"},
            {"output_format": "jpeg", "background": "opaque"},
        ),
        ("ep-20260101-abcde", {"output_format": "png", "background": "opaque"}, {}),
    ],
)
def test_a_model_is_told_what_it_understands(model: str, fields: dict[str, str], told: dict[str, str]) -> None:
    """What it does not is left out: it would refuse the whole call."""
    body = sent(a_conversation(model=model, request=a_request(model="its-public-name", **fields)))
    assert {name: body[name] for name in ("output_format", "background") if name in body} == told
    assert not {"stream", "sequential_image_generation", "partial_images"} & body.keys()


def test_the_public_name_tells_what_an_endpoint_hides() -> None:
    """`ep-…` says nothing: 1K is drawn as the smallest that Seedream 4.5 draws."""
    geometry = Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=1024, height_px=1024)
    assert sent(a_conversation(model="ep-1", request=a_request(geometry=geometry)))["size"] == "2048x2048"
    unknown = a_request(geometry=geometry, model="drawings")
    assert sent(a_conversation(model="ep-1", request=unknown))["size"] == "1024x1024"


def test_what_a_model_cannot_make_is_not_asked_for() -> None:
    """Told with the upstream's name, and free."""
    geometry = Geometry(tier=Tier.K4, aspect_ratio="1:1", width_px=4096, height_px=4096)
    step = a_conversation(model="seedream-5-0-pro-260628", request=a_request(geometry=geometry)).start()
    assert isinstance(step, Failed)
    failure = step.failure
    assert (failure.kind, failure.charge, failure.reason) == (FailureKind.BAD_REQUEST, Charge.NO, "unsupported_size")
    assert failure.detail.startswith("ark (Ark) was not asked: Seedream 5.0 draws at most 4,624,220 pixels")


@pytest.mark.parametrize(
    "inputs", [(an_input(),) * 15, (an_input(bytes=(30 << 20) + 1),), (an_input(width_px=6001, height_px=6000),)]
)
def test_too_many_or_too_large_reference_images_are_not_sent(inputs: tuple[InputImage, ...]) -> None:
    """They would be refused after they had travelled."""
    step = a_conversation(request=a_request(inputs=inputs)).start()
    assert isinstance(step, Failed)
    assert (step.failure.kind, step.failure.charge) == (FailureKind.BAD_REQUEST, Charge.NO)
    assert "Seedream 4.5 takes" in step.failure.detail


# The answer


def test_an_image_ends_it() -> None:
    """With what the answer counts."""
    step = says(a_conversation(), {**IMAGE, "usage": {"generated_images": 1, "output_tokens": 16384}})
    assert isinstance(step, Done)
    assert (step.results, step.drafts) == ((0,), ())
    assert step.answer.usage is not None
    assert (step.answer.usage.output_tokens, step.answer.usage.output_image_tokens) == (16384, 16384)


def test_who_reads_what() -> None:
    """By what came."""
    talk = a_conversation()
    ok, stream = ({}, {"content-type": ("text/event-stream",)})
    assert isinstance(talk.head(Head(status=200, headers=MappingProxyType(ok))), ArkReader)
    assert isinstance(talk.head(Head(status=200, headers=MappingProxyType(stream))), ArkStreamReader)
    assert isinstance(talk.head(Head(status=500, headers=MappingProxyType(ok))), ErrorReader)
    says(talk, LINKED)
    assert isinstance(talk.head(Head(status=200, headers=MappingProxyType(ok))), ImageFileReader)
    assert isinstance(talk.head(Head(status=403, headers=MappingProxyType(ok))), ErrorReader)


def test_a_broken_call_is_over() -> None:
    """Nobody can ask for what it made."""
    step = a_conversation().failed(BROKEN)
    assert isinstance(step, Failed)
    assert (step.failure.kind, step.failure.charge) == (FailureKind.LOST_REPLY, Charge.UNKNOWN)
    assert "'ark' (ark.ap-southeast.bytepluses.com) failed" in step.failure.detail


# Links


def linked(**overrides: Any) -> tuple[ArkConversation, Keep]:
    """An attempt that was given a link."""
    talk = a_conversation(**overrides)
    step = says(talk, LINKED)
    assert isinstance(step, Keep)
    return talk, step


def test_a_link_is_kept_before_it_is_followed() -> None:
    """It is paid for: any process can get what it leads to, without the key, over https, from public addresses."""
    talk, _ = linked()
    step = talk.start()
    assert step == Fetch(url=LINK, rules=AddressRules(url_chars_max=FILE_URL_CHARS_MAX), timeout_s=30.0)
    ended = says(talk, PNG, media_type="image/png")
    assert isinstance(ended, Done)
    assert (ended.results, ended.drafts) == ((0,), ())
    assert len(ended.answer.images) == 1


def test_another_process_follows_the_link() -> None:
    """And asks for nothing."""
    _, kept = linked()
    talk = a_conversation(handle=kept.handle)
    assert isinstance(talk.start(), Fetch)
    assert isinstance(says(talk, PNG), Done)


@pytest.mark.parametrize("handle", ["{", "[]", '{"data":[]}', '{"data":[{"url":"ftp://x"}]}'])
def test_a_handle_that_leads_nowhere_is_refused(handle: str) -> None:
    """Another version's, or a torn one."""
    with pytest.raises(WireError):
        a_conversation(handle=handle)


def test_an_answer_too_long_to_be_kept_is_followed_at_once() -> None:
    """The record of an attempt holds no megabytes."""
    talk = a_conversation()
    step = says(talk, {**LINKED, "note": "x" * (64 << 10)})
    assert isinstance(step, Fetch)


def test_a_link_is_tried_for_half_a_minute() -> None:
    """Then it is told as what it is: paid for, and not to be had."""
    talk, _ = linked()
    pauses: list[float] = []
    for at in range(FETCH_TRIES - 1):
        talk.start()
        step = says(talk, b"gone", 403) if at % 2 else talk.failed(BROKEN)
        assert isinstance(step, Wait)
        assert step.is_made
        pauses.append(step.delay_s)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0]
    talk.start()
    ended = says(talk, b"gone", 403)
    assert isinstance(ended, Failed)
    assert (ended.failure.kind, ended.failure.charge) == (FailureKind.MALFORMED, Charge.YES)


def test_of_several_links_one_is_enough() -> None:
    """What cannot be got is left out; what comes beyond what was asked for is kept."""
    talk = a_conversation()
    says(talk, {"data": [{"url": f"{LINK}{at}"} for at in range(3)]})
    says(talk, PNG)
    says(talk, PNG)
    step: Step = Wait(delay_s=1.0, why="…")
    for _ in range(FETCH_TRIES):
        talk.start()
        step = talk.failed(BROKEN)
    assert isinstance(step, Done)
    assert (step.results, step.drafts) == ((0,), (1,))


def test_a_private_upstream_may_have_its_files_beside_it() -> None:
    """As a simulator does."""
    talk, _ = linked(base_url="http://127.0.0.1:16900/api/v3")
    step = talk.start()
    assert isinstance(step, Fetch)
    assert (step.rules.allow_private, step.rules.allow_http) == (True, True)


def test_nothing_of_key_or_prompt_is_told() -> None:
    """In no detail, and in no repr."""
    talk = a_conversation()
    error = {"error": {"code": "InvalidParameter", "message": f"{PROMPT} {KEY}"}}
    step = says(talk, error, 400)
    assert isinstance(step, Failed)
    for text in (step.failure.detail, repr(talk)):
        assert KEY not in text
        assert "lighthouse" not in text
    assert repr(talk) == "<ArkConversation gen_1.0.0 with ark, seedream-4-5-251128: call>"


def test_a_relay_bills_refusals() -> None:
    """A fixed price a call."""
    error = {"error": {"code": "InputTextSensitiveContentDetected", "message": ""}}
    step = says(a_conversation(is_relay=True), error, 400)
    assert isinstance(step, Failed)
    assert step.failure == replace(step.failure, kind=FailureKind.REFUSED_INPUT, charge=Charge.YES)
