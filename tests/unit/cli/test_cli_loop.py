"""How serving ends, and what is said while it does."""

from __future__ import annotations

import asyncio
import io
import signal
import sys

import pytest

from holdfast.cli.loop import ENDS, drain_told, interrupted, run_on_loop, told_of_drain
from holdfast.log import emit


class Terminal(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.mark.parametrize(
    ("count", "grace_s", "told"),
    [
        (1, 300.0, "1 call is still held; waiting up to 5 min for it. Ctrl-C again ends at once."),
        (12, 3.0, "12 calls are still held; waiting up to 3 s for them. Ctrl-C again ends at once."),
    ],
)
def test_whoever_pressed_ctrl_c_learns_why_it_does_not_end(count: int, grace_s: float, told: str) -> None:
    """How many, how long at most, and what to do against it."""
    assert drain_told(count, grace_s) == told


@pytest.mark.parametrize(("count", "stream", "lines"), [(1, Terminal(), 1), (0, Terminal(), 0), (1, io.StringIO(), 0)])
def test_only_a_person_who_has_to_wait_is_told(
    monkeypatch: pytest.MonkeyPatch, count: int, stream: io.StringIO, lines: int
) -> None:
    """A log has `server.draining`, and nothing held is over at once."""
    monkeypatch.setattr(sys, "stderr", stream)
    with told_of_drain() as drained:
        emit("server.draining", level="debug", open=count, grace_s=300.0)
    assert not drained.is_cut_short
    assert stream.getvalue().count("\n") == lines


def test_an_end_that_left_somebody_waiting_is_noted() -> None:
    """A supervisor must not take it for a clean one, at whatever level the log is kept."""
    with told_of_drain() as drained:
        emit("server.cut_short", level="debug", open=1)
    assert drained.is_cut_short
    assert drained.left_held


@pytest.mark.parametrize("held_too", [True, False])
def test_answers_that_were_cut_are_told_apart_from_calls_that_were_held(held_too: bool) -> None:
    """Their images are kept and known; what was held may have cost money that nobody knows of."""
    with told_of_drain() as drained:
        if held_too:
            emit("server.cut_short", level="debug", open=2)
        emit("server.cut_short", level="debug", answers=1)
    assert drained.is_cut_short
    assert drained.left_held is held_too


@pytest.mark.parametrize("number", ENDS)
async def test_either_signal_ends_the_waiting(number: signal.Signals) -> None:
    """Ctrl-C at a terminal, SIGTERM from a supervisor."""
    waiting = asyncio.create_task(interrupted())
    await asyncio.sleep(0)
    signal.raise_signal(number)
    await asyncio.wait_for(waiting, 5.0)


def test_the_result_is_handed_on() -> None:
    """With uvloop or without."""

    async def work() -> int:
        return 7

    assert run_on_loop(work()) == 7
