"""Errors in every dialect become the same few exceptions."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.client.judging import exception_of, is_proxy, judge, judge_end, judge_inside
from holdfast.errors import AuthenticationError, Overloaded, RequestError, TransportError, Unavailable
from holdfast.types import Charge, FailureKind, Surface
from holdfast.wire.answers import UpstreamError
from holdfast.wire.failures import CODES, error_headers, render_error, status_of
from holdfast.wire.generations import ErrorResource

BASE = "http://h:1/v1"


@pytest.mark.parametrize("surface", list(Surface))
@pytest.mark.parametrize("code", list(CODES))
@pytest.mark.parametrize("paid", list(Charge))
def test_what_the_gateway_writes_the_client_reads(kit: Any, surface: Surface, code: str, paid: Charge) -> None:
    """Every code on every surface: code, charge, invitation and generation come back as they were meant."""
    body = render_error(surface, code=code, message="words", paid=paid, generation_id="gen_1", retry_after_s=3.0)
    headers = {
        name.decode().replace("-", "_"): value.decode()
        for name, value in error_headers(code=code, paid=paid, retry_after_s=3.0)
    }
    status = status_of(surface, code, paid)
    verdict = judge(kit.a_head(status, **headers), body, base_url=BASE)
    assert (verdict.code, verdict.charge, verdict.generation_id) == (code, paid, "gen_1")
    assert verdict.is_holdfast
    assert verdict.retry_after_s == 3.0
    assert verdict.may_repeat is (headers["x_should_retry"] == "true")
    error = exception_of(verdict)
    assert (error.code, error.paid, error.status) == (code, paid, status)


def test_every_code_has_a_kind_and_an_exception_that_fits(kit: Any) -> None:
    """Busy is Overloaded, keys are AuthenticationError, mistakes are RequestError."""
    for code, row in CODES.items():
        body = render_error(Surface.OPENAI, code=code, message="words")
        error = exception_of(judge(kit.a_head(row.status), body, base_url=BASE))
        if row.retryable_if_unpaid:
            assert type(error) is Overloaded
        if row.status == 401:
            assert type(error) is AuthenticationError
        if row.status in (400, 413, 404, 422) and code != "content_refused":
            assert type(error) is RequestError


@pytest.mark.parametrize("body", [b"", b"<html>", b"not json", b"[]", b'{"error":1}', b'{"error":{}}', b"\xff\xfe"])
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 502, 503, 504, 520])
def test_any_body_at_all_gives_a_verdict(kit: Any, status: int, body: bytes) -> None:
    """Nothing that a server may send raises anything but what we mean."""
    verdict = judge(kit.a_head(status, "text/html"), body, base_url=BASE)
    assert not verdict.is_holdfast
    assert verdict.status == status
    assert exception_of(verdict).paid is verdict.charge


def test_a_proxys_page_is_told_from_a_servers_error(kit: Any) -> None:
    """By its body, which no image API writes, and by its status."""
    page = judge(kit.a_head(502, "text/html"), b"<html>", base_url=BASE)
    assert is_proxy(page)
    own = judge(kit.a_head(502), b'{"error":{"message":"m"}}', base_url=BASE)
    assert not is_proxy(own)
    assert not is_proxy(judge(kit.a_head(404, "text/html"), b"<html>", base_url=BASE))


def test_a_wrong_base_url_is_told_with_what_to_write(kit: Any) -> None:
    """404 of a web server, a page of a site, a way elsewhere."""
    not_found = judge(kit.a_head(404, "text/html"), b"<html>nginx", base_url="http://h:1")
    error = exception_of(not_found)
    assert type(error) is Unavailable
    assert "/v1" in str(error)
    assert error.paid is Charge.NO
    page = judge(kit.a_head(200, "text/html; charset=utf-8"), b"<html>", base_url="http://h:1")
    assert "web page" in page.message
    assert "nginx" not in not_found.message + page.message


def test_geminis_errors_are_read_as_its_own(kit: Any) -> None:
    """The key's reason is in the details; so is the pause."""
    body = (
        b'{"error":{"code":400,"message":"API key not valid","status":"INVALID_ARGUMENT","details":['
        b'{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}'
    )
    assert type(exception_of(judge(kit.a_head(400), body, base_url=BASE))) is AuthenticationError
    body = (
        b'{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":['
        b'{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"12s"}]}}'
    )
    verdict = judge(kit.a_head(429), body, base_url=BASE)
    assert (verdict.kind, verdict.retry_after_s, verdict.charge) == (FailureKind.RATE_LIMITED, 12.0, Charge.NO)


def test_a_date_to_come_back_is_counted_from_the_servers_own_clock(kit: Any) -> None:
    """This machine's clock may be an hour off: it is not looked at."""
    head = kit.a_head(429, date="Sat, 28 Nov 2026 09:00:00 GMT", retry_after="Sat, 28 Nov 2026 09:00:30 GMT")
    assert judge(head, b'{"error":{"message":"m"}}', base_url=BASE).retry_after_s == 30.0


def test_a_servers_words_are_quoted_only_where_they_help_and_hold_no_secret(kit: Any) -> None:
    """What is wrong with the request is in them; so may be the prompt."""
    body = b'{"error":{"message":"size must be one of a, b","type":"invalid_request_error"}}'
    assert "one of a, b" in judge(kit.a_head(400), body, base_url=BASE).message
    assert "one of a, b" not in judge(kit.a_head(500), body, base_url=BASE).message
    quoting = b'{"error":{"message":"bad prompt: a secret wish of mine, cut sh","type":"t"}}'
    verdict = judge(kit.a_head(400), quoting, base_url=BASE, secrets=("a secret wish of mine, cut short",))
    assert "wish" not in verdict.message
    quoting = b'{"error":{"message":"bad key sk-1","type":"t"}}'
    assert "sk-1" not in judge(kit.a_head(400), quoting, base_url=BASE, secrets=("sk-1",)).message


def test_an_error_inside_a_success_is_judged_by_its_own_code(kit: Any) -> None:
    """Relays answer 200 and put the status into the code."""
    verdict = judge_inside(kit.a_head(200), UpstreamError(status=None, message="m", code="429"))
    assert (verdict.kind, verdict.charge, verdict.status) == (FailureKind.RATE_LIMITED, Charge.NO, 429)
    verdict = judge_inside(kit.a_head(200), UpstreamError(status=None, message="m", code="do_request_failed"))
    assert verdict.charge is Charge.UNKNOWN


def test_an_end_on_record_is_told_by_its_own_words() -> None:
    """Whatever code is in it, known or of a later version."""
    verdict = judge_end(ErrorResource(code="outcome_unknown", message="m", paid="unknown", retryable=False), "gen_1")
    error = exception_of(verdict)
    assert (error.code, error.paid) == ("outcome_unknown", Charge.UNKNOWN)
    assert not isinstance(error, TransportError)
    later = judge_end(ErrorResource(code="never_heard_of", message="m", paid="no", retryable=False), "gen_1")
    assert exception_of(later).code == "never_heard_of"
    assert judge_end(None, "gen_1").code == "generation_cancelled"
