"""Ids that sort by time and tell it, and moments as every record spells them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest

from holdfast.clock import SystemClock, from_rfc3339, rfc3339, ulid, ulid_moment

MOMENT = datetime(2026, 1, 17, 23, 59, 59, 999_000, tzinfo=UTC)


def unix_ms(moment: datetime) -> int:
    """Milliseconds of a moment, without floats."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def an_id(moment: datetime, entropy: bytes = bytes(10), prefix: str = "att") -> str:
    """An id as a clock makes it."""
    return f"{prefix}_{ulid(unix_ms(moment), entropy)}"


def test_a_ulid_is_spelled_as_its_specification_says() -> None:
    """Its examples: the seed time 1469918176385 begins with 01ARYZ6S41; nothing is greater than 7ZZZ…"""
    assert ulid(1469922850259, bytes(10)) == "01ARZ3NDEK" + "0" * 16
    assert ulid(1469918176385, bytes(10)).startswith("01ARYZ6S41")
    assert ulid((1 << 48) - 1, b"\xff" * 10) == "7" + "Z" * 25


def test_entropy_is_ten_bytes() -> None:
    """Fewer would be guessed, more would change the time."""
    for size in (9, 11):
        with pytest.raises(AssertionError):
            ulid(0, bytes(size))


def test_an_id_tells_the_moment_of_its_making() -> None:
    """To the millisecond, whatever its prefix and its entropy are."""
    for prefix in ("gen", "att", "img", "with_more_words"):
        assert ulid_moment(an_id(MOMENT, b"\xff" * 10, prefix)) == MOMENT
        assert ulid_moment(an_id(MOMENT, bytes(10), prefix)) == MOMENT


@pytest.mark.parametrize("off_ms", [-1, 0, 1, 999, 86_400_000])
def test_midnight_divides_the_days_of_ids(off_ms: int) -> None:
    """The day of an id is the day of its milliseconds in UTC, not of the reader."""
    moment = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(milliseconds=off_ms)
    assert f"{ulid_moment(an_id(moment)):%Y/%m/%d}" == f"{moment:%Y/%m/%d}"


def test_the_epoch_and_a_far_year_are_read_exactly() -> None:
    """No float is between: the last millisecond of 9999 is not the next year."""
    assert ulid_moment("gen_" + "0" * 26) == datetime(1970, 1, 1, tzinfo=UTC)
    far = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)
    assert ulid_moment(an_id(far)) == far


@pytest.mark.parametrize("text", ["", "att_", "att_01J", "att_" + "0" * 27])
def test_what_is_no_id_of_ours_has_no_moment(text: str) -> None:
    """A wrong length is our own mistake."""
    with pytest.raises(AssertionError):
        ulid_moment(text)


@pytest.mark.parametrize("letter", "ILOUilou-")
def test_letters_that_look_like_others_are_no_ulid(letter: str) -> None:
    """Crockford's alphabet leaves them out, and ids are spelled in capitals."""
    with pytest.raises(ValueError, match="substring not found"):
        ulid_moment("att_" + letter + "0" * 25)


def test_ids_sort_by_their_time() -> None:
    """The database's order of ids is the order of making, down to the millisecond."""
    moments = [MOMENT + timedelta(milliseconds=step) for step in (0, 1, 2, 1000, 10**9)]
    ids = [an_id(moment, bytes([255 - at]) * 10) for at, moment in enumerate(moments)]
    assert sorted(ids) == ids


def test_the_system_clock_makes_ids_that_differ_and_tell_now() -> None:
    """A prefix, an underscore, 26 characters; the same millisecond makes another id."""
    clock = SystemClock()
    before = clock.now()
    ids = [clock.new_id("gen") for _ in range(200)]
    assert len(set(ids)) == 200
    assert all(re.fullmatch(r"gen_[0-9A-HJKMNP-TV-Z]{26}", id_) for id_ in ids)
    floor = before.replace(microsecond=before.microsecond // 1000 * 1000)
    assert all(floor <= ulid_moment(id_) <= clock.now() for id_ in ids)


def test_the_system_clock_is_utc_monotonic_and_random() -> None:
    """What everything else takes from it has the promised shape."""
    clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    first = clock.monotonic()
    assert clock.monotonic() >= first
    samples = [clock.random() for _ in range(100)]
    assert all(0.0 <= sample < 1.0 for sample in samples)
    assert len(set(samples)) > 90
    assert len(clock.token(32)) == 32
    assert clock.token(32) != clock.token(32)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 5, 28, 1, 2, 3, 4_000, tzinfo=UTC), "2026-05-28T01:02:03.004Z"),
        (datetime(2026, 5, 28, 1, 2, 3, 999, tzinfo=UTC), "2026-05-28T01:02:03.000Z"),
        (datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "2026-12-31T23:59:59.999Z"),
        (datetime(2026, 5, 28, 1, 2, 3, tzinfo=timezone(timedelta(hours=8))), "2026-05-27T17:02:03.000Z"),
    ],
)
def test_moments_are_spelled_in_utc_with_milliseconds(moment: datetime, text: str) -> None:
    """Cut, never rounded up: a record is not from the next second, nor from another zone."""
    assert rfc3339(moment) == text
    assert from_rfc3339(text) == moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def test_spelled_moments_sort_as_text() -> None:
    """The store compares them as text."""
    moments = [MOMENT + timedelta(milliseconds=step) for step in (0, 1, 1000, 60_000, 86_400_000)]
    texts = [rfc3339(moment) for moment in moments]
    assert sorted(texts) == texts
    assert len({len(text) for text in texts}) == 1
