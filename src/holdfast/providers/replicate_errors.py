"""What Replicate's errors mean: by status, and of a prediction that failed by what it says, for want of anything else.

Pure: no I/O, clock or randomness. A prediction that failed has neither status nor code, only a text that its model
wrote. The table of phrases is short on purpose: a fault that is taken for a refusal is never tried again.

Source: replicate.com/docs, HTTP reference, error codes (2026); texts as seen by its callers.
"""

from __future__ import annotations

import re

from holdfast.providers.error_answers import Meaning
from holdfast.types import Charge, FailureKind

_K = FailureKind
_CODE = re.compile(r"\((E\d{3,5})\)")
_REFUSAL_CODES = frozenset({"E005"})
_REFUSAL_PHRASES = ("flagged as sensitive", "nsfw content detected", "content moderation", "blocked by safety filters")


def code_of(text: str | None) -> str | None:
    """Find the code that some texts end in: `… flagged as sensitive … (E005)`."""
    found = _CODE.search(text or "")
    return found[1] if found is not None else None


def is_refusal(text: str | None) -> bool:
    """Whether a failed prediction says that its content was declined."""
    said = (text or "").lower()
    return code_of(text) in _REFUSAL_CODES or any(phrase in said for phrase in _REFUSAL_PHRASES)


def meaning_of_failed(text: str | None) -> Meaning:
    """Judge a prediction that failed.

    Whether it is billed is said nowhere, and neither is whether the prompt was refused or the picture: then it may have
    been made.
    """
    kind = _K.REFUSED_OUTPUT if is_refusal(text) else _K.SERVER_FAULT
    return Meaning(kind=kind, charge=Charge.UNKNOWN)
