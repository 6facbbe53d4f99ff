"""Whatever an upstream writes into an error, it becomes a failure that may be shown."""

from __future__ import annotations

from types import MappingProxyType

from hypothesis import assume, given
from hypothesis import strategies as st

from holdfast.config import Flavor, Provider, Upstream
from holdfast.providers.conversation import Failed
from holdfast.providers.error_answers import failure_of, retry_after_s
from holdfast.providers.http import Head
from holdfast.providers.registry import conversation_for
from holdfast.types import Charge, FailureKind, Geometry, Request, Surface, Tier
from holdfast.wire.answers import Answer, UpstreamError

text = st.text(max_size=60)
known = st.sampled_from(["moderation_blocked", "insufficient_quota", "INTERNAL", "\u00b2", "503", "4" * 5000])
words = st.none() | text | known
statuses = st.integers(200, 599)
errors = st.builds(
    UpstreamError,
    status=st.none() | statuses,
    message=st.text(max_size=400),
    type=words,
    code=words,
    retry_after_s=st.none() | st.floats(allow_nan=False),
    quota_per_day=st.booleans(),
    reason=words,
    is_json=st.booleans(),
)
dates = st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT"))
hints = st.one_of(
    text,
    st.floats().map(str),
    st.integers().map(str),
    dates,
    st.from_regex(r"[A-Z][a-z]{2}, \d{1,30} Jan \d{1,30} \d\d:\d\d:\d\d ([+-]\d{1,30}|GMT)?", fullmatch=True),
    st.from_regex(r"(\d{1,400}h)?(\d{1,9}m)?(\d{1,9}(\.\d{1,9})?s)?(\d{1,9}ms)?", fullmatch=True),
)
headers = st.dictionaries(
    st.sampled_from(["retry-after", "retry-after-ms", "date", "x-ratelimit-reset-requests", "content-type"]),
    st.tuples(hints),
)
heads = st.builds(Head, status=statuses, headers=headers.map(MappingProxyType))


@given(heads, errors, st.booleans())
def test_every_error_becomes_a_failure_fit_to_be_shown(head: Head, error: UpstreamError, is_relay: bool) -> None:
    """One bounded, printable line, a hint in bounds, and nothing raised."""
    failure = failure_of(head, error, upstream="up", is_relay=is_relay, secrets=("the-key-of-the-operator",))
    assert len(failure.detail) <= 2000
    assert not any(char < " " or char == "\x7f" for char in failure.detail)
    assert failure.detail.startswith(("up answered ", "up told of an error", "the upstream 'up' "))
    assert failure.retry_after_s is None or 0.0 <= failure.retry_after_s <= 86_400.0
    assert failure.reason is None or len(failure.reason) <= 100


@given(heads)
def test_every_hint_is_none_or_in_bounds(head: Head) -> None:
    """Never negative, never nan, never more than a day."""
    wait_s = retry_after_s(head)
    assert wait_s is None or 0.0 <= wait_s <= 86_400.0


@given(st.text(st.characters(categories=["L", "N", "P"]), min_size=17, max_size=200), st.data())
def test_no_quotation_of_a_secret_is_shown(secret: str, data: st.DataObject) -> None:
    """Any 17 characters of it in a row, anywhere in the message."""
    at = data.draw(st.integers(0, len(secret) - 17))
    quoted = secret[at : at + 17]
    message = data.draw(st.text("abc ", max_size=50)) + quoted + data.draw(st.text("abc ", max_size=50))
    error = UpstreamError(status=None, message=message)
    head = Head(status=400, headers=MappingProxyType({}))
    detail = failure_of(head, error, upstream="up", is_relay=False, secrets=("key", secret)).detail
    assert detail == "up answered 400"


@given(
    st.sampled_from(Provider),
    st.sampled_from(Flavor),
    st.booleans(),
    st.integers(200, 599),
    st.sampled_from(["application/json", "text/event-stream", "text/html", ""]),
    st.binary(max_size=200),
)
def test_every_error_body_is_judged(
    provider: Provider, flavor: Flavor, stream: bool, status: int, content_type: str, body: bytes
) -> None:
    """Any bytes under any error status, for each provider; `unpaid` is claimed of a 5xx only for a 503."""
    assume(status >= 300)
    conversation = conversation_for(
        Upstream(name="up", provider=provider, base_url="https://up.example/v1", flavor=flavor),
        Request(
            surface=Surface.OPENAI,
            model="m",
            prompt="a lighthouse",
            geometry=Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=1, height_px=1),
            stream=stream,
        ),
        model="m",
        key="the-key",
        idempotency_key="gen_1.0.0",
        timeout_s=1.0,
    )
    head = Head(status=status, headers=MappingProxyType({"content-type": (content_type,)}))
    reader = conversation.head(head)
    reader.feed(body)
    step = conversation.received(head, reader.finish())
    assert isinstance(step, Failed)
    if status >= 500 and status != 503 and b"{" not in body:
        assert step.failure.charge is Charge.UNKNOWN
    assert step.failure.status == status


@given(st.sampled_from(Provider), st.booleans())
def test_an_empty_answer_is_never_a_success(provider: Provider, is_stream: bool) -> None:
    """A 200 that holds nothing is a failure of a known kind, its charge not claimed to be none."""
    conversation = conversation_for(
        Upstream(name="up", provider=provider, base_url="https://up.example/v1"),
        Request(
            surface=Surface.OPENAI,
            model="m",
            prompt="p",
            geometry=Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=1, height_px=1),
        ),
        model="m",
        key="k",
        idempotency_key="g.0.0",
        timeout_s=1.0,
    )
    content_type = "text/event-stream" if is_stream else "application/json"
    head = Head(status=200, headers=MappingProxyType({"content-type": (content_type,)}))
    step = conversation.received(head, Answer(images=(), document=b"{}"))
    assert isinstance(step, Failed)
    assert step.failure.kind in (FailureKind.NO_IMAGE, FailureKind.LOST_REPLY)
    assert step.failure.charge is Charge.UNKNOWN
