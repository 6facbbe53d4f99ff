"""One process owns the data: a lock of the session, on a connection of its own, for as long as the process lives.

What a start puts right (epochs, attempts in flight) is right for one owner alone. The server lets go of the lock when
the connection ends, and so does whoever has died. A connection that is lost is made anew, and the lock taken again;
where another process was faster, nothing more is written here.
"""

from __future__ import annotations

import asyncio

import asyncpg

from holdfast.errors import StorageError
from holdfast.log import emit
from holdfast.store.postgres.pool import Connect
from holdfast.store.postgres.troubles import told

_TAKE = "SELECT pg_try_advisory_lock(hashtextextended('holdfast.owner', 0))"
_NAME = "INSERT INTO meta (name, value) VALUES ('owner', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
LOOK_S = 1.0
"""Between looks at the connection that holds the lock."""
TAKE_S = 5.0
"""For the server to notice that the owner before has gone, and let go."""


class Ownership:
    """The lock; on the store's loop."""

    def __init__(self, connect: Connect, owner: str) -> None:
        self._connect = connect
        self._owner = owner
        self._raw: asyncpg.Connection | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._is_lost = False

    def check(self) -> None:
        """Nothing, as long as the data is ours.

        Raises:
            StorageError: Another process has it.
        """
        if self._is_lost:
            raise StorageError("Another process has taken this database over.", reason="owner_changed")

    async def take(self) -> None:
        """Take the data over.

        Raises:
            StorageError: Another process owns it, or the database is away.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + TAKE_S
        try:
            while not await self._try():
                if loop.time() > until:
                    raise StorageError(
                        "Another gateway uses this database. Stop it first, or give this one a database of its own.",
                        reason="locked",
                    )
                await asyncio.sleep(0.1)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as exc:
            raise told(exc) from exc
        self._keeping = asyncio.create_task(self._keep(), name="ownership")

    async def give_back(self) -> None:
        """Let go, so that the next one need not wait."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        if self._raw is not None:
            self._raw.terminate()

    async def _try(self) -> bool:
        raw = self._raw
        if raw is None or raw.is_closed():
            raw = self._raw = await self._connect()
        if not await raw.fetchval(_TAKE):
            return False
        await raw.execute(_NAME, self._owner)
        return True

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            assert self._raw is not None
            if not self._raw.is_closed():
                continue
            try:
                is_ours = await self._try()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as exc:
                emit("storage.failed", level="warning", message=f"the database is away: {exc}")
                continue
            if not is_ours:
                emit("storage.failed", level="error", message="another process has taken the database over")
                self._is_lost = True
                return
