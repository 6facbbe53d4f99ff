"""The tables of docs/scale.md, written from the results: the record in, Markdown out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from math import ceil
from pathlib import Path
from typing import Any

from capacity import (
    DATABASE,
    DAY_S,
    GB,
    MB,
    OF_A_GATEWAY,
    Assumed,
    Cost,
    Plan,
    by_processor,
    cost_of,
    database_s,
    databases_of,
    is_kept,
    most_per_day,
    plan_of,
    saturated,
)

PER_DAY = (1e3, 1e5, 1e7)
MARKER = re.compile(r"(<!-- table ([\w-]+) -->\n).*?(<!-- /table -->)", re.DOTALL)
BY_MONTH = ("generation", "attempt", "blob", "event", "ledger_txn", "ledger_entry")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table; figures stand to the right."""
    names = list(head)
    lines = ["| " + " | ".join(names) + " |", "|---|" + "---:|" * (len(names) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def number(value: float) -> str:
    """Write a figure with what its size lets one believe."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{round(value, 2 - len(str(int(abs(value)))) + 1):,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2g}" if abs(value) < 1 else f"{value:.1f}"


def size(value: float) -> str:
    """Write bytes."""
    for unit, name in ((1e15, "PB"), (1e12, "TB"), (GB, "GB"), (MB, "MB"), (1e3, "KB")):
        if value >= unit:
            return f"{number(value / unit)} {name}"
    return f"{value:.0f} B"


def _title(name: str) -> str:
    if name == "sqlite":
        return "SQLite, one process"
    kind, _, count = name.partition("-")
    return f"PostgreSQL, {count} `all`" if kind == "all" else f"PostgreSQL, {count} `serve` and {count} `work`"


def loads(cells: Mapping[str, Any]) -> list[str]:
    """Name the cells that tell rates, in their order."""
    every = ["sqlite", *(f"all-{count}" for count in (1, 2, 4, 8)), *(f"split-{count}" for count in (1, 2, 4))]
    return [name for name in every if name in cells]


def cpu_table(record: Mapping[str, Any]) -> str:
    """CPU of each component."""
    rows = []
    base = _gateway_s(record["cells"]["sqlite"]) if "sqlite" in record["cells"] else None
    for name in loads(record["cells"]):
        cpu = record["cells"][name]["each"]["cpu_s"]
        parts = [1e3 * cpu.get(part, 0.0) for part in OF_A_GATEWAY]
        of_gateway = sum(parts)
        split = f"{parts[0]:.1f} + {parts[1]:.1f}" if name.startswith("split") else f"{of_gateway:.1f}"
        writer = 1e3 * (cpu.get(DATABASE[1], 0.0) + cpu.get(DATABASE[2], 0.0))
        rows.append(
            (
                _title(name),
                split,
                "" if base is None else f"{of_gateway / 1e3 / base:.2f}",
                f"{1e3 * cpu.get(DATABASE[0], 0.0):.1f}" if name != "sqlite" else "-",
                f"{writer:.2f}" if name != "sqlite" else "-",
                f"{1e3 * cpu['simulator']:.1f}",
                f"{1e3 * cpu['callers']:.1f}",
            )
        )
    head = ("CPU-ms of a generation", "gateway (serve + work)", "to SQLite's", "PostgreSQL's sessions")
    return table((*head, "its writers", "simulator", "callers"), rows)


def _gateway_s(cell: Mapping[str, Any]) -> float:
    return float(sum(cell["each"]["cpu_s"].get(name, 0.0) for name in OF_A_GATEWAY))


def throughput_table(record: Mapping[str, Any]) -> str:
    """Rates, and where they ended."""
    cells = record["cells"]
    rows = [
        (
            _title(name),
            f"{cells[name]['per_s']:.0f}",
            f"{1e3 * cells[name]['p50_s']:.0f}",
            f"{1e3 * cells[name]['p99_s']:.0f}",
            f"{by_processor(cells[name], record['machine']['cores']):.0f}",
            saturated(cells[name], record["machine"]["cores"]),
        )
        for name in loads(cells)
    ]
    if "accept" in cells:
        cell = cells["accept"]
        modelled = f"{by_processor(cell, record['machine']['cores']):.0f}"
        what = "accepted only: one `serve`, nobody works"
        rows.insert(1, (what, f"{cell['per_s']:.0f}", f"{1e3 * cell['p50_s']:.0f}", "", modelled, ""))
    head = ("", "generations/s", "p50 ms", "p99 ms", "modelled: by CPU alone")
    return table((*head, "what it ended at (cores that each had)"), rows)


def database_table(record: Mapping[str, Any]) -> str:
    """What the database does for a generation."""
    cells = record["cells"]
    names = [name for name in ("all-1", "all-2", "all-8", "split-1", "split-2", "collected") if name in cells]
    figures: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "statements": lambda c: number(c["each"]["statements"]["calls"]),
        "transactions": lambda c: number(c["run"]["database"]["commits"]),
        "ms inside statements, waiting for locks included": lambda c: number(c["each"]["statements"]["ms"]),
        "rows inserted": lambda c: number(c["run"]["database"]["inserted"]),
        "rows updated": lambda c: number(c["run"]["database"]["updated"]),
        "rows deleted": lambda c: number(c["run"]["database"]["deleted"]),
        "log (WAL), records": lambda c: size(c["each"]["wal_bytes"]["records"]),
        "log (WAL), whole pages": lambda c: size(c["each"]["wal_bytes"]["pages"]),
        "syncs of the log": lambda c: number(c["run"]["wal"]["syncs"]),
        "to PostgreSQL": lambda c: size(c["each"]["wire"]["to"]),
        "from PostgreSQL": lambda c: size(c["each"]["wire"]["from"]),
        "connections open": lambda c: str(c["connections"]),
    }
    titles = {"collected": "1 + 1, image collected"}
    heads = [titles.get(name, _title(name).removeprefix("PostgreSQL, ")) for name in names]
    rows = [(what, *(told(cells[name]) for name in names)) for what, told in figures.items()]
    return table(("of a generation", *heads), rows)


def rest_table(record: Mapping[str, Any]) -> str:
    """What stays."""
    run = record["cells"]["collected"]["run"]
    left, packed = run["tables"], run["packed"]
    rows = [
        (
            f"`{name}`",
            number(left[name]["inserted"]),
            number(left[name]["updated"]),
            number(left[name]["hot"]),
            size(left[name]["heap"] + left[name]["indexes"]),
            size(packed[name]["heap"]),
            size(packed[name]["indexes"]),
        )
        for name in sorted(left, key=lambda name: -left[name]["heap"] - left[name]["indexes"])
        if left[name]["inserted"] >= 0.5
    ]
    cost = cost_of(record["cells"])
    whole = sum(told["heap"] + told["indexes"] for name, told in left.items() if is_kept(name))
    rows.append(("all that stays", "", "", "", size(whole), size(cost.row_bytes), size(cost.index_bytes)))
    head = ("rows of a generation", "inserted", "updated", "of these in place", "bytes left behind the run")
    return table((*head, "packed: rows", "packed: indexes"), rows)


def rest_of_costs_table(record: Mapping[str, Any]) -> str:
    """What waiting, idling, large images and a bucket cost."""
    cells, cost = record["cells"], cost_of(record["cells"])
    held = cells["held"]["held"]
    bucket = cells["bucket"]["each"]
    large = cells["large"]["image_bytes"] / MB
    sql = cells["idle"]["per_s"]["statements"]["calls"]
    packed = cells["sparse"]["compressed"]["pages"]
    rows = [
        (
            f"waiting, for each of {held:,} held, a second",
            f"{cost.serve_held_ms:.4f}",
            f"{cost.work_held_ms:.4f}",
            f"{cost.database_held_ms:.4f}",
            f"log {size(cost.wal_held_bytes)}",
        ),
        (
            "doing nothing, a second, one of each",
            f"{cost.serve_idle_ms:.1f}",
            f"{cost.work_idle_ms:.1f}",
            f"{cost.database_idle_ms:.1f}",
            f"log {size(cost.wal_idle_bytes)}, {number(sql)} statements",
        ),
        (
            f"each MB of an image, taken in, kept, collected once (from {large:.1f} MB)",
            f"{cost.serve_ms_per_mb:.1f}",
            f"{cost.work_ms_per_mb:.1f}",
            "",
            "",
        ),
        (
            "an image in a bucket instead of a shared folder",
            f"{1e3 * (bucket['cpu_s']['serve'] - cells['collected']['each']['cpu_s']['serve']):+.1f}",
            f"{1e3 * (bucket['cpu_s']['work'] - cells['collected']['each']['cpu_s']['work']):+.1f}",
            "",
            f"{number(cost.puts)} PUT, {number(cost.gets)} GET",
        ),
        (
            "a generation right behind a checkpoint",
            "",
            "",
            "",
            f"log {size(cost.wal_pages_bytes_alone)} of whole pages; {size(packed)} with `wal_compression = on`",
        ),
    ]
    return table(("", "serve, CPU-ms", "work, CPU-ms", "PostgreSQL, CPU-ms", ""), rows)


def plan_table(record: Mapping[str, Any]) -> str:
    """The plans."""
    cost, assumed = cost_of(record["cells"]), Assumed()
    plans = [plan_of(per_day, cost, assumed) for per_day in PER_DAY]

    def line(what: str, told: Any) -> tuple[str, ...]:
        return (what, *(told(plan) for plan in plans))

    def split(told: Any) -> Any:
        """Of one of several databases, where one does not do it."""

        def cell(plan: Plan) -> str:
            count = databases_of(plan.per_day, cost, assumed)
            if count == 1:
                return str(told(plan))
            return f"{count} × {told(plan_of(plan.per_day / count, cost, assumed))}"

        return cell

    rows = [
        line("a second, in the busiest hour", lambda p: number(p.peak_per_s)),
        line("waiting at once", lambda p: number(p.held)),
        line("databases", lambda p: str(databases_of(p.per_day, cost, assumed))),
        line("`serve` processes, a core each", split(lambda p: p.serves)),
        line("`work` processes, a core each", split(lambda p: p.works)),
        line("PostgreSQL: cores that are busy", split(lambda p: number(p.database_share))),
        line("PostgreSQL: cores to have", split(lambda p: max(2, ceil(p.database_cores)))),
        line("connections (`max_connections` above it)", split(lambda p: f"{p.connections:,}")),
        line("transactions a second", lambda p: number(p.transactions_per_s)),
        line("syncs a second, at most", lambda p: number(p.syncs_per_s)),
        line("log (WAL) a day", split(lambda p: size(p.wal_bytes_per_day))),
        line("rows and indexes, a day more", lambda p: size(p.rows_bytes_per_day)),
        line("a year more, if nothing is dropped", lambda p: size(p.rows_bytes_per_year)),
        line("bucket: PUT and GET a day, each", lambda p: number(p.puts_per_day)),
        line("bucket: requests that delete, a day", lambda p: number(max(1.0, p.deletes_per_day))),
        line("images a day", lambda p: size(p.image_bytes_per_day)),
        line("images kept", lambda p: size(p.image_bytes_kept)),
        line("bytes of images a second, each way", lambda p: size(p.image_mb_per_s * MB)),
    ]
    return table(("modelled", *(f"{per_day:,.0f} a day" for per_day in PER_DAY)), rows)


def months_table(record: Mapping[str, Any]) -> str:
    """Rows and bytes of a month, of what would be partitioned."""
    cost, assumed = cost_of(record["cells"]), Assumed()
    plans = [plan_of(per_day, cost, assumed) for per_day in PER_DAY]
    rows = [
        (f"`{name}`", *(f"{_rows(plan, name)}, {size(plan.bytes_per_month[name])}" for plan in plans))
        for name in BY_MONTH
        if name in cost.rows_by_table
    ]
    return table(("modelled: a month's rows, with indexes", *(f"{per_day:,.0f} a day" for per_day in PER_DAY)), rows)


def _rows(plan: Plan, name: str) -> str:
    value = plan.rows_per_month[name]
    return f"{number(value / 1e6)} M" if value >= 1e6 else f"{number(value)}"


def limits_table(record: Mapping[str, Any]) -> str:
    """Where one database ends."""
    cost, assumed = cost_of(record["cells"]), Assumed()
    cells = record["cells"]
    best = max((name for name in loads(cells) if name != "sqlite"), key=lambda name: cells[name]["per_s"])
    rate = cells[best]["per_s"]
    most = most_per_day(cost, assumed)
    rows = [
        (
            f"one key's callers, on these {record['machine']['cores']} cores with everything beside it",
            f"{rate:.0f} a second ({_title(best)})",
            f"{number(rate * DAY_S / assumed.peak)}",
            "measured",
        ),
        (
            f"a database with {assumed.cores_max} cores, by its processor",
            f"{number(assumed.peak * most / DAY_S)} a second",
            f"{number(most)}",
            "modelled",
        ),
        *_bounds(cost, assumed),
    ]
    return table(("ends at", "rate", "a day, with its peak", ""), rows)


def _bounds(cost: Cost, assumed: Assumed) -> list[tuple[str, str, str, str]]:
    """What a disk and a log end at."""
    syncs = 10_000.0
    per_s = syncs / cost.syncs
    log = 100 * MB
    by_log = log / (cost.wal_bytes + cost.wal_pages_bytes + assumed.made_in_s * cost.wal_held_bytes)
    return [
        (
            f"a disk of {syncs:,.0f} syncs a second, no two commits in one",
            f"{number(per_s)} a second",
            number(per_s * DAY_S / assumed.peak),
            "modelled",
        ),
        (
            f"a log of {size(log)} a second, which one standby replays",
            f"{number(by_log)} a second",
            number(by_log * DAY_S / assumed.peak),
            "modelled",
        ),
    ]


def told_of(record: Mapping[str, Any]) -> str:
    """Say when, where and how it was measured."""
    machine, options = record["machine"], record["options"]
    before = [cell["busy_cores_before"] for cell in record["cells"].values()]
    changed = " with changes" if machine["is_modified"] else ""
    return (
        f"Measured on {record['at'][:10]} at commit {machine['commit']}{changed}: {machine['cores']} cores of "
        f"{machine['cpu']}, Linux {machine['kernel']}, Python {machine['python']}, PostgreSQL {record['postgresql']}; "
        f"{options['callers']} callers of one key for {options['seconds']:g} s, the median of {options['rounds']} "
        f"rounds. Other work kept {min(before):.1f} to {max(before):.1f} cores busy before a cell began, and gave way "
        "as far as the kernel makes it."
    )


def later_table(record: Mapping[str, Any]) -> str:
    """CPU of cells that were played again since, on a machine so busy that nothing else counts."""
    later = record["later"]
    rows = []
    for name in (each for each in loads(record["cells"]) if each in later["cells"]):
        before, after = record["cells"][name], later["cells"][name]
        rows.append((_title(name), _change(before, after, gateway_ms), _change(before, after, database_ms)))
    when = later["at"].replace("T", " ").replace("Z", " UTC")
    head = (f"CPU-ms of a generation, before and at commit {later['commit']} ({when})", "gateway", "PostgreSQL")
    return table(head, rows)


def _change(before: Mapping[str, Any], later: Mapping[str, Any], told: Callable[[Mapping[str, Any]], float]) -> str:
    return f"{told(before):.1f} → {told(later):.1f}"


TABLES = {
    "later": later_table,
    "told": told_of,
    "cpu": cpu_table,
    "database": database_table,
    "rest": rest_table,
    "throughput": throughput_table,
    "costs": rest_of_costs_table,
    "plan": plan_table,
    "months": months_table,
    "limits": limits_table,
}


def read(folder: Path) -> dict[str, Any]:
    """Read what was measured, and what of it was measured again since."""
    record, later = (json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("scale", "later"))
    return {**record, "later": later}


def filled(page: str, record: Mapping[str, Any]) -> str:
    """Write every table of a page anew, between its markers."""
    return MARKER.sub(lambda found: f"{found[1]}{TABLES[found[2]](record)}\n{found[3]}", page)


def gateway_ms(cell: Mapping[str, Any]) -> float:
    """CPU-ms of the gateways' processes for a generation."""
    return 1e3 * _gateway_s(cell)


def database_ms(cell: Mapping[str, Any]) -> float:
    """CPU-ms of the database for a generation."""
    return 1e3 * database_s(cell["each"]["cpu_s"])
