"""Tells receivers of ends: takes what is due from the store, sends it, and writes down how it went.

The store is the truth: a process that dies leaves its deliveries pending, and the next one takes them up, so each is
sent at least once. Nothing is promised of their order. Where nobody ever asked to be told, nothing is read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Iterable
from datetime import timedelta
from typing import Protocol, assert_never

from holdfast import faults
from holdfast.clock import from_rfc3339, rfc3339
from holdfast.engine.core import Core
from holdfast.engine.patience import patiently
from holdfast.errors import StorageError
from holdfast.log import emit
from holdfast.policy.webhooks import (
    Again,
    Answered,
    Broken,
    Delivered,
    Disabled,
    GivenUp,
    decide,
    secret_of,
    signed_headers,
    signing_numbers,
)
from holdfast.providers.error_answers import retry_after_s
from holdfast.providers.http import Head
from holdfast.store.webhooks import DueRow, TryEnd, due_deliveries, end_try, has_endpoints, sweep
from holdfast.transport.guarded import NotAnswered
from holdfast.wire.webhooks import render_payload

AT_ONCE = 16
AT_ONCE_OF_AN_ENDPOINT = 4
AT_ONCE_OF_A_KEY = 8
"""One receiver that hangs leaves room for the others, and one key's receivers for those of other keys."""
TRY_S = 10.0
"""For name, connection and answer: a receiver takes a message in and works on it afterwards."""
LOOK_S = 30.0
"""Look again after so long, whatever was due when: the wall clock may have been set."""
KEPT_DAYS = 30
"""The log of what has ended; as long as idempotency keys are remembered."""
SWEEP_S = 3600.0
PAUSE_S = 30.0
"""After a mistake of ours, before the same delivery is tried again."""


class Post(Protocol):
    """Sends a request to an address that a caller named; `transport.guarded` in production."""

    def post(
        self, url: str, *, headers: Iterable[tuple[str, str]], body: bytes, timeout_s: float
    ) -> Awaitable[Head | NotAnswered]:
        """Give the head of the answer, or why there is none."""

    def close(self) -> None:
        """Let go of what it holds."""


class Deliverer:
    """See the module's docstring. One task looks for what is due, and each try is a task of its own."""

    def __init__(self, core: Core, transport: Post, secret: bytes) -> None:
        """Prepare.

        Args:
            core: Clock, store and watchers are used.
            transport: Sends; closed by `stop`.
            secret: The data folder's; signing secrets are derived from it.
        """
        self._core = core
        self._transport = transport
        self._secret = secret
        self._poked = asyncio.Event()
        self._is_wanted = False
        self._tries: dict[str, tuple[DueRow, asyncio.Task[None]]] = {}
        """By delivery's id."""
        self._looking: asyncio.Task[None] | None = None
        self._sweep_at = 0.0

    def __repr__(self) -> str:
        return f"<Deliverer {len(self._tries)} tries, {'at work' if self._is_wanted else 'nobody asked'}>"

    async def start(self) -> None:
        """Take up what an earlier process left, and from now on what comes."""
        self._is_wanted = await self._core.store.read(has_endpoints)
        self._core.watchers.on_end = self.poke
        self._looking = asyncio.get_running_loop().create_task(self._look_for_ever(), name="webhooks")

    async def stop(self) -> None:
        """End at once; what was being tried stays pending."""
        self._core.watchers.on_end = None
        tasks = [task for _, task in self._tries.values()]
        if self._looking is not None:
            tasks.append(self._looking)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=5.0)
        self._transport.close()

    def poke(self) -> None:
        """Look now: something may have become due."""
        self._poked.set()

    def expect(self, *, leftovers: bool = False) -> None:
        """Look from now on, since somebody asks to be told; with `leftovers`, sweep what a deletion left as well."""
        self._is_wanted = True
        if leftovers:
            self._sweep_at = 0.0
        self.poke()

    async def _look_for_ever(self) -> None:
        is_time = False
        while True:
            self._poked.clear()
            pause_s = LOOK_S
            try:
                if not self._core.leads():
                    # Another replica tells: what it does not come to, the next one does.
                    is_time = not await self._is_poked_within(LOOK_S)
                    continue
                if is_time and not self._is_wanted:
                    # Somebody may have asked in another way than through this process's routes.
                    self._is_wanted = await self._core.store.read(has_endpoints)
                if self._is_wanted:
                    pause_s = await self._look()
            except (StorageError, OSError) as exc:
                emit("storage.failed", level="error", message=str(exc), again_in_s=LOOK_S)
            except Exception as exc:  # noqa: BLE001 - the border of a task: recorded, and looked at again
                emit("fault.internal", level="error", exc=exc)
            is_time = not await self._is_poked_within(pause_s)

    async def _is_poked_within(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._poked.wait()
        return False

    async def _look(self) -> float:
        """Begin what is due, as far as there is room; give the seconds after which to look again."""
        clock = self._core.clock
        if clock.monotonic() >= self._sweep_at:
            self._sweep_at = clock.monotonic() + SWEEP_S
            await self._sweep()
        is_all = False
        while not is_all:
            endpoints = Counter(row.endpoint_id for row, _ in self._tries.values())
            keys = Counter(row.key_id for row, _ in self._tries.values())
            due = await self._core.store.read(
                due_deliveries,
                now=self._core.now_text(),
                most=AT_ONCE - len(self._tries),
                busy=[id_ for id_, count in endpoints.items() if count >= AT_ONCE_OF_AN_ENDPOINT],
                busy_keys=[id_ for id_, count in keys.items() if count >= AT_ONCE_OF_A_KEY],
                taken=list(self._tries),
            )
            is_all = True
            for row in due.rows:
                if endpoints[row.endpoint_id] < AT_ONCE_OF_AN_ENDPOINT and keys[row.key_id] < AT_ONCE_OF_A_KEY:
                    endpoints[row.endpoint_id] += 1
                    keys[row.key_id] += 1
                    self._begin(row)
                else:
                    # Who is busy now is left out of the next reading: others may be due behind.
                    is_all = False
        if due.next_at is None:
            return LOOK_S
        return min(LOOK_S, max(0.0, (from_rfc3339(due.next_at) - clock.now()).total_seconds()))

    async def _sweep(self) -> None:
        before = self._core.clock.now() - timedelta(days=KEPT_DAYS)
        while await self._core.store.write(sweep, before, rfc3339(before)):
            pass

    def _begin(self, row: DueRow) -> None:
        task = asyncio.get_running_loop().create_task(self._try(row), name=f"webhook:{row.id}")
        self._tries[row.id] = (row, task)

    async def _try(self, row: DueRow) -> None:
        try:
            await self._try_once(row)
        except Exception as exc:  # noqa: BLE001 - the border of a task: it stays pending, and is not tried at once
            emit("fault.internal", level="error", exc=exc, message_id=row.id)
            await asyncio.sleep(PAUSE_S)
        finally:
            del self._tries[row.id]
            self.poke()

    async def _try_once(self, row: DueRow) -> None:
        store = self._core.store
        began_at = self._core.clock.monotonic()
        await faults.point("webhook.before_sending")
        outcome = await self._send(row)
        await faults.point("webhook.after_sending")
        end = self._end_of(row, outcome, took_s=self._core.clock.monotonic() - began_at)
        await faults.point("webhook.before_commit")
        await patiently(lambda: store.write(end_try, end), row.generation_id)
        await faults.point("webhook.after_commit")
        _log(row, end)

    async def _send(self, row: DueRow) -> Answered | Broken:
        """Sign and send; the signature tells the time of this try, the body that of the end."""
        now = self._core.clock.now()
        body = render_payload(
            type_=row.type, timestamp=row.created_at, generation_id=row.generation_id, drive=row.drive
        )
        numbers = signing_numbers(row.secret_number, row.previous_until, rfc3339(now))
        headers = signed_headers(
            [secret_of(self._secret, row.endpoint_id, number) for number in numbers],
            message_id=row.id,
            unix_s=int(now.timestamp()),
            body=body,
        )
        try:
            answer = await self._transport.post(row.url, headers=headers, body=body, timeout_s=TRY_S)
        except Exception as exc:  # noqa: BLE001 - counted like any other try, so that it comes to an end
            emit("fault.internal", level="error", exc=exc, message_id=row.id)
            return Broken(reason="the gateway failed; see its log")
        if isinstance(answer, NotAnswered):
            return Broken(reason=answer.reason)
        return Answered(status=answer.status, retry_after_s=retry_after_s(answer))

    def _end_of(self, row: DueRow, outcome: Answered | Broken, *, took_s: float) -> TryEnd:
        clock = self._core.clock
        state, next_at, disables = "pending", None, None
        match decide(outcome, tries=row.tries + 1, jitter=clock.random()):
            case Delivered():
                state = "delivered"
            case Again(after_s=after_s):
                next_at = rfc3339(clock.now() + timedelta(seconds=after_s))
            case GivenUp():
                state = "failed"
            case Disabled():
                state, disables = "dead", "the receiver answered 410"
            case decision:
                assert_never(decision)
        return TryEnd(
            delivery_id=row.id,
            number=row.tries + 1,
            at=self._core.now_text(),
            took_ms=round(took_s * 1000),
            state=state,
            next_at=next_at,
            status=outcome.status if isinstance(outcome, Answered) else None,
            error=outcome.reason if isinstance(outcome, Broken) else None,
            disables=disables,
        )


def _log(row: DueRow, end: TryEnd) -> None:
    """Tell of a try; neither URL nor host, which may hold a secret of the receiver's."""
    is_delivered = end.state == "delivered"
    emit(
        "webhook.delivered" if is_delivered else "webhook.failed",
        level="info" if is_delivered else "warning",
        message_id=row.id,
        webhook_id=row.endpoint_id,
        generation_id=row.generation_id,
        key_id=row.key_id,
        type=row.type,
        state=end.state,
        tries=end.number,
        status=end.status,
        reason=end.error,
        next_at=end.next_at,
        took_ms=end.took_ms,
    )
