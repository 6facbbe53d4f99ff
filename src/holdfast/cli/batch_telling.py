"""What a batch tells: how it stands, what each line became, what failed and what to do. Values in, text out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.cli.exits import Exit
from holdfast.cli.progress import bar, duration

FAILURES_TOLD_MAX = 20
BAR_CELLS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a batch stands at one moment, in lines of its file."""

    total: int
    done: int
    """With their images on disk, those of earlier runs included."""
    failed: int
    running: int
    elapsed_s: float
    begun: float
    """Sum over the running ones: the share of past generations that had ended by their time, each [0, 1)."""
    ended_now: int
    """Of done and failed those of this run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A line that has no image, and why."""

    line: int
    code: Exit
    message: str
    paid: str
    """`no`, `yes` or `unknown`."""
    is_open: bool
    """Nobody knows yet what came of it: the same command again will."""
    ends_all: bool = False
    """It would befall every other line so: no more are sent."""
    generation_id: str | None = None


def standing_told(standing: Standing) -> str:
    """Say it in one line: `12 of 40 done, 4 being made, 1 failed; 3 min so far, about 5 min left`."""
    parts = [f"{standing.done} of {standing.total} done"]
    if standing.running:
        parts.append(f"{standing.running} being made")
    if standing.failed:
        parts.append(f"{standing.failed} failed")
    times = [f"{duration(standing.elapsed_s)} so far"]
    left_s = seconds_left(standing)
    if left_s is not None:
        times.append(f"about {duration(left_s)} left")
    return f"{', '.join(parts)}; {', '.join(times)}"


def seconds_left(standing: Standing) -> float | None:
    """Guess from the pace of this run; None before it has one, or when nothing is left."""
    left = standing.total - standing.done - standing.failed
    if not left or not standing.ended_now:
        return None
    return max(0.0, left - standing.begun) * standing.elapsed_s / (standing.ended_now + standing.begun)


def standing_drawn(standing: Standing, columns: int) -> str:
    """Draw it for a terminal this wide; it never wraps."""
    words = standing_told(standing)
    whole = (standing.done + standing.failed + standing.begun) / standing.total
    if columns - len(words) - 3 < BAR_CELLS:
        return words[: max(0, columns - 1)]
    return f"{bar(min(1.0, whole), BAR_CELLS)}  {words}"


def what_to_do(trouble: Trouble) -> str:
    """Say what helps a line that has no image."""
    if trouble.is_open:
        return "The same command again collects it."
    match trouble.code:
        case Exit.REFUSED:
            return "Change this prompt, then run the same command again."
        case Exit.USAGE | Exit.NO_SUCH_MODEL:
            return "Put this line right, then run the same command again."
        case _ if trouble.paid == "no":
            return "The same command again asks for it again."
        case _:
            return "The same command again looks for it and buys nothing; --retry-failed buys it again."


def troubles_told(troubles: Sequence[Trouble], journal: str) -> list[str]:
    """List what failed, in the order of the file."""
    ordered = sorted(troubles, key=lambda each: each.line)
    told = [f"line {each.line}: {each.message} {what_to_do(each)}" for each in ordered[:FAILURES_TOLD_MAX]]
    more = len(ordered) - len(told)
    return [*told, f"and {more} more; {journal} has them all."] if more > 0 else told


def exit_of(done: int, troubles: Sequence[Trouble]) -> Exit:
    """Give the exit code: 0, that of the failures where nothing at all came and they are alike, or partly failed."""
    if not troubles:
        return Exit.OK
    if done:
        return Exit.PARTLY_FAILED
    codes = {each.code for each in troubles}
    return codes.pop() if len(codes) == 1 else Exit.GENERATION_FAILED
