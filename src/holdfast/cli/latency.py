"""`holdfast latency`: how long images take, as a gateway has learnt it: a table, and a picture by hours."""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence
from itertools import groupby
from math import ceil, floor, log10
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli.columns import columns
from holdfast.cli.exits import Exit, Stop
from holdfast.types import Tier

if TYPE_CHECKING:
    from holdfast.config import Settings
    from holdfast.wire.latency import LatencyQuery, LatencyReport, LatencyRow

PLOT_CHARS = 24
STEP = 1.12
"""About the width of a step of a distribution, as gateways tell it."""
_BLOCKS = " ▁▂▃▄▅▆▇█"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("latency", help="show how long images take, as a gateway has learnt it")
    parser.add_argument("--model", help="only this model")
    parser.add_argument("--size", choices=[tier.value for tier in Tier], help="only this size")
    parser.add_argument("--window", choices=["1h", "24h", "7d"], help="only what was measured within this")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the last week by hours into FILE, as SVG")
    parser.add_argument(
        "--measure", action="store_true", help="make images now, one after another, and time them: paid"
    )
    parser.add_argument(
        "--times", type=int, default=1, metavar="N", help="with --measure: images of each size, 1 to 20"
    )
    parser.add_argument("--yes", action="store_true", help="with --measure: do not ask whether the price is right")
    parser.add_argument("--base-url", help="else HOLDFAST_BASE_URL, else the gateway of the settings, on this machine")
    parser.add_argument("--api-key", help="else HOLDFAST_API_KEY, else what a gateway on this machine wrote down")


def run(args: argparse.Namespace) -> int:
    """Ask a gateway, or with `--data` look into its folder; then print."""
    from holdfast.cli.latency_plot import svg
    from holdfast.config import load
    from holdfast.wire.latency import LatencyQuery, render_latency

    settings = load(args.config, os.environ)
    if args.measure:
        from holdfast.cli.measuring import run_measure

        return run_measure(args, settings)
    size = None if args.size is None else Tier(args.size)
    query = LatencyQuery(model=args.model, size=size, window=args.window, detail=True)
    if args.data is not None:
        if args.base_url is not None:
            raise Stop(Exit.USAGE, "Leave out --base-url or --data: a gateway is asked, or a folder is read.")
        report = of_folder(args.data, settings, query)
    else:
        report = asyncio.run(_of_gateway(args, settings, query))
    if args.plot is not None:
        args.plot.write_text(svg(report), "utf-8")
    if args.json:
        print(render_latency(report).decode())
    else:
        print("\n".join(table(report)))
        if args.plot is not None:
            print(f"\nwrote {args.plot}")
    return Exit.OK


def of_folder(data: Path, settings: Settings, query: LatencyQuery) -> LatencyReport:
    """Make the report from a data folder, which a gateway may be using: it is as old as its last commit, a minute.

    Raises:
        StorageError: There is none, or it cannot be read.
        Stop: The model is known neither to the folder nor to the settings.
    """
    from holdfast.cli.database import dsn_of
    from holdfast.clock import SystemClock
    from holdfast.engine.latencies import Latencies
    from holdfast.engine.learning import fill, oldest_hour
    from holdfast.gateway.latency import whole_report
    from holdfast.store.latency import get_sketches
    from holdfast.store.reading import snapshot
    from holdfast.wire.nearest import nearest

    clock = SystemClock()
    latencies = Latencies(settings.latency, clock)
    with snapshot(data, dsn_of(settings)) as conn:
        fill(latencies, get_sketches(conn, oldest_hour(latencies)))
    names = {name: route.model for route in settings.routes for name in (route.model, *route.aliases)}
    names |= {model: model for model in latencies.models()}
    models = sorted(set(names.values()))
    if query.model is not None:
        if query.model not in names:
            raise Stop(Exit.NO_SUCH_MODEL, f"There is no model {query.model!r} there. {nearest(query.model, names)}")
        models = [names[query.model]]
    return whole_report(latencies, clock.now(), models, query)


async def _of_gateway(args: argparse.Namespace, settings: Settings, query: LatencyQuery) -> LatencyReport:
    import msgspec

    from holdfast.cli.api_key import find_api_key
    from holdfast.cli.asked import base_of
    from holdfast.cli.generate import key_files, local_base_url
    from holdfast.cli.reaching import reach
    from holdfast.providers.http import HttpRequest
    from holdfast.wire.latency import decode_latency

    base_url = base_of(args.base_url or os.environ.get("HOLDFAST_BASE_URL") or local_base_url(settings))
    key = find_api_key(args.api_key, os.environ, base_url, key_files(settings))
    bearer = [("Authorization", f"Bearer {key.value}")] if key.value else []
    url = f"{base_url}/latency?{_spelled(query)}"
    request = HttpRequest(method="GET", url=url, headers=(("Accept", "application/json"), *bearer), body=())
    status, body = await reach(base_url, request)
    if status != 200:
        stop = refused(status, body)
        raise Stop(stop.code, key.refused(stop.message)) if stop.code is Exit.KEY_WRONG else stop
    try:
        return decode_latency(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Stop(Exit.USAGE, f"{base_url} answers, and not as holdfast does. Is the URL right?") from exc


def _spelled(query: LatencyQuery) -> str:
    from urllib.parse import urlencode

    asked = {"model": query.model, "size": query.size, "window": query.window, "detail": "true"}
    return urlencode({name: value for name, value in asked.items() if value is not None})


def refused(status: int, body: bytes) -> Stop:
    """Tell an answer that is no report."""
    import msgspec

    from holdfast.cli.exits import of_answer

    try:
        problem = msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Stop(of_answer(status, None), f"HTTP {status}, and no error of holdfast. Is the URL right?")
    code, detail = problem.get("code"), problem.get("detail")
    about_model = problem.get("param") == "model"
    return Stop(
        Exit.NO_SUCH_MODEL if about_model else of_answer(status, code if isinstance(code, str) else None),
        detail if isinstance(detail, str) else f"HTTP {status}",
    )


# Printing


def table(report: LatencyReport) -> list[str]:
    """Lay the report out: a block for each model and size, a line for each upstream and window."""
    if not report.data:
        return ["No model is served there, and nothing was measured."]
    lines: list[str] = []
    for (model, size), group in groupby(report.data, key=lambda row: (row.model, row.size)):
        rows = list(group)
        axis = Axis.of(rows)
        cells = [(*_HEAD, axis.told()), *(_cells(row, axis) for row in rows)]
        lines += ["", f"{model} {size}", *columns(cells, right=_FIGURES)]
    foot = (
        "* is what estimates and deadlines are made from. "
        f"Published figures count as {report.prior_weight:g} calls; how much of a line they are, `prior` tells."
    )
    return [*lines[1:], "", foot]


_HEAD = ("upstream", "window", "calls", "timed out", "p50", "p95", "p99", "prior")
_FIGURES = range(2, len(_HEAD))


def _cells(row: LatencyRow, axis: Axis) -> tuple[str, ...]:
    return (
        "all" if row.upstream is None else row.upstream,
        f"{row.window}{' *' if row.is_used else ''}",
        f"{row.count:,}",
        f"{row.timed_out:,}",
        *(seconds(each) for each in (row.p50_s, row.p95_s, row.p99_s)),
        f"{row.prior_share:.0%}",
        axis.plot(row),
    )


def seconds(value: float) -> str:
    """Spell a time as briefly as it can be read."""
    return f"{value:,.0f} s" if value >= 10 else f"{value:.1f} s" if value >= 1 else f"{value:.3f} s"


class Axis:
    """The seconds under the small plots of a block, on a logarithmic scale; the same for all of its lines."""

    def __init__(self, first_s: float, last_s: float) -> None:
        self.first_s = first_s
        self.last_s = last_s

    @classmethod
    def of(cls, rows: Sequence[LatencyRow]) -> Axis:
        """Make it wide enough for every line."""
        steps = [step.until_s for row in rows for step in row.distribution] or [1.0, 10.0]
        # A step's share came before its end.
        return cls(min(steps) / STEP, max(steps))

    def _place(self, seconds: float) -> float:
        """Say where a time lies, in characters from the left."""
        return PLOT_CHARS * log10(seconds / self.first_s) / log10(self.last_s / self.first_s)

    def told(self) -> str:
        """Say where it begins and ends."""
        first, last = seconds(self.first_s), seconds(self.last_s)
        return first + last.rjust(PLOT_CHARS - len(first))

    def plot(self, row: LatencyRow) -> str:
        """Draw a distribution, the most frequent time highest."""
        heights = [0.0] * PLOT_CHARS
        before = max(0.0, self._place(row.distribution[0].until_s / STEP)) if row.distribution else 0.0
        for step in row.distribution:
            until = self._place(step.until_s)
            # A step may be wider than a character, or narrower: each gets its part of it.
            first, last = min(floor(before), PLOT_CHARS - 1), max(floor(before) + 1, ceil(until))
            for at in range(first, min(last, PLOT_CHARS)):
                covered = min(at + 1.0, until) - max(float(at), before)
                heights[at] += step.share * (covered / (until - before) if until > before else 1.0)
            before = until
        highest = max(heights) or 1.0
        # Whatever is there at all is seen.
        marks = [_BLOCKS[max(1, round(each / highest * 8))] if each > 0.0 else " " for each in heights]
        return "".join(marks).rstrip()
