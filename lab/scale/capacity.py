"""From what was measured to what is to be bought: the plan for so many generations a day. Pure: values in, values out.

Everything that is no measurement stands in `Assumed`, each with its source; a plan is arithmetic of both and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

DAY_S = 86_400
MB, GB = 1e6, 1e9
DATABASE = ("postgres_backends", "postgres_wal_writer", "postgres_others")
OF_A_GATEWAY = ("serve", "work", "all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """What nobody here has measured."""

    peak: float = 4.0
    """The busiest hour against the day's mean; a guess for callers of one continent."""
    made_in_s: float = 100.0
    """From sending to the image; published, January 2026."""
    image_mb: float = 10.0
    """Of an image: between 6 MB at 2K and 15 to 22 MB at 4K, published."""
    collected_share: float = 0.95
    """Images that are collected on their day, and deleted a day after; the others stay for a week."""
    kept_days: float = 1.0
    kept_days_max: float = 7.0
    """`store.keep_after_finish_s` and `store.retention_s_max`."""
    busy: float = 0.6
    """Of a core, at the peak: beyond that waiting grows faster than work."""
    waiting_max: int = 5000
    """Callers, or calls, of one process: what its memory and its leases were measured with."""
    checkpoint_s: float = 300.0
    """PostgreSQL's `checkpoint_timeout`."""
    dead_share: float = 0.2
    """Of a table, that autovacuum leaves dead: its `autovacuum_vacuum_scale_factor`."""
    cores_max: int = 64
    """Of the largest server for a database that is easily had."""
    pool_serve: int = 11
    pool_work: int = 15
    """Connections of a process: `store.database_connections`, its ear, and a worker's jobs."""
    deletes_each: int = 1000
    """Objects that one request deletes, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one generation costs where one process serves and one works: CPU in ms, else bytes or counts."""

    serve_ms: float
    work_ms: float
    database_ms: float
    serve_ms_more: float
    work_ms_more: float
    database_ms_more: float
    """More of each for every further pair of processes."""
    serve_ms_per_mb: float
    work_ms_per_mb: float
    """Of its image, received, kept, collected once."""
    serve_held_ms: float
    work_held_ms: float
    database_held_ms: float
    """For each second that it is waited for."""
    serve_idle_ms: float
    work_idle_ms: float
    database_idle_ms: float
    """A second, of a pair of processes that do nothing."""
    transactions: float
    syncs: float
    wal_bytes: float
    wal_pages_bytes: float
    """Whole pages behind a checkpoint, under load …"""
    wal_pages_bytes_alone: float
    """… and where each generation is the first behind one."""
    wal_held_bytes: float
    """For each second that it is waited for."""
    wal_idle_bytes: float
    """A second, of a pair of processes that do nothing."""
    row_bytes: float
    index_bytes: float
    """Packed, as all sizes here: without what updates leave behind."""
    rows_by_table: Mapping[str, float]
    bytes_by_table: Mapping[str, float]
    """Rows and indexes together."""
    puts: float
    gets: float


def database_s(cell: Mapping[str, Any]) -> float:
    """CPU seconds of the database in a cell, for each of its generations."""
    return float(sum(cell.get(name, 0.0) for name in DATABASE))


def slope(costs: Mapping[int, float]) -> float:
    """How much a cost grows with each further one: least squares, never less than nothing."""
    mean_x, mean_y = sum(costs) / len(costs), sum(costs.values()) / len(costs)
    over = sum((x - mean_x) ** 2 for x in costs)
    return max(0.0, sum((x - mean_x) * (y - mean_y) for x, y in costs.items()) / over) if over else 0.0


def cost_of(cells: Mapping[str, Any]) -> Cost:
    """Take the cost of a generation from the cells that were measured."""
    one, each = cells["collected"], cells["collected"]["each"]
    cpu = each["cpu_s"]
    pairs = {int(name.removeprefix("split-")): cell for name, cell in cells.items() if name.startswith("split-")}
    growth = {
        name: slope({count: 1e3 * cell["each"]["cpu_s"][name] for count, cell in pairs.items()})
        for name in ("serve", "work")
    }
    large = cells["large"]
    more_mb = (large["image_bytes"] - one["image_bytes"]) / MB
    per_mb = {name: 1e3 * (large["each"]["cpu_s"][name] - cpu[name]) / more_mb for name in ("serve", "work")}
    held, idle = cells["held"]["each_per_s"], cells["idle"]["per_s"]
    waiting = cells["held"]["held"]
    written, tables = one["run"]["tables"], one["run"]["packed"]
    requests = cells["bucket"]["each"]["requests"]
    return Cost(
        serve_ms=1e3 * cpu["serve"],
        work_ms=1e3 * cpu["work"],
        database_ms=1e3 * database_s(cpu),
        serve_ms_more=growth["serve"],
        work_ms_more=growth["work"],
        database_ms_more=slope({count: 1e3 * database_s(cell["each"]["cpu_s"]) for count, cell in pairs.items()}),
        serve_ms_per_mb=max(0.0, per_mb["serve"]),
        work_ms_per_mb=max(0.0, per_mb["work"]),
        serve_held_ms=_beyond(held["cpu_s"]["serve"], idle["cpu_s"]["serve"], waiting),
        work_held_ms=_beyond(held["cpu_s"]["work"], idle["cpu_s"]["work"], waiting),
        database_held_ms=_beyond(database_s(held["cpu_s"]), database_s(idle["cpu_s"]), waiting),
        serve_idle_ms=1e3 * idle["cpu_s"]["serve"],
        work_idle_ms=1e3 * idle["cpu_s"]["work"],
        database_idle_ms=1e3 * database_s(idle["cpu_s"]),
        transactions=one["run"]["database"]["commits"],
        syncs=one["run"]["wal"]["syncs"],
        wal_bytes=each["wal_bytes"]["records"],
        wal_pages_bytes=each["wal_bytes"]["pages"],
        wal_pages_bytes_alone=cells["sparse"]["wal_bytes"]["pages"],
        wal_held_bytes=max(0.0, held["wal_bytes"]["all"] - idle["wal_bytes"]["all"] / waiting),
        wal_idle_bytes=idle["wal_bytes"]["all"],
        row_bytes=sum(table["heap"] for name, table in tables.items() if is_kept(name)),
        index_bytes=sum(table["indexes"] for name, table in tables.items() if is_kept(name)),
        rows_by_table={name: table["inserted"] for name, table in written.items()},
        bytes_by_table={name: table["heap"] + table["indexes"] for name, table in tables.items()},
        puts=requests.get("PUT", 0.0),
        gets=requests.get("GET", 0.0),
    )


def _beyond(held_s: float, idle_s: float, waiting: int) -> float:
    return max(0.0, 1e3 * (held_s - idle_s / waiting))


def is_kept(table: str) -> bool:
    """Whether what a generation leaves in a table stays there; jobs are deleted."""
    return table != "pgqueuer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What so many generations a day take. Rates are of the busiest hour, unless a name says day."""

    per_day: float
    peak_per_s: float
    held: float
    serves: int
    works: int
    database_cores: float
    database_share: float
    """Of its cores, that no gateway needs."""
    connections: int
    transactions_per_s: float
    syncs_per_s: float
    wal_bytes_per_day: float
    rows_bytes_per_day: float
    rows_bytes_per_year: float
    puts_per_day: float
    gets_per_day: float
    deletes_per_day: float
    image_bytes_per_day: float
    image_bytes_kept: float
    image_mb_per_s: float
    rows_per_month: Mapping[str, float]
    bytes_per_month: Mapping[str, float]
    fits: bool
    """Whether one database does it: its cores, and what more processes cost each other. Else processes, cores and
    connections mean nothing; everything else is the same for however many databases."""


def plan_of(per_day: float, cost: Cost, assumed: Assumed) -> Plan:
    """Reckon what so many generations a day take.

    Processes make each generation a little dearer for all, so their number is looked for: as many as what they cost
    themselves still lets be enough.
    """
    mean = per_day / DAY_S
    peak = assumed.peak * mean
    held = peak * assumed.made_in_s
    serves, works, converges = 2, 2, False
    for _ in range(200):
        more = max(serves, works) - 1
        serve_ms = cost.serve_ms + more * cost.serve_ms_more + assumed.image_mb * cost.serve_ms_per_mb
        work_ms = cost.work_ms + more * cost.work_ms_more + assumed.image_mb * cost.work_ms_per_mb
        serve = (peak * serve_ms + held * cost.serve_held_ms) / 1e3
        work = (peak * work_ms + held * cost.work_held_ms) / 1e3
        needed = max(2, _processes(serve, held, assumed)), max(2, _processes(work, held, assumed))
        if needed == (serves, works):
            converges = True
            break
        serves, works = needed
        if max(needed) > 10_000:
            break
    pairs = max(serves, works)
    database_ms = cost.database_ms + (pairs - 1) * cost.database_ms_more
    cores = (peak * database_ms + held * cost.database_held_ms + pairs * cost.database_idle_ms) / 1e3
    per_checkpoint = max(1.0, mean * assumed.checkpoint_s)
    pages = max(cost.wal_pages_bytes, cost.wal_pages_bytes_alone / per_checkpoint)
    wal = per_day * (cost.wal_bytes + pages + assumed.made_in_s * cost.wal_held_bytes)
    packed = 1 / (1 - assumed.dead_share)
    rows = per_day * (cost.row_bytes + cost.index_bytes) * packed
    images = per_day * assumed.image_mb * MB
    days = assumed.collected_share * assumed.kept_days + (1 - assumed.collected_share) * assumed.kept_days_max
    return Plan(
        per_day=per_day,
        peak_per_s=peak,
        held=held,
        serves=serves,
        works=works,
        database_cores=cores / assumed.busy,
        database_share=cores,
        connections=serves * assumed.pool_serve + works * assumed.pool_work,
        transactions_per_s=peak * cost.transactions,
        syncs_per_s=peak * cost.syncs,
        wal_bytes_per_day=wal + pairs * cost.wal_idle_bytes * DAY_S,
        rows_bytes_per_day=rows,
        rows_bytes_per_year=365 * rows,
        puts_per_day=per_day * cost.puts,
        gets_per_day=per_day * cost.gets,
        deletes_per_day=per_day / assumed.deletes_each,
        image_bytes_per_day=images,
        image_bytes_kept=images * days,
        image_mb_per_s=peak * assumed.image_mb,
        rows_per_month={name: 30 * per_day * rows for name, rows in cost.rows_by_table.items()},
        bytes_per_month={name: 30 * per_day * size * packed for name, size in cost.bytes_by_table.items()},
        fits=converges and cores / assumed.busy <= assumed.cores_max,
    )


def _processes(cores: float, held: float, assumed: Assumed) -> int:
    return max(ceil(cores / assumed.busy), ceil(held / assumed.waiting_max))


def most_per_day(cost: Cost, assumed: Assumed) -> float:
    """How many a day the largest database does, by its cores alone; the nearest below in steps of a tenth."""
    per_day = 1000.0
    while plan_of(per_day * 1.1, cost, assumed).fits and per_day < 1e9:
        per_day *= 1.1
    return per_day


def databases_of(per_day: float, cost: Cost, assumed: Assumed) -> int:
    """How many databases do it, each with processes and tenants of its own, none of them too large."""
    count = 1
    while not plan_of(per_day / count, cost, assumed).fits and count < 1000:
        count += 1
    return count


def by_processor(cell: Mapping[str, Any], cores: int) -> float:
    """How many a second so many cores would finish, if nothing but CPU counted: simulator and callers included."""
    return cores / float(sum(cell["each"]["cpu_s"].values()))


def saturated(cell: Mapping[str, Any], cores: int) -> str:
    """Say in words what a rate ended at: the processor, whoever had it; else waiting, for one another and the disk."""
    used = {name: value for name, value in cell["cores"].items() if name != "window_s"}
    busy, elsewhere = sum(used.values()), max(0.0, used.pop("elsewhere"))
    shares = {
        "gateways": sum(used.get(name, 0.0) for name in OF_A_GATEWAY),
        "PostgreSQL": database_s(used),
        "simulator and callers": used["simulator"] + used["callers"],
    }
    told = ", ".join(f"{name} {share:.2f}" for name, share in shares.items() if share >= 0.005)
    if busy < 0.93 * cores:
        what = "waiting: rows of the books that all write, and syncs"
    elif elsewhere >= 0.25 * cores:
        what = "the processor, which other work had"
    else:
        what = "the processor"
    return f"{what} ({told}, other work {elsewhere:.2f})"
