"""Official SDKs with our clients survive what a path does to them: one charge, the image in hand."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import pytest

from holdfast.simulator.path import Fate, Harm


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"acceptance_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


broken, handed = _load("broken"), _load("handed")
WAYS = list(handed.WAYS)
POSITIONS = [0, 1, 15, 300, 560, 900, 40_000, 1_000_000]
"""Of the answer's bytes: before the first, in the status line, in the head, around its end, in the body."""
_numbers = itertools.count()


@dataclass(kw_only=True)
class Road:
    """The way that breaks, and what is at its end."""

    way: Any
    stage: Any

    def order(self, *, words: str = "", **fields: Any) -> Any:
        """Describe a call that nobody has made before."""
        prompt = f"picked up {next(_numbers)} {words}"
        return handed.Order(**({"url": self.way.url, "key": self.stage.gateway.key, "prompt": prompt} | fields))

    def charged(self, order: Any) -> int:
        """Count what was bought for a prompt."""
        generations = self.stage.gateway.generations(order.prompt)
        return sum(len(self.stage.simulator.purchases(each)) for each in generations)


@pytest.fixture(scope="module")
def way(stage: Any) -> Iterator[Any]:
    """Lead to the gateway."""
    made = broken.Way(stage.gateway.base_url)
    yield made
    made.stop()


@pytest.fixture
def road(way: Any, stage: Any) -> Iterator[Road]:
    """Set it up; when a test has ended no connection is left open."""
    yield Road(way=way, stage=stage)
    way.forget()
    assert way.is_empty()


CUTS = [
    (name, at)
    for which, name in enumerate(WAYS)
    for place, at in enumerate(POSITIONS)
    # Every way at every third place, every place by four ways.
    if (which + place) % 3 == 0
]


@pytest.mark.parametrize(("name", "at"), CUTS)
def test_a_cut_at_any_byte_costs_nothing(road: Road, as_drawn: Callable[[bytes], bool], name: str, at: int) -> None:
    """Reset, or ended, behind so many bytes of the answer: one charge, and the image whole."""
    harm = Harm.RESET if POSITIONS.index(at) % 4 < 2 else Harm.END
    order = road.order()
    road.way.next(Fate(harm=harm, after_bytes=at))
    got = handed.WAYS[name](order)
    assert [as_drawn(image) for image in got.images] == [True]
    assert road.charged(order) == 1


@pytest.mark.parametrize("name", ["openai", "openai-async-stream", "google", "google-async-stream"])
@pytest.mark.parametrize("held_back", [1, 3])
def test_a_cut_before_the_last_byte_costs_nothing(
    road: Road, as_drawn: Callable[[bytes], bool], name: str, held_back: int
) -> None:
    """Nothing is missing but the end: that is not whole, and asked for again."""
    with broken.all_but_the_last(road.way.url, held_back) as url:
        order = road.order(url=url)
        got = handed.WAYS[name](order)
    assert [as_drawn(image) for image in got.images] == [True]
    assert road.charged(order) == 1


@pytest.mark.parametrize("name", WAYS[::2])
def test_a_way_that_cuts_while_an_image_is_drawn_costs_nothing(
    road: Road, as_drawn: Callable[[bytes], bool], name: str
) -> None:
    """Cut in the silence, cut between heartbeats, cut in the image: each time its caller joins."""
    order = road.order(words="[sim delay=2]")
    road.way.next(
        Fate(harm=Harm.RESET, after_s=0.2), Fate(harm=Harm.END, after_s=0.9), Fate(harm=Harm.RESET, after_bytes=9_000)
    )
    got = handed.WAYS[name](order)
    assert [as_drawn(image) for image in got.images] == [True]
    assert road.charged(order) == 1


@pytest.mark.parametrize("name", ["openai", "openai-raw", "openai-async"])
def test_a_late_refusal_has_its_true_status(road: Road, name: str) -> None:
    """200 is out when the upstream refuses: the SDK, which repeats nothing here, raises what it should all the same."""
    with pytest.raises(openai.BadRequestError) as raised:
        handed.WAYS[name](road.order(words="[sim delay=2 fault=refused_input]"))
    assert raised.value.code == "moderation_blocked"


def test_errors_of_the_gateway_are_its_own(road: Road) -> None:
    """A wrong key, a size that nobody draws: at once, and nothing is bought."""
    wrong = road.order(key="hf-01ARZ3NDEKTSV4RRFFQ69G5FAV-wrong")
    with handed.with_openai(wrong) as client:
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
        with pytest.raises(openai.AuthenticationError):
            client.images.generate(model="nano-banana-pro", prompt=wrong.prompt)
    order = road.order()
    with handed.with_openai(order) as client:
        assert client.models.list().data
        with pytest.raises(openai.BadRequestError) as raised:
            client.images.generate(model="nano-banana-pro", prompt=order.prompt, size="9999x9999")
    assert raised.value.code == "unsupported_size"
    assert road.charged(order) == 0


@pytest.mark.parametrize("at", [0, 30, 100_000])
def test_a_server_that_is_not_holdfast_is_paid_once(stage: Any, at: int) -> None:
    """The upstream itself, cut: one POST, one charge, and the SDK is told."""
    way = broken.Way(stage.simulator.base_url)
    try:
        before = len(stage.simulator.charges())
        way.next(Fate(harm=Harm.RESET, after_bytes=at))
        order = handed.Order(url=way.url, key="upstream-Jw4Ru", prompt="a stranger's")
        with handed.with_openai(order) as client, pytest.raises(openai.APIConnectionError):
            client.images.generate(model="gpt-image-2", prompt=order.prompt, size="1024x1024")
        paid = [row for row in stage.simulator.charges()[before:] if row["micros"]]
    finally:
        way.stop()
    assert len(paid) <= 1
    assert len(stage.simulator.charges()) == before + 1


@pytest.mark.parametrize("library", ["httpx2", "httpx"])
def test_the_sdk_s_own_retries_join(road: Road, as_drawn: Callable[[bytes], bool], library: str) -> None:
    """Its own timeout cuts each try: the next one has the same key, and waits for what the first one bought."""
    options = {"library": library, "holdfast": True}
    headers = {"Prefer": "heartbeat=0"}
    order = road.order(words="[sim delay=4]", retries=6, timeout_s=1.0, client=options, headers=headers)
    assert [as_drawn(image) for image in handed.generate(order).images] == [True]
    assert road.charged(order) == 1
