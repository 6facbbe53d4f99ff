"""What a process needs where it shares its data with others: a dispatcher of jobs, and an ear for what they commit."""

from __future__ import annotations

from typing import Any

from holdfast.clock import Clock
from holdfast.engine.core import Core
from holdfast.engine.engine import Engine
from holdfast.errors import StorageError
from holdfast.store.port import Store
from holdfast.store.postgres import dispatcher, hub
from holdfast.store.postgres.claims import is_away
from holdfast.store.postgres.dispatcher import PgQueuerDispatcher
from holdfast.store.postgres.hour import SharedClock
from holdfast.store.postgres.hub import Hub
from holdfast.store.postgres.store import PostgresStore


class Replica:
    """One process of several. Made before the core, started once the engine is made, and stopped after it."""

    def __init__(self, dsn: str, monotonic: Any) -> None:
        self._dsn = dsn
        self.dispatcher = PgQueuerDispatcher(dsn, monotonic=monotonic)
        self._hub: Hub | None = None

    def __repr__(self) -> str:
        return f"<Replica: {self.dispatcher!r}, {self._hub!r}>"

    async def clock_over(self, clock: Clock, store: Store) -> Clock:
        """Have a process tell the hour that the database tells.

        Raises:
            StorageError: The database is away.
        """
        shared = SharedClock(clock)
        await shared.hear(store)
        return shared

    def leads(self) -> bool:
        """Whether this process does what one of them does for all."""
        return self._hub is not None and self._hub.leads

    def backlog(self) -> int:
        """How many generations no upstream was asked for yet, of all processes together; two seconds old at most."""
        return 0 if self._hub is None else self._hub.backlog

    def join(self, core: Core) -> None:
        """Have a core, of which no engine is made yet, be one of several."""
        core.dispatcher, core.leads, core.backlog = self.dispatcher, self.leads, self.backlog

    async def start(self, core: Core, engine: Engine) -> None:
        """Bring what all of them share to this version, and hear what the others commit.

        Raises:
            StorageError: The database does not let us.
        """
        store = core.store
        self._hub = Hub(
            self._dsn,
            owner=core.owner,
            role=core.settings.server.role.value,
            waiting=engine.awaited,
            heard=engine.heard,
            overdue=engine.overdue,
            now=core.now_text,
            asked_after=core.asked_after,
            clock=core.clock if isinstance(core.clock, SharedClock) else None,
            is_ours=store.is_ours if isinstance(store, PostgresStore) else lambda pid: False,
        )
        try:
            await dispatcher.prepare(self._dsn)
            await hub.prepare(self._dsn)
            await self._hub.start()
        except Exception as exc:
            if not is_away(exc):
                raise
            raise StorageError(f"The database cannot be listened to: {exc}.", reason="away") from exc

    async def stop(self) -> None:
        """Hear nothing any more."""
        if self._hub is not None:
            await self._hub.stop()
