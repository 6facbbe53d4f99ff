"""A provider's list compared with the attempts of a database, told as a report. Plain functions over a snapshot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from holdfast.clock import rfc3339
from holdfast.errors import RequestError
from holdfast.policy.reconcile import WITHIN_S, Finding, Found, reconcile
from holdfast.store.port import Conn
from holdfast.store.reconcile import attempts_between
from holdfast.types import ListedCharge
from holdfast.wire.reconcile import FindingRow, ReconcileReport

FINDINGS_MAX = 10_000
"""Listed of one comparison; all of them are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What was found, and how it is told."""

    findings: tuple[Finding, ...]
    report: ReconcileReport


def span_of(lines: Sequence[ListedCharge], *, within_s: float = WITHIN_S) -> tuple[datetime, datetime]:
    """Say which time a list covers: from its first to its last line.

    Raises:
        RequestError: None of its lines has a time.
    """
    moments = [line.at for line in lines if line.at is not None]
    if not moments:
        raise RequestError(
            "The export has no times: say with since and until which days it covers.",
            code="invalid_request",
            status=400,
            param="since",
        )
    return min(moments) - timedelta(seconds=within_s), max(moments) + timedelta(seconds=within_s)


def compare(conn: Conn, upstream: str, lines: Sequence[ListedCharge], since: datetime, until: datetime) -> Compared:
    """Compare a list with what ended of one upstream within a time.

    Raises:
        RequestError: Nothing was ever sent to an upstream of this name.
    """
    attempts = attempts_between(conn, upstream, since, until)
    findings = reconcile(lines, attempts)
    told = [_row(each) for each in findings if each.found is not Found.AGREES]
    counts = Counter(each.found.value for each in findings)
    report = ReconcileReport(
        upstream=upstream,
        since=rfc3339(since),
        until=rfc3339(until),
        lines=len(lines),
        attempts=len(attempts),
        counts={found.value: counts[found.value] for found in Found},
        findings=tuple(told[:FINDINGS_MAX]),
        is_whole=len(told) <= FINDINGS_MAX,
    )
    return Compared(findings=findings, report=report)


def _row(finding: Finding) -> FindingRow:
    ours, line = finding.ours, finding.line
    return FindingRow(
        found=finding.found.value,
        attempt_id=None if ours is None else ours.attempt_id,
        generation_id=None if ours is None else ours.generation_id,
        ended_at=None if ours is None else rfc3339(ours.ended_at),
        booked_micros=None if ours is None else ours.booked_micros,
        line=None if line is None else line.number,
        reference=None if line is None else line.reference,
        listed_at=None if line is None or line.at is None else rfc3339(line.at),
        listed_micros=None if line is None else line.micros,
        by_reference=finding.by_reference,
    )
