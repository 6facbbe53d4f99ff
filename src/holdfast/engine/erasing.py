"""Deletes what its owner wants deleted now: the row's commit is the promise, the files follow at once.

Only the commit may fail. A file that the disk does not give up, or a tombstone that it does not take, is in the log,
and the sweeper's next run finishes it.
"""

from __future__ import annotations

from holdfast import faults
from holdfast.engine.core import Core
from holdfast.engine.sweeper import Sweeper
from holdfast.errors import StorageError
from holdfast.log import emit
from holdfast.policy.mishaps import reason_of
from holdfast.store.erasing import Erased, Erasing, ask_erase


class Eraser:
    """See the module's docstring."""

    def __init__(self, core: Core, sweeper: Sweeper) -> None:
        self._core = core
        self._sweeper = sweeper

    async def erase(self, generation_id: str, *, ask: Erasing = ask_erase) -> Erased | None:
        """Delete a generation's images and prompt (`ask`); None: there is no such one.

        Raises:
            RequestError: 409 `generation_open`.
            StorageError: The disk does not take the mark; nothing was deleted, unless the commit was made all the same.
        """
        core = self._core
        await faults.point("erase.before_commit")
        erased = await core.store.write(ask, generation_id, core.now_text())
        await faults.point("erase.after_commit")
        if erased is not None and erased.is_new:
            emit("generation.deleted", generation_id=generation_id)
        if erased is not None and erased.due is not None:
            try:
                await self._sweeper.remove([erased.due])
            except (StorageError, OSError) as exc:
                message = reason_of(exc) if isinstance(exc, OSError) else str(exc)
                emit("storage.failed", level="error", generation_id=generation_id, message=message)
        return erased
