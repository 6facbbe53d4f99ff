"""Policies that are played side by side come to what they come to one after another."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from holdfast.errors import ConfigError
from holdfast.whatif import beside
from holdfast.whatif.book import Figures
from holdfast.whatif.files import load_policy, load_scenario

SCENARIO = "overloaded"
NAMED = ("published-retries", "holdfast")


def played(count: int, *, named: tuple[str, ...] = NAMED) -> list[Figures]:
    """Play the shipped policies."""
    policies = [load_policy(name) for name in named]
    return beside.play_all(load_scenario(SCENARIO), policies, scenario=SCENARIO, named=named, count=count, seed=3)


def figures_of(found: list[Figures]) -> list[dict[str, Any]]:
    """Everything that can be compared."""
    return [asdict(each) for each in found]


def test_processes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last digit, in the order of the policies."""
    alone = played(300)
    monkeypatch.setattr(beside, "COUNT_MIN", 100)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert figures_of(played(300)) == figures_of(alone)
    assert [each.policy for each in alone] == list(NAMED)


def test_few_orders_start_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does one core, or one policy."""

    def refuse(_: str) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(beside, "get_context", refuse)
    assert len(played(100)) == 2
    monkeypatch.setattr(beside, "COUNT_MIN", 100)
    assert len(played(200, named=NAMED[:1])) == 1
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert len(played(200)) == 2


def test_what_cannot_be_played_is_told_by_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size without a price: the same error as from one process, with its key."""

    def priceless(*_: object, **__: object) -> None:
        raise ConfigError("No price.", key="prices")

    monkeypatch.setattr(beside, "play", priceless)
    assert beside._play_named(SCENARIO, "holdfast", "holdfast", 10, 0) is None
    with pytest.raises(ConfigError, match="No price"):
        played(10)
