"""Processes come and go while an upstream is polled: each goes on from the handle, and none buys again."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from holdfast.engine.converter import FileFormat
from holdfast.faults import InjectedFault
from holdfast.types import Charge, Failure, FailureKind, Phase

USD = 1_000_000
MODEL = "nano-banana-pro"
BASE = "http://127.0.0.1:1"
BROKEN = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="it was reset")


@pytest.mark.parametrize("held", ["status", "result", "fetch 0"])
async def test_a_restart_goes_on_from_the_handle(bench: Any, queue: Any, held: str, log: Any) -> None:
    """Wherever it was; the generation is open and counted, and room is set aside for what comes."""
    gate = queue.hold(held)
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked(held))
    recovered = await bench.restart()
    assert (recovered.settled, recovered.unknown, recovered.to_drive) == (0, 0, ())
    assert [each.new.generation_id for each in recovered.to_resume] == [id_]
    assert bench.engine.open_generations == 1
    assert " 0 bytes" not in repr(bench.engine)
    assert log("recovery.done")[-1] == {"settled": 0, "unknown": 0, "taken_up": 0, "resumed": 1}
    gate.set()
    await queue.one_image(bench, id_)
    assert log("attempt.polling")[-1]["is_resumed"] is True
    assert (await bench.restart()).to_resume == ()


async def test_a_restart_knows_what_was_asked_for(bench: Any, queue: Any, make: Any) -> None:
    """The file format that its caller named is made by the next process too, and who waits for it is known."""
    gate = queue.hold("status")
    id_, _ = await bench.ask(make(output_format="webp", output_compression=40), only_awaited=True)
    await bench.until(lambda: queue.is_asked("status"))
    (resumed,) = (await bench.restart()).to_resume
    assert resumed.live.file_format == FileFormat(name="webp", quality=40)
    assert resumed.live.only_awaited
    gate.set()
    await queue.one_image(bench, id_)


@dataclass
class Strict:
    """Keeps the requests of each key apart, as a queue does: another key's are unknown."""

    queue: Any
    says: int
    keys: list[str] = field(default_factory=list)

    async def exchange(self, request: Any, **how: Any) -> Any:
        """Answer who made it."""
        headers = dict(request.headers)
        self.keys.append(headers["Authorization"].removeprefix("Key "))
        if self.keys[-1] != "one-key":
            self.queue.polls.appendleft(self.says)
            request = replace(request, headers=tuple((headers | {"Authorization": "Key one-key"}).items()))
        return await self.queue.exchange(request, **how)

    @property
    def threads(self) -> Any:
        """The queue's own."""
        return self.queue.threads

    async def fetch(self, url: str, **how: Any) -> Any:
        """A file is anybody's."""
        return await self.queue.fetch(url, **how)


@pytest.mark.parametrize("says", [401, 403, 404])
async def test_keys_that_stand_in_another_order_lose_nothing(
    bench: Any, queue: Any, settings_of: Any, says: int
) -> None:
    """Somebody has put a key before the one that bought it: it is found by asking, and nothing is bought again."""
    gate = queue.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    bench.upstream = strict = Strict(queue, says)
    queue.polls += [429, "IN_PROGRESS"]
    gate.set()
    keys = ["new-key", "newer-key", "one-key"]
    upstream = {"name": "queue", "provider": "fal", "base_url": BASE, "keys": keys}
    route = {"model": MODEL, "upstreams": [{"upstream": "queue", "model": "fal-ai/nano-banana-pro"}]}
    await bench.restart(settings_of(upstreams=[upstream], routes=[route]))
    await queue.one_image(bench, id_)
    assert strict.keys[:3] == keys
    assert set(strict.keys[3:]) == {"one-key"}


async def test_a_key_that_is_gone_is_asked_for_no_other_way(bench: Any, queue: Any, settings_of: Any) -> None:
    """Each key is tried once, then the first asks on until the attempt's time is over: its owner may put it right."""
    gate = queue.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    bench.upstream = strict = Strict(queue, 401)
    gate.set()
    upstream = {"name": "queue", "provider": "fal", "base_url": BASE, "keys": ["new-key", "newer-key"]}
    route = {"model": MODEL, "upstreams": [{"upstream": "queue", "model": "fal-ai/nano-banana-pro"}]}
    await bench.restart(settings_of(upstreams=[upstream], routes=[route]))
    await bench.until(lambda: len(strict.keys) >= 6)
    bench.clock.jump(4000.0)
    await bench.quiet()
    assert strict.keys[:3] == ["new-key", "newer-key", "new-key"]
    assert set(strict.keys[3:]) == {"new-key"}
    assert (await queue.attempt_of(bench, id_)).state == "unknown"
    await bench.is_clean(id_)


async def test_however_many_restarts_buy_one_image(bench: Any, queue: Any) -> None:
    """One handle, ten processes, one charge."""
    gate = queue.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    for _ in range(10):
        queue.asked.clear()
        await bench.restart()
        await bench.until(lambda: queue.is_asked("status"))
        assert (await queue.attempt_of(bench, id_)).state == "polling"
    gate.set()
    await queue.one_image(bench, id_)


async def test_a_process_that_died_before_the_handle_was_stored_leaves_it_unknown(bench: Any, queue: Any) -> None:
    """Taken by the queue, perhaps: nobody can ask, nobody buys again."""
    queue.hold("submit")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.submitted)
    recovered = await bench.restart()
    assert (recovered.unknown, recovered.to_resume) == (1, ())
    record = await bench.record(id_)
    assert record.generation.told is not None
    assert record.generation.told.code == "outcome_unknown"
    assert len(queue.submitted) == 1
    await bench.is_clean(id_)


@pytest.mark.parametrize("change", ["gone", "another provider", "another name"])
async def test_an_upstream_that_is_gone_is_asked_for_nothing(
    bench: Any, queue: Any, settings_of: Any, change: str
) -> None:
    """Who has it cannot be asked: unknown, as ever."""
    queue.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    settings = settings_of()
    if change != "gone":
        name, provider = ("queue", "openai") if change == "another provider" else ("other", "fal")
        upstream = {"name": name, "provider": provider, "base_url": BASE, "keys": ["one-key"]}
        route = {"model": MODEL, "upstreams": [{"upstream": name, "model": "fal-ai/nano-banana-pro"}]}
        settings = settings_of(upstreams=[upstream], routes=[route])
    recovered = await bench.restart(settings)
    assert (recovered.unknown, recovered.to_resume) == (1, ())
    assert (await queue.attempt_of(bench, id_)).state == "unknown"
    await bench.is_clean(id_)


async def test_an_upstream_that_serves_another_route_now_is_asked_all_the_same(
    bench: Any, queue: Any, settings_of: Any
) -> None:
    """What it has made does not hang on who would be asked next time; the model's path is the attempt's own."""
    gate = queue.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    google = {"name": "google", "provider": "gemini", "base_url": "http://google.test", "keys": ["other"]}
    upstream = {"name": "queue", "provider": "fal", "base_url": BASE, "keys": ["one-key"]}
    routes = [
        {"model": MODEL, "upstreams": [{"upstream": "google", "model": "gemini-3-pro-image"}]},
        {"model": "gpt-image-2", "upstreams": [{"upstream": "queue", "model": "openai/gpt-image-2"}]},
    ]
    recovered = await bench.restart(settings_of(upstreams=[google, upstream], routes=routes))
    assert [each.target.model for each in recovered.to_resume] == ["fal-ai/nano-banana-pro"]
    gate.set()
    await queue.one_image(bench, id_)


async def test_a_handle_that_cannot_be_read_is_unknown(bench: Any, queue: Any) -> None:
    """Another version's, or a torn one."""
    queue.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    await bench.store.write(lambda conn: conn.execute("UPDATE attempt SET upstream_handle = '{'"))
    queue.asked.clear()
    await bench.restart()
    await bench.quiet()
    assert (await queue.attempt_of(bench, id_)).state == "unknown"
    assert queue.asked == []
    await bench.is_clean(id_)


async def test_an_attempt_whose_time_passed_while_nobody_ran_is_asked_for_once_more(bench: Any, queue: Any) -> None:
    """Its image is there by now, and paid for."""
    queue.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    await bench.close()
    bench.clock.jump(1000.0)
    bench.open()
    queue.gates["status"].set()
    queue.polls += [503, "IN_PROGRESS"]
    await bench.engine.start()
    await queue.one_image(bench, id_)


async def test_a_resumed_attempt_has_its_own_time_and_no_more(bench: Any, queue: Any) -> None:
    """Counted from when it was sent, by whichever process."""
    gate = queue.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    bench.clock.jump(100.0)
    queue.asked.clear()
    await bench.restart()
    await bench.until(lambda: queue.is_asked("status"))
    queue.polls.extend(["IN_PROGRESS"] * 1000)
    bench.clock.jump(81.0)
    gate.set()
    await bench.quiet()
    assert (await queue.attempt_of(bench, id_)).state == "unknown"
    assert len(queue.submitted) == 1
    await bench.is_clean(id_)


async def test_a_generation_that_ended_meanwhile_gets_its_late_image(bench: Any, queue: Any) -> None:
    """Told at its deadline; the image comes in the next process, and turns it."""
    gate = queue.hold("status")
    id_, caller = await bench.ask(asked_s=60.0)
    await bench.until(lambda: queue.is_asked("status"))
    bench.clock.jump(61.0)
    await caller.ended()
    assert (await bench.record(id_)).generation.state == "failed"
    recovered = await bench.restart()
    assert [each.is_open for each in recovered.to_resume] == [False]
    assert bench.engine.open_generations == 0
    gate.set()
    await queue.one_image(bench, id_, late=True)


async def test_a_callers_budget_that_passed_while_nobody_ran_is_told_and_its_image_is_late(
    bench: Any, queue: Any
) -> None:
    """As if the process had lived."""
    gate = queue.hold("status")
    id_, _ = await bench.ask(asked_s=60.0)
    await bench.until(lambda: queue.is_asked("status"))
    await bench.close()
    bench.clock.jump(61.0)
    bench.open()
    await bench.engine.start()
    await bench.until(lambda: bench.engine.open_generations == 0)
    told = (await bench.record(id_)).generation.told
    assert told is not None
    assert told.code == "deadline_exceeded"
    gate.set()
    await queue.one_image(bench, id_, late=True)


async def test_images_that_were_fetched_already_are_not_all(bench: Any, queue: Any, make: Any) -> None:
    """The process died between the first and the second: both are fetched, none is bought again."""
    queue.images = 2
    gate = queue.hold("fetch 1")
    id_, _ = await bench.ask(make(n=2))
    await bench.until(lambda: queue.is_asked("fetch 1"))
    assert bench.spooled() == [f"{(await queue.attempt_of(bench, id_)).id}-0.done"]
    recovered = await bench.restart()
    assert (recovered.settled, len(recovered.to_resume)) == (0, 1)
    gate.set()
    await bench.quiet()
    record = await bench.record(id_)
    assert [bench.bytes_of(record, at) for at in range(2)] == [queue.pictures(at) for at in range(2)]
    assert await bench.taken(id_) == [("cost", 2 * USD)]
    assert len(queue.submitted) == 1
    await bench.is_clean(id_)


async def test_an_image_in_the_spool_is_settled_without_asking(bench: Any, queue: Any, arm: Any) -> None:
    """Whole, and the process died before it was recorded."""
    arm("settle.before_blobs:sleep=60")
    id_, _ = await bench.ask()
    await bench.until(bench.spooled)
    await bench.until(lambda: queue.is_asked("fetch"))
    await bench.until(lambda: any(name.endswith(".done") for name in bench.spooled()))
    await asyncio.sleep(0.05)
    queue.asked.clear()
    recovered = await bench.restart()
    assert (recovered.settled, recovered.to_resume) == (1, ())
    assert queue.asked == []
    await queue.one_image(bench, id_)


@pytest.mark.parametrize(
    "point", ["recovery.before_resuming", "recovery.after_records", "recovery.after_spool", "recovery.after_take_over"]
)
async def test_a_start_that_dies_leaves_the_next_one_all_that_it_needs(
    bench: Any, queue: Any, arm: Any, point: str
) -> None:
    """The handle is where it was."""
    gate = queue.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    arm(f"{point}:error")
    with pytest.raises(InjectedFault):
        await bench.restart()
    arm("")
    assert len((await bench.restart()).to_resume) == 1
    gate.set()
    await queue.one_image(bench, id_)


async def test_what_could_not_be_kept_at_once_is_kept_later(bench: Any, queue: Any, arm: Any, log: Any) -> None:
    """A disk that refuses the handle is waited for: nothing is polled that the next process could not poll."""
    arm("handle.before_rows:error")
    id_, _ = await bench.ask()
    await bench.until(lambda: log("storage.failed"))
    assert (await queue.attempt_of(bench, id_)).state == "sent"
    assert queue.asked == []
    bench.clock.jump(1.0)
    await queue.one_image(bench, id_)


async def test_a_drain_that_ends_hands_the_handle_over(bench: Any, queue: Any) -> None:
    """Neither marked as unknown nor given up: it stays as it is for the next start."""
    gate = queue.hold("status")
    id_, _ = await bench.ask()
    await bench.until(lambda: queue.is_asked("status"))
    assert not await bench.engine.drain(0.01)
    await bench.engine.stop()
    attempt = await queue.attempt_of(bench, id_)
    assert (attempt.state, attempt.failure) == ("polling", None)
    assert (await bench.record(id_)).generation.state == "running"
    await bench.restart()
    gate.set()
    await queue.one_image(bench, id_)
