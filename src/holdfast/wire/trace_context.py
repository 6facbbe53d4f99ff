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
