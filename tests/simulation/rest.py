"""What is left when all has come to rest: rows, files, the books, and what the last process still has in hand."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from holdfast.store.audit import audit
from holdfast.store.records import Told
from simulation.history import End, EndAttempt, EndDelivery, EndGeneration, EndImage

if TYPE_CHECKING:
    from simulation.world import World

OVERDUE_S = 60.0
_BOOKED = """
SELECT ledger_txn.attempt_id, -sum(ledger_entry.micros) FROM ledger_txn
JOIN ledger_entry ON ledger_entry.txn_id = ledger_txn.id
WHERE ledger_txn.attempt_id <> '' AND ledger_entry.account LIKE 'provider:%' GROUP BY ledger_txn.attempt_id
"""


def end_of(world: World) -> End:
    """Read all of it."""
    conn, process = world.disk.conn, world.process
    if conn.in_transaction:
        conn.rollback()
    audited = audit(conn)
    return End(
        generations=_generations(world),
        attempts=_attempts(world),
        images=_images(world),
        deliveries=_deliveries(world),
        hooked_keys=("key_A",) if world.endpoints else (),
        problems=tuple(f"{each.rule}: {each.message}" for each in audited.problems),
        held_micros=-audited.accounts.get("held", 0),
        spooled=tuple(sorted(path.name for path in (world.disk.root / "spool").iterdir())),
        strangers=_strangers(world),
        unrest=() if process is None else process.in_hand,
    )


def _generations(world: World) -> tuple[EndGeneration, ...]:
    conn = world.disk.conn
    events: dict[str, list[tuple[int, str]]] = {}
    for row in conn.execute("SELECT generation_id, sequence_number, type FROM event ORDER BY 1, 2"):
        events.setdefault(row[0], []).append((row[1], row[2]))
    return tuple(
        EndGeneration(
            id=row["id"],
            key_id=row["key_id"],
            state=row["state"],
            n=row["n"],
            parts=row["parts"],
            code=None if row["failure"] is None else msgspec.json.decode(row["failure"], type=Told).code,
            idempotency_key=row["idempotency_key"],
            finished_wall_s=None if row["finished_at"] is None else world.unix_s(row["finished_at"]),
            events=tuple(events.get(row["id"], ())),
        )
        for row in conn.execute("SELECT * FROM generation ORDER BY id")
    )


def _attempts(world: World) -> tuple[EndAttempt, ...]:
    conn = world.disk.conn
    booked = {row[0]: int(row[1]) for row in conn.execute(_BOOKED)}
    return tuple(
        EndAttempt(
            id=row["id"],
            generation_id=row["generation_id"],
            part=row["part"],
            drive=row["drive"],
            number=row["number"],
            epoch=row["epoch"],
            state=row["state"],
            charge=row["charge"],
            booked_micros=booked.get(row["id"], 0),
        )
        for row in conn.execute("SELECT * FROM attempt ORDER BY id")
    )


def _images(world: World) -> tuple[EndImage, ...]:
    return tuple(
        EndImage(
            id=row["id"],
            generation_id=row["generation_id"],
            attempt_id=row["attempt_id"],
            kind=row["kind"],
            state=row["state"],
            sha256=row["sha256"],
            file_sha256=_file_sha256(world, row["store_key"]),
        )
        for row in world.disk.conn.execute("SELECT * FROM blob ORDER BY id")
    )


def _file_sha256(world: World, key: str) -> str | None:
    try:
        return hashlib.sha256((world.disk.root / key).read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def _deliveries(world: World) -> tuple[EndDelivery, ...]:
    now = world.clock.wall_s()
    return tuple(
        EndDelivery(
            id=row["id"],
            generation_id=row["generation_id"],
            drive=row["drive"],
            type=row["type"],
            state=row["state"],
            is_overdue=row["state"] == "pending" and world.unix_s(row["next_at"]) < now - OVERDUE_S,
        )
        for row in world.disk.conn.execute("SELECT * FROM webhook_delivery ORDER BY id")
    )


def _strangers(world: World) -> tuple[str, ...]:
    """Files of attempts of this seed that no row names; what an older crash left is the sweeper's."""
    kept = {row[0] for row in world.disk.conn.execute("SELECT store_key FROM blob")}
    made = {row[0] for row in world.disk.conn.execute("SELECT id FROM attempt")}
    names = (path for path in (world.disk.root / "blobs").rglob("att_*"))
    found = ((path.relative_to(world.disk.root).as_posix(), path.name.partition("-")[0]) for path in names)
    return tuple(sorted(key for key, attempt in found if key not in kept and attempt in made))
