"""Ark's and Replicate's conversations under any answers in any order: one purchase, one origin for the key."""

from __future__ import annotations

import base64
import json
from types import MappingProxyType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast.providers.ark import ArkConversation
from holdfast.providers.conversation import Done, Failed, Fetch, Keep, Send, Step, Wait, malformed, unfinished
from holdfast.providers.fal_urls import is_same_origin
from holdfast.providers.http import Head
from holdfast.providers.replicate import FETCH_S_MAX, HINT_S_MAX, UPLOAD_TRIES, ReplicateConversation
from holdfast.types import Charge, Failure, FailureKind, Geometry, InputImage, Phase, Request, Surface, Tier
from holdfast.wire.errors import WireError
from holdfast.wire.replicate import Handle, encode_handle

BASE = "https://api.replicate.com"
PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU"
    b"\x00\x00\x00\nIDATx\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"
)
URLS = st.sampled_from([f"{BASE}/x", "https://evil.example/y", "http://api.replicate.com/z", "//a", "", None])
LINK = "https://f.example/a.png"
OUTPUTS = st.sampled_from(
    [None, LINK, [LINK] * 2, "0", [], "prose", "data:image/png;base64," + base64.b64encode(PNG).decode()]
)
PREDICTIONS = st.builds(
    lambda id_, status, output, url, begun: {
        "id": id_,
        "status": status,
        "output": output,
        "error": "flagged as sensitive (E005): a lighthouse far out",
        "started_at": begun,
        "urls": {"get": url, "cancel": url},
    },
    st.sampled_from(["p-1", "p-1", "../x", None]),
    st.sampled_from(["starting", "processing", "succeeded", "failed", "canceled", "aborted", "odd"]),
    OUTPUTS,
    URLS,
    st.sampled_from([None, "2026"]),
)
ITEMS = st.sampled_from(
    [
        {"b64_json": base64.b64encode(PNG).decode()},
        {"url": "https://f.example/a.png"},
        {"error": {"code": "OutputImageSensitiveContentDetected", "message": "a lighthouse far out"}},
        {"b64_json": "", "url": None},
        7,
    ]
)
ANSWERED = st.builds(
    lambda data, count: {"data": data, "usage": {"generated_images": count}},
    st.lists(ITEMS, max_size=3),
    st.sampled_from([None, 0, 1]),
)
ERRORS = st.sampled_from(
    [
        {"error": {"code": "InvalidParameter", "message": "a lighthouse far out, a-key"}},
        {"detail": "a lighthouse far out, a-key"},
        {"urls": {"get": f"{BASE}/v1/files/f"}},
    ]
)
BODIES = st.one_of(PREDICTIONS, ANSWERED, ERRORS).map(lambda body: json.dumps(body).encode()) | st.sampled_from(
    [PNG, PNG[:-3], b"<html>", b""]
)
ANSWERS = st.tuples(
    st.sampled_from([200, 200, 200, 201, 302, 400, 401, 404, 422, 429, 500, 503, 504]),
    BODIES,
    st.sampled_from([{}, {"retry-after": ("7",)}, {"retry-after": ("9999",)}]),
)
BREAKS = st.builds(
    lambda kind, charge: Failure(kind=kind, phase=Phase.WAIT, charge=charge, detail="it broke"),
    st.sampled_from([FailureKind.LOST_REPLY, FailureKind.UNREACHABLE, FailureKind.MALFORMED]),
    st.sampled_from(Charge),
)
EVENTS = st.lists(ANSWERS | BREAKS | st.just("cancel"), max_size=40)


def common(inputs: tuple[InputImage, ...] = ()) -> dict[str, Any]:
    """What every attempt has."""
    geometry = Geometry(tier=Tier.K2, aspect_ratio="1:1", width_px=2048, height_px=2048)
    request = Request(
        surface=Surface.OPENAI, model="m", prompt="a lighthouse far out", geometry=geometry, inputs=inputs
    )
    return {"upstream": "up", "base_url": BASE, "key": "a-key", "request": request, "idempotency_key": "gen_1.0.0"}


def answered(talk: Any, event: Any) -> Step:
    """Let one exchange end."""
    if isinstance(event, Failure):
        step: Step = talk.failed(event)
        return step
    status, body, headers = event
    head = Head(status=status, headers=MappingProxyType(headers))
    reader = talk.head(head)
    try:
        reader.feed(body)
    except WireError as error:
        broken: Step = talk.failed(malformed(error, status=status))
        return broken
    try:
        answer = reader.finish()
    except WireError as error:
        ended: Step = talk.failed(unfinished(error, head))
        return ended
    verdict: Step = talk.received(head, answer)
    return verdict


class Seen:
    """What a conversation has done so far, and whether it may."""

    def __init__(self, *, is_resumed: bool, uploads: int) -> None:
        self.is_resumed = is_resumed
        self.uploads_left = uploads * UPLOAD_TRIES
        self.bought = self.kept = self.fetched = 0

    def takes(self, step: Step) -> bool:
        """Check a step; True when it is the last."""
        match step:
            case Done(results=results, drafts=drafts, answer=answer):
                assert len(results) == 1
                assert set(results) | set(drafts) <= {image.index for image in answer.images}
                return True
            case Failed(failure=failure):
                assert "a-key" not in failure.detail
                assert "lighthouse" not in failure.detail
                assert failure.charge is not Charge.NO or not self.fetched, "what was seen to be made is paid for"
                return True
            case Wait(delay_s=delay_s, why=why):
                assert 0.0 < delay_s <= max(HINT_S_MAX, FETCH_S_MAX)
                assert why
            case Keep():
                self.kept += 1
                assert self.kept == 1
                assert not self.is_resumed
            case Send(request=request):
                assert is_same_origin(request.url, BASE)
                if request.url.endswith("/files"):
                    self.uploads_left -= 1
                    assert self.uploads_left >= 0
                else:
                    self.bought += request.method == "POST" and not request.url.endswith(("/cancel", "/x"))
                assert self.bought <= (0 if self.is_resumed else 1)
            case Fetch():
                self.fetched += 1
        return False


def run(talk: Any, events: list[Any], seen: Seen) -> None:
    """Play it to its end, or to that of the events."""
    step: Step = talk.start()
    left = iter(events)
    while not seen.takes(step):
        if isinstance(step, Wait | Keep):
            step = talk.start()
            continue
        event = next(left, None)
        while event == "cancel":
            if isinstance(talk, ReplicateConversation):
                talk.cancel()
            event = next(left, None)
        if event is None:
            return
        step = answered(talk, event)


@settings(deadline=None, max_examples=300)
@given(EVENTS, st.booleans(), st.integers(0, 2))
def test_a_prediction_is_bought_once_whatever_comes(events: list[Any], is_resumed: bool, uploads: int) -> None:
    """And nothing is asked for off the upstream's origin."""
    large = InputImage(sha256="0" * 64, mime="image/png", bytes=1 << 20, store_key="x")
    handle = encode_handle(Handle(id="p-1", get_url="https://evil.example/")) if is_resumed else None
    talk = ReplicateConversation(
        **common((large,) * uploads), model="google/nano-banana-pro", timeout_s=180.0, handle=handle
    )
    run(talk, events, Seen(is_resumed=is_resumed, uploads=0 if is_resumed else uploads))


@settings(deadline=None, max_examples=300)
@given(EVENTS, st.booleans())
def test_a_picture_is_asked_for_once_whatever_comes(events: list[Any], is_resumed: bool) -> None:
    """A link is followed, and never asked for anew."""
    handle = '{"data":[{"url":"https://f.example/a.png"}]}' if is_resumed else None
    talk = ArkConversation(**common(), model="seedream-4-5-251128", handle=handle)
    run(talk, events, Seen(is_resumed=is_resumed, uploads=0))
