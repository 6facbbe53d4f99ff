"""What repeats and records cost: joining, replay and status reads beside held requests, a restart, and waiting."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

from caller import Target, keyed
from scenarios import START_TIMEOUT_S, Bench, Cell, finish, quantile, running, until_held
from subjects import HERE, Holdfast, Subject, SubjectError

BUFFER_KB = 64
RATE = 200
"""Requests a second: of each sort alone."""
FINISHED = 50
"""Generations that are replayed, and whose status is read."""
ASYNC = "prefer: respond-async\r\n"


def repeats(bench: Bench, subject: Subject, held: int, seconds: float) -> dict[str, Any]:
    """Hold so many requests; join them, replay others, and read both, at 200 a second each."""
    with running(bench, subject, buffer_kb=BUFFER_KB) as cell:
        cell.warm("tiny", 3)
        target = _target(cell)
        finished, held_from = next(bench.serials), next(bench.serials)
        replays = [target.request(finished + index, "tiny", "", keyed(finished + index)) for index in range(FINISHED)]
        done = _ask(cell, replays, FINISHED, status=200, keep="generation_id")
        storm = {"kind": "storm", "picture": "tiny", "count": held, "rate": 500, "timeout_s": 900, "keyed": True}
        process = cell.callers({**storm, "serial": held_from})
        arrived = until_held(cell, held)
        joins = [
            target.request(held_from + index, "tiny", " hold", keyed(held_from + index) + ASYNC)
            for index in range(held)
        ]
        _ask(cell, joins[:FINISHED], FINISHED, status=202, keep="id")
        running_ids = _ask(cell, joins[:FINISHED], FINISHED, status=202, keep="id")["kept"]
        reads = [target.get(f"/v1/generations/{id_}") for id_ in (*done["kept"], *running_ids)]
        row: dict[str, Any] = {"held": arrived}
        faults: dict[str, Any] = {}
        for name, requests, status in (("join", joins, 202), ("replay", replays, 200), ("status", reads, 200)):
            cpu_before = cell.cpu_s()
            result = _ask(cell, requests, int(RATE * seconds), status=status)
            row[f"{name}_cpu_ms"] = 1000 * (cell.cpu_s() - cpu_before) / int(RATE * seconds)
            row[f"{name}_p50_ms"] = 1000 * (quantile(result["latencies_s"], 0.5) or 0.0)
            row[f"{name}_p99_ms"] = 1000 * (quantile(result["latencies_s"], 0.99) or 0.0)
            faults |= result["faults"]
        row["worst_p99_ms"] = max(row[f"{name}_p99_ms"] for name in ("join", "replay", "status"))
        # A repeat that bought would have come to the upstream.
        row["held_after"] = cell.control("GET", "state")["held"]
        cell.control("POST", f"release?due={time.monotonic()}")
        return {**row, "faults": faults | finish(process)["faults"]}


def restart(bench: Bench, subject: Subject, count: int) -> dict[str, Any]:
    """Accept so many that nobody waits for, kill the gateway, start it on the same folder: until it serves again, and
    until all of them are taken up."""
    assert isinstance(subject, Holdfast)
    with running(bench, subject) as cell:
        cell.warm("tiny", 3)
        serial = next(bench.serials)
        target = _target(cell)
        asked = [target.request(serial + index, "tiny", " hold", ASYNC) for index in range(count)]
        accepted = _ask(cell, asked, count, status=202, keep="id", rate=1000)
        if accepted["faults"] or len(accepted["kept"]) != count:
            raise SubjectError(f"{subject.name} did not accept {count}: {accepted['faults']}")
        time.sleep(2.0)
        held = cell.control("GET", "state")["held"]
        subject.kill()
        mark = subject.log.stat().st_size
        begun_at = time.monotonic()
        subject.relaunch(bench.gateway_core)
        serving_s = _until_serving(subject, cell.key, accepted["kept"][-1], begun_at)
        taken_up_s = _until_recovered(subject, mark) - begun_at
        states = _states(cell, accepted["kept"])
    return {
        "accepted": count,
        "accepted_per_s": count / accepted["took_s"],
        "at_the_upstream": held,
        "serving_s": serving_s,
        "taken_up_s": taken_up_s,
        "states": states,
        "faults": {},
    }


def waiting(bench: Bench, subject: Subject, count: int) -> dict[str, Any]:
    """What each of so many waiting generations costs the engine: `waiting.py`, in a process of its own."""
    pin = [] if bench.gateway_core is None else ["taskset", "-c", str(bench.gateway_core)]
    command = [*pin, sys.executable, str(HERE / "waiting.py"), "--count", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SubjectError(f"{subject.name}: {done.stderr[-800:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _target(cell: Cell) -> Target:
    known = cell.target()
    return Target(**{**known, "pictures": cell.bench.pictures})


def _ask(
    cell: Cell, requests: list[bytes], count: int, *, status: int, keep: str = "", rate: int = RATE
) -> dict[str, Any]:
    """Send requests, and see that each is answered as it should be."""
    texts = [request.decode() for request in requests]
    job = {"kind": "asks", "requests": texts, "count": count, "rate": rate, "status": status, "keep": keep}
    return finish(cell.callers(job))


def _until_serving(subject: Holdfast, key: str, generation_id: str, begun_at: float) -> float:
    """Ask for a generation until it is told."""
    path = f"/v1/generations/{generation_id}"
    while time.monotonic() - begun_at < START_TIMEOUT_S:
        if subject.is_told(path, key):
            return time.monotonic() - begun_at
        time.sleep(0.005)
    raise SubjectError(f"{subject.name} did not serve within {START_TIMEOUT_S:g} s")


def _until_recovered(subject: Holdfast, mark: int) -> float:
    """Wait for the line that says that all is put right; return the moment."""
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        with subject.log.open("rb") as log:
            log.seek(mark)
            if b"recovery.done" in log.read():
                return time.monotonic()
        time.sleep(0.02)
    raise SubjectError(f"{subject.name} did not recover within {START_TIMEOUT_S:g} s")


def _states(cell: Cell, ids: list[str]) -> dict[str, int]:
    """Count what became of them, by a sample."""
    target = _target(cell)
    sample = ids[:: max(1, len(ids) // 100)]
    requests = [target.get(f"/v1/generations/{id_}") for id_ in sample]
    found = _ask(cell, requests, len(sample), status=200, keep="status")["kept"]
    return {state: found.count(state) for state in sorted(set(found))}
