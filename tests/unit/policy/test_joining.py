"""Who repeats whom, and what a repeat is given: every rule, and every case of it."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from holdfast.config import Join
from holdfast.errors import RequestError
from holdfast.generation import Redriven, State, apply
from holdfast.policy.joining import (
    DEFINITE_CODES,
    NO_CLAIM,
    REFUSALS,
    Answer,
    Found,
    answer_to,
    claim_of,
    idempotency_key_of,
    refusal,
    strictest,
    would_join,
)
from holdfast.types import Charge
from holdfast.wire.failures import CODES

UUID = "0b5f1d0e-6d0a-4b3e-9c3f-1f6f0f3a2b11"


# Keys


@pytest.mark.parametrize(
    ("stated", "key"),
    [
        (UUID, UUID),
        (f'"{UUID}"', UUID),
        (f'  "{UUID}" ', UUID),
        ("x", "x"),
        ("x" * 255, "x" * 255),
        ('"' + "x" * 255 + '"', "x" * 255),
        (r'"a\"b\\c"', r'a"b\c'),
        ("!#$%&'()*+,-./:;<=>?@[]^_`{|}~", "!#$%&'()*+,-./:;<=>?@[]^_`{|}~"),
    ],
)
def test_a_key_is_the_same_bare_or_quoted(stated: str, key: str) -> None:
    """The draft wants quotes, most clients send none."""
    assert idempotency_key_of({"idempotency-key": stated}) == key


def test_no_header_is_no_key() -> None:
    """And no error."""
    assert idempotency_key_of({}) is None


@pytest.mark.parametrize(
    "stated",
    [
        "",
        '""',
        "  ",
        "x" * 256,
        '"' + "x" * 256 + '"',
        "schlüssel",
        "a b",
        '"a b"',
        'a"b',
        '"a',
        'a"',
        '"a"b"',
        "a\x7f",
    ],
)
def test_a_malformed_key_is_refused_with_what_to_write(stated: str) -> None:
    """It would else join nothing, or what it should not, and nobody would notice."""
    with pytest.raises(RequestError) as caught:
        idempotency_key_of({"idempotency-key": stated})
    assert (caught.value.code, caught.value.status, caught.value.param) == ("invalid_request", 400, "Idempotency-Key")
    assert "255" in caught.value.message


# Claims


def test_the_strictest_of_key_route_and_gateway_counts() -> None:
    """Whoever says no is heard; the order in which they are asked is not."""
    order = [Join.OFF, Join.KEYED, Join.RETRIES, Join.ALL]
    for modes in itertools.product(Join, repeat=3):
        assert strictest(*modes) is order[min(map(order.index, modes))]


@pytest.mark.parametrize(
    ("join", "retry", "user", "joins"),
    [
        (Join.ALL, False, False, True),
        (Join.ALL, True, True, True),
        (Join.RETRIES, False, False, False),
        (Join.RETRIES, True, False, True),
        (Join.RETRIES, False, True, True),
        (Join.KEYED, True, True, False),
        (Join.OFF, True, True, False),
    ],
)
def test_without_a_key_the_mode_says_who_is_recognised(join: Join, retry: bool, user: bool, joins: bool) -> None:
    """A shared key joins only who says that he repeats, or is the same person."""
    headers = {"x-stainless-retry-count": "1"} if retry else {"x-stainless-retry-count": "0"}
    claim = claim_of(headers, join=join, names_end_user=user, is_strict=False)
    assert (claim.by_fingerprint, claim.says_retry, claim.idempotency_key) == (joins, retry, None)


@pytest.mark.parametrize("join", list(Join))
def test_with_a_key_nothing_else_is_looked_at(join: Join) -> None:
    """Whoever names his calls knows which are the same; turned off, even that is not heard, but must be well-formed."""
    headers = {"idempotency-key": UUID, "x-stainless-retry-count": "1"}
    claim = claim_of(headers, join=join, names_end_user=True, is_strict=True)
    assert claim.idempotency_key == (None if join is Join.OFF else UUID)
    assert claim.by_fingerprint is False
    assert claim.is_strict
    with pytest.raises(RequestError):
        claim_of({"idempotency-key": ""}, join=join, names_end_user=False, is_strict=False)


@pytest.mark.parametrize(
    ("join", "headers", "counts", "window_s", "joins"),
    [
        (Join.ALL, {}, False, 900.0, True),
        (Join.ALL, {}, True, 0.0, False),
        (Join.RETRIES, {}, True, 900.0, True),
        (Join.RETRIES, {}, False, 900.0, False),
        (Join.RETRIES, {}, True, 0.0, False),
        (Join.KEYED, {}, True, 900.0, False),
        (Join.KEYED, {"idempotency-key": UUID}, False, 0.0, True),
        (Join.OFF, {"idempotency-key": UUID}, True, 900.0, False),
    ],
)
def test_only_whose_repeat_would_join_may_be_broken_off(
    join: Join, headers: dict[str, str], counts: bool, window_s: float, joins: bool
) -> None:
    """Any other would buy again what it never got."""
    claim = claim_of(headers, join=join, names_end_user=False, is_strict=False)
    assert would_join(claim, join=join, counts_retries=counts, window_s=window_s) is joins


def test_who_cannot_be_recognised_may_join_nothing() -> None:
    """A gateway that is full tells it at once, without looking."""
    assert not NO_CLAIM.may_join
    assert claim_of({"idempotency-key": UUID}, join=Join.KEYED, names_end_user=False, is_strict=False).may_join
    assert claim_of({}, join=Join.ALL, names_end_user=False, is_strict=False).may_join
    assert not claim_of({}, join=Join.RETRIES, names_end_user=False, is_strict=False).may_join


# Answers


def found(state: State = State.SUCCEEDED, **overrides: Any) -> Found:
    """An earlier generation that a test describes."""
    stands = {"is_open": not state.is_final, "is_failed": state is State.FAILED, "is_same": True}
    return Found(**stands | overrides)


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("charge", list(Charge))
@pytest.mark.parametrize("is_strict", [False, True])
def test_another_request_under_a_used_key_is_refused(state: State, charge: Charge, is_strict: bool) -> None:
    """However the first one stands: whoever reuses a key would be given another picture than he asked for."""
    assert answer_to(found(state=state, charge=charge, is_same=False), is_strict=is_strict) is Answer.REUSED


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING])
def test_what_is_in_flight_is_joined(state: State) -> None:
    """Unless the caller wants to be told."""
    assert answer_to(found(state=state)) is Answer.JOIN
    assert answer_to(found(state=state), is_strict=True) is Answer.IN_FLIGHT


@pytest.mark.parametrize("is_strict", [False, True])
def test_a_success_is_given_again_as_long_as_its_image_is_there(is_strict: bool) -> None:
    """Never a silent purchase once it is gone."""
    assert answer_to(found(), is_strict=is_strict) is Answer.REPLAY
    assert answer_to(found(is_gone=True), is_strict=is_strict) is Answer.EXPIRED


@pytest.mark.parametrize("code", sorted(CODES))
@pytest.mark.parametrize("charge", list(Charge))
def test_only_a_failure_that_cost_nothing_and_may_pass_is_driven_again(code: str, charge: Charge) -> None:
    """Whatever is driven again, the lifecycle drives again: the two agree on each failure."""
    answer = answer_to(found(state=State.FAILED, code=code, charge=charge))
    is_definite = code in DEFINITE_CODES
    assert answer is (Answer.DRIVE_AGAIN if charge is Charge.NO and not is_definite else Answer.REPLAY)
    moved = apply(State.FAILED, Redriven(charge=charge, is_definite=is_definite))
    assert (moved.state is State.QUEUED) is (answer is Answer.DRIVE_AGAIN)


def test_a_failure_whose_request_is_deleted_is_told_and_never_driven_again() -> None:
    """There is nothing left to send; and no image was there to expire."""
    gone = found(state=State.FAILED, code="overloaded", charge=Charge.NO, is_gone=True)
    assert answer_to(gone) is Answer.REPLAY


def test_refusals_are_definite_and_busy_upstreams_are_not() -> None:
    """The words of the contract: overloaded before sending is driven again, content is refused again."""
    assert {"content_refused", "invalid_request"} <= DEFINITE_CODES
    assert not {"overloaded", "upstream_failed", "outcome_unknown", "deadline_exceeded"} & DEFINITE_CODES


@pytest.mark.parametrize("charge", list(Charge))
def test_a_failure_whose_image_may_still_come_is_joined(charge: Charge) -> None:
    """Told as unknown, or too late, with the attempt still in flight: buying again would pay twice."""
    assert answer_to(found(state=State.FAILED, code="outcome_unknown", charge=charge, open_attempts=1)) is Answer.JOIN


def test_a_cancelled_one_stays_cancelled() -> None:
    """Its owner wanted it no longer; a new key buys a new one."""
    assert answer_to(found(state=State.CANCELLED, code="generation_cancelled")) is Answer.REPLAY


@pytest.mark.parametrize("answer", sorted(REFUSALS))
def test_each_refusal_is_an_error_of_the_contract(answer: Answer) -> None:
    """Status and code of the table; the two that have a generation name it."""
    error = refusal(answer, "gen_1")
    assert error.status == CODES[error.code].status
    assert error.code == answer.value
    assert error.generation_id == (None if answer is Answer.REUSED else "gen_1")
    assert "Idempotency-Key" in error.message


@pytest.mark.parametrize("answer", sorted(set(Answer) - REFUSALS))
def test_what_is_given_is_no_refusal(answer: Answer) -> None:
    """The mistake would be ours."""
    with pytest.raises(AssertionError):
        refusal(answer, "gen_1")
