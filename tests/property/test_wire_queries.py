"""Cursors, event numbers and filters, whatever they hold: read, or refused as a request's mistake and no other way."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from holdfast.errors import RequestError
from holdfast.wire.generations_query import (
    LIMIT_MAX,
    PARAMETERS,
    STARTING_AFTER,
    STATUSES,
    decode_events_query,
    decode_list_query,
)

WORDS = st.one_of(st.text(), st.integers().map(str), st.sampled_from(["", "٣", "1e3", "+1", "1_0", "\x00", "\ud800"]))
NAMES = st.one_of(st.sampled_from([*PARAMETERS, STARTING_AFTER, "key"]), st.text())


@given(st.dictionaries(NAMES, WORDS))
@example({"limit": "0" * 200 + "5"})
def test_any_list_query_is_read_or_refused(query: dict[str, str]) -> None:
    """What is read is within its bounds, and what is refused names its parameter."""
    try:
        read = decode_list_query(query)
    except RequestError as exc:
        assert (exc.status, exc.code) == (400, "invalid_request")
        assert exc.param is not None
        assert len(exc.message) < 300
        return
    assert set(query) <= {*PARAMETERS, "key"}
    assert 1 <= read.limit <= LIMIT_MAX
    assert read.status is None or read.status in STATUSES
    assert read.after is None or read.after
    assert read.idempotency_key is None or read.idempotency_key


@given(st.dictionaries(NAMES, WORDS, max_size=3), st.none() | WORDS)
def test_any_event_number_is_read_or_refused(query: dict[str, str], last: str | None) -> None:
    """A place in an order that a database can hold: 0 or more, and below 2^63."""
    try:
        after = decode_events_query(query, last)
    except RequestError as exc:
        assert (exc.status, exc.code) == (400, "invalid_request")
        assert exc.param is not None
        return
    assert 0 <= after < 1 << 63
    stated = last or query.get(STARTING_AFTER, "0")
    assert after == int(stated)


@given(st.integers(min_value=0, max_value=10**18 - 1), st.integers(min_value=0, max_value=10**6))
def test_what_a_browser_sends_again_wins(last: int, first: int) -> None:
    """It repeats the query of its first request, and adds the number that it saw last."""
    assert decode_events_query({STARTING_AFTER: str(first)}, str(last)) == last
    assert decode_events_query({STARTING_AFTER: str(first)}, None) == first
