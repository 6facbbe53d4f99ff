"""What may be asked of `GET /v1/latency`, and what it says."""

from __future__ import annotations

import json

import msgspec
import pytest

from holdfast.errors import RequestError
from holdfast.policy.learning import Window
from holdfast.types import Tier
from holdfast.wire.latency import (
    PARAMETERS,
    WINDOWS,
    LatencyHour,
    LatencyQuery,
    LatencyReport,
    LatencyRow,
    LatencyShare,
    decode_latency,
    decode_latency_query,
    render_latency,
)

A_ROW = LatencyRow(
    model="nano-banana-pro",
    size="4K",
    upstream="google",
    window="1h",
    is_used=True,
    count=312,
    timed_out=2,
    p50_s=118.2,
    p95_s=171.0,
    p99_s=244.5,
    prior_share=0.138,
    updated_at="2026-11-27T12:00:00.000Z",
    distribution=(LatencyShare(until_s=100.0, share=0.2),),
)
AN_HOUR = LatencyHour(
    model="nano-banana-pro",
    size="4K",
    hour="2026-11-27T12:00:00.000Z",
    count=3,
    timed_out=0,
    p50_s=118.0,
    p95_s=120.0,
    p99_s=121.0,
)
A_REPORT = LatencyReport(at="2026-11-27T12:34:56.000Z", prior_weight=50.0, data=(A_ROW,), hours=(AN_HOUR,))


def test_windows_are_those_that_there_are() -> None:
    """The wire names what the policy has."""
    assert tuple(window.value for window in Window) == WINDOWS


def test_a_report_is_read_as_it_was_written() -> None:
    """By a client, which passes over what it does not know."""
    body = render_latency(A_REPORT)
    assert decode_latency(body) == A_REPORT
    document = json.loads(body)
    assert (document["object"], document["data"][0]["upstream"]) == ("latency", "google")
    document["something_new"] = 1
    assert decode_latency(json.dumps(document).encode()) == A_REPORT


@pytest.mark.parametrize("body", [b"", b"[]", b'{"object": "list", "data": []}', b"\xff"])
def test_what_is_no_report_is_not_taken_for_one(body: bytes) -> None:
    """Something else may listen at that address."""
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        decode_latency(body)


def test_nothing_asked_is_everything() -> None:
    """Without distributions, which are long."""
    assert decode_latency_query({}) == LatencyQuery()
    assert decode_latency_query({"key": "hf-…"}) == LatencyQuery()


def test_everything_that_may_be_asked() -> None:
    """Each parameter has its effect."""
    query = {"model": "nano-banana-pro", "size": "4K", "window": "24h", "detail": "true"}
    assert set(query) == set(PARAMETERS)
    assert decode_latency_query(query) == LatencyQuery(model="nano-banana-pro", size=Tier.K4, window="24h", detail=True)
    assert decode_latency_query({"detail": "false"}) == LatencyQuery()


@pytest.mark.parametrize(
    ("query", "param", "said"),
    [
        ({"size": "8K"}, "size", "one of 1K, 2K, 4K, not '8K'"),
        ({"size": ""}, "size", "not ''"),
        ({"size": "4k"}, "size", "Did you mean '4K'?|Known here"),
        ({"window": "1d"}, "window", "one of 1h, 24h, 7d"),
        ({"window": "24"}, "window", "Did you mean '24h'?"),
        ({"detail": "1"}, "detail", "one of true, false"),
        ({"model": ""}, "model", "empty"),
        ({"windows": "1h"}, "windows", "Did you mean 'window'?"),
        ({"x" * 300: "1"}, "x" * 64, "There is no parameter"),
    ],
)
def test_what_may_not_be_asked_names_the_field(query: dict[str, str], param: str, said: str) -> None:
    """And the near one, where there is one."""
    with pytest.raises(RequestError, match=said) as told:
        decode_latency_query(query)
    assert (told.value.status, told.value.param) == (400, param)
    assert len(told.value.message) < 300
