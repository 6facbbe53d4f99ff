"""What a generation costs on SQLite and on PostgreSQL: gateways side by side, small images by URL, asked in turn.

    python lab/bench/databases.py [--before DIR] [--at-once 16] [--calls 400] [--rounds 8] [--out FILE]

Each gateway is a process of its own, as `holdfast serve` starts it; the rows of one are in its data folder, those of
the other in a PostgreSQL with `fsync` on. What else a machine does makes all of them slower, so it is the ratio within
each round that counts; its median is the result. CPU time is the kernel's, of the gateway's process tree, and told
beside it that of the whole PostgreSQL. `--before DIR` sets a gateway of another state of the sources beside them, on
SQLite.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import machine
import pictures
from paired import PROJECT, START_S, program_of
from postgres import PostgresServer
from subjects import HERE, Holdfast, end, free_port, spawn


class Stored(Holdfast):
    """A gateway whose rows are in a named place."""

    def __init__(self, program: Path, database: str) -> None:
        super().__init__(program)
        self._database = database

    def _spawn(self, core: int | None) -> None:
        config = self._folder / "holdfast.toml"
        config.write_text(f'{config.read_text()}[store]\ndatabase = "{self._database}"\n')
        super()._spawn(core)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Of one side in one round."""

    cpu_ms: float
    """Of the gateway, for each generation."""
    database_ms: float
    """Of the database's own processes."""
    per_s: float
    """Generations accepted, finished and told, each second of the wall clock."""


class Side:
    """One gateway that runs, and those who ask it."""

    def __init__(self, subject: Holdfast, folder: Path, upstream_port: int, at_once: int, database: int | None) -> None:
        folder.mkdir()
        self.subject = subject
        self._database = database
        self.subject.launch(folder, upstream_port, None)
        self._key = self._ready()
        port = self.subject.port
        self._connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(at_once)]

    def _ready(self) -> str:
        until = time.monotonic() + START_S
        while (key := self.subject.ready_key()) is None or not self.subject.is_told("/v1/models", key):
            assert time.monotonic() < until, self.subject.log.read_text()[-2000:]
            time.sleep(0.1)
        return key

    def _ask(self, connection: http.client.HTTPConnection, serial: int) -> None:
        prompt = f"[bench id={serial} picture=tiny]"
        document = {"model": self.subject.model, "prompt": prompt, "response_format": "url"}
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        connection.request("POST", "/v1/images/generations", json.dumps(document), headers)
        answer = connection.getresponse()
        told = answer.read()
        assert answer.status == 200, (answer.status, told)
        assert b'"url"' in told, told

    def figures(self, serials: range) -> Figures:
        """Ask so many times, on all connections."""
        assert self.subject.process is not None
        left: Iterator[int] = iter(serials)
        gate, wrong = threading.Lock(), list[BaseException]()

        def ask(connection: http.client.HTTPConnection) -> None:
            try:
                while True:
                    with gate:
                        serial = next(left, None)
                    if serial is None or wrong:
                        return
                    self._ask(connection, serial)
            except BaseException as exc:  # noqa: BLE001 - raised below, in the thread that waits
                wrong.append(exc)

        callers = [threading.Thread(target=ask, args=(each,)) for each in self._connections]
        cpu, of_database, began = self._cpu_s(), self._database_s(), time.monotonic()
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        took_s = time.monotonic() - began
        if wrong:
            raise wrong[0]
        count = len(serials)
        # What is done after the answer (the note that it was received, the job that is put away) is part of its cost.
        time.sleep(0.5)
        return Figures(
            cpu_ms=1000 * (self._cpu_s() - cpu) / count,
            database_ms=1000 * (self._database_s() - of_database) / count,
            per_s=count / took_s,
        )

    def _cpu_s(self) -> float:
        assert self.subject.process is not None
        return machine.cpu_s(self.subject.process.pid)

    def _database_s(self) -> float:
        return 0.0 if self._database is None else machine.cpu_s(self._database)


def measured(sides: Mapping[str, Side], *, calls: int, rounds: int) -> list[dict[str, Figures]]:
    """Ask all in turn, beginning with another one each time."""
    serial, told, names = 1, [], list(sides)
    for number in range(rounds + 1):
        figures: dict[str, Figures] = {}
        first = number % len(names)
        for name in names[first:] + names[:first]:
            figures[name] = sides[name].figures(range(serial, serial + calls))
            serial += calls
        # The first one warms up: modules, statements, connections.
        if number:
            told.append(figures)
            words = [f"{name} {figures[name].cpu_ms:6.3f} ms {figures[name].per_s:4.0f}/s" for name in names]
            print("  " + "  ".join(words), f"  {ratio(figures, 'postgres', 'sqlite'):.3f}", flush=True)
    return told


def ratio(figures: Mapping[str, Figures], one: str, other: str) -> float:
    """How much more CPU time one takes than the other."""
    return figures[one].cpu_ms / figures[other].cpu_ms


def summary(told: list[dict[str, Figures]]) -> dict[str, Any]:
    """The medians of all rounds."""
    names = list(told[0])
    result: dict[str, Any] = {
        name: {
            "cpu_ms": round(median(each[name].cpu_ms for each in told), 3),
            "database_ms": round(median(each[name].database_ms for each in told), 3),
            "per_s": round(median(each[name].per_s for each in told), 1),
        }
        for name in names
    }
    result["postgres_to_sqlite"] = round(median(ratio(each, "postgres", "sqlite") for each in told), 3)
    if "before" in names:
        result["sqlite_to_before"] = round(median(ratio(each, "sqlite", "before") for each in told), 3)
    return result


def commit_of(sources: Path) -> str:
    """The state of a checkout."""
    words = ("git", "rev-parse", "--short=12", "HEAD")
    return subprocess.run(words, cwd=sources, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="a checkout of another state, run on SQLite")
    parser.add_argument("--calls", type=int, default=400, help="of a side in a round (400)")
    parser.add_argument("--at-once", type=int, default=16, help="callers of a side (16)")
    parser.add_argument("--rounds", type=int, default=8, help="beside one that warms up (8)")
    parser.add_argument("--out", type=Path, help="the figures as JSON, added to those of other runs")
    args = parser.parse_args()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-databases-")))
        (work / "pictures").mkdir()
        pictures.make(work / "pictures", 0)
        port = free_port()
        command = [sys.executable, str(HERE / "upstream.py"), "--port", str(port), "--pictures", str(work / "pictures")]
        stack.callback(end, spawn(command, core=None, log=work / "upstream.log", env=dict(os.environ)))
        server = PostgresServer()
        stack.callback(server.end)
        (work / "programs").mkdir()
        program = program_of(PROJECT, work / "programs")
        subjects: dict[str, tuple[Holdfast, int | None]] = {
            "sqlite": (Stored(program, "sqlite"), None),
            "postgres": (Stored(program, server.make("bench")), server.process.pid),
        }
        if args.before is not None:
            (work / "before-programs").mkdir()
            subjects["before"] = (Holdfast(program_of(args.before.resolve(), work / "before-programs")), None)
        sides: dict[str, Side] = {}
        for name, (subject, database) in subjects.items():
            sides[name] = Side(subject, work / name, port, args.at_once, database)
            stack.callback(subject.stop)
        print(f"{commit_of(PROJECT)}, {args.at_once} at once, CPU time of a generation")
        told = measured(sides, calls=args.calls, rounds=args.rounds)
        version = server.version()
    result = summary(told)
    print(json.dumps(result, indent=1))
    if args.out is not None:
        known = json.loads(args.out.read_text()) if args.out.exists() else {"runs": []}
        known["machine"] = machine.describe(PROJECT) | {"postgres": version}
        run = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "load": round(os.getloadavg()[0], 1),
            "at_once": args.at_once,
            "calls": args.calls,
            "rounds": args.rounds,
            "commit": commit_of(PROJECT),
            "before": None if args.before is None else commit_of(args.before),
            "median": result,
            "cpu_ms": [{name: round(each.cpu_ms, 3) for name, each in figures.items()} for figures in told],
        }
        known["runs"].append(run)
        args.out.write_text(json.dumps(known, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
