"""What the library raises becomes an exit code, one line, and a word on what may be collected."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.cli.api_key import ApiKey
from holdfast.cli.client_ends import exit_of, how_to_collect, is_open, stop_of
from holdfast.cli.exits import Exit
from holdfast.errors import (
    AuthenticationError,
    ConfigError,
    DeadlineExceeded,
    HoldfastError,
    InsufficientFunds,
    Overloaded,
    Refused,
    RequestError,
    TimedOut,
    TransportError,
    Unavailable,
    UpstreamsExhausted,
)
from holdfast.types import Charge

BASE_URL = "http://127.0.0.1:16888/v1"
KEY = ApiKey(value="hf-01ABC-s3cret", source="--api-key")


def raised(error: HoldfastError, *, paid: Charge | None = None, code: str | None = None) -> HoldfastError:
    """Dress an exception as the library does."""
    error.paid, error.generation_id = paid, "gen_1"
    if code is not None:
        error.code = code
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (AuthenticationError("x", code="invalid_api_key", status=401), Exit.KEY_WRONG),
        (Refused("x"), Exit.REFUSED),
        (raised(Unavailable("x"), paid=Charge.NO), Exit.UNREACHABLE),
        (Unavailable("x"), Exit.UNREACHABLE),
        (raised(Unavailable("a web page"), paid=Charge.UNKNOWN, code="not_found"), Exit.UNREACHABLE),
        (raised(Unavailable("x"), paid=Charge.UNKNOWN), Exit.GENERATION_FAILED),
        (ConfigError("x"), Exit.USAGE),
        (RequestError("x", code="model_not_found", status=404), Exit.NO_SUCH_MODEL),
        (RequestError("x", code="unsupported_size"), Exit.USAGE),
        (raised(Overloaded("x"), code="storage_low"), Exit.DISK_FULL),
        (raised(Overloaded("x"), code="queue_full"), Exit.GENERATION_FAILED),
        (InsufficientFunds("x"), Exit.GENERATION_FAILED),
        (UpstreamsExhausted("x"), Exit.GENERATION_FAILED),
        (DeadlineExceeded("x"), Exit.GENERATION_FAILED),
        (TimedOut("x"), Exit.GENERATION_FAILED),
    ],
)
def test_every_exception_has_its_exit_code(error: HoldfastError, expected: Exit) -> None:
    """A script branches on the number."""
    assert exit_of(error) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (raised(TransportError("x"), paid=Charge.UNKNOWN), True),
        (raised(TimedOut("x"), paid=Charge.UNKNOWN), True),
        (raised(DeadlineExceeded("x"), paid=Charge.UNKNOWN), True),
        # The gateway's own deadline: it has ended there.
        (raised(DeadlineExceeded("x"), paid=Charge.UNKNOWN, code="deadline_exceeded"), False),
        (raised(TransportError("x"), paid=Charge.NO), False),
        (raised(UpstreamsExhausted("x"), paid=Charge.UNKNOWN), False),
        (raised(Refused("x"), paid=Charge.YES), False),
    ],
)
def test_what_nobody_has_ended_is_open(error: HoldfastError, expected: bool) -> None:
    """It is there to collect, or will be; towards a server that keeps nothing it is not."""
    assert is_open(error) is expected
    told = stop_of(error, base_url=BASE_URL, key=KEY, keeps=True).details["is_open"]
    assert bool(told) is expected
    assert stop_of(error, base_url=BASE_URL, key=KEY, keeps=False).details["is_open"] is None


def test_what_may_have_been_bought_is_told() -> None:
    """As a sentence, and for a program."""
    stop = stop_of(
        raised(UpstreamsExhausted("u failed."), paid=Charge.UNKNOWN, code="upstream_failed"),
        base_url=BASE_URL,
        key=KEY,
        keeps=True,
    )
    assert stop.message == "u failed. It may have been charged for."
    assert stop.details["paid"] == "unknown"
    assert stop.details["holdfast_code"] == "upstream_failed"
    assert stop.details["generation_id"] == "gen_1"


def test_a_refused_key_is_told_without_its_secret() -> None:
    """Whose it is and where it came from."""
    error = AuthenticationError("The key is not known.", code="invalid_api_key", status=401)
    stop = stop_of(error, base_url=BASE_URL, key=KEY, keeps=True)
    assert "hf-01ABC-…" in stop.message
    assert "s3cret" not in stop.message


def test_a_gateway_that_is_not_there_is_named() -> None:
    """With what to start."""
    stop = stop_of(raised(Unavailable("Connection refused."), paid=Charge.NO), base_url=BASE_URL, key=KEY, keeps=False)
    assert stop.message == f"{BASE_URL} cannot be reached: Connection refused. Is holdfast serve running there?"


def test_the_line_to_collect_with_names_the_generation_or_the_key_of_the_call() -> None:
    """The key of the API is where it was; it is never written out."""
    by_id = how_to_collect(BASE_URL, "gen_1", "call_1", KEY)
    by_key = how_to_collect(BASE_URL, None, "call_1", ApiKey(value="k", source="f", file=Path("my key")))
    assert f'$HOLDFAST_API_KEY" {BASE_URL}/generations/gen_1' in by_id
    assert "once the key you gave is in HOLDFAST_API_KEY" in by_id
    assert f"$(cat 'my key')\" '{BASE_URL}/generations?idempotency_key=call_1'" in by_key
    assert "s3cret" not in by_id + by_key
