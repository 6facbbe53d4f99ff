"""Requests that are malformed, ambiguous, endless or slow: what is sent, which rule it breaks, what is answered.

One table for three readers: `test_corpus.py` plays it against a gateway, `test_corpus_through_nginx.py` through a
proxy, and `docs/discussions/malformed-requests.md` is written from it (`python tests/http/corpus.py`).

Every POST carries a body that would buy an image if it were taken, unless the body itself is what is wrong. `SECOND` is
a whole, authenticated request: where an item holds it, two readers could disagree about where the first one ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

import corpus_bodies as others
import corpus_forms as forms
import corpus_framing as framing
import corpus_heads as heads
from corpus_items import (
    AUTH,
    BODY,
    IMAGES,
    INNER,
    KEY,
    NATIVE,
    NOTHING,
    SECOND,
    Item,
    get,
    head,
    json_post,
)

__all__ = [
    "AUTH",
    "BODY",
    "IMAGES",
    "INNER",
    "ITEMS",
    "KEY",
    "NATIVE",
    "NOTHING",
    "PAGE",
    "SECOND",
    "Item",
    "get",
    "head",
    "json_post",
    "page",
]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "discussions" / "malformed-requests.md"

ITEMS: tuple[Item, ...] = (
    *framing.lengths.items,
    *framing.codings.items,
    *framing.chunks.items,
    *heads.lines.items,
    *heads.targets.items,
    *heads.sizes_and_times.items,
    *framing.expectations.items,
    *others.bodies.items,
    *others.forms.items,
    *forms.edits.items,
    *others.wishes.items,
)

ABOUT = """# Malformed requests

A gateway holds callers for minutes and spends money for them, and in front of it there is usually a proxy. Whoever can
make the two disagree about where a request ends has his own request answered to somebody else, or bought in somebody
else's name. So what could be read in two ways is refused, and the connection closed; what takes its time has an end.

Each line of the tables below is sent to a running gateway by `tests/http`, and again through nginx with one connection
for all. What must hold every time: at most one answer, which is the one in the table, within seconds; never a 5xx,
except 501 for a transfer coding that is not understood; nothing is bought; the next caller is answered at once; tasks
and descriptors are what they were. Through nginx, the callers behind it are each answered with their own.

Answers are JSON in the dialect of the path, with `paid: no`. Limits are settings: `server.header_bytes_max`,
`header_timeout_s`, `body_gap_s`, `idle_timeout_s`, `request_bytes_max` ([settings](../reference/settings.md)). Why some
of this is ours and not the parser's: [what the server adds](server.md).

*closed* means that no answer is sent, since nobody could read it or nothing was asked; *, closed* that the connection
ends behind the answer. Where several answers are given, the first is what is sent when all of it arrives in time.

<!-- Written by `python tests/http/corpus.py`. -->
"""


def page() -> str:
    """Write the page."""
    lines = [ABOUT]
    section = ""
    for item in ITEMS:
        if item.section != section:
            section = item.section
            lines.append(f"\n## {section}\n\n| Sent | Rule | Answer |\n|---|---|---|\n")
        lines.append(f"| {item.says} | {item.rule} | {_answer(item)} |\n")
    return "".join(lines)


def _answer(item: Item) -> str:
    words = " or ".join("closed" if status == NOTHING else str(status) for status in item.statuses)
    return words + (", closed" if item.closes and item.statuses[0] != NOTHING else "")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    sys.stdout.write(f"{PAGE.relative_to(ROOT)}: {len(ITEMS)} items\n")
