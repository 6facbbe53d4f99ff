"""A gateway with a key for each doctor, paths before it, and a doctor at each: what each finds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hops import HOST, standing
from paths import Drawn

from holdfast.clock import SystemClock, rfc3339
from holdfast.doctor.examine import Notebook, Plan, examine
from holdfast.doctor.findings import Findings
from holdfast.doctor.probing import Target
from holdfast.doctor.verdict import Verdict, judge
from holdfast.store.apikeys import SECRET_BYTES, digest_of, spell
from holdfast.store.keys import insert_key
from holdfast.store.lock import DataFolder
from holdfast.store.sqlite import SqliteStore

_SETTINGS = """[server]
port = 0
[store]
free_bytes_margin = 0
[[upstreams]]
name = "nobody"
provider = "gemini"
base_url = "http://127.0.0.1:9"
keys = ["none"]
[[routes]]
model = "nano-banana-pro"
upstreams = [{ upstream = "nobody", model = "gemini-3-pro-image" }]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A gateway that runs."""

    port: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a doctor found on a path, and how long that took."""

    drawn: Drawn
    findings: Findings
    verdict: Verdict
    took_s: float

    def faults(self, share: float = 0.1) -> list[str]:
        """List what is wrong with it: name, place, or a limit that is off by more than a share."""
        culprit = self.verdict.culprit
        if culprit is None:
            return [f"{self.drawn.title}: nobody was named; {self.verdict.silence}; {self.findings.notes}"]
        wrong = []
        if (culprit.name, culprit.place) != (self.drawn.name, self.drawn.place):
            wrong.append(f"named {culprit.name}, {culprit.place.value}: {culprit.how}")
        if abs(culprit.limit_s - self.drawn.limit_s) > share * self.drawn.limit_s:
            wrong.append(f"limit {culprit.limit_s:.2f} s")
        truth = f"{self.drawn.title} is {self.drawn.name}, {self.drawn.place}, after {self.drawn.limit_s} s"
        return [f"{truth}; {each}" for each in wrong]


@contextlib.asynccontextmanager
async def gateway(folder: Path, keys: int) -> AsyncIterator[Ground]:
    """Start `holdfast serve`, a process of its own, with so many keys."""
    data = folder / "data"
    made = await _keys(data, keys)
    settings = folder / "holdfast.toml"
    settings.write_text(_SETTINGS, "utf-8")
    words = ["-m", "holdfast.cli.main", "serve", "--config", str(settings), "--data", str(data), "--json"]
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
    with (folder / "serve.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *words, env=environ, stdout=asyncio.subprocess.PIPE, stderr=log
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(40.0):
            while line := await process.stdout.readline():
                if "base_url" in (told := json.loads(line)):
                    break
            else:
                raise RuntimeError((folder / "serve.log").read_text()[-2000:])
        yield Ground(port=int(told["base_url"].removesuffix("/v1").rpartition(":")[2]), keys=made)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _keys(data: Path, count: int) -> tuple[str, ...]:
    clock, made = SystemClock(), []
    with DataFolder(data) as folder:
        store = SqliteStore(folder.paths.database, clock.new_id("own"))
        try:
            for number in range(count):
                key_id = clock.new_id("key")
                key = spell(key_id, clock.token(SECRET_BYTES))
                digest, now = digest_of(folder.secret, key), rfc3339(clock.now())
                await store.write(insert_key, key_id, digest, f"doctor {number}", now)
                made.append(key)
        finally:
            store.close()
    return tuple(made)


async def examined(port: int, key: str, plan: Plan) -> Findings:
    """Let a doctor examine what answers at a port."""
    notebook = Notebook(Findings(url=f"http://{HOST}:{port}/v1"))
    await examine(Target(scheme="http", host=HOST, port=port, base="/v1"), key, SystemClock(), notebook, plan)
    return notebook.findings


async def all_examined(paths: Sequence[Drawn], folder: Path, plan: Plan) -> list[Found]:
    """Examine paths, all at the same time, before one gateway; nobody begins before every proxy serves."""
    async with gateway(folder, len(paths)) as ground:
        begins = asyncio.Barrier(len(paths))

        async def one(at: int, drawn: Drawn) -> Found:
            async with standing(drawn.hops, ground.port, folder / f"path-{at}") as port:
                await begins.wait()
                loop = asyncio.get_running_loop()
                began_s = loop.time()
                findings = await examined(port, ground.keys[at], plan)
                return Found(drawn=drawn, findings=findings, verdict=judge(findings), took_s=loop.time() - began_s)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(at, drawn)) for at, drawn in enumerate(paths)]
        return [task.result() for task in tasks]
