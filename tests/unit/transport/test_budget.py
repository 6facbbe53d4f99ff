"""Bytes of bodies in flight: granted in order, given back whole, however the waiting ends."""

from __future__ import annotations

import asyncio

import pytest

from holdfast.transport.budget import ByteBudget


async def turn() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_bytes_are_granted_at_once_while_there_is_room() -> None:
    """An answer that comes alone waits for nobody."""
    budget = ByteBudget(100)
    await budget.acquire(60)
    assert budget.has_room(40)
    assert not budget.has_room(41)
    await budget.acquire(40)
    assert repr(budget) == "<ByteBudget 100 of 100 bytes used, 0 waiting>"


async def test_who_comes_first_is_granted_first() -> None:
    """A large body is never starved by small ones that would still fit."""
    budget = ByteBudget(100)
    await budget.acquire(70)
    granted: list[str] = []

    async def want(name: str, size: int) -> None:
        await budget.acquire(size)
        granted.append(name)

    tasks = [asyncio.create_task(want(name, size)) for name, size in (("large", 90), ("small", 10), ("tiny", 1))]
    await turn()
    assert granted == []
    assert not budget.has_room(1), "room that is spoken for is none"
    budget.release(70)
    await turn()
    assert granted == ["large", "small"]
    budget.release(10)
    await turn()
    assert granted == ["large", "small", "tiny"]
    await asyncio.gather(*tasks)


async def test_who_comes_for_the_rest_goes_before_who_has_not_begun() -> None:
    """Among themselves in order; a newcomer does not slip in through bytes that are too few for them."""
    budget = ByteBudget(100)
    await budget.acquire(90)
    granted: list[str] = []

    async def want(name: str, size: int, *, has_begun: bool) -> None:
        await budget.acquire(size, has_begun=has_begun)
        granted.append(name)

    wishes = (("new", 5, False), ("first", 90, True), ("second", 10, True), ("newer", 5, False))
    tasks = [asyncio.create_task(want(name, size, has_begun=has_begun)) for name, size, has_begun in wishes]
    await turn()
    assert granted == ["new"], "it came when there was room"
    assert not budget.has_room(1)
    assert not budget.has_room(1, has_begun=True)
    assert repr(budget) == "<ByteBudget 95 of 100 bytes used, 3 waiting>"
    budget.release(90)
    await turn()
    assert granted == ["new", "first"]
    budget.release(5)
    await turn()
    assert granted == ["new", "first", "second"]
    budget.release(90)
    await turn()
    assert granted[3:] == ["newer"]
    await asyncio.gather(*tasks)


async def test_a_release_serves_as_many_as_fit() -> None:
    """One large body that ends lets several small ones in."""
    budget = ByteBudget(100)
    await budget.acquire(100)
    tasks = [asyncio.create_task(budget.acquire(30)) for _ in range(4)]
    await turn()
    budget.release(100)
    await turn()
    assert [task.done() for task in tasks] == [True, True, True, False]
    budget.release(30)
    await asyncio.gather(*tasks)


async def test_one_that_stops_waiting_holds_up_nobody() -> None:
    """The next in line is looked at at once: a cancelled giant must not block those behind it."""
    budget = ByteBudget(100)
    await budget.acquire(50)
    giant = asyncio.create_task(budget.acquire(100))
    small = asyncio.create_task(budget.acquire(50))
    await turn()
    assert not small.done()
    giant.cancel()
    await turn()
    assert giant.cancelled()
    assert small.done()
    assert "0 waiting" in repr(budget)


async def test_granted_and_cancelled_in_the_same_turn_gives_back() -> None:
    """The bytes were ours for a moment; kept, they would be lost for good."""
    budget = ByteBudget(100)
    await budget.acquire(100)
    waiting = asyncio.create_task(budget.acquire(60))
    await turn()
    budget.release(100)
    waiting.cancel()
    await turn()
    assert waiting.cancelled()
    assert budget.has_room(100)


async def test_cancelled_and_passed_over_in_the_same_turn_stays_a_cancellation() -> None:
    """A shutdown cancels while bodies end: whoever was passed over must not fail with something else."""
    budget = ByteBudget(100)
    await budget.acquire(100)
    waiting = asyncio.create_task(budget.acquire(60))
    behind = asyncio.create_task(budget.acquire(100))
    await turn()
    waiting.cancel()
    budget.release(100)
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await behind
    assert repr(budget) == "<ByteBudget 100 of 100 bytes used, 0 waiting>"


def test_a_wish_is_cut_to_what_can_ever_be_granted() -> None:
    """An answer larger than the whole budget is read in its turn, alone."""
    budget = ByteBudget(100)
    assert [budget.clamp(wish) for wish in (-1, 0, 1, 100, 101, 1 << 40)] == [1, 1, 1, 100, 100, 100]


async def test_impossible_accounts_are_our_mistake() -> None:
    """More asked for than there is would wait for ever; more given back would lend what does not exist."""
    with pytest.raises(AssertionError):
        ByteBudget(0)
    budget = ByteBudget(10)
    with pytest.raises(AssertionError):
        await budget.acquire(11)
    with pytest.raises(AssertionError):
        budget.release(1)
