"""How upstreams and keys are told to stand at a moment."""

from __future__ import annotations

import pytest

from holdfast.engine.standing import KeyState, UpstreamState, key_now, upstream_state
from holdfast.policy.credentials import FRESH, Standing
from holdfast.policy.health import WELL, Health


@pytest.mark.parametrize(
    ("standing", "state", "until_s"),
    [
        (FRESH, KeyState.READY, None),
        (Standing(until=90.0), KeyState.READY, None),
        (Standing(until=100.0, is_ejected=True), KeyState.READY, None),
        (Standing(until=103.21), KeyState.COOLING, 3.2),
        (Standing(until=130.0, is_ejected=True), KeyState.EJECTED, 30.0),
    ],
)
def test_a_key_is_ready_once_its_rest_is_over(standing: Standing, state: KeyState, until_s: float | None) -> None:
    """Whatever it rested for; else for how long it still does."""
    now = key_now(2, standing, 100.0)
    assert (now.number, now.state, now.until_s) == (2, state, until_s)


def test_failures_in_a_row_are_told() -> None:
    """Before they take the key out."""
    assert key_now(1, Standing(failures=4), 0.0).failures == 4


@pytest.mark.parametrize(
    ("health", "state", "until_s"),
    [
        (WELL, UpstreamState.READY, None),
        (Health(failures=3), UpstreamState.READY, None),
        (Health(openings=1, ready_at=105.0), UpstreamState.RESTING, 5.0),
        (Health(openings=1, ready_at=99.0), UpstreamState.HALF_OPEN, None),
    ],
)
def test_a_circuit_is_closed_open_or_half_open(health: Health, state: UpstreamState, until_s: float | None) -> None:
    """Half-open: the next attempt is the trial."""
    assert upstream_state(health, 100.0) == (state, until_s)
