"""C11: timeouts of 300, 300 and 600 s for 1K, 2K and 4K cover over 99 % of calls, the 17 January 2026 included."""

from __future__ import annotations

import asyncio
from typing import Any

from judgement import Judgement, figures_table

from holdfast.clock import SystemClock
from holdfast.policy.latency import prior
from holdfast.types import Tier
from holdfast.whatif.files import load_scenario
from holdfast.whatif.scenario import Incident

CLAIM = "timeouts of 300, 300 and 600 s for 1K, 2K and 4K cover over 99 % of calls, the 17 January 2026 included"
METHOD = (
    "No image API can be called here, so this is arithmetic on what is published: the percentiles of Nano Banana Pro "
    "by size (P50, P95, P99), and how much longer images took on 17 January (20-40 s grew to 180 s: 4.5 times). For "
    "each size the share of images that are there within the timeout is worked out on a usual day, in the peak, and "
    "over the eight hours of the scenario that `holdfast whatif` ships, weighted by its load."
)
LIMITS = (
    "Times only: a call that is turned away is none that a timeout covers. The shape of the day around its peak is "
    "assumed, and so is that every size slows down alike."
)
TIMEOUTS_S = {Tier.K1: 300.0, Tier.K2: 300.0, Tier.K4: 600.0}
SCENARIO = "peak-2026-01-17"
HOURS = 8


def covered(tier: Tier, factor: float) -> float:
    """Say what share of a size's images is there within its timeout when all take so many times as long."""
    return prior(tier, scale=factor).fraction_done(TIMEOUTS_S[tier])


async def measure(wait_s: float) -> dict[str, Any]:
    """Work it out; nothing is waited for."""
    del wait_s
    incident: Incident = await asyncio.to_thread(load_scenario, SCENARIO)
    factors = [incident.scenario.hour_factor(hour * 3600.0) for hour in range(HOURS)]
    rows = [
        {
            "size": tier.value,
            "timeout_s": timeout_s,
            "share_of_load": incident.load.sizes[tier],
            "usual": covered(tier, 1.0),
            "peak": covered(tier, max(factors)),
            "day": sum(covered(tier, factor) for factor in factors) / HOURS,
        }
        for tier, timeout_s in TIMEOUTS_S.items()
    ]
    worked_on = SystemClock().now().date().isoformat()
    return {
        "rows": rows,
        "factors": factors,
        "versions": {"published figures": "January 2026", "worked out": worked_on},
    }


def overall(figures: dict[str, Any], when: str) -> float:
    """Of all sizes together, as the scenario's load has them."""
    return sum(float(row[when]) * float(row["share_of_load"]) for row in figures["rows"])


def judge(figures: dict[str, Any]) -> Judgement:
    """True only if it holds in the peak as well."""
    usual, day, peak = (overall(figures, when) for when in ("usual", "day", "peak"))
    word = "true" if min(usual, day, peak) > 0.99 else "partly" if usual > 0.99 else "false"
    slowest = min(figures["rows"], key=lambda row: float(row["peak"]))
    return Judgement(
        word=word,
        why=f"On a usual day {usual:.2%} are there in time, over the eight hours of the scenario {day:.1%}, in its "
        f"peak {peak:.1%} (at {slowest['size']} {slowest['peak']:.1%} within {slowest['timeout_s']:.0f} s).",
        advice="Size a timeout by the worst day that you want to live through: while a model is measured to be slow, "
        "holdfast lets its deadlines grow (`deadlines.grows_when_slow`).",
    )


def table(figures: dict[str, Any]) -> str:
    """Write the shares."""
    rows = [
        (
            row["size"],
            f"{row['timeout_s']:.0f} s",
            *(f"{row[when]:.2%}" for when in ("usual", "day", "peak")),
        )
        for row in figures["rows"]
    ]
    rows.append(("all, by the load", "", *(f"{overall(figures, when):.2%}" for when in ("usual", "day", "peak"))))
    return figures_table(("size", "timeout", "usual day", "17 January, 08-16 UTC", "its peak, 10-14 UTC"), rows)
