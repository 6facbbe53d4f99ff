"""The corpus itself: every item names its rule, and the page tells what the table holds."""

from __future__ import annotations

from typing import Any

ALLOWED_5XX = {501, 505}


def holds(item: Any, data: bytes) -> bool:
    """Whether this is part of what an item sends."""
    return any(data in each for each in item.pieces if isinstance(each, bytes))


def test_the_corpus_is_what_it_says(corpus: Any) -> None:
    """Names are unique, each names its rule, and no status is a fault of ours."""
    names = [item.name for item in corpus.ITEMS]
    assert len(names) == len(set(names))
    for item in corpus.ITEMS:
        assert item.rule.startswith(("RFC ", "draft-", "OpenAPI", "reference")), item.name
        assert all(status < 500 or status in ALLOWED_5XX for status in item.statuses), item.name
    hiding = [item for item in corpus.ITEMS if holds(item, corpus.SECOND)]
    assert len(hiding) > 60
    # Where a second request is behind a first one, the connection ends; else somebody would answer it.
    assert [item.name for item in hiding if not item.closes] == []
    # Where one is the body of another, where that ends is not in doubt.
    inside = [
        item.name
        for item in corpus.ITEMS
        if any(corpus.INNER in each for each in item.pieces if isinstance(each, bytes))
    ]
    assert inside == ["get-with-a-body", "upgrade-h2c", "upgrade-h2c-later"]


def test_the_page_is_what_the_table_says(corpus: Any) -> None:
    """After a change of the table, `python tests/http/corpus.py` writes it anew."""
    assert corpus.PAGE.read_text("utf-8") == corpus.page()


def test_the_page_has_a_row_for_each(corpus: Any) -> None:
    """Under its section, with its rule and what is answered."""
    rows = [line for line in corpus.page().splitlines() if line.startswith("| ") and "RFC 9112 §6.3" in line]
    assert len(rows) == sum("RFC 9112 §6.3" in item.rule for item in corpus.ITEMS)
    assert all("400" in row or "401" in row or "closed" in row for row in rows)
