"""W3C Trace Context: which trace a generation belongs to, for whoever sees a part of its way.

A generation's ids are reckoned from its own id, not drawn: a process that takes it up after a restart, or another one
that works on it, tells spans of the same trace without having been told of it. A ULID has 128 bits, as a trace has.

Source: https://www.w3.org/TR/trace-context/ (2021-11-23).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_ALPHABET = {character: value for value, character in enumerate("0123456789ABCDEFGHJKMNPQRSTVWXYZ")}


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceParent:
    """Who asked, in a trace of his own."""

    trace_id: int
    """128 bits, never 0."""
    span_id: int
    """64 bits, never 0."""
    is_sampled: bool
    """Whether the caller keeps the trace."""


def clean_traceparent(header: str | None) -> str | None:
    """Give a header that means something as version 00 spells it; anything else is as if it were not there (§4.3)."""
    if header is None:
        return None
    # A later version may have more behind a further hyphen; what this one knows stands before it (§3.2.4).
    found = _TRACEPARENT.fullmatch(header if header[:2] == "00" else header[:55])
    if found is None or header[55:56] not in ("", "-"):
        return None
    return f"00-{found[1]}-{found[2]}-{found[3]}"


def parse_traceparent(header: str | None) -> TraceParent | None:
    """Read such a header; None where it means nothing."""
    clean = clean_traceparent(header)
    if clean is None:
        return None
    _, trace_id, span_id, flags = clean.split("-")
    return TraceParent(trace_id=int(trace_id, 16), span_id=int(span_id, 16), is_sampled=bool(int(flags, 16) & 1))


def trace_id_of(id_: str) -> int:
    """Give the trace of a generation whose caller brought none: the bits of its ULID.

    Raises:
        ValueError: That is no id of ours.
    """
    spelled = id_.rpartition("_")[2]
    if len(spelled) != 26 or not spelled.isascii() or any(each not in _ALPHABET for each in spelled):
        raise ValueError(f"{id_[:40]!r} ends in no ULID")
    value = 0
    for character in spelled:
        value = value << 5 | _ALPHABET[character]
    return value & ((1 << 128) - 1)


def span_id_of(*names: str) -> int:
    """Give the span of a thing by its names: always the same, of 64 bits, never 0."""
    return int.from_bytes(blake2b("/".join(names).encode(), digest_size=8).digest()) or 1


def is_sampled(trace_id: int, parent: TraceParent | None, share: float) -> bool:
    """Say whether a trace is told: as its caller does, else by its id, so that all processes agree.

    Source: `TraceIdRatioBased` of the OpenTelemetry SDK, which compares the lower 64 bits.
    """
    if parent is not None:
        return parent.is_sampled
    return (trace_id & ((1 << 64) - 1)) < round(share * (1 << 64))


def attempt_span_id(generation_id: str, attempt_id: str) -> int:
    """Give the span of an attempt, as its upstream is told it and as the collector is."""
    return span_id_of(generation_id, attempt_id, "attempt")


def traceparent_onwards(
    generation_id: str, attempt_id: str, caller: str | None, *, is_told: bool, sample_share: float
) -> str | None:
    """Give the header that an upstream is sent with an attempt; None: there is no trace that it could continue.

    Args:
        generation_id: Whose attempt it is.
        attempt_id: Which: its span is the parent of what the upstream tells.
        caller: The header of the request, cleaned.
        is_told: Whether spans of ours go to a collector. Else the caller's own header goes on as it came: a span that
            nobody tells would leave a hole in his trace (§3.4).
        sample_share: Of how many traces ours are told, where the caller's does not say.
    """
    if not is_told:
        return caller
    parent = parse_traceparent(caller)
    trace_id = trace_id_of(generation_id) if parent is None else parent.trace_id
    flags = int(is_sampled(trace_id, parent, sample_share))
    return f"00-{trace_id:032x}-{attempt_span_id(generation_id, attempt_id):016x}-{flags:02x}"
