"""How an ended generation is told to OpenAI's SDKs: plain or streamed, early or late."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.gateway.dialects import Dialect, OpenAIDialect, dialect_for
from holdfast.gateway.links import Links
from holdfast.policy.callers import LateFailure
from holdfast.store.records import Record
from holdfast.types import Charge, ImageInfo, Request, Usage
from holdfast.wire.answers import Role
from holdfast.wire.openai import ImagesReader, ImagesStreamReader
from holdfast.wire.scan import ImageBytes
from holdfast.wire.template import filled

ROOT = Path("data")
PIXELS = {0: b"first picture", 1: b"second", 2: b"third"}
USAGE = Usage(input_tokens=12, output_tokens=1385, output_image_tokens=1120)
ARecord = Callable[..., Record]


@pytest.fixture
def dialect(a_request: Callable[..., Request]) -> Callable[..., Dialect]:
    """Build the dialect of a request."""

    def build(**overrides: Any) -> Dialect:
        made = dialect_for(a_request(**overrides), ROOT)
        assert isinstance(made, OpenAIDialect)
        return made

    return build


@pytest.fixture
def three(a_record: ARecord, an_attempt: Any, a_blob: Any) -> Record:
    """A generation of three images, each an attempt of its own."""
    return a_record(
        n=3,
        parts=3,
        attempts=[an_attempt(id=f"att_{part}", part=part, usage=USAGE) for part in range(3)],
        blobs=[
            a_blob(id=f"img_{part}", attempt_id=f"att_{part}", part=part, store_key=f"blobs/{part}.png")
            for part in range(3)
        ],
    )


def document_of(dialect: Dialect, record: Record, links: Links) -> dict[str, Any]:
    """The plain answer, images filled in."""
    return dict(json.loads(filled(dialect.success(record, links).template, PIXELS)))


def events_of(template: Any) -> list[tuple[str, dict[str, Any]]]:
    """Name and document of each event."""
    text = filled(template, PIXELS).decode()
    assert text.endswith("\n\n")
    events = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        events.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def read_with(reader: Any, body: bytes) -> tuple[Any, dict[int, bytes]]:
    """Read an answer as a client does."""
    images: dict[int, bytes] = {}
    for event in reader.feed(body):
        if isinstance(event, ImageBytes):
            images[event.index] = images.get(event.index, b"") + event.data
    return reader.finish(), images


def test_an_image_comes_embedded_and_as_a_link(
    dialect: Callable[..., Dialect], a_record: ARecord, an_attempt: Any, some_links: Links
) -> None:
    """Programs that read either work without asking for it; the true pixels and who served stand beside it."""
    record = a_record(attempts=[an_attempt(usage=USAGE)])
    rendered = dialect().success(record, some_links)
    document = json.loads(filled(rendered.template, PIXELS))
    assert (rendered.status, rendered.content_type, rendered.has_images) == (200, b"application/json", True)
    assert rendered.files == {0: f"{ROOT}/blobs/one.png"}
    (item,) = document["data"]
    assert item["url"].startswith("https://images.example/v1/generations/gen_1/images/0?exp=")
    assert item["size"] == document["size"] == "1024x1024"
    assert document["created"] == 1795521600
    assert (document["model"], document["generation_id"]) == ("gemini-3-pro-image", "gen_1")
    assert document["output_format"] == "png"
    assert document["usage"]["total_tokens"] == 1397
    assert document["usage"]["output_tokens_details"]["image_tokens"] == 1120
    answer, images = read_with(ImagesReader(), json.dumps(document).encode())
    assert images == {0: PIXELS[0]}
    assert answer.usage == USAGE


def test_links_alone_touch_no_file(dialect: Callable[..., Dialect], a_record: ARecord, some_links: Links) -> None:
    """`response_format=url`: nothing is embedded, and nothing of it will be read."""
    rendered = dialect(response_format="url").success(a_record(), some_links)
    document = json.loads(filled(rendered.template, {}))
    assert "b64_json" not in document["data"][0]
    assert document["data"][0]["url"]
    assert (rendered.files, rendered.has_images) == ({}, False)


def test_true_size_and_true_format_are_told(
    dialect: Callable[..., Dialect], a_record: ARecord, a_blob: Any, some_links: Links
) -> None:
    """An upstream draws what it likes; the caller is told what it got, and what it asked for of the rest."""
    record = a_record(blobs=[a_blob(mime="image/jpeg", width_px=1408, height_px=768)])
    document = document_of(dialect(quality="high", background="opaque", output_format="png"), record, some_links)
    assert (document["size"], document["output_format"]) == ("1408x768", "jpeg")
    assert (document["quality"], document["background"]) == ("high", "opaque")


def test_a_format_without_a_name_is_not_guessed(
    dialect: Callable[..., Dialect], a_record: ARecord, a_blob: Any, some_links: Links
) -> None:
    """OpenAI's list has no word for heic."""
    assert "output_format" not in document_of(dialect(), a_record(blobs=[a_blob(mime="image/heic")]), some_links)


def test_several_images_keep_their_order_and_their_usage_adds_up(
    dialect: Callable[..., Dialect], three: Record, some_links: Links
) -> None:
    """Each part had an attempt of its own; the caller sees one answer."""
    document = document_of(dialect(n=3), three, some_links)
    answer, images = read_with(ImagesReader(), json.dumps(document).encode())
    assert images == PIXELS
    assert [item["url"].partition("?")[0][-1] for item in document["data"]] == ["0", "1", "2"]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 3 * USAGE.total_tokens


def test_drafts_and_extras_are_not_delivered(
    dialect: Callable[..., Dialect], a_record: ARecord, a_blob: Any, some_links: Links
) -> None:
    """`data` holds what was asked for: the last image of the upstream, at most n."""
    blobs = [
        a_blob(id="img_d", kind="draft", position=0, store_key="blobs/d.png"),
        a_blob(id="img_r", position=1, store_key="blobs/r.png"),
        a_blob(id="img_x", position=2, store_key="blobs/x.png"),
    ]
    rendered = dialect().success(a_record(n=1, blobs=blobs), some_links)
    assert rendered.files == {0: f"{ROOT}/blobs/r.png"}
    assert len(json.loads(filled(rendered.template, PIXELS))["data"]) == 1


def test_a_partial_result_is_what_there_is(
    dialect: Callable[..., Dialect], three: Record, a_record: ARecord, some_links: Links
) -> None:
    """Two of three images are a success with two entries."""
    record = a_record(n=3, parts=3, partial_result=1, attempts=three.attempts, blobs=three.blobs[1:])
    rendered = dialect(n=3).success(record, some_links)
    assert len(json.loads(filled(rendered.template, PIXELS))["data"]) == 2
    assert rendered.files == {0: f"{ROOT}/blobs/1.png", 1: f"{ROOT}/blobs/2.png"}


@pytest.mark.parametrize(("charge", "usage"), [("unknown", USAGE), ("yes", None)])
def test_usage_is_left_out_where_none_is_known(
    dialect: Callable[..., Dialect],
    a_record: ARecord,
    an_attempt: Any,
    some_links: Links,
    charge: str,
    usage: Usage | None,
) -> None:
    """Zeros would claim that it cost nothing."""
    record = a_record(attempts=[an_attempt(charge=charge, usage=usage)])
    assert "usage" not in document_of(dialect(), record, some_links)


def test_a_stream_ends_with_one_event_for_each_image(
    dialect: Callable[..., Dialect], three: Record, some_links: Links
) -> None:
    """The SDKs know the event's name; there is no `[DONE]`."""
    rendered = dialect(n=3, stream=True).success(three, some_links)
    events = events_of(rendered.template)
    assert rendered.content_type == b"text/event-stream"
    assert [name for name, _ in events] == ["image_generation.completed"] * 3
    for name, document in events:
        assert document["type"] == name
        assert document["created_at"] == 1795521600
        assert document["generation_id"] == "gen_1"
        assert document["url"].startswith("https://")
        assert document["size"] == "1024x1024"
        assert "usage" in document
    answer, images = read_with(ImagesStreamReader(expected=3), filled(rendered.template, PIXELS))
    assert images == PIXELS
    assert [image.role for image in answer.images] == [Role.RESULT] * 3


def test_a_stream_tells_its_usage_once(dialect: Callable[..., Dialect], three: Record, some_links: Links) -> None:
    """Readers add up what the events tell: told with each image, three would be billed as nine."""
    rendered = dialect(n=3, stream=True).success(three, some_links)
    answer, _ = read_with(ImagesStreamReader(expected=3), filled(rendered.template, PIXELS))
    assert answer.usage is not None
    assert answer.usage.total_tokens == 3 * USAGE.total_tokens
    totals = [document["usage"]["total_tokens"] for _, document in events_of(rendered.template)]
    assert totals == [0, 0, 3 * USAGE.total_tokens]


def test_a_stream_embeds_even_where_links_were_asked_for(
    dialect: Callable[..., Dialect], a_record: ARecord, some_links: Links
) -> None:
    """The event's `b64_json` is required by the SDKs' types."""
    rendered = dialect(response_format="url", stream=True).success(a_record(), some_links)
    assert events_of(rendered.template)[0][1]["b64_json"]
    assert rendered.files == {0: f"{ROOT}/blobs/one.png"}


def test_a_preview_is_an_event_with_its_number(dialect: Callable[..., Dialect]) -> None:
    """Slot 0 is the preview's own file."""
    info = ImageInfo(mime="image/webp", width_px=512, height_px=256, bytes=3, sha256="0" * 64)
    template = dialect(stream=True, partial_images=2, quality="low").partial(1, info, 1795521600)
    assert template is not None
    ((name, document),) = events_of(template)
    assert name == document["type"] == "image_generation.partial_image"
    assert (document["partial_image_index"], document["created_at"]) == (1, 1795521600)
    assert (document["size"], document["output_format"], document["quality"]) == ("512x256", "webp", "low")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("told", "status", "code", "should_retry"),
    [
        ({"code": "upstream_failed"}, 502, "upstream_failed", "false"),
        ({"code": "overloaded", "charge": Charge.NO, "retry_after_s": 400.0}, 503, "server_is_overloaded", "true"),
        ({"code": "content_refused", "kind": "refused_output"}, 400, "moderation_blocked", "false"),
        ({"code": "empty_result", "kind": "no_image"}, 502, "empty_result", "false"),
        ({"code": "deadline_exceeded", "kind": None}, 504, "deadline_exceeded", "false"),
    ],
)
def test_an_early_failure_has_its_true_status(
    dialect: Callable[..., Dialect],
    a_record: ARecord,
    a_told: Any,
    stream: bool,
    told: dict[str, Any],
    status: int,
    code: str,
    should_retry: str,
) -> None:
    """Streams included: while the status is free, it is the better word. A blind repeat is invited only if unpaid."""
    said = a_told(**told)
    rendered = dialect(stream=stream).failure(a_record(told=said), said)
    assert (rendered.status, rendered.content_type) == (status, b"application/json")
    error = json.loads(filled(rendered.template, {}))["error"]
    assert (error["code"], error["paid"], error["generation_id"]) == (code, said.charge.value, "gen_1")
    headers = dict(rendered.headers)
    assert headers[b"x-should-retry"].decode() == should_retry
    assert (b"retry-after" in headers) is ("retry_after_s" in told)
    assert headers.get(b"retry-after", b"60") == b"60"


@pytest.mark.parametrize("form", [LateFailure.JSON, LateFailure.TEXT])
def test_a_late_failure_is_no_false_success(
    dialect: Callable[..., Dialect], a_record: ARecord, a_told: Any, form: LateFailure
) -> None:
    """Inside a 200: one JSON error object for programs, one line that is no JSON for SDKs, never `data`."""
    told = a_told(message="google answered\n500  twice")
    body = filled(dialect().late_failure(a_record(told=told), told, form), {})
    if form is LateFailure.JSON:
        document = json.loads(body)
        assert document.keys() == {"error"}
        assert document["error"]["paid"] == "unknown"
    else:
        assert body == b"holdfast: generation gen_1 failed: upstream_failed: google answered 500 twice\n"
        with pytest.raises(ValueError, match="Expecting value"):
            json.loads(body)


@pytest.mark.parametrize("form", list(LateFailure))
def test_a_late_failure_in_a_stream_is_an_error_event(
    dialect: Callable[..., Dialect], a_record: ARecord, a_told: Any, form: LateFailure
) -> None:
    """It raises in every SDK, whatever the caller's class."""
    told = a_told()
    ((name, document),) = events_of(dialect(stream=True).late_failure(a_record(told=told), told, form))
    assert name == "error"
    assert document["error"]["code"] == "upstream_failed"


def test_a_dialect_keeps_nothing_of_what_was_asked(a_request: Callable[..., Request]) -> None:
    """It lives as long as its caller is held; prompts stay in the store."""
    made = dialect_for(a_request(prompt="the secret prompt", dialect_body='{"secret":1}'), ROOT)
    assert "secret" not in repr(made.request)
