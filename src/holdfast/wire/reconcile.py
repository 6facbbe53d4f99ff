"""A comparison with a provider's list, as JSON. Pure: no I/O, clock or randomness."""

from __future__ import annotations

from typing import Annotated

import msgspec

REASON_CHARS_MAX = 500


class FindingRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An attempt of ours, a line of theirs, or both."""

    found: str
    """`agrees` is counted, and not listed; `amount_differs`, `not_listed`, `not_ours`, `charged_after_all`,
    `unknown_charged`, `unknown_free`."""
    attempt_id: str | None = None
    generation_id: str | None = None
    ended_at: str | None = None
    booked_micros: int | None = None
    """What our ledger says."""
    line: int | None = None
    """Number of the line, or entry, of the export."""
    reference: str | None = None
    listed_at: str | None = None
    listed_micros: int | None = None
    by_reference: bool = False
    """The line names the attempt; otherwise they were paired by model and time."""


class Unresolved(msgspec.Struct, frozen=True, kw_only=True):
    """An exposure that could not be resolved."""

    attempt_id: str
    why: str


class ReconcileReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it."""

    upstream: str
    since: str
    until: str
    lines: int
    """Of the export."""
    attempts: int
    """Of ours that ended within that time."""
    counts: dict[str, int]
    """How many of each `found`."""
    findings: tuple[FindingRow, ...]
    is_whole: bool
    """Whether these are all of them."""
    resolved: int = 0
    """How many exposures were resolved by this call."""
    unresolved: tuple[Unresolved, ...] = ()
    """Those that were to be, and cannot be yet."""


class ResolveWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator has found out about an attempt of unknown outcome."""

    micros: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)] | None = None
    """What the upstream took; null: nothing."""
    reason: Annotated[str, msgspec.Meta(max_length=REASON_CHARS_MAX)] | None = None
    """How that is known, for the log of changes."""


class ResolvedExposure(msgspec.Struct, frozen=True, kw_only=True):
    """What was written."""

    attempt_id: str
    generation_id: str
    upstream: str
    exposed_micros: int
    cost_micros: int
