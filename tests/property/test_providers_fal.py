"""fal's conversation under any answers in any order: one purchase, one origin for the key, bounded pauses."""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.providers.conversation import Done, Failed, Fetch, Keep, Send, Step, Wait, malformed, unfinished
from holdfast.providers.fal import FETCH_S_MAX, HINT_S_MAX, FalConversation
from holdfast.providers.fal_urls import is_same_origin
from holdfast.providers.http import Head
from holdfast.types import Charge, Failure, FailureKind, Geometry, Phase, Request, Surface, Tier
from holdfast.wire.errors import WireError
from holdfast.wire.fal import Handle, encode_handle

BASE = "https://queue.fal.run"
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU"
    b"\x00\x00\x00\nIDATx\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"
)
URLS = st.sampled_from([f"{BASE}/x", "https://evil.example/y", "http://queue.fal.run/z", "//a", "", None])
SUBMITTED = st.builds(
    lambda id_, url: {"request_id": id_, "status_url": url, "response_url": url, "cancel_url": url},
    st.sampled_from(["r-1", "", "../x", None]),
    URLS,
)
STATUS = st.builds(
    lambda word, error: {"status": word, "queue_position": 1, "error": error},
    st.sampled_from(["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "ODD"]),
    st.sampled_from([None, "it failed"]),
)
RESULT = st.builds(
    lambda urls: {"images": [{"url": url} for url in urls]},
    st.lists(st.sampled_from(["https://f.example/a.png", "data:image/png;base64,iVBORw==", "0", ""]), max_size=3),
)
DETAIL = st.builds(
    lambda type_, loc: {"detail": [{"type": type_, "loc": loc, "msg": "m"}]},
    st.sampled_from(["content_policy_violation", "value_error", "no_media_generated"]),
    st.sampled_from([["body", "prompt"], [], None]),
)
BODIES = st.one_of(SUBMITTED, STATUS, RESULT, DETAIL).map(lambda body: json.dumps(body).encode()) | st.sampled_from(
    [PNG, PNG[:-3], b"<html>", b""]
)
ANSWERS = st.tuples(
    st.sampled_from([200, 200, 200, 202, 302, 400, 401, 403, 404, 408, 422, 429, 500, 502, 503, 504]),
    BODIES,
    st.sampled_from([{}, {"retry-after": ("7",)}, {"retry-after": ("9999",)}, {"x-fal-request-id": ("r-2",)}]),
)
BREAKS = st.builds(
    lambda kind, charge: Failure(kind=kind, phase=Phase.WAIT, charge=charge, detail="it broke"),
    st.sampled_from([FailureKind.LOST_REPLY, FailureKind.UNREACHABLE, FailureKind.MALFORMED]),
    st.sampled_from(Charge),
)
EVENTS = st.lists(ANSWERS | BREAKS | st.just("cancel"), max_size=40)


def a_conversation(**overrides: Any) -> FalConversation:
    """One attempt for two images."""
    geometry = Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=8, height_px=8)
    request = Request(surface=Surface.OPENAI, model="m", prompt="a lighthouse far out", geometry=geometry, n=2)
    usual: dict[str, Any] = {
        "upstream": "fal",
        "base_url": BASE,
        "model": "fal-ai/nano-banana-pro",
        "key": "a-key",
        "request": request,
        "idempotency_key": "gen_1.0.0",
        "timeout_s": 180.0,
        "n": 2,
    }
    return FalConversation(**usual | overrides)


def answered(talk: FalConversation, event: Any) -> Step:
    """Let one exchange end."""
    if isinstance(event, Failure):
        return talk.failed(event)
    status, body, headers = event
    head = Head(status=status, headers=MappingProxyType(headers))
    reader = talk.head(head)
    try:
        reader.feed(body)
    except WireError as error:
        return talk.failed(malformed(error, status=status))
    try:
        answer = reader.finish()
    except WireError as error:
        return talk.failed(unfinished(error, head))
    return talk.received(head, answer)


@settings(deadline=None, max_examples=400)
@given(EVENTS, st.booleans())
def test_whatever_comes_it_is_bought_once_and_the_key_stays(events: list[Any], is_resumed: bool) -> None:
    """Told charges hold as well: nothing is free that a result was seen of, nor paid before there was a handle."""
    handle = encode_handle(Handle(request_id="r-1", status_url="https://evil.example/")) if is_resumed else None
    talk = a_conversation(handle=handle)
    step: Step = talk.start()
    posts = kept = fetched = 0
    left = iter(events)
    while True:
        match step:
            case Done(results=results, drafts=drafts, answer=answer):
                named = [image.index for image in answer.images]
                assert results
                assert len(results) <= 2
                assert set(results) | set(drafts) <= set(named)
                return
            case Failed(failure=failure):
                assert failure.charge is not Charge.YES or fetched, "paid for is what was seen to be made"
                assert failure.charge is not Charge.NO or not fetched
                assert "a-key" not in failure.detail
                assert "lighthouse" not in failure.detail
                return
            case Wait(delay_s=delay_s, why=why):
                assert 0.0 < delay_s <= max(HINT_S_MAX, FETCH_S_MAX)
                assert why
                step = talk.start()
                continue
            case Keep():
                kept += 1
                assert kept == 1
                assert not is_resumed
                step = talk.start()
                continue
            case Send(request=request):
                posts += request.method == "POST"
                assert posts <= (0 if is_resumed else 1)
                assert is_same_origin(request.url, BASE)
            case Fetch():
                fetched += 1
        event = next(left, None)
        while event == "cancel":
            talk.cancel()
            event = next(left, None)
        if event is None:
            return
        step = answered(talk, event)
