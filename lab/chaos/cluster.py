"""Three replicas that serve and three that work, each a process with lines of its own to all that it talks to, and a
supervisor that starts whatever has ended again.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from lines import HOST, Line
from servers import environment, free_ports
from weather import PEERS

ROLES = ("serve", "work")
OF_EACH = 3
READY_S = 300.0
"""On a machine whose other work takes all of it, six that start together are slow."""
AGAIN_S = 0.5
"""Until the supervisor starts what has ended."""
END_S = 60.0
"""Beyond `drain.grace_s`, until whoever was asked to end is killed."""
UPSTREAM_KEYS = ("sk-upstream-Jw4Ru-1", "sk-upstream-Jw4Ru-2", "sk-upstream-Jw4Ru-3")
SYNC, QUEUED = "chaos-sync", "nano-banana"
"""A model whose upstream answers with the image, and one whose upstream gives a handle first."""
MICROS = {SYNC: {"1K": 134_000, "2K": 134_000, "4K": 240_000}, QUEUED: {"1K": 39_000, "2K": 39_000, "4K": 39_000}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What all replicas have in common."""

    folder: Path
    speed: float
    """Divides every time of life."""
    concurrency: int
    """Of each credential, over all replicas."""
    secret: bytes
    objects: Mapping[str, str]
    """Section `objects` without its endpoint."""
    blobs: str
    grace_s: float
    """What a replica has to end in order."""
    trees: tuple[Path, ...]
    """Sources of the releases, the new one first."""
    to: Mapping[str, int | Path]
    """Peer -> where it is."""


@dataclass(slots=True, kw_only=True)
class Start:
    """One process of a replica."""

    replica: str
    tree: int
    at_s: float
    ready_s: float | None = None
    """From its start until it listened."""
    ended: str = ""
    """How."""
    follows: str = ""
    """What ended the one before it."""


@dataclass(slots=True)
class Replica:
    """One of them: the same name, port, data folder and lines through all of its processes."""

    name: str
    role: str
    port: int
    plan: Plan
    clock: Any
    """Seconds since the run began."""
    lines: dict[str, Line] = field(default_factory=dict)
    starts: list[Start] = field(default_factory=list)
    tree: int = 0
    """Which release is started next."""
    process: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    _is_wanted: bool = True
    _cause: str = "first"

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.plan.folder / self.name / "data"

    @property
    def log(self) -> Path:
        """What all of its processes wrote."""
        return self.plan.folder / self.name / "log"

    @property
    def pid(self) -> int | None:
        """Of the process that lives."""
        return self.process.pid if self.process is not None and self.process.returncode is None else None

    async def prepare(self) -> None:
        """Open its lines, and write its settings."""
        for peer in PEERS:
            self.lines[peer] = Line(self.plan.to[peer])
            await self.lines[peer].start()
        self.data.mkdir(parents=True)
        secret = self.data / "secret"
        secret.touch(0o600)
        secret.write_bytes(self.plan.secret)
        file = self.plan.folder / self.name / "holdfast.toml"
        file.write_text(tomli_w.dumps(settings_of(self)), "utf-8")

    async def run(self) -> None:
        """Supervise it: started, and started again, until it is wanted no more."""
        while self._is_wanted:
            start = Start(replica=self.name, tree=self.tree, at_s=self.clock(), follows=self._cause)
            self.starts.append(start)
            self._cause = "end"
            await self._begin()
            process = self.process
            assert process is not None
            reading = asyncio.create_task(self._read(process, start), name=f"stdout of {self.name}")
            status = await process.wait()
            self.ready.clear()
            await reading
            start.ended = signal.Signals(-status).name if status < 0 else f"exit {status}"
            if self._is_wanted:
                await asyncio.sleep(AGAIN_S)

    async def _begin(self) -> None:
        tree = self.plan.trees[self.tree]
        words = ["--json", "--config", str(self.plan.folder / self.name / "holdfast.toml"), "serve"]
        environ = {**environment(), "PYTHONPATH": str(tree / "src")}
        # Started hundreds of times: compiled once.
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "holdfast.cli.main", *words),
                cwd=self.plan.folder / self.name,
                env=environ,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )

    async def _read(self, process: asyncio.subprocess.Process, start: Start) -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            if "base_url" in line.decode():
                start.ready_s = self.clock() - start.at_s
                self.ready.set()

    def send(self, number: signal.Signals, cause: str = "") -> int | None:
        """Send a signal to the process that lives; its id, or None if there is none."""
        pid = self.pid
        if pid is not None:
            self._cause = cause or self._cause
            with suppress(ProcessLookupError):
                assert self.process is not None
                self.process.send_signal(number)
        return pid

    async def is_ready(self, within_s: float = READY_S) -> bool:
        """Wait until it listens."""
        try:
            await asyncio.wait_for(self.ready.wait(), within_s)
        except TimeoutError:
            return False
        return True

    async def replace(self, tree: int) -> bool:
        """Have it end in order, and followed by that release; False: it had to be killed, or does not come up."""
        self.tree = tree
        before = self.process
        in_order = True
        if self.send(signal.SIGTERM, "deploy") is not None:
            assert before is not None
            try:
                await asyncio.wait_for(before.wait(), self.plan.grace_s + END_S)
            except TimeoutError:
                in_order = False
                self.send(signal.SIGKILL, "deploy")
                await before.wait()
        # The supervisor is told of the end after us.
        await asyncio.sleep(AGAIN_S / 2)
        return await self.is_ready() and in_order

    async def stop(self) -> None:
        """Have it end in order, for good."""
        self._is_wanted = False
        process = self.process
        if self.send(signal.SIGTERM) is not None and process is not None:
            try:
                await asyncio.wait_for(process.wait(), self.plan.grace_s + END_S)
            except TimeoutError:
                self.send(signal.SIGKILL)
                await process.wait()

    async def close(self) -> None:
        """End it at once, whatever it does, and its lines."""
        self._is_wanted = False
        process = self.process
        if self.send(signal.SIGKILL) is not None and process is not None:
            await process.wait()
        for line in self.lines.values():
            await line.close()


class Cluster:
    """All replicas."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.began_at = time.monotonic()
        ports = free_ports(OF_EACH * len(ROLES))
        names = [(f"{role}-{number}", role) for role in ROLES for number in range(1, OF_EACH + 1)]
        self.replicas = {
            name: Replica(name, role, port, plan, self.clock) for (name, role), port in zip(names, ports, strict=True)
        }
        self._tasks: list[asyncio.Task[None]] = []
        self.key = ""

    def clock(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.began_at

    def of(self, role: str) -> list[Replica]:
        """Those of one role."""
        return [each for each in self.replicas.values() if each.role == role]

    async def start(self) -> None:
        """Start them: the first alone, since it makes tables and the first key."""
        for each in self.replicas.values():
            await each.prepare()
        first, *others = self.replicas.values()
        for some in ([first], others):
            for each in some:
                self._tasks.append(asyncio.create_task(each.run(), name=each.name))
            for each in some:
                assert await each.is_ready(), each.log.read_text("utf-8")[-3000:]
        self.key = (first.data / "first.key").read_text("ascii").strip()

    async def stop(self) -> None:
        """Have all end in order."""
        await asyncio.gather(*(each.stop() for each in self.replicas.values()))
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """End whatever still runs."""
        for each in self.replicas.values():
            await each.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def settings_of(replica: Replica) -> dict[str, Any]:
    """Write the settings of one: the same for all, but for its lines, its folder and its role."""
    plan = replica.plan
    at = {peer: f"http://{HOST}:{line.port}" for peer, line in replica.lines.items()}
    database = f"postgresql://postgres@{HOST}:{replica.lines['database'].port}/holdfast?sslmode=disable"
    upstreams = [
        {"name": "sync", "provider": "openai", "base_url": f"{at['upstream']}/v1", "keys": list(UPSTREAM_KEYS[:2])},
        {"name": "queue", "provider": "fal", "base_url": at["upstream"], "keys": [UPSTREAM_KEYS[2]]},
    ]
    routes = [
        {"model": SYNC, "upstreams": [{"upstream": "sync", "model": SYNC}]},
        {"model": QUEUED, "upstreams": [{"upstream": "queue", "model": f"fal-ai/{QUEUED}"}]},
    ]
    by_size = {"generation_s": {"1K": 300, "2K": 300, "4K": 600}, "attempt_s": {"1K": 180, "2K": 216, "4K": 300}}
    times = {"slow_network_s": 600, "connect_s": 10, "write_s": 30}
    deadlines: dict[str, Any] = {name: seconds / plan.speed for name, seconds in times.items()}
    for name, values in by_size.items():
        deadlines[name] = {size: seconds / plan.speed for size, seconds in values.items()}
    return {
        "server": {"host": HOST, "port": replica.port, "role": replica.role},
        "store": {"data": str(replica.data), "database": database, "blobs": plan.blobs},
        "objects": {**plan.objects, "endpoint": at["objects"]},
        "deadlines": deadlines,
        "latency": {"scale": 1 / plan.speed},
        "drain": {"grace_s": plan.grace_s},
        "webhooks": {"allow_private": True, "allow_http": True},
        "upstreams": [{**each, "concurrency": plan.concurrency} for each in upstreams],
        "routes": routes,
        "prices": [
            {"model": model, "micros": micros, "source": "lab", "valid_from": "2026-01-01"}
            for model, micros in MICROS.items()
        ],
        "log": {"format": "json"},
    }


def new_secret() -> bytes:
    """Draw what all data folders share."""
    return secrets.token_bytes(32)


def logged(replica: Replica) -> list[dict[str, Any]]:
    """Read what a replica has logged; a line that was cut by a kill is left out."""
    found = []
    for line in replica.log.read_text("utf-8", "replace").splitlines():
        with suppress(json.JSONDecodeError):
            entry = json.loads(line)
            if isinstance(entry, dict):
                found.append(entry)
    return found
