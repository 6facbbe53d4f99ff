"""How long an upstream asks to be left alone is read alike at every provider, and never believed too far."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import Provider, Upstream
from holdfast.policy.credentials import FRESH, KeyPolicy, after_failure, ready_at
from holdfast.policy.retry import Circumstances, RetryPolicy, Tally, decide_after_failure
from holdfast.providers.conversation import Failed
from holdfast.providers.error_answers import RETRY_AFTER_S_MAX
from holdfast.providers.http import Head
from holdfast.providers.registry import conversation_for
from holdfast.types import Failure, Geometry, Request, Surface, Tier

NOON = datetime(2026, 1, 17, 12, 0, tzinfo=UTC)
REQUEST = Request(
    surface=Surface.OPENAI,
    model="m",
    prompt="a lighthouse",
    geometry=Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=1024, height_px=1024),
)
providers = st.sampled_from(Provider)
statuses = st.sampled_from([429, 503])


def failed(provider: Provider, status: int, headers: dict[str, str], body: bytes = b"{}") -> Failure:
    """Let an upstream of this provider answer with an error, and give what becomes of it."""
    conversation = conversation_for(
        Upstream(name="up", provider=provider, base_url="https://up.example/v1"),
        REQUEST,
        model="m",
        key="the-key",
        idempotency_key="gen_1.0.0",
        timeout_s=1.0,
    )
    told = {"content-type": "application/json", **headers}
    head = Head(status=status, headers=MappingProxyType({name: (value,) for name, value in told.items()}))
    reader = conversation.head(head)
    reader.feed(body)
    step = conversation.received(head, reader.finish())
    assert isinstance(step, Failed)
    return step.failure


@given(providers, statuses, st.floats(0.0, RETRY_AFTER_S_MAX))
def test_seconds_are_seconds(provider: Provider, status: int, seconds: float) -> None:
    """Whole or not."""
    assert failed(provider, status, {"retry-after": repr(seconds)}).retry_after_s == seconds


@given(providers, statuses, st.floats(RETRY_AFTER_S_MAX, allow_nan=False) | st.just(365.0 * 86_400))
def test_nothing_is_believed_beyond_a_day(provider: Provider, status: int, seconds: float) -> None:
    """A year, or for ever."""
    assert failed(provider, status, {"retry-after": repr(seconds)}).retry_after_s == RETRY_AFTER_S_MAX


@given(providers, statuses, st.floats(max_value=-1e-9, allow_nan=False))
def test_a_negative_wait_is_none(provider: Provider, status: int, seconds: float) -> None:
    """Nobody is sent back into the past."""
    assert failed(provider, status, {"retry-after": repr(seconds)}).retry_after_s is None


@given(providers, statuses, st.text("abc :,;-+e.%\u00e9\u0661", max_size=30))
def test_garbage_says_nothing(provider: Provider, status: int, text: str) -> None:
    """No digit either that Python would take for one by another alphabet than ours."""
    assert failed(provider, status, {"retry-after": text}).retry_after_s is None


@given(providers, statuses, st.integers(-(10**9), 10**9))
def test_a_date_counts_from_the_answers_own(provider: Provider, status: int, seconds: int) -> None:
    """One that has passed: at once; one in a year: in a day; and without the answer's own date it says nothing."""
    until = format_datetime(NOON + timedelta(seconds=seconds), usegmt=True)
    headers = {"retry-after": until, "date": format_datetime(NOON, usegmt=True)}
    expected_s = min(max(float(seconds), 0.0), RETRY_AFTER_S_MAX)
    assert failed(provider, status, headers).retry_after_s == expected_s
    assert failed(provider, status, {"retry-after": until}).retry_after_s is None


delays = st.one_of(
    st.text(max_size=20),
    st.floats().map(lambda seconds: f"{seconds}s"),
    st.integers().map(lambda seconds: f"{seconds}s"),
    st.integers(),
    st.none(),
    st.fixed_dictionaries({}, optional={"seconds": st.integers() | st.text(max_size=30), "nanos": st.integers()}),
)


@given(st.sampled_from([Provider.GEMINI]), statuses, delays)
def test_googles_own_hint_is_bounded_as_well(provider: Provider, status: int, delay: object) -> None:
    """`RetryInfo.retryDelay`, whatever stands there: never negative, never beyond a day, nothing raised."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    body = json.dumps({"error": {"code": status, "message": "busy", "details": [info]}}).encode()
    hint_s = failed(provider, status, {}, body).retry_after_s
    assert hint_s is None or 0.0 <= hint_s <= RETRY_AFTER_S_MAX


@pytest.mark.parametrize(("delay", "seconds"), [("34.5s", 34.5), ({"seconds": 34, "nanos": 500_000_000}, 34.5)])
def test_googles_own_hint_is_read(delay: object, seconds: float) -> None:
    """In both forms of it, and it wins over the header."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}
    body = json.dumps({"error": {"code": 429, "message": "busy", "details": [info]}}).encode()
    assert failed(Provider.GEMINI, 429, {"retry-after": "5"}, body).retry_after_s == seconds


@given(providers, statuses, st.one_of(st.floats(), st.integers()).map(str), st.floats(0.0, 600.0))
def test_no_hint_keeps_a_key_or_a_caller_too_long(
    provider: Provider, status: int, hint: str, remaining_s: float
) -> None:
    """A key rests an hour at most, and nobody is told to wait beyond his deadline."""
    failure = failed(provider, status, {"retry-after": hint})
    keys = KeyPolicy()
    rested = after_failure(FRESH, failure, sent_at=0.0, now=1.0, jitter=0.5, is_last=False, policy=keys)
    assert ready_at(rested, now=1.0, policy=keys) - 1.0 <= keys.hint_s_max
    now = Circumstances(remaining_s=remaining_s, expected_s=45.0, jitter=0.5)
    decision = decide_after_failure(failure, tally=Tally.of((failure,)), now=now, policy=RetryPolicy())
    after_s = getattr(decision, "after_s", 0.0)
    assert after_s + 45.0 <= remaining_s or after_s == 0.0
