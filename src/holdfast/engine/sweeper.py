"""Deletes what retention has ended for, and what a crash left behind. One task, owned by the gateway.

Rows before files, files before tombstones: killed anywhere, the next run finishes it. A run takes all that is due, in
batches that let others write in between; of the files that no row may know it looks at a piece.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from holdfast import faults
from holdfast.clock import rfc3339
from holdfast.engine.core import Core
from holdfast.errors import StorageError
from holdfast.log import emit
from holdfast.policy.mishaps import reason_of
from holdfast.policy.retention import INPUT_GRACE_S, JUMP_PAUSE_S, changes_kept_since, has_jumped
from holdfast.store import spool
from holdfast.store.audit_log import expire, expired
from holdfast.store.leftovers import Found, Kind, is_old_enough, removable
from holdfast.store.retention import Due, Place, bury, due_after, mark_due

FIRST_S = 1.0
"""After the start: whoever waits to be served comes first."""
EVERY_S = 60.0
PAUSE_S_MIN = 5.0
"""Between two runs, however often storage is low."""
BATCH = 200
"""Generations marked, or buried, in one commit: a few milliseconds for whoever else writes."""
UNLINK_BATCH = 32
"""Files removed at a time: 20 MB take a millisecond or more each, and the threads are everybody's."""
AUDIT_BATCH = 1000
"""Entries of the log of changes deleted in one commit."""
LEFTOVERS_PER_RUN = 500
WALK_EVERY_S = 3600.0
"""From one walk through all that is kept to the next, at least."""


class Sweeper:
    """See the module's docstring. `start` makes the task, `stop` ends it."""

    def __init__(self, core: Core, storage_low: asyncio.Event) -> None:
        """Sweep for an engine; `storage_low` is set by whoever finds too little room, and has a run made at once."""
        self._core = core
        self._storage_low = storage_low
        self._task: asyncio.Task[None] | None = None
        self._one = asyncio.Lock()
        self._clocks: tuple[float, float] | None = None
        self._rests_until = float("-inf")
        self._walking: Iterator[Found] | None = None
        self._walk_again_at = float("-inf")

    def start(self) -> None:
        """Begin to run every minute."""
        # Known before the first run: a clock that is set in the second between is found out like any other.
        self._clocks = self._read_clocks()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="sweeper")

    async def stop(self) -> None:
        """End at once, wherever it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._walking = None

    async def _run(self) -> None:
        await asyncio.sleep(FIRST_S)
        while True:
            try:
                await self.sweep()
            except (StorageError, OSError) as exc:
                message = reason_of(exc) if isinstance(exc, OSError) else str(exc)
                emit("storage.failed", level="error", message=message)
            except Exception as exc:  # noqa: BLE001 - the border of a task: what it was is in the log, the next run comes
                emit("fault.internal", level="error", exc=exc)
            await self._pause()

    async def _pause(self) -> None:
        """Wait for the next run; storage that is low brings it forward."""
        pause_s = min(PAUSE_S_MIN, EVERY_S)
        await asyncio.sleep(pause_s)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(EVERY_S - pause_s):
                await self._storage_low.wait()

    async def sweep(self) -> None:
        """Make one run, after one that goes on: they share the walk, which is one thread's at a time.

        Raises:
            StorageError: A commit failed; what was marked is taken up by the next run.
            OSError: A folder could not be read.
        """
        async with self._one:
            self._storage_low.clear()
            if self._is_resting() or not self._core.leads():
                return
            # One hour for all of the run: a clock that is set while it lasts makes nothing due; the next run sees it.
            now = self._core.clock.now()
            await self._purge(now)
            await self._shorten_log(now)
            await self._clear_leftovers(now.timestamp())

    def _is_resting(self) -> bool:
        """Keep away while the wall clock cannot be trusted: set ahead, it makes everything due."""
        before, after = self._clocks, self._read_clocks()
        self._clocks = after
        if before is not None and has_jumped(wall_s=after[0] - before[0], monotonic_s=after[1] - before[1]):
            self._rests_until = after[1] + JUMP_PAUSE_S
            emit("sweeper.paused", level="warning", clock_jumped_s=round(after[0] - before[0], 3), for_s=JUMP_PAUSE_S)
        return after[1] < self._rests_until

    def _read_clocks(self) -> tuple[float, float]:
        clock = self._core.clock
        return clock.now().timestamp(), clock.monotonic()

    # What is due

    async def _purge(self, moment: datetime) -> None:
        now, place = rfc3339(moment), Place()
        counts: Counter[str] = Counter()
        try:
            while True:
                due = await self._mark(now, place)
                if not due:
                    return
                # Whoever cannot be deleted is passed by, and tried again by the next run.
                place = due[-1].place
                await self._bury(await self._unlink(due, counts), moment, counts)
        finally:
            if counts.total():
                fields: dict[str, Any] = dict(counts)
                emit("sweeper.deleted", **fields)

    async def _mark(self, now: str, place: Place) -> tuple[Due, ...]:
        store = self._core.store
        # Most runs find nothing, and need no turn of the writing thread to find it.
        due = await store.read(due_after, now, place, BATCH)
        if not due:
            return ()
        await faults.point("sweeper.before_mark")
        try:
            due = await store.write(mark_due, now, place, BATCH)
        except StorageError as exc:
            if exc.reason != "full":
                raise
            emit("storage.failed", level="error", message=str(exc))
            # A full disk takes no marks, and nothing else would make room: the files go first. Their time is over by
            # rows that are committed, and an image without its file answers as a deleted one does.
            await self._unlink(due, Counter())
            due = await store.write(mark_due, now, place, BATCH)
        await faults.point("sweeper.after_mark")
        return due

    async def _unlink(self, due: Sequence[Due], counts: Counter[str]) -> list[str]:
        """Remove the files of what is due; give the generations of which none is left."""
        failed: set[str] = set()
        files = [(each, key) for each in due for key in each.store_keys]
        for at in range(0, len(files), UNLINK_BATCH):
            batch = files[at : at + UNLINK_BATCH]
            await faults.point("sweeper.before_unlink")
            failures = await self._core.with_blobs(self._core.blobs.delete_files, [key for _, key in batch])
            for (each, _), failure in zip(batch, failures, strict=True):
                if failure is not None:
                    failed.add(each.place.generation_id)
                    generation_id = each.place.generation_id
                    emit("storage.failed", level="error", generation_id=generation_id, message=reason_of(failure))
            await self._core.thumbnails.forget([key for _, key in batch])
            await faults.point("sweeper.after_unlink")
        gone = [each for each in due if each.place.generation_id not in failed]
        counts["bytes"] += sum(each.bytes for each in gone)
        return [each.place.generation_id for each in gone]

    async def _bury(self, generation_ids: list[str], moment: datetime, counts: Counter[str]) -> None:
        core = self._core
        await faults.point("sweeper.before_tombstone")
        buried = await core.store.write(bury, generation_ids, rfc3339(moment))
        await faults.point("sweeper.after_tombstone")
        counts.update(generations=buried.generations, images=buried.images)
        older_than = moment.timestamp() - INPUT_GRACE_S
        for key in buried.inputs:
            # One that stays was put again a moment ago; if nobody comes to name it, it is left behind, and found so.
            counts["inputs"] += await core.with_blobs(self._delete_input, key, older_than)
            await faults.point("sweeper.after_input")

    def _delete_input(self, key: str, older_than_unix_s: float) -> bool:
        return self._core.blobs.delete_shared(key, older_than_unix_s=older_than_unix_s)

    async def _shorten_log(self, moment: datetime) -> None:
        """Delete what of the log of changes is too old, in steps that let others write in between."""
        store = self._core.store
        before = rfc3339(changes_kept_since(moment, days=self._core.settings.store.audit_keep_days))
        gone = 0
        while await store.read(expired, before, AUDIT_BATCH):
            gone += await store.write(expire, before, AUDIT_BATCH, rfc3339(moment))
        if gone:
            emit("sweeper.deleted", kind="audit", entries=gone)

    async def remove(self, due: Sequence[Due]) -> None:
        """Delete now what has been marked just now, between two runs or beside one.

        Raises:
            StorageError: The tombstones were not taken; the next run sets them.
        """
        counts: Counter[str] = Counter()
        await self._bury(await self._unlink(due, counts), self._core.clock.now(), counts)

    # What no row may know

    async def _clear_leftovers(self, now: float) -> None:
        core = self._core
        found = await core.with_blobs(self._next_found, core.clock.monotonic())
        old = [each for each in found if is_old_enough(each, now)]
        await faults.point("sweeper.before_leftovers")
        for each in await core.store.read(removable, old, now) if old else ():
            await faults.point("sweeper.before_leftover")
            removed = await core.with_blobs(self._remove, each, now)
            if removed and each.kind is not Kind.FOLDER:
                emit("sweeper.deleted", level="warning", kind=each.kind.value, file=each.key)
            await faults.point("sweeper.after_leftover")

    def _next_found(self, now: float) -> list[Found]:
        """Go on with the walk; it begins anew an hour after it began, where it has ended by then."""
        if self._walking is None:
            if now < self._walk_again_at:
                return []
            self._walk_again_at = now + WALK_EVERY_S
            self._walking = self._core.blobs.walk()
        try:
            found = list(islice(self._walking, LEFTOVERS_PER_RUN))
        except OSError:
            self._walking = None
            raise
        if len(found) < LEFTOVERS_PER_RUN:
            self._walking = None
        return found

    def _remove(self, found: Found, now_unix_s: float) -> bool:
        blobs = self._core.blobs
        match found.kind:
            case Kind.FOLDER:
                return blobs.remove_folder(found.key)
            case Kind.INPUT:
                return blobs.delete_shared(found.key, older_than_unix_s=now_unix_s - INPUT_GRACE_S)
            case Kind.SPOOL:
                spool.remove(self._core.spool, found.attempt_id)
            case Kind.BLOB | Kind.THUMBNAIL:
                blobs.delete(found.key)
        return True
