"""Works through the lines of a batch, a few at a time: written down, asked, kept, written down.

The order of these four is what makes a batch safe to kill at any moment. A key is on disk before it is sent; an image
is on disk before the journal says so. In between the next run asks with the same key, and is given the same image.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from holdfast.batch.journal import Done, Failed
from holdfast.batch.names import numbered
from holdfast.batch.plan import Plan, Task
from holdfast.cli.batch_files import Folder, JournalFile
from holdfast.cli.batch_telling import Standing, Trouble
from holdfast.cli.exits import Exit, Stop
from holdfast.cli.files import Received
from holdfast.errors import is_disk_full
from holdfast.policy.latency import Latency

CONCURRENCY_MAX = 16
"""Lines at once: the client opens 20 connections, and a gateway has a line of its own for more."""
ENDS_ALL = frozenset({Exit.KEY_WRONG, Exit.UNREACHABLE, Exit.DISK_FULL})
"""What befalls one line so befalls every other: no more are sent."""
NO_MONEY = "budget_exhausted"
"""So does this code of the gateway's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """The images of one line, whole, in the folder of parts."""

    images: tuple[Received, ...]
    generation_id: str | None


class Asker(Protocol):
    """Asks for one line, however that is done."""

    async def ask(self, task: Task, parts: Path) -> Made:
        """Ask with the task's key until there is an answer.

        Args:
            task: What to ask for.
            parts: Folder for the images.

        Raises:
            Stop: There is no image. Its details tell `generation_id`, `paid`, and with `is_open` that an answer may
                be had later.
            OSError: The images could not be written.
        """

    async def remembers(self) -> bool:
        """Whether the server gives a call that it has seen before what that one was given, and buys nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A line that has its images."""

    line: int
    files: tuple[str, ...]
    images: tuple[Received, ...]
    wanted: int
    elapsed_s: float
    generation_id: str | None


Heard = Callable[[Finished | Trouble], None]


class BatchRun:
    """One run over what is left of a batch."""

    def __init__(
        self,
        plan: Plan,
        *,
        stems: Mapping[int, str],
        journal: JournalFile,
        folder: Folder,
        asker: Asker,
        latency: Callable[[Task], Latency],
        heard: Heard,
    ) -> None:
        """Ask nothing yet.

        Args:
            plan: What is left.
            stems: Names of the files, by line.
            journal: Open, and this process's own.
            folder: Where images go.
            asker: Asks.
            latency: What is expected of a line, for the bar.
            heard: Called as each line ends.
        """
        self._plan = plan
        self._stems = stems
        self._journal = journal
        self._folder = folder
        self._asker = asker
        self._latency = latency
        self._heard = heard
        self._running: dict[int, tuple[Task, float]] = {}
        self._began_at = 0.0
        self.done = len(plan.done)
        self.troubles: list[Trouble] = []
        self.stop: Trouble | None = None
        """Why no more lines are sent."""

    def __repr__(self) -> str:
        total = len(self._plan.done) + len(self._plan.tasks)
        return f"<BatchRun {self.done} of {total} done, {len(self._running)} running, {len(self.troubles)} failed>"

    @property
    def running(self) -> int:
        """Lines being made; after an interruption, those that were."""
        return len(self._running)

    def standing(self) -> Standing:
        """Say how it stands now."""
        now = asyncio.get_running_loop().time()
        return Standing(
            total=len(self._plan.done) + len(self._plan.tasks),
            done=self.done,
            failed=len(self.troubles),
            running=len(self._running),
            elapsed_s=now - self._began_at,
            begun=sum(self._latency(task).fraction_done(now - at) for task, at in self._running.values()),
            ended_now=self.done - len(self._plan.done) + len(self.troubles),
        )

    async def run(self, concurrency: int) -> None:
        """Work through what is left; at most so many lines are at work at once.

        Raises:
            OSError: The journal cannot be written: nothing more may be sent.
        """
        assert 1 <= concurrency <= CONCURRENCY_MAX
        self._began_at = asyncio.get_running_loop().time()
        await self._set_aside()
        left = iter([task for task in self._plan.tasks if task.line.number not in self._aside])
        try:
            async with asyncio.TaskGroup() as group:
                for at in range(concurrency):
                    group.create_task(self._work(left), name=f"batch-{at}")
        except ExceptionGroup as failed:
            # The first one tells it: the others were cancelled for its sake.
            raise failed.exceptions[0] from failed

    async def _set_aside(self) -> None:
        """Leave out what was sent before, if the server would sell it a second time instead of giving it."""
        repeats = [task for task in self._plan.tasks if task.is_repeat]
        self._aside: set[int] = set()
        if not repeats or await self._asker.remembers():
            return
        for task in repeats:
            self._aside.add(task.line.number)
            message = (
                "It was sent before, and may be paid; this server is no holdfast and would be paid again. "
                "Look for it there. To buy it again: --retry-failed if it had failed, else a batch in another folder."
            )
            self._tell(_trouble(task, Stop(Exit.GENERATION_FAILED, message, paid="unknown")))

    async def _work(self, left: Iterator[Task]) -> None:
        for task in left:
            if self.stop is not None:
                return
            number = task.line.number
            began_at = asyncio.get_running_loop().time()
            self._running[number] = (task, began_at)
            if task.is_unwritten:
                # Before anything of it is sent: whoever comes after a crash finds the key.
                await asyncio.to_thread(self._journal.write, task.asked)
            end = await self._one(task, began_at)
            del self._running[number]
            self._tell(end)

    async def _one(self, task: Task, began_at: float) -> Finished | Trouble:
        try:
            made = await self._asker.ask(task, self._folder.parts)
            files = await asyncio.to_thread(self._keep, task, made)
        except Stop as stop:
            trouble = _trouble(task, stop)
            if not trouble.is_open:
                failed = Failed(
                    line=task.line.number,
                    key=task.asked.key,
                    code=trouble.code.name.lower(),
                    paid=trouble.paid,
                    generation_id=trouble.generation_id,
                )
                await asyncio.to_thread(self._journal.write, failed)
            return trouble
        except OSError as error:
            if not is_disk_full(error):
                raise
            message = "The disk is full; the image is kept at the gateway. Free some space first."
            return _trouble(task, Stop(Exit.DISK_FULL, message, paid="unknown", is_open=True))
        return Finished(
            line=task.line.number,
            files=files,
            images=made.images,
            wanted=task.line.n,
            elapsed_s=asyncio.get_running_loop().time() - began_at,
            generation_id=made.generation_id,
        )

    def _keep(self, task: Task, made: Made) -> tuple[str, ...]:
        names = numbered(self._stems[task.line.number], max(task.line.n, len(made.images)))
        files = tuple(self._folder.keep(image, name) for image, name in zip(made.images, names, strict=False))
        self._journal.write(
            Done(line=task.line.number, key=task.asked.key, files=files, generation_id=made.generation_id)
        )
        return files

    def _tell(self, end: Finished | Trouble) -> None:
        match end:
            case Finished():
                self.done += 1
            case Trouble():
                self.troubles.append(end)
                if end.ends_all and self.stop is None:
                    self.stop = end
        self._heard(end)


def _trouble(task: Task, stop: Stop) -> Trouble:
    paid = stop.details.get("paid")
    generation_id = stop.details.get("generation_id")
    return Trouble(
        line=task.line.number,
        code=stop.code,
        message=stop.message,
        paid=str(paid) if paid is not None else "no",
        is_open=bool(stop.details.get("is_open")),
        ends_all=stop.code in ENDS_ALL or stop.details.get("holdfast_code") == NO_MONEY,
        generation_id=str(generation_id) if generation_id is not None else None,
    )
