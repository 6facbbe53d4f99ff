"""Two attempts at one part: `a` is asked first and is slow where a test holds it back, `b` may be the second.

Both serve the model that is asked for, `c` another one at half its price. By what is published an image of 1K is there
in 90 s in 95 of 100 cases.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

USD = 1_000_000
PRO, OTHER = "nano-banana-pro", "seedream-4.5"
SLOW_S = 90.5
"""Past the P95 of 1K."""


def a_price(model: str, micros: int) -> dict[str, Any]:
    """The same for 1K, twice for 2K, four times for 4K."""
    by_tier = {"1K": micros, "2K": 2 * micros, "4K": 4 * micros}
    return {"model": model, "micros": by_tier, "source": "test", "valid_from": "2026-01-01"}


def slow_settings(**changes: Any) -> dict[str, Any]:
    """Sections of the settings: two upstreams of the model, one of another that may stand in, a second for each."""
    upstreams = {
        name: {"name": name, "provider": "gemini", "base_url": f"http://{name}.test", "keys": [f"{name}-1"]}
        for name in "abc"
    }
    for name, more in changes.pop("upstream", {}).items():
        upstreams[name] |= more
    own = {"upstreams": [{"upstream": "a", "model": "pro-at-a"}, {"upstream": "b", "model": "pro-at-b"}]}
    sections: dict[str, Any] = {
        "upstreams": list(upstreams.values()),
        "routes": [
            {"model": PRO, **own, "fallback": [OTHER]} | changes.pop("route", {}),
            {"model": OTHER, "upstreams": [{"upstream": "c", "model": "other-at-c"}]},
        ],
        "prices": [a_price(PRO, USD), a_price(OTHER, USD // 2)],
        "retry": {"on_unknown": "buy_once_more"} | changes.pop("retry", {}),
        "hedge": {"enabled": True, "budget_share": 1.0} | changes.pop("hedge", {}),
    }
    return sections | changes


def hosts(bench: Any) -> str:
    """Who was asked, in order."""
    return "".join(asked.host for asked in bench.upstream.asked)


class Held:
    """An upstream that answers when it is told."""

    def __init__(self, bench: Any, shapes: Any, host: str, **how: Any) -> None:
        self._bench, self._shapes, self._host = bench, shapes, host
        self._gate = asyncio.Event()
        self.becomes(**how)

    def becomes(self, **how: Any) -> None:
        """What it will answer, whoever is asked from now on."""
        usual = {} if how.get("failure") else {"body": self._shapes.gemini(self._shapes.png(ord(self._host)))}
        self._bench.upstream.by_host[self._host] = self._shapes.Reply(**usual | how, when=self._gate)

    def answers(self) -> None:
        """Let it."""
        self._gate.set()


async def a_pair(bench: Any, shapes: Any, *, a: Any = None, b: Any = None, **asked: Any) -> tuple[str, Any, Held, Held]:
    """Bring one part to where both of its attempts are in flight."""
    first, second = Held(bench, shapes, "a", **(a or {})), Held(bench, shapes, "b", **(b or {}))
    id_, caller = await bench.ask(**asked)
    await bench.in_flight()
    bench.clock.jump(SLOW_S)
    await bench.in_flight(2)
    assert hosts(bench) == "ab"
    return id_, caller, first, second


async def ended(bench: Any, id_: str, *upstreams: str) -> Any:
    """Wait until the attempts at these have ended, and give the record."""
    while True:
        record = await bench.record(id_)
        if all(each.ended_at is not None for each in record.attempts if each.upstream in upstreams):
            return record
        await asyncio.sleep(0.001)


def states(record: Any) -> list[tuple[str, str, int, int]]:
    """Upstream, state, whether it is the second and whether it was outrun, attempt by attempt."""
    return [(each.upstream, each.state, each.hedge, each.outrun) for each in record.attempts]


def kinds(record: Any) -> list[tuple[str, str]]:
    """Who brought which images, as what."""
    return sorted((record.attempt_of(blob).upstream, blob.kind) for blob in record.blobs)


def sent_of(record: Any, at: int) -> Any:
    """What was sent with one of its attempts, as far as its answer depends on it."""
    row = record.attempts[at]
    return SimpleNamespace(id=row.id, model=row.model, part=row.part, idempotency_key="")


class Pairs:
    """What tests of pairs have in common."""

    Held = Held
    a_pair = staticmethod(a_pair)
    ended = staticmethod(ended)
    hosts = staticmethod(hosts)
    kinds = staticmethod(kinds)
    sent_of = staticmethod(sent_of)
    states = staticmethod(states)


@pytest.fixture
def pairs() -> type[Pairs]:
    """Make pairs, and look at them."""
    return Pairs


@pytest.fixture
def changes() -> dict[str, Any]:
    """Changes of the settings below; a test parametrizes it."""
    return {}


@pytest.fixture
def sections(changes: dict[str, Any]) -> dict[str, Any]:
    """Sections of the settings: two upstreams of the model, and a second attempt for each call."""
    return slow_settings(**changes)
