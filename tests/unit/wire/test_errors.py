"""The package's exception."""

from __future__ import annotations

from holdfast.wire.errors import WireError
from holdfast.wire.scan import WireError as ScanWireError


def test_it_carries_a_code_and_a_message() -> None:
    """Decisions go by the code, people read the message."""
    error = WireError("too_large", "an image is too large")
    assert isinstance(error, ValueError)
    assert (error.code, error.message, str(error)) == ("too_large", "an image is too large", "an image is too large")


def test_it_is_one_class_wherever_it_is_imported_from() -> None:
    """The scanner hands it on for convenience."""
    assert ScanWireError is WireError
