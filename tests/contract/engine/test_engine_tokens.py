"""An attempt at an upstream whose credential takes a token: got before anything is sent, free when there is none."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest

from holdfast.config import Upstream
from holdfast.types import Charge, Failure, FailureKind, Phase

AWAY = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="the token service is away")
DENIED = Failure(kind=FailureKind.CREDENTIAL, phase=Phase.CONNECT, charge=Charge.NO, detail="no token: invalid_grant")
REFUSED = b'{"error":{"code":401,"message":"x","status":"UNAUTHENTICATED"}}'


@pytest.fixture
def sections() -> dict[str, Any]:
    """One upstream on Vertex AI."""
    return {
        "upstreams": [{"name": "v", "provider": "vertex", "project": "my-project", "keys": ["adc"]}],
        "routes": [
            {"model": "nano-banana-pro", "upstreams": [{"upstream": "v", "model": "gemini-3-pro-image"}]},
        ],
    }


@dataclass
class FakeTokens:
    """Gives what a test says, else tokens by number."""

    next: deque[str | Failure | Exception] = field(default_factory=deque)
    given: int = 0
    forgotten: list[tuple[str, str]] = field(default_factory=list)

    async def fresh(self, upstream: Upstream, key: str) -> str | Failure:
        """Count, and give the next."""
        assert (upstream.name, key) == ("v", "adc")
        self.given += 1
        made = self.next.popleft() if self.next else f"token-{self.given}"
        if isinstance(made, Exception):
            raise made
        return made

    def forget(self, upstream: Upstream, key: str) -> None:
        """Take it down."""
        self.forgotten.append((upstream.name, key))


@pytest.fixture
def tokens(bench: Any) -> FakeTokens:
    """In the place of Google's."""
    made = FakeTokens()
    object.__setattr__(bench.core, "tokens", made)
    return made


async def ended(bench: Any, *, pauses: int) -> Any:
    """Ask for an image, let so many pauses pass, and give its record."""
    id_, caller = await bench.ask()
    for _ in range(pauses):
        await bench.resting()
        bench.clock.jump(10.0)
    await caller.ended()
    await bench.quiet()
    await bench.is_clean(id_)
    return await bench.record(id_)


async def test_every_attempt_is_sent_with_what_is_fresh_then(bench: Any, shapes: Any, tokens: FakeTokens) -> None:
    """A repeat minutes later has a token of its own; the setting itself is never sent."""
    bench.upstream.next.append(shapes.Reply(body=b"{}", status=503))
    record = await ended(bench, pauses=1)
    assert record.generation.state == "succeeded"
    sent = [dict(each.request.headers)["Authorization"] for each in bench.upstream.asked]
    assert sent == ["Bearer token-1", "Bearer token-2"]
    assert tokens.forgotten == []


async def test_no_token_for_now_costs_nothing_and_is_tried_again(bench: Any, tokens: FakeTokens) -> None:
    """As when the upstream itself cannot be reached."""
    tokens.next.append(AWAY)
    record = await ended(bench, pauses=1)
    assert record.generation.state == "succeeded"
    assert [(each.state, each.charge) for each in record.attempts] == [("rejected", "no"), ("settled", "yes")]
    assert record.attempts[0].failed == AWAY
    assert len(bench.upstream.asked) == 1


async def test_no_token_at_all_is_told_and_nothing_is_sent(bench: Any, tokens: FakeTokens) -> None:
    """The operator's credential; his customer pays nothing."""
    tokens.next.extend([DENIED] * 50)
    record = await ended(bench, pauses=0)
    assert (record.generation.state, {each.charge for each in record.attempts}) == ("failed", {"no"})
    assert record.attempts[-1].failed == DENIED
    assert bench.upstream.asked == []
    assert tokens.forgotten


async def test_a_token_that_is_refused_is_forgotten(bench: Any, shapes: Any, tokens: FakeTokens) -> None:
    """The next attempt asks for another."""
    bench.upstream.usual = shapes.Reply(body=REFUSED, status=401)
    record = await ended(bench, pauses=0)
    assert record.attempts[0].failed.kind is FailureKind.CREDENTIAL
    assert tokens.forgotten[0] == ("v", "adc")
    assert "token-1" not in record.attempts[0].failed.detail


async def test_a_mistake_of_ours_is_told_as_nothing_sent(bench: Any, tokens: FakeTokens) -> None:
    """Whatever is raised: the attempt had not left."""
    tokens.next.append(RuntimeError("a bug"))
    record = await ended(bench, pauses=1)
    assert record.attempts[0].failed.kind is FailureKind.UNREACHABLE
    assert record.attempts[0].charge == "no"
