"""Settings are read anew while generations are under way: what is in flight ends where it was sent, all else follows.

`a` and `b` serve the model; `a` takes one call at a time with each key where a test says so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.config import Settings
from holdfast.engine.course import targets_of
from holdfast.engine.renewal import renewed_targets
from holdfast.policy.joining import Claim
from holdfast.store.joining import enter
from holdfast.types import Charge, Failure, FailureKind, Phase

USD = 1_000_000
PRO, OTHER = "nano-banana-pro", "seedream-4.5"
LIMIT = b'{"error":{"message":"slow down","code":429,"status":"RESOURCE_EXHAUSTED"}}'
WRONG_KEY = b'{"error":{"message":"API key not valid","code":401,"status":"UNAUTHENTICATED"}}'
GONE = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="connection refused")

SettingsOf = Callable[..., Settings]


def a_price(model: str, micros: int) -> dict[str, Any]:
    """The same for every size."""
    by_tier = {"1K": micros, "2K": micros, "4K": micros}
    return {"model": model, "micros": by_tier, "source": "test", "valid_from": "2026-01-01"}


def an_upstream(name: str, *keys: str, **fields: Any) -> dict[str, Any]:
    """One whose host bears its name."""
    usual = {
        "name": name,
        "provider": "gemini",
        "base_url": f"http://{name}.test",
        "keys": list(keys or (f"{name}-1",)),
    }
    return usual | fields


def sections_of(*upstreams: dict[str, Any], serve: str = "ab", **changes: Any) -> dict[str, Any]:
    """Settings in which the model is served by these, in this order; another model by `c`."""
    upstreams = (*upstreams, an_upstream("c"))
    named = {each["name"] for each in upstreams}
    entries = [{"upstream": name, "model": f"pro-at-{name}"} for name in serve if name in named]
    routes = [{"model": OTHER, "upstreams": [{"upstream": "c", "model": "other-at-c"}]}]
    if entries:
        routes.insert(0, {"model": PRO, "upstreams": entries} | changes.pop("route", {}))
    prices = [a_price(PRO, USD), a_price(OTHER, USD // 2)]
    return {"upstreams": list(upstreams), "routes": routes, "prices": prices} | changes


def began_with(*upstreams: dict[str, Any], **changes: Any) -> Any:
    """Run a test with these settings in the beginning."""
    return pytest.mark.parametrize("sections", [sections_of(*upstreams, **changes)])


def renew(bench: Any, settings: Settings) -> None:
    """Let the engine go by these settings, as SIGHUP does."""
    keys = {upstream.name: upstream.keys for upstream in settings.upstreams}
    bench.engine.renew(settings, renewed_targets(targets_of(settings, keys), bench.core.targets))


def hosts(bench: Any) -> str:
    """Who was asked, in order."""
    return "".join(asked.host for asked in bench.upstream.asked)


def credentials(bench: Any) -> list[str]:
    """With which keys, in order."""
    return [asked.credential for asked in bench.upstream.asked]


@began_with(an_upstream("a"), an_upstream("b"))
async def test_what_is_in_flight_ends_at_an_upstream_that_is_gone(
    bench: Any, a_picture: bytes, settings_of: SettingsOf
) -> None:
    """Its image comes and is paid for as it was; who comes later is sent elsewhere."""
    gate = bench.hold_back()
    id_, caller = await bench.ask()
    await bench.in_flight(1)
    renew(bench, settings_of(**sections_of(an_upstream("b"))))
    later, _ = await bench.ask()
    await bench.in_flight(2)
    gate.set()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.attempts[0].upstream) == ("succeeded", "a")
    assert bench.bytes_of(record) == a_picture
    assert hosts(bench) == "ab"
    await bench.is_clean(id_, later)


@began_with(an_upstream("a"), an_upstream("b"))
async def test_what_fails_at_an_upstream_that_is_gone_goes_on_elsewhere(
    bench: Any, shapes: Any, settings_of: SettingsOf
) -> None:
    """Its failure is nobody's any more; no second call goes there."""
    gate = asyncio.Event()
    bench.upstream.by_host["a"] = shapes.Reply(failure=GONE, when=gate)
    id_, caller = await bench.ask()
    await bench.in_flight(1)
    renew(bench, settings_of(**sections_of(an_upstream("b"))))
    gate.set()
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, hosts(bench)) == ("succeeded", "ab")
    await bench.is_clean(id_)


@began_with(an_upstream("a"), serve="a")
async def test_what_fails_there_finds_an_upstream_that_is_new(bench: Any, shapes: Any, settings_of: SettingsOf) -> None:
    """The route had one entry when it was accepted, and has another one when it fails."""
    gate = asyncio.Event()
    bench.upstream.by_host["a"] = shapes.Reply(failure=GONE, when=gate)
    id_, caller = await bench.ask()
    await bench.in_flight(1)
    renew(bench, settings_of(**sections_of(an_upstream("b"))))
    gate.set()
    await caller.ended()
    await bench.quiet()
    assert ((await bench.record(id_)).generation.state, hosts(bench)) == ("succeeded", "ab")
    await bench.is_clean(id_)


@began_with(an_upstream("a", concurrency=1), serve="a")
async def test_who_stands_in_a_line_that_is_gone_is_routed_anew(bench: Any, settings_of: SettingsOf) -> None:
    """Three wait for the one place of `a`; without it they are with `b` at once, and the fourth ends where it was."""
    gate = bench.hold_back()
    asked = [await bench.ask() for _ in range(4)]
    await bench.in_flight(1)
    renew(bench, settings_of(**sections_of(an_upstream("b"))))
    await bench.in_flight(4)
    assert hosts(bench) == "abbb"
    assert bench.engine.in_line(asked[1][0]) is None
    gate.set()
    for id_, caller in asked:
        await caller.ended()
        assert (await bench.record(id_)).generation.state == "succeeded"
    await bench.is_clean(*(id_ for id_, _ in asked))


@began_with(an_upstream("a", concurrency=1), serve="a")
async def test_who_has_no_route_any_more_is_told_so_and_pays_nothing(bench: Any, settings_of: SettingsOf) -> None:
    """The model has left the settings: who waits ends at once, unpaid; what is in flight brings its image."""
    gate = bench.hold_back()
    first, first_caller = await bench.ask()
    await bench.in_flight(1)
    second, second_caller = await bench.ask()
    renew(bench, settings_of(**sections_of()))
    await second_caller.ended()
    row = (await bench.record(second)).generation
    assert (row.state, row.told.code, row.charged_micros) == ("failed", "upstream_failed", 0)
    assert "taken out of the settings" in row.told.message
    assert "Nothing was bought" in row.told.message
    gate.set()
    await first_caller.ended()
    assert (await bench.record(first)).generation.state == "succeeded"
    assert hosts(bench) == "a"
    await bench.is_clean(first, second)


@began_with(an_upstream("a"), serve="a")
async def test_a_pause_ends_when_nothing_is_left_to_wait_for(bench: Any, shapes: Any, settings_of: SettingsOf) -> None:
    """It was to be tried again in some seconds, at an upstream that is gone."""
    bench.upstream.by_host["a"] = shapes.Reply(failure=GONE)
    id_, caller = await bench.ask()
    await bench.resting()
    renew(bench, settings_of(**sections_of()))
    await caller.ended()
    row = (await bench.record(id_)).generation
    assert (row.state, row.told.code, hosts(bench)) == ("failed", "upstream_failed", "a")
    await bench.is_clean(id_)


@began_with(an_upstream("a", "a-1", "a-2"), serve="a")
async def test_a_removed_key_is_no_longer_used(bench: Any, settings_of: SettingsOf) -> None:
    """What it has in flight ends; everything after goes with the others, the new one among them."""
    gate = bench.hold_back()
    first, caller = await bench.ask()
    await bench.in_flight(1)
    assert credentials(bench) == ["a-1"]
    renew(bench, settings_of(**sections_of(an_upstream("a", "a-3", "a-2"))))
    others = [await bench.ask() for _ in range(4)]
    await bench.in_flight(5)
    assert sorted(credentials(bench)[1:]) == ["a-2", "a-2", "a-3", "a-3"]
    gate.set()
    for _, each in [(first, caller), *others]:
        await each.ended()
    await bench.quiet()
    numbers = dict(zip(credentials(bench), await key_numbers(bench), strict=True))
    # Records name the place that a key has in the settings, as a start counts what was sent.
    assert numbers == {"a-1": 1, "a-2": 2, "a-3": 1}
    await bench.is_clean(first, *(id_ for id_, _ in others))


async def key_numbers(bench: Any) -> list[int | None]:
    """What the records say of the keys, in the order of asking."""
    return [(await bench.record(asked.generation_id)).attempts[-1].key_number for asked in bench.upstream.asked]


@began_with(an_upstream("a", "a-1", concurrency=1), serve="a")
async def test_a_place_with_a_removed_key_is_given_up(bench: Any, settings_of: SettingsOf) -> None:
    """Those in line behind it do not wait for its call to end: the key that is new has a place."""
    gate = bench.hold_back()
    asked = [await bench.ask() for _ in range(2)]
    await bench.in_flight(1)
    renew(bench, settings_of(**sections_of(an_upstream("a", "a-2", concurrency=1))))
    await bench.in_flight(2)
    assert credentials(bench) == ["a-1", "a-2"]
    gate.set()
    for _, caller in asked:
        await caller.ended()
    await bench.is_clean(*(id_ for id_, _ in asked))


@began_with(an_upstream("a", "a-1"), an_upstream("b"))
async def test_a_key_that_rests_goes_on_resting_wherever_it_stands_now(
    bench: Any, shapes: Any, settings_of: SettingsOf
) -> None:
    """429 with its only key: it rests. Another key before it is used at once; without that, it still rests."""
    limit = shapes.Reply(body=LIMIT, status=429, retry_after="600")
    bench.upstream.next_of["a"] = deque([limit, limit])
    for _ in range(2):
        await bench.made()
        bench.clock.jump(5.0)
    assert hosts(bench) == "abab"
    renew(bench, settings_of(**sections_of(an_upstream("a", "a-0", "a-1"), an_upstream("b"))))
    await bench.made()
    assert credentials(bench)[4:] == ["a-0"]
    renew(bench, settings_of(**sections_of(an_upstream("a", "a-1"), an_upstream("b"))))
    await bench.made()
    assert credentials(bench)[5:] == ["b-1"]
    bench.clock.jump(700.0)
    await bench.made()
    assert credentials(bench)[6:] == ["a-1"]


@began_with(an_upstream("a"), an_upstream("b"))
async def test_a_circuit_stays_open_and_a_new_address_closes_it(
    bench: Any, shapes: Any, settings_of: SettingsOf
) -> None:
    """What is known of an upstream is kept over settings that leave it where it is, and of no use where they do not."""
    bench.upstream.by_host["a"] = shapes.Reply(failure=GONE)
    for _ in range(6):
        await bench.made()
    assert hosts(bench)[-1] == "b"
    asked = len(hosts(bench))
    renew(bench, settings_of(**sections_of(an_upstream("a", concurrency=7), an_upstream("b"))))
    await bench.made()
    assert hosts(bench)[asked:] == "b"
    renew(bench, settings_of(**sections_of(an_upstream("a", base_url="http://d.test"), an_upstream("b"))))
    await bench.made()
    assert hosts(bench)[asked + 1 :] == "d"


@began_with(an_upstream("a"), serve="a")
async def test_a_failure_at_the_old_address_says_nothing_of_the_new_one(
    bench: Any, shapes: Any, settings_of: SettingsOf
) -> None:
    """A wrong key there does not take the key out here."""
    gate = asyncio.Event()
    bench.upstream.by_host["a"] = shapes.Reply(body=WRONG_KEY, status=401, when=gate)
    id_, caller = await bench.ask()
    await bench.in_flight(1)
    bench.clock.jump(1.0)
    renew(bench, settings_of(**sections_of(an_upstream("a", base_url="http://d.test"))))
    gate.set()
    await caller.ended()
    await bench.quiet()
    assert hosts(bench) == "a"
    await bench.made()
    assert hosts(bench) == "ad"
    assert "0 open, 0 keys noted" in repr(bench.engine._parts.upstreams)
    assert (await bench.record(id_)).generation.state == "failed"


@began_with(an_upstream("a", concurrency=1), serve="a")
async def test_wider_limits_let_those_through_who_wait(bench: Any, settings_of: SettingsOf) -> None:
    """One place becomes three: two of three who wait are sent at once. None becomes one: who is in flight goes on."""
    gate = bench.hold_back()
    asked = [await bench.ask() for _ in range(4)]
    await bench.in_flight(1)
    renew(bench, settings_of(**sections_of(an_upstream("a", concurrency=3))))
    await bench.in_flight(3)
    await bench.turn()
    assert len(bench.upstream.asked) == 3
    renew(bench, settings_of(**sections_of(an_upstream("a", concurrency=1))))
    await bench.turn()
    assert len(bench.upstream.asked) == 3
    in_line = bench.engine.in_line(asked[3][0])
    assert in_line is not None
    assert in_line.position == 1
    gate.set()
    for _, caller in asked:
        await caller.ended()
    await bench.is_clean(*(id_ for id_, _ in asked))


@began_with(an_upstream("a"), serve="a")
async def test_a_limit_of_a_day_counts_what_was_sent_before_it(bench: Any, settings_of: SettingsOf) -> None:
    """Also by an earlier process: three were sent today, and three may be."""
    for _ in range(2):
        await bench.made()
    await bench.restart()
    await bench.made()
    renew(bench, settings_of(**sections_of(an_upstream("a", per_day=3), an_upstream("b"))))
    await bench.made()
    assert hosts(bench) == "aaab"


@began_with(an_upstream("a", per_minute=60), serve="a")
async def test_a_slower_pace_counts_from_the_call_before(bench: Any, settings_of: SettingsOf) -> None:
    """One a second becomes one in ten: the next call is due ten seconds after the last one, not one."""
    await bench.made()
    renew(bench, settings_of(**sections_of(an_upstream("a", per_minute=6))))
    id_, caller = await bench.ask()
    await bench.turn()
    bench.clock.jump(9.0)
    await bench.turn()
    assert len(bench.upstream.asked) == 1
    bench.clock.jump(1.5)
    await caller.ended()
    assert [round(asked.at) for asked in bench.upstream.asked] == [0, 10]
    await bench.is_clean(id_)


@began_with(an_upstream("a"), serve="a", queue={"per_key_in_flight_max": 1})
async def test_places_of_an_api_key_follow(bench: Any, settings_of: SettingsOf) -> None:
    """One at a time becomes two, then any number; those in flight were counted all along."""
    gate = bench.hold_back()
    asked = [await bench.ask() for _ in range(5)]
    await bench.in_flight(1)
    renew(bench, settings_of(**sections_of(an_upstream("a"), queue={"per_key_in_flight_max": 2})))
    await bench.in_flight(2)
    await bench.turn()
    assert len(bench.upstream.asked) == 2
    renew(bench, settings_of(**sections_of(an_upstream("a"))))
    await bench.in_flight(5)
    renew(bench, settings_of(**sections_of(an_upstream("a"), queue={"per_key_in_flight_max": 5})))
    late, _ = await bench.ask()
    await bench.turn()
    assert bench.engine.in_line(late) is not None
    gate.set()
    for _, caller in asked:
        await caller.ended()
    await bench.quiet()
    await bench.is_clean(late, *(id_ for id_, _ in asked))


@began_with(an_upstream("a", concurrency=1), serve="a")
async def test_an_upstream_that_comes_back_is_a_new_one(bench: Any, shapes: Any, settings_of: SettingsOf) -> None:
    """What it has in flight from before takes none of its places, and says nothing of its keys."""
    gate = asyncio.Event()
    bench.upstream.next_of["a"] = deque([shapes.Reply(body=WRONG_KEY, status=401, when=gate)])
    first, first_caller = await bench.ask()
    await bench.in_flight(1)
    bench.clock.jump(1.0)
    renew(bench, settings_of(**sections_of()))
    renew(bench, settings_of(**sections_of(an_upstream("a", concurrency=1))))
    second, second_caller = await bench.ask()
    await second_caller.ended()
    gate.set()
    await first_caller.ended()
    await bench.quiet()
    assert "0 keys noted" in repr(bench.engine._parts.upstreams)
    assert (await bench.record(second)).generation.state == "succeeded"
    await bench.is_clean(first, second)


@began_with(an_upstream("a", concurrency=1), serve="a")
async def test_who_was_accepted_at_a_price_pays_that(bench: Any, settings_of: SettingsOf) -> None:
    """A price that rises meanwhile is for those who come later."""
    gate = bench.hold_back()
    asked = [await bench.ask() for _ in range(2)]
    await bench.in_flight(1)
    dearer = sections_of(an_upstream("a", concurrency=1)) | {"prices": [a_price(PRO, 2 * USD), a_price(OTHER, USD)]}
    renew(bench, settings_of(**dearer))
    gate.set()
    for id_, caller in asked:
        await caller.ended()
        assert (await bench.record(id_)).generation.charged_micros == USD
    assert (await bench.made()).generation.charged_micros == 2 * USD


@began_with(an_upstream("a"), serve="a")
async def test_settings_may_change_while_a_generation_is_written_down(
    bench: Any, settings_of: SettingsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was accepted for a route that is gone when its commit is made: it is driven all the same, and ends."""
    write = bench.store.write

    async def write_slowly(function: Any, *args: Any, **named: Any) -> Any:
        result = await write(function, *args, **named)
        if function is enter:
            renew(bench, settings_of(**sections_of(an_upstream("b") if is_served else an_upstream("d"))))
        return result

    monkeypatch.setattr(bench.store, "write", write_slowly)
    is_served = True
    record = await bench.made()
    assert (record.generation.state, hosts(bench)) == ("succeeded", "b")
    is_served = False
    record = await bench.made()
    assert (record.generation.state, record.generation.told.code) == ("failed", "upstream_failed")
    assert hosts(bench) == "b"
    await bench.is_clean(record.generation.id)


@began_with(an_upstream("a"), serve="a")
async def test_a_repeat_of_what_has_no_route_any_more_is_told_so(
    bench: Any, shapes: Any, settings_of: SettingsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It drives a failure again in the moment in which the model leaves the settings: nobody is left waiting."""
    bench.upstream.by_host["a"] = shapes.Reply(body=WRONG_KEY, status=401)
    claim = Claim(idempotency_key="order-1", by_fingerprint=False, says_retry=False)
    id_, caller = await bench.ask(claim=claim, fingerprint=bytes(32))
    await caller.ended()
    write = bench.store.write

    async def write_slowly(function: Any, *args: Any, **named: Any) -> Any:
        result = await write(function, *args, **named)
        if function is enter:
            renew(bench, settings_of(**sections_of()))
        return result

    monkeypatch.setattr(bench.store, "write", write_slowly)
    again, repeat = await bench.ask(claim=claim, fingerprint=bytes(32))
    await repeat.ended()
    assert again == id_
    row = (await bench.record(id_)).generation
    assert (row.state, row.drive) == ("failed", 1)
    await bench.quiet()
    await bench.is_clean(id_)


@began_with(an_upstream("a"), an_upstream("b"))
async def test_the_same_settings_again_change_nothing(bench: Any, settings_of: SettingsOf) -> None:
    """Asked for twice a second by a script, it is no more than work."""
    gate = bench.hold_back()
    id_, caller = await bench.ask()
    await bench.in_flight(1)
    before = bench.core.targets
    for _ in range(3):
        renew(bench, settings_of(**sections_of(an_upstream("a"), an_upstream("b"))))
    assert [(to.upstream, to.keys) for to in before[PRO]] == [(to.upstream, to.keys) for to in bench.core.targets[PRO]]
    gate.set()
    await caller.ended()
    await bench.quiet()
    assert hosts(bench) == "a"
    await bench.is_clean(id_)
