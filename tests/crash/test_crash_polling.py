"""kill -9 while an upstream is polled: one handle, many processes, one charge and one image."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

KILLS = 8
SEED = 20_261_127


@pytest.mark.timeout(120)
async def test_however_often_it_is_killed_one_image_is_bought_and_delivered(street: Any) -> None:
    """Each gateway goes on polling from the handle; the last one delivers."""
    dice = random.Random(SEED)
    house = street.house("polling")
    assert await house.start()
    call = asyncio.create_task(house.post("[delay=5]", model="nano-banana"))
    await house.until_polling()
    for kill in range(KILLS):
        await house.kill()
        if kill == 0:
            await call
        assert await house.start()
        await asyncio.sleep(dice.uniform(0.0, 0.6))
    (resource,) = await house.check_after()
    assert (resource["status"], resource["paid"], len(resource["images"])) == ("succeeded", "yes", 1)
    assert house.upstream.charges_of(resource["id"]) == {"0": 1}
    assert house.deaths == KILLS
    assert "attempt.unknown" not in house.log.read_text()


@pytest.mark.timeout(120)
async def test_killed_between_two_files_both_are_delivered(street: Any) -> None:
    """The first image is in the spool, the second still lies with the upstream."""
    house = street.house("two-files")
    assert await house.start("receive.after_verdict:kill:4")
    await house.post_until_death(house.post("[delay=0]", model="nano-banana", n=2))
    assert len(list((house.data / "spool").glob("*.done"))) == 1
    assert await house.start()
    (resource,) = await house.check_after()
    assert (resource["status"], len(resource["images"])) == ("succeeded", 2)
    assert house.upstream.charges_of(resource["id"]) == {"0": 1}


@pytest.mark.timeout(120)
async def test_told_at_its_deadline_and_killed_it_is_a_late_success(street: Any) -> None:
    """Its caller had gone with a failure; the image is there for whoever asks again, and is not charged."""
    house = street.house("late")
    assert await house.start()
    assert await house.post("[delay=3]", model="nano-banana", **{"Holdfast-Timeout": "1"}) == "504"
    assert house.open_attempts() == 1
    await house.kill()
    assert await house.start()
    (resource,) = await house.check_after()
    assert (resource["status"], resource["late"], resource["cost"]["charged_micros"]) == ("succeeded", True, 0)
    assert len(resource["images"]) == 1
