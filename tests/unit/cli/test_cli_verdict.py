"""What an error answer says of the charge, and how a person reads it."""

from __future__ import annotations

import pytest

from holdfast.cli.verdict import Verdict, verdict_of, with_charge
from holdfast.types import Charge, Surface
from holdfast.wire.failures import render_error


@pytest.mark.parametrize("surface", [Surface.OPENAI, Surface.GEMINI])
@pytest.mark.parametrize("paid", list(Charge))
def test_the_gateways_own_code_and_charge_are_read_in_either_dialect(surface: Surface, paid: Charge) -> None:
    """The dialects have words of their own for a failure; these two are ours, and exact."""
    body = render_error(surface, code="empty_result", message="no image", paid=paid)
    assert verdict_of(body) == Verdict(code="empty_result", paid=paid)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"\xff",
        b"[]",
        b"{}",
        b'{"error": "no"}',
        b'{"error": {"code": "x", "paid": "perhaps", "details": [1, {"reason": "API_KEY_INVALID"}]}}',
        b'{"error": {"paid": ["no"], "details": {}}}',
    ],
)
def test_somebody_elses_error_says_nothing_of_it(body: bytes) -> None:
    """What is not known is not told."""
    assert verdict_of(body) == Verdict()


@pytest.mark.parametrize(
    ("message", "paid", "told"),
    [
        ("It broke", Charge.NO, "It broke. Nothing was charged."),
        ("It broke.", Charge.UNKNOWN, "It broke. It may have been charged for."),
        ("It broke", Charge.YES, "It broke. It was charged for."),
        ("It broke", None, "It broke"),
        ("Nothing was sent, nothing was charged", Charge.NO, "Nothing was sent, nothing was charged"),
    ],
)
def test_the_charge_is_told_once(message: str, paid: Charge | None, told: str) -> None:
    """At the end, as a sentence; not again where the gateway has said it."""
    assert with_charge(message, paid) == told
