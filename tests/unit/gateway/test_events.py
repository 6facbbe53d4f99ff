"""Which events of a log are told, and how the generation stood at each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.config import Settings
from holdfast.engine.core import InLine
from holdfast.engine.latencies import Latencies
from holdfast.gateway.events import events_after, is_over
from holdfast.policy.latency import prior
from holdfast.store.eventlog import EventLog
from holdfast.store.records import EventRow
from holdfast.types import Tier
from holdfast.wire.generations import EVENT_TYPES, EventResource, render_event


@pytest.fixture
def a_log(a_record: Any) -> Callable[..., EventLog]:
    """Build logs: one event a word, ten seconds apart; what stands behind a word, `late`, is said in its data."""

    def build(*words: str, state: str = "running") -> EventLog:
        row = a_record(state=state).generation
        minute = row.created_at[:17]
        return EventLog(
            generation=row,
            events=tuple(
                EventRow(
                    generation_id=row.id,
                    sequence_number=number,
                    at=f"{minute}{10 * (number - 1):02d}.000Z",
                    type=word.partition(" ")[0],
                    data=json.dumps({word.partition(" ")[2]: True}) if " " in word else None,
                )
                for number, word in enumerate(words, 1)
            ),
        )

    return build


@pytest.fixture
def tell(settings_of: Callable[..., Settings], a_clock: Any) -> Callable[..., list[EventResource]]:
    """Tell the events of a log."""
    latencies = Latencies(settings_of().latency, a_clock)
    return lambda log, after=0: list(events_after(log, after, latencies))


def test_each_event_has_the_status_of_its_moment(a_log: Any, tell: Any) -> None:
    """Not the one that the generation has by now."""
    log = a_log("queued", "running", "stored", "progress", "succeeded", state="succeeded")
    told = tell(log)
    assert [each.status for each in told] == ["queued", "running", "running", "running", "succeeded"]
    assert [each.type for each in told] == [f"generation.{event.type}" for event in log.events]
    assert [each.sequence_number for each in told] == [1, 2, 3, 4, 5]
    assert [each.at for each in told] == [event.at for event in log.events]


def test_a_resumed_stream_says_the_same_of_each(a_log: Any, tell: Any) -> None:
    """Whatever was left out before: the last of them are the last of all."""
    log = a_log("queued", "running", "progress cancel_requested", "stored", "cancelled", state="cancelled")
    whole = tell(log)
    for after in range(9):
        assert tell(log, after) == whole[after:]
    assert [each.cancel_requested for each in whole] == [False, False, True, True, True]


def test_progress_is_that_of_the_events_own_time(a_log: Any, tell: Any) -> None:
    """From the same prior as in the resource; an end has none."""
    told = tell(a_log("queued", "running", "failed", state="failed"))
    latency = prior(Tier.K1)
    assert [each.progress and each.progress.elapsed_s for each in told] == [0.0, 10.0, None]
    # It was sent ten milliseconds after it came.
    assert told[1].progress.fraction == round(latency.fraction_done(9.99), 4)
    assert (told[1].progress.expected_s, told[1].progress.p95_s) == (latency.expected_s + 0.01, latency.p95_s + 0.01)
    assert told[0].progress.expected_s == latency.expected_s


def test_one_in_line_is_told_its_place_and_what_it_waits_for(a_log: Any, settings_of: Any, a_clock: Any) -> None:
    """By the last event, if that is how it stands; an earlier one, or another state, tells nothing of it."""
    latencies = Latencies(settings_of().latency, a_clock)
    (event,) = events_after(a_log("queued", state="queued"), 0, latencies, in_line=InLine(3, 61.25))
    assert (event.queue_position, event.estimated_start_s) == (3, 61.2)
    assert event.progress is not None
    assert event.progress.expected_s == round(61.25 + prior(Tier.K1).expected_s, 3)
    for log in (a_log("queued", "running"), a_log("queued", "running", state="queued")):
        told = list(events_after(log, 0, latencies, in_line=InLine(3, 61.25)))
        assert {(each.queue_position, each.estimated_start_s) for each in told} == {(None, None)}


def test_a_late_success_is_told_behind_the_failure(a_log: Any, tell: Any) -> None:
    """It stays failed until the image is stored and counted."""
    log = a_log("queued", "running", "failed", "stored late", "succeeded late", state="succeeded")
    assert [(each.status, each.late) for each in tell(log, 2)] == [
        ("failed", False),
        ("failed", True),
        ("succeeded", True),
    ]
    assert not is_over(log, 3)


def test_words_of_a_later_version_are_passed_over(a_log: Any, tell: Any) -> None:
    """Their numbers are counted all the same."""
    assert [each.sequence_number for each in tell(a_log("queued", "polished", "running"))] == [1, 3]


def test_it_is_over_when_all_was_seen_of_what_has_ended(a_log: Any) -> None:
    """A number that never was is behind all that are; what is open is never over."""
    ended = a_log("queued", "cancelled", state="cancelled")
    assert [is_over(ended, after) for after in (0, 1, 2, 99)] == [False, False, True, True]
    assert not is_over(a_log("queued"), 99)


def test_an_event_is_written_whole(a_log: Any, tell: Any) -> None:
    """Id, name, one line of data, and the blank line that ends it."""
    (event,) = tell(a_log("queued"))
    lines = render_event(event).decode().split("\n")
    assert lines[:2] == ["id: 1", "event: generation.queued"]
    assert lines[2].startswith("data: {")
    assert lines[3:] == ["", ""]
    data = json.loads(lines[2].removeprefix("data: "))
    assert (data["id"], data["status"], data["sequence_number"]) == (event.id, "queued", 1)
    assert set(data["progress"]) == {"elapsed_s", "expected_s", "p95_s", "fraction"}
    assert EVENT_TYPES == ("queued", "running", "progress", "stored", "succeeded", "failed", "cancelled")
