"""W3C Trace Context: what is believed of a header, and which ids a generation has of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.clock import ulid
from holdfast.wire.trace_context import (
    attempt_span_id,
    clean_traceparent,
    parse_traceparent,
    span_id_of,
    trace_id_of,
    traceparent_onwards,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


def test_a_header_of_the_recommendation_is_read() -> None:
    """The example of its §3.2."""
    parent = parse_traceparent(GOOD)
    assert parent is not None
    assert (f"{parent.trace_id:032x}", f"{parent.span_id:016x}", parent.is_sampled) == (TRACE, SPAN, True)
    assert clean_traceparent(GOOD) == GOOD


def test_a_caller_who_does_not_keep_the_trace_says_so() -> None:
    """Only the lowest bit of the flags is that."""
    for flags, is_sampled in (("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)):
        parent = parse_traceparent(f"00-{TRACE}-{SPAN}-{flags}")
        assert parent is not None
        assert parent.is_sampled is is_sampled


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    """§3.2.4: what follows behind a hyphen is another version's."""
    assert clean_traceparent(f"cc-{TRACE}-{SPAN}-01-what-the-future-brings") == GOOD
    assert clean_traceparent(f"01-{TRACE}-{SPAN}-01") == GOOD


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01 ",
        f"cc-{TRACE}-{SPAN}-01x",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        "00-" + "a" * 100_000,
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE}-{SPAN}-٠1",
    ],
)
def test_what_is_no_trace_is_as_if_it_were_not_there(header: str | None) -> None:
    """§4.3: neither an error nor half of it; nothing else reaches the log or the record."""
    assert clean_traceparent(header) is None
    assert parse_traceparent(header) is None


@given(st.text(max_size=80))
def test_nothing_but_a_traceparent_comes_out(header: str) -> None:
    """Whatever a caller writes there, 55 plain characters or nothing."""
    clean = clean_traceparent(header)
    assert clean is None or (len(clean) == 55 and clean.isascii() and clean_traceparent(clean) == clean)


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_a_generation_s_trace_is_its_own_id(unix_ms: int, entropy: bytes) -> None:
    """All 128 bits, so that two generations never share one."""
    assert trace_id_of(f"gen_{ulid(unix_ms, entropy)}") == unix_ms << 80 | int.from_bytes(entropy)


@pytest.mark.parametrize("id_", ["", "gen_", "gen_1", "gen_" + "U" * 26, "gen_" + "0" * 27, "gen_" + "é" * 26])
def test_what_has_no_ulid_has_no_trace(id_: str) -> None:
    """A mistake of ours, and told as one."""
    with pytest.raises(ValueError, match="ULID"):
        trace_id_of(id_)


def test_spans_are_known_by_their_names() -> None:
    """The same in every process, another for every name, and never 0."""
    assert span_id_of("gen_1", "att_1", "attempt") == span_id_of("gen_1", "att_1", "attempt")
    made = {span_id_of("gen_1", name) for name in ("attempt", "store", "queue", "send", "")}
    assert len(made) == 5
    assert all(0 < each < 2**64 for each in made)


GEN, ATT = "gen_01J9ZZZZZZZZZZZZZZZZZZZZZZ", "att_01J9ZZZZZZZZZZZZZZZZZZZZZZ"


def test_an_upstream_continues_the_attempt_of_the_callers_trace() -> None:
    """Its parent is the span that our collector is told; whether it is kept the caller has said."""
    for flags in ("00", "01"):
        told = traceparent_onwards(GEN, ATT, f"00-{TRACE}-{SPAN}-{flags}", is_told=True, sample_share=0.5)
        assert told == f"00-{TRACE}-{attempt_span_id(GEN, ATT):016x}-{flags}"
        assert clean_traceparent(told) == told


def test_a_trace_of_our_own_is_continued_where_it_is_told() -> None:
    """Its id is that of the generation, and its flag is what the share makes of it."""
    told = traceparent_onwards(GEN, ATT, None, is_told=True, sample_share=1.0)
    assert told == f"00-{trace_id_of(GEN):032x}-{attempt_span_id(GEN, ATT):016x}-01"
    unkept = traceparent_onwards(GEN, ATT, None, is_told=True, sample_share=0.0)
    assert unkept is not None
    assert unkept.endswith("-00")


def test_without_a_collector_the_callers_header_goes_on_as_it_came() -> None:
    """A span that nobody tells would be missing in his trace; and where he has none, there is none."""
    mine = f"00-{TRACE}-{SPAN}-01"
    assert traceparent_onwards(GEN, ATT, mine, is_told=False, sample_share=1.0) == mine
    assert traceparent_onwards(GEN, ATT, None, is_told=False, sample_share=1.0) is None
