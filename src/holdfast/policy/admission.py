"""Whether another generation is taken: refused here, nothing has been bought."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import ceil

from holdfast.errors import RequestError
from holdfast.types import Tier

EXPECTED_BYTES_MAX = {Tier.K1: 3_000_000, Tier.K2: 9_000_000, Tier.K4: 26_000_000}
"""99 of 100 images are smaller; what an attempt in flight may still write."""
RETRY_AFTER_S = 30.0
RETRY_AFTER_FULL_DISK_S = 60.0
RETRY_AFTER_FULL_LINE_S_MAX = 300.0
"""Whoever is sent away may come back before a line is expected to have moved: estimates that reach far err."""


class Obstacle(StrEnum):
    """Why nothing new is taken; also the error's code."""

    DRAINING = "draining"
    QUEUE_FULL = "queue_full"
    STORAGE_LOW = "storage_low"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much a gateway has taken on."""

    is_draining: bool
    open_generations: int
    """Those being accepted included."""
    open_max: int
    room_bytes: int
    """What the disk still takes, without its margin and what is set aside for images on their way."""
    waiting: int = 0
    """Calls that wait for a place at their upstream."""
    places: int | None = None
    """Calls that the upstream in question, and the line before it, still take; None: as many as there are."""


def expected_bytes(tier: Tier, images: int) -> int:
    """Say how much of the disk is set aside for images that were asked for and are not there yet."""
    return EXPECTED_BYTES_MAX[tier] * images


def obstacle(load: Load, *, needed_bytes: int, needed_places: int = 1) -> Obstacle | None:
    """Find what stands against another generation that needs so much of the disk; None when it is taken."""
    has_no_place = load.places is not None and needed_places > load.places
    is_full = (load.open_generations >= load.open_max or has_no_place) and not load.is_draining
    return Obstacle.QUEUE_FULL if is_full else lasting_obstacle(load, needed_bytes=needed_bytes)


def lasting_obstacle(load: Load, *, needed_bytes: int = 0) -> Obstacle | None:
    """Find what will not pass by itself (`/readyz`): a full queue does, with the next image that arrives."""
    if load.is_draining:
        return Obstacle.DRAINING
    return Obstacle.STORAGE_LOW if load.room_bytes < needed_bytes else None


def refusal(of: Obstacle, load: Load, *, room_in_s: float = RETRY_AFTER_S) -> RequestError:
    """Tell the caller.

    Args:
        of: What stands against it.
        load: How much the gateway has taken on.
        room_in_s: In how many seconds the line should have moved.
    """
    retry_after_s = RETRY_AFTER_S
    match of:
        case Obstacle.DRAINING:
            message = "This gateway is shutting down; try again."
        case Obstacle.QUEUE_FULL if load.open_generations >= load.open_max:
            message = f"{load.open_generations} generations are open already (server.held_max)."
        case Obstacle.QUEUE_FULL:
            message = f"{load.waiting} calls wait for their upstream already (queue.waiting_max)."
            retry_after_s = min(RETRY_AFTER_FULL_LINE_S_MAX, max(1.0, ceil(room_in_s)))
        case Obstacle.STORAGE_LOW:
            return storage_low()
    return RequestError(message, code=of.value, status=503, retry_after_s=retry_after_s)


def storage_low(trouble: str = "is too full to keep another image") -> RequestError:
    """Tell the caller what is the matter with our disk."""
    return RequestError(
        f"The gateway's disk {trouble}; nothing was bought.",
        code=Obstacle.STORAGE_LOW.value,
        status=503,
        retry_after_s=RETRY_AFTER_FULL_DISK_S,
    )
