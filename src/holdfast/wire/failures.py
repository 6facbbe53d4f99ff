"""Our error codes, and how each is told in every dialect.

Pure: no I/O, clock or randomness. `CODES` is the one table: status, OpenAI's words, Gemini's words, and whether a
repeat is invited when nothing was paid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from holdfast.types import Charge, Surface

RETRY_AFTER_S_MAX = 60
"""openai for Node ignores more than 60, for Python gives up above 120 (`_base_client.py`, openai-python 3.54)."""
_LATE_CHARS_MAX = 500


@dataclass(frozen=True, slots=True)
class CodeRow:
    """How a code is told."""

    status: int
    openai_type: str
    openai_code: str
    gemini_http: int
    gemini_status: str
    title: str
    retryable_if_unpaid: bool = False
    """A blind repeat is welcome: it would be refused again or served, never paid twice."""


_MISTAKE = "invalid_request_error"
_SERVER = "server_error"
_BUSY = "service_unavailable_error"

CODES: Mapping[str, CodeRow] = {
    # What the caller has to change; nothing was sent.
    "invalid_request": CodeRow(400, _MISTAKE, "invalid_request", 400, "INVALID_ARGUMENT", "Invalid request"),
    "unsupported_size": CodeRow(400, _MISTAKE, "unsupported_size", 400, "INVALID_ARGUMENT", "Unsupported size"),
    "input_too_large": CodeRow(413, _MISTAKE, "input_too_large", 413, "INVALID_ARGUMENT", "Request too large"),
    "invalid_api_key": CodeRow(401, _MISTAKE, "invalid_api_key", 401, "UNAUTHENTICATED", "Invalid API key"),
    "key_revoked": CodeRow(401, _MISTAKE, "key_revoked", 401, "UNAUTHENTICATED", "API key revoked"),
    "model_not_allowed": CodeRow(403, _MISTAKE, "model_not_allowed", 403, "PERMISSION_DENIED", "Model not allowed"),
    "scope_missing": CodeRow(403, _MISTAKE, "scope_missing", 403, "PERMISSION_DENIED", "Not allowed for this key"),
    "tls_required": CodeRow(403, _MISTAKE, "tls_required", 403, "PERMISSION_DENIED", "TLS required"),
    "admin_required": CodeRow(403, _MISTAKE, "admin_required", 403, "PERMISSION_DENIED", "Admin key required"),
    "csrf_failed": CodeRow(403, _MISTAKE, "csrf_failed", 403, "PERMISSION_DENIED", "Not asked by our own page"),
    "budget_exhausted": CodeRow(
        402, "insufficient_quota", "insufficient_quota", 402, "RESOURCE_EXHAUSTED", "Budget exhausted"
    ),
    "generation_not_found": CodeRow(404, _MISTAKE, "generation_not_found", 404, "NOT_FOUND", "Generation not found"),
    "key_not_found": CodeRow(404, _MISTAKE, "key_not_found", 404, "NOT_FOUND", "Key not found"),
    "webhook_not_found": CodeRow(404, _MISTAKE, "webhook_not_found", 404, "NOT_FOUND", "Webhook not found"),
    "not_found": CodeRow(404, _MISTAKE, "not_found", 404, "NOT_FOUND", "Not found"),
    "model_not_found": CodeRow(404, _MISTAKE, "model_not_found", 404, "NOT_FOUND", "Model not found"),
    "method_not_allowed": CodeRow(405, _MISTAKE, "method_not_allowed", 405, "UNIMPLEMENTED", "Method not allowed"),
    "request_timeout": CodeRow(408, _MISTAKE, "request_timeout", 408, "DEADLINE_EXCEEDED", "Request too slow"),
    "idempotency_in_flight": CodeRow(409, _MISTAKE, "idempotency_in_flight", 409, "ABORTED", "Still in flight"),
    "generation_cancelled": CodeRow(409, _MISTAKE, "generation_cancelled", 499, "CANCELLED", "Generation cancelled"),
    "generation_open": CodeRow(409, _MISTAKE, "generation_open", 409, "ABORTED", "Generation has not ended"),
    "image_expired": CodeRow(410, _MISTAKE, "image_expired", 410, "NOT_FOUND", "Image expired"),
    "unsupported_media_type": CodeRow(
        415, _MISTAKE, "unsupported_media_type", 415, "INVALID_ARGUMENT", "Unsupported media type"
    ),
    "idempotency_key_reused": CodeRow(
        422, _MISTAKE, "idempotency_key_reused", 422, "INVALID_ARGUMENT", "Idempotency key reused"
    ),
    "headers_too_large": CodeRow(431, _MISTAKE, "headers_too_large", 431, "INVALID_ARGUMENT", "Headers too large"),
    # Our own limits and states; nothing was sent.
    "rate_limited": CodeRow(
        429, "rate_limit_error", "rate_limit_exceeded", 429, "RESOURCE_EXHAUSTED", "Rate limited", True
    ),
    "concurrency_limited": CodeRow(
        429, "rate_limit_error", "rate_limit_exceeded", 429, "RESOURCE_EXHAUSTED", "Too many at once", True
    ),
    "overloaded": CodeRow(503, _BUSY, "server_is_overloaded", 503, "UNAVAILABLE", "Overloaded", True),
    "draining": CodeRow(503, _BUSY, "draining", 503, "UNAVAILABLE", "Shutting down", True),
    "storage_low": CodeRow(503, _BUSY, "storage_low", 503, "UNAVAILABLE", "Storage low", True),
    "queue_full": CodeRow(503, _BUSY, "queue_full", 503, "UNAVAILABLE", "Queue full", True),
    "price_missing": CodeRow(503, _SERVER, "price_missing", 503, "UNAVAILABLE", "Price missing"),
    # How a generation ends without an image.
    "content_refused": CodeRow(
        400, "image_generation_user_error", "moderation_blocked", 400, "INVALID_ARGUMENT", "Content refused"
    ),
    "upstream_failed": CodeRow(502, _SERVER, "upstream_failed", 500, "INTERNAL", "Upstream failed"),
    "empty_result": CodeRow(502, _SERVER, "empty_result", 500, "INTERNAL", "No image"),
    "outcome_unknown": CodeRow(502, _SERVER, "outcome_unknown", 504, "DEADLINE_EXCEEDED", "Outcome unknown"),
    "deadline_exceeded": CodeRow(504, _SERVER, "deadline_exceeded", 504, "DEADLINE_EXCEEDED", "Deadline exceeded"),
    "internal_error": CodeRow(500, _SERVER, "internal_error", 500, "INTERNAL", "Internal error"),
}


def is_retryable(code: str, paid: Charge, *, joins: bool = False) -> bool:
    """Tell whether a blind repeat is harmless: unpaid and temporary, or it would join instead of buying."""
    return joins or (paid is Charge.NO and CODES[code].retryable_if_unpaid)


def status_of(surface: Surface, code: str, paid: Charge = Charge.NO) -> int:
    """The HTTP status of a code in a dialect."""
    return _gemini_of(code, paid)[0] if surface is Surface.GEMINI else CODES[code].status


def surface_of_path(path: str) -> Surface:
    """Tell whose API a path belongs to, served or not; OpenAI's where nothing speaks for another."""
    if path.startswith(("/v1/generations", "/v1/webhooks", "/v1/probe", "/v1/usage", "/admin")):
        return Surface.GENERATIONS
    # Methods behind a colon are Google's way, whatever a caller's base URL made of the path before them.
    is_method = path.startswith("/") and ":" in path.rpartition("/")[2]
    if is_method or path.startswith("/v1beta"):
        return Surface.GEMINI
    return Surface.OPENAI


def content_type_of(surface: Surface) -> bytes:
    """The media type of an error body."""
    return b"application/problem+json" if surface is Surface.GENERATIONS else b"application/json"


def render_error(
    surface: Surface,
    *,
    code: str,
    message: str,
    paid: Charge = Charge.NO,
    retryable: bool | None = None,
    generation_id: str | None = None,
    param: str | None = None,
    retry_after_s: float | None = None,
    extra: Mapping[str, Any] | None = None,
) -> bytes:
    """Write an error body in the caller's dialect.

    Args:
        surface: Whose API the caller speaks.
        code: One of `CODES`.
        message: What happened and what to do, safe to show.
        paid: What an upstream may have charged.
        retryable: Whether a repeat is invited; None: by `is_retryable`.
        generation_id: When a generation had been accepted.
        param: The field to blame.
        retry_after_s: When to come back.
        extra: Further members of the error object; ours win.
    """
    row = CODES[code]
    ours: dict[str, Any] = {
        "paid": paid.value,
        "retryable": is_retryable(code, paid) if retryable is None else retryable,
        "generation_id": generation_id,
    }
    match surface:
        case Surface.OPENAI | Surface.CHAT:
            error = {"message": message, "type": row.openai_type, "param": param, "code": row.openai_code}
            return msgspec.json.encode({"error": {**(extra or {}), **error, "holdfast_code": code, **ours}})
        case Surface.GEMINI:
            http, status = _gemini_of(code, paid)
            told: dict[str, Any] = {"code": http, "message": message, "status": status}
            details = _gemini_details(code, ours, param, retry_after_s)
            return msgspec.json.encode({"error": {**(extra or {}), **told, "details": details, **ours}})
        case Surface.GENERATIONS:
            # RFC 9457; the type is a name, not a page to fetch.
            problem = {"type": f"urn:holdfast:error:{code}", "title": row.title, "status": row.status}
            words = {"detail": message, "code": code, "param": param}
            return msgspec.json.encode({**(extra or {}), **problem, **words, **ours})


def error_headers(
    *, code: str, paid: Charge = Charge.NO, retryable: bool | None = None, retry_after_s: float | None = None
) -> list[tuple[bytes, bytes]]:
    """Make the headers that steer the SDKs' own retries.

    `Retry-After` is whole seconds, rounded up, 1 to 60.
    """
    repeat = is_retryable(code, paid) if retryable is None else retryable
    headers = [(b"x-should-retry", b"true" if repeat else b"false")]
    if retry_after_s is not None:
        seconds = min(RETRY_AFTER_S_MAX, max(1, math.ceil(min(retry_after_s, RETRY_AFTER_S_MAX))))
        headers.append((b"retry-after", b"%d" % seconds))
    return headers


def late_text(*, code: str, message: str, generation_id: str) -> bytes:
    """Write a failure as the end of a 200 that has begun: one line that is not JSON, so that SDKs raise.

    Source: `http-facts.md` §4, openai for Node, google-genai, @google/genai: a JSON error is raised, one POST.
    """
    words = " ".join(message.split())[:_LATE_CHARS_MAX]
    return f"holdfast: generation {generation_id} failed: {code}: {words}\n".encode()


def _gemini_of(code: str, paid: Charge) -> tuple[int, str]:
    if code == "upstream_failed" and paid is Charge.NO:
        # Credentials and unreachable hosts pass; a fault after work began is the server's own.
        return 503, "UNAVAILABLE"
    row = CODES[code]
    return row.gemini_http, row.gemini_status


def _gemini_details(
    code: str, ours: Mapping[str, Any], param: str | None, retry_after_s: float | None
) -> list[dict[str, Any]]:
    metadata = {
        "paid": ours["paid"],
        "retryable": "true" if ours["retryable"] else "false",
        "generation_id": ours["generation_id"] or "",
    }
    prefix = "type.googleapis.com/google.rpc."
    details: list[dict[str, Any]] = [
        {"@type": f"{prefix}ErrorInfo", "reason": code.upper(), "domain": "holdfast", "metadata": metadata}
    ]
    if param is not None:
        details.append({"@type": f"{prefix}BadRequest", "fieldViolations": [{"field": param}]})
    if retry_after_s is not None:
        details.append({"@type": f"{prefix}RetryInfo", "retryDelay": f"{math.ceil(retry_after_s)}s"})
    return details
