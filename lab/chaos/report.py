"""The figures as Markdown. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from checks import TITLES

PICTURE = "![Callers, open generations and ends over the run, and what befell it](../../docs/images/chaos.svg)"
LINES = 20


def of(record: Mapping[str, Any]) -> str:
    """Write everything that there is to say of a run."""
    known, machine, figures = record["options"], record["machine"], record["figures"]
    changed = " with changes" if machine["is_modified"] else ""
    ran = (
        f"`{record['command']}` on {record['at'][:10]}: {record['seconds'] / 60:.1f} minutes, {known['in_flight']} "
        f"callers, speed {known['speed']:g}, seed {known['seed']}. Commit {machine['commit']}{changed}, "
        f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}."
    )
    parts = [ran, _table(["what befell", "times", "seconds in all"], _faults(record["faults"])), _figures(record)]
    parts += [_table(["", "invariant", "broken"], _invariants(record)), *_broken(record)]
    if figures["unexplained"]:
        parts.append("\n".join(f"- without a cause: {each}" for each in figures["unexplained"][:LINES]))
    return "\n\n".join(parts)


def _faults(faults: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    counts, seconds = Counter[str](), Counter[str]()
    for each in faults:
        name = " ".join(part for part in (each["kind"], each["peer"]) if part)
        counts[name] += 1
        seconds[name] += each["to_s"] - each["from_s"]
    return [[name, str(count), f"{seconds[name]:.0f}"] for name, count in sorted(counts.items())]


def _figures(record: Mapping[str, Any]) -> str:
    figures = record["figures"]
    ready = [start["ready_s"] for start in record["starts"] if start["ready_s"] is not None]
    takeovers = figures["takeovers_s"]
    open_ = [each["open"] for each in record["samples"] if each["open"] is not None]
    broken = record["broken_count"]
    cpu_ms = 1000 * record["cpu_s"]["cluster"] / figures["generations"]
    rows = [
        ["generations accepted", _number(figures["generations"])],
        ["in flight, median of those seen", _number(median(open_)) if open_ else "-"],
        *([f"ended as {state}", _number(count)] for state, count in sorted(figures["states"].items())),
        ["calls that cost nothing by the upstream's word", _number(figures["attempts"] - figures["charged"])],
        ["images charged by the upstream", _number(figures["charged"])],
        ["images on record", _number(figures["images"])],
        ["lost (I3)", _number(broken["I3"])],
        ["paid twice, not allowed (I2)", _number(broken["I2"])],
        ["paid twice, allowed after an unknown outcome", _number(figures["paid_twice_allowed"])],
        ["calls of unknown outcome", _number(figures["unknown"])],
        ["of these: charged", _number(figures["unknown_charged"])],
        ["of these: without a fault that explains it", _number(len(figures["unexplained"]))],
        *([f"unknown by {cause}", _number(count)] for cause, count in figures["unknown_by_cause"].items()),
        ["processes started", _number(len(record["starts"]))],
        ["from a start to the first call, median and longest, s", f"{median(ready):.1f}, {max(ready):.1f}"],
        ["taken over after kill -9, median and longest, s", _spread(takeovers)],
        ["most calls open with one credential", _most(figures["open_at_once"], record["options"]["concurrency"])],
        [
            "CPU of the cluster for a generation, ms",
            f"{cpu_ms:.0f}",
        ],
        *([f"callers, {end}", _number(count)] for end, count in figures["ends"].items()),
    ]
    return _table(["figure", ""], rows)


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.1f}, {max(values):.1f} ({len(values)} kills)" if values else "-"


def _most(by_credential: Mapping[str, int], limit: int) -> str:
    return f"{', '.join(str(most) for most in by_credential.values())} (may be {limit})"


def _invariants(record: Mapping[str, Any]) -> list[list[str]]:
    not_seen = record["not_seen"]
    return [
        [name, title, f"not seen here: {not_seen[name]}" if name in not_seen else _number(record["broken_count"][name])]
        for name, title in TITLES.items()
    ]


def _broken(record: Mapping[str, Any]) -> list[str]:
    lines = [f"- {name}: {message}" for name, found in record["broken"].items() for message in found[:LINES]]
    return ["\n".join(lines)] if lines else []


def with_result(page: str, record: Mapping[str, Any]) -> str:
    """Put a run's figures in the place of those that a page has."""
    before, head, rest = page.partition("## Result\n")
    _, tail, after = rest.partition("## Limits\n")
    assert head, "a page with a place for the result"
    assert tail, "a page with a place for the result"
    return f"{before}{head}\n{PICTURE}\n\n{of(record)}\n\n{tail}{after}"


def _number(value: float) -> str:
    return f"{value:,.0f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
