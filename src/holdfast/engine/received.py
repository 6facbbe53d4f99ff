"""Notes of answers that callers have received whole: of a moment in one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from holdfast.engine.core import Core
from holdfast.errors import StorageError
from holdfast.log import emit
from holdfast.store.generations import mark_received
from holdfast.store.retention import Receipt

NOTE_S = 0.1
"""How long notes of received answers are gathered before they are written."""


class Received:
    """Gathers the notes of one engine."""

    def __init__(self, core: Core, spawn: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]) -> None:
        """Note nothing yet; `spawn` runs a task that the engine owns."""
        self._core = core
        self._spawn = spawn
        self._notes: list[Receipt] = []
        self._noted = asyncio.Event()
        """Set once what is in `_notes` has been written."""
        self.writing: asyncio.Task[None] | None = None
        """What an end waits for a moment."""

    async def answered(
        self, generation_id: str, *, with_image: bool, image_id: str | None = None, **about: Any
    ) -> None:
        """Note that an answer's last byte arrived: with the image named, or with all of them; `about`: for the log."""
        if not self._notes:
            self._noted = asyncio.Event()
            self.writing = self._spawn(self._write(), "note-received")
        self._notes.append(Receipt(generation_id, with_image, image_id))
        # Not the task, which is everybody's: one caller's end must not take the note from the others.
        await self._noted.wait()
        if with_image:
            emit("caller.collected", generation_id=generation_id, image_id=image_id, **about)

    async def _write(self) -> None:
        """Write the notes of a moment in one commit: a sync of the disk each is too much for what nobody waits for.

        Notes that the disk does not take are lost, and the answers are with their callers all the same.
        """
        noted = self._noted
        try:
            await asyncio.sleep(NOTE_S)
            notes, self._notes = self._notes, []
            await self._core.store.write(mark_received, notes, self._core.now_text(), self._core.retention)
        except (StorageError, OSError) as exc:
            emit("storage.failed", level="error", message=str(exc))
        except Exception as exc:  # noqa: BLE001 - the border of a task: what it was is in the log
            emit("fault.internal", level="error", exc=exc)
        finally:
            noted.set()
