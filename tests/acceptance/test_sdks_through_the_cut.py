"""Both official SDKs through an nginx that gives up after 3 s of silence, and an upstream that is silent for 12.

All calls of this file are begun at once, each in a thread of its own, before the first test looks at one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import openai
import pytest
from google.genai import errors as google_errors

SLOW_S = 12.0
BEYOND_THE_CUT_S = 3.6
"""Enough for the path to cut what is silent; the image itself is not what is waited for."""
PREVIEWED = ("openai-previews", "openai-async-stream")
"""Their two previews are bytes too: each third of the time has to be longer than the cut."""
LARGE = {"openai", "google"}
"""Flavours that ask for 4K: 29 MB of JSON."""
OWN_TIMEOUT = ("openai", "openai-async", "google", "google-stream")
"""Not Google's asynchronous ones: there a timeout is one for the whole call (aiohttp), which no beat extends."""


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """The calls, by flavour."""

    held: dict[str, Future[Any]]
    silent: dict[str, Future[Any]]
    """The same calls, whose callers forbid heartbeats."""
    stubborn: Future[Any]
    """A silent one with the retries that openai comes with."""
    hurried: dict[str, Future[Any]]
    """Held ones whose SDK itself gives up after 2 s of silence."""


def wish_of(flavour: str) -> str:
    """Tell the upstream to be silent for longer than the path bears."""
    return f"[sim delay={BEYOND_THE_CUT_S * (3 if flavour in PREVIEWED else 1):g}]"


@pytest.fixture(scope="module")
def under_way(stage: Any, callers: ModuleType) -> Iterator[UnderWay]:
    """Begin every call."""
    held = {
        flavour: stage.begin(
            flavour, f"held {flavour} [sim delay={SLOW_S:g}]", front="stock", size="4K" if flavour in LARGE else "1K"
        )
        for flavour in callers.FLAVOURS
    }
    silent = {
        flavour: stage.begin(flavour, f"silent {flavour} {wish_of(flavour)}", front="stock", headers=callers.SILENT)
        for flavour in callers.FLAVOURS
    }
    stubborn = stage.begin(
        "openai",
        f"stubborn {wish_of('openai')}",
        front="stock",
        headers=callers.SILENT,
        retries=openai.DEFAULT_MAX_RETRIES,
    )
    hurried = {
        flavour: stage.begin(flavour, f"hurried {flavour} [sim delay=5]", front="stock", timeout_s=2.0)
        for flavour in OWN_TIMEOUT
    }
    yield UnderWay(held=held, silent=silent, stubborn=stubborn, hurried=hurried)


def test_a_silent_call_fails_with_504_though_its_image_is_made(under_way: UnderWay, stage: Any, flavour: str) -> None:
    """Without heartbeats every flavour loses to the path what has been paid for; the gateway keeps it all the same."""
    with pytest.raises((openai.InternalServerError, google_errors.ServerError)) as raised:
        under_way.silent[flavour].result()
    error = raised.value
    told = error.response.text if isinstance(error, openai.APIStatusError) else str(error)
    assert "504 Gateway Time-out" in told
    assert "nginx" in told
    generation_id = stage.only_generation(f"silent {flavour} ")
    record = stage.gateway.ended(generation_id)
    assert record["status"] == "succeeded"
    assert record["paid"] == "yes"
    assert len(record["images"]) == 1
    assert len(stage.simulator.purchases(generation_id)) == 1


def test_default_retries_without_beats_buy_one_image(
    under_way: UnderWay, stage: Any, as_drawn: Callable[[bytes], bool]
) -> None:
    """What the path cut, openai as it comes asks for again: its repeat joins, and is given what was bought once."""
    got = under_way.stubborn.result()
    assert got.took_s > 3.0, "the path has cut the first one"
    (image,) = got.images
    assert as_drawn(image)
    generation_id = stage.only_generation("stubborn ")
    assert generation_id == got.generation_id
    assert len(stage.simulator.purchases(generation_id)) == 1


@pytest.mark.parametrize("hurried", OWN_TIMEOUT)
def test_the_timer_of_an_sdk_does_not_fire_while_beats_come(
    under_way: UnderWay, as_drawn: Callable[[bytes], bool], hurried: str
) -> None:
    """A timeout of 2 s in the SDK counts silence, and there is none: the image arrives after 5 s."""
    got = under_way.hurried[hurried].result()
    assert got.took_s >= 5.0
    (image,) = got.images
    assert as_drawn(image)


def test_an_image_of_twelve_seconds_arrives_whole(
    under_way: UnderWay, stage: Any, as_drawn: Callable[[bytes], bool], flavour: str
) -> None:
    """Six times the silence that the path bears, and byte for byte what the upstream drew; bought once."""
    got = under_way.held[flavour].result()
    assert got.took_s >= SLOW_S
    (image,) = got.images
    assert as_drawn(image)
    record = stage.gateway.record(got.generation_id)
    assert record["status"] == "succeeded"
    assert [kept["sha256"] for kept in record["images"]] == [hashlib.sha256(image).hexdigest()]
    assert record["images"][0]["width"] == (4096 if flavour in LARGE else 1024)
    assert stage.only_generation(f"held {flavour} ") == got.generation_id
    assert len(stage.simulator.purchases(got.generation_id)) == 1


@pytest.mark.parametrize("previewed", PREVIEWED)
def test_previews_come_while_the_image_is_drawn(
    under_way: UnderWay, callers: ModuleType, as_drawn: Callable[[bytes], bool], previewed: str
) -> None:
    """Partial images reach the SDK when they are made, not with the last one."""
    got = under_way.held[previewed].result()
    assert len(got.previews) == callers.PREVIEWS
    assert all(as_drawn(preview) for preview in got.previews)
    assert len({*got.previews, *got.images}) == callers.PREVIEWS + 1
    assert all(came_s < SLOW_S - 2.0 for came_s in got.before_the_image_s)


def test_nobody_is_given_the_image_of_another(
    under_way: UnderWay, callers: ModuleType, serial: Callable[[bytes], str]
) -> None:
    """All were under way at once; every picture is one of its own."""
    images = [image for flavour in callers.FLAVOURS for image in under_way.held[flavour].result().images]
    assert len({serial(image) for image in images}) == len(callers.FLAVOURS)
