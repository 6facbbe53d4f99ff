"""Events of the log move numbers, and nothing that an event brings along becomes a label by chance."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import holdfast
from holdfast.log import emit
from holdfast.telemetry.counting import Counts

ABOUT = {"generation_id": "gen_1", "key_id": "key_1", "model": "nano-banana-pro", "size": "4K"}
ENDED = {**ABOUT, "state": "succeeded", "code": None, "charged_micros": 240_000, "compensated_micros": 0}
ATTEMPT = {**ABOUT, "attempt_id": "att_1", "upstream": "google", "model": "gemini-3-pro-image"}


@pytest.fixture(name="registry")
def registry_fixture() -> Iterator[CollectorRegistry]:
    """Count into a registry of the test's own."""
    registry = CollectorRegistry()
    with Counts(registry).counting():
        yield registry


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    """Read one sample."""
    return registry.get_sample_value(f"holdfast_{name}", labels)


def test_an_end_counts_with_its_time_and_its_money(registry: CollectorRegistry) -> None:
    """By model, size and state; the code only where something went wrong."""
    emit("generation.finished", **ENDED, elapsed_s=205.5)
    failed = {**ENDED, "state": "failed", "code": "content_refused", "compensated_micros": 240_000}
    emit("generation.finished", **failed, elapsed_s=12.0)
    here = {"model": "nano-banana-pro", "size": "4K"}
    assert value(registry, "generations_ended_total", **here, state="succeeded", code="") == 1
    assert value(registry, "generations_ended_total", **here, state="failed", code="content_refused") == 1
    assert value(registry, "generation_seconds_bucket", **here, state="succeeded", le="180.0") == 0
    assert value(registry, "generation_seconds_bucket", **here, state="succeeded", le="240.0") == 1
    assert value(registry, "charged_micros_total", **here, state="succeeded") == 240_000
    assert value(registry, "compensated_micros_total", **here, state="succeeded") == 0
    assert value(registry, "compensated_micros_total", **here, state="failed") == 240_000


def test_an_attempt_counts_by_what_became_of_it(registry: CollectorRegistry) -> None:
    """With the wait before it, and the storing behind it where there was something to store."""
    emit("attempt.sent", **ATTEMPT, queued_s=0.2)
    emit("attempt.sent", **ATTEMPT, is_second=True)
    emit("attempt.settled", **ATTEMPT, images=2, took_s=95.0, stored_s=0.04)
    emit("attempt.unknown", **ATTEMPT, kind="lost_reply", took_s=40.0, stored_s=None)
    assert value(registry, "attempts_sent_total", upstream="google", model="gemini-3-pro-image", size="4K") == 2
    assert value(registry, "queue_seconds_count", upstream="google") == 1
    assert value(registry, "attempts_ended_total", upstream="google", outcome="settled", kind="") == 1
    assert value(registry, "attempts_ended_total", upstream="google", outcome="unknown", kind="lost_reply") == 1
    assert value(registry, "attempt_seconds_sum", upstream="google", size="4K", outcome="unknown") == 40.0
    assert value(registry, "images_stored_total", upstream="google") == 2
    assert value(registry, "store_seconds_count") == 1


def test_a_collection_after_a_cut_is_saved(registry: CollectorRegistry) -> None:
    """And one without is only collected."""
    emit("caller.collected", generation_id="gen_0", images=1, sent_s=0.5)
    assert value(registry, "images_saved_total") == 0
    emit("caller.left", generation_id="gen_1", held=True)
    emit("caller.collected", generation_id="gen_1", image_id="img_1", images=1)
    assert value(registry, "images_saved_total") == 1
    assert value(registry, "images_collected_total") == 2
    assert value(registry, "callers_left_total", held="true") == 1
    assert value(registry, "send_seconds_count") == 1


@pytest.mark.parametrize(
    ("event", "fields", "name", "labels"),
    [
        ("generation.accepted", ABOUT, "generations_accepted", {"model": "nano-banana-pro", "size": "4K"}),
        ("generation.joined", ABOUT, "repeats", {"how": "joined"}),
        ("generation.replayed", ABOUT, "repeats", {"how": "replayed"}),
        ("beat.committed", {"generation_id": "gen_1", "caller": "curl"}, "early_statuses", {"caller": "curl"}),
        ("request.refused", {"code": "bad", "status": 400}, "requests_refused", {"code": "bad", "status": "400"}),
        ("key.refused", {"client": "203.0.113.7"}, "keys_refused", {}),
        (
            "upstream.cooled",
            {"upstream": "a", "key_number": 1},
            "upstream_changes",
            {"upstream": "a", "change": "cooled"},
        ),
        ("upstream.ejected", {"upstream": "a"}, "upstream_changes", {"upstream": "a", "change": "ejected"}),
        ("upstream.restored", {"upstream": "a"}, "upstream_changes", {"upstream": "a", "change": "restored"}),
        ("webhook.delivered", {"generation_id": "gen_1"}, "webhook_tries", {"outcome": "delivered"}),
        ("webhook.failed", {"generation_id": "gen_1"}, "webhook_tries", {"outcome": "failed"}),
        ("sweeper.deleted", {"images": 3}, "sweeps", {}),
        ("storage.failed", {"message": "disk full"}, "storage_failures", {}),
        ("fault.internal", {}, "internal_faults", {}),
    ],
)
def test_every_other_event_moves_its_number(
    registry: CollectorRegistry, event: str, fields: dict[str, Any], name: str, labels: dict[str, str]
) -> None:
    """By one, each time."""
    for times in (1, 2):
        emit(event, level="debug", **fields)
        assert value(registry, f"{name}_total", **labels) == times


def test_every_event_that_is_counted_is_one_that_happens() -> None:
    """A name that nobody tells any more would leave its number at zero for ever."""
    source = "\n".join(path.read_text("utf-8") for path in Path(holdfast.__file__).parent.rglob("*.py"))
    told = set(re.findall(r'"([a-z]+\.[a-z_]+)"', source)) | {
        f"upstream.{change}" for change in ("cooled", "ejected", "restored")
    }
    emitted = "".join(source.split("telemetry"))
    events = Counts(CollectorRegistry()).events
    assert events <= told
    for event in events - {f"upstream.{change}" for change in ("cooled", "ejected", "restored")}:
        assert emitted.count(f'"{event}"') >= 2, f"{event} is told nowhere but where it is counted"


def test_nothing_is_counted_before_or_after() -> None:
    """Several gateways in one process count each for itself."""
    first, second = CollectorRegistry(), CollectorRegistry()
    with Counts(first).counting():
        emit("key.refused", level="debug")
        with Counts(second).counting():
            emit("key.refused", level="debug")
    emit("key.refused", level="debug")
    assert (value(first, "keys_refused_total"), value(second, "keys_refused_total")) == (2, 1)


def test_an_event_that_lacks_something_is_a_fault_and_not_the_end(registry: CollectorRegistry) -> None:
    """Whoever told the event goes on; the mistake is counted."""
    emit("generation.finished", **ABOUT)
    assert value(registry, "internal_faults_total") == 1
