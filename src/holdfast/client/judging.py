"""What an answer that holds no image means to a caller, and the exception that tells it.

Pure: no I/O, clock or randomness. By status and code, never by the words of a message; a server's own words are quoted
only where the caller needs them to mend the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from holdfast.errors import (
    AuthenticationError,
    DeadlineExceeded,
    GenerationError,
    HoldfastError,
    InsufficientFunds,
    Overloaded,
    Refused,
    RequestError,
    TransportError,
    Unavailable,
    UpstreamsExhausted,
)
from holdfast.types import Charge, Failure, FailureKind, Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from holdfast.providers.http import Head
    from holdfast.wire.answers import UpstreamError
    from holdfast.wire.generations import ErrorResource

TEMPORARY = frozenset({"overloaded", "draining", "queue_full", "storage_low", "rate_limited", "concurrency_limited"})
"""Codes of holdfast that pass by themselves; nothing was paid."""
_CREDENTIAL = frozenset({"invalid_api_key", "key_revoked", "model_not_allowed", "scope_missing", "tls_required"})
_MESSAGE_CHARS_MAX = 500
_QUOTE_CHARS = 16
_PROXY_STATUSES = frozenset({502, 503, 504, 520, 521, 522, 523, 524})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of an attempt, in the words of both kinds of server."""

    code: str
    """One of `wire.failures.CODES`."""
    kind: FailureKind
    charge: Charge
    message: str
    status: int | None = None
    retry_after_s: float | None = None
    is_holdfast: bool = False
    """holdfast said it, who has tried everything there is; else a plain server, who has tried once."""
    may_repeat: bool = False
    """holdfast: a repeat is free, it would join or be driven again."""
    is_foreign: bool = False
    """No image API said it: a proxy on the way, or a web server that is no API at all."""
    generation_id: str | None = None
    param: str | None = None

    @property
    def failure(self) -> Failure:
        """The same as the rest of the system has it."""
        return Failure(
            kind=self.kind,
            phase=Phase.RECEIVE,
            charge=self.charge,
            detail=self.message[:2000],
            retry_after_s=self.retry_after_s,
            status=self.status,
        )


def judge(head: Head, document: bytes, *, base_url: str, secrets: tuple[str, ...] = ()) -> Verdict:
    """Read an answer that is an error, or is no answer of an image API.

    Args:
        head: Its head.
        document: Its body, or the first MiB of it.
        base_url: For the sentence on where to look.
        secrets: Texts (key, prompt) that a quoted message must not hold.
    """
    from holdfast.providers.error_answers import meaning_of, retry_after_s

    words = _object(document)
    ours = _ours(words)
    hint_s = retry_after_s(head)
    if ours is not None:
        return _of_holdfast(head, ours, hint_s)
    if head.is_success or 300 <= head.status < 400:
        return _misplaced(head, base_url)
    error = _envelope(head, document, words)
    meaning = meaning_of(head.status, error)
    is_foreign = not error.is_json
    message = _told(head, error, meaning.kind, base_url=base_url, secrets=secrets)
    return Verdict(
        code=_CODES[meaning.kind] if head.status != 404 or is_foreign else "model_not_found",
        kind=meaning.kind,
        charge=meaning.charge,
        message=message,
        status=head.status,
        retry_after_s=error.retry_after_s if error.retry_after_s is not None else hint_s,
        is_foreign=is_foreign,
        generation_id=head.header("generation-id"),
    )


def judge_inside(head: Head, error: UpstreamError) -> Verdict:
    """Read an error that came inside a 200."""
    from holdfast.providers.error_answers import meaning_of, status_of

    status = status_of(error)
    meaning = meaning_of(status, error)
    word = error.code or error.type or "an error"
    return Verdict(
        code=_CODES[meaning.kind],
        kind=meaning.kind,
        charge=meaning.charge,
        message=f"The server answered {head.status} and told of an error inside it: {word[:80]}.",
        status=status,
        retry_after_s=error.retry_after_s,
    )


def judge_end(error: ErrorResource | None, generation_id: str) -> Verdict:
    """Read how a generation of holdfast's has ended."""
    if error is None:
        return Verdict(
            code="generation_cancelled",
            kind=FailureKind.CANCELLED,
            charge=Charge.NO,
            message="The generation was cancelled.",
            is_holdfast=True,
            generation_id=generation_id,
        )
    return Verdict(
        code=error.code,
        kind=_KINDS.get(error.code, FailureKind.SERVER_FAULT),
        charge=Charge(error.paid),
        message=error.message[:_MESSAGE_CHARS_MAX],
        is_holdfast=True,
        may_repeat=error.retryable,
        generation_id=generation_id,
    )


def is_proxy(verdict: Verdict) -> bool:
    """Say whether somebody on the way said it, who does not know what became of the call."""
    return verdict.is_foreign and verdict.status in _PROXY_STATUSES


_CODES: dict[FailureKind, str] = {
    FailureKind.BAD_REQUEST: "invalid_request",
    FailureKind.CREDENTIAL: "invalid_api_key",
    FailureKind.QUOTA_SPENT: "budget_exhausted",
    FailureKind.RATE_LIMITED: "rate_limited",
    FailureKind.OVERLOADED: "overloaded",
    FailureKind.UNREACHABLE: "not_found",
    FailureKind.SERVER_FAULT: "upstream_failed",
    FailureKind.REFUSED_INPUT: "content_refused",
    FailureKind.REFUSED_OUTPUT: "content_refused",
    FailureKind.NO_IMAGE: "empty_result",
    FailureKind.MALFORMED: "upstream_failed",
    FailureKind.UPSTREAM_TIMEOUT: "outcome_unknown",
    FailureKind.LOST_REPLY: "outcome_unknown",
    FailureKind.CANCELLED: "generation_cancelled",
}
"""What a plain server's failure is called here."""

_KINDS: dict[str, FailureKind] = {
    **dict.fromkeys(_CREDENTIAL, FailureKind.CREDENTIAL),
    **dict.fromkeys(("rate_limited", "concurrency_limited"), FailureKind.RATE_LIMITED),
    **dict.fromkeys(("overloaded", "draining", "queue_full", "storage_low"), FailureKind.OVERLOADED),
    **dict.fromkeys(("outcome_unknown", "deadline_exceeded"), FailureKind.LOST_REPLY),
    "budget_exhausted": FailureKind.QUOTA_SPENT,
    "content_refused": FailureKind.REFUSED_OUTPUT,
    "empty_result": FailureKind.NO_IMAGE,
    "generation_cancelled": FailureKind.CANCELLED,
    "upstream_failed": FailureKind.SERVER_FAULT,
    "internal_error": FailureKind.SERVER_FAULT,
    "request_timeout": FailureKind.UNREACHABLE,
}
"""What a code of holdfast's is inside; the rest are mistakes of the caller's."""


def _object(document: bytes) -> Mapping[str, Any]:
    from holdfast.wire.errors import WireError
    from holdfast.wire.fields import document_of, mapping_of

    try:
        value = document_of(document)
    except WireError:
        return {}
    if isinstance(value, list) and value:
        # Gemini's stream without `alt=sse` wraps its error into a list.
        value = value[0]
    return mapping_of(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ours:
    code: str
    message: str
    paid: Charge
    retryable: bool
    generation_id: str | None
    param: str | None


def _ours(words: Mapping[str, Any]) -> _Ours | None:
    """Recognise an error of holdfast's, in any of its dialects."""
    from holdfast.wire.failures import CODES
    from holdfast.wire.fields import list_of, mapping_of, text_of

    error = mapping_of(words.get("error"))
    code = text_of(error.get("holdfast_code"))
    message, told = text_of(error.get("message")), error
    if code is None and str(words.get("type", "")).startswith("urn:holdfast:error:"):
        code, message, told = text_of(words.get("code")), text_of(words.get("detail")), words
    if code is None:
        for each in list_of(error.get("details")):
            if mapping_of(each).get("domain") == "holdfast":
                code = str(mapping_of(each).get("reason", "")).lower()
    if code is None or code not in CODES:
        return None
    paid = told.get("paid")
    return _Ours(
        code=code,
        message=(message or CODES[code].title)[:_MESSAGE_CHARS_MAX],
        paid=Charge(paid) if paid in tuple(Charge) else Charge.UNKNOWN,
        retryable=told.get("retryable") is True,
        generation_id=text_of(told.get("generation_id")),
        param=text_of(told.get("param")),
    )


def _of_holdfast(head: Head, ours: _Ours, hint_s: float | None) -> Verdict:
    steered = head.header("x-should-retry")
    return Verdict(
        code=ours.code,
        kind=_KINDS.get(ours.code, FailureKind.BAD_REQUEST),
        charge=ours.paid,
        message=ours.message,
        status=head.status,
        retry_after_s=hint_s,
        is_holdfast=True,
        may_repeat=ours.retryable if steered is None else steered == "true",
        generation_id=ours.generation_id or head.header("generation-id"),
        param=ours.param,
    )


def _misplaced(head: Head, base_url: str) -> Verdict:
    """Judge a success that is none: a web page, or a way to somewhere else."""
    if 300 <= head.status < 400:
        where = (head.header("location") or "elsewhere").partition("?")[0][:200]
        message = f"{base_url} sends on to {where} (status {head.status}): give the address behind it as base_url."
        return Verdict(
            code="not_found",
            kind=FailureKind.UNREACHABLE,
            charge=Charge.NO,
            message=message,
            status=head.status,
            is_foreign=True,
        )
    what = "a web page" if head.media_type == "text/html" else f"{head.media_type or 'something without a type'}"
    message = (
        f"{base_url} answered {head.status} with {what}, not with JSON: it leads to a site and not to an image API. "
        "It usually ends in /v1."
    )
    return Verdict(
        code="not_found",
        kind=FailureKind.MALFORMED,
        charge=Charge.UNKNOWN,
        message=message,
        status=head.status,
        is_foreign=True,
    )


def _envelope(head: Head, document: bytes, words: Mapping[str, Any]) -> UpstreamError:
    from holdfast.wire import gemini_answer
    from holdfast.wire.fields import mapping_of
    from holdfast.wire.openai_answer import decode_error

    error = mapping_of(words.get("error"))
    if "status" in error or "details" in error:
        return gemini_answer.decode_error(head.status, document)
    return decode_error(head.status, document)


def _told(head: Head, error: UpstreamError, kind: FailureKind, *, base_url: str, secrets: tuple[str, ...]) -> str:
    word = error.code or error.type or ""
    told = f"The server answered {head.status}{f' {word[:80]}' if word and not word.isdigit() else ''}"
    if not error.is_json:
        if head.status in _PROXY_STATUSES:
            return f"{told} without an error of an image API: a proxy on the way, or a server that is starting."
        return (
            f"{told} at {base_url}, without an error of an image API. base_url usually ends in /v1, as in "
            "https://host/v1."
        )
    if kind is FailureKind.CREDENTIAL:
        return f"{told}: the API key is missing, wrong, or may not do this. Give api_key, or set HOLDFAST_API_KEY."
    message = " ".join(error.message.split())[:_MESSAGE_CHARS_MAX]
    if message and kind is FailureKind.BAD_REQUEST and not any(_is_quoted(secret, message) for secret in secrets):
        return f"{told}: {message}"
    return f"{told}."


def _is_quoted(secret: str, message: str) -> bool:
    """Whether a message holds a secret or a piece of it: servers cut long prompts short."""
    secret = " ".join(secret.split())
    if len(secret) <= _QUOTE_CHARS:
        return bool(secret) and secret in message
    return any(message[at : at + _QUOTE_CHARS] in secret for at in range(len(message) - _QUOTE_CHARS + 1))


def exception_of(verdict: Verdict) -> HoldfastError:
    """Make the exception of a verdict; who raises it adds the key, and how to collect."""
    message, code, status = verdict.message, verdict.code, verdict.status
    failure = verdict.failure
    error: HoldfastError
    if code in _CREDENTIAL:
        error = AuthenticationError(message, code=code, status=status or 401)
    elif code == "budget_exhausted":
        error = InsufficientFunds(message)
    elif code == "content_refused":
        error = Refused(message, failure=failure)
    elif code == "deadline_exceeded":
        error = DeadlineExceeded(message, failure=failure)
    elif code in TEMPORARY:
        error = Overloaded(message, failure=failure)
    elif verdict.is_foreign:
        error = Unavailable(message, failure=failure)
    elif code == "generation_cancelled":
        error = GenerationError(message, failure=failure)
    elif code == "outcome_unknown" and not verdict.is_holdfast:
        error = TransportError(message, failure=failure)
    elif (status is not None and 400 <= status < 500) or verdict.kind is FailureKind.BAD_REQUEST:
        error = RequestError(message, code=code, status=status or 400, param=verdict.param)
    else:
        error = UpstreamsExhausted(message, failure=failure)
    error.code, error.status = code, status if status is not None else error.status
    error.retry_after_s = verdict.retry_after_s
    error.paid = verdict.charge
    return error
