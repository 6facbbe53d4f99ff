"""From an error answer to a `Failure`: by status and code, never by the words of a message.

Pure: no I/O, clock or randomness. Statuses mean the same everywhere, so they are read once, here; the codes that say
more than their status are listed by the API they belong to. What is not listed means what its status means.

Source: wire formats of the vendors, 2026-10; `types/error.go` of new-api; statements of one reseller on what it bills.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import TYPE_CHECKING

from holdfast.types import Charge, Failure, FailureKind, Phase

if TYPE_CHECKING:
    from holdfast.providers.http import Head
    from holdfast.wire.answers import UpstreamError

RETRY_AFTER_S_MAX = 86_400.0
"""A longer hint is a day's quota by another name."""
_MESSAGE_CHARS_MAX = 300
_WORD_CHARS_MAX = 100
_QUOTE_CHARS = 16
"""So many characters of a secret in a row are a quotation of it."""
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What an error means."""

    kind: FailureKind
    charge: Charge


_K = FailureKind


def _means(kind: FailureKind, charge: Charge = Charge.NO) -> Meaning:
    return Meaning(kind=kind, charge=charge)


_SERVER_FAULT = _means(_K.SERVER_FAULT, Charge.UNKNOWN)
_BAD_REQUEST = _means(_K.BAD_REQUEST)
_OVERLOADED = _means(_K.OVERLOADED)
_TIMEOUT = _means(_K.UPSTREAM_TIMEOUT, Charge.UNKNOWN)

_BY_STATUS: Mapping[int, Meaning] = MappingProxyType(
    {
        401: _means(_K.CREDENTIAL),
        402: _means(_K.QUOTA_SPENT),
        403: _means(_K.CREDENTIAL),
        408: _TIMEOUT,
        # Our own idempotency key, still at work there: the outcome of its first use is what is unknown.
        409: _SERVER_FAULT,
        425: _OVERLOADED,
        429: _means(_K.RATE_LIMITED),
        499: _means(_K.CANCELLED, Charge.UNKNOWN),
        503: _OVERLOADED,
        504: _TIMEOUT,
        524: _TIMEOUT,
    }
)

_QUOTA = _means(_K.QUOTA_SPENT)
_BY_CODE: Mapping[str, Meaning] = MappingProxyType(
    {
        # OpenAI: money. Seen with 429, 400 and 403.
        "insufficient_quota": _QUOTA,
        "credit_balance_exhausted": _QUOTA,
        "organization_spend_limit_exceeded": _QUOTA,
        "project_spend_limit_exceeded": _QUOTA,
        "organization_usage_limit_exceeded": _QUOTA,
        "billing_hard_limit_reached": _QUOTA,
        "invalid_api_key": _means(_K.CREDENTIAL),
        "rate_limit_exceeded": _means(_K.RATE_LIMITED),
        "slow_down": _means(_K.RATE_LIMITED),
        "server_is_overloaded": _OVERLOADED,
        # Google: `ErrorInfo.reason` and `error.status`.
        "API_KEY_INVALID": _means(_K.CREDENTIAL),
        "API_KEY_EXPIRED": _means(_K.CREDENTIAL),
        "FAILED_PRECONDITION": _means(_K.CREDENTIAL),
        "MODEL_CAPACITY_EXHAUSTED": _OVERLOADED,
        "RATE_LIMIT_EXCEEDED": _means(_K.RATE_LIMITED),
        # new-api: the reseller's routing, before any upstream was asked.
        "get_channel_failed": _OVERLOADED,
        "channel:no_available_key": _OVERLOADED,
        "channel:invalid_key": _OVERLOADED,
        "channel:response_time_exceeded": _TIMEOUT,
        "do_request_failed": _SERVER_FAULT,
        # new-api: our account with the reseller.
        "insufficient_user_quota": _QUOTA,
        "pre_consume_token_quota_failed": _QUOTA,
        "access_denied": _means(_K.CREDENTIAL),
        "token_concurrency_limit_reached": _means(_K.RATE_LIMITED),
        # new-api: content. The word list is the reseller's own and comes before any upstream.
        "sensitive_words_detected": _means(_K.REFUSED_INPUT),
        "prompt_blocked": _means(_K.REFUSED_INPUT),
        # Azure's word, and that of relays before it, for a prompt that its filter took out.
        "content_filter": _means(_K.REFUSED_INPUT),
        # OpenRouter's own filter, seen with 403: no provider has been asked.
        "flagged_input": _means(_K.REFUSED_INPUT),
        # new-api: its upstream's answer.
        "bad_response_status_code": _SERVER_FAULT,
        "bad_response_body": _SERVER_FAULT,
        "read_response_body_failed": _SERVER_FAULT,
        "empty_response": _means(_K.NO_IMAGE, Charge.UNKNOWN),
        # Stated by the reseller not to be billed.
        "shell_api_error": _means(_K.SERVER_FAULT),
        "write_response_body_failed": _means(_K.SERVER_FAULT),
    }
)
_NO_SUCH_MODEL = "it knows no such model or address: see the route's `model`, and `base_url`"
_REFUSALS = frozenset({"moderation_blocked", "content_policy_violation"})
_BILLED_BY_RELAYS = frozenset({"prompt_blocked", "content_filter"})
"""Refusals that came from behind a relay at a fixed price a call."""


def meaning_of(status: int, error: UpstreamError, *, is_relay: bool = False) -> Meaning:
    """Judge an error answer.

    Args:
        status: HTTP status; of an error inside a 200 or a stream, what `status_of` makes of it.
        error: The decoded envelope.
        is_relay: The upstream is a reseller at a fixed price a call, which bills refusals too.
    """
    if error.code in _REFUSALS:
        return _refusal(error, is_relay=is_relay)
    for word in (error.reason, error.code, error.type):
        found = _BY_CODE.get(word or "")
        if found is not None:
            if is_relay and word in _BILLED_BY_RELAYS:
                return _means(_K.REFUSED_INPUT, Charge.YES)
            return found
    if error.code is not None and error.code.startswith("entitlement_") and error.code.endswith("_limit_exceeded"):
        return _QUOTA
    # Which model a reseller has no channel for, it says with 503; a 404 is a name that nobody knows.
    if status == 429 and error.quota_per_day:
        return _QUOTA
    if status == 404 and not error.is_json:
        # A web server's own page: the API was never reached, base_url leads elsewhere.
        return _means(_K.UNREACHABLE)
    if is_relay and status == 500:
        # What its upstream said, told with a status of the relay's own.
        status = _status_in_code(error) or status
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    # 500, 502, and 520-523 of a CDN included: the work may have been done behind whoever answered.
    return _BAD_REQUEST if 400 <= status < 500 else _SERVER_FAULT


def _refusal(error: UpstreamError, *, is_relay: bool) -> Meaning:
    if error.reason == "input":
        return _means(_K.REFUSED_INPUT, Charge.YES if is_relay else Charge.NO)
    # Stage `output`, `unknown` or unsaid: OpenAI does not say whether the picture it withheld is billed.
    return _means(_K.REFUSED_OUTPUT, Charge.YES if is_relay else Charge.UNKNOWN)


def status_of(error: UpstreamError) -> int:
    """Find the status of an error that came inside a 200: its numeric code, or 500 when it has none."""
    return _own_status(error) or 500


def _own_status(error: UpstreamError) -> int | None:
    """What the envelope itself calls its status."""
    if error.status is not None and 400 <= error.status < 600:
        return error.status
    return _status_in_code(error)


def _status_in_code(error: UpstreamError) -> int | None:
    code = error.code or ""
    if len(code) == 3 and code.isascii() and code.isdigit() and 400 <= int(code) < 600:
        return int(code)
    return None


def failure_of(
    head: Head,
    error: UpstreamError,
    *,
    upstream: str,
    is_relay: bool = False,
    secrets: tuple[str, ...] = (),
    meaning: Meaning | None = None,
) -> Failure:
    """Make the failure of an error answer.

    Args:
        head: Its head.
        error: Its envelope, decoded.
        upstream: The operator's name for it, for the detail.
        is_relay: See `meaning_of`.
        secrets: Texts (key, prompt) that a quoted message must not hold.
        meaning: What it means, where the API has rules of its own; else `meaning_of`.
    """
    status = status_of(error) if head.is_success else head.status
    meaning = meaning or meaning_of(status, error, is_relay=is_relay)
    reason = _word(error.reason or error.code or error.type)
    words = dict.fromkeys(filter(None, map(_word, (error.type, error.code, error.reason))))
    # Inside a 200 a status that nobody named is ours: the upstream answered no such thing.
    named = _own_status(error) if head.is_success else status
    told = "told of an error" if named is None else f"answered {named}"
    told = " ".join((told, *(word for word in words if not word.isdigit())))
    detail = f"{upstream} {told}"
    if meaning.kind is FailureKind.CREDENTIAL:
        # The caller has a key too, the one for the gateway, and would look there.
        detail = f"the upstream {upstream!r} refused the gateway's own key or account ({told}); check its `keys`"
    if meaning.kind is FailureKind.UNREACHABLE:
        detail = f"the upstream {upstream!r} {told} and no error of an image API; check its `base_url`"
    if meaning.kind is FailureKind.BAD_REQUEST:
        # Only here does the caller need the upstream's own words to mend the request.
        message = _CONTROL.sub(" ", error.message).strip()[:_MESSAGE_CHARS_MAX]
        if message and not any(_quotes(message, secret) for secret in secrets):
            detail = f"{detail}: {message}"
        if status == 404:
            detail = f"{detail} ({_NO_SUCH_MODEL})"
    return Failure(
        kind=meaning.kind,
        phase=Phase.RECEIVE,
        charge=meaning.charge,
        detail=detail[:2000],
        retry_after_s=_hint_s(head, error),
        status=status,
        reason=reason,
    )


def _word(text: str | None) -> str | None:
    """A code as it may stand in a record and a log: one short line."""
    return _CONTROL.sub(" ", text)[:_WORD_CHARS_MAX] if text else None


def _quotes(message: str, secret: str) -> bool:
    """Whether a message holds a secret or a piece of it: upstreams cut long prompts short, and so do we."""
    secret = _CONTROL.sub(" ", secret).strip()
    if len(secret) <= _QUOTE_CHARS:
        return bool(secret) and secret in message
    return any(message[at : at + _QUOTE_CHARS] in secret for at in range(len(message) - _QUOTE_CHARS + 1))


def _hint_s(head: Head, error: UpstreamError) -> float | None:
    if error.retry_after_s is not None:
        return min(max(error.retry_after_s, 0.0), RETRY_AFTER_S_MAX)
    return retry_after_s(head)


def retry_after_s(head: Head) -> float | None:
    """Read how long to wait: `retry-after-ms`, `retry-after` (seconds or a date), `x-ratelimit-reset-requests`.

    A date is counted from the answer's own `date`, so that neither side's clock matters.
    """
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        text = head.header(name) or ""
        try:
            # Python takes the digits of every alphabet; HTTP has one.
            wait_s = float(text if text.isascii() else "nan") * scale
        except ValueError:
            continue
        if wait_s >= 0.0:  # false for nan
            return min(wait_s, RETRY_AFTER_S_MAX)
    dated = _dated_s(head)
    if dated is not None:
        return dated
    return _duration_s(head.header("x-ratelimit-reset-requests")) if head.status == 429 else None


def _dated_s(head: Head) -> float | None:
    until, now = head.header("retry-after"), head.header("date")
    if until is None or now is None:
        return None
    try:
        wait_s = (parsedate_to_datetime(until) - parsedate_to_datetime(now)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        # Not dates, years or zones beyond reason, or only one of them with a zone: no hint.
        return None
    return min(max(wait_s, 0.0), RETRY_AFTER_S_MAX)


def _duration_s(text: str | None) -> float | None:
    """Read `6m0s`, `1s`, `120ms`."""
    match = _DURATION.fullmatch(text or "")
    if match is None or not any(match.groups()):
        return None
    hours, minutes, seconds, millis = (float(group or 0) for group in match.groups())
    return min(hours * 3600 + minutes * 60 + seconds + millis / 1000, RETRY_AFTER_S_MAX)
