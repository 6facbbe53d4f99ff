"""Headers are anyone's to write: no reading of them fails, and the table's promises hold for all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import Heartbeat
from holdfast.errors import RequestError
from holdfast.policy.callers import LateFailure, classify, late_form, retry_count
from holdfast.policy.heartbeats import schedule_for
from holdfast.policy.prefer import ASKED_BEAT_S_MIN, HEARTBEAT_S_MAX, asked_timeout_s, parse_prefer

values = st.one_of(
    st.text(st.characters(max_codepoint=255), max_size=40),
    st.sampled_from(
        [
            "python",
            "js",
            "2",
            "OpenAI/Python 3.54.0",
            "python-httpx/0.28",
            "google-genai-sdk/3.4.0",
            "volc-sdk-python/1",
        ]
    ),
)
headers = st.dictionaries(
    st.sampled_from(["user-agent", "x-stainless-lang", "x-stainless-retry-count", "x-goog-api-client", "accept"]),
    values,
)
words = st.sampled_from(
    ["heartbeat", "Heartbeat", "wait", "respond-async", "foo", "=", "5", "0.5", '"', "\\", ",", ";", " ", "\t", "é"]
)
prefers = st.lists(words, max_size=25).map("".join)


@given(headers)
def test_every_caller_has_a_class_and_none_is_cut_without_joining(sent: dict[str, str]) -> None:
    """Whatever a client says of itself, it is told a late failure, and is not made to buy twice."""
    caller = classify(sent)
    assert late_form(caller, joins=False) is not LateFailure.ABORT
    if retry_count(sent) >= 2:
        assert caller.late_failure is not LateFailure.ABORT
    schedule = schedule_for(caller, Heartbeat())
    assert schedule.first_beat_s is not None
    assert schedule.first_beat_s <= (4.5 if caller.is_impatient else 25.0)


@given(prefers)
def test_any_prefer_header_is_read_or_ignored(header: str) -> None:
    """It never fails, and gives an interval that can be kept."""
    preferences = parse_prefer(header)
    assert (preferences.heartbeat_s is None) is (preferences.applied == ())
    if preferences.heartbeat_s is not None:
        assert 0.0 <= preferences.heartbeat_s <= HEARTBEAT_S_MAX
        schedule = schedule_for(classify({}), Heartbeat(), asked_beat_s=preferences.heartbeat_s)
        assert (schedule.first_beat_s is None) is (preferences.heartbeat_s == 0.0)
        assert schedule.beat_s >= ASKED_BEAT_S_MIN


@given(st.integers(1, 600), prefers.filter(lambda text: '"' not in text and "heartbeat" not in text.lower()))
def test_a_stated_interval_is_found_beside_any_other_preference(seconds: int, other: str) -> None:
    """Before or after, as its own element of the list."""
    for header in (f"{other},heartbeat={seconds}", f"heartbeat={seconds},{other}"):
        assert parse_prefer(header).heartbeat_s == seconds


@given(st.text(max_size=20) | st.floats().map(str) | st.integers().map(str))
def test_any_budget_is_a_usable_number_or_refused(text: str) -> None:
    """Never negative, endless or not a number."""
    try:
        seconds = asked_timeout_s({"holdfast-timeout": text})
    except RequestError as refused:
        assert refused.status == 400
        return
    assert seconds is not None
    assert 0.0 < seconds <= 3600.0
