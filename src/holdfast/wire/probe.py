"""`GET /v1/probe/hold` and `/v1/probe/echo`: what the doctor may ask of a gateway, and what it is told.

Pure: no I/O, clock or randomness. Times are RFC 3339 in UTC with milliseconds, given as text; durations are seconds.
The definitions are the source of the OpenAPI document.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import msgspec

from holdfast.errors import RequestError
from holdfast.wire.nearest import nearest

SECONDS_MAX = 150.0
"""Longest probe: the cuts that the doctor looks for lie at 130 s or below (Cloudflare's at 120 to 125 s)."""
SECONDS_MIN = 0.1
BEAT_S_MIN = 0.1
INTERIMS = ("100", "102", "103")
"""Statuses of interim answers (RFC 9110 §15.2) that a probe may send instead of beats."""
HOLD_PARAMETERS = ("seconds", "beat", "interim", "id")
PROBE_ID = r"^[A-Za-z0-9_-]{8,64}$"
NUMBER = r"^[0-9]{1,4}(?:\.[0-9]{1,6})?$"
_CREDENTIAL = "key"
"""A Google SDK's place for the key; no parameter of ours."""
_QUOTED_CHARS_MAX = 40

# Values of these say what is on the way and nothing of whoever asks; of all others only the names are told.
_TOLD = re.compile(
    r"via|forwarded|x-forwarded-[a-z-]+|x-real-ip|x-request-id|x-request-start|connection|host|accept-encoding|te|expect|"
    r"transfer-encoding|content-length|content-encoding|upgrade|cache-control|surrogate-capability|true-client-ip|"
    r"cf-(?:ray|visitor|connecting-ip|ipcountry)|cdn-loop|fastly-[a-z-]+|x-(?:amzn|amz-cf|azure|envoy|cloud|varnish|"
    r"vercel|heroku|appengine|google)[a-z-]*|fly-[a-z-]+|akamai-[a-z-]+|user-agent"
)
HEADERS_TOLD_MAX = 100
VALUE_CHARS_MAX = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldQuery:
    """How a caller wants to be held."""

    seconds: float
    """Until the answer."""
    beat_s: float | None = None
    """From beat to beat; the first one commits 200. None: silence."""
    interim: int | None = None
    """Beats are interim answers of this status; the final status stays free."""
    id: str | None = None
    """Under which the end is remembered; None: nobody will ask."""


class ProbeVisit(msgspec.Struct, frozen=True, kw_only=True):
    """One arrival of a probe at the gateway: a hop that repeats requests makes two of one."""

    began_at: str
    elapsed_s: float
    """Until its end, or until now."""
    ended: Literal["open", "answered", "left", "reset", "lost"]
    """`left`: the peer's end (FIN) came first; `reset`: RST; `lost`: what was sent stayed unacknowledged."""
    acknowledged: bool | None
    """Whether the peer's kernel took the whole answer; None: there was none, or it is not known yet."""
    beats: int
    """Sent."""


class ProbeReport(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/probe/hold/{id}`: how the gateway's side of a probe ended."""

    object: Literal["probe"] = "probe"
    id: str
    seconds: float
    visits: tuple[ProbeVisit, ...]


class ProbeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe is answered at its end, behind its beats."""

    object: Literal["probe.held"] = "probe.held"
    id: str | None
    seconds: float
    """As asked for."""
    held_s: float
    beats: int


class EchoHeader(msgspec.Struct, frozen=True, kw_only=True):
    """A header as it arrived."""

    name: str
    value: str | None
    """None: of this one only the name is told."""


class EchoBeats(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's own heartbeats, as set."""

    first_beat_s: float
    beat_s: float


class Echo(msgspec.Struct, frozen=True, kw_only=True):
    """`GET /v1/probe/echo`: what the gateway sees of a request, and what it answers with."""

    object: Literal["probe.echo"] = "probe.echo"
    at: str
    """The gateway's clock when the request had arrived."""
    version: str
    request_id: str
    method: str
    http_version: str
    """`1.0` or `1.1`, of the hop before the gateway."""
    scheme: str
    peer: str
    """Address of the hop before the gateway."""
    headers: tuple[EchoHeader, ...]
    body_bytes: int
    congestion: str | None
    """Congestion control of the gateway's socket; None where the system does not tell."""
    heartbeat: EchoBeats
    request_bytes_max: int
    probe_seconds_max: float
    probes_max: int
    """At once, for one key."""


def told_headers(headers: Iterable[tuple[str, str]]) -> tuple[EchoHeader, ...]:
    """Choose what an echo tells of the headers: what proxies write in full, of all else the name."""
    told = [
        EchoHeader(name=name[:80], value=value[:VALUE_CHARS_MAX] if _TOLD.fullmatch(name) else None)
        for name, value in headers
    ]
    return tuple(told[:HEADERS_TOLD_MAX])


def render(document: ProbeReport | ProbeAnswer | Echo) -> bytes:
    """Write any of the answers."""
    return msgspec.json.encode(document)


def decode_echo(body: bytes) -> Echo:
    """Read an echo, as the doctor does; members it does not know are passed over.

    Raises:
        msgspec.DecodeError: It is something else.
    """
    return msgspec.json.decode(body, type=Echo)


def decode_report(body: bytes) -> ProbeReport:
    """Read what is remembered of a probe.

    Raises:
        msgspec.DecodeError: It is something else.
    """
    return msgspec.json.decode(body, type=ProbeReport)


def check_echo_query(query: Mapping[str, str]) -> None:
    """See that nothing is asked of an echo.

    Raises:
        RequestError: Something is.
    """
    for name in query:
        if name != _CREDENTIAL:
            raise RequestError(f"An echo takes no parameter, {_quoted(name)} neither.", param=name[:64])


def decode_hold_query(query: Mapping[str, str]) -> HoldQuery:
    """Read the parameters of `GET /v1/probe/hold`.

    Raises:
        RequestError: A parameter or a value that is not known; `param` names it, the message what is taken.
    """
    for name in query:
        if name not in HOLD_PARAMETERS and name != _CREDENTIAL:
            raise RequestError(
                f"There is no parameter {_quoted(name)}. {nearest(name, HOLD_PARAMETERS)}", param=name[:64]
            )
    seconds = _number("seconds", query.get("seconds"), SECONDS_MIN, SECONDS_MAX)
    if seconds is None:
        raise RequestError(f"seconds says how long to hold: {SECONDS_MIN:g} to {SECONDS_MAX:g}.", param="seconds")
    interim, id_ = query.get("interim"), query.get("id")
    if interim is not None and interim not in INTERIMS:
        raise RequestError(f"interim must be one of {', '.join(INTERIMS)}, not {_quoted(interim)}.", param="interim")
    beat_s = _number("beat", query.get("beat"), BEAT_S_MIN, SECONDS_MAX)
    if interim is not None and beat_s is None:
        raise RequestError("interim says what the beats are: beat says how far apart they come.", param="beat")
    if id_ is not None and not re.fullmatch(PROBE_ID, id_):
        raise RequestError("id is 8 to 64 letters, digits, - or _, chosen by whoever asks.", param="id")
    return HoldQuery(seconds=seconds, beat_s=beat_s, interim=None if interim is None else int(interim), id=id_)


def _number(name: str, text: str | None, least: float, most: float) -> float | None:
    if text is None:
        return None
    if not re.fullmatch(NUMBER, text) or not least <= float(text) <= most:
        raise RequestError(f"{name} must be a number from {least:g} to {most:g}, not {_quoted(text)}.", param=name)
    return float(text)


def _quoted(word: str) -> str:
    return repr(word[:_QUOTED_CHARS_MAX])
