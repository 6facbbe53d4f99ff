"""Hears what other replicas commit: one connection that listens, and a look every two seconds at what is waited for.

A notice is sent by the transaction that writes a generation's event, and names it. Notices are lost with a connection,
and nobody is told: so those that somebody here waits for are also read, every two seconds and whenever it is listened
anew, all of them in one query (7.4 ms for 5,000, measured).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, Protocol

import asyncpg

from holdfast.generation import State
from holdfast.log import emit
from holdfast.store.postgres.alive import KEEPALIVE
from holdfast.store.postgres.claims import PAUSE_S_FIRST, PAUSE_S_MAX, is_away
from holdfast.store.postgres.hour import SharedClock
from holdfast.store.queries import queries

LOOK_S = 2.0
DONE, STEP, TWIN = "gw_done", "gw_step", "gw_twin"
NAME = "holdfast-hub"
"""Of its connection, as the database lists it."""
ADOPT_S = 30.0
"""How often the leader looks for what is nobody's: a failover may have lost a job, and a copied database has none."""
QUERY_S = 10.0
"""For a look; a database that takes longer is taken for away."""
PREPARE_S = 600.0
"""For an index over all attempts of a database that was copied, and for whoever starts at the same time."""
SILENT_S = 15.0
"""A leader that has asked nothing for so long is frozen: it leads no longer, and finds out when it wakes."""

LEADER_LOCK = 0x686F6C66
PREPARE_LOCK = 0x686F6C65
"""Of whoever makes the trigger."""

_Q = queries("postgres/hub")
_P = queries("postgres/places")
_J = queries("postgres/jobs")


class Ear(Protocol):
    """Who is told."""

    def __call__(self, generation_id: str, /, *, has_ended: bool) -> None:
        """Something of a generation was committed, here or elsewhere; with `has_ended`, its end."""


class Standing(NamedTuple):
    """How a generation stands."""

    state: State
    sequence_number: int
    in_flight: int
    deadline_at: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing can come of it any more."""
        return self.state.is_final and not self.in_flight


def changes(before: Mapping[str, Standing], now: Mapping[str, Standing]) -> dict[str, bool]:
    """Say of which generations something has changed since the look before, and whether that is an end.

    One that nobody had looked at before has changed if it is over. One that has failed while an attempt is in flight is
    at its end for those who saw it open; who came after that waits for the image, or for the end of the attempt.
    """
    changed: dict[str, bool] = {}
    for id_, standing in now.items():
        earlier = before.get(id_)
        if earlier is None:
            if standing.is_over:
                changed[id_] = True
        elif earlier[:3] != standing[:3]:
            has_turned = standing.state.is_final and standing.state is not earlier.state
            changed[id_] = has_turned or (standing.is_over and not earlier.is_over)
    return changed


class Hub:
    """See the module's docstring. `start` begins, `stop` ends."""

    def __init__(
        self,
        dsn: str,
        *,
        owner: str,
        role: str,
        waiting: Callable[[], Collection[str]],
        heard: Ear,
        overdue: Callable[[str], None],
        now: Callable[[], str],
        is_ours: Callable[[int], bool] = lambda pid: False,
        look_s: float = LOOK_S,
        clock: SharedClock | None = None,
        asked_after: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Hear nothing yet.

        Args:
            dsn: Of the database that the store is in.
            owner: This process, as it stands in the rows of what it works on, and of those it lets wait.
            role: Its role.
            waiting: Names the generations that somebody in this process waits for, or follows.
            heard: Is told what has changed.
            overdue: Is told of one that is waited for and open, with nothing in flight, although its time has passed.
            now: The wall clock, as records have it.
            is_ours: Tells whether a notice was sent by this process, by the database's number of the connection:
                whoever commits here tells everybody here by himself.
            look_s: How often it looks.
            clock: Is told the database's hour with each look.
            asked_after: Is told of a generation whose callers another process asks for.
        """
        self._dsn = dsn
        self._self = (owner, role)
        self._waiting = waiting
        self._heard = heard
        self._overdue = overdue
        self._now = now
        self._is_ours = is_ours
        self._look_s = look_s
        self._clock = clock
        self._asked_after = asked_after
        self._raw: asyncpg.Connection | None = None
        self._seen: dict[str, Standing] = {}
        self._task: asyncio.Task[None] | None = None
        self._is_lost = asyncio.Event()
        self.backlog = 0
        """Jobs that wait for a worker, of all replicas."""
        self._adopts_at = 0.0
        self.leads = False
        """Whether this is the one of all replicas that does what one of them does for all."""
        self.listens = asyncio.Event()
        """Set while notices are heard."""

    def __repr__(self) -> str:
        return f"<Hub {'listens' if self.listens.is_set() else 'is deaf'}, {len(self._seen)} seen>"

    async def start(self) -> None:
        """Listen, and go on to.

        Raises:
            OSError, asyncpg.PostgresError: The database does not let us.
        """
        await self._listen()
        self._task = asyncio.get_running_loop().create_task(self._run(), name="hub")

    async def stop(self) -> None:
        """Hear nothing any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        if self._raw is not None:
            # Its callers are gone: a repeat that comes elsewhere joins what they waited for.
            try:
                await self._raw.execute(_P["gone"], self._self[0])
            except Exception as exc:
                if not is_away(exc):
                    raise
        self._hang_up()

    async def _run(self) -> None:
        pause_s = PAUSE_S_FIRST
        while True:
            try:
                if self._raw is None:
                    await self._listen()
                await self._show_life()
                await self.look()
                await self._look_at_jobs()
                pause_s = PAUSE_S_FIRST
                await self._pause()
            except Exception as exc:  # noqa: BLE001 - the border of a task: it is in the log, and tried again
                if is_away(exc):
                    emit("storage.failed", level="warning", message=f"Nothing is heard: {exc}", again_in_s=pause_s)
                else:
                    emit("fault.internal", level="error", exc=exc)
                self._hang_up()
                await asyncio.sleep(pause_s)
                pause_s = min(PAUSE_S_MAX, 2 * pause_s)
            if self._is_lost.is_set():
                self._hang_up()

    async def _look_at_jobs(self) -> None:
        """See how many jobs wait; and, where this process leads, that all that is open is somebody's."""
        if self._raw is None:
            return
        self.backlog = int(await self._raw.fetchval(_J["backlog"]))
        loop = asyncio.get_running_loop()
        if not self.leads or loop.time() < self._adopts_at:
            return
        self._adopts_at = loop.time() + ADOPT_S
        status = await self._raw.execute(_J["adopt"])
        adopted = int(status.rpartition(" ")[2])
        if adopted:
            emit("job.adopted", level="warning", jobs=adopted)
        for row in await self._raw.fetch(_J["overdue"], self._now()):
            self._overdue(row["id"])

    async def _pause(self) -> None:
        """Wait until the next look, or until the connection is lost."""
        try:
            async with asyncio.timeout(self._look_s):
                await self._is_lost.wait()
        except TimeoutError:
            return

    async def _listen(self) -> None:
        raw = await asyncpg.connect(
            self._dsn,
            timeout=QUERY_S,
            command_timeout=QUERY_S,
            statement_cache_size=0,
            server_settings={"application_name": NAME, **KEEPALIVE},
        )
        self._is_lost.clear()
        # By reference: what is not ours by then is no loss of ours.
        raw.add_termination_listener(lambda ended: self._is_lost.set() if ended is self._raw else None)
        self._raw = raw
        for channel in (DONE, STEP, TWIN):
            await raw.add_listener(channel, self._on_notice)
        self.listens.set()
        await self._show_life()

    async def _show_life(self) -> None:
        """Say that this process lives, and take the lead if nobody has it: a lock that ends with the connection."""
        if self._raw is None:
            return
        asked_at = 0.0 if self._clock is None else self._clock.monotonic()
        hour = await self._raw.fetchval(_P["alive"], *self._self)
        if self._clock is not None:
            self._clock.heard(hour, asked_at=asked_at)
        if not self.leads:
            self.leads = bool(await self._raw.fetchval("SELECT pg_try_advisory_lock($1)", LEADER_LOCK))
        if not self.leads and await self._raw.fetchval(_Q["unseat"], LEADER_LOCK, timedelta(seconds=SILENT_S)):
            emit("replica.unseated", level="warning")

    def _hang_up(self) -> None:
        self.listens.clear()
        self.leads = False
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.terminate()

    def _on_notice(self, connection: Any, pid: int, channel: str, payload: Any) -> None:
        if channel == TWIN:
            self._asked_after(str(payload))
        elif not self._is_ours(pid):
            self._tell(str(payload), has_ended=channel == DONE)

    def _tell(self, generation_id: str, *, has_ended: bool) -> None:
        try:
            self._heard(generation_id, has_ended=has_ended)
        except Exception as exc:  # noqa: BLE001 - one who is told keeps nobody else from being told
            emit("fault.internal", level="error", exc=exc, generation_id=generation_id)

    async def look(self) -> None:
        """Read how those stand that are waited for, and tell what has changed since the look before."""
        ids = list(self._waiting())
        if not ids or self._raw is None:
            self._seen = {}
            return
        rows = await self._raw.fetch(_Q["standings"], ids)
        now = {
            row["id"]: Standing(State(row["state"]), row["sequence_number"], row["in_flight"], row["deadline_at"])
            for row in rows
        }
        before, self._seen = self._seen, now
        for id_, has_ended in changes(before, now).items():
            self._tell(id_, has_ended=has_ended)
        at = self._now()
        for id_, standing in now.items():
            if not standing.state.is_final and not standing.in_flight and standing.deadline_at < at:
                self._overdue(id_)


async def prepare(dsn: str) -> None:
    """Have every event tell of itself, once its table is there; done twice it is as done once.

    What is there already is not made again: that would wait for everybody who writes at this moment, and have whoever
    comes next wait behind it. What is not is made in a transaction for each table: with locks of two it would stand in
    a circle with those who write to both.

    Raises:
        OSError, asyncpg.PostgresError: The database does not let us.
    """
    raw = await asyncpg.connect(dsn, timeout=QUERY_S, command_timeout=PREPARE_S, server_settings=KEEPALIVE)
    try:
        # Replicas that start together do it one after the other; the lock is the connection's.
        await raw.execute("SELECT pg_advisory_lock($1)", PREPARE_LOCK)
        await raw.execute(_Q["notify_function"])
        has = await raw.fetchrow(_Q["is_prepared"])
        if not has["trigger"]:
            await raw.execute(_Q["notify_trigger"])
        if not has["index"]:
            await raw.execute(_P["index_of_open"])
    finally:
        await raw.close()
