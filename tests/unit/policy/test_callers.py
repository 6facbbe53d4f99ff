"""Callers as their libraries introduce themselves; the headers are recordings."""

from __future__ import annotations

from math import inf

import pytest

from holdfast.policy.callers import CallerClass, LateFailure, classify, late_form, retry_count

OPENAI_PYTHON = {
    "user-agent": "OpenAI/Python 3.54.0",
    "x-stainless-lang": "python",
    "x-stainless-retry-count": "0",
    "x-stainless-read-timeout": "600",
}
OPENAI_NODE = {"user-agent": "OpenAI/JS 7.57.0", "x-stainless-lang": "js", "x-stainless-retry-count": "0"}
GENAI_PYTHON = {
    "user-agent": "google-genai-sdk/3.4.0 gl-python/3.11.7",
    "x-goog-api-client": "google-genai-sdk/3.4.0 gl-python/3.11.7",
}
GENAI_NODE = {"x-goog-api-client": "google-genai-sdk/2.1.0 gl-node/v22.3.0", "user-agent": "google-genai-sdk/2.1.0"}


@pytest.mark.parametrize(
    ("headers", "name", "late"),
    [
        (OPENAI_PYTHON, "openai-python", "abort"),
        ({"user-agent": "holdfast-client/0.1.0"}, "holdfast-client", "abort"),
        ({"user-agent": "volc-sdk-python/1.0.0"}, "ark-python", "abort"),
        (OPENAI_NODE, "openai-node", "text"),
        (GENAI_PYTHON, "google-genai", "text"),
        (GENAI_NODE, "google-genai", "text"),
        ({"user-agent": "python-httpx/0.28.1"}, "httpx", "json"),
        ({"user-agent": "python-httpx2/2.16.0"}, "httpx", "json"),
        ({"user-agent": "python-urllib3/2.8.0"}, "urllib3", "json"),
        ({"user-agent": "curl/7.88.1"}, "other", "json"),
        ({"user-agent": "python-requests/2.32"}, "other", "json"),
        ({"user-agent": "Go-http-client/1.1"}, "other", "json"),
        ({}, "other", "json"),
    ],
)
def test_a_caller_is_known_by_its_first_sign(headers: dict[str, str], name: str, late: str) -> None:
    """Each library is told a late failure in the one form that it raises on."""
    caller = classify(headers)
    assert (caller.name, caller.late_failure) == (name, late)


def test_plain_httpx_is_impatient() -> None:
    """It gives up after 5 s of silence; SDKs built on it set a timeout of their own."""
    assert classify({"user-agent": "python-httpx/0.28.1"}).is_impatient
    assert not classify({**OPENAI_PYTHON, "user-agent": "python-httpx/0.28.1"}).is_impatient
    assert not classify({"user-agent": "curl/8"}).is_impatient


def test_urllib3_bears_less_silence_than_the_impatient() -> None:
    """Its `request()` gives up after 3 s; requests, which is built on it, has another name and no such limit."""
    caller = classify({"user-agent": "python-urllib3/2.8.0"})
    assert caller.is_impatient
    assert caller.silence_s_max < 3.0
    assert classify({"user-agent": "python-requests/2.34.2"}).silence_s_max == inf


@pytest.mark.parametrize(("count", "late"), [("0", "abort"), ("1", "abort"), ("2", "text"), ("7", "text")])
def test_the_last_try_is_told_in_text(count: str, late: str) -> None:
    """Nobody repeats after it, so a broken body would tell nothing."""
    assert classify({**OPENAI_PYTHON, "x-stainless-retry-count": count}).late_failure == late


@pytest.mark.parametrize("text", ["", "-1", "two", "2.0", "9" * 5000, "٢"])
def test_a_malformed_retry_count_is_none(text: str) -> None:
    """A header is anyone's to write."""
    assert retry_count({"x-stainless-retry-count": text}) == 0


@pytest.mark.parametrize(("form", "told"), [("abort", "text"), ("text", "text"), ("json", "json")])
def test_where_its_repeat_would_not_join_no_body_is_broken_off(form: str, told: str) -> None:
    """A repeat that does not join would buy the image again; one that does is told the true status."""
    caller = CallerClass(name="any", late_failure=LateFailure(form))
    assert late_form(caller, joins=False) == told
    assert late_form(caller, joins=True) == form
