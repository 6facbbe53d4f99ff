"""The cap of what may be bought a second time today, worked out again each minute that it is asked for."""

from __future__ import annotations

from datetime import timedelta

from holdfast.clock import ulid
from holdfast.engine.core import Core
from holdfast.policy.exposure import CAP_AGE_S, cap_micros
from holdfast.store.exposure import Cap, spent_since

DAY = timedelta(hours=24)


class Exposure:
    """Knows how much customers were charged lately, by model."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._spent: dict[str, tuple[float, int]] = {}
        """When it was read, monotonic seconds, and how much it was."""

    async def cap(self, model: str, *, price_micros: int) -> Cap:
        """Say how much may be bought a second time today for a model.

        Args:
            model: The public model that was asked for.
            price_micros: Of one image, without our margin: what an upstream takes twice is at risk.

        Raises:
            StorageError: The disk does not give it.
            OSError: The same.
        """
        core = self._core
        now = core.clock.monotonic()
        read_at, spent = self._spent.get(model, (float("-inf"), 0))
        if now - read_at >= CAP_AGE_S:
            spent = await core.store.read(spent_since, model, f"gen_{_first_ulid(core)}")
            self._spent[model] = (now, spent)
        retry = core.settings.retry
        micros = cap_micros(
            spent_micros=spent,
            price_micros=price_micros,
            share=retry.exposure_share,
            images_min=retry.exposure_images_min,
        )
        return Cap(model=model, micros=micros)


def _first_ulid(core: Core) -> str:
    """The smallest id of the time a day ago."""
    return ulid(int((core.clock.now() - DAY).timestamp() * 1000), bytes(10))
