"""Spans of a generation: what each event tells of the time that has just passed."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from holdfast.telemetry.spans import Span, SpanKind, Telling
from holdfast.wire.trace_context import TraceParent, is_sampled, span_id_of, trace_id_of

ID = "gen_01KB3M8QZV5N7XW2T4R6Y8A0CE"
NOW = 1_795_000_000_000_000_000
TRACE, CALLER = int("0af7651916cd43dd8448eb211c80319c", 16), int("b7ad6b7169203331", 16)
PARENT = f"00-{TRACE:032x}-{CALLER:016x}-01"
ABOUT: dict[str, Any] = {"generation_id": ID, "key_id": "key_1", "size": "4K"}
ENDED = {**ABOUT, "model": "nano-banana-pro", "state": "succeeded", "elapsed_s": 95.5, "charged_micros": 240_000}
ATTEMPT = {
    **ABOUT,
    "attempt_id": "att_1",
    "upstream": "google",
    "provider": "gemini",
    "model": "gemini-3-pro-image",
}
SETTLED = {**ATTEMPT, "images": 1, "took_s": 90.0, "stored_s": 0.5}


def told(event: str, *, share: float = 1.0, now_ns: int = NOW, **fields: Any) -> list[Span]:
    """Tell one event."""
    return list(Telling(share).spans(event, fields, now_ns=now_ns))


def test_the_whole_reaches_from_acceptance_to_the_end() -> None:
    """It is a server's span, named for the operation and the model; its trace is its own id."""
    (span,) = told("generation.finished", **ENDED)
    assert (span.name, span.kind, span.error) == ("generate_image nano-banana-pro", SpanKind.SERVER, None)
    assert (span.start_ns, span.end_ns) == (NOW - 95_500_000_000, NOW)
    assert (span.trace_id, span.span_id, span.parent_id) == (trace_id_of(ID), span_id_of(ID), None)
    assert span.attributes == {
        "gen_ai.operation.name": "generate_image",
        "gen_ai.request.model": "nano-banana-pro",
        "gen_ai.output.type": "image",
        "holdfast.generation_id": ID,
        "holdfast.key_id": "key_1",
        "holdfast.size": "4K",
        "holdfast.state": "succeeded",
        "holdfast.charged_micros": 240_000,
    }


def test_a_caller_s_trace_goes_on() -> None:
    """The whole is a child of the caller's span, in the caller's trace; its pieces are in that trace too."""
    (whole,) = told("generation.finished", **ENDED, traceparent=PARENT)
    assert (whole.trace_id, whole.parent_id, whole.is_parent_remote) == (TRACE, CALLER, True)
    for piece in told("attempt.settled", **SETTLED, traceparent=PARENT):
        assert (piece.trace_id, piece.parent_id, piece.is_parent_remote) == (TRACE, whole.span_id, False)


def test_an_attempt_and_its_storing_follow_one_another() -> None:
    """What was sent until the answer was here, and from there to the commit: no gap, no overlap."""
    attempt, store = told("attempt.settled", **SETTLED)
    assert (attempt.name, attempt.kind, store.name, store.kind) == (
        *("attempt", SpanKind.CLIENT),
        *("store", SpanKind.INTERNAL),
    )
    assert attempt.end_ns == store.start_ns == NOW - 500_000_000
    assert (attempt.start_ns, store.end_ns) == (NOW - 90_500_000_000, NOW)
    assert attempt.attributes["gen_ai.provider.name"] == "gcp.gemini"
    assert attempt.attributes["gen_ai.request.model"] == "gemini-3-pro-image"
    assert attempt.attributes["holdfast.upstream"] == "google"
    assert attempt.attributes["holdfast.images"] == 1
    assert "error.type" not in attempt.attributes


def test_an_attempt_that_failed_says_how() -> None:
    """Nothing was stored, so that is no span; what was told in words is no attribute."""
    fields = {**ATTEMPT, "kind": "rate_limited", "charge": "no", "status": 429, "reason": "slow down, SECRET"}
    (attempt,) = told("attempt.failed", **fields, took_s=1.5, stored_s=None)
    assert attempt.error == attempt.attributes["error.type"] == "rate_limited"
    assert attempt.attributes["http.response.status_code"] == 429
    assert attempt.attributes["holdfast.charge"] == "no"
    assert "SECRET" not in repr(attempt)


def test_a_wait_and_a_sending_are_spans_where_they_are_known() -> None:
    """A second attempt beside a slow one waited for nothing; a link's download was not timed."""
    (queue,) = told("attempt.sent", **ATTEMPT, queued_s=12.0)
    assert (queue.name, queue.start_ns, queue.end_ns) == ("queue", NOW - 12_000_000_000, NOW)
    (send,) = told("caller.collected", generation_id=ID, sent_s=2.0, images=1, image_id=None)
    assert (send.name, send.start_ns, send.end_ns) == ("send", NOW - 2_000_000_000, NOW)
    assert told("attempt.sent", **ATTEMPT) == []
    assert told("caller.collected", generation_id=ID, images=1) == []


def test_no_two_pieces_share_an_id() -> None:
    """Two attempts, each with its pieces, and two callers who were sent the same image."""
    other = {**SETTLED, "attempt_id": "att_2"}
    spans = [
        *told("generation.finished", **ENDED),
        *(span for fields in (SETTLED, other) for span in told("attempt.settled", **fields)),
        *(span for fields in (SETTLED, other) for span in told("attempt.sent", **fields, queued_s=1.0)),
        *(span for at in (1, 2) for span in told("caller.collected", generation_id=ID, sent_s=1.0, now_ns=NOW + at)),
    ]
    assert len(spans) == 9
    assert len({span.span_id for span in spans}) == 9
    assert {span.parent_id for span in spans[1:]} == {spans[0].span_id}


def test_another_process_tells_the_same_trace() -> None:
    """Nothing is kept between two events: what one began, another ends."""
    before, after = Telling(0.5), Telling(0.5)
    first = list(before.spans("attempt.sent", {**ATTEMPT, "queued_s": 1.0}, now_ns=NOW))
    second = list(after.spans("attempt.settled", SETTLED, now_ns=NOW))
    assert {span.trace_id for span in (*first, *second)} <= {trace_id_of(ID)}
    assert bool(first) == bool(second)


def test_a_caller_who_keeps_no_trace_is_told_none() -> None:
    """And one who does is told it, whatever our own share."""
    assert told("generation.finished", **ENDED, traceparent=f"{PARENT[:-1]}0") == []
    assert len(told("generation.finished", **ENDED, traceparent=PARENT, share=0.0)) == 1
    assert told("generation.finished", **ENDED, share=0.0) == []


@given(st.integers(1, 2**128 - 1), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_whoever_tells_a_smaller_share_tells_of_no_other_traces(trace_id: int, one: float, other: float) -> None:
    """Processes with other shares agree on those that both tell; all and none are exact."""
    less, more = sorted((one, other))
    assert is_sampled(trace_id, None, more) or not is_sampled(trace_id, None, less)
    assert is_sampled(trace_id, None, 1.0)
    assert not is_sampled(trace_id, None, 0.0)
    for kept in (True, False):
        assert is_sampled(trace_id, TraceParent(trace_id=trace_id, span_id=1, is_sampled=kept), one) is kept


@given(st.floats(0.0, 1e6), st.one_of(st.none(), st.floats(0.0, 1e6)))
def test_no_span_ends_before_it_begins(took_s: float, stored_s: float | None) -> None:
    """Whatever the clocks say."""
    for span in told("attempt.settled", **{**SETTLED, "took_s": took_s, "stored_s": stored_s}):
        assert span.start_ns <= span.end_ns <= NOW
