"""Two attempts at one part need its request until each of them is sent: one may wait for a token meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast.config import Settings, Upstream
from holdfast.engine.course import targets_of
from holdfast.engine.renewal import renewed_targets

SLOW_S = 90.5
"""Past the P95 of 1K."""
BUSY = b'{"error":{"message":"busy","code":503,"status":"UNAVAILABLE"}}'


def on_vertex(name: str) -> Any:
    """Let one of the two take a token for each attempt."""
    upstream = {"provider": "vertex", "project": "my-project", "keys": ["adc"]}
    return pytest.mark.parametrize("changes", [{"upstream": {name: upstream}}])


@dataclass
class SlowTokens:
    """Gives a token when it is told."""

    is_asked: bool = False
    _gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def fresh(self, upstream: Upstream, key: str) -> str:
        """Give a key as it is, a token later."""
        if key != "adc":
            return key
        self.is_asked = True
        await self._gate.wait()
        return "a-token"

    def gives(self) -> None:
        """Let it."""
        self._gate.set()


@pytest.fixture
def tokens(bench: Any) -> SlowTokens:
    """In the place of Google's."""
    made = SlowTokens()
    bench.core.tokens = made
    return made


def renew(bench: Any, settings: Settings) -> None:
    """Let the engine go by these settings, as SIGHUP does."""
    keys = {upstream.name: upstream.keys for upstream in settings.upstreams}
    bench.engine.renew(settings, renewed_targets(targets_of(settings, keys), bench.core.targets))


@pytest.fixture
def longer(bench: Any, sections: dict[str, Any], settings_of: Callable[..., Settings]) -> Settings:
    """The same settings with one more upstream of the model."""
    more = {"name": "d", "provider": "gemini", "base_url": "http://d.test", "keys": ["d-1"]}
    first, *rest = sections["routes"]
    entries = [*first["upstreams"], {"upstream": "d", "model": "pro-at-d"}]
    routes = [first | {"upstreams": entries}, *rest]
    return settings_of(**sections | {"upstreams": [*sections["upstreams"], more], "routes": routes})


@on_vertex("b")
async def test_the_first_fails_while_the_second_waits_for_its_token(
    bench: Any, shapes: Any, pairs: Any, tokens: SlowTokens, longer: Settings, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """Settings were read anew meanwhile: whoever looks at the request leaves it to the other one."""
    first = pairs.Held(bench, shapes, "a", body=BUSY, status=503)
    id_, caller = await bench.ask()
    await bench.in_flight()
    bench.clock.jump(SLOW_S)
    await bench.until(lambda: tokens.is_asked)
    renew(bench, longer)
    first.answers()
    await pairs.ended(bench, id_, "a")
    tokens.gives()
    await caller.ended()
    await bench.quiet()
    assert log("fault.internal") == []
    assert pairs.states(await bench.record(id_)) == [("a", "rejected", 0, 0), ("b", "settled", 1, 0)]
    await bench.is_clean(id_)


@on_vertex("a")
async def test_the_second_is_sent_while_the_first_waits_for_its_token(
    bench: Any, shapes: Any, pairs: Any, tokens: SlowTokens, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """What one needs no longer, the other one still does."""
    second = pairs.Held(bench, shapes, "b")
    id_, caller = await bench.ask()
    await bench.until(lambda: tokens.is_asked)
    bench.clock.jump(SLOW_S)
    await bench.in_flight()
    tokens.gives()
    await bench.in_flight(2)
    assert pairs.hosts(bench) == "ba"
    second.answers()
    await caller.ended()
    await bench.quiet()
    assert log("fault.internal") == []
    await bench.is_clean(id_)
