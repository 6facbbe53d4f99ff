"""Spans of a generation, made of the events of the log alone.

Each event tells what has just ended, and how long it took: `attempt.sent` a wait in line, `attempt.…` an attempt
and the storing of its answer, `caller.collected` the sending, `generation.finished` the whole. So nothing is kept of a
trace while a caller is held, and a process that takes a generation up after another tells the rest of the same trace.

    generate_image MODEL        acceptance to end; child of the caller's span where the request had a `traceparent`
    ├─ queue                    until there was a place at an upstream, once for each attempt
    ├─ attempt                  sent, until its whole answer was here or it had failed
    ├─ store                    from there to the commit
    └─ send                     first byte of an answer to the acknowledgement of its last, once for each caller

Attributes follow OpenTelemetry's conventions for generative AI as far as they reach; those are `gen_ai.…`, ours are
`holdfast.…`. Neither prompt nor image nor key is among them.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/ (development status, 2026).

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from holdfast.wire.trace_context import TraceParent, is_sampled, parse_traceparent, span_id_of, trace_id_of

OPERATION = "generate_image"
PROVIDERS = {"gemini": "gcp.gemini", "vertex": "gcp.vertex_ai"}
"""Names that the conventions give; the others go by our own."""


class SpanKind(StrEnum):
    """Which side of a call it is."""

    SERVER = "server"
    CLIENT = "client"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One piece of time."""

    name: str
    trace_id: int
    span_id: int
    parent_id: int | None
    is_parent_remote: bool = False
    kind: SpanKind = SpanKind.INTERNAL
    start_ns: int
    """Unix nanoseconds."""
    end_ns: int
    attributes: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    error: str | None = None
    """Its kind or code."""


class Telling:
    """Makes the spans that an event tells."""

    EVENTS = (
        "attempt.sent",
        "attempt.settled",
        "attempt.failed",
        "attempt.unknown",
        "caller.collected",
        "generation.finished",
    )

    def __init__(self, sample_share: float) -> None:
        """Tell so many of those whose caller does not say."""
        self._share = sample_share

    def spans(self, event: str, fields: Mapping[str, Any], *, now_ns: int) -> Iterator[Span]:
        """Give them.

        Args:
            event: One of `EVENTS`.
            fields: As the log has them.
            now_ns: Unix nanoseconds at which it happened.
        """
        id_ = fields["generation_id"]
        parent = parse_traceparent(fields.get("traceparent"))
        trace_id = trace_id_of(id_) if parent is None else parent.trace_id
        if not is_sampled(trace_id, parent, self._share):
            return
        if event == "generation.finished":
            yield _whole(fields, trace_id, parent, now_ns)
            return
        attempt_id, ids = fields.get("attempt_id"), {"holdfast.generation_id": id_}
        if attempt_id is not None:
            ids |= {"holdfast.attempt_id": attempt_id, "holdfast.upstream": fields["upstream"]}
        for name, start_ns, end_ns in _pieces(event, fields, now_ns):
            is_attempt = name == "attempt"
            yield Span(
                name=name,
                trace_id=trace_id,
                # Two callers may be sent the same image: each has a span of his own.
                span_id=span_id_of(id_, attempt_id or str(now_ns), name),
                parent_id=span_id_of(id_),
                kind=SpanKind.CLIENT if is_attempt else SpanKind.INTERNAL,
                start_ns=start_ns,
                end_ns=end_ns,
                attributes={**ids, **_of_attempt(fields)} if is_attempt else ids,
                error=fields.get("kind") if is_attempt else None,
            )


def _pieces(event: str, fields: Mapping[str, Any], now_ns: int) -> Iterator[tuple[str, int, int]]:
    """Name the times that have just ended: name, start, end."""
    if event == "attempt.sent":
        if "queued_s" in fields:
            yield "queue", _before(now_ns, fields["queued_s"]), now_ns
    elif event == "caller.collected":
        if fields.get("sent_s") is not None:
            yield "send", _before(now_ns, fields["sent_s"]), now_ns
    else:
        stored_s = fields.get("stored_s")
        received_ns = _before(now_ns, stored_s or 0.0)
        yield "attempt", _before(received_ns, fields["took_s"]), received_ns
        if stored_s is not None:
            yield "store", received_ns, now_ns


def _whole(fields: Mapping[str, Any], trace_id: int, parent: TraceParent | None, now_ns: int) -> Span:
    wanted = {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.request.model": fields["model"],
        "gen_ai.output.type": "image",
        "holdfast.generation_id": fields["generation_id"],
        "holdfast.key_id": fields["key_id"],
        "holdfast.size": fields["size"],
        "holdfast.state": fields["state"],
        "holdfast.charged_micros": fields.get("charged_micros"),
        "holdfast.compensated_micros": fields.get("compensated_micros"),
        "error.type": fields.get("code"),
    }
    return Span(
        name=f"{OPERATION} {fields['model']}",
        trace_id=trace_id,
        span_id=span_id_of(fields["generation_id"]),
        parent_id=None if parent is None else parent.span_id,
        is_parent_remote=parent is not None,
        kind=SpanKind.SERVER,
        start_ns=_before(now_ns, fields["elapsed_s"]),
        end_ns=now_ns,
        attributes={name: value for name, value in wanted.items() if value is not None},
        error=fields.get("code"),
    )


def _of_attempt(fields: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    provider = fields["provider"]
    wanted = {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.provider.name": PROVIDERS.get(provider, provider),
        "gen_ai.request.model": fields["model"],
        "gen_ai.output.type": "image",
        "holdfast.size": fields["size"],
        "holdfast.images": fields.get("images"),
        "holdfast.charge": fields.get("charge"),
        "http.response.status_code": fields.get("status"),
        "error.type": fields.get("kind"),
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _before(now_ns: int, seconds: float) -> int:
    return now_ns - round(seconds * 1e9)
