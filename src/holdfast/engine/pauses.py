"""Pauses of an attempt whose upstream is polled: as long as they are, or until nobody wants its image any more.

That is so when its generation is to be cancelled, and when another attempt at its part was first.
"""

from __future__ import annotations

import asyncio

from holdfast.engine.core import Core
from holdfast.errors import StorageError
from holdfast.log import emit
from holdfast.store.cancelling import is_unwanted


class Pauses:
    """Follows one generation while its attempt rests; `close` is its end."""

    __slots__ = ("_attempt_id", "_core", "_generation_id", "_has_changed", "_is_unwanted")

    def __init__(self, core: Core, generation_id: str, attempt_id: str) -> None:
        self._core = core
        self._generation_id = generation_id
        self._attempt_id = attempt_id
        self._has_changed = asyncio.Event()
        # That may have come before anybody followed.
        self._has_changed.set()
        self._is_unwanted = False
        core.followers.add(generation_id, self._has_changed.set)

    def __repr__(self) -> str:
        return f"<Pauses of {self._generation_id}{', which is not wanted' if self._is_unwanted else ''}>"

    def close(self) -> None:
        """Follow no longer."""
        self._core.followers.remove(self._generation_id, self._has_changed.set)

    async def rest(self, delay_s: float) -> bool:
        """Let so many seconds pass; True as soon as it is known that nobody wants the image any more."""
        if self._is_unwanted:
            await asyncio.sleep(delay_s)
            return True
        # What has changed already is looked at first, however short the pause.
        if self._has_changed.is_set() and await self._asked():
            self._is_unwanted = True
            return True
        try:
            async with asyncio.timeout(delay_s) as scope:
                while not await self._asked():
                    pass
        except TimeoutError:
            if not scope.expired():
                raise
            return False
        self._is_unwanted = True
        return True

    async def _asked(self) -> bool:
        """Look whether it is still wanted, once something has changed."""
        await self._has_changed.wait()
        self._has_changed.clear()
        try:
            return await self._core.store.read(is_unwanted, self._generation_id, self._attempt_id)
        except asyncio.CancelledError:
            # The pause is over before the answer came: it is asked for in the next one.
            self._has_changed.set()
            raise
        except (StorageError, OSError) as exc:
            # Whether it is wanted is known at the next change; that it is paid for is known now.
            emit("storage.failed", level="error", generation_id=self._generation_id, message=str(exc))
            return False
