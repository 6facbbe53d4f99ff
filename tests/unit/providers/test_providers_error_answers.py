"""From an error answer to a failure: hints, precedence, and details that hold no secret."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from holdfast.providers.error_answers import RETRY_AFTER_S_MAX, failure_of, meaning_of, retry_after_s, status_of
from holdfast.providers.http import Head
from holdfast.types import Charge, Failure, FailureKind
from holdfast.wire.answers import UpstreamError

NOON = "Tue, 24 Nov 2026 12:00:00 GMT"
PROMPT = "a lighthouse at the end of the world, painted by a child of seven"
KEY = "sk-0123456789abcdefghij"


def an_error(**overrides: Any) -> UpstreamError:
    """A decoded envelope."""
    return UpstreamError(**{"status": None, "message": "", **overrides})


def a_head(status: int = 429, **headers: str) -> Head:
    """A head; underscores in names are hyphens."""
    return Head(
        status=status,
        headers=MappingProxyType({name.replace("_", "-"): (value,) for name, value in headers.items()}),
    )


def failed(error: UpstreamError, *, head: Head | None = None, secrets: tuple[str, ...] = (KEY, PROMPT)) -> Failure:
    """The failure of an error answer."""
    return failure_of(head or a_head(400), error, upstream="the-upstream", is_relay=False, secrets=secrets)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry_after": "7"}, 7.0),
        ({"retry_after": "0"}, 0.0),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": "-3"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "inf"}, RETRY_AFTER_S_MAX),
        ({"retry_after": "99999999"}, RETRY_AFTER_S_MAX),
        ({"retry_after_ms": "250", "retry_after": "9"}, 0.25),
        ({"retry_after_ms": "x", "retry_after": "9"}, 9.0),
        ({"retry_after": "Tue, 24 Nov 2026 12:00:30 GMT", "date": NOON}, 30.0),
        ({"retry_after": "Tue, 24 Nov 2026 11:00:00 GMT", "date": NOON}, 0.0),
        ({"retry_after": "Tue, 24 Nov 2026 12:00:30 GMT"}, None),
        ({"retry_after": "Tue, 24 Nov 2026 12:00:30 GMT", "date": "yesterday"}, None),
        ({"retry_after": "Tue, 24 Nov 2026 12:00:30", "date": NOON}, None),
        (
            {"retry_after": "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "date": NOON},
            None,
        ),
        ({"retry_after": "Mon, 01 Jan 2026 00:00:00 +99999999999999", "date": NOON}, None),
        ({"x_ratelimit_reset_requests": "6m0s"}, 360.0),
        ({"x_ratelimit_reset_requests": "1s"}, 1.0),
        ({"x_ratelimit_reset_requests": "120ms"}, 0.12),
        ({"x_ratelimit_reset_requests": "1h2m3.5s"}, 3723.5),
        ({"x_ratelimit_reset_requests": "999999999h"}, RETRY_AFTER_S_MAX),
        ({"x_ratelimit_reset_requests": ""}, None),
        ({"x_ratelimit_reset_requests": "soon"}, None),
        ({"retry_after": "2", "x_ratelimit_reset_requests": "6m0s"}, 2.0),
    ],
)
def test_the_hint_to_wait_is_read_in_each_of_its_forms(headers: dict[str, str], wait_s: float | None) -> None:
    """A date is counted from the answer's own `date`; what is malformed is no hint, and never an exception."""
    assert retry_after_s(a_head(429, **headers)) == (None if wait_s is None else pytest.approx(wait_s))


def test_a_rate_window_is_a_hint_for_a_rate_limit_only() -> None:
    """Every good answer carries it, and a 503 has nothing to do with it."""
    assert retry_after_s(a_head(503, x_ratelimit_reset_requests="6m0s")) is None


def test_the_envelopes_hint_wins_over_the_heads() -> None:
    """Google's RetryInfo is by quota; it is bounded and never negative."""
    assert failed(an_error(retry_after_s=34.0), head=a_head(429, retry_after="5")).retry_after_s == 34.0
    assert failed(an_error(retry_after_s=1e12)).retry_after_s == RETRY_AFTER_S_MAX
    assert failed(an_error(retry_after_s=-1.0)).retry_after_s == 0.0


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ({"status": 429}, 429),
        ({"code": "503"}, 503),
        ({"status": 200, "code": "504"}, 504),
        ({"code": "200"}, 500),
        ({"code": "600"}, 500),
        ({"code": "rate_limit_exceeded"}, 500),
        ({"code": "\u00b2\u00b2\u00b2"}, 500),
        ({"code": "\u0664\u0662\u0669"}, 500),
        ({"code": "9" * 5000}, 500),
        ({"code": ""}, 500),
        ({}, 500),
    ],
)
def test_the_status_of_an_error_inside_a_200(error: dict[str, Any], status: int) -> None:
    """Its numeric code if that is an error's; whatever an upstream writes there, nothing raises."""
    assert status_of(an_error(**error)) == status


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (429, {"reason": "MODEL_CAPACITY_EXHAUSTED", "code": "429"}, FailureKind.OVERLOADED),
        (400, {"reason": "API_KEY_INVALID", "type": "INVALID_ARGUMENT"}, FailureKind.CREDENTIAL),
        (429, {"code": "insufficient_quota", "type": "rate_limit_exceeded"}, FailureKind.QUOTA_SPENT),
        (429, {"quota_per_day": True}, FailureKind.QUOTA_SPENT),
        (503, {"quota_per_day": True}, FailureKind.OVERLOADED),
        (
            400,
            {"code": "moderation_blocked", "type": "slow_down", "reason": "input"},
            FailureKind.REFUSED_INPUT,
        ),
        (404, {"is_json": False}, FailureKind.UNREACHABLE),
        (404, {}, FailureKind.BAD_REQUEST),
        (418, {}, FailureKind.BAD_REQUEST),
        (425, {}, FailureKind.OVERLOADED),
        (599, {}, FailureKind.SERVER_FAULT),
        (304, {}, FailureKind.SERVER_FAULT),
        (400, {"code": "entitlement_x_limit_exceeded"}, FailureKind.QUOTA_SPENT),
        (400, {"code": "entitlement_x"}, FailureKind.BAD_REQUEST),
    ],
)
def test_the_more_precise_word_decides(status: int, error: dict[str, Any], kind: FailureKind) -> None:
    """Refusals first, then reason over code over type, then the status."""
    assert meaning_of(status, an_error(**error)).kind is kind


@pytest.mark.parametrize("status", range(400, 600))
def test_unpaid_is_claimed_only_where_the_work_cannot_have_begun(status: int) -> None:
    """`no` must never be wrong: of 5xx it holds for 503 alone, whatever else is unknown."""
    meaning = meaning_of(status, an_error())
    if status >= 500:
        assert (meaning.charge is Charge.NO) is (status == 503)
    else:
        assert (meaning.charge is Charge.NO) is (status not in (408, 409, 499))


@pytest.mark.parametrize(
    "message",
    [
        f"Incorrect key {KEY} provided",
        f"Your prompt '{PROMPT}' is too long",
        f"Your prompt '{PROMPT[:25]}…' is too long",
        f"near: {PROMPT[20:40]}",
        f"Incorrect key {KEY[:18]}***",
        PROMPT.replace(" at ", "\nat\t"),
        "x" * 280 + PROMPT,
    ],
    ids=["key", "prompt", "its beginning", "its middle", "half a key", "wrapped", "at the cut"],
)
def test_a_message_that_quotes_a_secret_is_left_out(message: str) -> None:
    """Whole or in part: upstreams cut long prompts short before they quote them."""
    detail = failed(an_error(message=message, code="invalid_value")).detail
    assert detail == "the-upstream answered 400 invalid_value"


def test_a_short_prompt_is_a_secret_too() -> None:
    """Where it is quoted whole."""
    assert failed(an_error(message="no model draws 'a cat'"), secrets=("a cat",)).detail == "the-upstream answered 400"
    assert failed(an_error(message="size is wrong"), secrets=("a cat", "")).detail.endswith(": size is wrong")


def test_a_message_is_one_bounded_line() -> None:
    """It goes into a record, a log and an answer."""
    detail = failed(an_error(message="first\r\nsecond\x1b[31m\x00third " + "y" * 5000)).detail
    assert detail.startswith("the-upstream answered 400: first second [31m third y")
    assert detail.isprintable()
    assert len(detail) < 400


@pytest.mark.parametrize("status", [401, 429, 500, 503, 504])
def test_only_a_callers_mistake_is_explained_in_the_upstreams_words(status: int) -> None:
    """Elsewhere they name our account, our key or our quota, which are not the caller's business."""
    failure = failed(an_error(message="Organization org-123 is out of money"), head=a_head(status))
    assert "org-123" not in failure.detail
    assert f"answered {status}" in failure.detail


@pytest.mark.parametrize(
    ("status", "words"),
    [(400, {"type": "INVALID_ARGUMENT", "reason": "API_KEY_INVALID"}), (401, {}), (403, {"code": "access_denied"})],
)
def test_a_refused_key_is_told_as_the_gateways_own(status: int, words: dict[str, Any]) -> None:
    """The caller has a key too, and would look there."""
    detail = failed(an_error(**words), head=a_head(status)).detail
    told = " ".join((f"answered {status}", *words.values()))
    assert detail == f"the upstream 'the-upstream' refused the gateway's own key or account ({told}); check its `keys`"


def test_a_page_of_html_in_place_of_an_api_points_at_the_address() -> None:
    """The API was never reached: the operator wrote another address."""
    detail = failed(an_error(is_json=False), head=a_head(404)).detail
    assert detail.startswith(
        "the upstream 'the-upstream' answered 404 and no error of an image API; check its `base_url`"
    )


def test_codes_are_shown_once_and_short() -> None:
    """A relay may put anything there, line breaks and half a megabyte included."""
    failure = failed(an_error(type="t", code="t", reason="r\n" + "z" * 500_000), head=a_head(503))
    assert failure.detail.startswith("the-upstream answered 503 t r z")
    assert len(failure.detail) < 200
    assert failure.reason is not None
    assert failure.reason.isprintable()
    assert len(failure.reason) <= 100


def test_the_reason_is_the_most_precise_word() -> None:
    """Kept apart from the detail, for programs."""
    assert failed(an_error(type="a", code="b", reason="c")).reason == "c"
    assert failed(an_error(type="a", code="b")).reason == "b"
    assert failed(an_error(type="a")).reason == "a"
    assert failed(an_error()).reason is None


def test_an_error_inside_a_200_is_not_called_an_answer_of_500() -> None:
    """The status that we give such an error is ours; an operator must not look for it in the upstream's log."""
    head = Head(status=200, headers=MappingProxyType({}))
    error = UpstreamError(status=None, message="No.", type="image_generation_user_error", code="moderation_blocked")
    failure = failure_of(head, error, upstream="openai", is_relay=False)
    assert failure.detail == "openai told of an error image_generation_user_error moderation_blocked"


@pytest.mark.parametrize(
    ("status", "error", "is_relay", "kind", "charge"),
    [
        (400, {"code": "prompt_blocked"}, False, FailureKind.REFUSED_INPUT, Charge.NO),
        (400, {"code": "prompt_blocked"}, True, FailureKind.REFUSED_INPUT, Charge.YES),
        (400, {"code": "content_filter"}, False, FailureKind.REFUSED_INPUT, Charge.NO),
        (400, {"code": "content_filter"}, True, FailureKind.REFUSED_INPUT, Charge.YES),
        (403, {"code": "403", "reason": "flagged_input"}, True, FailureKind.REFUSED_INPUT, Charge.NO),
        (403, {"code": "403"}, True, FailureKind.CREDENTIAL, Charge.NO),
        (
            429,
            {"type": "RESOURCE_EXHAUSTED", "reason": "RATE_LIMIT_EXCEEDED"},
            False,
            FailureKind.RATE_LIMITED,
            Charge.NO,
        ),
        (500, {"code": "503"}, True, FailureKind.OVERLOADED, Charge.NO),
        (500, {"code": "429"}, True, FailureKind.RATE_LIMITED, Charge.NO),
        (500, {"code": "504"}, True, FailureKind.UPSTREAM_TIMEOUT, Charge.UNKNOWN),
        (500, {"code": "400"}, True, FailureKind.BAD_REQUEST, Charge.NO),
        (500, {"code": "500"}, True, FailureKind.SERVER_FAULT, Charge.UNKNOWN),
        (500, {"code": "0"}, True, FailureKind.SERVER_FAULT, Charge.UNKNOWN),
        (500, {"code": "503"}, False, FailureKind.SERVER_FAULT, Charge.UNKNOWN),
        (502, {"code": "429"}, True, FailureKind.SERVER_FAULT, Charge.UNKNOWN),
    ],
)
def test_what_relays_say_beyond_the_status(
    status: int, error: dict[str, str], is_relay: bool, kind: FailureKind, charge: Charge
) -> None:
    """A word, a flag, or the status of whoever stands behind them, told with a 500 of their own."""
    meaning = meaning_of(status, an_error(status=status, **error), is_relay=is_relay)
    assert (meaning.kind, meaning.charge) == (kind, charge)
