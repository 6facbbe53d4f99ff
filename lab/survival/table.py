"""The figures as Markdown, and the bars. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

US = "holdfast"
PICTURE = "![What became of the orders, and where the charged images are](../../docs/images/survival.svg)"
COLLECTED_LEAST = 0.999
ROWS = (
    ("orders", "asked"),
    ("image in the caller's hands", "images"),
    ("fetched afterwards", "fetched"),
    ("share of the orders with an image", "in_hand_share"),
    ("told that there is none", "told"),
    ("left without a word", "nothing"),
    ("told of a success that is none", "wrong"),
    ("images charged", "charges_images"),
    ("images charged per image in hand", "charges_per_image"),
    ("images charged that nobody has", "images_missed"),
    ("of these: the outcome is on record as unknown", "unknown_images"),
    ("of these: broken off by the upstream, on record as paid", "broken"),
    ("of these: lost", "lost"),
    ("charged without an image (refused)", "charges_other"),
)
KNOWN_BY_RECORDS = frozenset({"fetched", "unknown_images", "broken", "lost"})
"""What nobody can tell where no records are kept."""
RECORDS = (
    ("accepted", "accepted"),
    ("share whose image was collected", "collected_share"),
    ("the same, of those that have one", "collected_share_of_known"),
    ("ended with an image", "succeeded"),
    ("ended as a failure", "failed"),
    ("of these: outcome unknown", "unknown"),
    ("without an end", "unended"),
    ("failures whose `paid` is not true", "dishonest"),
    ("beyond the first of an order", "surplus"),
    ("images of orders that have one", "extra"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One promise: a figure, its limit, and the verdict."""

    name: str
    figure: float | None
    limit: float
    at_least: bool = False

    @property
    def verdict(self) -> str:
        """`met`, `NOT MET`, or why there is none."""
        if self.figure is None:
            return "no figure"
        return "met" if (self.figure >= self.limit if self.at_least else self.figure <= self.limit) else "NOT MET"


def bars_of(record: Mapping[str, Any]) -> list[Bar]:
    """Everything that is promised, of holdfast's turn; nothing where it had none."""
    turn = record["subjects"].get(US)
    if turn is None:
        return []
    total, ledger = turn["total"], turn["ledger"]
    return [
        Bar(name="accepted generations without an end", figure=total["unended"], limit=0),
        Bar(name="successes that are none, failures that are not as told", figure=dishonest(total), limit=0),
        Bar(name="images known to be paid that are lost", figure=total["lost"], limit=0),
        Bar(
            name="collected, of the generations that have an image",
            figure=total["collected_share_of_known"],
            limit=COLLECTED_LEAST,
            at_least=True,
        ),
        Bar(name="whatever else must not be", figure=len(turn["problems"]), limit=0),
        Bar(name="ledger: rules that do not hold", figure=len(ledger["problems"]), limit=0),
        Bar(name="ledger: sum of all accounts, micros", figure=abs(sum(ledger["accounts"].values())), limit=0),
        Bar(name="charged by the upstream beyond what is booked, micros", figure=unbooked(total, ledger), limit=0),
    ]


def dishonest(total: Mapping[str, Any]) -> int:
    """Count what was not true."""
    return int(total["dishonest"] + total["wrong"])


def unbooked(total: Mapping[str, Any], ledger: Mapping[str, Any]) -> int:
    """Give what the upstream charged and our books neither know as a cost nor count as possible."""
    booked = -sum(micros for account, micros in ledger["accounts"].items() if account.startswith("provider:"))
    return max(0, int(total["micros"]) - booked)


def of_subject(turn: Mapping[str, Any]) -> str:
    """Write one subject's figures, by kind of caller."""
    kinds = [*turn["kinds"], "all"]
    tallies = [*turn["kinds"].values(), turn["total"]]
    wanted = ROWS + (RECORDS if turn["ledger"] is not None else ())
    rows = [[title, *(_cell(turn, tally, name) for tally in tallies)] for title, name in wanted]
    lines = [f"\n### {turn['title']} {turn['version']}\n", _table(["", *kinds], rows), ""]
    served = f", served again after {median(turn['restarts_s']):.1f} s (median)" if turn["restarts_s"] else ""
    lines.append(
        f"{turn['connections']} connections, {turn['connections_killed']} of them killed; {len(turn['kills_at_s'])} "
        f"kills of the gateway{served}; {turn['seconds']:.0f} s."
    )
    lines += [f"- without an image, {count}: {cause}" for cause, count in turn["causes"].items()]
    lines += [f"- PROBLEM: {problem}" for problem in turn["problems"][:20]]
    return "\n".join(lines)


def of_all(record: Mapping[str, Any]) -> str:
    """Write the subjects beside each other, and the bars."""
    turns = list(record["subjects"].values())
    rows = [[title, *(_cell(turn, turn["total"], name) for turn in turns)] for title, name in ROWS]
    parts = ["\n### Beside each other\n", _table(["", *(turn["title"] for turn in turns)], rows)]
    if bars := bars_of(record):
        lines = [
            [bar.name, number(bar.figure), f"{'>=' if bar.at_least else '<='} {number(bar.limit)}", bar.verdict]
            for bar in bars
        ]
        parts += ["\n### Bars\n", _table(["bar", "holdfast", "limit", "verdict"], lines)]
    return "\n".join(parts)


def result_of(record: Mapping[str, Any]) -> str:
    """Write everything that a page says of a run."""
    known, machine = record["options"], record["machine"]
    versions = ", ".join(f"{turn['title']} {turn['version']}" for turn in record["subjects"].values())
    changed = " with changes" if machine["is_modified"] else ""
    ran = (
        f"`{record['command']}` on {record['at'][:10]}: {known['count']:,} orders, {known['kills']} kills, seed "
        f"{known['seed']}, speed {known['speed']:g}. Commit {machine['commit']}{changed}, {machine['cores']} cores of "
        f"{machine['cpu']}, Python {machine['python']}. {versions}."
    )
    absent = [f"Absent: {name}: {why}" for name, why in record["absent"].items()]
    parts = [PICTURE, ran, *absent, of_all(record), *(of_subject(turn) for turn in record["subjects"].values())]
    return "\n\n".join(part.strip() for part in parts)


def with_result(page: str, record: Mapping[str, Any]) -> str:
    """Put a run's figures in the place of those that a page has."""
    before, head, rest = page.partition("## Result\n")
    _, tail, after = rest.partition("## Limits\n")
    assert head, "a page with a place for the result"
    assert tail, "a page with a place for the result"
    return f"{before}{head}\n{result_of(record)}\n\n{tail}{after}"


def _cell(turn: Mapping[str, Any], tally: Mapping[str, Any], name: str) -> str:
    return "-" if name in KNOWN_BY_RECORDS and turn["ledger"] is None else number(tally[name])


def number(value: float | None) -> str:
    """Write a figure; a share that is not whole keeps its digits, so that 99.94 % is not 100."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:.4f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
