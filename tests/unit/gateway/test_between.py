"""Callers between two hops: expected for a while, then gone."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.gateway import between
from holdfast.gateway.between import Between


@pytest.fixture
def gone() -> list[str]:
    """Whoever was told as having left."""
    return []


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patience that a test can wait for: none."""
    monkeypatch.setattr(between, "GRACE_S", 0.0)


async def test_who_comes_back_has_not_left(gone: list[str]) -> None:
    """Of two who went, one is taken for one who comes; nobody is taken twice."""
    callers = Between(gone.append)
    callers.went("gen_1")
    callers.went("gen_1")
    callers.went("gen_2")
    assert [callers.count(id_) for id_ in ("gen_1", "gen_2", "gen_3")] == [2, 1, 0]
    assert repr(callers) == "<Between 3 callers of 2 generations>"
    assert [callers.came("gen_1") for _ in range(3)] == [True, True, False]
    assert (callers.came("gen_3"), gone) == (False, [])
    callers.close()
    assert (callers.count("gen_2"), gone) == (0, [])


async def test_who_does_not_come_back_has_left(gone: list[str], soon: None) -> None:
    """Each is told once, and is expected no longer."""
    callers = Between(gone.append)
    callers.went("gen_1")
    callers.went("gen_1")
    assert callers.came("gen_1")
    await asyncio.sleep(0.01)
    assert gone == ["gen_1"]
    assert not callers.came("gen_1")


async def test_after_the_end_nobody_is_told_of(gone: list[str], soon: None) -> None:
    """A gateway that stops expects nobody."""
    callers = Between(gone.append)
    callers.went("gen_1")
    callers.close()
    await asyncio.sleep(0.01)
    assert gone == []


async def test_it_is_idle_when_nobody_is_on_the_way(gone: list[str], soon: None) -> None:
    """Come, left or given up: whoever waits for all of them is woken."""
    callers = Between(gone.append)
    assert callers.idle.is_set()
    callers.went("gen_1")
    callers.went("gen_2")
    assert not callers.idle.is_set()
    assert callers.came("gen_2")
    assert not callers.idle.is_set()
    await asyncio.wait_for(callers.idle.wait(), 1.0)
    assert gone == ["gen_1"]
    callers.went("gen_3")
    callers.close()
    assert callers.idle.is_set()
