"""What a batch tells: how it stands, how long it may take, what failed, and what to do about it."""

from __future__ import annotations

import pytest

from holdfast.cli.batch_telling import (
    FAILURES_TOLD_MAX,
    Standing,
    Trouble,
    exit_of,
    seconds_left,
    standing_drawn,
    standing_told,
    troubles_told,
    what_to_do,
)
from holdfast.cli.exits import Exit


def standing(**fields: float) -> Standing:
    """Stand somewhere in a batch of forty."""
    at = {"total": 40, "done": 12, "failed": 1, "running": 4, "elapsed_s": 130.0, "begun": 1.0, "ended_now": 13}
    return Standing(**(at | fields))  # type: ignore[arg-type]


def trouble(line: int = 3, code: Exit = Exit.GENERATION_FAILED, paid: str = "no", is_open: bool = False) -> Trouble:
    """Have no image of a line."""
    return Trouble(line=line, code=code, message="What went wrong.", paid=paid, is_open=is_open)


def test_a_standing_is_one_sentence() -> None:
    """Counts first, then times."""
    assert standing_told(standing()) == (
        "12 of 40 done, 4 being made, 1 failed; 2 min 10 s so far, about 4 min 1 s left"
    )


def test_nothing_is_said_of_what_there_is_not() -> None:
    """No failures, nothing running, no pace yet."""
    told = standing_told(standing(done=0, failed=0, running=0, ended_now=0, elapsed_s=3.0))
    assert told == "0 of 40 done; 3 s so far"


def test_time_left_follows_the_pace_of_this_run() -> None:
    """What an earlier run did took other time; what is half made counts for half."""
    assert seconds_left(standing(done=20, failed=0, elapsed_s=100.0, begun=0.0, ended_now=10)) == pytest.approx(200.0)
    assert seconds_left(standing(done=20, failed=0, elapsed_s=100.0, begun=2.0, ended_now=10)) == pytest.approx(150.0)
    assert seconds_left(standing(done=40, failed=0)) is None
    assert seconds_left(standing(ended_now=0)) is None


@pytest.mark.parametrize("columns", [20, 60, 80, 120, 300])
def test_the_line_of_a_terminal_never_wraps(columns: int) -> None:
    """A redrawn line that wraps scrolls the screen away."""
    drawn = standing_drawn(standing(), columns)
    assert len(drawn) < columns
    assert ("█" in drawn) is (columns >= 120)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (trouble(is_open=True, paid="unknown"), "again collects it"),
        (trouble(code=Exit.REFUSED, paid="yes"), "Change this prompt"),
        (trouble(code=Exit.USAGE), "Put this line right"),
        (trouble(code=Exit.NO_SUCH_MODEL), "Put this line right"),
        (trouble(), "asks for it again"),
        (trouble(paid="unknown"), "--retry-failed buys it again"),
        (trouble(paid="yes"), "buys nothing"),
    ],
)
def test_every_failure_says_what_helps(case: Trouble, expected: str) -> None:
    """Never to pay again without being told so."""
    assert expected in what_to_do(case)


def test_failures_are_listed_in_the_order_of_the_file() -> None:
    """And no more of them than fit a screen; the rest are counted."""
    many = [trouble(line) for line in range(FAILURES_TOLD_MAX + 5, 0, -1)]
    told = troubles_told(many, "out/p.journal")
    assert told[0].startswith("line 1: What went wrong. ")
    assert len(told) == FAILURES_TOLD_MAX + 1
    assert told[-1] == "and 5 more; out/p.journal has them all."


@pytest.mark.parametrize(
    ("done", "codes", "expected"),
    [
        (3, [], Exit.OK),
        (0, [], Exit.OK),
        (1, [Exit.REFUSED], Exit.PARTLY_FAILED),
        (0, [Exit.REFUSED, Exit.REFUSED], Exit.REFUSED),
        (0, [Exit.REFUSED, Exit.USAGE], Exit.GENERATION_FAILED),
    ],
)
def test_the_exit_code_says_whether_some_of_it_came(done: int, codes: list[Exit], expected: Exit) -> None:
    """A script tells a batch to go on with from one that is wrong as a whole."""
    assert exit_of(done, [trouble(code=code) for code in codes]) is expected
