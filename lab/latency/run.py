"""What holdfast learns of an upstream that slows down and recovers: a gateway's own learning, hour by hour.

The upstream is the simulator's: its latencies are drawn as `holdfast simulate` draws them, from the published
distribution times a factor of the hour. Time is virtual, so a week takes seconds; what is learnt, mixed and granted is
done by the shipped code. An attempt that takes longer than it was granted is given up, and counts as it does in a
gateway.

    python lab/latency/run.py                 # run and write results/slowdown.json
    python lab/latency/run.py --draw          # draw docs/images/latency.svg from the results that are there
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from holdfast.cli.latency_plot import svg
from holdfast.config import Deadlines, LatencySettings
from holdfast.engine.latencies import Latencies
from holdfast.gateway.latency import whole_report
from holdfast.policy.deadlines import attempt_timeout_s
from holdfast.policy.latency import prior
from holdfast.types import Tier
from holdfast.wire.latency import LatencyQuery, decode_latency, render_latency

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results/slowdown.json"
OUT = HERE.parent.parent / "docs/images/latency.svg"
BEGAN_AT = datetime(2026, 1, 16, 12, 0, tzinfo=UTC)
FACTORS = ((22, 1.0), (4, 4.0), (22, 1.0))
"""Hours, and what the published latencies are multiplied by meanwhile."""
PLACE: dict[str, Any] = {"upstream": "google", "model": "nano-banana-pro", "tier": Tier.K4}


class Clock:
    """Goes where it is put."""

    def __init__(self) -> None:
        self.passed_s = 0.0

    def monotonic(self) -> float:
        """Seconds since the start."""
        return self.passed_s

    def now(self) -> datetime:
        """The wall clock."""
        return BEGAN_AT + timedelta(seconds=self.passed_s)

    def random(self) -> float:
        """Not used."""
        raise NotImplementedError

    def token(self, bytes_: int) -> bytes:
        """Not used."""
        raise NotImplementedError

    def new_id(self, prefix: str) -> str:
        """Not used."""
        raise NotImplementedError


def play(calls_per_h: int, seed: int) -> tuple[list[dict[str, float]], str]:
    """Play all hours; give a line for every ten minutes, and the report at the end."""
    chance, clock = random.Random(seed), Clock()
    latencies = Latencies(LatencySettings(), clock)
    lines: list[dict[str, float]] = []
    hours = [factor for count, factor in FACTORS for _ in range(count)]
    for hour, factor in enumerate(hours):
        lost = 0
        for call in range(calls_per_h):
            clock.passed_s = 3600.0 * (hour + call / calls_per_h)
            granted_s = attempt_timeout_s(Tier.K4, Deadlines(), p99_s=latencies.attempt_p99_s(**PLACE))
            took_s = prior(Tier.K4, scale=factor).quantile(min(max(chance.random(), 1e-6), 1 - 1e-6))
            if took_s > granted_s:
                lost += 1
                latencies.gave_up(**PLACE, seconds=granted_s)
            else:
                latencies.learn(**PLACE, seconds=took_s)
            if (call + 1) % max(1, calls_per_h // 6) == 0:
                expected = latencies.expect(**PLACE)
                lines.append(
                    {
                        "hour": round(hour + (call + 1) / calls_per_h, 3),
                        "factor": factor,
                        "p50_s": round(expected.expected_s, 1),
                        "p99_s": round(expected.p99_s, 1),
                        "granted_s": round(granted_s, 1),
                        "given_up_this_hour": lost,
                    }
                )
    report = whole_report(latencies, clock.now(), ["nano-banana-pro"], LatencyQuery(size=Tier.K4, detail=True))
    return lines, render_latency(report).decode()


def cost(rounds: int = 20_000) -> dict[str, float]:
    """Measure what asking and learning cost, CPU microseconds each; of mixing anew, with a whole week of hours."""
    clock = Clock()
    latencies = Latencies(LatencySettings(), clock)
    chance = random.Random(1)
    for hour in range(168):
        clock.passed_s = 3600.0 * hour
        for _ in range(200):
            latencies.learn(**PLACE, seconds=prior(Tier.K4).quantile(chance.uniform(0.001, 0.999)))

    def us(function: Any, count: int) -> float:
        best = float("inf")
        for _ in range(5):
            began = time.process_time()
            for _ in range(count):
                function()
            best = min(best, time.process_time() - began)
        return round(1e6 * best / count, 3)

    def renew() -> None:
        clock.passed_s += 1.0
        latencies.learn(**PLACE, seconds=100.0)
        latencies.expect(**PLACE)

    return {
        "expect_us": us(lambda: latencies.expect(**PLACE), rounds),
        "learn_us": us(lambda: latencies.learn(**PLACE, seconds=117.3), rounds),
        "mixed_anew_us": us(renew, 200),
    }


def main() -> None:
    """Run and write, or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300, help="calls an hour")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--draw", action="store_true", help="draw docs/images/latency.svg from the results")
    args = parser.parse_args()
    if args.draw:
        report = json.dumps(json.loads(RESULTS.read_text("utf-8"))["report"])
        OUT.write_text(svg(decode_latency(report.encode())), "utf-8")
        return
    lines, report = play(args.calls, args.seed)
    few, _ = play(20, args.seed)
    record = {
        "python": sys.version.split()[0],
        "seed": args.seed,
        "calls_per_h": args.calls,
        "cost": cost(),
        "lines": lines,
        "lines_at_20_calls_per_h": few,
        "report": json.loads(report),
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    print(record["cost"])
    for line in [*lines[126:162:3], *lines[162:180:3]]:
        print(line)


if __name__ == "__main__":
    main()
