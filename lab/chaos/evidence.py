"""What is left when all has come to rest: the database's rows, the upstream's journal, the bucket, the folders and the
logs, as plain values.

The gateway is not asked: rows are read by a connection of our own, the journal is the simulator's, the bucket is
listed.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from cluster import UPSTREAM_KEYS, Replica, logged
from orders import MARK, Told, number_of
from servers import Postgres

from holdfast.config.objects import ObjectKeys, ObjectSettings, address_of
from holdfast.store.audit import audit
from holdfast.store.objects.bucket import open_bucket
from holdfast.store.reading import snapshot
from holdfast.types import Request

NEVER = float("inf")
AT_THE_END = "Exception in ASGI application"
"""What uvicorn says, with a traceback, of a call that is cut at the end of a drain."""
AWAY = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)
"""What a look at a database that is away ends with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A row of `attempt`, and what is booked for it. Times are seconds since 1970."""

    id: str
    generation_id: str
    part: int
    drive: int
    number: int
    epoch: int
    upstream: str
    key_number: int
    key: str
    """Its name with the upstream; attempts of one round share it."""
    state: str
    charge: str
    sent_at: float
    ended_at: float
    booked_micros: int = 0
    """As a cost, of an image that was delivered or of another one."""
    exposed_micros: int = 0
    """As possible, and not resolved."""
    worker: str = ""
    """The replica that has sent it, by its log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A row of `blob`."""

    id: str
    generation_id: str
    attempt_id: str
    kind: str
    state: str
    store_key: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """A row of `generation`, and what belongs to it."""

    id: str
    number: int
    """Of the order that it was asked for by."""
    key: str | None
    state: str
    drive: int
    late: bool
    paid: str | None
    """Of its failure, as callers are told."""
    created_at: float
    deadline_at: float
    finished_at: float
    events: tuple[tuple[int, str, float], ...] = ()
    attempts: tuple[Attempt, ...] = ()
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A line of the upstream's journal."""

    key: str
    micros: int
    outcome: str
    at: float

    @property
    def generation_id(self) -> str:
        """Whose it is."""
        return self.key.partition(".")[0]


@dataclass(slots=True, kw_only=True)
class Evidence:
    """All of it."""

    generations: Mapping[str, Generation]
    journal: Sequence[Charge]
    told: Sequence[Told]
    accounts: Mapping[str, int] = field(default_factory=dict)
    audit: Sequence[str] = ()
    """Rules of the ledger that do not hold."""
    hooked: Sequence[tuple[str, str, str]] = ()
    """Webhooks that came: message, generation, type."""
    undelivered: int = 0
    objects: frozenset[str] | None = None
    """Keys in the bucket; None: it was not listed."""
    spooled: Sequence[str] = ()
    """Files that lie in spools, or wait for the bucket."""
    fetched: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Generation -> SHA-256 of the pictures that were fetched from it at the end."""
    indiscreet: Sequence[str] = ()
    """Words that must stand in no log, and where."""
    internal: Sequence[str] = ()
    """Mistakes of ours that the logs tell."""
    open_at_once: Mapping[str, int] = field(default_factory=dict)
    """Credential -> the most calls that were seen open at one moment, over all replicas."""
    rest: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Replica -> what it holds when nothing happens: before, and at the end."""


def seconds_of(text: str | None) -> float:
    """Read a time of the database; `NEVER` for none."""
    return NEVER if text is None else datetime.fromisoformat(text).timestamp()


async def read_rows(postgres: Postgres) -> dict[str, list[Any]]:
    """Read whole tables, in one snapshot."""
    wanted = {
        "generation": "SELECT * FROM generation ORDER BY id",
        "attempt": "SELECT * FROM attempt ORDER BY generation_id, number",
        "blob": "SELECT * FROM blob ORDER BY id",
        "event": "SELECT generation_id, sequence_number, type, at FROM event ORDER BY 1, 2",
        "booked": "SELECT t.attempt_id, e.account, sum(e.micros)::bigint AS micros FROM ledger_txn t "
        "JOIN ledger_entry e ON e.txn_id = t.id WHERE t.attempt_id <> '' GROUP BY 1, 2",
        "undelivered": "SELECT id FROM webhook_delivery WHERE state <> 'delivered'",
    }
    raw = await postgres.ready()
    try:
        async with raw.transaction(isolation="repeatable_read", readonly=True):
            return {name: await raw.fetch(sql) for name, sql in wanted.items()}
    finally:
        await raw.close()


def generations_of(rows: Mapping[str, Sequence[Any]], workers: Mapping[str, str]) -> dict[str, Generation]:
    """Put rows together.

    Args:
        rows: As they were read.
        workers: Attempt -> the replica that has sent it.
    """
    booked: dict[str, dict[str, int]] = defaultdict(dict)
    for row in rows["booked"]:
        booked[row["attempt_id"]][row["account"]] = row["micros"]
    attempts, images, events = defaultdict(list), defaultdict(list), defaultdict(list)
    for row in rows["attempt"]:
        attempts[row["generation_id"]].append(_attempt(row, booked[row["id"]], workers.get(row["id"], "")))
    names = ("id", "generation_id", "attempt_id", "kind", "state", "store_key", "sha256")
    for row in rows["blob"]:
        images[row["generation_id"]].append(Image(**{name: row[name] for name in names}))
    for row in rows["event"]:
        events[row["generation_id"]].append((row["sequence_number"], row["type"], seconds_of(row["at"])))
    found = {}
    for row in rows["generation"]:
        failure = msgspec.json.decode(row["failure"]) if row["failure"] else {}
        found[row["id"]] = Generation(
            id=row["id"],
            number=number_of(msgspec.json.decode(row["request"], type=Request).prompt),
            key=row["idempotency_key"],
            state=row["state"],
            drive=row["drive"],
            late=bool(row["late"]),
            paid=failure.get("charge"),
            created_at=seconds_of(row["created_at"]),
            deadline_at=seconds_of(row["deadline_at"]),
            finished_at=seconds_of(row["finished_at"]),
            events=tuple(events[row["id"]]),
            attempts=tuple(attempts[row["id"]]),
            images=tuple(images[row["id"]]),
        )
    return found


def _attempt(row: Any, booked: Mapping[str, int], worker: str) -> Attempt:
    return Attempt(
        **{name: row[name] for name in ("id", "generation_id", "part", "drive", "number", "epoch", "upstream")},
        key_number=row["key_number"] or 0,
        key=row["idempotency_key"],
        state=row["state"],
        charge=row["charge"],
        sent_at=seconds_of(row["sent_at"]),
        ended_at=seconds_of(row["ended_at"]),
        booked_micros=booked.get("provider_cost", 0) + booked.get("extra_images", 0),
        exposed_micros=booked.get("unknown_exposure", 0),
        worker=worker,
    )


def journal_of(rows: Sequence[Mapping[str, Any]]) -> list[Charge]:
    """Read the upstream's journal."""
    return [
        Charge(
            key=str(row["idempotency_key"] or ""),
            micros=row["micros"],
            outcome=row["outcome"],
            at=seconds_of(row["at"]),
        )
        for row in rows
    ]


def audited(dsn: str) -> tuple[Mapping[str, int], list[str]]:
    """Have the ledger proven by its own rules: balances, and what does not hold."""
    with snapshot(Path(), dsn) as conn:
        found = audit(conn)
    return found.accounts, [f"{each.rule}: {each.message}" for each in found.problems]


def left_in(replicas: Sequence[Replica]) -> list[str]:
    """Name the files that wait in data folders for something."""
    places = [each.data / name for each in replicas for name in ("spool", "blobs", "inputs")]
    return [
        f"{path.relative_to(place.parent.parent.parent)}"
        for place in places
        for path in (place.rglob("*") if place.is_dir() else ())
        if path.is_file()
    ]


def read_logs(replicas: Sequence[Replica], key: str) -> tuple[dict[str, str], list[str], list[str]]:
    """Read the logs: who has sent each attempt, words that must not stand there, and mistakes of ours."""
    workers: dict[str, str] = {}
    words, internal = [], []
    for replica in replicas:
        text = replica.log.read_text("utf-8", "replace")
        secrets = {"a prompt": MARK, "the key": key, "an upstream's key": UPSTREAM_KEYS[0][:-2], "a link": "sig="}
        words += [f"{replica.name}: {what}" for what, word in secrets.items() if word in text]
        for entry in logged(replica):
            if entry.get("event") == "attempt.sent":
                workers[entry["attempt_id"]] = replica.name
            elif entry.get("event") == "fault.internal":
                internal.append(f"{replica.name}: {str(entry)[:600]}")
        internal += [f"{replica.name}: {each}" for each in complaints_in(text)]
    return workers, words, internal


def complaints_in(text: str) -> list[str]:
    """Find what standard error has besides events: the last line of each traceback."""
    found, is_open, before = [], False, ""
    for line in text.splitlines():
        if line.startswith("Traceback (most recent call last):"):
            # uvicorn tells of calls that are cut at the end of a drain in this way.
            is_open = before != AT_THE_END
        elif is_open and line and not line.startswith((" ", "\t")):
            found.append(line[:200])
            is_open = False
        before = line
    return found


def held_by(replica: Replica) -> dict[str, int]:
    """Say what a process holds: open files and sockets, threads, memory."""
    pid = replica.pid
    if pid is None:
        return {}
    proc = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line)
    return {
        "files": len(list((proc / "fd").iterdir())),
        "threads": int(status["Threads"]),
        "rss_kb": int(status["VmRSS"].split()[0]),
    }


async def quiet(postgres: Postgres, replicas: Sequence[Replica], within_s: float) -> list[str]:
    """Wait until nothing is in flight, and say what still is."""
    asked = {
        "generations": "SELECT count(*) FROM generation WHERE state IN ('queued', 'running')",
        "attempts": "SELECT count(*) FROM attempt WHERE state IN ('sent', 'polling')",
        "webhooks": "SELECT count(*) FROM webhook_delivery WHERE state = 'pending'",
        "jobs": "SELECT count(*) FROM pgqueuer",
        "images that wait for the bucket": "SELECT count(*) FROM overflow",
    }
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    raw = await postgres.ready()
    try:
        while True:
            open_ = {name: await raw.fetchval(sql) for name, sql in asked.items()}
            open_["files"] = len(left_in(replicas))
            if not any(open_.values()) or loop.time() > until:
                return [f"{count} {name}" for name, count in open_.items() if count]
            await asyncio.sleep(0.5)
    finally:
        await raw.close()


async def connected(postgres: Postgres) -> asyncpg.Connection:
    """Connect once.

    Raises:
        OSError: Or another of `AWAY`.
    """
    return await asyncpg.connect(postgres.dsn, timeout=2.0)


def objects_in(server: Any, prefix: str) -> frozenset[str]:
    """List the images that the bucket has, by the way that nothing disturbs."""
    address = address_of(f"s3://images/{prefix}")
    assert address is not None
    module = sys.modules["object_server"]
    keys = ObjectKeys(id=module.KEY_ID, secret=module.SECRET)
    bucket = open_bucket(address, ObjectSettings(endpoint=server.endpoint), keys)
    return frozenset(head.key for head in bucket.list("blobs"))
