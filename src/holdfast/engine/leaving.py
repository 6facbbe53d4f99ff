"""Callers that leave: noted for whoever repeats them, and the end of what only they waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from holdfast import faults
from holdfast.engine import settle
from holdfast.engine.core import Core, Live
from holdfast.errors import StorageError
from holdfast.log import emit
from holdfast.store.cancelling import cancel_unwatched
from holdfast.store.joining import leave

DEPARTED_MAX = 10_000
"""Callers that have left, of whom no repeat has asked; then they are written down, and forgotten."""
NOTE_S = 0.05
"""How long those who leave are gathered before they are written down, where a repeat may come to another process."""
NOTE_AGAIN_S = 1.0
"""After so long it is tried again, where the database did not take it."""


class Leaving:
    """Of one engine."""

    def __init__(
        self,
        core: Core,
        lives: Mapping[str, Live],
        *,
        forget: Callable[[str], None],
        spawn: Callable[[Coroutine[Any, Any, object], str], object],
    ) -> None:
        """Note nobody yet.

        Args:
            core: The engine's dependencies.
            lives: What it drives.
            forget: Lets go of one that has ended.
            spawn: Runs a task that the engine owns.
        """
        self._core = core
        self._lives = lives
        self._forget = forget
        self._spawn = spawn
        self._is_closed = False
        self._is_noting = False
        self._departed: list[str] = []
        """Generations, each as often as a caller has left that is not noted yet."""
        self._elsewhere: dict[str, asyncio.TimerHandle | None] = {}
        """What was accepted here only for those who wait here, while another process may work on it; with the timer
        that rings when nobody has waited for too long."""

    def take(self) -> list[str]:
        """Give those who have left, to be noted in a commit; if that fails, they are put back (`put_back`)."""
        departed, self._departed = self._departed, []
        return departed

    def put_back(self, departed: list[str]) -> None:
        """Note them again: their commit has failed."""
        self._departed += departed

    def close(self) -> None:
        """Note nobody any more: the process ends, and has no callers then, whatever its records say."""
        self._is_closed = True

    def left(self, generation_id: str) -> None:
        """Note that a caller of this generation no longer waits, answered or not.

        Only repeats ask for it, and each is told in its own commit: nothing is written here, unless a repeat may come
        to another process, which would take the caller for waiting still, and buy. A process that dies leaves no
        callers behind, whatever its records say.
        """
        self._departed.append(generation_id)
        if self._core.dispatcher.is_shared:
            if not self._is_noting and not self._is_closed:
                self._is_noting = True
                self._spawn(self._note_all(), "note-departed")
        elif len(self._departed) >= DEPARTED_MAX:
            self._spawn(self._note_once(), "note-departed")
        live = self._lives.get(generation_id)
        if live is not None:
            self.mind(live)
        if generation_id in self._elsewhere:
            self._mind_elsewhere(generation_id)

    def accepted(self, live: Live) -> None:
        """Note what was accepted here, and may be worked on elsewhere."""
        if live.only_awaited:
            self._elsewhere[live.id] = None

    def ended(self, generation_id: str) -> None:
        """Forget what has ended."""
        timer = self._elsewhere.pop(generation_id, None)
        if timer is not None:
            timer.cancel()

    def _mind_elsewhere(self, id_: str) -> None:
        """The same as `mind`; whether it is still queued, and nobody waits at another process, the record says."""
        before = self._elsewhere.get(id_)
        if before is not None:
            before.cancel()
        self._elsewhere[id_] = None
        if id_ not in self._core.watchers:
            after_s = self._core.settings.joining.unwatched_cancel_s
            self._elsewhere[id_] = asyncio.get_running_loop().call_later(after_s, self._ring_elsewhere, id_)

    def _ring_elsewhere(self, id_: str) -> None:
        if id_ in self._core.followers:
            self._mind_elsewhere(id_)
        elif id_ not in self._core.watchers:
            self.ended(id_)
            self._spawn(self._cancel(id_), f"unwatched:{id_}")

    async def _note_all(self) -> None:
        """Write down who has left, until nobody has; by then whoever leaves next begins anew."""
        pause_s = NOTE_S
        try:
            while self._departed:
                await asyncio.sleep(pause_s)
                pause_s = NOTE_S if await self._note() else NOTE_AGAIN_S
        finally:
            self._is_noting = False

    async def _note_once(self) -> None:
        await self._note()

    async def _note(self) -> bool:
        departed = self.take()
        try:
            await self._core.store.write(leave, departed, self._core.owner)
        except (StorageError, OSError) as exc:
            self.put_back(departed)
            emit("storage.failed", level="error", message=str(exc))
            return False
        return True

    def mind(self, live: Live) -> None:
        """Come back when nobody has waited for a while for what nobody was told to come back for."""
        if live.unwatched is not None:
            live.unwatched.cancel()
            live.unwatched = None
        if self._core.dispatcher.is_shared:
            # Whoever waits may do so at another process: the one that accepted it minds it.
            return
        if live.only_awaited and live.is_in_line and live.id not in self._core.watchers:
            after_s = self._core.settings.joining.unwatched_cancel_s
            live.unwatched = asyncio.get_running_loop().call_later(after_s, self._ring, live)

    def _ring(self, live: Live) -> None:
        live.unwatched = None
        if live.id in self._core.followers:
            # Somebody looks on, whoever it is.
            self.mind(live)
        elif live.id not in self._core.watchers and self._lives.get(live.id) is live:
            self._spawn(self._cancel(live.id), f"unwatched:{live.id}")

    async def _has_ended(self, id_: str) -> bool:
        """Whether a commit that failed was made all the same; if the store does not say so, it goes on."""
        try:
            return await settle.tell_if_ended(self._core, id_) is not None
        except (StorageError, OSError) as exc:
            emit("storage.failed", level="error", generation_id=id_, message=str(exc))
            return False

    async def _cancel(self, id_: str) -> None:
        """Cancel what is still queued and nobody waits for; where the disk does not take it, it goes on."""
        core = self._core
        departed = self.take()
        try:
            await faults.point("unwatched.before_commit")
            at, purge_after = core.now_text(), core.purge_text()
            row = await core.store.write(cancel_unwatched, id_, core.owner, departed, at, purge_after)
            await faults.point("unwatched.after_commit")
        except (StorageError, OSError) as exc:
            self.put_back(departed)
            emit("storage.failed", level="error", generation_id=id_, message=str(exc))
            if await self._has_ended(id_):
                self._forget(id_)
            return
        if row is not None:
            self._forget(id_)
            settle.announce(core, row)
            await core.dispatcher.cancel(id_)
