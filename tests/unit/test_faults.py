"""Named points at which tests make the process fail; in production they do nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from holdfast import faults
from holdfast.faults import InjectedFault, parse, point, point_sync

Arm = Callable[[str], None]


@pytest.fixture
def arm(monkeypatch: pytest.MonkeyPatch) -> Arm:
    """Arm points as the environment would, for one test."""

    def arm(spec: str) -> None:
        armed = {name: faults._Armed(action, nth) for name, (action, nth) in parse(spec).items()}
        monkeypatch.setattr(faults, "_armed", armed)

    return arm


@pytest.mark.parametrize(
    ("spec", "armed"),
    [
        ("", {}),
        (" , ,", {}),
        ("settle.before_commit:kill", {"settle.before_commit": ("kill", 1)}),
        ("a:error:3", {"a": ("error", 3)}),
        (" a:kill:2 , b.c:sleep=0.25:10 ", {"a": ("kill", 2), "b.c": ("sleep=0.25", 10)}),
        ("a:sleep=3", {"a": ("sleep=3", 1)}),
        ("a:kill:", {"a": ("kill", 1)}),
    ],
)
def test_a_spec_names_points_actions_and_passes(spec: str, armed: dict[str, tuple[str, int]]) -> None:
    """Commas divide; the first pass is meant where none is named."""
    assert parse(spec) == armed


@pytest.mark.parametrize(
    "spec",
    ["a", "a:", ":kill", "a:explode", "a:kill:0", "a:kill:-1", "a:kill:x", "a:sleep", "a:sleep=", "a:sleep=x", "a::2"],
)
def test_a_spec_that_is_spelled_wrongly_is_refused_at_once(spec: str) -> None:
    """Else a crash test would pass because nothing crashed."""
    with pytest.raises(ValueError, match="NAME:ACTION"):
        parse(f"good:kill,{spec}")


async def test_a_point_that_is_not_armed_does_nothing(arm: Arm) -> None:
    """On the loop and in a thread alike; other points are not disturbed."""
    await point("somewhere")
    arm("elsewhere:error")
    await point("somewhere")
    point_sync("somewhere")


async def test_an_armed_point_fails_at_its_nth_pass_only(arm: Arm) -> None:
    """Before and after it, work goes on."""
    arm("here:error:3,there:error")
    await point("here")
    point_sync("here")
    with pytest.raises(InjectedFault, match="here") as failed:
        await point("here")
    assert isinstance(failed.value, OSError)
    await point("here")
    point_sync("here")
    with pytest.raises(InjectedFault, match="there"):
        point_sync("there")


async def test_a_point_sleeps_as_long_as_it_was_told(arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the loop it lets others run; in a thread it blocks that thread."""
    slept: list[tuple[str, float]] = []

    async def on_loop(delay_s: float) -> None:
        slept.append(("loop", delay_s))

    monkeypatch.setattr(asyncio, "sleep", on_loop)
    monkeypatch.setattr(time, "sleep", lambda delay_s: slept.append(("thread", delay_s)))
    arm("here:sleep=2.5:2")
    for _ in range(3):
        await point("here")
    arm("here:sleep=7")
    point_sync("here")
    assert slept == [("loop", 2.5), ("thread", 7.0)]


def test_kill_is_a_signal_that_nobody_can_catch(arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL to this very process: no handler runs, no file is flushed."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(faults.os, "getpid", lambda: 4711)
    # The process that is to die goes on here, so the point fails after it.
    monkeypatch.setattr(faults.os, "kill", lambda pid, number: sent.append((pid, number)))
    arm("here:kill")
    with pytest.raises(ValueError, match="kill"):
        point_sync("here")
    assert sent == [(4711, 9)]


class Ruler:
    """Keeps what it was asked, and raises at one point."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def point(self, name: str) -> None:
        """Pass a point on the loop."""
        self.asked.append(("loop", name))

    def point_sync(self, name: str) -> None:
        """Pass a point in a thread."""
        self.asked.append(("thread", name))
        if name == "here":
            raise InjectedFault("ruled")


async def test_a_ruler_is_asked_at_every_point_and_only_while_it_rules(arm: Arm) -> None:
    """The simulation decides in place of the environment, whose own points are armed again behind it."""
    arm("there:error")
    ruler = Ruler()
    with faults.ruled(ruler):
        await point("there")
        point_sync("somewhere")
        with pytest.raises(InjectedFault, match="ruled"):
            point_sync("here")
    point_sync("here")
    with pytest.raises(InjectedFault, match="injected at there"):
        await point("there")
    assert ruler.asked == [("loop", "there"), ("thread", "somewhere"), ("thread", "here")]


def test_a_ruler_that_is_left_by_an_exception_rules_no_more() -> None:
    """Else every test after a failed one would be ruled too."""
    ruler = Ruler()
    with pytest.raises(InjectedFault), faults.ruled(ruler):
        point_sync("here")
    point_sync("here")
    assert ruler.asked == [("thread", "here")]
