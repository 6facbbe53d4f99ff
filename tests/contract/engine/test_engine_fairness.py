"""Several API keys at one upstream: whose turn it is, how fast calls follow each other, what those in line know."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.types import Charge, Failure, FailureKind, Geometry, Phase, Tier

GPT = "gpt-image-2"
GONE = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="connection refused")
FOUR_K = Geometry(tier=Tier.K4, aspect_ratio="1:1", width_px=4096, height_px=4096)


def upstreams(openai: dict[str, Any] | None = None, **google: Any) -> dict[str, Any]:
    """Settings of a bench whose first upstream is as narrow as said; the other one too, if anything is said of it."""
    base = {"keys": ["one-key"]}
    return {
        "upstreams": [
            {"name": "google", "provider": "gemini", "base_url": "http://google.test", **base, **google},
            {"name": "openai", "provider": "openai", "base_url": "http://openai.test/v1", **base, **(openai or {})},
        ]
    }


def limited(**google: Any) -> Any:
    """Run a test with such an upstream."""
    queue = google.pop("queue", {})
    openai = google.pop("openai", {})
    return pytest.mark.parametrize("sections", [{**upstreams(openai, **google), "queue": queue}])


def position(bench: Any, id_: str) -> int | None:
    """Where one stands in line."""
    in_line = bench.engine.in_line(id_)
    return None if in_line is None else in_line.position


def estimate(bench: Any, id_: str) -> float:
    """In how many seconds it should be sent."""
    in_line = bench.engine.in_line(id_)
    assert in_line is not None
    return float(in_line.estimate_s)


async def sent(bench: Any, asked: dict[str, str]) -> list[str]:
    """Let all end; say what was sent, in order."""
    await bench.quiet()
    names = {id_: name for name, id_ in asked.items()}
    return [names[call.generation_id] for call in bench.upstream.asked if call.generation_id in names]


@limited(concurrency=1)
async def test_two_api_keys_take_turns(bench: Any) -> None:
    """One has asked for six, then the other for four: from then on it is one and one, in each key's own order."""
    gate = bench.hold_back()
    asked = {}
    for name in ("a1", "a2", "a3", "a4", "a5", "a6", "b1", "b2", "b3", "b4"):
        asked[name], _ = await bench.ask(key_id=name[0])
    assert [position(bench, asked[name]) for name in ("a1", "a2", "b1", "a3", "b4", "a6")] == [None, 1, 2, 3, 8, 9]
    gate.set()
    assert await sent(bench, asked) == ["a1", "a2", "b1", "a3", "b2", "a4", "b3", "a5", "b4", "a6"]
    await bench.is_clean(*asked.values())


@limited(concurrency=1)
async def test_a_4k_counts_more(bench: Any, make: Any) -> None:
    """As long as one takes, two and more small ones are made."""
    gate = bench.hold_back()
    asked = {"first": (await bench.ask(key_id="c"))[0]}
    for name in ("a1", "a2", "b1", "b2", "b3", "b4"):
        request = make(geometry=FOUR_K) if name[0] == "a" else make()
        asked[name], _ = await bench.ask(request, key_id=name[0])
    gate.set()
    assert await sent(bench, asked) == ["first", "a1", "b1", "b2", "b3", "a2", "b4"]
    await bench.is_clean(*asked.values())


@limited(concurrency=1)
async def test_a_heavy_key_does_not_delay_a_light_one(bench: Any, shapes: Any) -> None:
    """A thousand calls of one key wait; another's first call is sent after one of them at most."""
    gates = [asyncio.Event() for _ in range(4)]
    bench.upstream.next.extend(shapes.Reply(body=shapes.gemini(shapes.png()), when=gate) for gate in gates)
    await asyncio.gather(*(bench.ask(key_id="heavy") for _ in range(1001)))
    await bench.in_flight(1)
    assert "1000 in line" in repr(bench.engine)
    light, caller = await bench.ask(key_id="light")
    assert position(bench, light) == 2
    # Places come every 45 s.
    assert estimate(bench, light) == pytest.approx(90.0)
    for gate in gates[:3]:
        gate.set()
    await caller.ended()
    ids = [call.generation_id for call in bench.upstream.asked]
    assert ids.index(light) == 2


@limited(concurrency=1)
async def test_one_that_leaves_the_middle_lets_those_behind_it_move_up(bench: Any) -> None:
    """Of its own API key all of them, of others those that come after."""
    gate = bench.hold_back()
    asked = {name: (await bench.ask(key_id=name[0]))[0] for name in ("a1", "a2", "a3", "a4", "b1", "b2")}
    assert [position(bench, asked[name]) for name in ("a3", "a4", "b2")] == [3, 5, 4]
    await bench.engine.cancel(asked["a3"])
    assert [position(bench, asked[name]) for name in ("a2", "b1", "a4", "b2")] == [1, 2, 3, 4]
    gate.set()
    assert await sent(bench, asked) == ["a1", "a2", "b1", "a4", "b2"]
    await bench.is_clean(*asked.values())


@limited(openai={"provider": "gemini"}, queue={"per_key_in_flight_max": 2})
async def test_an_api_key_has_so_many_in_flight_and_no_more(bench: Any, make: Any) -> None:
    """At both upstreams together; the others are not refused, they wait, and other API keys go by."""
    gate = bench.hold_back()
    asked = {}
    for name, model in (("a1", "nano-banana-pro"), ("a2", GPT), ("a3", GPT), ("a4", "nano-banana-pro")):
        asked[name], _ = await bench.ask(make(model=model), key_id="a")
    asked["b1"], _ = await bench.ask(key_id="b")
    await bench.in_flight(3)
    await bench.turn()
    assert [position(bench, asked[name]) for name in ("a1", "a2", "a3", "a4", "b1")] == [None, None, 1, 1, None]
    assert estimate(bench, asked["a3"]) == pytest.approx(22.5)
    assert len(bench.upstream.asked) == 3
    gate.set()
    assert sorted(await sent(bench, asked)) == ["a1", "a2", "a3", "a4", "b1"]
    await bench.is_clean(*asked.values())


@limited(concurrency=1, openai={"concurrency": 1}, queue={"waiting_max": 0})
async def test_who_arrives_at_one_upstream_takes_nothing_from_the_other(bench: Any, make: Any, shapes: Any) -> None:
    """Both at one instant, a place free at each: both are taken; a second at either is not."""
    bench.hold_back()
    asked = await asyncio.gather(
        *(bench.ask(make(model=model)) for model in ("nano-banana-pro", GPT, "nano-banana-pro", GPT)),
        return_exceptions=True,
    )
    assert [isinstance(outcome, RequestError) for outcome in asked] == [False, False, True, True]


# Minutes, days, rests


@limited(per_minute=6)
async def test_a_minute_is_never_fuller_than_it_may_be(bench: Any) -> None:
    """Fourteen at once: one every ten seconds and a fifth, whatever becomes of them; nobody is refused."""
    asked = [await bench.ask() for _ in range(14)]
    ids = [id_ for id_, _ in asked]
    assert [position(bench, id_) for id_ in ids[:3]] == [None, 1, 2]
    assert [estimate(bench, id_) for id_ in ids[1:4]] == pytest.approx([10.2, 20.4, 30.6])
    await bench.in_flight(1)
    for calls in range(2, 15):
        bench.clock.jump(10.1)
        await bench.turn()
        assert len(bench.upstream.asked) == calls - 1
        bench.clock.jump(0.11)
        await bench.in_flight(calls)
    await bench.quiet()
    assert [call.generation_id for call in bench.upstream.asked] == ids
    times = [call.at for call in bench.upstream.asked]
    assert max(sum(at <= other < at + 60.0 for other in times) for at in times) == 6
    await bench.is_clean(*ids)


@limited(per_minute=6)
async def test_a_start_goes_on_where_the_minute_was(bench: Any) -> None:
    """The next call is sent when it would have been sent without the restart."""
    gate = bench.hold_back()
    for _ in range(3):
        await bench.ask()
    await bench.in_flight(1)
    bench.clock.jump(4.0)
    await bench.restart()
    later, caller = await bench.ask()
    assert position(bench, later) == 3
    bench.clock.jump(6.1)
    await bench.turn()
    assert len(bench.upstream.asked) == 1
    bench.clock.jump(0.2)
    await bench.in_flight(2)
    gate.set()
    for calls in (3, 4):
        bench.clock.jump(10.3)
        await bench.in_flight(calls)
    await caller.ended()
    await bench.quiet()


@limited(keys=["one-key", "other-key"], per_day=2)
async def test_a_start_knows_which_key_has_sent_what(bench: Any) -> None:
    """Three went out: two with the first, one with the second, which has one left."""
    for _ in range(3):
        await bench.made()
    await bench.restart()
    fourth, caller = await bench.ask()
    await caller.ended()
    fifth, caller = await bench.ask()
    await caller.ended()
    assert (await bench.record(fifth)).generation.told.code == "overloaded"
    keys = [dict(call.request.headers)["x-goog-api-key"] for call in bench.upstream.asked]
    assert keys == ["one-key", "other-key", "one-key", "other-key"]
    await bench.quiet()
    await bench.is_clean(fourth, fifth)


@limited(per_day=2)
async def test_a_day_that_is_spent_stays_spent_after_a_restart(bench: Any) -> None:
    """A third call would wait for midnight, UTC, which is too late: it is told so at once, unpaid, with the hour."""
    for _ in range(2):
        await bench.made()
    await bench.restart()
    third, caller = await bench.ask()
    now = bench.clock.now()
    left_s = 86_400.0 - (now.hour * 3600 + now.minute * 60 + now.second)
    await caller.ended()
    row = (await bench.record(third)).generation
    assert (row.state, row.told.code, row.told.charge, row.charged_micros) == ("failed", "overloaded", "no", 0)
    assert row.told.retry_after_s == pytest.approx(left_s, abs=1.0)
    bench.clock.jump(left_s - 200.0)
    # Two hundred seconds before the day is over it is worth the wait.
    fourth, caller = await bench.ask()
    await bench.turn()
    assert estimate(bench, fourth) == pytest.approx(200.0, abs=1.0)
    bench.clock.jump(201.0)
    await caller.ended()
    assert (await bench.record(fourth)).generation.state == "succeeded"
    await bench.is_clean(third, fourth)


@limited(per_day=1, concurrency=1)
async def test_who_waits_while_the_day_is_spent_is_told_so(bench: Any) -> None:
    """The one before takes the last call of the day: whoever stands behind it has nothing to wait for."""
    gate = bench.hold_back()
    asked = [await bench.ask() for _ in range(2)]
    await asked[1][1].ended()
    assert (await bench.record(asked[1][0])).generation.told.code == "overloaded"
    gate.set()
    await asked[0][1].ended()
    await bench.quiet()
    assert (await bench.record(asked[0][0])).generation.state == "succeeded"
    await bench.is_clean(*(id_ for id_, _ in asked))


@limited(keys=["one-key", "other-key"], per_day=1)
async def test_a_key_that_rests_is_pressed_where_the_other_is_spent(bench: Any, shapes: Any) -> None:
    """One has sent its call of the day, the other rests beyond the deadline: to be told by that one costs nothing."""
    await bench.made()
    bench.engine._parts.queue.rest("google", 1, bench.clock.monotonic() + 600.0)
    body = b'{"error":{"message":"slow down","code":429,"status":"RESOURCE_EXHAUSTED"}}'
    bench.upstream.usual = shapes.Reply(body=body, status=429, retry_after="600")
    id_, caller = await bench.ask()
    await caller.ended()
    await bench.quiet()
    keys = [dict(call.request.headers)["x-goog-api-key"] for call in bench.upstream.asked]
    assert keys == ["one-key", "other-key"]
    told = (await bench.record(id_)).generation.told
    # Now its day is spent as well.
    assert (told.code, told.retry_after_s) == ("overloaded", pytest.approx(43_200.0, abs=1.0))
    await bench.is_clean(id_)


@limited(keys=["one-key"])
async def test_the_only_key_rests_and_then_the_line_goes_on(bench: Any) -> None:
    """By itself; who waits knows when. All three have their places at once, and their commits race."""
    bench.engine._parts.queue.rest("google", 0, bench.clock.monotonic() + 50.0)
    asked = [await bench.ask() for _ in range(3)]
    ids = [id_ for id_, _ in asked]
    assert [position(bench, id_) for id_ in ids] == [1, 2, 3]
    assert estimate(bench, ids[0]) == pytest.approx(50.0)
    bench.clock.jump(49.0)
    await bench.turn()
    assert not bench.upstream.asked
    bench.clock.jump(1.1)
    for _, caller in asked:
        await caller.ended()
    await bench.quiet()
    assert {call.generation_id for call in bench.upstream.asked} == set(ids)
    await bench.is_clean(*ids)


@limited(keys=["one-key", "other-key"], concurrency=1)
async def test_each_credential_has_its_places(bench: Any) -> None:
    """Two at once, each with its own key; one that rests leaves its place empty."""
    gate = bench.hold_back()
    ids = [(await bench.ask())[0] for _ in range(4)]
    await bench.in_flight(2)
    await bench.turn()
    assert [position(bench, id_) for id_ in ids] == [None, None, 1, 2]
    keys = [dict(call.request.headers)["x-goog-api-key"] for call in bench.upstream.asked]
    assert sorted(keys) == ["one-key", "other-key"]
    bench.engine._parts.queue.rest("google", 0, bench.clock.monotonic() + 50.0)
    gate.set()
    await bench.quiet()
    keys = [dict(call.request.headers)["x-goog-api-key"] for call in bench.upstream.asked]
    assert keys[2:] == ["other-key", "other-key"]
    await bench.is_clean(*ids)


@pytest.mark.parametrize("sections", [{**upstreams(per_minute=6), "retry": {"backoff_s_first": 60.0}}])
async def test_one_that_was_stopped_in_a_pause_costs_the_others_nothing(bench: Any, shapes: Any) -> None:
    """A cancelled call is not sent, and takes nothing of the minute."""
    bench.upstream.next.append(shapes.Reply(failure=GONE))
    first, _ = await bench.ask()
    await bench.resting()
    bench.clock.jump(15.0)
    await bench.engine.cancel(first)
    await bench.until(lambda: "in a pause" not in repr(bench.engine))
    second, caller = await bench.ask()
    assert position(bench, second) is None
    await caller.ended()
    await bench.quiet()
    assert [call.generation_id for call in bench.upstream.asked] == [first, second]
    await bench.is_clean(first, second)
