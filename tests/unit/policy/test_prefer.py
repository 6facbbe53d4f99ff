"""`Prefer` by RFC 7240, and `Holdfast-Timeout`."""

from __future__ import annotations

import pytest

from holdfast.errors import RequestError
from holdfast.policy.prefer import HEADER_CHARS_MAX, Preferences, asked_timeout_s, parse_prefer
from holdfast.types import Surface


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("heartbeat=5", 5.0),
        ("heartbeat=0", 0.0),
        ("heartbeat=2.5", 2.5),
        ('heartbeat="5"', 5.0),
        ("HeartBeat = 5", 5.0),
        ("respond-async, heartbeat=5", 5.0),
        ("respond-async; wait=10, heartbeat=5; foo=bar", 5.0),
        ('foo="a, heartbeat=9", heartbeat=5', 5.0),
        ('foo="a \\" heartbeat=9", heartbeat=5', 5.0),
        ("foo; heartbeat=9, heartbeat=5", 5.0),
        ("heartbeat=5, heartbeat=9", 5.0),
        (", ,heartbeat=5,,", 5.0),
        ("heartbeat=99999", 600.0),
    ],
)
def test_the_heartbeat_is_found_as_the_grammar_allows(header: str, seconds: float) -> None:
    """Spaces, quotes, parameters and other preferences around it do not matter; the first of two counts."""
    assert parse_prefer(header).heartbeat_s == seconds


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "heartbeat",
        "heartbeat=",
        "heartbeat=fast",
        "heartbeat=-1",
        "heartbeat=1e3",
        "x-heartbeat=5",
        '"',
        '="5"',
        "=,;",
    ],
)
def test_what_is_malformed_or_unknown_is_ignored(header: str | None) -> None:
    """A preference is a wish: one that cannot be read is as good as none (RFC 7240 §2)."""
    assert parse_prefer(header) == Preferences()


def test_what_is_honoured_is_told() -> None:
    """`Preference-Applied` names the interval in force."""
    assert parse_prefer("respond-async, heartbeat=05").applied == ("heartbeat=5",)
    assert parse_prefer("heartbeat=99999").applied == ("heartbeat=600",)
    assert parse_prefer("respond-async").applied == ()


@pytest.mark.parametrize(
    ("header", "seconds", "applied"),
    [
        ("wait=10", 10.0, ("wait=10",)),
        ("wait=0", 0.0, ("wait=0",)),
        ("wait=2.5", 2.5, ("wait=2.5",)),
        ('Wait = "10"', 10.0, ("wait=10",)),
        ("wait=99999", 55.0, ("wait=55",)),
        ("respond-async", 0.0, ("respond-async",)),
        ("Respond-Async", 0.0, ("respond-async",)),
        ("respond-async, wait=10", 10.0, ("respond-async", "wait=10")),
        ("wait=10, heartbeat=5", 10.0, ("wait=10",)),
        ("respond-async; foo=1", 0.0, ("respond-async",)),
    ],
)
def test_a_status_instead_of_a_long_wait_is_asked_for(header: str, seconds: float, applied: tuple[str, ...]) -> None:
    """At once, or after some seconds; what is told as applied is what is done, clamped to 55 s."""
    preferences = parse_prefer(header)
    assert (preferences.later_after_s, preferences.later_applied) == (seconds, applied)


@pytest.mark.parametrize(
    "header",
    [None, "wait", "wait=", "wait=soon", "wait=-1", "respond-async=0", "respond-asynchronously", "foo; wait=3"],
)
def test_whoever_asks_for_no_status_is_held(header: str | None) -> None:
    """A wish that cannot be read is none, and a parameter of another wish is no wish."""
    preferences = parse_prefer(header)
    assert (preferences.later_after_s, preferences.later_applied) == (None, ())


@pytest.mark.parametrize(
    ("header", "openai", "native"),
    [(None, None, 0.0), ("heartbeat=5", None, 0.0), ("respond-async", 0.0, 0.0), ("wait=10", 10.0, 10.0)],
)
def test_each_surface_waits_in_its_own_way(header: str | None, openai: float | None, native: float) -> None:
    """OpenAI's callers are held unless they ask otherwise, native ones never, Google's always."""
    preferences = parse_prefer(header)
    assert preferences.later_on(Surface.OPENAI) == openai
    assert preferences.later_on(Surface.GENERATIONS) == native
    assert preferences.later_on(Surface.GEMINI) is None


def test_a_header_made_to_be_slow_is_read_only_so_far() -> None:
    """Thirty thousand unpaired quotes cost no more than a thousand."""
    assert parse_prefer('"\\' * 16000 + ", heartbeat=5") == Preferences()
    assert parse_prefer(" " * (HEADER_CHARS_MAX - 11) + "heartbeat=5").heartbeat_s == 5.0


@pytest.mark.parametrize(("text", "seconds"), [("600", 600.0), (" 12.5 ", 12.5), ("3600", 3600.0)])
def test_a_callers_budget_is_read(text: str, seconds: float) -> None:
    """Whole or decimal seconds, up to an hour."""
    assert asked_timeout_s({"holdfast-timeout": text}) == seconds


def test_no_budget_is_none() -> None:
    """The route's own deadline holds."""
    assert asked_timeout_s({}) is None


@pytest.mark.parametrize("text", ["", "0", "-5", "soon", "1e9", "3601", "nan", "inf", "10s"])
def test_an_impossible_budget_is_refused(text: str) -> None:
    """A misread budget would cut a paid call, so it is told before anything is sent."""
    with pytest.raises(RequestError, match="number of seconds") as told:
        asked_timeout_s({"holdfast-timeout": text})
    assert (told.value.code, told.value.status, told.value.param) == ("invalid_request", 400, "Holdfast-Timeout")


def test_what_is_told_as_applied_is_what_is_done() -> None:
    """A beat shorter than the shortest is told as the shortest; none at all stays none."""
    assert parse_prefer("heartbeat=0.2").applied == ("heartbeat=1",)
    assert parse_prefer("heartbeat=0").applied == ("heartbeat=0",)
