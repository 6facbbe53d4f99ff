"""The exceptions of this package.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

from typing import Literal

WireErrorCode = Literal["json", "too_large", "base64", "encoding", "form"]


class WireError(ValueError):
    """A body is not what it claims to be, or exceeds a bound. Never quotes the body, it may be a prompt."""

    def __init__(self, code: WireErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: WireErrorCode = code
        self.message = message
        """What is wrong and what to do about it."""


class EndsEarly(WireError):
    """A document ends before it is whole: an answer that was cut on its way, or a request that was written so."""
