"""Runs seeds: one, with its history, or a range on every core, with what was covered.

scripts/simulation --seed N
scripts/simulation --seeds N [--from M] [--stop] [--keep FILE]

With `--database postgres` each has its rows in a real PostgreSQL, which is started for it.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from postgres_server import PostgresServer
from simulation.coverage import FAULTS_MIN, GENERATIONS_MIN, Tally, gaps
from simulation.database import DatabaseDisk
from simulation.disk import Disk
from simulation.world import Outcome, run_seed

CHUNK = 20
"""Seeds that one process runs at a time."""
CHUNK_ON_POSTGRES = 4
DATABASES = ("sqlite", "postgres")
FAILURES_SHOWN = 10


def folder_for_seeds() -> str:
    """A folder in memory where there is one: a seed writes some hundred small files."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and os.access(memory, os.W_OK) else tempfile.gettempdir()


def run_range(first: int, count: int, *, stop_at_failure: bool = False, make_disk: Callable[..., Disk] = Disk) -> Tally:
    """Run seeds one after the other, in this process."""
    tally = Tally()
    began_at = time.perf_counter()
    # Cycles are made by the thousand and go with their seed; looking for them meanwhile finds none. What is imported
    # stays for good, and is not looked through.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        with tempfile.TemporaryDirectory(prefix="holdfast-simulation-", dir=folder_for_seeds()) as folder:
            for seed in range(first, first + count):
                _note(tally, run_seed(seed, Path(folder), make_disk))
                gc.collect()
                if stop_at_failure and tally.failed:
                    break
    finally:
        gc.enable()
        gc.unfreeze()
    tally.seconds = time.perf_counter() - began_at
    return tally


def _note(tally: Tally, outcome: Outcome) -> None:
    tally.seeds += 1
    tally.generations += outcome.generations
    tally.lives += outcome.lives
    tally.virtual_s += outcome.virtual_s
    tally.fired.update(outcome.fired)
    tally.faults.update(outcome.faults)
    if outcome.generations < GENERATIONS_MIN or outcome.faults.total() < FAULTS_MIN:
        tally.thin.append(outcome.seed)
    if outcome.violations:
        tally.failed[outcome.seed] = [str(each) for each in outcome.violations]


def run_on_all_cores(first: int, count: int, *, cores: int | None = None, stops: bool = False) -> Iterator[Tally]:
    """Run a range; give the figures of each chunk as it is done, with `stops` none after one that failed."""
    cores = cores or os.cpu_count() or 1
    chunks = [(at, min(CHUNK, first + count - at)) for at in range(first, first + count, CHUNK)]
    # Anew each: nothing of this process, its threads and its handlers, comes along.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, mp_context=context) as pool:
        waiting: set[Future[Tally]] = set()
        failed = False
        while (chunks or waiting) and not (failed and not waiting):
            while chunks and len(waiting) < 2 * cores and not failed:
                waiting.add(pool.submit(run_range, *chunks.pop(0), stop_at_failure=stops))
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for tally in (each.result() for each in done):
                failed = failed or (stops and bool(tally.failed))
                yield tally


def run_on_postgres(first: int, count: int, *, cores: int | None = None) -> Iterator[Tally]:
    """Run a range with a database for each core; give the figures of each few seeds as they are done."""
    cores = cores or os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        server = PostgresServer()
        stack.callback(server.end)
        # A process for each database: two seeds in one would see each other.
        pools = [stack.enter_context(ProcessPoolExecutor(1, mp_context=context)) for _ in range(cores)]
        disks = [partial(DatabaseDisk, dsn=server.emptied(f"seeds_{number}")) for number in range(cores)]
        waiting = []
        for number, at in enumerate(range(first, first + count, CHUNK_ON_POSTGRES)):
            size = min(CHUNK_ON_POSTGRES, first + count - at)
            pool, disk = pools[number % cores], disks[number % cores]
            waiting.append(pool.submit(run_range, at, size, make_disk=disk))
        for each in as_completed(waiting):
            yield each.result()


def replay(seed: int, *, database: str = "sqlite") -> int:
    """Run one seed; print its history if something does not hold, and its digest in any case."""
    with ExitStack() as stack:
        make_disk: Callable[..., Disk] = Disk
        if database == "postgres":
            server = PostgresServer()
            stack.callback(server.end)
            make_disk = partial(DatabaseDisk, dsn=server.emptied("seed"))
        prefix, within = "holdfast-simulation-", folder_for_seeds()
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix, dir=within))
        outcome = run_seed(seed, Path(folder), make_disk)
    if outcome.violations:
        print(outcome.history.text(), end="")
    for violation in outcome.violations:
        print(violation)
    print(
        f"seed {seed}: {outcome.generations} generations, {outcome.lives} lives, {outcome.faults.total()} faults in "
        f"{outcome.virtual_s:.0f} virtual seconds; {len(outcome.violations)} violations; "
        f"history {outcome.history.digest()[:16]}"
    )
    return 1 if outcome.violations else 0


def run_many(
    first: int,
    count: int,
    *,
    keep: Path | None = None,
    cores: int | None = None,
    stops: bool = False,
    database: str = "sqlite",
) -> int:
    """Run a range with progress; 1 if a seed failed, or too little was covered."""
    total, began_at = Tally(), time.perf_counter()
    tallies = (
        run_on_postgres(first, count, cores=cores)
        if database == "postgres"
        else run_on_all_cores(first, count, cores=cores, stops=stops)
    )
    for tally in tallies:
        total.add(tally)
        for seed, violations in sorted(tally.failed.items()):
            if len(total.failed) <= FAILURES_SHOWN:
                print("\r", end="")
                print(failure(seed, violations, database=database), flush=True)
        if sys.stderr.isatty():
            print(f"\r{total.seeds} of {count} seeds", end="", file=sys.stderr, flush=True)
    took_s = time.perf_counter() - began_at
    missing = [] if stops and total.failed else gaps(total)
    for each in missing:
        print(each)
    print(
        f"{total.seeds} seeds from {first}: {len(total.failed)} failed, {total.generations} generations, {total.lives} "
        f"lives, {total.faults.total()} faults, {took_s:.1f} s ({1000 * took_s / max(1, total.seeds):.1f} ms a seed)"
    )
    if keep is not None:
        keep.write_text(json.dumps(figures(total, first, took_s), indent=1) + "\n")
    return 1 if total.failed or missing else 0


def failure(seed: int, violations: Sequence[str], *, database: str = "sqlite") -> str:
    """Say what failed, and how to see it again."""
    where = "" if database == "sqlite" else f" --database {database}"
    return (
        f"seed {seed}: {violations[0]}"
        + (f" (and {len(violations) - 1} more)" if len(violations) > 1 else "")
        + f"\n  scripts/simulation --seed {seed}{where}"
    )


def figures(total: Tally, first: int, took_s: float) -> dict[str, object]:
    """What is kept of a run."""
    commit = subprocess.run(
        ("git", "rev-parse", "--short=12", "HEAD"),
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return {
        "commit": commit.stdout.strip(),
        "first_seed": first,
        "seeds": total.seeds,
        "failed_seeds": sorted(total.failed),
        "wall_s": round(took_s, 1),
        "ms_a_seed": round(1000 * took_s / max(1, total.seeds), 1),
        "cores": os.cpu_count(),
        "generations": total.generations,
        "lives": total.lives,
        "virtual_s": round(total.virtual_s),
        "points_fired": dict(sorted(total.fired.items())),
        "faults_fired": dict(sorted(total.faults.items())),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="scripts/simulation", description="Run the gateway under seeded faults.")
    parser.add_argument("--seed", type=int, help="replay one seed, and print its history if it fails")
    parser.add_argument("--seeds", type=int, default=1000, help="how many to run")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first of them")
    parser.add_argument("--cores", type=int, help="processes; all cores by default")
    parser.add_argument("--stop", action="store_true", help="end at the first seed that fails")
    parser.add_argument("--keep", type=Path, help="write the figures to this file")
    parser.add_argument("--database", choices=DATABASES, default="sqlite", help="where its rows are")
    asked = parser.parse_args(arguments)
    if asked.seed is not None:
        return replay(asked.seed, database=asked.database)
    return run_many(
        asked.first, asked.seeds, keep=asked.keep, cores=asked.cores, stops=asked.stop, database=asked.database
    )
