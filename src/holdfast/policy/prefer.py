"""What a caller asks of us in headers: `Prefer` (RFC 7240) and `Holdfast-Timeout`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.config import HoldBy
from holdfast.errors import RequestError
from holdfast.policy.deadlines import CALLER_S_MAX
from holdfast.types import Surface

ASKED_BEAT_S_MIN = 1.0
"""Shortest beat that a caller may ask for; the operator's own settings may be shorter."""
HEARTBEAT_S_MAX = 600.0
"""Longest interval that is taken at its word; beyond it no caller is known to hear a difference."""

WAIT_S_MAX = 55.0
"""Longest `wait`, below the 60 s after which common load balancers drop a connection on which nothing comes."""

HEADER_CHARS_MAX = 1000
"""Read no further: unpaired quotes cost the square of the length."""

# RFC 7240 §2: preference = token [ BWS "=" BWS word ] *( OWS ";" [ OWS parameter ] ). Commas separate preferences.
_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PREFERENCE = re.compile(rf"({_TOKEN})(?:[ \t]*=[ \t]*({_TOKEN}|{_QUOTED}))?")
_REST = re.compile(rf"(?:{_QUOTED}|[^,\"])*,?")
_GAP = re.compile(r"[ \t,]*")
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """What of `Prefer` we understood; the rest is ignored, as the RFC asks."""

    heartbeat_s: float | None = None
    """Interval between beats; 0: never commit 200 early."""
    is_strict: bool = False
    """`handling=strict`: a repeat of what is in flight is told so, and does not join."""
    wait_s: float | None = None
    """How long an answer may be waited for before the status is told instead, at most `WAIT_S_MAX`."""
    respond_async: bool = False
    """The status is wanted at once, or after `wait_s`."""
    hold: HoldBy | None = None
    """What keeps the line open while a caller is held; None: as the gateway does."""
    applied: tuple[str, ...] = ()
    """The preferences that are honoured while a caller is held, as `Preference-Applied` has them."""

    @property
    def later_after_s(self) -> float | None:
        """Seconds after which a POST is answered with the status, if it is not finished; None: it is held."""
        return 0.0 if self.wait_s is None and self.respond_async else self.wait_s

    @property
    def later_applied(self) -> tuple[str, ...]:
        """The preferences that are honoured where nobody is held, as `Preference-Applied` has them."""
        wait = () if self.wait_s is None else (f"wait={self.wait_s:g}",)
        strict = ("handling=strict",) if self.is_strict else ()
        return (*(("respond-async",) if self.respond_async else ()), *wait, *strict)

    @property
    def redirected_applied(self) -> tuple[str, ...]:
        """The preferences that are honoured while a caller is held by redirects."""
        return (f"hold={HoldBy.REDIRECTS.value}", *(("handling=strict",) if self.is_strict else ()))

    def later_on(self, surface: Surface) -> float | None:
        """The same for a surface: the native one holds nobody, and Google's SDKs know no other answer than the last."""
        match surface:
            case Surface.GEMINI:
                return None
            case Surface.GENERATIONS:
                return self.later_after_s or 0.0
            case Surface.OPENAI | Surface.CHAT:
                return self.later_after_s


def parse_prefer(header: str | None) -> Preferences:
    """Read a `Prefer` header, several of them joined by commas; what is malformed or unknown is passed over."""
    stated = _preferences((header or "")[:HEADER_CHARS_MAX])
    heartbeat_s = _seconds(stated.get("heartbeat"), HEARTBEAT_S_MAX)
    if heartbeat_s:
        # What is told as applied is what is done.
        heartbeat_s = max(heartbeat_s, ASKED_BEAT_S_MIN)
    is_strict = stated.get("handling") == "strict"
    strict = ("handling=strict",) if is_strict else ()
    return Preferences(
        heartbeat_s=heartbeat_s,
        wait_s=_seconds(stated.get("wait"), WAIT_S_MAX),
        # A token: with a value it is some other preference (RFC 7240 §4.1).
        respond_async=stated.get("respond-async") == "",
        is_strict=is_strict,
        hold=next((each for each in HoldBy if each.value == stated.get("hold")), None),
        applied=strict if heartbeat_s is None else (f"heartbeat={heartbeat_s:g}", *strict),
    )


def _seconds(stated: str | None, most: float) -> float | None:
    if stated is None or not _NUMBER.fullmatch(stated):
        return None
    return min(float(stated), most)


def _preferences(header: str) -> dict[str, str]:
    """Split into names and values. Names are case-insensitive, and of a repeated one the first counts (§2)."""
    stated: dict[str, str] = {}
    at = 0
    while at < len(header):
        gap = _GAP.match(header, at)
        assert gap is not None
        at = gap.end()
        match = _PREFERENCE.match(header, at)
        if match is not None:
            stated.setdefault(match[1].lower(), _unquoted(match[2] or ""))
            at = match.end()
        rest = _REST.match(header, at)
        assert rest is not None
        # A lone quote matches nothing: step over it, so that the loop always moves on.
        at = max(rest.end(), at + 1)
    return stated


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word[1:-1]) if word.startswith('"') else word


def asked_timeout_s(headers: Mapping[str, str]) -> float | None:
    """Read `Holdfast-Timeout`: the caller's whole budget in seconds; None when it names none.

    Raises:
        RequestError: It is no number above 0 and at most an hour.
    """
    text = headers.get("holdfast-timeout")
    if text is None:
        return None
    stated = text.strip()
    seconds = float(stated) if _NUMBER.fullmatch(stated) else math.nan
    if not 0.0 < seconds <= CALLER_S_MAX:
        raise RequestError(
            f"Holdfast-Timeout must be a number of seconds above 0 and at most {CALLER_S_MAX:g}.",
            param="Holdfast-Timeout",
        )
    return seconds
