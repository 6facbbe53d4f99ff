"""What is accepted, what is refused and free, and what is held meanwhile."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.errors import RequestError, StorageError
from holdfast.providers.conversation import Send
from holdfast.store.bookkeeping import ledger_sums
from holdfast.store.generations import left_open
from holdfast.transport.exchange import HttpRequest
from holdfast.types import Charge, Failure, FailureKind, Geometry, Phase, Tier

USD = 1_000_000
GPT = "gpt-image-2"
K4 = Geometry(tier=Tier.K4, aspect_ratio="1:1", width_px=4096, height_px=4096)


async def refused(bench: Any, **options: Any) -> RequestError:
    """Ask, be refused, and find nothing left of it."""
    before = await bench.store.read(ledger_sums)
    was = repr(bench.engine)
    with pytest.raises(RequestError) as caught:
        await bench.ask(**options)
    assert await bench.store.read(ledger_sums) == before
    assert repr(bench.engine) == was
    assert len(bench.upstream.asked) == 0
    return caught.value


async def test_a_call_that_goes_well_is_stored_charged_and_told_once(bench: Any, a_picture: bytes) -> None:
    """The image that came is the image that is kept; the hold becomes its price; the caller is told once."""
    id_, caller = await bench.ask()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    row, (attempt,), (blob,) = record.generation, record.attempts, record.blobs
    assert (row.state, row.key_id, row.charged_micros, row.partial_result, row.late) == (
        "succeeded",
        "key_1",
        USD,
        0,
        0,
    )
    assert (attempt.state, attempt.charge, attempt.http_status) == ("settled", "yes", 200)
    assert (blob.kind, blob.mime, blob.width_px, blob.height_px) == ("result", "image/png", 64, 64)
    assert bench.bytes_of(record) == a_picture
    assert blob.bytes == len(a_picture)
    assert attempt.used is not None
    assert attempt.used.output_tokens == 1120
    assert caller.ends == 1
    assert await bench.events(id_) == ["queued", "running", "succeeded"]
    assert await bench.verbs(id_) == ["hold", "capture"]
    assert (await bench.balance(), await bench.balance("revenue")) == (USD, -USD)
    await bench.is_clean(id_)


async def test_it_is_durable_before_the_upstream_is_asked(bench: Any) -> None:
    """When the first byte may leave, generation, hold and attempt are committed, under the key that was sent along."""
    gate = bench.hold_back()
    id_, caller = await bench.ask()
    await bench.in_flight()
    record = await bench.record(id_)
    seen = [(record.generation.state, each.state, each.charge) for each in record.attempts]
    assert seen == [("running", "sent", "unknown")]
    assert await bench.verbs(id_) == ["hold"]
    assert bench.engine.open_generations == 1
    asked = bench.upstream.asked[0]
    assert dict(asked.request.headers)["Idempotency-Key"] == f"{id_}.0.0"
    assert json.loads(b"".join(asked.request.body))["contents"][0]["parts"][0]["text"] == "a lighthouse"
    gate.set()
    await caller.ended()
    await bench.quiet()
    await bench.is_clean(id_)


async def test_a_prompt_is_let_go_of_once_every_part_was_sent(bench: Any, make: Any) -> None:
    """Thousands are held for minutes: what they asked for lives in the store meanwhile, not in memory."""
    gate = bench.hold_back()
    id_, caller = await bench.ask(make(n=3))
    live = bench.engine._live[id_]
    assert live.request is not None
    await bench.in_flight(3)
    assert live.request is None
    gate.set()
    await caller.ended()
    await bench.quiet()


async def test_a_size_without_a_price_is_refused(bench: Any, make: Any, settings_of: Callable[..., Any]) -> None:
    """Nothing is bought that nobody can charge for; the operator is told which key to set."""
    price = {"model": GPT, "micros": {"1K": USD}, "source": "test", "valid_from": "2026-01-01"}
    await bench.restart(settings_of(prices=[price]))
    error = await refused(bench, request=make(model=GPT, geometry=K4))
    assert (error.code, error.status) == ("price_missing", 503)
    assert 'micros."4K"' in error.message


async def test_a_model_without_a_route_is_refused(bench: Any, make: Any) -> None:
    """A name that has a list price and is served nowhere costs nothing."""
    error = await refused(bench, request=make(model="nano-banana"))
    assert (error.code, error.status, error.param) == ("model_not_found", 404, "model")


async def test_more_than_may_be_held_are_refused(bench: Any, settings_of: Callable[..., Any]) -> None:
    """The limit counts what is being accepted at this instant too: twenty at once are not twenty first ones."""
    await bench.restart(settings_of(server={"held_max": 3}))
    gate = bench.hold_back()
    outcomes = await asyncio.gather(*(bench.ask() for _ in range(20)), return_exceptions=True)
    errors = [each for each in outcomes if isinstance(each, RequestError)]
    accepted = [each for each in outcomes if not isinstance(each, BaseException)]
    assert [(each.code, each.status, each.retry_after_s) for each in errors] == [("queue_full", 503, 30.0)] * 17
    assert len(accepted) == len((await bench.store.read(left_open))[1]) == 3
    gate.set()
    for _, caller in accepted:
        await caller.ended()
    await bench.quiet()
    await bench.is_clean(*(id_ for id_, _ in accepted))
    await bench.made()


async def test_what_is_open_counts_against_the_disk(bench: Any, make: Any) -> None:
    """A 4K image may need 26 MB: each that is open, or being accepted at this instant, has its room set aside."""
    bench.free_bytes = bench.settings.store.free_bytes_margin + 2 * 26_000_000
    gate = bench.hold_back()
    asked = (bench.ask(make(geometry=K4)) for _ in range(4))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    errors = [each for each in outcomes if isinstance(each, RequestError)]
    assert [(each.code, each.status, each.retry_after_s) for each in errors] == [("storage_low", 503, 60.0)] * 2
    gate.set()
    await bench.quiet()
    await bench.made(make(geometry=K4))


async def test_room_is_kept_until_the_last_attempt_has_ended(bench: Any, make: Any) -> None:
    """A caller who was told that time is over may have an image on its way: its room is not sold twice."""
    gate = bench.hold_back()
    id_, caller = await bench.ask(make(n=2), asked_s=10.0)
    await bench.in_flight(2)
    bench.clock.jump(11.0)
    await caller.ended()
    await bench.until(lambda: "2 tasks" in repr(bench.engine))
    assert repr(bench.engine) == "<Engine 0 generations open, 2 tasks, 6000000 bytes set aside>"
    gate.set()
    await bench.quiet()
    await bench.is_clean(id_)


async def test_a_full_disk_is_an_obstacle_and_a_refusal(bench: Any) -> None:
    """`/readyz` and a POST agree: without room for an image nothing is bought."""
    assert bench.engine.obstacle() is None
    bench.free_bytes = bench.settings.store.free_bytes_margin - 1
    assert bench.engine.obstacle() == "storage_low"
    assert (await refused(bench)).code == "storage_low"
    bench.free_bytes = bench.settings.store.free_bytes_margin + 1
    assert bench.engine.obstacle() is None
    assert (await refused(bench)).code == "storage_low"


async def test_a_gateway_that_drains_takes_nothing_new_and_ends_what_it_has(bench: Any) -> None:
    """SIGTERM loses nobody: what was accepted is awaited, for as long as it was given."""
    gate = bench.hold_back()
    id_, caller = await bench.ask()
    draining = asyncio.create_task(bench.engine.drain(300.0))
    await bench.until(lambda: bench.engine.is_draining)
    assert bench.engine.obstacle() == "draining"
    with pytest.raises(RequestError) as caught:
        await bench.ask()
    assert (caught.value.code, caught.value.status, caught.value.retry_after_s) == ("draining", 503, 30.0)
    assert not draining.done()
    gate.set()
    assert await draining is True
    assert caller.ends == 1
    await bench.is_clean(id_)


async def test_a_drain_that_takes_too_long_says_so(bench: Any) -> None:
    """What is still open at its end is left to the next start, which tells it as unknown."""
    bench.hold_back()
    id_, caller = await bench.ask()
    draining = asyncio.create_task(bench.engine.drain(300.0))
    await bench.in_flight()
    bench.clock.jump(301.0)
    assert await draining is False
    assert bench.engine.open_generations == 1
    recovered = await bench.restart()
    assert (recovered.settled, recovered.unknown, recovered.to_drive) == (0, 1, ())
    record = await bench.record(id_)
    assert record.generation.told is not None
    assert (record.generation.told.code, record.generation.told.charge) == ("outcome_unknown", Charge.UNKNOWN)
    assert caller.ends == 0
    await bench.is_clean(id_)


async def test_a_disk_that_refuses_the_accepting_commit_leaves_nothing(bench: Any, arm: Callable[[str], None]) -> None:
    """No row, no hold, nothing set aside: the caller may try again."""
    arm("store.before_commit:error")
    with pytest.raises(StorageError):
        await bench.ask()
    assert await bench.store.read(left_open) == ((), ())
    assert repr(bench.engine) == "<Engine 0 generations open, 0 tasks, 0 bytes set aside>"
    await bench.is_clean()
    await bench.made()


async def test_an_accepting_commit_whose_answer_was_lost_is_found_by_its_id(
    bench: Any, arm: Callable[[str], None]
) -> None:
    """Else the caller would be told to try again while the first one is bought at the next start."""
    arm("store.after_commit:error")
    id_, caller = await bench.ask()
    await caller.ended()
    await bench.quiet()
    assert (await bench.record(id_)).generation.state == "succeeded"
    assert len(bench.upstream.asked) == 1
    await bench.is_clean(id_)


async def test_what_was_accepted_goes_on_when_its_call_fails(bench: Any, arm: Callable[[str], None]) -> None:
    """A mistake between the commit and the answer leaves no generation that nobody drives."""
    arm("accept.after_commit:error")
    with pytest.raises(OSError, match="injected"):
        await bench.ask()
    await bench.quiet()
    (asked,) = bench.upstream.asked
    assert (await bench.record(asked.generation_id)).generation.state == "succeeded"
    await bench.is_clean(asked.generation_id)


async def test_lines_of_the_log_say_who_what_and_how_long(
    bench: Any, log: Callable[..., list[dict[str, Any]]], make: Any
) -> None:
    """One line a transition, each with ids, key, model, size and seconds since acceptance; never a prompt or a key."""
    gate = bench.hold_back()
    id_, caller = await bench.ask(make(prompt="a secret wish"))
    await bench.in_flight()
    bench.clock.jump(12.5)
    gate.set()
    await caller.ended()
    await bench.quiet()
    (attempt,) = (await bench.record(id_)).attempts
    (accepted,) = log("generation.accepted")
    (sent,) = log("attempt.sent")
    (settled,) = log("attempt.settled")
    (finished,) = log("generation.finished")
    about = {"generation_id": id_, "key_id": "key_1", "size": "1K"}
    upstream = {"attempt_id": attempt.id, "upstream": "google", "model": "gemini-3-pro-image"}
    # Nobody has sent a trace along.
    assert accepted == {**about, "model": "nano-banana-pro", "elapsed_s": 0.0, "traceparent": None}
    assert sent == {**about, **upstream, "elapsed_s": 0.0, "queued_s": 0.0, "traceparent": None}
    took = {"elapsed_s": 12.5, "took_s": 12.5, "stored_s": 0.0, "provider": "gemini", "traceparent": None}
    assert settled == {**about, **upstream, **took, "images": 1, "drafts": 0}
    assert finished.items() >= {**about, "model": "nano-banana-pro", "elapsed_s": 12.5, "state": "succeeded"}.items()
    text = repr(log())
    assert "secret wish" not in text
    assert "one-key" not in text


@pytest.mark.parametrize("sections", [{"retry": {"attempts_max": 1}}])
async def test_what_was_sent_is_not_kept_while_an_answer_is_awaited(bench: Any) -> None:
    """A prompt may weigh megabytes and an answer take minutes: the bytes go when the transport lets go of them."""
    gate, is_sent = asyncio.Event(), asyncio.Event()

    async def exchange(request: HttpRequest, **_: Any) -> Failure:
        assert request.body
        del request
        is_sent.set()
        await gate.wait()
        return Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="gone")

    def requests_in_memory() -> int:
        gc.collect()
        return sum(isinstance(each, HttpRequest | Send) for each in gc.get_objects())

    bench.upstream.exchange = exchange
    before = requests_in_memory()
    _, caller = await bench.ask()
    await is_sent.wait()
    assert requests_in_memory() == before
    gate.set()
    await caller.ended()
