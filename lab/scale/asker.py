"""The callers: each asks again as soon as it has its answer; or all ask once and are held.

echo '{"seconds": 10, …}' | python lab/scale/asker.py        (a job in, a result out, both JSON)
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import sys
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Any

import uvloop

sys.path.append(str(Path(__file__).resolve().parent.parent / "bench"))

from caller import Caller

URL = re.compile(rb'"url"\s*:\s*"http://[^/"]+(/[^"]+)"')


def request_of(job: dict[str, Any], serial: int) -> bytes:
    """Write an order whose words nobody else has: it joins nothing."""
    prompt = f"a lighthouse in a storm, seen from the sea, oil on canvas {job['serial']}-{serial} {job['wish']}"
    body = json.dumps({"model": job["model"], "prompt": prompt, "size": job["size"], "response_format": "url"}).encode()
    head = f"POST /v1/images/generations HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {job['key']}\r\n"
    head += f"content-type: application/json\r\nuser-agent: scale\r\n{job.get('more', '')}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def connect(port: int) -> Caller:
    """Open a connection."""
    _, caller = await asyncio.get_running_loop().create_connection(Caller, "127.0.0.1", port)
    return caller


class Crowd:
    """All callers, and what they have seen."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._serials = count()
        self._until = 0.0
        self.latencies_s: list[float] = []
        self.ended_at: list[float] = []
        self.faults: Counter[str] = Counter()
        self.sent_bytes = 0
        self.received_bytes = 0

    async def _ask(self, caller: Caller) -> None:
        request = request_of(self._job, next(self._serials))
        asked_at = time.monotonic()
        await caller.ask(request, keep=True)
        now = time.monotonic()
        self.sent_bytes += len(request)
        self.received_bytes += caller.body_bytes
        assert caller.kept is not None
        if caller.status != self._job["status"]:
            self.faults[f"status {caller.status}: {bytes(caller.kept[:200])!r}"] += 1
            return
        self.latencies_s.append(now - asked_at)
        self.ended_at.append(now)
        if self._job.get("collects"):
            found = URL.search(bytes(caller.kept))
            if found is None:
                self.faults["no link"] += 1
                return
            path = found[1].decode().replace("\\/", "/")
            await caller.ask(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nuser-agent: scale\r\n\r\n".encode())
            self.received_bytes += caller.body_bytes
            if caller.status != 200:
                self.faults[f"collecting: {caller.status} {caller.first_bytes[:200]!r}"] += 1

    async def one(self, port: int) -> None:
        """Ask again and again; or once, and be held."""
        caller = await connect(port)
        done = 0
        while (done < self._job["each"]) if self._job.get("each") else (time.monotonic() < self._until):
            if caller.is_closed:
                caller = await connect(port)
            await self._ask(caller)
            done += 1
        caller.close()

    async def run(self) -> dict[str, Any]:
        """Let all of them ask."""
        ports = self._job["ports"]
        begun_at = time.monotonic()
        self._until = begun_at + self._job.get("seconds", 0.0)
        asking = [self.one(ports[number % len(ports)]) for number in range(self._job["callers"])]
        for outcome in await asyncio.gather(*asking, return_exceptions=True):
            if isinstance(outcome, BaseException):
                self.faults[f"{type(outcome).__name__}: {outcome}"] += 1
        ordered = sorted(self.latencies_s)
        spent = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "finished": len(ordered),
            "finished_in_time": sum(at <= self._until for at in self.ended_at),
            "took_s": time.monotonic() - begun_at,
            "p50_s": ordered[len(ordered) // 2] if ordered else 0.0,
            "p99_s": ordered[len(ordered) * 99 // 100] if ordered else 0.0,
            "faults": dict(self.faults),
            "sent_bytes": self.sent_bytes,
            "received_bytes": self.received_bytes,
            "cpu_s": spent.ru_utime + spent.ru_stime,
        }


def main() -> None:
    """Read a job, do it, print the result."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    job = json.load(sys.stdin)

    async def work() -> dict[str, Any]:
        return await Crowd(job).run()

    print(json.dumps(uvloop.run(work())), flush=True)


if __name__ == "__main__":
    main()
