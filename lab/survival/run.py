"""Survival: the same load through holdfast, through LiteLLM and through nothing, while everything goes wrong.

    python lab/survival/run.py [--count 1000] [--kills 10] [--only direct,litellm,holdfast,holdfast-buys]

Prints a table for each subject and the bars, and writes all of it as JSON. See README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import between
import books
import callers
import drawn
import load
import machine
import subjects
import table
import uvloop
from between import HERE, HOST, PROGRAM, Between, Holdfast
from verdict import Charge, Told, Verdict, judge

from holdfast.simulator.path import Path as Way

PROJECT = HERE.parent.parent
DELAY_S = 0.005
"""Of each piece of data on the callers' path, one way."""
THREADS = 400
SETTLED_S = 3_600.0
"""Of life: until nothing is in flight any more."""
QUIET_S = 300.0
"""Of life: an upstream that has charged nothing for so long has nothing left to charge."""


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="orders (1000)")
    parser.add_argument("--seconds", type=float, help="real seconds over which they come (a third of the count)")
    parser.add_argument("--speed", type=float, default=10.0, help="divides every time of life (10)")
    parser.add_argument("--kills", type=int, default=10, help="of the gateway (10)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (0)")
    parser.add_argument("--scenario", type=Path, default=HERE / "scenario.toml", help="of the upstream")
    parser.add_argument("--only", default=",".join(between.ALL), help="subjects, comma-separated")
    parser.add_argument("--work", type=Path, help="folder on a real disk for data; a temporary one")
    parser.add_argument("--keep", action="store_true", help="leave data and logs where they are")
    parser.add_argument("--out", type=Path, default=HERE / "results/survival.json", help="the results")
    parser.add_argument("--readme", action="store_true", help="put the figures into README.md")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a bar is not met")
    args = parser.parse_args()
    if args.seconds is None:
        args.seconds = args.count / 3
    unknown = set(args.only.split(",")) - set(between.ALL)
    if unknown:
        parser.error(f"no such subject: {', '.join(sorted(unknown))}; there are {', '.join(between.ALL)}")
    return args


class Upstream:
    """`holdfast simulate`, a process of its own."""

    def __init__(self, folder: Path, args: argparse.Namespace) -> None:
        command = [*PROGRAM, "simulate", "--port", "0", "--json", "--speed", f"{args.speed:g}"]
        command += ["--seed", str(args.seed), "--scenario", str(args.scenario)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=(folder / "simulator.log").open("wb"))
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self.port = int(told["base_url"].rpartition(":")[2])

    def stop(self) -> None:
        """End it; its books are gone with it."""
        self._process.terminate()
        self._process.wait(30.0)


class Play:
    """One subject's turn."""

    def __init__(self, args: argparse.Namespace, subject: Between, folder: Path) -> None:
        self.args = args
        self.subject = subject
        self.folder = folder
        self.orders = load.orders(args.seed, args.count, args.seconds)
        self.told: list[Told] = []
        self.kills: list[float] = []
        self.facts: dict[str, Any] = {}
        self.ledger: Mapping[str, Any] | None = None

    async def run(self) -> Verdict:
        """Play it to the end, and judge."""
        args, subject = self.args, self.subject
        upstream = await asyncio.to_thread(Upstream, self.folder, args)
        try:
            await subject.start(self.folder, upstream.port, args.speed)
            fates = partial(_fate, args.seed, args.speed)
            way = Way(HOST, subject.port, delay_s=DELAY_S, fate_of=fates)
            port = await way.start(HOST, 0)
            begun_at = time.monotonic()
            killer = asyncio.create_task(self._kill(way, begun_at), name="killer")
            await self._ask_all(callers.Front(url=f"http://{HOST}:{port}", key=subject.key, speed=args.speed), begun_at)
            await killer
            self.facts = {
                "seconds": time.monotonic() - begun_at,
                "connections": way.accepted,
                "connections_killed": way.resets + way.truncations + way.stalls,
                "killed_by": {"reset": way.resets, "end": way.truncations, "stall": way.stalls},
                "kills_at_s": self.kills,
                "restarts_s": subject.restarts_s,
            }
            await way.close()
            self.facts["settled"] = await subject.settled(SETTLED_S / args.speed)
            return await self._judged(upstream)
        finally:
            await subject.stop()
            await asyncio.to_thread(upstream.stop)

    async def _ask_all(self, front: callers.Front, begun_at: float) -> None:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(THREADS) as pool:

            async def one(order: load.Order) -> None:
                await asyncio.sleep(max(0.0, begun_at + order.at_s - time.monotonic()))
                self.told.append(await loop.run_in_executor(pool, _timed, front, order))
                if len(self.told) % 100 == 0:
                    print(f"  {self.subject.name}: {len(self.told)} of {len(self.orders)} told", flush=True)

            async with asyncio.TaskGroup() as group:
                for order in self.orders:
                    group.create_task(one(order))

    async def _kill(self, way: Way, begun_at: float) -> None:
        if not self.subject.is_killed:
            return
        for at_s in load.kills(self.args.seed, self.args.kills, self.args.seconds):
            preparing = asyncio.create_task(self.subject.prepare(), name="prepare")
            await asyncio.sleep(max(0.0, begun_at + at_s - time.monotonic()))
            await preparing
            self.kills.append(time.monotonic() - begun_at)
            await self.subject.kill()
            way.to_port = self.subject.port

    async def _judged(self, upstream: Upstream) -> Verdict:
        charged = await self._charged(upstream)
        if not isinstance(self.subject, Holdfast):
            return judge(self.told, charged)
        records = await asyncio.to_thread(books.generations, self.subject.data)
        url = f"http://{HOST}:{self.subject.port}"
        sizes = {order.number: order.size for order in self.orders}
        fetched = await asyncio.to_thread(books.fetch_left, url, self.subject.key, records, self.told, sizes)
        self.ledger = await asyncio.to_thread(self.subject.ledger)
        return judge(self.told, charged, records, fetched)

    async def _charged(self, upstream: Upstream) -> tuple[Charge, ...]:
        """Read the upstream's books once they are complete: what nobody waits for is made and charged all the same."""
        seen, changed_at = -1, time.monotonic()
        while True:
            charged: tuple[Charge, ...] = await asyncio.to_thread(books.charges, upstream.port)
            if len(charged) != seen:
                seen, changed_at = len(charged), time.monotonic()
            elif time.monotonic() - changed_at > QUIET_S / self.args.speed:
                return charged
            await asyncio.sleep(1.0)


def _fate(seed: int, speed: float, number: int) -> Any:
    return load.fate_of(seed, number, speed=speed)


def _timed(front: callers.Front, order: load.Order) -> Told:
    begun_at = time.monotonic()
    told = callers.CALLERS[order.kind](front, order)
    return told.taking(time.monotonic() - begun_at)


def play(args: argparse.Namespace, name: str, work: Path) -> dict[str, Any]:
    """Give one subject its turn; return what the record keeps of it."""
    subject = between.ALL[name]()
    version = subject.version()
    folder = work / name
    folder.mkdir()
    turn = Play(args, subject, folder)
    verdict = uvloop.run(turn.run())
    unhappy = [asdict(told) for told in turn.told if told.end != "image"]
    return {
        "title": subject.title,
        "version": version,
        "kinds": {kind: tally.of_all() for kind, tally in sorted(verdict.kinds.items())},
        "total": verdict.total.of_all(),
        "problems": list(verdict.problems),
        "causes": dict(verdict.causes),
        "ledger": turn.ledger,
        **turn.facts,
        "without_image": sorted(unhappy, key=lambda each: int(each["number"])),
    }


def command_of(args: argparse.Namespace) -> str:
    """Write the command that repeats this run, without where it kept its files."""
    given = {"count": args.count, "seconds": args.seconds, "speed": args.speed, "kills": args.kills, "seed": args.seed}
    usual = {"count": 1000, "seconds": args.count / 3, "speed": 10.0, "kills": 10, "seed": 0}
    words = [f"--{name} {value:g}" for name, value in given.items() if value != usual[name]]
    if args.only != ",".join(between.ALL):
        words.append(f"--only {args.only}")
    return " ".join(["python lab/survival/run.py", *words])


def write(record: dict[str, Any], out: Path) -> None:
    """Keep what there is so far: a turn takes minutes."""
    record["bars"] = [asdict(bar) | {"verdict": bar.verdict} for bar in table.bars_of(record)]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n")


def main() -> int:
    """Let each subject play, then tell."""
    args = parse_args()
    drawn.warm(tuple(size for size, _ in load.SIZES))
    record: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command_of(args),
        "machine": machine.describe(PROJECT),
        "options": {name: value for name, value in vars(args).items() if isinstance(value, int | float)},
        "scenario": args.scenario.read_text("utf-8"),
        "absent": {},
        "subjects": {},
    }
    work = Path(tempfile.mkdtemp(prefix="holdfast-survival-", dir=args.work))
    try:
        for name in args.only.split(","):
            try:
                record["subjects"][name] = play(args, name, work)
            except subjects.SubjectError as exc:
                record["absent"][name] = str(exc)
                print(f"absent: {name}: {exc}", file=sys.stderr)
                continue
            print(table.of_subject(record["subjects"][name]), flush=True)
            write(record, args.out)
    finally:
        if args.keep:
            print(f"data and logs are in {work}")
        else:
            subprocess.run(["rm", "-rf", str(work)], check=True)
    write(record, args.out)
    print(table.of_all(record), flush=True)
    print(f"\nwritten to {args.out}")
    if args.readme:
        page = HERE / "README.md"
        page.write_text(table.with_result(page.read_text("utf-8"), record), "utf-8")
    return 1 if args.strict and any(bar["verdict"] != "met" for bar in record["bars"]) else 0


if __name__ == "__main__":
    raise SystemExit(main())
