"""What goes on from its handle, among those that wait: it has its place, and may be tried again like any other."""

from __future__ import annotations

from typing import Any

from holdfast.wire.fal import Handle, QueueState, QueueStatus, render_status

MODEL = "nano-banana-pro"
BASE = "http://127.0.0.1:1"
FAILED = render_status(
    Handle(request_id="r-1"),
    QueueStatus(state=QueueState.COMPLETED, error="it broke", error_type="internal_server_error"),
)


def narrow(settings_of: Any, **sections: Any) -> Any:
    """One upstream, which is polled and takes one call at a time."""
    upstream = {"name": "queue", "provider": "fal", "base_url": BASE, "keys": ["one-key"], "concurrency": 1}
    route = {"model": MODEL, "upstreams": [{"upstream": "queue", "model": "fal-ai/nano-banana-pro"}]}
    return settings_of(upstreams=[upstream], routes=[route], **sections)


async def test_what_is_taken_up_has_the_place_and_the_others_wait_behind_it(
    bench: Any, queue: Any, settings_of: Any
) -> None:
    """The upstream is at work for it already, whoever asks first after a restart."""
    await bench.restart(narrow(settings_of))
    gate = queue.hold("status")
    first, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    second, _ = await bench.ask()
    await bench.restart()
    await bench.until(lambda: queue.is_asked("status"))
    assert (bench.engine.in_line(first), bench.engine.in_line(second).position) == (None, 1)
    assert queue.submitted == [f"{first}.0.0"]
    gate.set()
    await bench.quiet()
    assert queue.submitted == [f"{first}.0.0", f"{second}.0.0"]
    assert [(await bench.record(each)).generation.state for each in (first, second)] == ["succeeded"] * 2
    await bench.is_clean(first, second)


async def test_more_may_go_on_than_the_upstream_takes_now(bench: Any, queue: Any, settings_of: Any) -> None:
    """Settings became narrower: all are asked for, and nothing new is sent before there is room again."""
    gate = queue.hold("status")
    before = [(await bench.ask())[0] for _ in range(3)]
    await bench.until(lambda: queue.asked.count("status") == 3)
    await bench.restart(narrow(settings_of))
    after, _ = await bench.ask()
    await bench.turn()
    assert bench.engine.in_line(after).position == 1
    assert len(queue.submitted) == 3
    gate.set()
    await bench.quiet()
    assert queue.submitted[3:] == [f"{after}.0.0"]
    await bench.is_clean(*before, after)


async def test_what_failed_for_nothing_after_a_restart_is_tried_again(bench: Any, queue: Any, settings_of: Any) -> None:
    """The queue's own failure costs nothing; the next request is one more attempt of the same part."""
    await bench.restart(narrow(settings_of, retry={"backoff_s_first": 0.01, "backoff_s_max": 0.01}))
    gate = queue.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    queue.polls.append(FAILED)
    queue.results.append((500, b'{"detail":"it broke"}'))
    await bench.restart()
    gate.set()
    await bench.quiet()
    record = await bench.record(id_)
    assert [(each.state, each.charge) for each in record.attempts] == [("rejected", "no"), ("settled", "yes")]
    assert queue.submitted == [f"{id_}.0.0"] * 2
    assert record.generation.state == "succeeded"
    await bench.is_clean(id_)
