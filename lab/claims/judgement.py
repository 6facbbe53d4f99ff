"""What an experiment finds of a claim: one word, why, and the figures it rests on. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

WORDS = ("true", "false", "partly")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Of one claim."""

    word: str
    """One of `WORDS`."""
    why: str
    """One or two sentences that name the figures."""
    advice: str
    """What follows for whoever has read the claim."""

    def __post_init__(self) -> None:
        assert self.word in WORDS
        assert self.why.endswith(".")
        assert self.advice.endswith(".")

    def as_json(self) -> dict[str, Any]:
        """For the results."""
        return asdict(self)


def told_of(tells: Sequence[dict[str, Any]], client: str) -> dict[str, Any]:
    """Find what became of a client's call that met the longest silence."""
    return max((told for told in tells if told["client"] == client), key=lambda told: told["silence_s"])


def gave_up_s(told: dict[str, Any]) -> float | None:
    """After how many seconds a client gave up; None: it waited to the end."""
    return None if told["status"] == 200 else float(told["seconds"])


def figures_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table."""
    lines = [list(head), ["---"] * len(head), *[list(row) for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def tells_table(tells: Sequence[dict[str, Any]]) -> str:
    """Write what became of calls."""
    return figures_table(
        ("client", "silence", "ended after", "with"),
        [
            (
                told["client"],
                f"{told['silence_s']:g} s",
                f"{told['seconds']:.1f} s",
                str(told["status"]) if told["status"] is not None else f"`{told['error']}`",
            )
            for told in tells
        ],
    )
