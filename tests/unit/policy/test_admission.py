"""Whether another generation is taken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from holdfast.policy.admission import Load, Obstacle, expected_bytes, lasting_obstacle, obstacle, refusal
from holdfast.types import Tier

IDLE = Load(is_draining=False, open_generations=0, open_max=2, room_bytes=100)


def test_room_goes_by_size_and_number() -> None:
    """A larger size and more images need more of the disk."""
    sizes = [expected_bytes(tier, 1) for tier in (Tier.K1, Tier.K2, Tier.K4)]
    assert sizes == sorted(set(sizes))
    assert expected_bytes(Tier.K2, 3) == 3 * expected_bytes(Tier.K2, 1)


@pytest.mark.parametrize(
    ("load", "needed_bytes", "expected"),
    [
        (IDLE, 100, None),
        (IDLE, 101, Obstacle.STORAGE_LOW),
        (replace(IDLE, open_generations=1), 100, None),
        (replace(IDLE, open_generations=2), 0, Obstacle.QUEUE_FULL),
        (replace(IDLE, open_generations=3), 101, Obstacle.QUEUE_FULL),
        (replace(IDLE, is_draining=True), 0, Obstacle.DRAINING),
        (replace(IDLE, is_draining=True, open_generations=2), 101, Obstacle.DRAINING),
    ],
)
def test_the_first_obstacle_is_told(load: Load, needed_bytes: int, expected: Obstacle | None) -> None:
    """What lasts longest for this caller comes first: a gateway that ends, one that is full, a disk that is."""
    assert obstacle(load, needed_bytes=needed_bytes) is expected


@pytest.mark.parametrize(
    ("places", "needed", "expected"),
    [
        (None, 10, None),
        (2, 2, None),
        (2, 3, Obstacle.QUEUE_FULL),
        (0, 1, Obstacle.QUEUE_FULL),
        (-3, 1, Obstacle.QUEUE_FULL),
    ],
)
def test_a_line_takes_as_many_as_it_has_places(places: int | None, needed: int, expected: Obstacle | None) -> None:
    """Each image that is a call of its own needs one; more may stand there than it takes, after a restart."""
    load = replace(IDLE, places=places, waiting=7)
    assert obstacle(load, needed_bytes=0, needed_places=needed) is expected
    assert obstacle(replace(load, is_draining=True), needed_bytes=0, needed_places=needed) is Obstacle.DRAINING
    assert lasting_obstacle(load) is None
    assert "7 calls wait for their upstream already (queue.waiting_max)" in refusal(Obstacle.QUEUE_FULL, load).message


@pytest.mark.parametrize(("room_in_s", "after_s"), [(0.0, 1.0), (17.2, 18.0), (300.0, 300.0), (90_000.0, 300.0)])
def test_a_full_line_says_when_it_should_have_moved(room_in_s: float, after_s: float) -> None:
    """In whole seconds, at least one; estimates that reach far err. Too many open ones are no line."""
    load = replace(IDLE, places=0, waiting=7)
    assert refusal(Obstacle.QUEUE_FULL, load, room_in_s=room_in_s).retry_after_s == after_s
    full = replace(load, open_generations=2)
    assert refusal(Obstacle.QUEUE_FULL, full, room_in_s=room_in_s).retry_after_s == 30.0


@pytest.mark.parametrize(
    ("load", "expected"),
    [
        (IDLE, None),
        (replace(IDLE, room_bytes=0), None),
        (replace(IDLE, room_bytes=-1), Obstacle.STORAGE_LOW),
        (replace(IDLE, open_generations=2), None),
        (replace(IDLE, is_draining=True, room_bytes=-1), Obstacle.DRAINING),
    ],
)
def test_a_full_queue_is_not_told_to_load_balancers(load: Load, expected: Obstacle | None) -> None:
    """It passes; a disk within its margin and a gateway that ends do not."""
    assert lasting_obstacle(load) is expected


@pytest.mark.parametrize(
    ("of", "after_s", "word"),
    [
        (Obstacle.DRAINING, 30.0, "shutting down"),
        (Obstacle.QUEUE_FULL, 30.0, "2 generations are open already (server.held_max)"),
        (Obstacle.STORAGE_LOW, 60.0, "nothing was bought"),
    ],
)
def test_a_refusal_says_when_to_come_again(of: Obstacle, after_s: float, word: str) -> None:
    """Its code is the obstacle's name; it is 503, since another moment may do."""
    error = refusal(of, replace(IDLE, open_generations=2))
    assert (error.code, error.status, error.retry_after_s) == (of.value, 503, after_s)
    assert word in str(error)
