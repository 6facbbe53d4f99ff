"""Our error codes, told in every dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.types import Charge, Surface
from holdfast.wire.failures import (
    CODES,
    content_type_of,
    error_headers,
    is_retryable,
    late_text,
    render_error,
    status_of,
    surface_of_path,
)

STATUSES = {
    "invalid_request": 400,
    "unsupported_size": 400,
    "input_too_large": 413,
    "invalid_api_key": 401,
    "key_revoked": 401,
    "model_not_allowed": 403,
    "admin_required": 403,
    "csrf_failed": 403,
    "tls_required": 403,
    "scope_missing": 403,
    "key_not_found": 404,
    "budget_exhausted": 402,
    "generation_not_found": 404,
    "webhook_not_found": 404,
    "not_found": 404,
    "model_not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "idempotency_in_flight": 409,
    "generation_cancelled": 409,
    "generation_open": 409,
    "image_expired": 410,
    "unsupported_media_type": 415,
    "idempotency_key_reused": 422,
    "headers_too_large": 431,
    "content_refused": 400,
    "rate_limited": 429,
    "concurrency_limited": 429,
    "upstream_failed": 502,
    "outcome_unknown": 502,
    "empty_result": 502,
    "overloaded": 503,
    "draining": 503,
    "storage_low": 503,
    "queue_full": 503,
    "price_missing": 503,
    "deadline_exceeded": 504,
    "internal_error": 500,
}
GOOGLE_STATUSES = {
    "INVALID_ARGUMENT",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "NOT_FOUND",
    "RESOURCE_EXHAUSTED",
    "UNAVAILABLE",
    "INTERNAL",
    "DEADLINE_EXCEEDED",
    "CANCELLED",
    "ABORTED",
    "UNIMPLEMENTED",
}


def rendered(surface: Surface, **fields: Any) -> dict[str, Any]:
    """An error body as a document."""
    given: dict[str, Any] = {"code": "overloaded", "message": "busy"}
    document: dict[str, Any] = json.loads(render_error(surface, **(given | fields)))
    return document


def test_every_code_has_the_status_of_the_contract() -> None:
    """No code is missing, none is invented."""
    assert {code: row.status for code, row in CODES.items()} == STATUSES


@pytest.mark.parametrize("code", sorted(CODES))
@pytest.mark.parametrize("surface", list(Surface))
@pytest.mark.parametrize("paid", list(Charge))
def test_every_error_carries_what_every_error_carries(code: str, surface: Surface, paid: Charge) -> None:
    """`paid`, `retryable`, `generation_id`, whatever the dialect."""
    document = rendered(surface, code=code, paid=paid, generation_id="gen_1")
    error = document if surface is Surface.GENERATIONS else document["error"]
    assert error["paid"] == paid.value
    assert error["retryable"] is is_retryable(code, paid)
    assert error["generation_id"] == "gen_1"
    assert 400 <= status_of(surface, code, paid) < 600


@pytest.mark.parametrize("code", sorted(CODES))
def test_words_are_those_of_the_dialects(code: str) -> None:
    """OpenAI's types are lower case, Google's statuses are its own."""
    row = CODES[code]
    assert row.openai_type == row.openai_type.lower()
    assert row.gemini_status in GOOGLE_STATUSES
    assert row.title


def test_only_temporary_refusals_that_were_not_paid_invite_a_repeat() -> None:
    """A blind repeat must never buy twice."""
    temporary = {"rate_limited", "concurrency_limited", "overloaded", "draining", "queue_full", "storage_low"}
    assert {code for code in CODES if is_retryable(code, Charge.NO)} == temporary
    assert not [code for code in CODES for paid in (Charge.YES, Charge.UNKNOWN) if is_retryable(code, paid)]


def test_a_repeat_that_would_join_is_invited() -> None:
    """It buys nothing, whatever was paid."""
    assert is_retryable("outcome_unknown", Charge.UNKNOWN, joins=True)


def test_openai_errors_have_its_envelope() -> None:
    """The four members the SDKs read, then ours."""
    assert rendered(Surface.OPENAI, param="size", code="unsupported_size", message="m") == {
        "error": {
            "message": "m",
            "type": "invalid_request_error",
            "param": "size",
            "code": "unsupported_size",
            "holdfast_code": "unsupported_size",
            "paid": "no",
            "retryable": False,
            "generation_id": None,
        }
    }


@pytest.mark.parametrize(
    ("code", "openai_type", "openai_code"),
    [
        ("content_refused", "image_generation_user_error", "moderation_blocked"),
        ("overloaded", "service_unavailable_error", "server_is_overloaded"),
        ("rate_limited", "rate_limit_error", "rate_limit_exceeded"),
        ("invalid_api_key", "invalid_request_error", "invalid_api_key"),
        ("upstream_failed", "server_error", "upstream_failed"),
        ("generation_cancelled", "invalid_request_error", "generation_cancelled"),
    ],
)
def test_openai_programs_find_the_words_they_know(code: str, openai_type: str, openai_code: str) -> None:
    """Our own code stands beside them."""
    error = rendered(Surface.OPENAI, code=code)["error"]
    assert (error["type"], error["code"], error["holdfast_code"]) == (openai_type, openai_code, code)


def test_gemini_errors_have_its_envelope() -> None:
    """Number, status and details as google.rpc has them."""
    document = rendered(Surface.GEMINI, paid=Charge.NO, generation_id="gen_1", retry_after_s=2.2, param="contents")
    error = document["error"]
    assert (error["code"], error["status"], error["message"]) == (503, "UNAVAILABLE", "busy")
    assert error["details"] == [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "OVERLOADED",
            "domain": "holdfast",
            "metadata": {"paid": "no", "retryable": "true", "generation_id": "gen_1"},
        },
        {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [{"field": "contents"}]},
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"},
    ]


@pytest.mark.parametrize(
    ("code", "paid", "status", "word"),
    [
        ("upstream_failed", Charge.NO, 503, "UNAVAILABLE"),
        ("upstream_failed", Charge.UNKNOWN, 500, "INTERNAL"),
        ("upstream_failed", Charge.YES, 500, "INTERNAL"),
        ("outcome_unknown", Charge.UNKNOWN, 504, "DEADLINE_EXCEEDED"),
        ("generation_cancelled", Charge.UNKNOWN, 499, "CANCELLED"),
        ("invalid_request", Charge.NO, 400, "INVALID_ARGUMENT"),
    ],
)
def test_gemini_statuses_follow_what_was_paid(code: str, paid: Charge, status: int, word: str) -> None:
    """The number in the body is the number on the wire."""
    error = rendered(Surface.GEMINI, code=code, paid=paid)["error"]
    assert (error["code"], error["status"]) == (status, word)
    assert status_of(Surface.GEMINI, code, paid) == status


def test_our_own_surface_speaks_problem_json() -> None:
    """RFC 9457."""
    assert rendered(Surface.GENERATIONS, code="image_expired", message="gone", generation_id="gen_1") == {
        "type": "urn:holdfast:error:image_expired",
        "title": "Image expired",
        "status": 410,
        "detail": "gone",
        "code": "image_expired",
        "param": None,
        "paid": "no",
        "retryable": False,
        "generation_id": "gen_1",
    }
    assert content_type_of(Surface.GENERATIONS) == b"application/problem+json"
    assert content_type_of(Surface.OPENAI) == content_type_of(Surface.GEMINI) == b"application/json"


@pytest.mark.parametrize("surface", list(Surface))
def test_extra_members_never_replace_ours(surface: Surface) -> None:
    """What a caller relies on is always ours."""
    document = rendered(surface, extra={"code": "x", "paid": "x", "near": "size"})
    error = document if surface is Surface.GENERATIONS else document["error"]
    assert error["near"] == "size"
    assert error["paid"] == "no"
    assert error["code"] != "x"


def test_retryable_may_be_said_by_the_caller() -> None:
    """A repeat that would join."""
    assert rendered(Surface.OPENAI, code="outcome_unknown", retryable=True)["error"]["retryable"] is True


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.0, b"1"), (0.2, b"1"), (1.0, b"1"), (1.1, b"2"), (60.0, b"60"), (3600.0, b"60"), (float("inf"), b"60")],
)
def test_retry_after_is_whole_seconds_up_to_sixty(seconds: float, told: bytes) -> None:
    """More would be ignored by one SDK and given up on by another."""
    headers = dict(error_headers(code="overloaded", retry_after_s=seconds))
    assert headers == {b"x-should-retry": b"true", b"retry-after": told}


def test_the_sdks_retry_is_switched_off_where_it_could_pay_twice() -> None:
    """`x-should-retry` overrides their rule for the status."""
    assert error_headers(code="outcome_unknown", paid=Charge.UNKNOWN) == [(b"x-should-retry", b"false")]
    assert error_headers(code="overloaded", paid=Charge.UNKNOWN) == [(b"x-should-retry", b"false")]
    assert error_headers(code="outcome_unknown", paid=Charge.UNKNOWN, retryable=True) == [(b"x-should-retry", b"true")]


@pytest.mark.parametrize("message", ["plain", "two\nlines\r\nand\tmore", '{"error":1}', "x" * 5000, "", "é 🗼"])
def test_a_late_failure_is_one_line_that_is_not_json(message: str) -> None:
    """Every SDK raises on it, none posts again."""
    text = late_text(code="upstream_failed", message=message, generation_id="gen_1")
    assert text.startswith(b"holdfast: generation gen_1 failed: upstream_failed: ")
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    assert b"\r" not in text
    assert len(text) < 2200
    text.decode("utf-8")
    with pytest.raises(json.JSONDecodeError):
        json.loads(b"\n\n" + text)


@pytest.mark.parametrize(
    ("path", "surface"),
    [
        ("/v1/images/generations", Surface.OPENAI),
        ("/v1/models/gpt-image-2", Surface.OPENAI),
        ("/v1/models/gpt-image-2/", Surface.OPENAI),
        ("/host:80/images", Surface.OPENAI),
        ("", Surface.OPENAI),
        ("a:1", Surface.OPENAI),
        ("/v1beta/models", Surface.GEMINI),
        ("/v1beta", Surface.GEMINI),
        ("/v1/models/nano-banana-pro:generateContent", Surface.GEMINI),
        ("/models/nano-banana-pro:streamGenerateContent", Surface.GEMINI),
        ("/v1/generations", Surface.GENERATIONS),
        ("/v1/generations/gen_1/images/0", Surface.GENERATIONS),
        ("/v1/generations/gen_1:cancel", Surface.GENERATIONS),
    ],
)
def test_a_path_tells_whose_api_was_meant(path: str, surface: Surface) -> None:
    """Also one that nothing serves: its error is read by the SDK that asked."""
    assert surface_of_path(path) is surface
