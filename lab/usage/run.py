"""How long a month of a million generations takes to be told, and what it costs to keep its roll-ups.

.venv/bin/python lab/usage/run.py                        # writes results/usage.json
.venv/bin/python lab/usage/run.py --generations 50000    # a short look; writes nothing
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

from holdfast.ledger import postings
from holdfast.store.bookkeeping import Booking
from holdfast.store.queries import migrations, schema
from holdfast.store.reading import snapshot
from holdfast.store.records import GenerationRow
from holdfast.store.usage import count_end
from holdfast.store.usage_report import usage_report
from holdfast.wire.usage import By, UsageQuery, render_usage, usage_csv

HERE = Path(__file__).resolve().parent
SEED, KEYS, ROUNDS = 1, 200, 5
MONTH = datetime(2026, 11, 1, tzinfo=UTC)
SECONDS = 30 * 86_400
MODELS = ("nano-banana-pro", "nano-banana-2", "gpt-image-2", "seedream-4.5")
UPSTREAMS = ("google", "relay", "vertex")
TIERS = ("1K", "2K", "4K")
PRICE, LIST = 300_000, 240_000
REFUSED = '{"code":"content_refused","message":"declined","charge":"no"}'
FAILED = '{"code":"upstream_failed","message":"failed","charge":"no"}'
ENDS = (("succeeded", None, 92), ("failed", REFUSED, 4), ("failed", FAILED, 3), ("cancelled", None, 1))
COLUMNS = (
    *("id", "key_id", "surface", "model", "tier", "size", "n", "state", "parts", "parts_open", "deadline_at"),
    *("created_at", "finished_at", "currency", "unit_micros", "held_micros", "charged_micros", "failure", "served_by"),
)
QUERIES = {
    "by day": (By.DAY,),
    "by key": (By.KEY,),
    "by model and size": (By.MODEL, By.SIZE),
    "by day, key and outcome": (By.DAY, By.KEY, By.OUTCOME),
    "by everything": tuple(By),
}


def generations(count: int) -> Iterator[tuple[GenerationRow, str]]:
    """Make ended generations, evenly over the month, few keys asking for most of them; and the upstream of each."""
    chance = random.Random(SEED)
    ends = [(state, told) for state, told, share in ENDS for _ in range(share)]
    weights = [1 / (place + 1) for place in range(KEYS)]
    keys = chance.choices([f"key_{place:03d}" for place in range(KEYS)], weights, k=count)
    for number in range(count):
        at = (MONTH + timedelta(seconds=number * SECONDS / count)).isoformat(timespec="milliseconds")[:-6] + "Z"
        state, told = chance.choice(ends)
        upstream = chance.choices(UPSTREAMS, (70, 20, 10))[0]
        charged = PRICE if state == "succeeded" else 0
        yield _row(number, keys[number], chance, at, state, told, upstream, charged), upstream


def _row(
    number: int, key: str, chance: random.Random, at: str, state: str, told: str | None, upstream: str, charged: int
) -> GenerationRow:
    return GenerationRow(
        id=f"gen_{number:026d}",
        key_id=key,
        surface="openai",
        model=chance.choices(MODELS, (60, 20, 15, 5))[0],
        tier=chance.choices(TIERS, (50, 30, 20))[0],
        size="1024x1024",
        n=1,
        request=None,
        state=state,
        epoch=1,
        drive=0,
        parts=1,
        parts_open=0,
        cancel_requested=0,
        deadline_at=at,
        hard_deadline=0,
        created_at=at,
        started_at=at,
        finished_at=at,
        answered_at=at,
        collected_at=at,
        purge_after=at,
        currency="USD",
        unit_micros=PRICE,
        held_micros=PRICE,
        charged_micros=charged,
        partial_result=0,
        late=0,
        failure=told,
        sequence_number=4,
        list_micros=LIST,
        compensated_micros=0,
        served_by=upstream,
    )


def fill(path: Path, count: int) -> float:
    """Write them, rows and roll-ups, as their ends would; give the CPU time that the roll-ups took, seconds."""
    took_s = 0.0
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        conn.row_factory = sqlite3.Row
        conn.execute("PRAGMA journal_mode = WAL")
        conn.executescript(f"{schema()}PRAGMA user_version = {len(migrations())};")
        conn.execute("BEGIN")
        for key in range(KEYS):
            label = {"id": f"key_{key:03d}", "label": f"Team {key}", "at": "2026-11-01T00:00:00.000Z"}
            conn.execute("INSERT INTO api_key (id, label, created_at) VALUES (:id, :label, :at)", label)
        names = ", ".join(f":{name}" for name in COLUMNS)
        insert = f"INSERT INTO generation ({', '.join(COLUMNS)}) VALUES ({names})"
        for row, upstream in generations(count):
            conn.execute(insert, {name: getattr(row, name) for name in COLUMNS})
            moves = (postings.capture(row.key_id, held_micros=PRICE, micros=row.charged_micros),)
            costs = (postings.cost(upstream, LIST),) if row.charged_micros else ()
            booking = Booking(attempt_id="att", transactions=costs, upstream=upstream)
            began = time.thread_time()
            count_end(conn, row, moves, booking, images=int(row.state == "succeeded"))
            took_s += time.thread_time() - began
        conn.execute("COMMIT")
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return took_s


def timed(work: Callable[[], Any]) -> tuple[dict[str, float], Any]:
    """Run it some times; give the medians of seconds by the clock and on the CPU, and what it gave."""
    clock, cpu = [], []
    for _ in range(ROUNDS):
        began, began_cpu = time.perf_counter(), _cpu_s()
        given = work()
        clock.append(time.perf_counter() - began)
        cpu.append(_cpu_s() - began_cpu)
    return {"s": round(median(clock), 4), "cpu_s": round(median(cpu), 4)}, given


def _cpu_s() -> float:
    """Of this process, and of those that it has run."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def reports(folder: Path) -> dict[str, Any]:
    """Time each query from an open file to JSON and CSV, and the command as a whole."""
    told: dict[str, Any] = {}
    first, last = MONTH.date(), (MONTH + timedelta(days=29)).date()

    def ask(by: tuple[By, ...], spell: Callable[[Any], Any]) -> int:
        with snapshot(folder) as conn:
            report = usage_report(conn, UsageQuery(since=first, until=last, by=by))
        spell(report)
        return len(report.rows)

    for name, by in QUERIES.items():
        seconds, rows = timed(lambda by=by: ask(by, render_usage))  # type: ignore[misc]  # the query of this turn
        told[name] = {"rows": rows, "json": seconds}
        told[name]["csv"] = timed(lambda by=by: ask(by, usage_csv))[0]  # type: ignore[misc]
    words = [sys.executable, "-m", "holdfast.cli.main", "usage", "--data", str(folder), "--csv"]
    words += ["--since", first.isoformat(), "--until", last.isoformat(), "--by", "day,key"]
    seconds, done = timed(lambda: subprocess.run(words, capture_output=True, check=True))
    told["command, by day and key"] = {"rows": done.stdout.count(b"\n") - 1, "csv": seconds}
    return told


def without_roll_ups(folder: Path) -> dict[str, float]:
    """Time the same question asked of the generations themselves: by day."""
    query = "SELECT substr(finished_at, 1, 10), count(*), sum(charged_micros) FROM generation GROUP BY 1"

    def ask() -> None:
        with snapshot(folder) as conn:
            conn.execute(query).fetchall()

    return timed(ask)[0]


def main() -> None:
    """Fill a folder, ask it, and write down what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generations", type=int, default=1_000_000)
    count = parser.parse_args().generations
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "holdfast.sqlite3"
        kept_s = fill(path, count)
        with snapshot(folder) as conn:
            (rows,) = conn.execute("SELECT count(*) FROM usage_day").fetchone()
            (told,) = conn.execute("SELECT sum(generations) FROM usage_day").fetchone()
        assert told == count
        result = {
            "generations": count,
            "keys": KEYS,
            "rows_of_roll_ups": rows,
            "database_bytes": path.stat().st_size,
            "keeping_cpu_us_per_generation": round(1e6 * kept_s / count, 2),
            "reports": reports(folder),
            "without_roll_ups_by_day": without_roll_ups(folder),
            "rounds": ROUNDS,
            "seed": SEED,
            "python": sys.version.split()[0],
            "sqlite": sqlite3.sqlite_version,
        }
    print(json.dumps(result, indent=1))
    if count == 1_000_000:
        (HERE / "results" / "usage.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
