"""What fal's errors mean: by status and type, never by the words of a message.

Pure: no I/O, clock or randomness. fal states that it bills no answer of 500 and above, so that one of its own costs
nothing; what a proxy writes in its place says nothing of the kind.

Source: docs.fal.ai, errors, request errors (2026); types that stand on no page of it, as seen by its callers.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from holdfast.providers.error_answers import Meaning
from holdfast.providers.error_answers import meaning_of as usual_meaning_of
from holdfast.providers.http import Head
from holdfast.types import Charge, FailureKind
from holdfast.wire.answers import UpstreamError
from holdfast.wire.fal import FalError

_K = FailureKind


def _means(kind: FailureKind, charge: Charge = Charge.NO) -> Meaning:
    return Meaning(kind=kind, charge=charge)


_BY_TYPE: Mapping[str, Meaning] = MappingProxyType(
    {
        # The queue's: no runner was to be had, so nothing was begun.
        "runner_scheduling_failure": _means(_K.OVERLOADED),
        "startup_timeout": _means(_K.OVERLOADED),
        "runner_connection_refused": _means(_K.UNREACHABLE),
        "runner_connection_timeout": _means(_K.UNREACHABLE),
        "concurrent_requests_limit": _means(_K.RATE_LIMITED),
        # A runner that was lost at work.
        "runner_disconnected": _means(_K.SERVER_FAULT),
        "runner_connection_error": _means(_K.SERVER_FAULT),
        "internal_error": _means(_K.SERVER_FAULT),
        "internal_server_error": _means(_K.SERVER_FAULT),
        # The model's.
        "downstream_service_unavailable": _means(_K.SERVER_FAULT),
        "downstream_service_error": _means(_K.SERVER_FAULT),
        "generation_timeout": _means(_K.UPSTREAM_TIMEOUT, Charge.UNKNOWN),
        "no_media_generated": _means(_K.NO_IMAGE, Charge.UNKNOWN),
    }
)
_REFUSAL = "content_policy_violation"


def meaning_of(head: Head, error: FalError) -> Meaning:
    """Judge an error answer.

    Args:
        head: Its head: `X-Fal-Error-Type` says the type where the body does not.
        error: Its body, decoded.
    """
    word = error.type or head.header("x-fal-error-type")
    if word == _REFUSAL:
        # About what was sent: refused before anything was made. Otherwise nobody says whether the picture is billed.
        return _means(_K.REFUSED_INPUT) if error.is_input else _means(_K.REFUSED_OUTPUT, Charge.UNKNOWN)
    if word == "request_timeout":
        # Ours, `X-Fal-Request-Timeout`: it ran out before the work had begun.
        never_began = head.header("x-fal-request-timeout-type") == "user"
        return _means(_K.UPSTREAM_TIMEOUT, Charge.NO if never_began else Charge.UNKNOWN)
    found = _BY_TYPE.get(word or "")
    if found is not None:
        return found
    usual = usual_meaning_of(head.status, error_of(head, error))
    if usual.kind is _K.SERVER_FAULT and head.status >= 500 and error.is_json:
        return _means(_K.SERVER_FAULT)
    return usual


def error_of(head: Head, error: FalError) -> UpstreamError:
    """Spell an error as all providers have it."""
    word = error.type or head.header("x-fal-error-type")
    return UpstreamError(status=head.status, message=error.message, code=word, is_json=error.is_json)
