"""The status resource, and which bytes of an image a caller wants."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from holdfast.config import Settings
from holdfast.engine.core import InLine
from holdfast.engine.latencies import Latencies
from holdfast.gateway.generations import resource_of, shown_images, wanted_range
from holdfast.gateway.links import Links
from holdfast.policy.latency import prior
from holdfast.store.records import Record
from holdfast.types import Charge, Tier
from holdfast.wire.generations import GenerationResource, decode_generation, render_generation

ETAG = '"' + "5" * 64 + '"'
ARecord = Callable[..., Record]


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-9", 0, 9),
        ("bytes=0-0", 0, 0),
        ("bytes=90-", 90, 99),
        ("bytes=90-500", 90, 99),
        ("bytes=-10", 90, 99),
        ("bytes=-500", 0, 99),
        ("bytes= 5 - 6", 5, 6),
    ],
)
def test_a_range_is_cut_to_the_file(header: str, first: int, last: int) -> None:
    """RFC 9110 §14.1.2: a last position beyond the end means the end, a suffix longer than the file the whole."""
    span = wanted_range({"range": header}, 100, ETAG)
    assert span is not None
    assert (span.first, span.last, span.is_part) == (first, last, True)
    assert span.length == last - first + 1


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=5-1",
        "bytes=0-1,5-6",
        "lines=0-1",
        "0-1",
        "bytes=0-1x",
        "bytes=0x1-2",
        "bytes=" + "9" * 19 + "-",
        "bytes=1-" + "9" * 400,
    ],
)
def test_what_is_no_single_range_is_answered_whole(header: str) -> None:
    """A server may ignore Range; it must not guess at it."""
    span = wanted_range({"range": header}, 100, ETAG)
    assert span is not None
    assert (span.first, span.last, span.is_part, span.length) == (0, 99, False, 100)


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=999999999999999999-", "bytes=-0"])
def test_a_range_behind_the_end_cannot_be_satisfied(header: str) -> None:
    """416, so that a resuming client learns that it has everything."""
    assert wanted_range({"range": header}, 100, ETAG) is None


@pytest.mark.parametrize(
    ("if_range", "is_part"),
    [(ETAG, True), ('"another"', False), ("W/" + ETAG, False), ("Wed, 21 Oct 2026 07:28:00 GMT", False)],
)
def test_a_range_of_another_file_is_answered_whole(if_range: str, is_part: bool) -> None:
    """If-Range compares strongly: half of one image and half of another is no image."""
    span = wanted_range({"range": "bytes=50-", "if-range": if_range}, 100, ETAG)
    assert span is not None
    assert span.is_part is is_part


def test_results_are_numbered_before_drafts(a_record: ARecord, a_blob: Any) -> None:
    """Image 0 is `data[0]`, whatever the model drew on its way."""
    blobs = [
        a_blob(id="img_a", kind="draft", position=0),
        a_blob(id="img_b", position=1),
        a_blob(id="img_c", kind="late", position=2),
        a_blob(id="img_d", position=3),
    ]
    assert [blob.id for blob in shown_images(a_record(blobs=blobs))] == ["img_b", "img_d", "img_a", "img_c"]


@pytest.fixture
def tell(some_links: Links, settings_of: Callable[..., Settings], a_clock: Any) -> Callable[..., GenerationResource]:
    """Make the resource of a record, and read it as a client does."""

    def build(record: Record, **settings: Any) -> GenerationResource:
        latencies = Latencies(settings_of(**settings).latency, a_clock)
        resource = resource_of(record, some_links, latencies, a_clock)
        assert decode_generation(render_generation(resource)) == resource
        return resource

    return build


def test_a_success_is_told_whole(
    tell: Callable[..., GenerationResource], a_record: ARecord, an_attempt: Any, a_blob: Any
) -> None:
    """Images with fresh links, drafts beside them, what it cost and who made it."""
    record = a_record(
        attempts=[an_attempt(charge="yes", part=0)],
        blobs=[
            a_blob(id="img_d", kind="draft", position=0, width_px=512, height_px=512),
            a_blob(id="img_r", position=1, delete_after="2026-11-24T13:00:30.000Z"),
        ],
    )
    resource = tell(record)
    assert (resource.id, resource.status, resource.model, resource.size) == (
        "gen_1",
        "succeeded",
        "nano-banana-pro",
        "1K",
    )
    assert (resource.paid, resource.error, resource.progress) == ("yes", None, None)
    assert (resource.cost.held_micros, resource.cost.charged_micros, resource.cost.currency) == (0, 134_000, "USD")
    (image,), (draft,) = resource.images, resource.drafts
    assert (image.index, draft.index) == (0, 1)
    assert image.url is not None
    assert "/v1/generations/gen_1/images/0?" in image.url
    assert (image.mime, image.bytes, image.sha256) == ("image/png", 9, "5" * 64)
    assert image.expires_at == "2026-11-24T13:00:30.000Z"
    assert (image.size_differs, draft.size_differs) == (False, True)
    (attempt,) = resource.attempts
    assert (attempt.number, attempt.upstream, attempt.model) == (1, "google", "gemini-3-pro-image")
    assert (attempt.status, attempt.charge, attempt.part) == ("settled", "yes", 0)
    assert attempt.started_at < (attempt.ended_at or "")


def test_a_failure_is_told_with_what_it_may_have_cost(
    tell: Callable[..., GenerationResource], a_record: ARecord, an_attempt: Any, a_told: Any
) -> None:
    """The worst of all attempts is `paid`; the customer's side is void."""
    told = a_told(code="overloaded", message="google answered 503", charge=Charge.NO)
    attempts = [an_attempt(charge="unknown", state="unknown"), an_attempt(id="att_2", number=2, charge="no")]
    resource = tell(a_record(told=told, attempts=attempts))
    assert (resource.status, resource.paid, resource.images) == ("failed", "unknown", ())
    assert resource.cost.charged_micros == 0
    assert resource.error is not None
    assert (resource.error.code, resource.error.message) == ("overloaded", "google answered 503")
    assert (resource.error.paid, resource.error.retryable) == ("no", True)
    assert [attempt.number for attempt in resource.attempts] == [1, 2]


def test_while_it_is_open_the_hold_and_the_progress_are_told(
    tell: Callable[..., GenerationResource], a_record: ARecord, an_attempt: Any, a_clock: Any
) -> None:
    """Progress is the share of past images of this size that were there by now."""
    open_ = {"state": "running", "finished_at": None, "charged_micros": 0, "tier": "4K", "blobs": []}
    record = a_record(attempts=[an_attempt(state="sent", charge="unknown", ended_at=None)], **open_)
    resource = tell(record)
    assert (resource.status, resource.paid, resource.finished_at) == ("running", "unknown", None)
    assert resource.cost.held_micros == 134_000
    progress = resource.progress
    assert progress is not None
    assert progress.elapsed_s == 30.0
    # It was sent ten milliseconds after it came.
    assert (progress.expected_s, progress.p95_s) == (prior(Tier.K4).expected_s + 0.01, prior(Tier.K4).p95_s + 0.01)
    assert 0.0 <= progress.fraction < 0.05
    a_clock.at += timedelta(seconds=90)
    later = tell(record).progress
    assert later is not None
    assert later.fraction == pytest.approx(0.5, abs=0.001)


def test_progress_follows_the_scale_and_never_runs_backwards(
    tell: Callable[..., GenerationResource], a_record: ARecord, a_clock: Any
) -> None:
    """A demo eight times as fast expects an eighth; a wall clock set back gives 0, not a negative time."""
    record = a_record(state="queued", started_at=None, finished_at=None, attempts=[], blobs=[])
    progress = tell(record, latency={"scale": 0.125}).progress
    assert progress is not None
    assert progress.expected_s == pytest.approx(prior(Tier.K1).expected_s / 8, abs=0.001)
    a_clock.at -= timedelta(hours=1)
    before = tell(record).progress
    assert before is not None
    assert (before.elapsed_s, before.fraction) == (0.0, 0.0)
    assert tell(record).paid == "no"


def test_what_waits_in_line_is_told_its_place_and_what_it_waits_for(
    some_links: Links, settings_of: Callable[..., Settings], a_record: ARecord, a_clock: Any
) -> None:
    """Its expected end is that of the wait and of the work; nothing of the work is done."""
    record = a_record(state="queued", started_at=None, finished_at=None, tier="4K", attempts=[], blobs=[])
    resource = resource_of(
        record, some_links, Latencies(settings_of().latency, a_clock), a_clock, in_line=InLine(7, 100.04)
    )
    assert (resource.queue_position, resource.estimated_start_s) == (7, 100.0)
    progress = resource.progress
    assert progress is not None
    assert progress.elapsed_s == 30.0
    assert progress.expected_s == pytest.approx(30.0 + 100.04 + prior(Tier.K4).expected_s)
    assert progress.p95_s == pytest.approx(30.0 + 100.04 + prior(Tier.K4).p95_s)
    assert progress.fraction == 0.0
    # Another of its parts waits while one is at the upstream: it runs.
    running = a_record(state="running", finished_at=None, attempts=[], blobs=[])
    resource = resource_of(
        running, some_links, Latencies(settings_of().latency, a_clock), a_clock, in_line=InLine(7, 100.04)
    )
    assert (resource.queue_position, resource.estimated_start_s) == (None, None)


def test_what_has_waited_is_no_further_for_that(
    tell: Callable[..., GenerationResource], a_record: ARecord, a_clock: Any
) -> None:
    """Twenty of the thirty seconds were spent in line: ten are the upstream's."""
    record = a_record(state="running", started_at="2026-11-24T12:00:20.000Z", finished_at=None, attempts=[], blobs=[])
    progress = tell(record).progress
    assert progress is not None
    assert (progress.elapsed_s, progress.expected_s) == (30.0, 20.0 + prior(Tier.K1).expected_s)
    assert progress.fraction == round(prior(Tier.K1).fraction_done(10.0), 4)


@pytest.mark.parametrize("until", ["2026-11-24T13:00:30.000Z", "2026-12-01T12:00:30.000Z"])
def test_an_image_says_how_long_it_is_kept_and_its_link_no_longer_than_that(
    tell: Callable[..., GenerationResource], a_record: ARecord, a_blob: Any, a_clock: Any, until: str
) -> None:
    """A link ends after a day at most; the image is there for as long as retention has it, and has fresh links."""
    (image,) = tell(a_record(blobs=[a_blob(delete_after=until)])).images
    assert image.expires_at == until
    assert image.url is not None
    link_ends = datetime.fromtimestamp(int(parse_qs(urlsplit(image.url).query)["exp"][0]), UTC)
    assert link_ends == min(datetime.fromisoformat(until), (a_clock.now() + timedelta(days=1)).replace(microsecond=0))


@pytest.mark.parametrize("state", ["deleting", "deleted"])
def test_an_image_that_is_marked_has_no_link(
    tell: Callable[..., GenerationResource], a_record: ARecord, a_blob: Any, state: str
) -> None:
    """From the first of the two commits on; its file may go at any moment."""
    (image,) = tell(a_record(blobs=[a_blob(state=state, delete_after="2026-11-24T11:00:00.000Z")])).images
    assert (image.url, image.expires_at) == (None, None)


def test_a_deleted_image_is_told_without_link_and_end(
    tell: Callable[..., GenerationResource], a_record: ARecord, a_blob: Any
) -> None:
    """What is gone expires no more; its hash and size stay on record."""
    (image,) = tell(a_record(blobs=[a_blob(state="deleted")])).images
    assert (image.url, image.expires_at) == (None, None)
    assert image.sha256 == "5" * 64


def test_a_partial_and_a_late_result_say_so(tell: Callable[..., GenerationResource], a_record: ARecord) -> None:
    """A caller that counts images is not surprised."""
    resource = tell(a_record(partial_result=1, late=1))
    assert (resource.partial_result, resource.late) == (True, True)
    assert json.loads(render_generation(resource))["object"] == "generation"
