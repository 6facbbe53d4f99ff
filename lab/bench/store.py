"""The store alone: CPU of the writing thread for each step of a generation, and the commits made.

    python lab/bench/store.py [--n 4000] [--at-once 32] [--rounds 5] [--folder DIR] [--profile STEP]

A real database on disk, made anew each round, is written by so many callers at once: all generations are accepted, then
sent, then settled with one image each, then noted as received in lots of as many as there are callers. Prints one JSON
object: microseconds of the writing thread (its own clock, user and system) per generation, the best of the rounds, and
generations per commit. `--profile accept|send|settle|note` prints where that step's time goes instead.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvloop

from holdfast.config import Store
from holdfast.policy.retention import Retention
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.bookkeeping import ledger_sums
from holdfast.store.generations import accept, mark_received
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration
from holdfast.store.retention import Receipt
from holdfast.store.sqlite import SqliteStore
from holdfast.types import ImageInfo, Usage

STEPS = ("accept", "send", "settle", "note")
PRICE_MICROS = 240_000
AT = "2026-01-17T12:00:00.000Z"
REQUEST = json.dumps({"prompt": "a lighthouse " * 20, "n": 1, "size": "4096x4096"}).encode()
ANSWER = b'{"candidates":[{"content":{"role":"model","parts":[{"text":"' + b"Here it is. " * 60 + b'"}]}}]}'
RETENTION = Retention.of(Store())
INFO = ImageInfo(mime="image/png", width_px=4096, height_px=4096, bytes=20_250_000, sha256="ab" * 32)


def name(kind: str, at: int) -> str:
    """An id of the length that the gateway's have."""
    return f"{kind}_01KFG2M4{at:018d}"


def accepted(at: int) -> NewGeneration:
    """One 4K image, asked for by one of three keys."""
    return NewGeneration(
        id=name("gen", at),
        key_id=name("key", at % 3),
        surface="openai",
        model="nano-banana-pro",
        tier="4K",
        size="4096x4096",
        n=1,
        parts=1,
        request=REQUEST,
        deadline_at=AT,
        hard_deadline=False,
        created_at=AT,
        currency="USD",
        unit_micros=PRICE_MICROS,
        held_micros=PRICE_MICROS,
        list_micros=PRICE_MICROS,
    )


def sent(at: int) -> NewAttempt:
    """Its first attempt."""
    return NewAttempt(
        id=name("att", at),
        generation_id=name("gen", at),
        part=0,
        drive=0,
        upstream="google",
        provider="gemini",
        model="gemini-3-pro-image",
        idempotency_key=f"{name('gen', at)}.0.0",
        estimated_micros=PRICE_MICROS,
        owner="bench",
        sent_at=AT,
    )


def ended(at: int) -> AttemptEnd:
    """The attempt's image."""
    blob = NewBlob(id=name("img", at), kind="result", position=0, store_key=f"2026/01/17/{at:024d}.png", info=INFO)
    usage = Usage(input_tokens=120, output_tokens=2_000)
    return AttemptEnd(
        attempt_id=name("att", at),
        at=AT,
        purge_after=AT,
        blobs=(blob,),
        http_status=200,
        usage=usage,
        answer=ANSWER,
        received_at=AT,
    )


async def each(store: SqliteStore, at_once: int, function: Callable[..., Any], values: Iterable[Any]) -> None:
    """Hand every value to the writer, so many waiting at any time."""
    left: Iterator[Any] = iter(values)

    async def caller() -> None:
        for value in left:
            await store.write(function, *value)

    await asyncio.gather(*(caller() for _ in range(at_once)))


def commits(store: SqliteStore) -> int:
    """Commits so far, as the store tells them."""
    return int(repr(store).rpartition(" in ")[2].split()[0])


def cpu_s(store: SqliteStore) -> float:
    """CPU of the writing thread so far: user and system."""
    ident = store._thread.ident
    assert ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(ident))


@contextmanager
def profiled(store: SqliteStore, profile: cProfile.Profile | None) -> Iterator[None]:
    """Have the writing thread profile itself meanwhile."""
    if profile is None:
        yield
        return

    def switch(_: sqlite3.Connection, turn: Callable[[], None]) -> None:
        turn()

    store.write_sync(switch, profile.enable)
    yield
    store.write_sync(switch, profile.disable)


async def lives(folder: Path, n: int, at_once: int, profiles: dict[str, cProfile.Profile]) -> dict[str, list[float]]:
    """Lead n generations through all steps; for each step, CPU in microseconds and generations per commit."""
    store = SqliteStore(folder / "holdfast.sqlite3", "bench")
    lots = [
        [Receipt(name("gen", at), with_image=True) for at in range(first, min(first + at_once, n))]
        for first in range(0, n, at_once)
    ]
    work: dict[str, tuple[Callable[..., Any], list[Any], int]] = {
        "accept": (accept, [(accepted(at),) for at in range(n)], at_once),
        "send": (begin_attempt, [(sent(at),) for at in range(n)], at_once),
        "settle": (end_attempt, [(ended(at),) for at in range(n)], at_once),
        # The gateway notes the receipts of a moment together: one caller.
        "note": (mark_received, [(lot, AT, RETENTION) for lot in lots], 1),
    }
    taken: dict[str, list[float]] = {}
    for step in STEPS:
        function, values, callers = work[step]
        with profiled(store, profiles.get(step)):
            cpu, count = cpu_s(store), commits(store)
            await each(store, callers, function, values)
            taken[step] = [(cpu_s(store) - cpu) / n * 1e6, n / (commits(store) - count)]
    sums = store.write_sync(ledger_sums)
    assert sums.hold, sums
    assert sums.accounts["revenue"] == -n * PRICE_MICROS, "every image is charged"
    assert sums.accounts["provider_cost"] == n * PRICE_MICROS, "every image is paid for"
    store.close()
    return taken


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where the database is made; the system's temporary folder if not")
    parser.add_argument("--profile", choices=STEPS)
    arguments = parser.parse_args()
    profiles = {arguments.profile: cProfile.Profile()} if arguments.profile else {}
    rounds = []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            rounds.append(uvloop.run(lives(Path(folder), arguments.n, arguments.at_once, profiles)))
    for profile in profiles.values():
        pstats.Stats(profile).sort_stats("tottime").print_stats(30)
        return
    cpu_us = {step: min(taken[step][0] for taken in rounds) for step in STEPS}
    together = {step: statistics.median(taken[step][1] for taken in rounds) for step in STEPS}
    result = {
        "n": arguments.n,
        "at_once": arguments.at_once,
        "writer_cpu_us": {step: round(cpu_us[step]) for step in STEPS},
        "generations_per_commit": {step: round(together[step], 1) for step in STEPS},
    }
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__":
    main()
