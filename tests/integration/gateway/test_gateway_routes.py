"""Routes on sockets: whatever of them dies under load, nobody gets an error that a healthy part could have avoided."""

from __future__ import annotations

import asyncio
import random
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from holdfast.simulator.faults import script_of
from holdfast.simulator.pictures import PNG_SIGNATURE, png_chunk
from holdfast.simulator.server import Simulator

PRO, OTHER = "nano-banana-pro", "seedream-4.5"
WRONG_KEY = {"error": {"code": 401, "message": "API key not valid", "status": "UNAUTHENTICATED"}}
NOISE = random.Random(1).randbytes(20_000)


def quick_paint(width_px: int, height_px: int, _: str) -> bytes:
    """Make a file of the right header at once."""
    header = width_px.to_bytes(4, "big") + height_px.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    rows = zlib.compress(bytes(100), 1)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"teSt", NOISE)
    return PNG_SIGNATURE + chunks + png_chunk(b"IEND", b"")


Starter = Callable[[], Awaitable[tuple[Simulator, int]]]


@pytest.fixture
async def simulate() -> AsyncIterator[Starter]:
    """Start simulated upstreams that answer at once."""
    made: list[Simulator] = []

    async def start() -> tuple[Simulator, int]:
        simulator = Simulator(scenario="instant", paint=quick_paint, seed=len(made))
        made.append(simulator)
        return simulator, await simulator.start("127.0.0.1", 0)

    yield start
    for simulator in made:
        await simulator.close()


def an_upstream(name: str, port: int, *keys: str) -> dict[str, Any]:
    """One that speaks Gemini."""
    return {
        "name": name,
        "provider": "gemini",
        "base_url": f"http://127.0.0.1:{port}",
        "keys": list(keys) or [f"{name}-secret"],
    }


def a_route(*names: str, fallback: str | None = None) -> list[dict[str, Any]]:
    """The model by these upstreams, and the model that may stand in for it."""
    own = [{"upstream": name, "model": "gemini-3-pro-image"} for name in names]
    routes = [{"model": PRO, "upstreams": own, "fallback": [OTHER] if fallback else []}]
    if fallback:
        routes.append({"model": OTHER, "upstreams": [{"upstream": fallback, "model": "other"}]})
    return routes


class Load:
    """Callers who ask one after the other until they are told to stop."""

    def __init__(self, gateway: Any, callers: int = 6) -> None:
        self._gateway = gateway
        self.answers: list[Any] = []
        self._stops = False
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(callers)]

    async def _ask(self, number: int) -> None:
        asked = 0
        while not self._stops:
            asked += 1
            self.answers.append(await self._gateway.images(model=PRO, prompt=f"caller {number}, image {asked}"))

    async def until(self, more: int) -> None:
        """Wait until so many more answers are there."""
        wanted = len(self.answers) + more
        async with asyncio.timeout(30):
            while len(self.answers) < wanted:
                await asyncio.sleep(0.005)

    async def end(self) -> Counter[tuple[int, str]]:
        """Stop; give how often each upstream served, by status."""
        self._stops = True
        await asyncio.gather(*self._tasks)
        return Counter((answer.status, answer.headers.get("holdfast-served-by", "")) for answer in self.answers)


async def test_an_upstream_that_answers_503_is_seen_by_nobody(start: Any, simulate: Starter) -> None:
    """A says 503 to everybody, B is healthy: thirty callers at once get their images, and A is left alone."""
    (a, a_port), (_, b_port) = await simulate(), await simulate()
    a.scripts.add(script_of({"do": ["status=503"] * 100}))
    gateway = await start(upstreams=[an_upstream("a", a_port), an_upstream("b", b_port)], routes=a_route("a", "b"))
    answers = await asyncio.gather(*(gateway.images(model=PRO, prompt=f"image {n}") for n in range(30)))
    assert {answer.status for answer in answers} == {200}
    assert {answer.headers["holdfast-served-by"] for answer in answers} == {"b/gemini-3-pro-image"}
    resource = await gateway.resource(answers[0].headers["generation-id"])
    assert [attempt["upstream"] for attempt in resource["attempts"]][-1] == "b"
    assert resource["served_by"] == "b/gemini-3-pro-image"
    assert sum(charge.micros for charge in a.charges.rows) == 0


async def test_a_dead_key_is_seen_by_nobody(start: Any, upstream: Any) -> None:
    """One of two keys is revoked while callers are served; it is met by the first of them, and then taken out."""
    revoked: set[str] = set()

    async def script(asked: Any, reply: Any) -> None:
        if asked.headers["x-goog-api-key"] in revoked:
            await reply.answer(WRONG_KEY, status=401)
        else:
            await upstream.draw(asked, reply)

    upstream.script = script
    one = an_upstream("a", upstream.port, "first-secret", "second-secret")
    gateway = await start(upstreams=[one], routes=a_route("a"))
    load = Load(gateway)
    await load.until(20)
    revoked.add("first-secret")
    met = len(upstream.asked)
    await load.until(40)
    seen = await load.end()
    assert {status for status, _ in seen} == {200}
    refused = sum(asked.headers["x-goog-api-key"] == "first-secret" for asked in upstream.asked[met:])
    # Those that were on their way with it, and nobody after.
    assert refused <= 6


async def test_a_dead_upstream_and_then_a_dead_provider_are_seen_by_nobody(
    start: Any, simulate: Starter, journal: Any
) -> None:
    """First one of two upstreams goes, with calls in flight, then the other; another model stands in; one returns."""
    (a, a_port), (b, b_port), (_, c_port) = await simulate(), await simulate(), await simulate()
    gateway = await start(
        upstreams=[an_upstream("a", a_port), an_upstream("b", b_port), an_upstream("c", c_port)],
        routes=a_route("a", "b", fallback="c"),
        retry={"on_unknown": "buy_once_more", "exposure_images_min": 1000},
        # What is expected here is milliseconds.
        latency={"scale": 0.001},
    )
    load = Load(gateway)
    await load.until(20)
    await a.close()
    await load.until(30)
    assert load.answers[-1].headers["holdfast-served-by"].startswith("b/")
    await b.close()
    await load.until(30)
    assert load.answers[-1].headers["holdfast-served-by"] == "c/other"
    assert load.answers[-1].json["model"] == "other"
    # The first one is back, at its address.
    again = Simulator(scenario="instant", paint=quick_paint)
    with suppress(OSError):
        await again.start("127.0.0.1", a_port)
        async with asyncio.timeout(30):
            while not load.answers[-1].headers["holdfast-served-by"].startswith("a/"):
                await asyncio.sleep(0.05)
    seen = await load.end()
    await again.close()
    assert {status for status, _ in seen} == {200}, seen
    assert {each["upstream"] for each in journal.of("upstream.ejected")} >= {"a", "b"}
    last = gateway.record(load.answers[-1].headers["generation-id"])
    assert last.generation.model == PRO
    assert last.generation.charged_micros <= 134_000


async def test_a_fallback_costs_its_caller_the_lower_price(start: Any, simulate: Starter) -> None:
    """Seedream's price for Seedream's image, and the records of both sides say so."""
    _, port = await simulate()
    (a, a_port) = await simulate()
    a.scripts.add(script_of({"do": ["status=403"] * 10}))
    gateway = await start(
        upstreams=[an_upstream("a", a_port), an_upstream("c", port)], routes=a_route("a", fallback="c")
    )
    answer = await gateway.images(model=PRO)
    assert (answer.status, answer.headers["holdfast-served-by"]) == (200, "c/other")
    resource = await gateway.resource(answer.headers["generation-id"])
    assert (resource["model"], resource["served_by"], resource["cost"]["charged_micros"]) == (PRO, "c/other", 40_000)
    assert ("cost", "provider:c", -40_000) in gateway.ledger(answer.headers["generation-id"])


async def test_what_is_ignored_is_told_of_who_served(start: Any, simulate: Starter) -> None:
    """A wish that the first would have heard is lost at the next, and the other way round."""
    (a, a_port), (_, port) = await simulate(), await simulate()
    hears = {**an_upstream("a", a_port), "provider": "openai", "base_url": f"http://127.0.0.1:{a_port}/v1"}
    own = [{"upstream": "a", "model": "gpt-image-2"}, {"upstream": "b", "model": "gemini-3-pro-image"}]
    gateway = await start(upstreams=[hears, an_upstream("b", port)], routes=[{"model": PRO, "upstreams": own}])
    heard = await gateway.images(model=PRO, moderation="low", colour="red")
    assert (heard.headers["holdfast-served-by"], heard.headers["holdfast-ignored"]) == ("a/gpt-image-2", "colour")
    a.scripts.add(script_of({"do": ["status=403"] * 10}))
    lost = await gateway.images(model=PRO, moderation="low", colour="red", headers={"X-Stainless-Lang": "none"})
    assert lost.headers["holdfast-served-by"] == "b/gemini-3-pro-image"
    assert lost.headers["holdfast-ignored"] == "moderation, colour"


@pytest.mark.parametrize(
    ("name", "value"), [("Holdfast-Purchases", "none"), ("Holdfast-Purchases", "0"), ("Holdfast-Degrade", "model")]
)
async def test_a_wish_that_is_none_is_refused(gateway: Any, upstream: Any, name: str, value: str) -> None:
    """Before anything is paid, and with the header's name."""
    answer = await gateway.images(headers={name: value})
    assert (answer.status, answer.error["param"], upstream.asked) == (400, name, [])


async def test_one_purchase_is_what_a_caller_gets_who_asks_for_one(start: Any, upstream: Any) -> None:
    """A connection that breaks is told as unknown, where it would otherwise be bought once more."""

    async def script(_: Any, reply: Any) -> None:
        reply.reset()

    gateway = await start(retry={"on_unknown": "buy_once_more", "backoff_s_first": 0.01})
    upstream.script = script
    answer = await gateway.images(headers={"Holdfast-Purchases": "1"})
    assert (answer.status, answer.error["code"], len(upstream.asked)) == (502, "outcome_unknown", 1)
    answer = await gateway.images(prompt="another")
    assert (answer.status, answer.error["code"], len(upstream.asked)) == (502, "outcome_unknown", 3)
