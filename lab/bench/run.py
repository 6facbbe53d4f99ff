"""The bench: nothing, nginx, LiteLLM and holdfast side by side, on one machine, in one run.

    python lab/bench/run.py [--quick] [--rounds 5] [--only 4k-1,storm] [--subjects holdfast,litellm] [--out FILE]

Writes every round and the medians as JSON, prints a table for each scenario and one of all bars. See README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bars
import durable
import installed
import machine
import pictures
import scenarios
from subjects import DESCRIPTORS, HERE, LITELLM_VENV, Subject, SubjectError, all_subjects

PROJECT = HERE.parent.parent
SCENARIOS = (
    "4k-1",
    "4k-8",
    "memory",
    "storm",
    "crowd",
    "overhead",
    "start",
    "install",
    "repeats",
    "restart",
    "waiting",
)
TITLES = {
    "4k-1": "4K (20.25 MB image, 27 MB JSON), 1 caller",
    "4k-8": "4K (20.25 MB image, 27 MB JSON), 8 callers",
    "memory": "32 callers, one 4K each, at once",
    "storm": "requests held, then answers of 1.5 MB due at once",
    "crowd": "as many held as descriptors allow, then answers of 1.5 MB due at once",
    "overhead": "from the caller's send to the upstream's receipt, 20 requests a second",
    "start": "from the command to the first complete answer",
    "install": "what an installation brings",
    "repeats": "joining, replay and status reads beside held requests, 200 a second of each alone",
    "restart": "killed with so many generations open, and started again on the same folder",
    "waiting": "generations that wait, without connections",
}
# Held connections: LiteLLM accepts about a hundred a second; ten thousand would tell of nothing but that.
CROWD = ("direct", "nginx-unbuffered", "holdfast")


def parse_args() -> argparse.Namespace:
    """Read the command line; `--quick` changes defaults only."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round, fewer held: to see that all works")
    parser.add_argument("--rounds", type=int, help="of each scenario (5)")
    parser.add_argument("--storm-rounds", type=int, help="of the storm (3)")
    parser.add_argument("--crowd-rounds", type=int, help="of the crowd (1)")
    parser.add_argument("--seconds", type=float, help="of each throughput measurement (5)")
    parser.add_argument("--hold-s", type=float, help="how long requests are held before their answers fall due (30)")
    parser.add_argument("--storm", type=int, help="requests held in the storm (2000)")
    parser.add_argument("--crowd", type=int, help="requests held in the crowd (9800)")
    parser.add_argument("--open", type=int, help="generations open at the restart, and waiting (5000)")
    parser.add_argument("--only", default=",".join(SCENARIOS), help="scenarios, comma-separated")
    parser.add_argument("--subjects", default="", help="subjects, comma-separated; all that run here")
    parser.add_argument("--holdfast", type=Path, default=Path(sys.executable).with_name("holdfast"), help="its program")
    parser.add_argument("--work", type=Path, help="folder on a real disk for data; a temporary one")
    parser.add_argument("--out", type=Path, default=HERE / "results/bench.json", help="the results")
    parser.add_argument("--seed", type=int, default=0, help="of the pictures' noise")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a bar is not met")
    parser.add_argument("--install-litellm", action="store_true", help="make LiteLLM's environment, and end")
    args = parser.parse_args()
    usual = {
        "rounds": 5,
        "storm_rounds": 3,
        "crowd_rounds": 1,
        "seconds": 5.0,
        "hold_s": 30.0,
        "storm": 2000,
        "crowd": 9800,
        "open": 5000,
    }
    quick = {
        "rounds": 1,
        "storm_rounds": 1,
        "crowd_rounds": 1,
        "seconds": 2.0,
        "hold_s": 3.0,
        "storm": 200,
        "crowd": 500,
        "open": 500,
    }
    for name, value in (quick if args.quick else usual).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    unknown = set(args.only.split(",")) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    return args


def descriptors(wanted: int) -> int:
    """Raise the descriptor limit as far as it goes; a gateway needs two for a held request."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return limit


def choose(args: argparse.Namespace) -> tuple[dict[str, Subject], dict[str, str], dict[str, str]]:
    """Give the subjects that run here, their versions, and why the others do not."""
    every = all_subjects(args.holdfast)
    wanted = args.subjects.split(",") if args.subjects else list(every)
    chosen, versions, absent = {}, {}, {}
    for name in wanted:
        if name not in every:
            raise SystemExit(f"no such subject: {name}; there are {', '.join(every)}")
        try:
            versions[name] = every[name].version()
            chosen[name] = every[name]
        except SubjectError as exc:
            absent[name] = str(exc)
            print(f"absent: {name}: {exc}", file=sys.stderr)
    return chosen, versions, absent


class Run:
    """Goes through rounds and subjects, one cell at a time, and keeps what they give."""

    def __init__(self, args: argparse.Namespace, bench: scenarios.Bench, subjects: dict[str, Subject]) -> None:
        self.args = args
        self.bench = bench
        self.subjects = subjects
        self.results: bars.Results = {}
        self.failed: list[str] = []

    def interleaved(
        self, scenario: str, rounds: int, cell: Callable[[Subject], dict[str, Any]], names: list[str]
    ) -> None:
        """Run a scenario: each round visits every subject, beginning with another one each time."""
        if scenario not in self.args.only.split(",") or not names:
            return
        rows = self.results[scenario] = {name: [] for name in names}
        for index in range(rounds):
            for name in [*names[index % len(names) :], *names[: index % len(names)]]:
                begun_at = time.monotonic()
                try:
                    row = cell(self.subjects[name])
                except SubjectError as exc:
                    self.failed.append(f"{scenario}, {name}, round {index + 1}: {exc}")
                    print(f"FAILED {self.failed[-1]}", file=sys.stderr)
                    continue
                rows[name].append(row)
                shown = " ".join(f"{key}={_short(value)}" for key, value in row.items() if key != "packages")
                print(
                    f"{scenario} {index + 1}/{rounds} {name} [{time.monotonic() - begun_at:.0f} s] {shown}", flush=True
                )

    def all(self) -> None:
        """Every scenario, in order."""
        args, bench, between = self.args, self.bench, [name for name in self.subjects if name != "direct"]
        names = list(self.subjects)
        for callers in (1, 8):
            self.interleaved(
                f"4k-{callers}", args.rounds, lambda s, c=callers: scenarios.throughput(bench, s, c), names
            )
        self.interleaved("memory", args.rounds, lambda s: scenarios.memory(bench, s), between)
        self.interleaved("storm", args.storm_rounds, lambda s: scenarios.storm(bench, s, args.storm), names)
        crowd = [name for name in names if name in CROWD]
        self.interleaved("crowd", args.crowd_rounds, lambda s: scenarios.storm(bench, s, args.crowd), crowd)
        seconds = 5 if args.quick else 20
        self.interleaved("overhead", args.rounds, lambda s: scenarios.overhead(bench, s, seconds), names)
        self.interleaved("start", args.rounds, lambda s: scenarios.start(bench, s), between)
        weighed = [name for name in ("litellm", "holdfast") if name in self.subjects]
        self.interleaved("install", 1, self.weigh, weighed)
        # Nobody else knows a repeat, or has anything to take up.
        ours = [name for name in names if name == bars.US]
        held = args.storm // 2
        self.interleaved("repeats", args.storm_rounds, lambda s: durable.repeats(bench, s, held, seconds), ours)
        self.interleaved("restart", args.storm_rounds, lambda s: durable.restart(bench, s, args.open), ours)
        self.interleaved("waiting", args.storm_rounds, lambda s: durable.waiting(bench, s, args.open), ours)

    def weigh(self, subject: Subject) -> dict[str, Any]:
        """What installing a subject brings."""
        if subject.name == "litellm":
            return installed.weigh(LITELLM_VENV)
        return installed.measure(PROJECT, self.bench.work)


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def report(run: Run, record: dict[str, Any]) -> list[bars.Bar]:
    """Print the tables and write the results."""
    titles = {name: subject.title for name, subject in run.subjects.items()}
    for scenario in run.results:
        print(f"\n### {TITLES[scenario]}\n\n{bars.scenario_table(run.results, scenario, titles)}")
    verdicts = bars.all_bars(run.results)
    print(f"\n### Bars\n\n{bars.bars_table(verdicts)}")
    for line in (*(f"absent: {name}: {why}" for name, why in record["absent"].items()), *run.failed):
        print(line)
    record["bars"] = [{**asdict(bar), "verdict": bar.verdict} for bar in verdicts]
    record["results"] = run.results
    record["failed"] = run.failed
    run.args.out.parent.mkdir(parents=True, exist_ok=True)
    run.args.out.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nwritten to {run.args.out}")
    return verdicts


def main() -> int:
    """Run the bench."""
    args = parse_args()
    if args.install_litellm:
        installed.install_litellm()
        return 0
    limit = descriptors(DESCRIPTORS)
    if args.crowd * 2 + 200 > limit:
        args.crowd = (limit - 200) // 2
        print(f"the descriptor limit is {limit}: the crowd is {args.crowd}", file=sys.stderr)
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("one core only: nothing is pinned, and figures will be worse", file=sys.stderr)
    subjects, versions, absent = choose(args)
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-", dir=args.work) as work:
        bench = scenarios.Bench(
            work=Path(work),
            gateway_core=cores[0] if len(cores) > 1 else None,
            other_core=cores[1] if len(cores) > 1 else None,
            seconds=args.seconds,
            hold_s=args.hold_s,
        )
        pictures.make(bench.pictures, args.seed)
        record = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": f"python lab/bench/run.py {' '.join(sys.argv[1:])}".strip(),
            "machine": machine.describe(PROJECT),
            "versions": versions,
            "absent": absent,
            "options": {name: value for name, value in vars(args).items() if isinstance(value, int | float)},
        }
        run = Run(args, bench, subjects)
        try:
            run.all()
        except KeyboardInterrupt:
            print("\nstopped; what there is follows", file=sys.stderr)
        verdicts = report(run, record)
    return 1 if args.strict and any(bar.verdict != "met" for bar in verdicts) else 0


if __name__ == "__main__":
    raise SystemExit(main())
