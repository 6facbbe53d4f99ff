"""Headers of the answers to a generation's callers: where it is, what was honoured, where the time went."""

from __future__ import annotations

from datetime import datetime, timedelta

from holdfast.clock import from_rfc3339
from holdfast.gateway.call import Headers
from holdfast.store.records import Record

IGNORED = b"holdfast-ignored"
_MILLISECOND = timedelta(milliseconds=1)


def generation_headers(
    generation_id: str, applied: tuple[str, ...], ignored: tuple[str, ...] = (), *, is_replay: bool = False
) -> Headers:
    """Name the generation, and say what of the caller's wishes was honoured; nobody may store or change the answer."""
    headers: Headers = [
        (b"generation-id", generation_id.encode()),
        (b"location", f"/v1/generations/{generation_id}".encode()),
        (b"cache-control", b"no-store, no-transform"),
        (b"x-accel-buffering", b"no"),
    ]
    if is_replay:
        headers.append((b"idempotency-replayed", b"true"))
    if applied:
        headers.append((b"preference-applied", ", ".join(applied).encode()))
    return headers + ignored_headers(ignored)


def ignored_headers(names: tuple[str, ...]) -> Headers:
    """Name what a caller has stated and what has no effect, if there is anything."""
    return [(IGNORED, visible(", ".join(names)))] if names else []


def visible(text: str) -> bytes:
    """Field names are a caller's words; only visible ASCII goes into a header."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(char if " " <= char <= "~" else "?" for char in text)
    return text[:1000].encode()


def served_by(record: Record) -> Headers:
    """Say which upstream made the image."""
    name = served_name(record)
    return [] if name is None else [(b"holdfast-served-by", visible(name))]


def served_name(record: Record) -> str | None:
    """Name the upstream that made the first image, and the model as it is called there; None: there is no image."""
    results = record.results
    if not results:
        return None
    attempt = record.attempt_of(results[0])
    return f"{attempt.upstream}/{attempt.model}"


def server_timing(record: Record, now: datetime) -> bytes:
    """Milliseconds in the queue, at the upstream, on our disk, and from there to this first byte.

    An attempt that ended without an answer leaves no moment at which it was received: all of its time is the
    upstream's.
    """
    row = record.generation
    created = from_rfc3339(row.created_at)
    finished = from_rfc3339(row.finished_at) if row.finished_at else now
    started = from_rfc3339(row.started_at) if row.started_at else finished
    received = max((from_rfc3339(each.received_at) for each in record.attempts if each.received_at), default=finished)
    # Whoever was told at his deadline did not wait for what came later.
    received = min(received, finished)
    return b"queue;dur=%.0f, upstream;dur=%.0f, store;dur=%.0f, send;dur=%.0f" % (
        _milliseconds(started - created),
        _milliseconds(received - started),
        _milliseconds(finished - received),
        _milliseconds(now - finished),
    )


def _milliseconds(span: timedelta) -> float:
    """Not less than nothing: the wall clock may have been set back in between."""
    return max(0.0, span / _MILLISECOND)
