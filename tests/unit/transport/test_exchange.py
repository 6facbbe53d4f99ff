"""The values of one exchange."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from holdfast.transport.exchange import Timeouts


def timeouts(**overrides: Any) -> Timeouts:
    """Sound ones."""
    return Timeouts(**{"connect_s": 10.0, "write_s": 30.0, "read_idle_s": 300.0, "total_s": 300.0, **overrides})


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Timeouts)])
@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_a_phase_without_time_is_our_mistake(name: str, seconds: float) -> None:
    """It would fail every attempt after the money was held."""
    with pytest.raises(AssertionError):
        timeouts(**{name: seconds})


def test_a_body_has_time_of_its_own() -> None:
    """An answer that begins just before its deadline is paid for: a poor path needs 100 s for a 4K image."""
    assert timeouts().body_s >= 100.0


def test_timeouts_are_values() -> None:
    """Shared by all exchanges of a size, so nobody may change them."""
    assert timeouts() == timeouts()
    with pytest.raises(dataclasses.FrozenInstanceError):
        timeouts().connect_s = 1.0  # type: ignore[misc]
