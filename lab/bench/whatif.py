"""How many orders a second `holdfast whatif` plays on one core: each shipped policy, in scenarios that are hard on it.

    python lab/bench/whatif.py [--count 20000] [--rounds 3]

Every decision goes through the functions that the gateway ships. The best of the rounds counts: what else a machine
does only ever makes it slower.
"""

from __future__ import annotations

import argparse
import sys
import time

from holdfast.whatif.files import load_policy, load_scenario
from holdfast.whatif.play import play

BAR_PER_S = 4_000
SCENARIOS = ("steady", "overloaded", "peak-2026-01-17")
POLICIES = ("published-retries", "holdfast", "holdfast-two-upstreams")


def per_s(scenario: str, policy: str, *, count: int, rounds: int) -> float:
    """Play a load several times; give the orders a second of the fastest."""
    incident, rules = load_scenario(scenario), load_policy(policy)
    # Tables are made at the first use.
    play(incident, rules, count=10, seed=0)
    best_s = float("inf")
    for _ in range(rounds):
        begun_at = time.process_time()
        play(incident, rules, count=count, seed=0)
        best_s = min(best_s, time.process_time() - begun_at)
    return count / best_s


def main() -> int:
    """Print a table; 1 if something is too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="orders a round (20,000)")
    parser.add_argument("--rounds", type=int, default=3, help="of which the best counts (3)")
    args = parser.parse_args()
    print(f"orders a second of CPU time, {args.count:,} orders, best of {args.rounds}; at least {BAR_PER_S:,}")
    slowest = float("inf")
    for scenario in SCENARIOS:
        for policy in POLICIES:
            rate = per_s(scenario, policy, count=args.count, rounds=args.rounds)
            slowest = min(slowest, rate)
            print(f"  {scenario:<18} {policy:<24} {rate:10,.0f}  {'met' if rate >= BAR_PER_S else 'NOT MET'}")
    return int(slowest < BAR_PER_S)


if __name__ == "__main__":
    sys.exit(main())
