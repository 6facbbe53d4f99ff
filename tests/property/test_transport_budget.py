"""However bodies come, end and are cancelled, no byte is lost and none is granted twice."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from holdfast.transport.budget import ByteBudget

BYTES_MAX = 100
steps = st.lists(
    st.tuples(st.sampled_from(["acquire", "release", "cancel", "turn"]), st.integers(1, BYTES_MAX), st.integers(0, 20)),
    max_size=60,
)


@given(steps)
def test_the_account_is_always_right(plan: list[tuple[str, int, int]]) -> None:
    """Granted bytes never exceed the bound, every waiter ends, and at the end everything is given back."""
    asyncio.run(_play(plan))


async def _play(plan: list[tuple[str, int, int]]) -> None:
    budget = ByteBudget(BYTES_MAX)
    tasks: list[asyncio.Task[int]] = []
    held: list[int] = []

    async def want(size: int, *, has_begun: bool) -> int:
        await budget.acquire(size, has_begun=has_begun)
        held.append(size)
        assert sum(held) <= BYTES_MAX
        return size

    for action, size, which in plan:
        match action:
            case "acquire":
                tasks.append(asyncio.create_task(want(size, has_begun=bool(which % 2))))
            case "release" if held:
                budget.release(held.pop(which % len(held)))
            case "cancel" if tasks:
                tasks[which % len(tasks)].cancel()
            case _:
                await asyncio.sleep(0)
    while not all(task.done() for task in tasks):
        while held:
            budget.release(held.pop())
        await asyncio.sleep(0)
    while held:
        budget.release(held.pop())
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, int | asyncio.CancelledError) for outcome in outcomes), outcomes
    assert repr(budget) == f"<ByteBudget 0 of {BYTES_MAX} bytes used, 0 waiting>"
