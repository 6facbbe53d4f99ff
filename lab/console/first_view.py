"""How long the console's first view takes, over a data folder with many generations.

    python lab/console/first_view.py [--generations 100000] [--all-day] [--out results/first_view.json]

Writes a data folder in the schema that ships, row by row as the gateway has them, then starts a gateway in it and asks
on a socket as a browser does. `cpu_ms` is what gateway and asking together worked for, whoever else uses the machine.
`--all-day` puts every generation into the last 24 hours, which is the worst case: all of them are added up; otherwise
they are spread over a month.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from holdfast.clock import rfc3339, ulid
from holdfast.config import parse
from holdfast.gateway.serve import serve
from holdfast.gateway.server import Running

PATHS = (
    "/admin/v1/overview",
    "/admin/v1/generations",
    "/admin/v1/generations?limit=100",
    "/admin/v1/generations?status=failed",
    "/admin/v1/generations?model=seedream-4",
    "/admin/v1/generations?status=succeeded&collected=false",
    "/admin/v1/failures?by=hour",
    "/admin/v1/latency",
    "/admin/v1/exposure",
    "/admin/v1/upstreams",
    "/admin/v1/settings",
    "/admin/v1/audit",
)
ROUNDS = 15
KINDS = ("rate_limited", "overloaded", "refused_output", "server_fault", "lost_reply")
REQUEST = {
    "surface": "openai",
    "model": "nano-banana-pro",
    "prompt": "a lighthouse in the fog, oil on canvas, " * 12,
    "geometry": {"tier": "2K", "aspect_ratio": "1:1", "width_px": 2048, "height_px": 2048},
}


def columns(conn: sqlite3.Connection, table: str, row: dict[str, Any]) -> str:
    """Write the statement that inserts rows with these columns."""
    names = ", ".join(row)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join(':' + name for name in row)})"


def rows_of(number: int, at: datetime, chance: random.Random) -> tuple[dict[str, Any], ...]:
    """Make a generation with its attempt, image and events: one in five failed, one in ten never collected."""
    unix_ms = int(at.timestamp() * 1000)
    id_ = f"gen_{ulid(unix_ms, number.to_bytes(10))}"
    failed = chance.random() < 0.2
    kind = chance.choice(KINDS)
    ended = at + timedelta(seconds=chance.lognormvariate(4.2, 0.6))
    failure = {"code": "upstream_failed", "message": "google answered 500: " + "x" * 120, "charge": "no", "kind": kind}
    told = {"kind": kind, "phase": "wait", "charge": "no", "detail": "google answered 500: " + "x" * 120}
    generation = {
        "id": id_,
        "key_id": f"key_{chance.randrange(20):026d}",
        "surface": "openai",
        "model": chance.choice(("nano-banana-pro", "gpt-image-2", "nano-banana-pro", "seedream-4")),
        "tier": chance.choice(("1K", "2K", "4K")),
        "size": "2048x2048",
        "n": 1,
        "request": json.dumps(REQUEST).encode(),
        "state": "failed" if failed else "succeeded",
        "parts": 1,
        "parts_open": 0,
        "deadline_at": rfc3339(at + timedelta(seconds=300)),
        "created_at": rfc3339(at),
        "started_at": rfc3339(at),
        "finished_at": rfc3339(ended),
        "collected_at": None if failed or chance.random() < 0.1 else rfc3339(ended),
        "currency": "USD",
        "unit_micros": 134_000,
        "held_micros": 134_000,
        "charged_micros": 0 if failed else 134_000,
        "failure": json.dumps(failure) if failed else None,
        "sequence_number": 3,
    }
    attempt = {
        "id": f"att_{ulid(unix_ms, number.to_bytes(10))}",
        "generation_id": id_,
        "part": 0,
        "drive": 0,
        "number": 1,
        "epoch": 0,
        "upstream": "google",
        "provider": "gemini",
        "model": "gemini-3-pro-image",
        "idempotency_key": id_,
        "state": "rejected" if failed else "settled",
        "charge": "no" if failed else "yes",
        "sent_at": rfc3339(at),
        "ended_at": rfc3339(ended),
        "failure": json.dumps(told) if failed else None,
        "estimated_micros": 134_000,
        "answer": b"x" * 600,
    }
    blob = {
        "id": f"img_{ulid(unix_ms, number.to_bytes(10))}",
        "generation_id": id_,
        "attempt_id": attempt["id"],
        "part": 0,
        "position": 0,
        "kind": "result",
        "store_key": f"blobs/{id_}.png",
        "sha256": "0" * 64,
        "bytes": 9_000_000,
        "mime": "image/png",
        "width_px": 2048,
        "height_px": 2048,
    }
    return (generation, attempt) if failed else (generation, attempt, blob)


def fill(path: Path, count: int, span: timedelta, seed: int) -> None:
    """Write the rows, oldest first."""
    chance, now = random.Random(seed), datetime.now(UTC)
    tables = ("generation", "attempt", "blob")
    with sqlite3.connect(path) as conn:
        conn.execute("PRAGMA synchronous = OFF")
        for key in range(20):
            conn.execute(
                "INSERT INTO api_key (id, label, created_at) VALUES (?, ?, ?)",
                (f"key_{key:026d}", f"team {key}", rfc3339(now)),
            )
        for number in range(count):
            at = now - span * (1 - number / count)
            for table, row in zip(tables, rows_of(number, at, chance), strict=False):
                conn.execute(columns(conn, table, row), row)


def settings_of(data: Path) -> dict[str, Any]:
    """Write settings that serve what the rows name; nothing is bought."""
    upstream = {"name": "google", "provider": "gemini", "base_url": "http://127.0.0.1:9", "keys": ["k"]}
    routes = [
        {"model": model, "upstreams": [{"upstream": "google", "model": model}]}
        for model in ("nano-banana-pro", "gpt-image-2", "seedream-4")
    ]
    price = {"micros": {"1K": 1, "2K": 1, "4K": 1}, "source": "none", "valid_from": "2026-01-01"}
    return {
        "server": {"port": 0, "held_max": 200_000},
        "store": {"data": str(data), "free_bytes_margin": 0},
        "upstreams": [upstream],
        "routes": routes,
        "prices": [{"model": "seedream-4", **price}, {"model": "gpt-image-2", **price}],
    }


@contextlib.asynccontextmanager
async def serving(data: Path, keys: list[str]) -> AsyncIterator[str]:
    """Serve the folder; give the address. A key that is made at the start is put into `keys`."""
    ready: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
    work = serve(parse(settings_of(data)), environ={}, ready=ready.set_result, tell_first_key=keys.append)
    task = asyncio.create_task(work)
    either: list[asyncio.Future[Any]] = [ready, task]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    running = ready.result()
    yield running.base_url
    running.stop()
    await task


async def measure(data: Path, key: str) -> dict[str, Any]:
    """Start a gateway in the folder and ask each path some times, one after the other; milliseconds."""
    found: dict[str, Any] = {}
    session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"})
    async with serving(data, []) as base, session:
        for path in PATHS:
            took: list[float] = []
            worked: list[float] = []
            size = 0
            for _ in range(ROUNDS):
                began, work_began = time.perf_counter(), time.process_time()
                async with session.get(base + path) as answer:
                    size = len(await answer.read())
                    assert answer.status == 200, (path, answer.status)
                took.append((time.perf_counter() - began) * 1000)
                worked.append((time.process_time() - work_began) * 1000)
            found[path] = {
                "first_ms": round(took[0], 1),
                "median_ms": round(statistics.median(took), 1),
                "max_ms": round(max(took), 1),
                "cpu_ms": round(statistics.median(worked), 1),
                "bytes": size,
            }
    return found


async def first_key(data: Path) -> str:
    """Let a gateway make the folder, and its first key."""
    keys: list[str] = []
    async with serving(data, keys):
        return keys[0]


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generations", type=int, default=100_000)
    parser.add_argument("--all-day", action="store_true", help="all of them within the last 24 hours")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    span = timedelta(hours=23.9) if asked.all_day else timedelta(days=30)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        key = asyncio.run(first_key(data))
        fill(data / "holdfast.sqlite3", asked.generations, span, asked.seed)
        megabytes = round((data / "holdfast.sqlite3").stat().st_size / 1e6, 1)
        paths = asyncio.run(measure(data, key))
    told = {
        "generations": asked.generations,
        "span_hours": span / timedelta(hours=1),
        "database_mb": megabytes,
        "sqlite": sqlite3.sqlite_version,
        "rounds": ROUNDS,
        "paths": paths,
    }
    text = json.dumps(told, indent=2)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
