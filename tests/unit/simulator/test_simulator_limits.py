"""A minute's limit as the strictest upstream counts it."""

from __future__ import annotations

from holdfast.simulator.limits import CREDENTIALS_MAX, MinuteLimit, credential_of


def test_what_is_beyond_the_limit_is_refused_until_a_minute_has_passed() -> None:
    """A sliding window; what was refused does not count."""
    limit = MinuteLimit(3)
    assert [limit.refuses("a", at) for at in (0.0, 10.0, 20.0)] == [None] * 3
    assert [limit.refuses("a", at) for at in (20.0, 59.0, 59.5)] == [40.0, 1.0, 0.5]
    assert limit.refuses("a", 60.0) is None
    assert limit.refuses("a", 61.0) == 9.0
    assert limit.refuses("a", 70.0) is None


def test_each_credential_has_its_own() -> None:
    """Also the one that is none."""
    limit = MinuteLimit(1)
    assert [limit.refuses(name, 0.0) for name in ("a", "b", "", "a")] == [None, None, None, 60.0]
    assert credential_of({"authorization": "Bearer k", "x-goog-api-key": "g"}) == "Bearer k"
    assert (credential_of({"x-goog-api-key": "g"}), credential_of({})) == ("g", "")


def test_no_limit_counts_nothing() -> None:
    """Any number at one instant."""
    limit = MinuteLimit(0)
    assert all(limit.refuses("a", 0.0) is None for _ in range(1000))
    assert not limit._sent


def test_what_is_remembered_is_bounded() -> None:
    """The credential that was not seen for longest is forgotten."""
    limit = MinuteLimit(1)
    for number in range(CREDENTIALS_MAX + 1):
        limit.refuses(f"key-{number}", 0.0)
    assert len(limit._sent) == CREDENTIALS_MAX
    assert limit.refuses("key-0", 1.0) is None
    assert limit.refuses(f"key-{CREDENTIALS_MAX}", 1.0) == 59.0
