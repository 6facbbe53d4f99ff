"""What is read before and after: CPU from the kernel, the rest from the database itself; and differences of both."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from servers import HERE, Gateways, Postgres

sys.path.append(str(HERE.parent / "bench"))

import machine

TICKS = os.sysconf("SC_CLK_TCK")
BACKGROUND = ("checkpointer", "background writer", "walwriter", "autovacuum launcher", "logical replication launcher")
_STATEMENTS = (
    "SELECT sum(calls)::float8 AS calls, sum(total_exec_time)::float8 AS ms, "
    "sum(calls) FILTER (WHERE query IN ('COMMIT', 'COMMIT;'))::float8 AS commits FROM pg_stat_statements "
    "WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_TOP = (
    "SELECT regexp_replace(left(query, 160), '\\s+', ' ', 'g') AS query, calls::float8, total_exec_time::float8 AS ms "
    "FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "ORDER BY total_exec_time DESC LIMIT 16"
)
_DATABASE = (
    "SELECT xact_commit::float8 AS commits, xact_rollback::float8 AS rollbacks, tup_inserted::float8 AS inserted, "
    "tup_updated::float8 AS updated, tup_deleted::float8 AS deleted FROM pg_stat_database "
    "WHERE datname = current_database()"
)
_TABLES = (
    "SELECT relname, n_tup_ins::float8 AS inserted, n_tup_upd::float8 AS updated, n_tup_hot_upd::float8 AS hot, "
    "n_tup_del::float8 AS deleted, pg_table_size(relid)::float8 AS heap, pg_indexes_size(relid)::float8 AS indexes "
    "FROM pg_stat_user_tables"
)
_WAL = "SELECT wal_records::float8 AS records, wal_fpi::float8 AS pages, wal_sync::float8 AS syncs FROM pg_stat_wal"
_WAL_PARTS = "SELECT sum(record_size)::float8, sum(fpi_size)::float8 FROM pg_get_wal_stats($1::pg_lsn, $2::pg_lsn)"
_CHECKPOINTED = "SELECT buffers_checkpoint::float8 FROM pg_stat_bgwriter"
_CONNECTIONS = (
    "SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_LEFT = (
    "SELECT (SELECT count(*) FROM generation WHERE state IN ('queued', 'running')) + (SELECT count(*) FROM pgqueuer)"
)


def minus(after: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """Subtract figure by figure; what was not there before began at nothing."""
    return {
        name: minus(value, before.get(name, {})) if isinstance(value, Mapping) else value - before.get(name, 0.0)
        for name, value in after.items()
    }


def scaled(figures: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Multiply each figure."""
    return {
        name: scaled(value, factor) if isinstance(value, Mapping) else value * factor for name, value in figures.items()
    }


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def cpu_of_postgres(postmaster: int) -> dict[str, float]:
    """CPU seconds of a server's processes. What served a connection that has ended counts with those that serve."""
    spent = {"backends": 0.0, "wal_writer": 0.0, "others": 0.0}
    for pid in machine.tree(postmaster):
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").strip("\0 ")
            used = time.clock_gettime((~pid << 3) | 2)
        except (OSError, ProcessLookupError):
            continue
        kind = title.removeprefix("postgres: ")
        if pid == postmaster or kind.startswith((*BACKGROUND, "autovacuum")):
            spent["wal_writer" if kind.startswith("walwriter") else "others"] += used
        else:
            spent["backends"] += used
    # Of children that have ended, in ticks.
    spent["backends"] += sum(map(int, _stat(postmaster)[13:15])) / TICKS
    return spent


def cpu(gateways: Gateways, simulator: int, postgres: Postgres | None, bucket: int | None) -> dict[str, float]:
    """CPU seconds by component."""
    spent: dict[str, float] = {}
    for each in gateways.each:
        role = each.name.partition("-")[0]
        spent[role] = spent.get(role, 0.0) + machine.cpu_s(each.process.pid)
    spent["simulator"] = machine.cpu_s(simulator)
    if postgres is not None:
        spent |= {f"postgres_{name}": used for name, used in cpu_of_postgres(postgres.process.pid).items()}
    if bucket is not None:
        spent["bucket"] = machine.cpu_s(bucket)
    return spent


def rss_mb(gateways: Gateways) -> dict[str, float]:
    """Resident memory of each gateway."""
    return {each.name: round(machine.rss_bytes(each.process.pid) / 1e6, 1) for each in gateways.each}


def of_window(postgres: Postgres, name: str) -> dict[str, Any]:
    """What the database tells at once: statements and where its log of writes is."""
    (told,) = postgres.ask(name, _STATEMENTS)
    lsn = postgres.ask(name, "SELECT pg_current_wal_insert_lsn()::text")[0][0]
    return {"statements": {key: float(value or 0.0) for key, value in told.items()}, "lsn": lsn}


def of_run(postgres: Postgres, name: str) -> dict[str, Any]:
    """What sessions tell when they end: rows and sizes, table by table."""
    (told,) = postgres.ask(name, _DATABASE)
    tables = {row["relname"]: {key: row[key] for key in tuple(row.keys())[1:]} for row in postgres.ask(name, _TABLES)}
    (wal,) = postgres.ask(name, _WAL)
    return {"database": dict(told), "tables": tables, "wal": dict(wal)}


def wal_between(postgres: Postgres, name: str, before: str, after: str) -> dict[str, float]:
    """Bytes of log between two places: records, and whole pages after a checkpoint."""
    if before == after:
        return {"records": 0.0, "pages": 0.0, "all": 0.0}
    postgres.ask(name, "SELECT pg_switch_wal()")
    (parts,) = postgres.ask(name, _WAL_PARTS.replace("$1", f"'{before}'").replace("$2", f"'{after}'"))
    written = float(postgres.ask(name, f"SELECT '{after}'::pg_lsn - '{before}'::pg_lsn")[0][0])
    return {"records": float(parts[0] or 0.0), "pages": float(parts[1] or 0.0), "all": written}


def top(postgres: Postgres, name: str) -> list[dict[str, Any]]:
    """The statements that take most, all of the run."""
    return [dict(row) for row in postgres.ask(name, _TOP)]


def connections(postgres: Postgres, name: str) -> int:
    """How many are open."""
    return int(postgres.ask(name, _CONNECTIONS)[0][0])


def left(postgres: Postgres, name: str) -> int:
    """What is still to be done: generations that are open, and jobs that were not put away."""
    return int(postgres.ask(name, _LEFT)[0][0])


def checkpointed(postgres: Postgres, name: str) -> float:
    """Pages that checkpoints have written."""
    return float(postgres.ask(name, _CHECKPOINTED)[0][0])


def busy_s() -> float:
    """CPU time that anything at all has spent on this machine, seconds."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def sync_ms(folder: Path) -> float:
    """How long the disk takes now to keep 8 KB that were written behind others: the median of twenty, in ms."""
    took = []
    with (folder / "sync").open("wb") as file:
        for _ in range(20):
            file.write(bytes(8192))
            file.flush()
            begun_at = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - begun_at)
    return 1e3 * statistics.median(took)


def loopback_bytes() -> int:
    """What went over loopback, in this network."""
    line = next(each for each in Path("/proc/net/dev").read_text().splitlines() if each.strip().startswith("lo:"))
    return int(line.partition(":")[2].split()[0])


def bytes_at(port: int) -> dict[str, float]:
    """Bytes of payload that connections to a port carry, as the kernel counts them: to the listener, and from it."""
    shown = subprocess.run(["ss", "-tinH", f"sport = :{port}"], capture_output=True, text=True, check=True).stdout
    moved = {"to": 0.0, "from": 0.0}
    for word in shown.split():
        name, _, value = word.partition(":")
        if name == "bytes_received":
            moved["to"] += float(value)
        elif name == "bytes_sent":
            moved["from"] += float(value)
    return moved
