"""A decision as it is written down, logged, and carried out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast.config import Provider, Upstream
from holdfast.engine.course import Candidate, Target
from holdfast.engine.sequel import Sequel
from holdfast.policy.retry import Decision, Fallback, GiveUp, GiveUpReason, Retry, Wait
from holdfast.store.records import withheld
from holdfast.types import FailureKind, Tier

PLACE = Candidate(
    target=Target(
        upstream=Upstream(name="u", provider=Provider.GEMINI, base_url="https://u.example"),
        model="m",
        keys=("sk-secret",),
        route="pro",
    ),
    tier=Tier.K4,
)


def a_sequel(decision: Decision, **changes: Any) -> Sequel:
    """After an overload, with 200 s left."""
    usual: dict[str, Any] = {
        "decision": decision,
        "kind": FailureKind.OVERLOADED,
        "decided_at": 1000.0,
        "remaining_s": 200.12345,
        "budget_left": 2.9,
        "to": None if isinstance(decision, GiveUp) else PLACE,
        "expected_s": None if isinstance(decision, GiveUp) else 120.0,
    }
    return Sequel(**usual | changes)


@pytest.mark.parametrize(
    ("decision", "follows", "after_s"),
    [(Retry(after_s=1.5), "retry", 1.5), (Wait(after_s=0.0), "wait", 0.0), (Fallback(after_s=3.0), "fallback", 3.0)],
)
def test_what_goes_on_says_where_and_when(decision: Decision, follows: str, after_s: float) -> None:
    """With the kind of failure as its reason, and the figures by which it was decided."""
    sequel = a_sequel(decision)
    assert sequel.document() == {
        "follows": follows,
        "reason": "overloaded",
        "after_s": after_s,
        "to": {"upstream": "u", "model": "m", "size": "4K"},
        "remaining_s": 200.123,
        "expected_s": 120.0,
        "budget_left": 2.9,
    }
    assert sequel.again_at == 1000.0 + after_s


def test_an_end_says_why() -> None:
    """And goes nowhere."""
    sequel = a_sequel(GiveUp(reason=GiveUpReason.PURCHASES_SPENT))
    assert sequel.again_at is None
    document = sequel.document()
    assert (document["follows"], document["reason"]) == ("give_up", "purchases_spent")
    assert (document["after_s"], document["to"], document["expected_s"]) == (None, None, None)
    assert sequel.told() == {"follows": "give_up", "why": "purchases_spent"}


def test_what_was_passed_over_is_told_with_it() -> None:
    """Only where something was."""
    skipped = ({"upstream": "c", "model": "m", "size": "4K", "reason": "no price"},)
    assert a_sequel(Fallback(), skipped=skipped).document()["skipped"] == list(skipped)
    assert "skipped" not in a_sequel(Fallback()).document()


def test_the_log_line_names_where_a_fallback_leads() -> None:
    """And no key, which the record does not hold either."""
    assert a_sequel(Fallback()).told() == {"follows": "fallback", "after_s": 0.0, "to": "u/m"}
    assert a_sequel(Retry(after_s=1.23456)).told() == {"follows": "retry", "after_s": 1.235}
    assert "sk-secret" not in repr(a_sequel(Fallback())) + str(a_sequel(Fallback()).document())


def test_a_decision_that_was_not_carried_out_says_what_kept_it() -> None:
    """A cancel came first, or the day's exposure was spent: the figures stay."""
    written = msgspec.json.encode(a_sequel(Retry(after_s=1.5)).document()).decode()
    told = msgspec.json.decode(withheld(written, "exposure_spent"))
    assert (told["follows"], told["reason"], told["to"], told["after_s"]) == ("give_up", "exposure_spent", None, None)
    assert told["remaining_s"] == 200.123
