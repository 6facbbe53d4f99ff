"""What is promised, and whether it was met: each bar is a line of the final table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

US, PLAIN, LITELLM = "holdfast", "nginx-unbuffered", "litellm"
MB, KB = 1e6, 1e3
Results = dict[str, dict[str, list[dict[str, Any]]]]
"""Scenario, subject, rounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One promise: a figure, its limit, and the verdict."""

    name: str
    figure: float | None
    limit: float | None
    unit: str
    at_least: bool = False
    because: str = ""

    @property
    def verdict(self) -> str:
        """`met`, `NOT MET`, or why there is none."""
        if self.figure is None or self.limit is None:
            return "no figure"
        return "met" if (self.figure >= self.limit if self.at_least else self.figure <= self.limit) else "NOT MET"


def median(results: Results, scenario: str, subject: str, name: str) -> float | None:
    """The median of a figure over the rounds that gave one."""
    values = [row[name] for row in results.get(scenario, {}).get(subject, []) if row.get(name) is not None]
    return statistics.median(values) if values else None


def worst(results: Results, scenario: str, subject: str, name: str) -> float | None:
    """The greatest of a figure over the rounds: for what must never happen."""
    values = [row[name] for row in results.get(scenario, {}).get(subject, []) if row.get(name) is not None]
    return max(values) if values else None


def times(factor: float, figure: float | None) -> float | None:
    """A multiple of another subject's figure, if there is one."""
    return None if figure is None else factor * figure


def all_bars(results: Results) -> list[Bar]:
    """Every bar of the bench."""
    return [*_throughput(results), *_memory(results), *_held(results), *_rest(results), *_durable(results)]


def _throughput(results: Results) -> Iterable[Bar]:
    for callers, share in ((8, 1.0), (1, 0.9)):
        scenario = f"4k-{callers}"
        rate = median(results, scenario, US, "images_per_s")
        plain = times(share, median(results, scenario, PLAIN, "images_per_s"))
        because = "nginx unbuffered" if share == 1 else f"{share} x nginx unbuffered"
        yield Bar(
            name=f"4K, {callers} callers: rate",
            figure=rate,
            limit=plain,
            unit="images/s",
            at_least=True,
            because=because,
        )
        three = times(3, median(results, scenario, LITELLM, "images_per_s"))
        yield Bar(
            name=f"4K, {callers} callers: rate",
            figure=rate,
            limit=three,
            unit="images/s",
            at_least=True,
            because="3 x LiteLLM",
        )
        cpu = times(1.25, median(results, scenario, PLAIN, "cpu_ms_per_image"))
        figure = median(results, scenario, US, "cpu_ms_per_image")
        yield Bar(
            name=f"4K, {callers} callers: CPU",
            figure=figure,
            limit=cpu,
            unit="ms/image",
            because="1.25 x nginx unbuffered",
        )


def _memory(results: Results) -> Iterable[Bar]:
    above = times(1 / MB, median(results, "memory", US, "above_idle_bytes"))
    yield Bar(name="32 x 4K at once: peak RSS above idle", figure=above, limit=64, unit="MB")


def _held(results: Results) -> Iterable[Bar]:
    per_held = times(1 / KB, median(results, "storm", US, "rss_per_held_bytes"))
    yield Bar(name="2,000 held: RSS each", figure=per_held, limit=32, unit="KB")
    yield Bar(
        name="2,000 x 1.5 MB due at once: lost", figure=worst(results, "storm", US, "lost"), limit=0, unit="answers"
    )
    yield Bar(
        name="2,000 x 1.5 MB due at once: p99 late",
        figure=median(results, "storm", US, "late_p99_s"),
        limit=median(results, "storm", PLAIN, "late_p99_s"),
        unit="s",
        because="nginx unbuffered",
    )
    peak = times(1 / MB, median(results, "storm", US, "peak_above_held_bytes"))
    yield Bar(name="2,000 x 1.5 MB due at once: peak RSS above held", figure=peak, limit=200, unit="MB")
    yield Bar(
        name="9,800 held, then due at once: lost", figure=worst(results, "crowd", US, "lost"), limit=0, unit="answers"
    )


def _rest(results: Results) -> Iterable[Bar]:
    yield Bar(
        name="request to upstream send: p50", figure=median(results, "overhead", US, "p50_ms"), limit=10, unit="ms"
    )
    yield Bar(
        name="request to upstream send: p99", figure=median(results, "overhead", US, "p99_ms"), limit=50, unit="ms"
    )
    yield Bar(name="start to first answer", figure=median(results, "start", US, "first_s"), limit=1.5, unit="s")
    size = times(1 / MB, median(results, "install", US, "bytes"))
    yield Bar(name="pip install: size", figure=size, limit=60, unit="MB")
    yield Bar(
        name="pip install: packages", figure=median(results, "install", US, "package_count"), limit=30, unit="packages"
    )


def _durable(results: Results) -> Iterable[Bar]:
    for what, name in (("join", "joining"), ("replay", "replay"), ("status", "status")):
        figure = median(results, "repeats", US, f"{what}_p99_ms")
        yield Bar(name=f"{name}, 200 a second beside 1,000 held: p99", figure=figure, limit=20, unit="ms")
    serving, taken_up = (median(results, "restart", US, name) for name in ("serving_s", "taken_up_s"))
    yield Bar(name="killed with 5,000 open: serving again", figure=serving, limit=2, unit="s")
    yield Bar(name="killed with 5,000 open: all taken up", figure=taken_up, limit=10, unit="s")
    each = times(1 / KB, median(results, "waiting", US, "bytes_each"))
    yield Bar(name="5,000 waiting: engine's share each", figure=each, limit=10, unit="KB")


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def bars_table(bars: list[Bar]) -> str:
    """The verdicts, as Markdown."""
    rows = [
        [
            bar.name,
            f"{_number(bar.figure)} {bar.unit}",
            f"{'>=' if bar.at_least else '<='} {_number(bar.limit)}{f' ({bar.because})' if bar.because else ''}",
            bar.verdict,
        ]
        for bar in bars
    ]
    return _table(["bar", "holdfast", "limit", "verdict"], rows)


COLUMNS: dict[str, list[tuple[str, str, float]]] = {
    "4k-1": [
        ("images/s", "images_per_s", 1),
        ("p50 ms", "p50_ms", 1),
        ("p99 ms", "p99_ms", 1),
        ("CPU-ms/image", "cpu_ms_per_image", 1),
    ],
    "4k-8": [
        ("images/s", "images_per_s", 1),
        ("p50 ms", "p50_ms", 1),
        ("p99 ms", "p99_ms", 1),
        ("CPU-ms/image", "cpu_ms_per_image", 1),
    ],
    "memory": [("idle MB", "idle_bytes", 1 / MB), ("peak above idle MB", "above_idle_bytes", 1 / MB)],
    "storm": [
        ("answered", "answered", 1),
        ("lost", "lost", 1),
        ("KB RSS each held", "rss_per_held_bytes", 1 / KB),
        ("CPU % holding", "cpu_share_holding", 100),
        ("late p50 s", "late_p50_s", 1),
        ("late p99 s", "late_p99_s", 1),
        ("peak above held MB", "peak_above_held_bytes", 1 / MB),
    ],
    "overhead": [("requests", "requests", 1), ("p50 ms", "p50_ms", 1), ("p99 ms", "p99_ms", 1)],
    "start": [("empty folder s", "first_s", 1), ("again s", "again_s", 1)],
    "install": [
        ("MB", "bytes", 1 / MB),
        ("MB without bytecode", "bytes_without_bytecode", 1 / MB),
        ("packages", "package_count", 1),
    ],
    "repeats": [
        ("held", "held", 1),
        *(
            (f"{what} {name} ms", f"{what}_{name}_ms", 1)
            for what in ("join", "replay", "status")
            for name in ("p50", "p99", "cpu")
        ),
    ],
    "restart": [
        ("open", "accepted", 1),
        ("accepted /s", "accepted_per_s", 1),
        ("serving s", "serving_s", 1),
        ("taken up s", "taken_up_s", 1),
    ],
    "waiting": [
        ("waiting", "waiting", 1),
        ("sent", "sent", 1),
        ("KB each", "bytes_each", 1 / KB),
        ("accepted /s", "accepted_per_s", 1),
    ],
}
COLUMNS["crowd"] = COLUMNS["storm"]


def scenario_table(results: Results, scenario: str, titles: dict[str, str]) -> str:
    """The medians of one scenario, a line for each subject, as Markdown."""
    columns = COLUMNS[scenario]
    rows = [
        [titles.get(subject, subject)]
        + [_number(times(scale, median(results, scenario, subject, name))) for _, name, scale in columns]
        for subject in results[scenario]
    ]
    return _table(["subject", *(title for title, _, _ in columns)], rows)
