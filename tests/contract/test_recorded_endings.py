"""Every recorded failure, followed to its end: what is done about it, and what callers of both dialects are told.

The table is written out here as `Failure kinds` of the reference has it; the recordings say of which kind they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.policy.failures import REACTIONS, Reaction, public_code
from holdfast.policy.retry import Circumstances, Fallback, GiveUp, Retry, RetryPolicy, Tally, Wait, decide_after_failure
from holdfast.types import Charge, Failure, FailureKind, Phase, Surface
from holdfast.wire.failures import status_of

RECORDED = Path(__file__).parents[1] / "recorded"
ENDS: dict[str, tuple[Reaction, int, int]] = {
    "bad_request": (Reaction.GIVE_UP, 400, 400),
    "credential": (Reaction.NEXT, 502, 503),
    "quota_spent": (Reaction.NEXT, 503, 503),
    "rate_limited": (Reaction.COOL, 503, 503),
    "overloaded": (Reaction.COOL, 503, 503),
    "unreachable": (Reaction.RETRY, 502, 503),
    "server_fault": (Reaction.BUY_AGAIN, 502, 500),
    "refused_input": (Reaction.GIVE_UP, 400, 400),
    "refused_output": (Reaction.GIVE_UP, 400, 400),
    "no_image": (Reaction.ONCE, 502, 500),
    "malformed": (Reaction.FETCH_AGAIN, 502, 500),
    "upstream_timeout": (Reaction.BUY_AGAIN, 502, 504),
    "lost_reply": (Reaction.BUY_AGAIN, 502, 504),
    "cancelled": (Reaction.GIVE_UP, 409, 499),
}
"""Reaction, and the status in OpenAI's words and in Google's, where the outcome is as usual for the kind.

A refusal is a 200 of Google's dialect where it is told plainly; this is the status that a late one has.
"""
WAITS = {"rate_limited", "overloaded"}


def failures() -> list[Any]:
    """List the recordings that end in a failure."""
    found = []
    for path in sorted(RECORDED.glob("*/*.json")):
        expect = json.loads(path.read_text())["expect"]
        ends = expect.get("failed") or expect.get("then")
        if ends is not None:
            found.append(pytest.param(ends, id=f"{path.parent.name}-{path.stem}"))
    return found


def failure_of(ends: dict[str, Any]) -> Failure:
    """Make the failure that a recording comes to; what it does not say is as usual for its kind."""
    kind = FailureKind(ends["kind"])
    return Failure(
        kind=kind,
        phase=Phase(ends.get("phase", "receive")),
        charge=Charge(ends.get("charge", REACTIONS[kind].charge)),
        detail="as recorded",
    )


@pytest.mark.parametrize("ends", failures())
def test_a_recorded_failure_is_reacted_to_and_told(ends: dict[str, Any]) -> None:
    """By its kind; a status of Google's dialect that depends on the charge is that of an unpaid one."""
    failure = failure_of(ends)
    reaction, openai, gemini = ENDS[ends["kind"]]
    assert REACTIONS[failure.kind].reaction is reaction
    code = public_code(failure)
    assert status_of(Surface.OPENAI, code, failure.charge) == openai
    told = status_of(Surface.GEMINI, code, failure.charge)
    unpaid_unknown = failure.charge is Charge.NO and REACTIONS[failure.kind].code == "outcome_unknown"
    assert told in ({gemini, 503, 500} if unpaid_unknown or gemini in (500, 503) else {gemini})


@pytest.mark.parametrize("ends", failures())
def test_what_was_charged_is_never_bought_again(ends: dict[str, Any]) -> None:
    """And what may have been, only where the operator accepts it; what is waited out goes to the next one first."""
    failure = failure_of(ends)
    tally = Tally.of((failure,))
    alone = Circumstances(remaining_s=300.0, expected_s=30.0, jitter=0.5)
    decided = decide_after_failure(failure, tally=tally, now=alone, policy=RetryPolicy())
    if failure.charge is not Charge.NO:
        assert isinstance(decided, GiveUp)
        return
    if ends["kind"] in WAITS:
        assert isinstance(decided, Wait)
        beside = Circumstances(remaining_s=300.0, expected_s=30.0, jitter=0.5, next_after_s=0.0, next_expected_s=30.0)
        assert decide_after_failure(failure, tally=tally, now=beside, policy=RetryPolicy()) == Fallback()
        return
    is_tried = ENDS[ends["kind"]][0] in (Reaction.RETRY, Reaction.ONCE, Reaction.BUY_AGAIN)
    assert isinstance(decided, Retry if is_tried else GiveUp)


def test_every_kind_is_in_the_table() -> None:
    """A new kind has to say how it ends."""
    assert ENDS.keys() == {kind.value for kind in FailureKind}
