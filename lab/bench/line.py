"""How long the line before an upstream takes for each thing it is asked, with 5,000 waiting.

    .venv/bin/python lab/bench/line.py            # prints a table, microseconds

For one flow, for a hundred, and for as many as there are calls: the worst case of a position. Credentials: ten. The
median of the rounds is shown, and their 99th percentile.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

from holdfast.policy.line import Limits, Line

WAITING = 5_000
ROUNDS = 400


def full(flows: int, rng: random.Random) -> Line:
    """A line whose places are taken, with 5,000 waiting."""
    line = Line(Limits(keys=10, concurrency=10, per_minute=600))
    line.begin_day(1e9, is_new=True)
    for number in range(100):
        line.hold(number, number % 10, now=100.0, expected_s=45.0)
    for number in range(100, 100 + WAITING):
        line.enter(number, flow=f"key_{rng.randrange(flows)}", weight=rng.choice((3, 4, 8)), expected_s=45.0)
    return line


def timed(work: Callable[[int], object], rounds: int = ROUNDS) -> list[float]:
    """Do something so often; microseconds each."""
    took: list[float] = []
    for number in range(rounds):
        began = time.perf_counter_ns()
        work(number)
        took.append((time.perf_counter_ns() - began) / 1000.0)
    return took


def measured(flows: int) -> dict[str, list[float]]:
    """Ask a line for everything that it can be asked, on and on; what is taken out is put back, outside the time."""
    rng = random.Random(7)
    line = full(flows, rng)
    fresh = iter(range(1_000_000, 2_000_000))
    waiting = list(range(100, 100 + WAITING))
    found: dict[str, list[float]] = {}

    def enter(number: int) -> None:
        line.enter(number, flow=f"key_{rng.randrange(flows)}", weight=8, expected_s=45.0)

    def left_and_next(number: int) -> None:
        line.leave(number)
        list(line.advance(1e6 + number))

    found["enter"] = timed(lambda _: enter(next(fresh)))
    gone = [waiting.pop(rng.randrange(len(waiting))) for _ in range(ROUNDS)]
    found["leave the middle"] = timed(lambda at: line.leave(gone[at]))
    # One that has a place gives it up, and the next in line has it.
    held = iter(range(100))
    found["a place goes to the next"] = timed(lambda _: left_and_next(next(held)), rounds=100)
    alive = [number for number in waiting if line.is_waiting(number)]
    asked = [rng.choice(alive) for _ in range(ROUNDS)]
    found["position"] = timed(lambda at: line.position_of(asked[at]))
    found["estimate"] = timed(lambda at: line.estimate_s(1 + at, now=200.0, expected_s=45.0))
    found["free"] = timed(lambda _: line.free(200.0))
    return found


def ninety_nine(took: list[float]) -> float:
    """The time that 99 of 100 rounds did not take."""
    return sorted(took)[len(took) * 99 // 100]


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None).parse_args()
    tables = {flows: measured(flows) for flows in (1, 100, WAITING)}
    print(f"{'microseconds: median (p99)':32}" + "".join(f"{flows:>14} flows" for flows in tables))
    for name in tables[1]:
        cells = (f"{statistics.median(table[name]):.1f} ({ninety_nine(table[name]):.0f})" for table in tables.values())
        print(f"{name:32}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
