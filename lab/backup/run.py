"""What a backup costs whoever is served meanwhile: commits of a gateway's store, with and without one being made.

    python lab/backup/run.py [--rows 40000] [--images 300] [--bytes 2000000] [--rounds 5] [--seconds 6] [--folder DIR]

A data folder with so many generations and images is filled once. Then, in turn, so many seconds without and with
`holdfast backup --copy` running over and over as a process of its own: eight callers accept, send and settle one
generation after the other, at a pace that leaves the writer idle most of the time, and every commit is timed. Prints
and keeps one JSON object: p50, p95, p99 and the longest commit of each round in milliseconds, and their medians.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.generations import accept
from holdfast.store.lock import DataFolder
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration
from holdfast.store.sqlite import SqliteStore
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

RESULTS = Path(__file__).parent / "results" / "backup.json"
AT = "2026-01-17T12:00:00.000Z"
PRICE_MICROS = 240_000
REFUSED = Failure(kind=FailureKind.REFUSED_OUTPUT, phase=Phase.RECEIVE, charge=Charge.NO, detail="declined")
CALLERS = 8
PACE_S = 0.02
"""Between two commits of a caller: some 400 a second altogether, many times what a busy gateway makes."""


def accepted(id_: str) -> NewGeneration:
    """One 4K image."""
    return NewGeneration(
        id=f"gen_{id_}",
        key_id="key_1",
        surface="openai",
        model="m",
        tier="4K",
        size="4096x4096",
        n=1,
        parts=1,
        request=b'{"prompt": "' + b"a lighthouse " * 20 + b'"}',
        deadline_at=AT,
        hard_deadline=False,
        created_at=AT,
        currency="USD",
        unit_micros=PRICE_MICROS,
        held_micros=PRICE_MICROS,
        list_micros=PRICE_MICROS,
    )


def sent(id_: str) -> NewAttempt:
    """Its attempt."""
    return NewAttempt(
        id=f"att_{id_}",
        generation_id=f"gen_{id_}",
        part=0,
        drive=0,
        upstream="google",
        provider="gemini",
        model="m",
        idempotency_key="",
        estimated_micros=PRICE_MICROS,
        owner="bench",
        sent_at=AT,
    )


def ended(id_: str, size: int, sha256: str) -> AttemptEnd:
    """Its image."""
    info = ImageInfo(mime="image/png", width_px=4096, height_px=4096, bytes=size, sha256=sha256)
    blob = NewBlob(id=f"img_{id_}", kind="result", position=0, store_key=key_of(id_), info=info)
    return AttemptEnd(attempt_id=f"att_{id_}", at=AT, purge_after=AT, blobs=(blob,))


def key_of(id_: str) -> str:
    """Where it lies."""
    return f"blobs/2026/01/17/att_{id_}-0.png"


def name(kind: str, at: int) -> str:
    """An id without its prefix."""
    return f"01J{kind}{at:022d}"


async def fill(store: SqliteStore, root: Path, rows: int, images: int, size: int) -> None:
    """Make a folder that has run for a while: most of its images are gone, as retention leaves it."""
    (root / key_of("")).parent.mkdir(parents=True, exist_ok=True)

    async def one(at: int) -> None:
        id_ = name("A", at)
        await store.write(accept, accepted(id_))
        await store.write(begin_attempt, sent(id_))
        data = os.urandom(size) if at < images else b""
        if data:
            (root / key_of(id_)).write_bytes(data)
        await store.write(end_attempt, ended(id_, len(data), hashlib.sha256(data).hexdigest()))

    for first in range(0, rows, 500):
        await asyncio.gather(*map(one, range(first, min(rows, first + 500))))
    gone = "UPDATE blob SET state = 'deleted' WHERE bytes = 0"
    await store.write(lambda conn: conn.execute(gone).rowcount)


async def load(store: SqliteStore, seconds: float, ids: Iterator[int]) -> list[float]:
    """Time every commit, milliseconds."""
    took: list[float] = []
    until = time.perf_counter() + seconds

    async def timed(function: Any, value: Any) -> None:
        began = time.perf_counter()
        await store.write(function, value)
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(PACE_S)

    async def caller() -> None:
        while time.perf_counter() < until:
            id_ = name("B", next(ids))
            await timed(accept, accepted(id_))
            await timed(begin_attempt, sent(id_))
            await timed(end_attempt, AttemptEnd(attempt_id=f"att_{id_}", at=AT, purge_after=AT, failure=REFUSED))

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return took


@contextmanager
def backups(root: Path, folder: Path, done: list[float]) -> Iterator[None]:
    """Have one backup after the other made meanwhile; `done` gets the seconds that each took."""
    script = (
        "import json, shutil, subprocess, sys, time\n"
        "while True:\n"
        "    began = time.monotonic()\n"
        "    subprocess.run([sys.executable, '-m', 'holdfast.cli.main', 'backup', sys.argv[2], '--copy', '--data',"
        " sys.argv[1]], check=True, stdout=subprocess.DEVNULL)\n"
        "    print(round(time.monotonic() - began, 2), flush=True)\n"
        "    shutil.rmtree(sys.argv[2])\n"
    )
    target = folder / "backup"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(root), str(target)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        out, _ = process.communicate()
        done += [float(line) for line in out.split()]
        subprocess.run(["rm", "-rf", str(target), f"{target}.partial"], check=True)


def told(took: list[float]) -> dict[str, float]:
    """Say how they are spread."""
    cuts = statistics.quantiles(took, n=100)
    return {
        "commits": len(took),
        "p50_ms": round(cuts[49], 2),
        "p95_ms": round(cuts[94], 2),
        "p99_ms": round(cuts[98], 2),
        "max_ms": round(max(took), 2),
    }


async def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Fill, then take turns."""
    root, ids = folder / "data", count()
    done: list[float] = []
    rounds: dict[str, list[dict[str, float]]] = {"without": [], "with": []}
    with DataFolder(root) as data, closing(SqliteStore(data.paths.database, "bench")) as store:
        await fill(store, root, args.rows, args.images, args.bytes)
        for _ in range(args.rounds):
            rounds["without"].append(told(await load(store, args.seconds, ids)))
            with backups(root, folder, done):
                rounds["with"].append(told(await load(store, args.seconds, ids)))
        database_bytes = data.paths.database.stat().st_size
    names = ("p50_ms", "p95_ms", "p99_ms", "max_ms")
    medians = {how: {n: statistics.median(each[n] for each in of) for n in names} for how, of in rounds.items()}
    return {
        "rows": args.rows,
        "database_bytes": database_bytes,
        "images": args.images,
        "image_bytes": args.bytes,
        "backups_made": len(done),
        "backup_s": statistics.median(done) if done else None,
        "medians": medians,
        "rounds": rounds,
    }


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--bytes", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--folder", type=Path, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        found = asyncio.run(measure(args, Path(folder)))
    text = json.dumps(found, indent=2)
    RESULTS.write_text(text + "\n", "utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
