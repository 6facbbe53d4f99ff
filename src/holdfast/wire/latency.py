"""`GET /v1/latency`: what is known of how long images take, and what a caller may ask of it.

Pure: no I/O, clock or randomness. Times are RFC 3339 in UTC with milliseconds, given as text. The definitions are the
source of the OpenAPI document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import msgspec

from holdfast.errors import RequestError
from holdfast.types import Tier
from holdfast.wire.nearest import nearest

WindowName = Literal["1h", "24h", "7d"]
Size = Literal["1K", "2K", "4K"]
WINDOWS: tuple[WindowName, ...] = get_args(WindowName)
PARAMETERS = ("model", "size", "window", "detail")
_CREDENTIAL = "key"
"""A Google SDK's place for the key; no parameter of ours."""
_QUOTED_CHARS_MAX = 40


class LatencyShare(msgspec.Struct, frozen=True, kw_only=True):
    """A step of the distribution."""

    until_s: float
    share: float
    """Of the images, those that take longer than the step before and at most this long."""


class LatencyRow(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of a model at a size, from what was measured within a window."""

    model: str
    size: Size
    upstream: str | None
    """None: all upstreams of the model together."""
    window: WindowName
    is_used: bool
    """Whether estimates and deadlines are made from this window now: the shortest with enough calls."""
    count: int
    """Calls that were measured; those of the hour at the window's far end in part."""
    timed_out: int
    """Those of them that were given up when their time was over; each counts as one of twice that time."""
    p50_s: float
    p95_s: float
    p99_s: float
    prior_share: float
    """How much of this is published figures, in [0, 1]; 1: nothing was measured."""
    updated_at: str | None
    """When the last call was counted."""
    distribution: tuple[LatencyShare, ...] = ()
    """With `detail=true`."""


class LatencyHour(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured within one hour, all upstreams together, without published figures."""

    model: str
    size: Size
    hour: str
    """Its beginning."""
    count: int
    timed_out: int
    p50_s: float
    p95_s: float
    p99_s: float


class LatencyReport(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    object: Literal["latency"] = "latency"
    at: str
    prior_weight: float
    """How many calls the published figures count as."""
    data: tuple[LatencyRow, ...]
    hours: tuple[LatencyHour, ...] = ()
    """With `detail=true`: those of the last week in which something was measured, oldest first."""


def render_latency(report: LatencyReport) -> bytes:
    """Write the report."""
    return msgspec.json.encode(report)


def decode_latency(body: bytes) -> LatencyReport:
    """Read the report, as a client does; members it does not know are passed over.

    Raises:
        msgspec.DecodeError: It is something else.
    """
    return msgspec.json.decode(body, type=LatencyReport)


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyQuery:
    """What is asked for; None: whatever it is."""

    model: str | None = None
    size: Tier | None = None
    window: WindowName | None = None
    detail: bool = False


def decode_latency_query(query: Mapping[str, str]) -> LatencyQuery:
    """Read the parameters of `GET /v1/latency`.

    Raises:
        RequestError: A parameter or a value that is not known; `param` names it, the message the near one.
    """
    for name in query:
        if name not in PARAMETERS and name != _CREDENTIAL:
            raise RequestError(f"There is no parameter {_quoted(name)}. {nearest(name, PARAMETERS)}", param=name[:64])
    model = query.get("model")
    if model == "":
        raise RequestError("model is empty: give it a value, or leave it out.", param="model")
    size = _one_of("size", query.get("size"), tuple(Tier))
    window = _one_of("window", query.get("window"), WINDOWS)
    return LatencyQuery(
        model=model,
        size=None if size is None else Tier(size),
        window=next((each for each in WINDOWS if each == window), None),
        detail=_one_of("detail", query.get("detail"), ("true", "false")) == "true",
    )


def _one_of(name: str, value: str | None, known: tuple[str, ...]) -> str | None:
    if value is not None and value not in known:
        words = ", ".join(known)
        raise RequestError(f"{name} must be one of {words}, not {_quoted(value)}. {nearest(value, known)}", param=name)
    return value


def _quoted(word: str) -> str:
    return repr(word[:_QUOTED_CHARS_MAX])
