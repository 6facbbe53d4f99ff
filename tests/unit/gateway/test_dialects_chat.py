"""How an ended generation is told to chat programs: plain or streamed, early or late, and when it was refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.gateway.dialects import ChatDialect, Dialect, OpenAIDialect, dialect_for
from holdfast.gateway.links import Links
from holdfast.policy.callers import LateFailure
from holdfast.store.records import Record, Told
from holdfast.types import Charge, ImageInfo, InputImage, Request, Surface
from holdfast.wire.template import filled

ROOT = Path("data")
PIXELS = {0: b"first picture", 1: b"second"}
TOLD = Told(code="upstream_failed", message="google gave nothing", charge=Charge.UNKNOWN)
REFUSED = Told(
    code="content_refused", message="google refused the prompt", charge=Charge.NO, kind="refused_input", reason="SAFETY"
)
ARecord = Callable[..., Record]


@pytest.fixture
def dialect(a_request: Callable[..., Request]) -> Callable[..., Dialect]:
    """Build the dialect of a request."""

    def build(**overrides: Any) -> Dialect:
        usual = {"surface": Surface.CHAT, "response_format": "content"}
        made = dialect_for(a_request(**usual | overrides), ROOT)
        assert isinstance(made, ChatDialect)
        return made

    return build


def test_a_plain_answer_comes_from_the_store(
    dialect: Callable[..., Dialect], a_record: ARecord, some_links: Links
) -> None:
    """One choice, the image's bytes in its text, tokens, and what served it."""
    rendered = dialect().success(a_record(), some_links)
    document = json.loads(filled(rendered.template, PIXELS))
    assert document["choices"][0]["message"]["content"].startswith("![image](data:image/png;base64,Zmlyc3Qg")
    assert document["model"] == "gemini-3-pro-image"
    assert (rendered.status, rendered.content_type) == (200, b"application/json")
    assert rendered.files == {0: "data/blobs/one.png"}
    assert rendered.sizes == {0: 9}
    assert rendered.has_images


def test_a_link_needs_no_file(dialect: Callable[..., Dialect], a_record: ARecord, some_links: Links) -> None:
    """Then nobody has collected the image yet."""
    rendered = dialect(response_format="link").success(a_record(), some_links)
    assert b"](https://images.example/v1/generations/gen_1/images/0?" in filled(rendered.template, {})
    assert not rendered.has_images


def test_a_stream_is_one(dialect: Callable[..., Dialect], a_record: ARecord, some_links: Links) -> None:
    """Events, and `[DONE]`; there are no previews on this surface."""
    made = dialect(stream=True, tells_usage=True)
    assert made.is_stream
    rendered = made.success(a_record(), some_links)
    assert rendered.content_type == b"text/event-stream"
    text = filled(rendered.template, PIXELS)
    assert text.endswith(b"data: [DONE]\n\n")
    assert b'"usage":{' in text
    assert made.partial(0, ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=1, sha256="5"), 1) is None


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_an_answer(
    dialect: Callable[..., Dialect], a_record: ARecord, an_attempt: Any, late: bool, stream: bool
) -> None:
    """200 early and late, with `content_filter`, and without anything that could pass for an image."""
    record = a_record(state="failed", told=REFUSED, attempts=[an_attempt()], blobs=())
    made = dialect(stream=stream)
    if late:
        template = made.late_failure(record, REFUSED, LateFailure.JSON)
    else:
        rendered = made.failure(record, REFUSED)
        assert (rendered.status, rendered.has_images) == (200, False)
        template = rendered.template
    text = filled(template, {})
    assert b'"finish_reason":"content_filter"' in text
    assert b"google refused the prompt" in text
    assert b"base64" not in text


def test_an_early_failure_has_its_status(dialect: Callable[..., Dialect], a_record: ARecord) -> None:
    """In OpenAI's words."""
    rendered = dialect().failure(a_record(state="failed", told=TOLD, blobs=()), TOLD)
    assert rendered.status == 502
    error = json.loads(filled(rendered.template, {}))["error"]
    assert (error["code"], error["paid"]) == ("upstream_failed", "unknown")
    assert dict(rendered.headers)[b"x-should-retry"] == b"false"


@pytest.mark.parametrize(
    ("stream", "form", "begins"),
    [
        (False, LateFailure.JSON, b'{"error":{'),
        (False, LateFailure.TEXT, b"holdfast: generation gen_1 failed: upstream_failed:"),
        (True, LateFailure.TEXT, b'data: {"error":{'),
    ],
)
def test_a_late_failure_is_told_so_that_sdks_raise(
    dialect: Callable[..., Dialect], a_record: ARecord, stream: bool, form: LateFailure, begins: bytes
) -> None:
    """An error in JSON, a line that is none, or an event without a name."""
    record = a_record(state="failed", told=TOLD, blobs=())
    assert filled(dialect(stream=stream).late_failure(record, TOLD, form), {}).startswith(begins)


def test_edits_have_events_of_their_own(
    a_request: Callable[..., Request], a_record: ARecord, some_links: Links
) -> None:
    """A generation's keep theirs; neither image nor mask is kept while a caller waits."""
    an_input = InputImage(sha256="5" * 64, mime="image/png", bytes=9, store_key="inputs/5")
    for inputs, name in (((an_input,), b"image_edit.completed"), ((), b"image_generation.completed")):
        mask = inputs[0] if inputs else None
        made = dialect_for(a_request(stream=True, is_edit=bool(inputs), inputs=inputs, mask=mask), ROOT)
        assert isinstance(made, OpenAIDialect)
        assert filled(made.success(a_record(), some_links).template, PIXELS).startswith(b"event: " + name)
        assert (made.request.inputs, made.request.mask) == ((), None)
