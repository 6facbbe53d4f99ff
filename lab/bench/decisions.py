"""How long a decision takes: a choice of route, and what follows a failure, with 50 upstreams and 500 keys.

    .venv/bin/python lab/bench/decisions.py

Each figure is the median, over 15 rounds, of the mean over 5,000 calls, in CPU time of this process: what else the
machine does is left out. The bar is 20 microseconds for each.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable

from holdfast.policy.credentials import KeyPolicy
from holdfast.policy.health import HealthPolicy
from holdfast.policy.retry import Circumstances, RetryPolicy, Tally, decide_after_failure
from holdfast.policy.retry_budget import RetryBudget
from holdfast.policy.routing import Entry, choose
from holdfast.policy.standings import Standings
from holdfast.types import Charge, Failure, FailureKind, Phase

UPSTREAMS, KEYS = 50, 10
ROUNDS, CALLS = 15, 5_000
BAR_US = 20.0
NOW = 1000.0


def a_failure(kind: FailureKind) -> Failure:
    """One that cost nothing."""
    return Failure(kind=kind, phase=Phase.WAIT, charge=Charge.NO, detail="")


def median_us(function: Callable[[], object], rounds: int = ROUNDS, calls: int = CALLS) -> float:
    """Microseconds that a call takes."""
    took: list[float] = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(calls):
            function()
        took.append((time.process_time() - began) / calls * 1e6)
    return statistics.median(took)


def cases() -> dict[str, Callable[[], object]]:
    """What is timed, by name; the slowest choices are those that look at every entry."""
    names = [f"u{number}" for number in range(UPSTREAMS)]
    standings = Standings(
        dict.fromkeys(names, KEYS),
        key_policy=KeyPolicy(),
        health_policy=HealthPolicy(),
        budget=RetryBudget.full(share=0.1, burst=3),
    )
    ordered = tuple(Entry(upstream=name) for name in names)
    weighted = tuple(Entry(upstream=name, weight=1 + at % 3) for at, name in enumerate(names))
    resting = dict.fromkeys(names, NOW + 10.0)
    last = resting | {names[-1]: 0.0}
    avoided = dict.fromkeys(range(0, UPSTREAMS, 2), NOW + 5.0)
    limited, lost = a_failure(FailureKind.RATE_LIMITED), a_failure(FailureKind.UNREACHABLE)
    policy = RetryPolicy()
    sample = random.Random(1).random

    def after(failure: Failure) -> object:
        now = Circumstances(
            remaining_s=200.0, expected_s=45.0, jitter=sample(), next_after_s=0.0, next_expected_s=60.0, rest_s=3.0
        )
        return decide_after_failure(failure, tally=Tally.of((failure, failure)), now=now, policy=policy)

    def noted() -> object:
        name = names[int(sample() * UPSTREAMS)]
        return standings.failed(name, 3, limited, sent_at=NOW, now=NOW, jitter=sample())

    return {
        "route: the first one": lambda: choose(ordered, standings.ready, now=NOW, sample=sample()),
        "route: the last of 50": lambda: choose(ordered, last, now=NOW, sample=sample(), avoided=avoided),
        "route: one of 50 by weight": lambda: choose(weighted, standings.ready, now=NOW, sample=sample()),
        "route: none of 50, the soonest": lambda: choose(ordered, resting, now=NOW, sample=sample(), avoided=avoided),
        "after a 429": lambda: after(limited),
        "after a broken connection": lambda: after(lost),
        "a key is noted": noted,
    }


def main() -> int:
    """Print a table; 1 if something is too slow."""
    figures = {name: median_us(function) for name, function in cases().items()}
    print(f"{UPSTREAMS} upstreams, {UPSTREAMS * KEYS} keys; microseconds a call, at most {BAR_US:g}")
    for name, took_us in figures.items():
        print(f"  {name:<32} {took_us:6.2f}  {'met' if took_us <= BAR_US else 'NOT MET'}")
    return int(max(figures.values()) > BAR_US)


if __name__ == "__main__":
    sys.exit(main())
