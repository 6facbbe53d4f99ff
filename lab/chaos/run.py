"""Chaos: three replicas that serve and three that work, on PostgreSQL and S3, while everything is killed and cut.

    python lab/chaos/run.py [--minutes 30] [--in-flight 300] [--speed 1] [--seed 0] [--old REF-or-PATH]

Prints a table of what was found, and writes all of it as JSON. See README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "bench"))

import checks  # noqa: E402
import evidence  # noqa: E402
import machine  # noqa: E402 - the bench's
import orders  # noqa: E402
import report  # noqa: E402
import weather  # noqa: E402
from cluster import Cluster, Plan, new_secret  # noqa: E402
from crowd import Crowd, Ear, fetch_kept  # noqa: E402
from deeds import Deeds  # noqa: E402
from servers import HOST, PROJECT, Nginx, Postgres, Simulator, free_ports, object_server  # noqa: E402

SAMPLE_S = 2.0
QUIET_S = 330.0
"""Of life: a call that was sent at the very end has ended by then, and whoever waits for it has been told."""
JOURNAL_S = 330.0
"""Of life: an upstream that has charged nothing for so long has nothing left to charge."""
RESTART_S = 60.0
"""Two seconds on a machine that has nothing else to do; several start together here, beside three hundred calls."""
SHORT_S = 300.0
"""A run below that has the short deck."""


def parse_args(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="in which things befall (30)")
    parser.add_argument("--in-flight", type=int, default=300, help="callers, one generation each at a time (300)")
    parser.add_argument("--speed", type=float, default=1.0, help="divides every time of life (1)")
    parser.add_argument("--every", type=float, default=10.0, help="mean seconds from one fault to the next (10)")
    parser.add_argument("--outage", type=float, default=60.0, help="longest seconds without a database (60)")
    parser.add_argument("--grace", type=float, default=0.0, help="seconds of a drain; 0: 300 of life")
    parser.add_argument("--concurrency", type=int, default=0, help="of each credential; 0: nine tenths are enough")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (0)")
    parser.add_argument("--old", default="", help="sources of the other release: a path, or a git ref; the same")
    parser.add_argument("--work", type=Path, help="folder on a real disk for all data; a temporary one")
    parser.add_argument("--keep", action="store_true", help="leave data and logs where they are")
    parser.add_argument("--out", type=Path, default=HERE / "results/chaos.json", help="the results")
    parser.add_argument("--readme", action="store_true", help="put the figures into README.md")
    args = parser.parse_args(words)
    args.seconds = args.minutes * 60.0
    args.grace = args.grace or 300.0 / args.speed
    if args.concurrency <= 0:
        # A third of the callers have the credential of the queue, the others share two.
        args.concurrency = max(2, round(args.in_flight * 0.3))
    return args


def trees_of(old: str, folder: Path) -> tuple[Path, ...]:
    """Give the sources of both releases, the new one first."""
    if not old:
        return (PROJECT, PROJECT)
    if Path(old).is_dir():
        return (PROJECT, Path(old).resolve())
    tree = folder / "old"
    tree.mkdir()
    archive = subprocess.run(["git", "archive", old, "src"], cwd=PROJECT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive, check=True)
    return (PROJECT, tree)


class Play:
    """One run."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args = args
        self.folder = folder
        self.samples: list[dict[str, float | None]] = []
        self.open_at_once: dict[str, int] = {}
        self.facts: dict[str, Any] = {}

    async def run(self) -> checks.Verdict:
        """Start everything, let it happen, come to rest, judge."""
        async with AsyncExitStack() as stack:
            await self._start(stack)
            await self._happen()
            await self._rest()
            return await self._judge()

    async def _start(self, stack: AsyncExitStack) -> None:
        args, folder = self.args, self.folder
        began_at = time.monotonic()
        server = object_server()
        (folder / "weed").mkdir()
        self.database, self.objects, self.simulator = await asyncio.gather(
            asyncio.to_thread(Postgres, folder / "postgres"),
            asyncio.to_thread(server.ObjectServer, folder / "weed"),
            asyncio.to_thread(Simulator, folder, speed=args.speed, seed=args.seed),
        )
        stack.callback(self.simulator.stop)
        stack.callback(self.objects.kill)
        stack.callback(lambda: self.database.stop(is_crash=True))
        await asyncio.to_thread(self.objects.make_bucket, "images")
        await self.database.make()
        plan = Plan(
            folder=folder / "replicas",
            speed=args.speed,
            concurrency=args.concurrency,
            secret=new_secret(),
            objects={"access_key_id": server.KEY_ID, "secret_access_key": server.SECRET},
            blobs="s3://images/chaos",
            grace_s=args.grace,
            trees=trees_of(args.old, folder),
            to={
                "database": self.database.socket,
                "objects": self.objects.port,
                "upstream": self.simulator.port,
            },
        )
        self.cluster = Cluster(plan)
        stack.push_async_callback(self.cluster.close)
        await self.cluster.start()
        ports = [each.port for each in self.cluster.of("serve")]
        self.front = await asyncio.to_thread(Nginx, folder / "nginx", ports)
        stack.callback(self.front.stop)
        url = f"http://{HOST}:{self.front.port}"
        self.crowd = Crowd(url, self.cluster.key, speed=args.speed, seed=args.seed, size=args.in_flight)
        stack.push_async_callback(self.crowd.close)
        self.ear = Ear()
        await self.ear.start(free_ports(1)[0])
        stack.push_async_callback(self.ear.close)
        await self.ear.ask_for(self.crowd.front)
        self.at_first = {each.name: evidence.held_by(each) for each in self.cluster.replicas.values()}
        self.facts["start_s"] = time.monotonic() - began_at
        self.cluster.began_at, self.began_at = time.monotonic(), time.time()

    async def _happen(self) -> None:
        args = self.args
        deck = weather.SHORT_DECK if args.seconds < SHORT_S else weather.DECK
        faults = weather.schedule(
            args.seed, args.seconds, self.cluster.replicas, every_s=args.every, outage_s=args.outage, deck=deck
        )
        self.deeds = Deeds(self.cluster, self.database, self.objects)
        self._sampling = asyncio.create_task(self._sample(), name="samples")
        asking = asyncio.create_task(self.crowd.run(min(30.0, args.seconds / 10)), name="crowd")
        try:
            await self.deeds.run(faults)
            await asyncio.sleep(max(0.0, args.seconds - self.cluster.clock()))
            self.crowd.stop()
            self.facts["calm_at_s"] = self.cluster.clock()
            await asking
        finally:
            asking.cancel()

    async def _sample(self) -> None:
        """Look every few seconds how much is in flight; a database that is away tells nothing."""
        open_ = "SELECT count(*) FROM generation WHERE state IN ('queued', 'running')"
        calls = "SELECT upstream || ' ' || key_number AS credential, count(*) AS calls FROM attempt "
        calls += "WHERE state IN ('sent', 'polling') GROUP BY 1"
        while True:
            seen, in_flight = None, 0
            with suppress(*evidence.AWAY):
                raw = await evidence.connected(self.database)
                try:
                    for row in await raw.fetch(calls):
                        in_flight += row["calls"]
                        known = self.open_at_once.get(row["credential"], 0)
                        self.open_at_once[row["credential"]] = max(known, row["calls"])
                    seen = await raw.fetchval(open_)
                finally:
                    raw.terminate()
            self.samples.append(
                {
                    "at_s": round(self.cluster.clock(), 1),
                    "open": seen,
                    "calls": None if seen is None else in_flight,
                    "callers": self.crowd.active,
                    "ended": len(self.crowd.told),
                    "images": sum(each.end == "image" for each in self.crowd.told),
                }
            )
            await asyncio.sleep(SAMPLE_S)

    async def _rest(self) -> None:
        """Wait until nothing goes on, fetch what nobody has, and end."""
        replicas = list(self.cluster.replicas.values())
        for each in replicas:
            if not await each.is_ready():
                self.deeds.problems.append(f"{each.name} does not come up: {each.log.read_text('utf-8')[-800:]}")
        self.facts["left"] = await evidence.quiet(self.database, replicas, QUIET_S / self.args.speed)
        self.facts["rested_at_s"] = self.cluster.clock()
        await self._journal()
        rows = await evidence.read_rows(self.database)
        held = {each.sha256 for each in self.crowd.told if each.end == "image"}
        ids = {row["generation_id"] for row in rows["blob"] if row["sha256"] not in held}
        self.fetched = await fetch_kept(self.crowd.front, sorted(ids))
        self.at_last = {each.name: evidence.held_by(each) for each in replicas}
        self._sampling.cancel()
        await self.cluster.stop()
        self.facts["exits"] = {each.name: each.starts[-1].ended for each in replicas}

    async def _journal(self) -> None:
        """Wait until the journal is complete: a call that nobody waits for any more is charged all the same."""
        until = self.cluster.clock() + JOURNAL_S / self.args.speed
        while True:
            self.journal = evidence.journal_of(await asyncio.to_thread(self.simulator.charges))
            rows = await evidence.read_rows(self.database)
            sent = [(row["idempotency_key"], row["sent_at"]) for row in rows["attempt"] if row["state"] == "unknown"]
            known = {each.key for each in self.journal}
            now = time.time()
            waiting = [
                at
                for key, at in sent
                if key not in known and now - evidence.seconds_of(at) < JOURNAL_S / self.args.speed
            ]
            if not waiting or self.cluster.clock() > until:
                return
            await asyncio.sleep(1.0)

    async def _judge(self) -> checks.Verdict:
        args, replicas = self.args, list(self.cluster.replicas.values())
        rows = await evidence.read_rows(self.database)
        workers, words, internal = evidence.read_logs(replicas, self.cluster.key)
        accounts, audit = await asyncio.to_thread(evidence.audited, self.database.dsn)
        keys = await asyncio.to_thread(evidence.objects_in, self.objects, "chaos")
        rest = {
            each.name: {**self.at_last[each.name], "files_at_first": self.at_first[each.name].get("files", 0)}
            for each in replicas
        }
        found = evidence.Evidence(
            generations=evidence.generations_of(rows, workers),
            journal=self.journal,
            told=self.crowd.told,
            accounts=accounts,
            audit=audit,
            hooked=self.ear.told,
            undelivered=len(rows["undelivered"]),
            objects=keys,
            spooled=evidence.left_in(replicas),
            fetched=self.fetched,
            indiscreet=words,
            internal=internal,
            rest=rest,
            open_at_once=self.open_at_once,
        )
        limits = checks.Limits(concurrency=args.concurrency, late_s=args.outage + 60.0, restart_s=RESTART_S)
        troubles = self._troubles()
        verdict = checks.judge(found, limits, troubles, self._restarts_s())
        for problem in [*self.deeds.problems, *self.facts["left"]]:
            verdict.broken["I1"].append(f"{problem} when all should have come to rest")
        verdict.figures["takeovers_s"] = checks.takeovers_s(found, troubles)
        if args.keep:
            told = "\n".join(json.dumps(asdict(each)) for each in self.crowd.told)
            (self.folder / "told.jsonl").write_text(told + "\n", "utf-8")
        return verdict

    def _troubles(self) -> list[checks.Trouble]:
        names = ("kind", "target", "peer")
        return [
            checks.Trouble(
                **{name: each[name] for name in names},
                from_s=self.began_at + each["from_s"],
                to_s=self.began_at + each["to_s"],
            )
            for each in self.deeds.done
        ]

    def _restarts_s(self) -> dict[str, list[float]]:
        """Give how long starts took while nothing that a start needs was away."""
        away = [
            (each["from_s"] - 1.0, each["to_s"] + 5.0)
            for each in self.deeds.done
            if each["kind"].startswith(("database", "objects", "partition", "freeze"))
        ]
        return {
            each.name: [
                start.ready_s
                for start in each.starts
                if start.ready_s is not None
                and not any(low < start.at_s + start.ready_s and start.at_s < high for low, high in away)
            ]
            for each in self.cluster.replicas.values()
        }


def record_of(args: argparse.Namespace, play: Play, verdict: checks.Verdict) -> dict[str, Any]:
    """Put everything down."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF)]
    children, own = (each.ru_utime + each.ru_stime for each in used)
    starts = [asdict(start) for each in play.cluster.replicas.values() for start in each.starts]
    usual = parse_args([])
    names = ("minutes", "in_flight", "speed", "every", "outage", "seed", "old")
    words = [
        f"--{name.replace('_', '-')} {getattr(args, name)}"
        for name in names
        if getattr(args, name) != getattr(usual, name)
    ]
    if args.grace * args.speed != usual.grace:
        words.append(f"--grace {args.grace:g}")
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python lab/chaos/run.py", *words]),
        "machine": machine.describe(PROJECT),
        "options": {name: getattr(args, name) for name in (*names, "concurrency", "grace")},
        "seconds": play.facts.get("calm_at_s"),
        "facts": play.facts,
        "faults": play.deeds.done,
        "starts": starts,
        "restarts_s": play._restarts_s(),
        "cpu_s": {"cluster": children, "callers and lines": own},
        "figures": verdict.figures,
        "broken": {name: found[: checks.SHOWN] for name, found in verdict.broken.items()},
        "broken_count": {name: len(found) for name, found in verdict.broken.items()},
        "not_seen": dict(checks.NOT_SEEN),
        "samples": play.samples,
    }


def main(words: Sequence[str] | None = None) -> int:
    """Run, tell, keep; 1 when something is broken."""
    args = parse_args(words)
    # Whoever ends this ends what it has started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    orders.warm()
    folder = Path(tempfile.mkdtemp(prefix="holdfast-chaos-", dir=args.work))
    # PostgreSQL's user has to come by.
    folder.chmod(0o755)
    play = Play(args, folder)
    os.environ["NO_PROXY"] = "*"
    try:
        verdict = uvloop.run(play.run())
    finally:
        if args.keep:
            print(f"data and logs are in {folder}")
        else:
            subprocess.run(["rm", "-rf", str(folder)], check=True)
    record = record_of(args, play, verdict)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(report.of(record))
    print(f"\nwritten to {args.out}")
    if args.readme:
        page = HERE / "README.md"
        page.write_text(report.with_result(page.read_text("utf-8"), record), "utf-8")
    return 1 if any(record["broken_count"].values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
