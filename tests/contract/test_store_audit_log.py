"""The log of changes: page by page whatever is filtered, and an end to it after a set time, in steps that are noted.

Another implementation joins by being added to `DATABASES`, as in `test_store_generations.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.store.audit_log import SWEEPER, changes, entries, expire, expired, note
from holdfast.store.sqlite import SqliteStore

DATABASES: dict[str, Callable[[Path], Any]] = {"sqlite": lambda folder: SqliteStore(folder / "holdfast.sqlite3", "me")}
NOW = "2026-11-28T12:00:00.000Z"


@pytest.fixture(params=DATABASES)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """Runs functions of the store in transactions."""
    store = DATABASES[request.param](tmp_path)
    yield store.write_sync
    store.close()


def day(number: int) -> str:
    """A moment of a day of the test's own year."""
    return f"2025-{1 + number // 28:02d}-{1 + number % 28:02d}T08:00:00.000Z"


def fill(run: Any, count: int) -> None:
    """Note a change a day, every third of another kind."""
    for number in range(count):
        action = "key.rotated" if number % 3 else "key.revoked"
        run(note, actor="key_1", action=action, target=f"key_{number}", at=day(number))


def targets(rows: Any) -> list[str]:
    """What was changed, in order."""
    return [row.target for row in rows]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("looks_at_max", [1, 2, 5, 1000])
def test_page_after_page_tells_each_change_once(run: Any, limit: int, looks_at_max: int) -> None:
    """However little a page looks at; a filter may give empty pages, and more behind them."""
    fill(run, 20)
    for action in (None, "key.revoked", "never.was"):
        wanted = targets(entries_of(run, action))
        seen: list[str] = []
        before: int | None = None
        for _ in range(60):
            page = run(changes, limit=limit, before=before, action=action, looks_at_max=max(looks_at_max, limit + 1))
            assert len(page.rows) <= limit
            seen += targets(page.rows)
            if not page.has_more:
                break
            assert page.last_id is not None
            assert before is None or page.last_id < before
            before = page.last_id
        assert seen == wanted


def entries_of(run: Any, action: str | None) -> Any:
    """All of them, at once."""
    return run(entries, limit=1000, action=action)


def test_an_empty_log_is_one_empty_page(run: Any) -> None:
    """Nothing follows."""
    page = run(changes, limit=5)
    assert (page.rows, page.has_more, page.last_id) == ((), False, None)


def test_what_is_too_old_goes_in_steps_and_each_is_noted(run: Any) -> None:
    """Oldest first, never more than a step at once; what is young enough stays as it was."""
    fill(run, 10)
    before, steps = day(7), []
    while run(expired, before, 3):
        steps.append(run(expire, before, 3, NOW))
    assert steps == [3, 3, 1]
    assert run(expire, before, 3, NOW) == 0
    kept = entries_of(run, None)
    notes = [row for row in kept if row.action == "audit.expired"]
    assert targets(row for row in kept if row not in notes) == ["key_9", "key_8", "key_7"]
    assert [(row.actor, row.target, row.at, row.details) for row in reversed(notes)] == [
        (SWEEPER, "audit", NOW, {"entries": 3, "first_at": day(0), "last_at": day(2)}),
        (SWEEPER, "audit", NOW, {"entries": 3, "first_at": day(3), "last_at": day(5)}),
        (SWEEPER, "audit", NOW, {"entries": 1, "first_at": day(6), "last_at": day(6)}),
    ]


def test_an_entry_of_a_clock_that_was_wrong_holds_nobody_up(run: Any) -> None:
    """One from the future among the oldest stays, those around it go."""
    fill(run, 2)
    run(note, actor="key_1", action="key.revoked", target="key_future", at="2999-01-01T00:00:00.000Z")
    run(note, actor="key_1", action="key.revoked", target="key_late", at=day(3))
    assert run(expire, day(9), 100, NOW) == 3
    assert targets(entries_of(run, None)) == ["audit", "key_future"]


def test_the_numbers_of_entries_are_never_used_again(run: Any) -> None:
    """A page that was read half goes on where it was, whatever has gone meanwhile."""
    fill(run, 6)
    page = run(changes, limit=2)
    assert run(expire, day(100), 100, NOW) == 6
    rest = run(changes, limit=2, before=page.last_id)
    assert (rest.rows, rest.has_more) == ((), False)
    (newest,) = entries_of(run, None)
    assert newest.id == 7
