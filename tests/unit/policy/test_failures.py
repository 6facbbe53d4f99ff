"""The table of failure kinds: complete, and told as it says."""

from __future__ import annotations

import pytest

from holdfast.generation import LATE_IMAGE_CODES
from holdfast.policy.failures import REACTIONS, Reaction, Verdict, public_code, verdict_of
from holdfast.types import Charge, Failure, FailureKind, Phase, worst_charge
from holdfast.wire.failures import CODES


def a_failure(kind: FailureKind = FailureKind.LOST_REPLY, *, charge: Charge | None = None, detail: str = "") -> Failure:
    return Failure(kind=kind, phase=Phase.WAIT, charge=charge or REACTIONS[kind].charge, detail=detail)


def test_every_kind_has_one_row_under_its_own_name() -> None:
    """No failure can reach the caller without a decision behind it."""
    assert set(REACTIONS) == set(FailureKind)
    assert all(kind is row.kind for kind, row in REACTIONS.items())


@pytest.mark.parametrize(
    ("kind", "charge", "reaction", "code"),
    [
        ("bad_request", "no", Reaction.GIVE_UP, "invalid_request"),
        ("credential", "no", Reaction.NEXT, "upstream_failed"),
        ("quota_spent", "no", Reaction.NEXT, "overloaded"),
        ("rate_limited", "no", Reaction.COOL, "overloaded"),
        ("overloaded", "no", Reaction.COOL, "overloaded"),
        ("unreachable", "no", Reaction.RETRY, "upstream_failed"),
        ("server_fault", "unknown", Reaction.BUY_AGAIN, "upstream_failed"),
        ("refused_input", "no", Reaction.GIVE_UP, "content_refused"),
        ("refused_output", "no", Reaction.GIVE_UP, "content_refused"),
        ("no_image", "unknown", Reaction.ONCE, "empty_result"),
        ("malformed", "yes", Reaction.FETCH_AGAIN, "upstream_failed"),
        ("upstream_timeout", "unknown", Reaction.BUY_AGAIN, "outcome_unknown"),
        ("lost_reply", "unknown", Reaction.BUY_AGAIN, "outcome_unknown"),
        ("cancelled", "unknown", Reaction.GIVE_UP, "generation_cancelled"),
    ],
)
def test_each_kind_reacts_as_documented(kind: str, charge: str, reaction: Reaction, code: str) -> None:
    """The table in the reference and the table in the code are the same."""
    row = REACTIONS[FailureKind(kind)]
    assert (row.charge, row.reaction, row.code) == (charge, reaction, code)


def test_every_code_can_be_told_in_every_dialect() -> None:
    """No failure ends in a code that the surfaces cannot render."""
    assert {row.code for row in REACTIONS.values()} <= set(CODES)
    assert set(CODES) >= LATE_IMAGE_CODES


def test_only_faults_of_the_upstream_count_as_retries() -> None:
    """Waiting out a 429 or 503 uses up no retry; repeating a fault does."""
    counted = {kind.value for kind, row in REACTIONS.items() if row.is_counted}
    assert counted == {"unreachable", "server_fault", "no_image", "upstream_timeout", "lost_reply"}


def test_definite_failures_are_those_that_would_end_the_same_way() -> None:
    """A refusal or a bad request is never driven again for a repeat."""
    definite = {kind.value for kind, row in REACTIONS.items() if row.is_definite}
    assert definite == {"bad_request", "refused_input", "refused_output", "cancelled"}


def test_a_timeout_known_to_be_unpaid_is_no_unknown_outcome() -> None:
    """An upstream that says it never started the work leaves nothing open."""
    assert public_code(a_failure(FailureKind.UPSTREAM_TIMEOUT, charge=Charge.NO)) == "upstream_failed"
    assert public_code(a_failure(FailureKind.UPSTREAM_TIMEOUT)) == "outcome_unknown"


def test_the_last_failure_is_what_the_caller_is_told() -> None:
    """After waiting out overloads, the fault that ended it is the story."""
    last = a_failure(FailureKind.UNREACHABLE, detail="refused")
    told = verdict_of([a_failure(FailureKind.OVERLOADED), last])
    assert told == Verdict(code="upstream_failed", charge=Charge.NO, failure=last)


def test_an_open_outcome_outweighs_what_came_after_it() -> None:
    """A 429 after a lost reply must not invite a blind repeat, which could pay twice."""
    lost = a_failure(FailureKind.LOST_REPLY)
    told = verdict_of([lost, a_failure(FailureKind.RATE_LIMITED)])
    assert told == Verdict(code="outcome_unknown", charge=Charge.UNKNOWN, failure=lost)


def test_charges_of_several_attempts_add_up_to_the_worst() -> None:
    """`paid` never understates what a generation may have cost."""
    assert worst_charge([]) is Charge.NO
    assert worst_charge([Charge.NO, Charge.UNKNOWN]) is Charge.UNKNOWN
    assert worst_charge([Charge.UNKNOWN, Charge.YES, Charge.NO]) is Charge.YES
