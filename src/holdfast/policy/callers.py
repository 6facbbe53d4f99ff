"""Who is calling, as far as it changes how we hold the line and how we tell a late failure. First match wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf


class LateFailure(StrEnum):
    """How a failure is told when 200 has already been sent."""

    ABORT = "abort"
    """Break the body off: the SDK repeats by itself, and its repeat is told the true status."""
    TEXT = "text"
    """End the body with one line that is not JSON: the SDK raises at once and does not repeat."""
    JSON = "json"
    """One JSON document with an `error` object, in the caller's dialect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerClass:
    """What is known of a caller."""

    name: str
    """For records and logs: `openai-python`, `openai-node`, `google-genai`, `httpx`, `urllib3`, `other`."""
    late_failure: LateFailure
    is_impatient: bool = False
    """Whether it gives up after 5 s of silence unless its author thought of it."""
    silence_s_max: float = inf
    """Longest silence that it bears, whatever the settings say of the impatient."""
    counts_retries: bool = False
    """Whether its repeat says that it is one: `x-stainless-retry-count`."""


OPENAI_PYTHON = CallerClass(name="openai-python", late_failure=LateFailure.ABORT, counts_retries=True)
HOLDFAST_CLIENT = CallerClass(name="holdfast-client", late_failure=LateFailure.ABORT)
ARK_PYTHON = CallerClass(name="ark-python", late_failure=LateFailure.ABORT)
OPENAI_NODE = CallerClass(name="openai-node", late_failure=LateFailure.TEXT, counts_retries=True)
GOOGLE_GENAI = CallerClass(name="google-genai", late_failure=LateFailure.TEXT)
HTTPX = CallerClass(name="httpx", late_failure=LateFailure.JSON, is_impatient=True)
# `urllib3.request()` gives up after 3 s of silence; a pool of one's own has no such limit, and the same name.
URLLIB3 = CallerClass(name="urllib3", late_failure=LateFailure.JSON, is_impatient=True, silence_s_max=2.0)
OTHER = CallerClass(name="other", late_failure=LateFailure.JSON)

LAST_RETRY = 2
"""`x-stainless-retry-count` of the last try that the SDK makes by default; nobody repeats after it."""


def classify(headers: Mapping[str, str]) -> CallerClass:
    """Recognise a caller by what its library says of itself.

    Args:
        headers: Names in lower case.

    Source: measured with openai 3.54 and 7.57 (Node), google-genai 3.4, volcengine-ark-runtime, httpx 0.28 and
        urllib3 2.8.
    """
    agent = headers.get("user-agent", "").lower()
    language = headers.get("x-stainless-lang", "").strip().lower()
    for repeats, caller in (
        (language == "python", OPENAI_PYTHON),
        (agent.startswith("holdfast-client/"), HOLDFAST_CLIENT),
        (agent.startswith("volc-sdk-python/"), ARK_PYTHON),
    ):
        if repeats:
            return _on_its_last_try(caller) if retry_count(headers) >= LAST_RETRY else caller
    if language == "js":
        return OPENAI_NODE
    if "google-genai-sdk" in headers.get("x-goog-api-client", "").lower():
        return GOOGLE_GENAI
    if agent.startswith(("python-httpx/", "python-httpx2/")):
        return HTTPX
    if agent.startswith("python-urllib3/"):
        return URLLIB3
    return OTHER


def _on_its_last_try(caller: CallerClass) -> CallerClass:
    return replace(caller, late_failure=LateFailure.TEXT)


def retry_count(headers: Mapping[str, str]) -> int:
    """Read how often this SDK has already repeated this call; 0 when it does not say."""
    text = headers.get("x-stainless-retry-count", "").strip()
    # Bounded before it is converted: a header may hold a thousand digits.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else 0


def late_form(caller: CallerClass, *, joins: bool) -> LateFailure:
    """Choose the form; where its repeat would not join, a broken body would be repeated and bought again."""
    breaks_off = caller.late_failure is LateFailure.ABORT
    return LateFailure.TEXT if breaks_off and not joins else caller.late_failure
