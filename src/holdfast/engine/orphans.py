"""Finding what is open on record and known to nobody here, once a commit was made whose answer was lost.

A repeat drives a generation anew in its accepting commit. Where the disk says that this commit failed, and it was made
all the same, nothing tells which generation it was: its caller is refused, and nobody would work on it before the next
start. So what is open is looked at twice: what this process does not know at first, nor after everybody who was
entering then has entered, is nobody's, and is taken up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from holdfast.engine.core import Core
from holdfast.engine.patience import patiently
from holdfast.generation import State
from holdfast.log import emit
from holdfast.store.generations import get_record, left_open
from holdfast.store.records import Record


class Orphans:
    """Looks for them when asked to; one look at a time, however often it is asked."""

    def __init__(
        self,
        core: Core,
        *,
        knows: Callable[[str], bool],
        take_up: Callable[[Record], Awaitable[None]],
        spawn: Callable[[Coroutine[Any, Any, None], str], object],
    ) -> None:
        """Look for nothing yet.

        Args:
            core: The engine's dependencies.
            knows: Says whether this process drives a generation, or will come to it.
            take_up: Drives one that nobody drives, or ends it.
            spawn: Runs a task that the engine owns.
        """
        self._core = core
        self._knows = knows
        self._take_up = take_up
        self._spawn = spawn
        self._entering: set[asyncio.Future[None]] = set()
        """One for each who is between his commit and being known."""
        self._is_wanted = False
        self._is_looking = False

    def __repr__(self) -> str:
        return f"<Orphans, {len(self._entering)} entering{', looking' if self._is_looking else ''}>"

    @contextlib.contextmanager
    def entering(self) -> Iterator[None]:
        """Enclose a commit that may open a generation, and all until this process knows of that."""
        entered = asyncio.get_running_loop().create_future()
        self._entering.add(entered)
        try:
            yield
        finally:
            self._entering.discard(entered)
            entered.set_result(None)

    def seek(self) -> None:
        """Look for them as soon as the disk answers; asked for while it is looked, it is looked again."""
        self._is_wanted = True
        if not self._is_looking:
            self._is_looking = True
            self._spawn(self._look(), "orphans")

    async def _look(self) -> None:
        try:
            while self._is_wanted:
                self._is_wanted = False
                await self._look_once()
        finally:
            self._is_looking = False

    async def _look_once(self) -> None:
        store = self._core.store
        _, open_ = await patiently(lambda: store.read(left_open), "")
        strangers = [id_ for id_ in open_ if not self._knows(id_)]
        if not strangers:
            return
        if self._entering:
            await asyncio.wait(tuple(self._entering))
        for id_ in strangers:
            try:
                await self._adopt(id_)
            except Exception as exc:  # noqa: BLE001 - one of them keeps no other from it; a repeat or the next start takes it up
                emit("fault.internal", level="error", exc=exc, generation_id=id_)

    async def _adopt(self, id_: str) -> None:
        record = await patiently(lambda: self._core.store.read(get_record, id_), id_)
        if record is None or State(record.generation.state).is_final or self._knows(id_):
            return
        emit("generation.adopted", level="warning", generation_id=id_, state=record.generation.state)
        await self._take_up(record)
