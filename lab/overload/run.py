"""Overload: the same load through holdfast, through LiteLLM and through the published loop, while A turns 45 % away.

    python lab/overload/run.py [--seconds 600] [--per-s 20] [--speed 20] [--only holdfast,litellm,published]

Prints a table and the bars, and writes all of it as JSON. See README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import askers
import crowd
import parties
import reckoning
import subjects
import uvloop
from parties import HERE, HOST, MODEL

sys.path.append(str(HERE.parent / "bench"))

import machine

PROJECT = HERE.parent.parent
QUIET_S = 300.0
"""Of life: an upstream that has charged nothing for so long has nothing left to charge."""


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="real seconds over which orders come (600)")
    parser.add_argument("--per-s", type=float, default=20.0, help="orders a real second (20)")
    parser.add_argument("--speed", type=float, default=20.0, help="divides every time of life (20)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (0)")
    parser.add_argument("--only", default="holdfast,litellm,published", help="subjects, comma-separated")
    parser.add_argument("--arenas", default=",".join(parties.ARENAS), help="arenas, comma-separated")
    parser.add_argument("--work", type=Path, help="folder on a real disk for data; a temporary one")
    parser.add_argument("--out", type=Path, default=HERE / "results/overload.json", help="the results")
    parser.add_argument("--readme", action="store_true", help="put the figures into README.md")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a bar is not met")
    args = parser.parse_args()
    for given, known in ((args.only, parties.ALL), (args.arenas, parties.ARENAS)):
        unknown = set(given.split(",")) - set(known)
        if unknown:
            parser.error(f"no such thing: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return args


async def play(args: argparse.Namespace, party: parties.Party, arena: str, folder: Path) -> reckoning.Turn:
    """Give one subject its turn in one arena."""
    names = parties.ARENAS[arena]
    upstreams: list[parties.Upstream] = []
    try:
        for name in names:
            upstreams.append(await asyncio.to_thread(parties.Upstream, name, folder, speed=args.speed, seed=args.seed))
        await _warm(upstreams, args.speed)
        before = sum([await asyncio.to_thread(upstream.purchases) for upstream in upstreams])
        await party.start(folder, upstreams, args.speed)
        base_url = f"http://{HOST}:{party.port}/v1"
        front = askers.Front(base_url=base_url, key=party.key, model=MODEL, speed=args.speed)
        outcomes, lates_s = await _ask_all(args, party, front)
        purchases = await _purchases(upstreams, args.speed) - before
        return reckoning.reckon(outcomes, purchases=purchases, speed=args.speed, lates_s=lates_s)
    finally:
        await party.stop()
        for upstream in upstreams:
            await asyncio.to_thread(upstream.stop)


async def _warm(upstreams: list[parties.Upstream], speed: float) -> None:
    """Let each upstream draw its picture of this kind before anybody is timed."""
    for upstream in upstreams:
        base_url = f"http://{HOST}:{upstream.port}/v1"
        front = askers.Front(base_url=base_url, key=parties.UPSTREAM_KEY, model=MODEL, speed=speed)
        async with askers.client_of("published", front) as client:
            wanted = crowd.Wanted(number=0, at_s=0.0)
            while (await askers.published(client, front, wanted)).error is not None:
                print(f"  {upstream.name} is asked once more for its first picture", flush=True)


async def _ask_all(
    args: argparse.Namespace, party: parties.Party, front: askers.Front
) -> tuple[list[reckoning.Outcome], list[float]]:
    outcomes: list[reckoning.Outcome] = []
    lates_s: list[float] = []
    load = crowd.wanted(args.seed, per_s=args.per_s, seconds=args.seconds)
    ask = askers.ASKERS[party.asks]
    async with askers.client_of(party.asks, front) as client, asyncio.TaskGroup() as group:
        begun_at = time.monotonic()

        async def one(wanted: crowd.Wanted) -> None:
            await asyncio.sleep(max(0.0, begun_at + wanted.at_s - time.monotonic()))
            lates_s.append(time.monotonic() - begun_at - wanted.at_s)
            outcomes.append(await ask(client, front, wanted))
            if len(outcomes) % 1000 == 0:
                print(f"  {party.name}: {len(outcomes)} of {len(load)} told", flush=True)

        for wanted in load:
            group.create_task(one(wanted))
    return outcomes, lates_s


async def _purchases(upstreams: list[parties.Upstream], speed: float) -> int:
    """Read the upstreams' books once they are complete: what nobody waits for is made and charged all the same."""
    seen, changed_at = -1, time.monotonic()
    while True:
        counts = [await asyncio.to_thread(upstream.purchases) for upstream in upstreams]
        if sum(counts) != seen:
            seen, changed_at = sum(counts), time.monotonic()
        elif time.monotonic() - changed_at > QUIET_S / speed:
            return seen
        await asyncio.sleep(0.5)


def write(record: dict[str, Any], out: Path) -> None:
    """Keep what there is so far: a turn takes minutes."""
    bars = reckoning.bars_of(record["turns"])
    record["bars"] = [{"title": bar.title, "value": bar.value, "verdict": bar.verdict} for bar in bars]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(record, indent=1) + "\n")


def result_of(record: dict[str, Any]) -> str:
    """Write what goes into the README."""
    machine_ = record["machine"]
    options = record["options"]
    lines = [
        f"{record['at'][:10]}, commit {machine_['commit']}, {machine_['cores']} cores of {machine_['cpu']}: "
        f"{options['per_s']:g} orders a second for {options['seconds']:g} s at speed {options['speed']:g}, "
        f"seed {options['seed']}; {', '.join(f'{name} {version}' for name, version in record['versions'].items())}.",
        "",
        reckoning.table_of(record["turns"]),
        "",
        "| bar | holdfast | limit | verdict |",
        "|---|---|---|---|",
        *(bar.row for bar in reckoning.bars_of(record["turns"])),
    ]
    lines += [f"\nAbsent: {name}: {why}" for name, why in record["absent"].items()]
    return "\n".join(lines)


def main() -> int:
    """Let each subject play in each arena, then tell."""
    args = parse_args()
    options = {name: value for name, value in vars(args).items() if isinstance(value, int | float)}
    record: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(PROJECT),
        "options": options,
        "versions": {},
        "absent": {},
        "turns": {arena: {} for arena in args.arenas.split(",")},
    }
    work = Path(tempfile.mkdtemp(prefix="holdfast-overload-", dir=args.work))
    try:
        for arena in record["turns"]:
            for name in args.only.split(","):
                try:
                    party = parties.ALL[name]()
                    record["versions"][name] = party.version()
                    folder = work / f"{name}-{'-'.join(parties.ARENAS[arena])}"
                    folder.mkdir()
                    turn = uvloop.run(play(args, party, arena, folder))
                except subjects.SubjectError as exc:
                    record["absent"][name] = str(exc)
                    print(f"absent: {name}: {exc}", file=sys.stderr)
                    continue
                record["turns"][arena][name] = turn.as_json()
                write(record, args.out)
    finally:
        subprocess.run(["rm", "-rf", str(work)], check=True)
    write(record, args.out)
    print(result_of(record))
    if args.readme:
        page = HERE / "README.md"
        page.write_text(reckoning.with_result(page.read_text("utf-8"), result_of(record)), "utf-8")
    return 1 if args.strict and any(bar["verdict"] != "met" for bar in record["bars"]) else 0


if __name__ == "__main__":
    raise SystemExit(main())
