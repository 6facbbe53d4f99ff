"""What a generation costs, by component, and how many a second: on PostgreSQL with 1 to 8 replicas, and on SQLite.

    python lab/scale/run.py [--seconds 8] [--rounds 3] [--only all-1,all-2] [--out FILE]

As root it takes a network of its own, so that the bytes that it counts are its own. See README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import readings
from readings import minus, scaled
from servers import HERE, MODEL, Bucket, Gateways, Postgres, Simulator

sys.path.append(str(HERE.parent / "bench"))

import machine

PROJECT = HERE.parent.parent
ISOLATED = "HOLDFAST_LAB_OWN_NETWORK"
DATABASE = "scale"
CALLERS = 64
WARM_S = 2.0
QUIET_S = 60.0
"""For what was accepted to be put away."""
SPARSE = 12
"""Generations that each follow a checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One arrangement, and what is asked of it."""

    name: str
    roles: tuple[str, ...]
    database: str = "postgresql"
    kind: str = "load"
    """`load`: callers ask again and again. `held`: all ask once and wait. `idle`: nobody asks. `sparse`: one at a time,
    a checkpoint before each. `accept`: orders that nobody works on."""
    callers: int = CALLERS
    size: str = "64x64"
    delay_s: float = 0.05
    collects: bool = False
    bucket: bool = False
    rounds: bool = False
    """Played in each round; others once."""


def _all(count: int) -> Cell:
    return Cell(name=f"all-{count}", roles=("all",) * count, rounds=True)


def _split(count: int) -> Cell:
    return Cell(name=f"split-{count}", roles=("serve", "work") * count, rounds=True)


ONE_EACH = ("serve", "work")
CELLS = (
    Cell(name="sqlite", roles=("all",), database="sqlite", rounds=True),
    *map(_all, (1, 2, 4, 8)),
    *map(_split, (1, 2, 4)),
    Cell(name="alone", roles=ONE_EACH, callers=1),
    Cell(name="collected", roles=ONE_EACH, collects=True),
    Cell(name="large", roles=ONE_EACH, size="2048x2048", callers=16, collects=True),
    Cell(name="bucket", roles=ONE_EACH, bucket=True, collects=True),
    Cell(name="accept", roles=("serve",), kind="accept"),
    Cell(name="held", roles=ONE_EACH, kind="held", callers=1000, delay_s=32.0),
    Cell(name="idle", roles=ONE_EACH, kind="idle"),
    Cell(name="sparse", roles=ONE_EACH, kind="sparse", callers=1),
)


class Arena:
    """What a cell is played in: everything started afresh, and read before and after."""

    def __init__(self, cell: Cell, folder: Path, postgres: Postgres | None) -> None:
        self.cell = cell
        self.postgres = postgres if cell.database == "postgresql" else None
        self._serial = 0
        self.finished = 0
        self._has_stopped = False
        self._begun_run: dict[str, Any] = {}
        with contextlib.ExitStack() as doing:
            dsn = self.postgres.make(DATABASE) if self.postgres else None
            self.bucket = Bucket(folder) if cell.bucket else None
            if self.bucket is not None:
                doing.callback(self.bucket.stop)
            self.simulator = Simulator(folder)
            doing.callback(self.simulator.stop)
            self.gateways = Gateways(folder, self.simulator.url, dsn=dsn, bucket=self.bucket)
            doing.callback(self._stop_gateways)
            for role in cell.roles:
                self.gateways.start(role)
            self._doing = doing.pop_all()

    def __enter__(self) -> Arena:
        return self

    def __exit__(self, *_: object) -> None:
        self._doing.close()

    def _stop_gateways(self) -> None:
        if not self._has_stopped:
            self._has_stopped = True
            self.gateways.stop()

    def job(self, **more: Any) -> dict[str, Any]:
        """Write down what callers shall do."""
        cell = self.cell
        self._serial += 1
        job: dict[str, Any] = {"ports": self.gateways.ports(), "key": self.gateways.key, "model": MODEL}
        job |= {"size": cell.size, "wish": f"[sim delay={cell.delay_s:g}]", "status": 200, "callers": cell.callers}
        return job | {"collects": cell.collects, "serial": self._serial} | more

    def asked(self, job: dict[str, Any]) -> dict[str, Any]:
        """Have callers do it, to their end."""
        told = self.begun(job).communicate()[0]
        result: dict[str, Any] = json.loads(told)
        self.finished += result["finished"]
        if result["faults"]:
            print(f"  {self.cell.name}: {result['faults']}", flush=True)
        return result

    def begun(self, job: dict[str, Any]) -> subprocess.Popen[bytes]:
        """Have callers begin."""
        process = subprocess.Popen(
            [sys.executable, str(HERE / "asker.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(job).encode())
        process.stdin.close()
        process.stdin = None
        return process

    def quiet(self) -> None:
        """Wait until everything that was accepted is put away."""
        if self.postgres is None:
            time.sleep(0.5)
            return
        until = time.monotonic() + QUIET_S
        while readings.left(self.postgres, DATABASE) and time.monotonic() < until:
            time.sleep(0.05)

    def read(self) -> dict[str, Any]:
        """Read what is told at once."""
        bucket = self.bucket.process.pid if self.bucket else None
        told: dict[str, Any] = {
            "at_s": time.monotonic(),
            "cpu_s": readings.cpu(self.gateways, self.simulator.process.pid, self.postgres, bucket),
            "machine_s": readings.busy_s(),
            "loopback_bytes": float(readings.loopback_bytes()),
            "requests": {} if self.bucket is None else {k: float(v) for k, v in self.bucket.requests().items()},
        }
        if self.postgres is not None:
            told |= readings.of_window(self.postgres, DATABASE)
            told["wire"] = readings.bytes_at(self.postgres.port)
        return told

    def difference(self, before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
        """Subtract two readings."""
        places = before.pop("lsn", ""), after.pop("lsn", "")
        told = minus(after, before)
        if self.postgres is not None:
            told["wal_bytes"] = readings.wal_between(self.postgres, DATABASE, *places)
        return told

    def of_run(self) -> dict[str, Any]:
        """End the gateways, and read what sessions tell with their end, for each generation of the whole run.

        `packed` is what its rows and indexes take once they are written anew, without what updates left behind.
        """
        if self.postgres is None:
            self._stop_gateways()
            return {}
        begun = self._begun_run
        self._stop_gateways()
        time.sleep(0.3)
        told = minus(readings.of_run(self.postgres, DATABASE), begun)
        self.postgres.ask(DATABASE, "VACUUM FULL")
        packed = readings.of_run(self.postgres, DATABASE)["tables"]
        told["packed"] = minus(packed, begun["tables"])
        return scaled(told, 1 / max(1, self.finished))

    def begin_run(self) -> None:
        """Read the state before anything was asked."""
        self._begun_run = {} if self.postgres is None else readings.of_run(self.postgres, DATABASE)


def loaded(arena: Arena, seconds: float) -> dict[str, Any]:
    """Have callers ask again and again; figures are for each generation."""
    arena.begin_run()
    arena.asked(arena.job(seconds=WARM_S))
    arena.quiet()
    if arena.postgres is not None:
        arena.postgres.ask("postgres", "CHECKPOINT")
    before = arena.read()
    result = arena.asked(arena.job(seconds=seconds))
    arena.quiet()
    after = arena.read()
    cell: dict[str, Any] = {
        "per_s": result["finished_in_time"] / seconds,
        "p50_s": result["p50_s"],
        "p99_s": result["p99_s"],
        "finished": result["finished"],
        "faults": result["faults"],
        "rss_mb": readings.rss_mb(arena.gateways),
    }
    moved = arena.difference(before, after)
    window_s = moved.pop("at_s")
    ours_s = sum(moved["cpu_s"].values()) + result["cpu_s"]
    cell["cores"] = {
        "window_s": window_s,
        **{name: spent / window_s for name, spent in moved["cpu_s"].items()},
        "callers": result["cpu_s"] / window_s,
        "elsewhere": (moved.pop("machine_s") - ours_s) / window_s,
    }
    moved["cpu_s"]["callers"] = result["cpu_s"]
    moved["callers_bytes"] = {"to": result["sent_bytes"], "from": result["received_bytes"]}
    if arena.postgres is not None:
        cell["connections"] = readings.connections(arena.postgres, DATABASE)
        cell["top"] = readings.top(arena.postgres, DATABASE)
        pages = readings.checkpointed(arena.postgres, DATABASE)
        arena.postgres.ask("postgres", "CHECKPOINT")
        moved["pages_checkpointed"] = readings.checkpointed(arena.postgres, DATABASE) - pages
    cell["each"] = scaled(moved, 1 / max(1, result["finished"]))
    images, of_images = arena.gateways.bytes_of_images()
    cell["image_bytes"] = of_images / images if images else 0.0
    cell["run"] = arena.of_run()
    return cell


def accepted(arena: Arena, seconds: float) -> dict[str, Any]:
    """Have orders accepted on which nobody works."""
    more = "prefer: respond-async\r\n"
    job = {"more": more, "status": 202, "collects": False}
    arena.asked(arena.job(seconds=WARM_S, **job))
    before = arena.read()
    result = arena.asked(arena.job(seconds=seconds, **job))
    moved = arena.difference(before, arena.read())
    moved["cpu_s"]["callers"] = result["cpu_s"]
    del moved["at_s"], moved["machine_s"]
    each = scaled(moved, 1 / max(1, result["finished"]))
    return {"per_s": result["finished_in_time"] / seconds, "p50_s": result["p50_s"], "each": each}


def held(arena: Arena, seconds: float) -> dict[str, Any]:
    """Hold as many as there are callers; figures are for each that is held, and for each second."""
    arena.asked(arena.job(each=1, callers=32, wish="[sim delay=0.05]"))
    callers = arena.begun(arena.job(each=1))
    until = time.monotonic() + arena.cell.delay_s / 2
    assert arena.postgres is not None
    while readings.left(arena.postgres, DATABASE) < 2 * arena.cell.callers and time.monotonic() < until:
        time.sleep(0.2)
    time.sleep(6.0)
    before = arena.read()
    time.sleep(seconds)
    after = arena.read()
    connections = readings.connections(arena.postgres, DATABASE)
    rss = readings.rss_mb(arena.gateways)
    result = json.loads(callers.communicate()[0])
    moved = arena.difference(before, after)
    del moved["machine_s"], moved["statements"]["commits"]
    each = scaled(moved, 1 / moved.pop("at_s") / arena.cell.callers)
    return {
        "held": arena.cell.callers,
        "finished": result["finished"],
        "faults": result["faults"],
        "each_per_s": each,
        "connections": connections,
        "rss_mb": rss,
    }


def idle(arena: Arena, seconds: float) -> dict[str, Any]:
    """Ask nothing; figures are for each second, of one process of each role together."""
    time.sleep(4.0)
    before = arena.read()
    time.sleep(2 * seconds)
    moved = arena.difference(before, arena.read())
    del moved["machine_s"]
    assert arena.postgres is not None
    return {
        "per_s": scaled(moved, 1 / moved.pop("at_s")),
        "connections": readings.connections(arena.postgres, DATABASE),
        "rss_mb": readings.rss_mb(arena.gateways),
    }


def sparse(arena: Arena, seconds: float) -> dict[str, Any]:
    """Ask for one after the other, each behind a checkpoint: every page that it touches is written whole."""
    arena.asked(arena.job(seconds=WARM_S, callers=CALLERS))
    arena.quiet()
    plain = _behind_checkpoints(arena)
    _set(arena, "SET wal_compression = on")
    try:
        compressed = _behind_checkpoints(arena)
    finally:
        _set(arena, "RESET wal_compression")
    return {"wal_bytes": plain, "compressed": compressed}


def _behind_checkpoints(arena: Arena) -> dict[str, float]:
    assert arena.postgres is not None
    logs = []
    for _ in range(SPARSE):
        arena.postgres.ask("postgres", "CHECKPOINT")
        before = arena.read()
        arena.asked(arena.job(each=1))
        arena.quiet()
        logs.append(arena.difference(before, arena.read())["wal_bytes"])
    return {name: statistics.median(log[name] for log in logs) for name in logs[0]}


def _set(arena: Arena, words: str) -> None:
    assert arena.postgres is not None
    arena.postgres.ask("postgres", f"ALTER SYSTEM {words}")
    arena.postgres.ask("postgres", "SELECT pg_reload_conf()")
    time.sleep(0.5)


PLAYED = {"load": loaded, "accept": accepted, "held": held, "idle": idle, "sparse": sparse}


def played(cell: Cell, folder: Path, postgres: Postgres | None, seconds: float) -> dict[str, Any]:
    """Play a cell once, in an empty folder."""
    place = folder / cell.name
    place.mkdir()
    before = {"busy_cores_before": round(machine.busy_cores(0.5), 2), "load_average": os.getloadavg()[0]}
    before["sync_ms"] = readings.sync_ms(folder)
    try:
        with Arena(cell, place, postgres) as arena:
            told = PLAYED[cell.kind](arena, seconds)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return {**told, **before, "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ")}


def middle(plays: list[dict[str, Any]]) -> dict[str, Any]:
    """Give the play whose cost is the middle one, with the rate and the cost of all."""
    if "each" not in plays[0]:
        return plays[0]
    cost = [sum(value for name, value in play["each"]["cpu_s"].items() if name != "callers") for play in plays]
    chosen = plays[cost.index(sorted(cost)[len(cost) // 2])]
    rates = sorted(play["per_s"] for play in plays)
    return {**chosen, "per_s": statistics.median(rates), "per_s_of_all": rates, "cpu_s_of_all": sorted(cost)}


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="holdfast-scale-", dir=given))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _own_network() -> dict[str, Any]:
    """Go on in a network of our own, whose loopback nobody else uses; give what is to be said of the machine."""
    told = os.environ.get(ISOLATED)
    if told is not None:
        described: dict[str, Any] = json.loads(told)
        return described
    # Read out here: a network of its own shows less of the kernel.
    described = machine.describe(PROJECT)
    if os.geteuid() == 0 and shutil.which("unshare"):
        command = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0" "$@"', sys.executable, *sys.argv]
        os.execvpe("unshare", command, {**os.environ, ISOLATED: json.dumps(described)})
    return described


def main() -> None:
    """Play all cells, and write down what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of load, in each cell (8)")
    parser.add_argument("--rounds", type=int, default=3, help="of the cells that tell rates (3)")
    parser.add_argument("--only", default=",".join(cell.name for cell in CELLS), help="cells, comma-separated")
    parser.add_argument("--work", type=Path, help="folder on a real disk; a temporary one")
    parser.add_argument("--out", type=Path, default=HERE / "results/scale.json", help="the results; other cells stay")
    args = parser.parse_args()
    chosen = [cell for cell in CELLS if cell.name in args.only.split(",")]
    if {cell.name for cell in chosen} != set(args.only.split(",")):
        parser.error(f"no such cell; there are {', '.join(cell.name for cell in CELLS)}")
    described = _own_network()
    # Asked to end, it ends what it has started too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    plays: dict[str, list[dict[str, Any]]] = {cell.name: [] for cell in chosen}
    with _folder(args.work) as folder:
        postgres = Postgres(folder)
        try:
            for number in range(args.rounds):
                for cell in chosen:
                    if number and not cell.rounds:
                        continue
                    told = played(cell, folder, postgres, args.seconds)
                    plays[cell.name].append(told)
                    print(f"{cell.name}: {json.dumps(_short(told))}", flush=True)
            version = postgres.version
        finally:
            postgres.stop()
    others = json.loads(args.out.read_text("utf-8"))["cells"] if args.out.exists() else {}
    record = {
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "machine": described,
        "postgresql": version,
        "options": {"seconds": args.seconds, "rounds": args.rounds, "callers": CALLERS},
        "cells": {**others, **{name: middle(each) for name, each in plays.items()}},
    }
    args.out.write_text(json.dumps(_rounded(record), indent=1, sort_keys=True) + "\n", "utf-8")


def _short(told: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        name: told[name] for name in ("per_s", "p50_s", "wal_bytes", "busy_cores_before") if name in told
    }
    if "each" in told:
        shown["cpu_ms"] = {name: 1e3 * spent for name, spent in told["each"]["cpu_s"].items()}
    return dict(_rounded(shown))


def _rounded(value: Any) -> Any:
    """Keep five digits: more of them say nothing."""
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
