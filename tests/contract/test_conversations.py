"""Every recorded answer, replayed through its provider's conversation: what it means must not depend on how it is cut.

The recordings are in `tests/recorded/<provider>`: source, date, the options of the attempt, the answer, the verdict.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from holdfast.config import Flavor, Provider, Upstream, UpstreamApi, UpstreamStream
from holdfast.providers.conversation import (
    Conversation,
    Done,
    Failed,
    Fetch,
    Keep,
    Send,
    Step,
    Wait,
    malformed,
    unfinished,
)
from holdfast.providers.http import Head
from holdfast.providers.registry import conversation_for
from holdfast.types import Charge, Failure, FailureKind, Geometry, InputImage, Phase, Request, Surface, Tier
from holdfast.wire import replicate
from holdfast.wire.answers import Answer
from holdfast.wire.fal import Handle, encode_handle
from holdfast.wire.scan import ImageBytes, WireError

RECORDED = Path(__file__).parents[1] / "recorded"
FILES = sorted(RECORDED.glob("*/*.json"))
KEY = "sk-test-key"
BASE_URLS = {
    "gemini": "https://generativelanguage.googleapis.com",
    "openai": "https://api.openai.com/v1",
    "fal": "https://queue.fal.run",
    "ark": "https://ark.ap-southeast.bytepluses.com/api/v3",
    "replicate": "https://api.replicate.com",
}
MODELS = {"ark": "seedream-4-5-251128", "replicate": "google/nano-banana-pro"}
LARGE = InputImage(sha256="0" * 64, mime="image/png", bytes=400_000, store_key="inputs/0")
"""Handed over before it is named."""
APIS: dict[str, dict[str, Any]] = {
    "openai-responses": {"provider": Provider.OPENAI, "api": UpstreamApi.RESPONSES, "outer_model": "gpt-5.5"},
    "gemini-interactions": {"provider": Provider.GEMINI, "api": UpstreamApi.INTERACTIONS},
    "openai-chat": {"provider": Provider.OPENAI, "api": UpstreamApi.CHAT},
    "vertex": {"provider": Provider.VERTEX, "project": "my-project"},
}
"""Folders of recordings that are not named for a provider alone: what their upstream says besides."""
POLLED = ("fal", "replicate", "openai-responses", "gemini-interactions")
COMPLETED = b'{"status":"COMPLETED","logs":null}'


def conversation_of(recording: dict[str, Any], provider: str) -> Conversation:
    """Make the attempt that the recording answers."""
    options = recording["options"]
    n = options.get("n", 1)
    own = APIS.get(provider) or {"provider": Provider(provider)}
    if options.get("express"):
        own = {**own, "project": ""}
    return conversation_for(
        Upstream(
            name="the-upstream",
            base_url=BASE_URLS.get(provider.partition("-")[0], ""),
            **own,
            flavor=Flavor.RELAY if options.get("is_relay") else Flavor.VENDOR,
            stream=UpstreamStream.ALWAYS if options.get("stream") else UpstreamStream.NEVER,
        ),
        Request(
            surface=Surface.OPENAI,
            model="nano-banana-pro",
            prompt="a lighthouse",
            geometry=Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=1024, height_px=1024),
            n=n,
            inputs=(LARGE,) if options.get("at") == "upload" else (),
        ),
        model=options.get("model") or MODELS.get(provider, "gemini-3-pro-image"),
        key=KEY,
        idempotency_key="gen_1.0.0",
        timeout_s=300.0,
        n=n,
        handle=handle_of(provider) if options.get("at") in ("poll", "result") else None,
    )


def handle_of(folder: str) -> str:
    """What an earlier process was given."""
    given = {
        "fal": encode_handle(Handle(request_id="r-1")),
        "replicate": replicate.encode_handle(replicate.Handle(id="p-1")),
    }
    return given.get(folder, "handle_1")


def begun(recording: dict[str, Any], provider: str) -> Conversation:
    """Bring the attempt to where its recording was made: an upstream that is polled answers several questions."""
    conversation = conversation_of(recording, provider)
    assert isinstance(conversation.start(), Send)
    if recording["options"].get("at") == "result":
        head = Head(status=200, headers=MappingProxyType({}))
        step = conversation.received(head, Answer(images=(), document=COMPLETED))
        assert isinstance(step, Send)
    return conversation


def replay(path: Path, *, piece_bytes: int) -> tuple[dict[str, Any], Step | Failure, str | None, dict[int, bytes]]:
    """Feed a recording; give it, what it came to, the code of a wire error, and the images."""
    recording = json.loads(path.read_text())
    conversation = begun(recording, path.parent.name)
    # What cannot be read ends an attempt, unless its upstream can be asked again.
    judged = conversation.failed if path.parent.name in POLLED else lambda failure: failure
    head = Head(
        status=recording["status"],
        headers=MappingProxyType({name: (value,) for name, value in recording["headers"].items()}),
    )
    body = (json.dumps(recording["body"]) if "body" in recording else recording["text"]).encode()
    images: dict[int, bytes] = {}
    reader = conversation.head(head)
    try:
        for at in range(0, len(body), piece_bytes):
            for event in reader.feed(body[at : at + piece_bytes]):
                if isinstance(event, ImageBytes):
                    images[event.index] = images.get(event.index, b"") + event.data
    except WireError as error:
        return recording, judged(malformed(error, status=head.status)), error.code, images
    try:
        answer = reader.finish()
    except WireError as error:
        return recording, judged(unfinished(error, head)), error.code, images
    return recording, conversation.received(head, answer), None, images


@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_recording_comes_to_its_verdict(path: Path, piece_bytes: int) -> None:
    """Results and drafts, or kind, phase and charge, exactly as the recording says."""
    recording, outcome, wire_error, images = replay(path, piece_bytes=piece_bytes)
    expect = recording["expect"]
    match outcome:
        case Done():
            assert expect == {"done": {"results": list(outcome.results), "drafts": list(outcome.drafts)}}
            for index in (*outcome.results, *outcome.drafts):
                assert images[index].startswith(b"\x89PNG")
                assert images[index].endswith(b"IEND\xaeB`\x82")
        case Failed(failure=failure) | (Failure() as failure):
            assert wire_error == expect.get("wire_error")
            wanted = dict(expect.get("then") or expect.get("failed") or {})
            assert wanted, f"expected images, got {failure}"
            has = wanted.pop("detail_has", None)
            told = {name: getattr(failure, name) for name in wanted}
            assert told == wanted
            assert has is None or has in failure.detail
            assert "sk-test-key" not in failure.detail
            assert "lighthouse" not in failure.detail
        case Send() | Fetch() | Wait() | Keep():
            assert expect["step"] == type(outcome).__name__.lower()
            assert wire_error == expect.get("wire_error")
        case _:
            pytest.fail(f"unexpected step {outcome!r}")


def test_recordings_cover_the_taxonomy() -> None:
    """Each kind that an upstream can bring about is shown by at least one answer of each provider, or is named here."""
    seen: dict[str, set[str]] = {path.parent.name: set() for path in FILES}
    for path in FILES:
        expect = json.loads(path.read_text())["expect"]
        kind = (expect.get("failed") or expect.get("then") or {}).get("kind")
        seen[path.parent.name].add(kind or "done")
    by_transport = {FailureKind.UNREACHABLE.value}
    assert {kind.value for kind in FailureKind} - seen["gemini"] == set()
    assert {kind.value for kind in FailureKind} - seen["vertex"] == set()
    assert {kind.value for kind in FailureKind} - seen["openai-chat"] == set()
    assert {kind.value for kind in FailureKind} - seen["openai"] == by_transport | {FailureKind.CANCELLED.value}
    # A picture is malformed where it lies, which is no answer of the queue.
    assert {kind.value for kind in FailureKind} - seen["fal"] == {FailureKind.MALFORMED.value}
    assert {kind.value for kind in FailureKind} - seen["ark"] == set()
    # Nor of a prediction; and whether the prompt was refused or the picture is never said.
    untold = {FailureKind.MALFORMED.value, FailureKind.REFUSED_INPUT.value}
    assert {kind.value for kind in FailureKind} - seen["replicate"] == untold
    # One that cannot be read is read again: only the third in a row is malformed.
    assert {kind.value for kind in FailureKind} - seen["openai-responses"] == {FailureKind.MALFORMED.value}
    assert {kind.value for kind in FailureKind} - seen["gemini-interactions"] == set()


def test_recordings_say_where_they_come_from_and_hold_no_secret() -> None:
    """A recording without source is a rumour; one with a key is a leak."""
    assert Counter(path.parent.name for path in FILES).keys() >= {*BASE_URLS, *APIS, *POLLED}
    for path in FILES:
        text = path.read_text()
        recording = json.loads(text)
        assert recording["source"], path
        assert recording["date"], path
        assert recording.keys() <= {"source", "date", "options", "status", "headers", "body", "text", "expect"}, path
        assert "AIza" not in text, path
        assert "sk-" not in text.replace(KEY, ""), path


@pytest.mark.parametrize("provider", [*BASE_URLS, *APIS])
def test_broken_exchange_ends_the_attempt_as_it_is(provider: str) -> None:
    """The conversation adds whose it was to a failure of the transport, and no more: retries are decided elsewhere."""
    conversation = conversation_of({"options": {}}, provider)
    failure = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="…")
    step = conversation.failed(failure)
    assert isinstance(step, Failed)
    assert step.failure == replace(failure, detail=step.failure.detail)
    assert step.failure.detail.endswith(" failed: …")
