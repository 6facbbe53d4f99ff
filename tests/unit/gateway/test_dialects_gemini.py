"""How an ended generation is told to Google's SDKs: the upstream's own words where it spoke Gemini, else ours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.gateway.dialects import Dialect, GeminiDialect, dialect_for
from holdfast.gateway.links import Links
from holdfast.policy.callers import LateFailure
from holdfast.store.records import Record
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase, Request, Surface, Usage
from holdfast.wire.gemini import GenerateReader, GenerateStreamReader
from holdfast.wire.scan import ImageBytes
from holdfast.wire.template import filled

ROOT = Path("data")
PIXELS = {0: b"a draft", 1: b"the picture", 2: b"another"}
SPOKEN = {
    "candidates": [
        {
            "content": {
                "role": "model",
                "parts": [
                    {"text": "Here it is", "thought": True},
                    {"inlineData": {"mimeType": "image/jpeg", "data": "0"}, "thought": True},
                    {"inlineData": {"mimeType": "image/png", "data": "1"}, "thoughtSignature": "c2ln"},
                ],
            },
            "finishReason": "STOP",
            "index": 0,
        }
    ],
    "usageMetadata": {"promptTokenCount": 12, "totalTokenCount": 1486},
    "modelVersion": "gemini-3-pro-image",
    "responseId": "theirs",
    "futureField": {"kept": True},
}
ARecord = Callable[..., Record]


@pytest.fixture
def dialect(a_request: Callable[..., Request]) -> Callable[..., Dialect]:
    """Build the dialect of a request."""

    def build(**overrides: Any) -> Dialect:
        made = dialect_for(a_request(surface=Surface.GEMINI, **overrides), ROOT)
        assert isinstance(made, GeminiDialect)
        return made

    return build


@pytest.fixture(params=["gemini", "vertex"])
def spoken(request: pytest.FixtureRequest, a_record: ARecord, an_attempt: Any, a_blob: Any) -> Record:
    """A generation whose upstream spoke Gemini: a draft, then the picture."""
    return a_record(
        attempts=[an_attempt(provider=request.param, answer=SPOKEN)],
        blobs=[
            a_blob(id="img_0", kind="draft", position=0, store_key="blobs/0.jpg", mime="image/jpeg"),
            a_blob(id="img_1", position=1, store_key="blobs/1.png"),
        ],
    )


def failed_as(kind: FailureKind, **more: Any) -> Failure:
    """How an attempt ended."""
    return Failure(kind=kind, phase=Phase.RECEIVE, charge=Charge.NO, detail="google refused", **more)


def chunks_of(template: Any) -> list[dict[str, Any]]:
    """The documents of a stream's events."""
    text = filled(template, PIXELS).decode()
    assert text.endswith("\r\n\r\n")
    blocks = text.removesuffix("\r\n\r\n").split("\r\n\r\n")
    assert all(block.startswith("data: ") for block in blocks)
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def read_with(reader: Any, body: bytes) -> tuple[Any, dict[int, bytes]]:
    """Read an answer as a client does."""
    images: dict[int, bytes] = {}
    for event in reader.feed(body):
        if isinstance(event, ImageBytes):
            images[event.index] = images.get(event.index, b"") + event.data
    return reader.finish(), images


def test_the_upstreams_document_is_passed_on_as_it_came(
    dialect: Callable[..., Dialect], spoken: Record, some_links: Links
) -> None:
    """Signatures, thoughts, drafts and fields of the future: a multi-turn edit sends them back unchanged."""
    rendered = dialect().success(spoken, some_links)
    document = json.loads(filled(rendered.template, {0: b"0", 1: b"1"}))
    parts = document["candidates"][0]["content"]["parts"]
    assert parts[2]["thoughtSignature"] == "c2ln"
    assert parts[0] == {"text": "Here it is", "thought": True}
    assert [part["inlineData"]["data"] for part in parts[1:]] == ["MA==", "MQ=="]
    assert document["futureField"] == {"kept": True}
    assert document["responseId"] == "theirs"
    assert rendered.files == {0: f"{ROOT}/blobs/0.jpg", 1: f"{ROOT}/blobs/1.png"}
    assert (rendered.status, rendered.content_type) == (200, b"application/json")


def test_a_stream_has_a_chunk_for_each_part_and_the_same_content(
    dialect: Callable[..., Dialect], spoken: Record, some_links: Links
) -> None:
    """CRLF, no event names, no `[DONE]`: anything else breaks google-genai."""
    rendered = dialect(stream=True).success(spoken, some_links)
    chunks = chunks_of(rendered.template)
    assert rendered.content_type == b"text/event-stream"
    assert len(chunks) == 3
    assert [len(chunk["candidates"][0]["content"]["parts"]) for chunk in chunks] == [1, 1, 1]
    assert [chunk["candidates"][0].get("finishReason") for chunk in chunks] == [None, None, "STOP"]
    assert "usageMetadata" in chunks[2]
    answer, images = read_with(GenerateStreamReader(), filled(rendered.template, PIXELS))
    assert images == {0: PIXELS[0], 1: PIXELS[1]}
    assert [image.index for image in answer.results] == [1]


def test_only_files_that_the_document_names_are_opened(
    dialect: Callable[..., Dialect], spoken: Record, an_attempt: Any, a_record: ARecord, some_links: Links
) -> None:
    """Each named file is measured before the head is sent; a stray one may be gone."""
    document = json.loads(json.dumps(SPOKEN))
    del document["candidates"][0]["content"]["parts"][1]
    record = a_record(attempts=[an_attempt(answer=document)], blobs=spoken.blobs)
    assert dialect().success(record, some_links).files == {1: f"{ROOT}/blobs/1.png"}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {"candidates": [{"content": {"parts": []}, "finishReason": "STOP"}]},
        {**SPOKEN, "candidates": [{"content": {"parts": [{"inlineData": {"data": "7"}}]}}]},
    ],
    ids=["too large to keep", "recovered without its text", "names an image that was cut"],
)
def test_a_document_that_does_not_fit_its_images_is_written_anew(
    dialect: Callable[..., Dialect],
    a_record: ARecord,
    an_attempt: Any,
    a_blob: Any,
    some_links: Links,
    answer: dict[str, Any] | None,
) -> None:
    """The image was paid for: it is delivered in a document of ours rather than not at all."""
    attempt = an_attempt(answer=answer, usage=Usage(input_tokens=1, output_tokens=2))
    record = a_record(attempts=[attempt], blobs=[a_blob(position=3, store_key="blobs/3.png", mime="image/webp")])
    rendered = dialect().success(record, some_links)
    body = filled(rendered.template, {0: b"the picture"})
    read, images = read_with(GenerateReader(), body)
    assert images == {0: b"the picture"}
    assert rendered.files == {0: f"{ROOT}/blobs/3.png"}
    assert (read.results[0].declared_mime, read.finish_reason) == ("image/webp", "STOP")
    assert (read.model_version, read.response_id) == ("gemini-3-pro-image", "gen_1")
    assert read.usage == Usage(input_tokens=1, output_tokens=2)


def test_another_dialects_images_become_parts_of_one_candidate(
    dialect: Callable[..., Dialect], a_record: ARecord, an_attempt: Any, a_blob: Any, some_links: Links
) -> None:
    """An OpenAI upstream behind the Gemini surface; its own document is never shown."""
    attempt = an_attempt(provider="openai", model="gpt-image-2", answer={"created": 1, "data": [{"b64_json": "0"}]})
    record = a_record(
        n=2, attempts=[attempt], blobs=[a_blob(store_key="a.png"), a_blob(id="img_2", position=1, store_key="b.png")]
    )
    rendered = dialect(n=2).success(record, some_links)
    document = json.loads(filled(rendered.template, PIXELS))
    (candidate,) = document["candidates"]
    assert len(candidate["content"]["parts"]) == 2
    assert document["modelVersion"] == "gpt-image-2"
    assert "created" not in document
    assert rendered.files == {0: f"{ROOT}/a.png", 1: f"{ROOT}/b.png"}


def test_several_parts_are_one_document_of_ours(
    dialect: Callable[..., Dialect], a_record: ARecord, an_attempt: Any, a_blob: Any, some_links: Links
) -> None:
    """Each call of Gemini made one image: no single document of theirs holds them both."""
    record = a_record(
        n=2,
        parts=2,
        attempts=[an_attempt(answer=SPOKEN), an_attempt(id="att_2", part=1, answer=SPOKEN)],
        blobs=[
            a_blob(position=1, store_key="a"),
            a_blob(id="i", attempt_id="att_2", part=1, position=1, store_key="b"),
        ],
    )
    rendered = dialect(n=2).success(record, some_links)
    _, images = read_with(GenerateReader(), filled(rendered.template, {0: b"one", 1: b"two"}))
    assert images == {0: b"one", 1: b"two"}
    assert rendered.files == {0: f"{ROOT}/a", 1: f"{ROOT}/b"}


REFUSED = {"candidates": [{"content": {}, "finishReason": "IMAGE_PROHIBITED_CONTENT", "finishMessage": "No."}]}
BLOCKED = {"promptFeedback": {"blockReason": "OTHER"}, "usageMetadata": {"promptTokenCount": 3}}
PROSE = {"candidates": [{"content": {"parts": [{"text": "Which lighthouse?"}]}, "finishReason": "STOP"}]}


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        (FailureKind.REFUSED_OUTPUT, REFUSED),
        (FailureKind.REFUSED_INPUT, BLOCKED),
        (FailureKind.NO_IMAGE, PROSE),
    ],
)
@pytest.mark.parametrize("late", [False, True])
def test_a_refusal_is_the_upstreams_own_200(
    dialect: Callable[..., Dialect],
    a_record: ARecord,
    an_attempt: Any,
    a_told: Any,
    kind: FailureKind,
    answer: dict[str, Any],
    late: bool,
) -> None:
    """In this dialect a refusal is no error status, early or late; its reason and words come through."""
    told = a_told(code="content_refused", kind=kind.value)
    attempt = an_attempt(state="rejected", charge="no", failure=failed_as(kind), answer=answer)
    record = a_record(told=told, attempts=[attempt])
    if late:
        body = filled(dialect().late_failure(record, told, LateFailure.TEXT), {})
    else:
        rendered = dialect().failure(record, told)
        assert (rendered.status, rendered.headers) == (200, ())
        body = filled(rendered.template, {})
    assert json.loads(body) == answer


@pytest.mark.parametrize(
    ("kind", "block", "finish"),
    [
        (FailureKind.REFUSED_INPUT, "PROHIBITED_CONTENT", None),
        (FailureKind.REFUSED_OUTPUT, None, "IMAGE_SAFETY"),
        (FailureKind.NO_IMAGE, None, "NO_IMAGE"),
    ],
)
@pytest.mark.parametrize(
    ("provider", "http_status", "answer"),
    [
        ("openai", 400, {"error": {"code": "moderation_blocked"}}),
        ("gemini", 400, {"error": {"code": "prompt_blocked"}}),
        ("gemini", 200, {"error": {"code": "prompt_blocked"}}),
        ("gemini", 200, {"candidates": [{"finishReason": "STOP"}], "error": {"code": 400, "message": "blocked"}}),
        ("gemini", 200, {}),
        ("gemini", 200, None),
        ("gemini", 200, SPOKEN),
    ],
    ids=[
        "OpenAI's",
        "a relay's error",
        "an error in a 200",
        "an error beside it",
        "nothing at all",
        "not kept",
        "drafts before it",
    ],
)
def test_a_refusal_that_was_said_otherwise_is_said_the_gemini_way(
    dialect: Callable[..., Dialect],
    a_record: ARecord,
    an_attempt: Any,
    a_told: Any,
    kind: FailureKind,
    block: str | None,
    finish: str | None,
    provider: str,
    http_status: int,
    answer: dict[str, Any] | None,
) -> None:
    """`{"error":…}` or `{}` in a 200 would pass for an empty success in both SDKs."""
    told = a_told(code="content_refused", kind=kind.value, message="google refused it")
    attempt = an_attempt(
        provider=provider,
        http_status=http_status,
        state="rejected",
        charge="no",
        failure=failed_as(kind),
        answer=answer,
        usage=Usage(input_tokens=7),
    )
    rendered = dialect().failure(a_record(told=told, attempts=[attempt]), told)
    answered, images = read_with(GenerateReader(), filled(rendered.template, PIXELS))
    assert rendered.status == 200
    assert (answered.block_reason, answered.finish_reason, images) == (block, finish, {})
    assert answered.error is None
    assert answered.usage == Usage(input_tokens=7)
    assert b"google refused it" in answered.document


def test_of_several_parts_the_one_that_is_told_is_shown(
    dialect: Callable[..., Dialect], a_record: ARecord, an_attempt: Any, a_told: Any
) -> None:
    """The story is the first part's; the last attempt may have ended quite otherwise."""
    told = a_told(code="content_refused", kind="refused_output", reason="IMAGE_SAFETY")
    first = failed_as(FailureKind.REFUSED_OUTPUT, reason="IMAGE_SAFETY")
    other = failed_as(FailureKind.REFUSED_OUTPUT, reason="RECITATION")
    attempts = [
        an_attempt(failure=first, answer=REFUSED, model="asked-first"),
        an_attempt(id="att_2", part=1, failure=other, answer=PROSE),
        an_attempt(id="att_3", part=2, failure=failed_as(FailureKind.NO_IMAGE), answer=BLOCKED),
    ]
    record = a_record(told=told, parts=3, n=3, attempts=attempts)
    assert json.loads(filled(dialect(n=3).failure(record, told).template, {})) == REFUSED


def test_a_refusal_in_a_stream_is_a_chunk(
    dialect: Callable[..., Dialect], a_record: ARecord, an_attempt: Any, a_told: Any
) -> None:
    """Early and late alike, with the type of a stream."""
    told = a_told(code="content_refused", kind="refused_output")
    attempt = an_attempt(failure=failed_as(FailureKind.REFUSED_OUTPUT), answer=REFUSED)
    record = a_record(told=told, attempts=[attempt])
    early = dialect(stream=True).failure(record, told)
    assert (early.status, early.content_type) == (200, b"text/event-stream")
    assert chunks_of(early.template) == [REFUSED]
    assert chunks_of(dialect(stream=True).late_failure(record, told, LateFailure.JSON)) == [REFUSED]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("told", "status", "word"),
    [
        ({"code": "upstream_failed"}, 500, "INTERNAL"),
        ({"code": "upstream_failed", "charge": Charge.NO, "kind": "credential"}, 503, "UNAVAILABLE"),
        ({"code": "overloaded", "charge": Charge.NO, "kind": "rate_limited", "retry_after_s": 7.2}, 503, "UNAVAILABLE"),
        ({"code": "outcome_unknown", "kind": "lost_reply"}, 504, "DEADLINE_EXCEEDED"),
        ({"code": "invalid_request", "charge": Charge.NO, "kind": "bad_request"}, 400, "INVALID_ARGUMENT"),
        ({"code": "generation_cancelled", "kind": "cancelled"}, 499, "CANCELLED"),
    ],
)
def test_an_early_failure_has_googles_status(
    dialect: Callable[..., Dialect],
    a_record: ARecord,
    a_told: Any,
    stream: bool,
    told: dict[str, Any],
    status: int,
    word: str,
) -> None:
    """With `RetryInfo` where there is a hint, and what it may have cost."""
    said = a_told(**told)
    rendered = dialect(stream=stream).failure(a_record(told=said), said)
    error = json.loads(filled(rendered.template, {}))["error"]
    assert (rendered.status, rendered.content_type) == (status, b"application/json")
    assert (error["code"], error["status"], error["paid"]) == (status, word, said.charge.value)
    delays = [detail["retryDelay"] for detail in error["details"] if detail["@type"].endswith("RetryInfo")]
    assert delays == (["8s"] if "retry_after_s" in told else [])
    assert b"x-should-retry" in dict(rendered.headers)


@pytest.mark.parametrize("form", [LateFailure.JSON, LateFailure.TEXT])
def test_a_late_failure_is_no_false_success(
    dialect: Callable[..., Dialect], a_record: ARecord, a_told: Any, form: LateFailure
) -> None:
    """Inside a 200: an error object for programs, a line that is no JSON for SDKs, an error event in streams."""
    told = a_told()
    record = a_record(told=told)
    body = filled(dialect().late_failure(record, told, form), {})
    if form is LateFailure.JSON:
        assert json.loads(body)["error"]["status"] == "INTERNAL"
    else:
        assert body.startswith(b"holdfast: generation gen_1 failed: upstream_failed: ")
    (event,) = chunks_of(dialect(stream=True).late_failure(record, told, form))
    assert event["error"]["code"] == 500
    assert "candidates" not in event


def test_there_are_no_previews_in_this_dialect(dialect: Callable[..., Dialect]) -> None:
    """A chunk with an image is a result to Google's SDKs."""
    info = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=1, sha256="0" * 64)
    assert dialect(stream=True).partial(0, info, 0) is None
