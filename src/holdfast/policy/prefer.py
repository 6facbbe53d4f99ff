"""What a caller asks of us in headers: `Prefer` (RFC 7240) and `Holdfast-Timeout`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.errors import RequestError
from holdfast.policy.deadlines import CALLER_S_MAX

ASKED_BEAT_S_MIN = 1.0
"""Shortest beat that a caller may ask for; the operator's own settings may be shorter."""
HEARTBEAT_S_MAX = 600.0
"""Longest interval that is taken at its word; beyond it no caller is known to hear a difference."""

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
    applied: tuple[str, ...] = ()
    """The preferences that are honoured, as `Preference-Applied` has them."""


def parse_prefer(header: str | None) -> Preferences:
    """Read a `Prefer` header, several of them joined by commas; what is malformed or unknown is passed over."""
    stated = _preferences((header or "")[:HEADER_CHARS_MAX])
    applied: list[str] = []
    heartbeat_s = _heartbeat_s(stated.get("heartbeat"))
    if heartbeat_s is not None:
        applied.append(f"heartbeat={heartbeat_s:g}")
    is_strict = stated.get("handling") == "strict"
    if is_strict:
        applied.append("handling=strict")
    return Preferences(heartbeat_s=heartbeat_s, is_strict=is_strict, applied=tuple(applied))


def _heartbeat_s(stated: str | None) -> float | None:
    if stated is None or not _NUMBER.fullmatch(stated):
        return None
    seconds = min(float(stated), HEARTBEAT_S_MAX)
    # What is told as applied is what is done.
    return max(seconds, ASKED_BEAT_S_MIN) if seconds > 0.0 else seconds


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
