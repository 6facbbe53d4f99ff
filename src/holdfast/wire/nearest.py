"""The word that was probably meant.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_CHARS_MAX = 40
"""Words longer than this are compared by their beginning: a caller chooses them, and comparing is not linear."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known word was probably meant, or list them all: the end of an error's sentence."""
    names = sorted(known)
    close = difflib.get_close_matches(word[:_CHARS_MAX], names, n=1, cutoff=0.6)
    return f"Did you mean {close[0]!r}?" if close else f"Known here: {', '.join(names)}."
