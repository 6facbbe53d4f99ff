"""Writes down what was learnt of latencies, once a minute and at the end, and reads it at the start.

One task, owned by the gateway. All that has changed goes into one commit, which deletes what is older than a week. A
process that is killed loses the samples of its last minute; nothing else depends on them.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from math import floor

from holdfast import faults
from holdfast.clock import from_rfc3339, rfc3339
from holdfast.engine.core import Core
from holdfast.engine.latencies import Latencies, Place
from holdfast.errors import StorageError
from holdfast.log import emit
from holdfast.policy.learning import KEPT_HOURS
from holdfast.policy.sketch import Sketch
from holdfast.store.latency import SketchRow, get_sketches, put_sketches
from holdfast.types import Tier

EVERY_S = 60.0


class LatencyKeeper:
    """See the module's docstring. `start` reads and makes the task, `stop` ends it and writes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take in what earlier processes have learnt, and begin to write every minute.

        Raises:
            StorageError: The database cannot be read.
        """
        latencies = self._core.latencies
        fill(latencies, await self._core.store.read(get_sketches, oldest_hour(latencies)))
        self._task = asyncio.get_running_loop().create_task(self._run(), name="latencies")

    async def stop(self) -> None:
        """End, with everything written that the disk takes."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
            await self._try_to_write()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await self._try_to_write()

    async def _try_to_write(self) -> None:
        try:
            await self._write()
        except Exception as exc:  # noqa: BLE001 - the border of a task, and of an end that has more to do: it is in the log
            emit("fault.internal", level="error", exc=exc)

    async def _write(self) -> None:
        """Make the commit, if there is anything to write; what the disk does not take is written with the next one."""
        core = self._core
        changed = core.latencies.take_changed()
        if not changed:
            return
        rows = [row_of(place, sketch, core.latencies.updated_s(place)) for place, sketch in changed.items()]
        is_written = False
        try:
            await faults.point("latency.before_commit")
            await core.store.write(put_sketches, rows, oldest_hour(core.latencies))
            is_written = True
            await faults.point("latency.after_commit")
        except (StorageError, OSError) as exc:
            emit("storage.failed", level="error", message=str(exc))
        finally:
            if not is_written:
                core.latencies.give_back(changed)


def oldest_hour(latencies: Latencies) -> int:
    """Give the first hour that is still of use."""
    return floor(latencies.now_h) - KEPT_HOURS


def fill(latencies: Latencies, rows: tuple[SketchRow, ...]) -> None:
    """Take in rows; one that cannot be read is passed over, and told in the log."""
    for row in rows:
        try:
            sketch = Sketch.decoded(row.buckets, timed_out=row.timed_out)
            place = Place(upstream=row.upstream, model=row.model, tier=Tier(row.tier), hour=row.hour)
        except ValueError as exc:
            told = f"latencies of {row.upstream}, {row.model}, {row.tier}, hour {row.hour}: {exc}"
            emit("storage.failed", level="error", message=told)
            continue
        latencies.put(place, sketch, updated_s=from_rfc3339(row.updated_at).timestamp())


def row_of(place: Place, sketch: Sketch, updated_s: float) -> SketchRow:
    """Write an hour as its row."""
    return SketchRow(
        upstream=place.upstream,
        model=place.model,
        tier=place.tier.value,
        hour=place.hour,
        timed_out=sketch.timed_out,
        buckets=sketch.encoded(),
        updated_at=rfc3339(datetime.fromtimestamp(updated_s, UTC)),
    )
