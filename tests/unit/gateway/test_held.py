"""A caller who waits: what wakes it, whose end is its own, and when it is to wait on elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from holdfast.engine.watchers import Ended, PartialImage
from holdfast.gateway.dialects import dialect_for
from holdfast.gateway.held import Held, Waiting
from holdfast.policy.callers import OTHER
from holdfast.policy.heartbeats import SILENT
from holdfast.policy.hops import Hop
from holdfast.types import Geometry, ImageInfo, Request, Surface, Tier

HOP = Hop(number=3, last=9, hop_s=30.0)


def held(**overrides: Any) -> Held:
    """A caller of the OpenAI surface."""
    geometry = Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=1024, height_px=1024)
    request = Request(surface=Surface.OPENAI, model="nano-banana-pro", prompt="x", geometry=geometry)
    usual: dict[str, Any] = {
        "generation_id": "gen_1",
        "dialect": dialect_for(request, Path("/data")),
        "caller": OTHER,
        "schedule": SILENT,
        "headers": [],
        "base_url": "http://gw",
        "path": "/v1/images/generations",
        "waiting": Waiting(),
        "joins": False,
    }
    return Held(**{**usual, **overrides})


def due(**marks: bool) -> Waiting:
    """One whose time to be told has come."""
    return Waiting(is_due=True, **marks)


@pytest.mark.parametrize(
    ("state", "attempt", "outlasts", "outlives"),
    [
        ("failed", "sent", True, True),
        ("failed", "polling", True, True),
        ("failed", "sent", False, False),
        ("failed", "unknown", True, False),
        ("succeeded", "sent", True, False),
        ("cancelled", "sent", True, False),
        ("running", "sent", True, False),
    ],
)
def test_an_end_is_another_s_while_an_image_may_still_come(
    a_record: Any, an_attempt: Any, state: str, attempt: str, outlasts: bool, outlives: bool
) -> None:
    """Only a failure, only for who joined, only with an attempt in flight."""
    record = a_record(state=state, attempts=[an_attempt(state=attempt)])
    assert held(outlasts=outlasts).outlives(record) is outlives


@pytest.mark.parametrize(
    ("fields", "state", "sent_on"),
    [
        ({"hop": HOP, "waiting": due()}, "running", True),
        ({"hop": HOP, "waiting": due()}, "queued", True),
        ({"hop": HOP, "waiting": due()}, "succeeded", False),
        ({"hop": HOP, "waiting": due()}, "failed", False),
        ({"hop": HOP, "waiting": due(), "outlasts": True}, "failed", True),
        ({"hop": HOP, "waiting": due(is_out=True)}, "running", False),
        ({"hop": HOP, "waiting": due(is_released=True, ended=True)}, "running", False),
        ({"hop": HOP, "waiting": Waiting(ended=True)}, "running", False),
        ({"hop": None, "waiting": due()}, "running", False),
    ],
)
def test_a_caller_is_sent_on_while_there_is_something_to_wait_for(
    a_record: Any, an_attempt: Any, fields: dict[str, Any], state: str, sent_on: bool
) -> None:
    """And it has the time, and the gateway is not about to end."""
    record = a_record(state=state, attempts=[an_attempt(state="sent")])
    assert held(**fields).is_sent_on_with(record) is sent_on


def test_what_was_told_to_somebody_else_is_forgotten() -> None:
    """The next end may be its own."""
    waiting = Waiting()
    waiting(Ended())
    assert waiting.is_over
    waiting.go_on()
    assert (waiting.is_over, waiting.record) == (False, None)
    waiting.run_out()
    assert waiting.is_over


def test_a_gateway_that_ends_releases_whom_nothing_was_told() -> None:
    """Whoever has his end already is told that."""
    waiting, told = Waiting(), Waiting(ended=True)
    waiting.release()
    told.release()
    assert (waiting.is_released, waiting.ended) == (True, True)
    assert told.is_released is False


def test_previews_are_kept_for_who_asked_for_them_only() -> None:
    """Others are not even woken for long."""
    info = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=1, sha256="0")
    preview = PartialImage(index=0, path=Path("/data/x.preview"), info=info)
    waiting = Waiting()
    waiting(preview)
    assert (waiting.previews, waiting.is_over) == (None, False)


async def test_each_of_its_times_wakes_it() -> None:
    """A status that was asked for, a hop, its own budget; those that it has none of ring nothing."""
    loop = asyncio.get_running_loop()
    for name, mark in (("later_at", "is_due"), ("hop_at", "is_due"), ("budget_at", "is_out")):
        one = held(**{name: loop.time(), "waiting": Waiting()})
        alarms = one.alarms()
        assert len(alarms) == 1
        await asyncio.sleep(0.01)
        assert getattr(one.waiting, mark) is True
        assert one.waiting.is_over
    assert held().alarms() == []
