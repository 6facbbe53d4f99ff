"""kill -9 with two attempts of one part in flight, and at every step that knows of both."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

POINTS = ("before_commit", "after_commit", "after_outrun_row", "after_failure_rows", "after_extra_rows")
MODEL = "seedream-4.5"


@pytest.mark.timeout(120)
async def test_a_kill_at_any_step_of_a_pair_loses_nothing(street: Any) -> None:
    """The next start ends both of them, the part once, and the books balance."""

    async def case(point: str) -> None:
        house = street.house(f"pair-{point}")
        house.settings = house.seconds
        assert await house.start(f"second.{point}:kill:1")
        await house.post_until_death(
            house.post("[delay=1] [second=0.5]", model=MODEL, n=2),
            house.post("[delay=0.5] [second=0.7] [reset]", model=MODEL),
        )
        assert not house.is_alive, f"second.{point} was not passed"
        assert await house.start()
        await house.check_after()

    await asyncio.gather(*(case(point) for point in POINTS))


@pytest.mark.timeout(120)
async def test_the_late_image_of_a_pair_outlives_a_kill_after_the_answer(street: Any) -> None:
    """The second one was first and was delivered; the other one is in the spool when the process dies."""
    house = street.house("pair-late")
    house.settings = house.seconds
    # Settled are the second one, then the first.
    assert await house.start("settle.before_commit:kill:2")
    await house.post_until_death(house.post("[delay=1] [second=0.1]", model=MODEL))
    if house.process is not None:
        await house.died()
    assert await house.start()
    (resource, *_) = await house.check_after()
    assert (resource["status"], resource["paid"], len(resource["images"])) == ("succeeded", "yes", 1)
    assert [image["sha256"] != resource["images"][0]["sha256"] for image in resource["drafts"]] == [True]
    assert resource["cost"]["charged_micros"] > 0
