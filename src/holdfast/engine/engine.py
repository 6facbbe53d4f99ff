"""The engine: accepts generations, drives each to its end, and puts right what an earlier process left open."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from holdfast import faults
from holdfast.clock import from_rfc3339
from holdfast.engine import attempt, recover, settle
from holdfast.engine.core import Core, Live
from holdfast.engine.submit import EXPECTED_BYTES_MAX, Submission, first_target, live_of, price
from holdfast.engine.watchers import Watcher
from holdfast.errors import RequestError
from holdfast.log import emit
from holdfast.store.generations import accept, get_record, mark_answered, mark_collected, pass_deadline
from holdfast.store.records import Record, Told
from holdfast.types import Charge

RETRY_AFTER_S = 30.0
DEADLINE_EXCEEDED = Told(
    code="deadline_exceeded",
    message="The time given was over before an image arrived; if it still comes, it is kept under this generation.",
    charge=Charge.UNKNOWN,
)


class Engine:
    """Drives generations; see `Core` for what it is given."""

    def __init__(self, core: Core, free_bytes: recover.FreeBytes) -> None:
        self._core = core
        self._free_bytes = free_bytes
        self._live: dict[str, Live] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._reserved_bytes = 0
        self.is_draining = False

    def __repr__(self) -> str:
        return f"<Engine {len(self._live)} generations open, {len(self._tasks)} tasks>"

    @property
    def open_generations(self) -> int:
        """Generations that this process drives."""
        return len(self._live)

    # Accepting

    async def submit(self, submission: Submission, watcher: Watcher) -> str:
        """Accept a generation durably, tell `watcher` what becomes of it, and begin; return its id.

        Raises:
            RequestError: Refused before anything was paid: draining, storage low, too many, no price.
        """
        core = self._core
        self._admit(submission)
        new = price(core, submission)
        await core.store.write(accept, new)
        await faults.point("accept.after_commit")
        deadline_s = (from_rfc3339(new.deadline_at) - from_rfc3339(new.created_at)).total_seconds()
        live = live_of(core, new, submission.request, deadline_s)
        emit("generation.accepted", generation_id=live.id, key_id=live.key_id, model=live.model, size=live.tier.value)
        core.watchers.add(live.id, watcher)
        self.drive(live)
        return live.id

    def _admit(self, submission: Submission) -> None:
        if self.is_draining:
            raise RequestError(
                "This gateway is shutting down; try again.", code="draining", status=503, retry_after_s=RETRY_AFTER_S
            )
        if len(self._live) >= self._core.settings.server.held_max:
            raise RequestError(
                f"{len(self._live)} generations are open already (server.held_max).",
                code="queue_full",
                status=503,
                retry_after_s=RETRY_AFTER_S,
            )
        request = submission.request
        wanted = EXPECTED_BYTES_MAX[request.geometry.tier] * request.n
        free = self._free_bytes() - self._reserved_bytes - self._core.settings.store.free_bytes_margin
        if free < wanted:
            emit("storage.low", level="warning", free_bytes=free)
            raise RequestError(
                "The gateway's disk is too full to keep another image; nothing was bought.",
                code="storage_low",
                status=503,
                retry_after_s=60.0,
            )

    def obstacle(self) -> str | None:
        """Why new work would be refused: `draining`, `storage_low`; None when it is taken."""
        if self.is_draining:
            return "draining"
        free = self._free_bytes() - self._reserved_bytes
        return "storage_low" if free < self._core.settings.store.free_bytes_margin else None

    def drive(self, live: Live, parts: range | None = None) -> None:
        """Begin every part of a generation that has not been begun."""
        self._live[live.id] = live
        parts = range(live.parts) if parts is None else parts
        live.parts_to_send = len(parts)
        self._reserved_bytes += EXPECTED_BYTES_MAX[live.tier] * live.n
        for part in parts:
            self.spawn(self._run_part(live, part), f"part:{live.id}:{part}")
        if live.hard_deadline:
            after_s = live.deadline_at - self._core.clock.monotonic()
            asyncio.get_running_loop().call_later(max(0.0, after_s), self._on_deadline, live)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run something as a task that the engine owns."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run_part(self, live: Live, part: int) -> None:
        """Drive one part to its end; whatever goes wrong inside is recorded, never lost."""
        core = self._core
        try:
            if core.clock.monotonic() >= live.deadline_at:
                await self._pass_deadline(live, caller_waits=False)
                return
            attempted = await attempt.run(core, live, part, first_target(core, live.model))
            if attempted is None:
                return
            row = await settle.settle(core, attempted)
            if row is not None:
                self._forget(live)
        except Exception as exc:  # noqa: BLE001 - the border of a task: what it was is in the log, the row stays open
            emit("fault.internal", level="error", exc=exc, generation_id=live.id)
            self._forget(live)
            await recover.give_up(core, live.id)

    def _forget(self, live: Live) -> None:
        if self._live.pop(live.id, None) is not None:
            self._reserved_bytes -= EXPECTED_BYTES_MAX[live.tier] * live.n

    def _on_deadline(self, live: Live) -> None:
        if live.id in self._live:
            self.spawn(self._pass_deadline(live, caller_waits=False), f"deadline:{live.id}")

    async def _pass_deadline(self, live: Live, *, caller_waits: bool) -> None:
        core = self._core
        row = await core.store.write(
            pass_deadline, live.id, DEADLINE_EXCEEDED, core.now_text(), core.purge_text(), caller_waits
        )
        if row is not None:
            self._forget(live)
            settle.announce(core, row)

    # Waiting and reading

    def unwatch(self, generation_id: str, watcher: Watcher) -> None:
        """Stop telling a watcher."""
        self._core.watchers.remove(generation_id, watcher)

    async def record(self, generation_id: str) -> Record | None:
        """Read a generation with its attempts and images."""
        return await self._core.store.read(get_record, generation_id)

    async def answered(self, generation_id: str, *, with_image: bool) -> None:
        """Note that an answer's last byte arrived."""
        note = mark_collected if with_image else mark_answered
        await self._core.store.write(note, generation_id, self._core.now_text())
        if with_image:
            emit("caller.collected", generation_id=generation_id)

    # Starting and stopping

    async def start(self) -> recover.Recovered:
        """Settle what an earlier process left in the spool, and take up what it left open."""
        recovered = await recover.recover(self._core)
        for live, parts in recovered.to_drive:
            self.drive(live, parts)
        if recovered.settled or recovered.unknown or recovered.to_drive:
            emit(
                "recovery.done",
                settled=recovered.settled,
                unknown=recovered.unknown,
                taken_up=len(recovered.to_drive),
            )
        return recovered

    async def drain(self, grace_s: float) -> bool:
        """Take nothing new and wait for what is open; False if some of it is still open when the time ends."""
        self.is_draining = True
        loop = asyncio.get_running_loop()
        until = loop.time() + grace_s
        while self._tasks and loop.time() < until:
            await asyncio.wait(self._tasks, timeout=min(0.5, max(0.0, until - loop.time())))
        return not self._tasks

    async def stop(self) -> None:
        """End at once: attempts in flight stay `sent`, and the next start tells them as unknown."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5.0)
