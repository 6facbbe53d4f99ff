"""Doing what the schedule says, each thing at its time, beside the others; and writing down what was done."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from cluster import ROLES, Cluster
from servers import Postgres
from weather import Fault, Kind

STARTS_MAX = 5


class Deeds:
    """Does it."""

    def __init__(self, cluster: Cluster, database: Postgres, objects: Any) -> None:
        self._cluster = cluster
        self._database = database
        self._objects = objects
        self.done: list[dict[str, Any]] = []
        """Each fault with the seconds at which it began and ended."""
        self.problems: list[str] = []
        self._database_lock = asyncio.Lock()
        self._is_deploying = False
        self._tree = 0

    async def run(self, faults: tuple[Fault, ...]) -> None:
        """Do all of it; returns when everything is mended."""
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, fault.at_s - self._cluster.clock()))
                group.create_task(self._one(fault), name=str(fault))

    async def _one(self, fault: Fault) -> None:
        if fault.kind is Kind.DEPLOY and self._is_deploying:
            return
        print(f"  {self._cluster.clock():7.1f} s  {fault}", flush=True)
        record = {
            "kind": fault.kind.value,
            "target": fault.target,
            "peer": fault.peer,
            "way": fault.way.value if fault.way else "",
            "is_violent": fault.is_violent,
            "from_s": self._cluster.clock(),
            "to_s": float("inf"),
        }
        self.done.append(record)
        match fault.kind:
            case Kind.KILL:
                self._cluster.replicas[fault.target].send(signal.SIGKILL, "kill")
            case Kind.FREEZE:
                await self._freeze(fault)
            case Kind.PARTITION:
                await self._partition(fault)
            case Kind.DATABASE_RESTART | Kind.DATABASE_OUTAGE:
                await self._without_database(fault)
            case Kind.OBJECTS_OUTAGE:
                await asyncio.to_thread(self._objects.kill)
                await asyncio.sleep(fault.lasts_s)
                await self._start_objects()
            case Kind.DEPLOY:
                await self._deploy()
        record["to_s"] = self._cluster.clock()

    async def _start_objects(self) -> None:
        """Start the S3 server again, as often as a supervisor does."""
        for _ in range(STARTS_MAX):
            try:
                await asyncio.to_thread(self._objects.start)
            except AssertionError as exc:
                print(f"the S3 server did not start: {str(exc)[-300:]}", flush=True)
            else:
                return
        self.problems.append("the S3 server does not come up again")

    async def _freeze(self, fault: Fault) -> None:
        replica = self._cluster.replicas[fault.target]
        process = replica.process
        if replica.send(signal.SIGSTOP) is None:
            return
        await asyncio.sleep(fault.lasts_s)
        # Killed meanwhile, it has a successor, who was never stopped.
        if replica.process is process:
            replica.send(signal.SIGCONT)

    async def _partition(self, fault: Fault) -> None:
        line = self._cluster.replicas[fault.target].lines[fault.peer]
        assert fault.way is not None
        line.shut(fault.way)
        await asyncio.sleep(fault.lasts_s)
        line.mend(is_violent=fault.is_violent)

    async def _without_database(self, fault: Fault) -> None:
        async with self._database_lock:
            await asyncio.to_thread(self._database.stop, is_crash=fault.is_violent)
            await asyncio.sleep(fault.lasts_s)
            self._database.start()
            await (await self._database.ready()).close()

    async def _deploy(self) -> None:
        """Replace those of each role one after another; the roles go side by side."""
        self._is_deploying = True
        self._tree = (self._tree + 1) % len(self._cluster.plan.trees)
        await asyncio.gather(*(self._roll(role) for role in ROLES))
        self._is_deploying = False

    async def _roll(self, role: str) -> None:
        for replica in self._cluster.of(role):
            if not await replica.replace(self._tree):
                self.problems.append(f"{replica.name} did not end in order, or did not come up again")
