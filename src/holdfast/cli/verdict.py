"""What a failed call cost: the gateway's own words in an error answer, and the sentence that tells them to a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from holdfast.types import Charge

_SENTENCES: Mapping[Charge, str] = {
    Charge.NO: "Nothing was charged.",
    Charge.UNKNOWN: "It may have been charged for.",
    Charge.YES: "It was charged for.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an error answer of holdfast says in every dialect; empty for somebody else's."""

    code: str | None = None
    """One of `wire.failures.CODES`."""
    paid: Charge | None = None


def verdict_of(body: bytes) -> Verdict:
    """Read an error body of either dialect."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Verdict()
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        return Verdict()
    paid = error.get("paid")
    return Verdict(code=_code_of(error), paid=Charge(paid) if paid in list(Charge) else None)


def _code_of(error: Mapping[str, Any]) -> str | None:
    if isinstance(code := error.get("holdfast_code"), str):
        return code
    details = error.get("details")
    for detail in details if isinstance(details, list) else []:
        if isinstance(detail, dict) and detail.get("domain") == "holdfast" and isinstance(detail.get("reason"), str):
            return str(detail["reason"]).lower()
    return None


def with_charge(message: str, paid: Charge | None) -> str:
    """End a message with what may have been charged, unless it speaks of it already."""
    if paid is None or "charged" in message.lower():
        return message
    return f"{message.rstrip('. ')}. {_SENTENCES[paid]}"
