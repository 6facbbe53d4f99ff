"""`Server-Timing`: where a call's time went, in milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from holdfast.gateway.heads import server_timing

NOW = datetime(2026, 11, 24, 12, 0, 20, 90_000, tzinfo=UTC)
TIMES = {
    "created_at": "2026-11-24T12:00:00.000Z",
    "started_at": "2026-11-24T12:00:00.250Z",
    "finished_at": "2026-11-24T12:00:20.030Z",
}
RECEIVED_AT = "2026-11-24T12:00:20.000Z"
Build = Callable[..., Any]


def spans(record: Any, now: datetime = NOW) -> dict[str, int]:
    """Read the header back."""
    told = server_timing(record, now).decode()
    return {name: int(dur) for name, _, dur in (each.partition(";dur=") for each in told.split(", "))}


def test_time_is_told_by_who_spent_it(a_record: Build, an_attempt: Build) -> None:
    """Queue, upstream, our disk, and what passed before the first byte: together the whole wait."""
    record = a_record(attempts=[an_attempt(received_at=RECEIVED_AT)], **TIMES)
    assert spans(record) == {"queue": 250, "upstream": 19_750, "store": 30, "send": 60}


def test_of_several_parts_the_last_answer_counts(a_record: Build, an_attempt: Build) -> None:
    """The caller waited for the slowest upstream call, not for the first."""
    early = an_attempt(id="att_2", received_at="2026-11-24T12:00:05.000Z")
    record = a_record(attempts=[early, an_attempt(received_at=RECEIVED_AT), an_attempt(received_at=None)], **TIMES)
    assert spans(record)["upstream"] == 19_750


def test_without_an_answer_the_time_is_the_upstream_s(a_record: Build, an_attempt: Build, a_told: Build) -> None:
    """A connection that broke was waited for to the end; nothing was stored."""
    record = a_record(told=a_told(), attempts=[an_attempt(received_at=None)], **TIMES)
    assert spans(record) == {"queue": 250, "upstream": 19_780, "store": 0, "send": 60}


def test_what_was_never_sent_was_in_the_queue(a_record: Build, a_told: Build) -> None:
    """No upstream had any part in it."""
    record = a_record(told=a_told(), attempts=[], **TIMES | {"started_at": None})
    assert spans(record) == {"queue": 20_030, "upstream": 0, "store": 0, "send": 60}


def test_what_came_after_the_end_was_not_waited_for(a_record: Build, an_attempt: Build) -> None:
    """A late image was received long after its caller had been told."""
    record = a_record(attempts=[an_attempt(received_at="2026-11-24T12:09:00.000Z")], **TIMES)
    assert spans(record) == {"queue": 250, "upstream": 19_780, "store": 0, "send": 60}


@pytest.mark.parametrize("seconds", [1, 19])
def test_no_time_is_below_zero(a_record: Build, an_attempt: Build, seconds: int) -> None:
    """A wall clock that was set back makes no negative span, which some readers refuse."""
    record = a_record(attempts=[an_attempt(received_at=RECEIVED_AT)], **TIMES)
    assert min(spans(record, NOW.replace(second=seconds)).values()) == 0


@pytest.mark.parametrize(
    ("microseconds", "told_ms"),
    [(0, 0), (499, 0), (500, 0), (501, 1), (1499, 1), (1500, 2), (2500, 2), (999_500, 1000)],
)
def test_milliseconds_are_whole_and_nearest(
    a_record: Build, an_attempt: Build, microseconds: int, told_ms: int
) -> None:
    """Halves go to the even one."""
    finished = datetime.fromisoformat(TIMES["finished_at"])
    record = a_record(attempts=[an_attempt(received_at=RECEIVED_AT)], **TIMES)
    assert spans(record, finished + timedelta(microseconds=microseconds))["send"] == told_ms
    assert spans(record, finished - timedelta(microseconds=microseconds))["send"] == 0
