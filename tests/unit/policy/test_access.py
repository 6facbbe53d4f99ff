"""What a key may ask for, how long it is valid, and how much of it is taken at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import RequestError
from holdfast.policy.access import (
    CONCURRENCY_RETRY_S,
    MINUTE_S,
    NO_LIMITS,
    Limits,
    Scopes,
    Window,
    check_tls,
    check_valid,
    too_many,
    with_purchases,
)
from holdfast.types import Geometry, Request, Surface, Tier

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
GEOMETRY = Geometry(width_px=1024, height_px=1024, tier=Tier.K1, aspect_ratio="1:1")


def at(seconds: float) -> str:
    """A moment around now, as rows have it."""
    return (NOW + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def refused(work: Callable[[], object]) -> RequestError:
    """What a check says."""
    with pytest.raises(RequestError) as told:
        work()
    return told.value


# Scopes


@pytest.mark.parametrize(
    ("patterns", "names", "is_allowed"),
    [
        (("nano-banana-pro",), ("nano-banana-pro",), True),
        (("nano-banana-pro",), ("nano-banana",), False),
        (("nano-banana",), ("nano-banana-pro",), False),
        (("nano-*",), ("nano-banana-pro",), True),
        (("*",), ("anything.at/all:1",), True),
        (("gpt-*", "*-pro"), ("nano-banana-pro",), True),
        (("gemini-3-pro-image",), ("nano-banana-pro", "gemini-3-pro-image"), True),
        (("nano.banana*",), ("nano-banana-pro",), False),
        (("*banana*",), ("nano-banana-pro",), True),
    ],
)
def test_a_model_is_allowed_by_a_pattern_of_any_of_its_names(
    patterns: tuple[str, ...], names: tuple[str, ...], is_allowed: bool
) -> None:
    """Whole names; a star is any characters, and nothing else means anything."""
    scopes = Scopes(models=patterns)
    assert scopes.allows_model(*names) is is_allowed
    if not is_allowed:
        error = refused(lambda: scopes.check_model(*names))
        assert (error.code, error.status, error.param) == ("model_not_allowed", 403, "model")
        assert names[0] in error.message
        assert patterns[0] in error.message


def test_without_scopes_everything_is_allowed() -> None:
    """A key of before has none."""
    scopes = Scopes.of(None, None, None)
    for surface in Surface:
        scopes.check_surface(surface)
    for tier in Tier:
        scopes.check_size(tier)
    scopes.check_model("whatever")


def test_scopes_are_read_as_they_are_stored() -> None:
    """JSON lists; read once for the same text."""
    scopes = Scopes.of('["nano-*"]', '["1K","2K"]', '["openai"]')
    assert scopes == Scopes(
        models=("nano-*",), sizes=frozenset({Tier.K1, Tier.K2}), surfaces=frozenset({Surface.OPENAI})
    )
    assert Scopes.of('["nano-*"]', '["1K","2K"]', '["openai"]') is scopes


def test_another_size_and_another_surface_are_refused_by_name() -> None:
    """What would be allowed is told."""
    scopes = Scopes.of(None, '["1K","2K"]', '["openai","chat"]')
    size, surface = refused(lambda: scopes.check_size(Tier.K4)), refused(lambda: scopes.check_surface(Surface.GEMINI))
    assert (size.code, size.status, size.param) == ("scope_missing", 403, "size")
    assert "4K" in size.message
    assert "1K, 2K" in size.message
    assert (surface.code, surface.status) == ("scope_missing", 403)
    assert "gemini" in surface.message
    assert "chat, openai" in surface.message


def test_an_empty_list_allows_nothing() -> None:
    """The holder of the data folder administers, and asks for no images."""
    scopes = Scopes.of(None, None, "[]")
    for surface in Surface:
        assert refused(lambda surface=surface: scopes.check_surface(surface)).code == "scope_missing"  # type: ignore[misc]


# Validity


def test_a_key_without_an_end_has_none() -> None:
    """It is remembered for as long as anything is."""
    assert check_valid(revoked_at=None, expires_at=None, secret_expires_at=None, now=NOW) is None


@pytest.mark.parametrize(
    ("expires_s", "secret_s", "left_s"), [(60.0, None, 60.0), (None, 5.0, 5.0), (60.0, 5.0, 5.0), (5.0, 60.0, 5.0)]
)
def test_the_earlier_end_counts(expires_s: float | None, secret_s: float | None, left_s: float) -> None:
    """Of the key, or of the secret that was replaced."""
    ends = [None if each is None else at(each) for each in (expires_s, secret_s)]
    assert check_valid(revoked_at=None, expires_at=ends[0], secret_expires_at=ends[1], now=NOW) == left_s


@pytest.mark.parametrize(
    ("revoked", "expires", "secret", "words"),
    [
        (at(-1), None, None, f"revoked at {at(-1)}"),
        (at(-1), at(60), at(60), "revoked"),
        (None, at(0), None, f"expired at {at(0)}"),
        (None, at(-1), at(-1), "expired"),
        (None, at(60), at(-1), "was replaced"),
    ],
)
def test_a_key_that_has_ended_says_why(
    revoked: str | None, expires: str | None, secret: str | None, words: str
) -> None:
    """401, and not the same as a key that nobody knows."""
    error = refused(lambda: check_valid(revoked_at=revoked, expires_at=expires, secret_expires_at=secret, now=NOW))
    assert (error.code, error.status) == ("key_revoked", 401)
    assert words in error.message


def test_a_key_for_https_is_refused_in_clear() -> None:
    """And says what to do: by now somebody may have read it."""
    check_tls(tls_required=True, scheme="https")
    check_tls(tls_required=False, scheme="http")
    error = refused(lambda: check_tls(tls_required=True, scheme="http"))
    assert (error.code, error.status) == ("tls_required", 403)
    assert "rotate" in error.message


@pytest.mark.parametrize(
    ("of_caller", "of_key", "heeded"), [(None, None, None), (None, 1, 1), (2, None, 2), (1, 3, 1), (3, 1, 1), (2, 2, 2)]
)
def test_the_lower_number_of_purchases_counts(of_caller: int | None, of_key: int | None, heeded: int | None) -> None:
    """A caller asks for fewer, never for more than its key may."""
    asked = Request(surface=Surface.OPENAI, model="m", prompt="p", geometry=GEOMETRY, purchases_max=of_caller)
    assert with_purchases(asked, of_key) == replace(asked, purchases_max=heeded)


# Limits


def test_a_minutes_worth_may_come_at_once_and_the_next_waits_for_the_first() -> None:
    """And is told how long."""
    window = Window()
    for _ in range(3):
        assert window.wait_s(3, 100.0) == 0.0
        window.take(100.0)
    assert window.wait_s(3, 101.0) == MINUTE_S - 1.0
    assert window.wait_s(3, 100.0 + MINUTE_S) == 0.0


def test_what_is_arriving_counts_as_taken() -> None:
    """A hundred may ask while the first is being written down."""
    window = Window()
    window.take(100.0)
    assert window.wait_s(3, 110.0, arriving=1) == 0.0
    assert window.wait_s(3, 110.0, arriving=2) == MINUTE_S - 10.0
    assert window.wait_s(3, 110.0, arriving=3) == MINUTE_S


def test_a_lowered_rate_counts_at_once() -> None:
    """Whoever took ten of ten waits until only one of them is younger than a minute."""
    window = Window()
    for second in range(10):
        window.take(100.0 + second)
    assert window.wait_s(2, 110.0) == 108.0 + MINUTE_S - 110.0


@given(
    rate=st.integers(1, 8),
    gaps=st.lists(st.floats(0.0, 40.0, allow_nan=False), min_size=1, max_size=80),
)
def test_no_minute_ever_has_more_than_the_rate(rate: int, gaps: list[float]) -> None:
    """However they come; and whoever waits as long as told is taken."""
    window, now_s = Window(), 1000.0
    taken: list[float] = []
    for gap in gaps:
        now_s += gap
        wait_s = window.wait_s(rate, now_s)
        assert 0.0 <= wait_s <= MINUTE_S
        if wait_s == 0.0:
            window.take(now_s)
            taken.append(now_s)
        else:
            later = Window()
            for moment in taken:
                later.take(moment)
            assert later.wait_s(rate, now_s + wait_s + 1e-6) == 0.0
    for first, beyond in zip(taken, taken[rate:], strict=False):
        assert beyond - first >= MINUTE_S - 1e-6


def test_a_window_is_idle_when_its_minute_is_over() -> None:
    """Then it may be let go of."""
    window = Window()
    assert window.is_idle(0.0)
    window.take(100.0)
    assert not window.is_idle(100.0 + MINUTE_S - 0.001)
    assert window.is_idle(100.0 + MINUTE_S)


def test_without_limits_nothing_is_refused() -> None:
    """However much is open."""
    assert too_many(NO_LIMITS, None, open_=10_000, arriving=500, now_s=1.0) is None


@pytest.mark.parametrize(
    ("open_", "arriving", "is_refused"), [(0, 0, False), (1, 0, False), (2, 0, True), (1, 1, True)]
)
def test_open_and_arriving_ones_are_counted_together(open_: int, arriving: int, is_refused: bool) -> None:
    """Two at once, and the third comes later."""
    error = too_many(Limits(concurrency=2), None, open_=open_, arriving=arriving, now_s=1.0)
    assert (error is not None) is is_refused
    if error is not None:
        assert (error.code, error.status, error.retry_after_s) == ("concurrency_limited", 429, CONCURRENCY_RETRY_S)


def test_a_rate_says_when_the_next_one_is_taken() -> None:
    """In the sentence, and for `Retry-After`."""
    window = Window()
    window.take(100.0)
    error = too_many(Limits(rate_per_min=1), window, open_=0, arriving=0, now_s=119.5)
    assert error is not None
    assert (error.code, error.status, error.retry_after_s) == ("rate_limited", 429, 40.5)
    assert "in 41 s" in error.message
    assert too_many(Limits(rate_per_min=1), None, open_=0, arriving=0, now_s=119.5) is None


@pytest.mark.parametrize("fields", [{"rate_per_min": 0}, {"concurrency": 0}])
def test_a_limit_of_nothing_is_no_limit_of_ours(fields: dict[str, int]) -> None:
    """Whoever wants nothing of a key revokes it."""
    with pytest.raises(AssertionError):
        Limits(**fields)
