"""Turns what is committed and logged into events of the history."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from simulation.callers import SECRET_WORDS
from simulation.disk import MISHAPS
from simulation.history import CancelCommitted, Collected, Deleted, Entered, Logged, SendCommitted, Wrote
from simulation.loop import LIFE

if TYPE_CHECKING:
    from simulation.world import World

SECRETS = (SECRET_WORDS, "sk-nobody-may-read-this")


class Observer:
    """Is told of each write that was committed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: dict[str, set[int]] = {}
        """Generation -> POSTs whose handlers wait for it."""

    def committed(self, function: Callable[..., Any], args: tuple[Any, ...], value: Any) -> None:
        """Note what a commit did."""
        name = function.__name__
        act = getattr(self, f"_{name.strip('_')}", None)
        if act is not None:
            act(args, value)
        else:
            world = self._world
            world.history.add(Wrote(at=world.loop.time(), life=world.lives, what=name, detail=_detail(args)))

    def gone(self, number: int) -> None:
        """A handler has ended."""
        for waiting in self._waiting.values():
            waiting.discard(number)

    def died(self) -> None:
        """The process has ended, and everybody's connection with it."""
        self._waiting.clear()

    def unhandled(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception reached the loop."""
        exc = context.get("exception")
        if not isinstance(exc, MISHAPS):
            detail = f"{context.get('message')} {exc!r}"
            self._world.history.add(Logged(at=loop.time(), event="unhandled", detail=detail))

    def _enter(self, args: tuple[Any, ...], value: Any) -> None:
        world, entering = self._world, args[0]
        if value.generation_id is None:
            return
        number, claim = int(entering.new.traceparent), entering.claim
        id_ = value.generation_id
        row = world.disk.conn.execute("SELECT answered_at, state FROM generation WHERE id = ?", (id_,)).fetchone()
        waiting = self._waiting.setdefault(id_, set())
        may_come = value.answer is not None and row["state"] == "failed"
        world.history.add(
            Entered(
                at=world.loop.time(),
                life=world.lives,
                number=number,
                generation_id=id_,
                answer="new" if value.answer is None else value.answer.value,
                by_key=claim.idempotency_key is not None,
                says_retry=claim.says_retry,
                waiting=len(waiting),
                is_received=row["answered_at"] is not None and not may_come,
            )
        )
        if world.process is not None and world.process.life == LIFE.get():
            # Else it died with this commit, and nobody's connection outlived it.
            waiting.add(number)

    def _begin_attempt(self, args: tuple[Any, ...], value: Any) -> None:
        world, new = self._world, args[0]
        if value is not None:
            world.history.add(
                SendCommitted(
                    at=world.loop.time(),
                    life=world.lives,
                    attempt_id=new.id,
                    generation_id=new.generation_id,
                    part=new.part,
                    drive=new.drive,
                    epoch=value,
                )
            )

    def _ask_cancel(self, args: tuple[Any, ...], value: Any) -> None:
        world = self._world
        if value is not None and (value.has_ended or value.row.cancel_requested):
            world.history.add(CancelCommitted(at=world.loop.time(), generation_id=args[0]))

    def _mark_received(self, args: tuple[Any, ...], value: Any) -> None:
        world = self._world
        for receipt in args[0]:
            if receipt.with_image:
                world.history.add(
                    Collected(
                        at=world.loop.time(),
                        generation_id=receipt.generation_id,
                        wall_s=world.unix_s(args[1]),
                        image_id=receipt.image_id,
                    )
                )

    def _mark_due(self, args: tuple[Any, ...], value: Any) -> None:
        world = self._world
        for due in value:
            id_ = due.place.generation_id
            row = world.disk.conn.execute(ENDED, {"id": id_}).fetchone()
            images = world.disk.conn.execute(
                "SELECT id FROM blob WHERE generation_id = ? AND kind <> 'draft' ORDER BY id", (id_,)
            )
            world.history.add(
                Deleted(
                    at=world.loop.time(),
                    generation_id=id_,
                    wall_s=world.unix_s(args[0]),
                    ended_wall_s=max(world.unix_s(each) for each in row if each is not None),
                    images=tuple(image["id"] for image in images),
                )
            )


ENDED = """
SELECT finished_at, (
  SELECT max(attempt.ended_at) FROM blob JOIN attempt ON attempt.id = blob.attempt_id
  WHERE blob.generation_id = generation.id
) FROM generation WHERE id = :id
"""


def _detail(args: tuple[Any, ...]) -> str:
    first = args[0] if args else ""
    return str(getattr(first, "attempt_id", first if isinstance(first, str) else ""))


class _Keeper(logging.Handler):
    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def handle(self, record: logging.LogRecord) -> bool:
        """Look at a line; keep those that must not be there."""
        fields = getattr(record, "fields", {})
        text = str(fields)
        if any(secret in text for secret in SECRETS):
            self._keep(record.msg, "it holds a secret")
        if record.msg == "fault.internal":
            exc = record.exc_info[1] if record.exc_info else None
            if not isinstance(exc, MISHAPS):
                self._keep(record.msg, repr(exc))
        return True

    def _keep(self, event: str, detail: str) -> None:
        self._world.history.add(Logged(at=self._world.loop.time(), event=event, detail=detail))


@contextmanager
def captured(world: World) -> Iterator[None]:
    """Read the gateway's log while a seed runs."""
    logger = logging.getLogger("holdfast")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers[:], logger.propagate = [_Keeper(world)], False
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.handlers[:], logger.propagate = before[0], before[2]
        logger.setLevel(before[1])
