"""An upstream that is polled teaches too, as long as it was one process that asked."""

from __future__ import annotations

from typing import Any

from holdfast.policy.latency import prior
from holdfast.policy.learning import Learned
from holdfast.types import Tier

MODEL = "nano-banana-pro"


def expected(bench: Any) -> Any:
    """What is expected of the queue now."""
    bench.clock.jump(2.0)
    return bench.core.latencies.expect(upstream="queue", model=MODEL, tier=Tier.K1)


async def test_a_polled_image_teaches_from_its_submission_to_its_last_byte(bench: Any, queue: Any) -> None:
    """Not one exchange, but all of them."""
    gate = queue.hold("fetch 0")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("fetch 0"))
    bench.clock.jump(70.0)
    gate.set()
    await queue.one_image(bench, id_)
    learnt = expected(bench)
    assert isinstance(learnt, Learned)
    (bucket,) = learnt.counts
    assert 69.0 < 1.01**bucket < 80.0


async def test_one_that_an_earlier_process_submitted_teaches_nothing(bench: Any, queue: Any) -> None:
    """Between the two nobody asked: when its image was there is not known."""
    gate = queue.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    await bench.restart()
    bench.clock.jump(70.0)
    gate.set()
    await queue.one_image(bench, id_)
    assert expected(bench) == prior(Tier.K1)
