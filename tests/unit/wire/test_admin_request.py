"""What callers of `/admin/v1` may say, and how what they cannot mean is named."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from holdfast.errors import RequestError
from holdfast.wire.admin_request import check_query, decode_body, moment, one_of, whole_number


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is asked for."""

    label: str
    limit: int | None = None


def test_a_document_is_read_strictly() -> None:
    """Null is a value, a missing field is its default."""
    assert decode_body(b'{"label":"a","limit":null}', Wish) == Wish(label="a")
    assert decode_body(b'{"label":"a","limit":3}', Wish) == Wish(label="a", limit=3)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"", "label", "is missing"),
        (b"{}", "label", "is missing"),
        (b'{"labell":"a"}', "labell", "Did you mean 'label'?"),
        (b'{"label":1}', "label", "must be text"),
        (b'{"label":"a","limit":"3"}', "limit", "must be"),
        (b'{"label":"a","' + b"x" * 200 + b'":1}', "x" * 64, "Unknown field"),
        (b"[]", None, "must be a JSON object"),
        (b"{", None, "not valid JSON"),
        (b"\xff", None, "cannot be read"),
        (b'{"label":' + b"[" * 100_000, None, "nested too deep"),
    ],
)
def test_what_does_not_fit_is_named(body: bytes, param: str | None, words: str) -> None:
    """The field, and what it must be."""
    with pytest.raises(RequestError) as caught:
        decode_body(body, Wish)
    assert caught.value.param == param
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("query", "known", "param", "words"),
    [
        ({"limit": "1", "limt": "2"}, ("limit",), "limt", "Did you mean 'limit'?"),
        ({"x": "1"}, (), "x", "There is none here."),
        ({"limit": ""}, ("limit",), "limit", "is empty"),
        ({"key": "hf-secret"}, ("key_id",), "key", "in a header"),
    ],
)
def test_a_parameter_that_means_nothing_is_refused(
    query: dict[str, str], known: tuple[str, ...], param: str, words: str
) -> None:
    """Never with its value, which may be a key."""
    with pytest.raises(RequestError) as caught:
        check_query(query, known)
    assert caught.value.param == param
    assert words in caught.value.message
    assert "hf-secret" not in caught.value.message


def test_what_is_known_passes() -> None:
    """And what is left out."""
    check_query({"limit": "1"}, ("limit", "after"))
    check_query({}, ())
    assert one_of("by", None, ("day",)) is None
    assert one_of("by", "day", ("day", "hour")) == "day"
    assert whole_number("n", None, usual=7, least=1, most=9) == 7
    assert whole_number("n", "9", usual=7, least=1, most=9) == 9


@pytest.mark.parametrize("value", ["0", "10", "-1", "1.0", " 1", "٣", "1" * 30])
def test_a_number_is_whole_and_within_its_bounds(value: str) -> None:
    """In ASCII digits."""
    with pytest.raises(RequestError, match="from 1 to 9"):
        whole_number("n", value, usual=1, least=1, most=9)


def test_another_word_is_told_the_near_one() -> None:
    """And which parameter it is."""
    with pytest.raises(RequestError, match="Did you mean 'hour'") as caught:
        one_of("by", "houre", ("hour", "day"))
    assert caught.value.param == "by"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("2026-11-28", datetime(2026, 11, 28, tzinfo=UTC)),
        ("2026-11-28T12:00:00Z", datetime(2026, 11, 28, 12, tzinfo=UTC)),
        ("2026-11-28T12:00:00+02:00", datetime(2026, 11, 28, 10, tzinfo=UTC)),
        ("2026-11-28T12:00:00 02:00", datetime(2026, 11, 28, 10, tzinfo=UTC)),
        ("2026-11-28T12:00:00.250Z", datetime(2026, 11, 28, 12, 0, 0, 250_000, tzinfo=UTC)),
    ],
)
def test_a_moment_is_utc(value: str, wanted: datetime) -> None:
    """A day begins at midnight UTC; a plus that a query made a space of is one."""
    assert moment("since", value) == wanted


@pytest.mark.parametrize("value", ["yesterday", "2026-11-28T12:00:00", "2026-13-01", "28.11.2026"])
def test_a_moment_without_a_zone_is_none(value: str) -> None:
    """Whose noon it is, nobody could tell."""
    with pytest.raises(RequestError, match="since must be a moment"):
        moment("since", value)


@pytest.mark.parametrize("value", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_moment_that_no_calendar_has_in_utc_is_none(value: str) -> None:
    """It fits where it was written, and nowhere in UTC."""
    with pytest.raises(RequestError, match="until must be a moment"):
        moment("until", value)
