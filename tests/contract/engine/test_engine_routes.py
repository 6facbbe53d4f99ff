"""A route is walked until somebody brings the image: other keys, other upstreams, other models, a smaller size.

`a` and `b` serve the model that is asked for, `c` another one at half its price.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from holdfast.policy.retry import GiveUpReason
from holdfast.store.exposure import exposed_on
from holdfast.types import Charge, Failure, FailureKind, Geometry, Phase, Tier

USD = 1_000_000
PRO, OTHER = "nano-banana-pro", "seedream-4.5"
BUSY = b'{"error":{"message":"busy","code":503,"status":"UNAVAILABLE"}}'
WRONG_KEY = b'{"error":{"message":"API key not valid","code":401,"status":"UNAUTHENTICATED"}}'
NO_MODEL = b'{"error":{"message":"models/x is not found","code":404,"status":"NOT_FOUND"}}'
GONE = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="connection refused")
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="the connection broke")


def a_price(model: str, micros: int) -> dict[str, Any]:
    """The same for 1K, twice for 2K, four times for 4K."""
    by_tier = {"1K": micros, "2K": 2 * micros, "4K": 4 * micros}
    return {"model": model, "micros": by_tier, "source": "test", "valid_from": "2026-01-01"}


def a_route(**changes: Any) -> dict[str, Any]:
    """Sections of the settings: two upstreams of the model, one of another that may stand in."""
    own = {"upstreams": [{"upstream": "a", "model": "pro-at-a"}, {"upstream": "b", "model": "pro-at-b"}]}
    sections: dict[str, Any] = {
        "upstreams": [
            {"name": "a", "provider": "gemini", "base_url": "http://a.test", "keys": ["a-1", "a-2"]},
            {"name": "b", "provider": "gemini", "base_url": "http://b.test", "keys": ["b-1"]},
            {"name": "c", "provider": "gemini", "base_url": "http://c.test", "keys": ["c-1"]},
        ],
        "routes": [
            {"model": PRO, **own, "fallback": [OTHER]} | changes.pop("route", {}),
            {"model": OTHER, "upstreams": [{"upstream": "c", "model": "other-at-c"}]},
        ],
        "prices": [a_price(PRO, USD), a_price(OTHER, USD // 2)],
    }
    return sections | changes


def routed(**changes: Any) -> Any:
    """Run a test with these settings."""
    return pytest.mark.parametrize("sections", [a_route(**changes)])


def hosts(bench: Any) -> str:
    """Who was asked, in order."""
    return "".join(asked.host for asked in bench.upstream.asked)


def decisions(record: Any) -> list[dict[str, Any]]:
    """What was decided, attempt by attempt."""
    return [json.loads(each.decision) for each in record.attempts if each.decision]


def fails(bench: Any, shapes: Any, host: str, **how: Any) -> None:
    """Let an upstream fail whenever it is asked."""
    bench.upstream.by_host[host] = shapes.Reply(**how)


@routed()
async def test_an_upstream_that_knows_no_such_model_is_not_noticed(bench: Any, shapes: Any) -> None:
    """A name in a route that is wrong, or that its vendor has retired, is not the caller's to mend."""
    fails(bench, shapes, "a", status=404, body=NO_MODEL)
    record = await bench.made()
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", USD)
    assert hosts(bench) == "ab"
    assert [each["follows"] for each in decisions(record)] == ["fallback"]


@routed(route={"upstreams": [{"upstream": "a", "model": "pro-at-a"}], "fallback": []})
async def test_a_model_that_nobody_knows_is_told_with_what_to_look_at(bench: Any, shapes: Any) -> None:
    """At once: no pause makes a name known."""
    fails(bench, shapes, "a", status=404, body=NO_MODEL)
    record = await bench.made()
    assert (record.generation.state, hosts(bench)) == ("failed", "a")
    assert "see the route's `model`" in record.attempts[0].failed.detail


@routed()
async def test_a_dead_upstream_is_not_noticed(
    bench: Any, shapes: Any, a_picture: bytes, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """The next one of the route brings the image at once, without a pause, and the record says who did."""
    fails(bench, shapes, "a", failure=GONE)
    record = await bench.made()
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", USD)
    assert bench.bytes_of(record) == a_picture
    assert hosts(bench) == "ab"
    first, second = record.attempts
    assert (first.upstream, first.state, second.upstream, second.model) == ("a", "rejected", "b", "pro-at-b")
    assert (first.key_number, first.route, first.tier, first.unit_micros) == (1, PRO, "1K", None)
    assert decisions(record) == [
        {
            "follows": "fallback",
            "reason": "unreachable",
            "after_s": 0.0,
            "to": {"upstream": "b", "model": "pro-at-b", "size": "1K"},
            "remaining_s": 300.0,
            "expected_s": 45.0,
            "budget_left": 3.0,
        }
    ]
    (failed,) = log("attempt.failed")
    assert (failed["follows"], failed["to"]) == ("fallback", "b/pro-at-b")
    await bench.is_clean(record.generation.id)


@routed()
async def test_a_503_is_waited_out_by_nobody_who_can_go_elsewhere(bench: Any, shapes: Any) -> None:
    """A answers 503, B is healthy: a hundred callers see images, and A rests meanwhile."""
    fails(bench, shapes, "a", body=BUSY, status=503)
    records = [await bench.made() for _ in range(20)]
    assert {record.generation.state for record in records} == {"succeeded"}
    assert {record.attempts[-1].upstream for record in records} == {"b"}
    # Both keys of A were tried by the first callers, and then it was left alone.
    assert hosts(bench).count("a") <= 2
    await bench.is_clean(*(record.generation.id for record in records))


TWO_NARROW = {
    "upstreams": [
        {"name": "a", "provider": "gemini", "base_url": "http://a.test", "keys": ["a-1"], "per_day": 1},
        {"name": "b", "provider": "gemini", "base_url": "http://b.test", "keys": ["b-1"], "concurrency": 1},
    ],
    "routes": [{"model": PRO, "upstreams": [{"upstream": each, "model": "pro"} for each in "ab"]}],
    "prices": [a_price(PRO, USD)],
}


@pytest.mark.parametrize("sections", [TWO_NARROW])
async def test_nobody_waits_at_an_upstream_whose_day_is_spent_while_another_is_merely_busy(
    bench: Any,
) -> None:
    """A has made its call of the day, B is full: who comes third stands in line at B, and is served."""
    gate = bench.hold_back()
    asked = [await bench.ask() for _ in range(3)]
    await bench.in_flight(2)
    await bench.turn()
    assert bench.engine.in_line(asked[2][0]) is not None
    gate.set()
    for id_, caller in asked:
        await caller.ended()
        assert (await bench.record(id_)).generation.state == "succeeded"
    # Which of the first two was sent first is the database's choice.
    assert sorted(hosts(bench)) == ["a", "b", "b"]
    await bench.is_clean(*(id_ for id_, _ in asked))


FOUR = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    "sections",
    [
        {
            "upstreams": [
                {"name": each, "provider": "gemini", "base_url": f"http://{each}.test", "keys": [f"{each}-1"]}
                for each in FOUR
            ],
            "routes": [{"model": PRO, "upstreams": [{"upstream": each, "model": "pro"} for each in FOUR]}],
            "prices": [a_price(PRO, USD)],
        }
    ],
)
async def test_a_long_route_that_is_overloaded_is_walked_as_long_as_one_upstream_is_waited_for(
    bench: Any, shapes: Any
) -> None:
    """Four of them say 503, in turn: they are asked for more than a minute, each as often as one alone would be."""
    bench.upstream.usual = shapes.Reply(body=BUSY, status=503)
    id_, caller = await bench.ask()
    while not caller.ends:
        await bench.until(lambda: caller.ends or "1 in a pause, 1 tasks" in repr(bench.engine))
        bench.clock.jump(4.0)
        await bench.turn()
    assert (await bench.record(id_)).generation.told.code == "overloaded"
    calls = [hosts(bench).count(each) for each in FOUR]
    assert sum(calls) > 12
    assert max(calls) <= 12
    assert bench.upstream.asked[-1].at > 60.0
    await bench.quiet()
    await bench.is_clean(id_)


@routed()
async def test_a_dead_key_is_taken_out_and_another_takes_over(
    bench: Any, shapes: Any, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """401 with one key: the other one of the same upstream brings the image; nobody meets the dead one for 30 s."""
    bench.upstream.next_of["a"] = deque([shapes.Reply(body=WRONG_KEY, status=401)])
    record = await bench.made()
    assert record.generation.state == "succeeded"
    assert [asked.credential for asked in bench.upstream.asked] == ["a-1", "a-2"]
    assert [each.key_number for each in record.attempts] == [1, 2]
    (decision,) = decisions(record)
    assert (decision["follows"], decision["reason"], decision["after_s"]) == ("wait", "credential", 0.0)
    for _ in range(5):
        await bench.made()
    assert {asked.credential for asked in bench.upstream.asked[1:]} == {"a-2"}
    assert log("upstream.ejected") == [
        {"upstream": "a", "key_number": 1, "for_s": 30.0, "kind": "credential", "status": 401}
    ]
    bench.clock.jump(31.0)
    # The first key is tried again when the other one is busy.
    gate = bench.hold_back()
    ids = [await bench.ask() for _ in range(2)]
    await bench.in_flight(9)
    gate.set()
    for _, caller in ids:
        await caller.ended()
    await bench.quiet()
    assert {asked.credential for asked in bench.upstream.asked[-2:]} == {"a-1", "a-2"}
    assert log("upstream.restored") == [{"upstream": "a", "key_number": 1, "for_s": 0.0, "kind": None, "status": None}]


@routed(route={"upstreams": [{"upstream": "b", "model": "pro-at-b"}], "fallback": []})
async def test_the_last_key_of_the_only_upstream_is_asked_all_the_same(bench: Any, shapes: Any) -> None:
    """Its failure is told as such, and a key that was repaired serves the very next call."""
    bench.upstream.next_of["b"] = deque([shapes.Reply(body=WRONG_KEY, status=401)])
    failed = await bench.made()
    assert (failed.generation.state, failed.generation.told.code) == ("failed", "upstream_failed")
    assert decisions(failed)[0]["reason"] == GiveUpReason.NO_OTHER_UPSTREAM.value
    assert (await bench.made()).generation.state == "succeeded"


@routed()
async def test_a_rate_limit_is_one_key_s(bench: Any, shapes: Any, log: Callable[..., list[dict[str, Any]]]) -> None:
    """429 with a hint of a minute: the other key at once, and the first one rests as long as it was told to."""
    bench.upstream.next_of["a"] = deque([shapes.Reply(body=BUSY, status=429, retry_after="60")])
    record = await bench.made()
    assert [asked.credential for asked in bench.upstream.asked] == ["a-1", "a-2"]
    assert decisions(record)[0]["follows"] == "wait"
    (cooled,) = log("upstream.cooled")
    assert (cooled["key_number"], cooled["for_s"]) == (1, 60.0)
    await bench.made()
    assert bench.upstream.asked[-1].credential == "a-2"
    bench.clock.jump(61.0)
    gate = bench.hold_back()
    waiting = [await bench.ask() for _ in range(2)]
    await bench.in_flight(5)
    assert {asked.credential for asked in bench.upstream.asked[-2:]} == {"a-1", "a-2"}
    gate.set()
    for _, caller in waiting:
        await caller.ended()
    await bench.quiet()


@routed()
async def test_another_model_serves_where_the_one_asked_for_is_dead(bench: Any, shapes: Any) -> None:
    """The lower price is charged, the upstream's own is booked, and the record says what served it."""
    fails(bench, shapes, "a", body=WRONG_KEY, status=403)
    fails(bench, shapes, "b", body=WRONG_KEY, status=403)
    record = await bench.made()
    row, last = record.generation, record.attempts[-1]
    assert (row.state, row.model, row.charged_micros) == ("succeeded", PRO, USD // 2)
    assert (last.upstream, last.model, last.route, last.list_micros, last.unit_micros) == (
        "c",
        "other-at-c",
        OTHER,
        USD // 2,
        USD // 2,
    )
    assert await bench.taken(row.id) == [("cost", USD // 2)]
    assert await bench.verbs(row.id) == ["hold", "capture"]
    await bench.is_clean(row.id)


@routed(prices=[a_price(PRO, USD), a_price(OTHER, 3 * USD)])
async def test_a_dearer_model_costs_its_caller_what_was_asked_for(bench: Any, shapes: Any) -> None:
    """The hold is the price of what was asked, and nothing above it is captured; the operator pays the difference."""
    fails(bench, shapes, "a", body=WRONG_KEY, status=403)
    fails(bench, shapes, "b", body=WRONG_KEY, status=403)
    record = await bench.made()
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", USD)
    assert await bench.taken(record.generation.id) == [("cost", 3 * USD)]
    await bench.is_clean(record.generation.id)


@routed()
async def test_the_model_that_was_asked_for_is_waited_for_a_little(bench: Any, shapes: Any) -> None:
    """A rest of seconds changes no model."""
    fails(bench, shapes, "b", body=WRONG_KEY, status=403)
    bench.upstream.next_of["a"] = deque([shapes.Reply(body=BUSY, status=503)])
    id_, caller = await bench.ask()
    await bench.resting()
    bench.clock.jump(3.0)
    await caller.ended()
    await bench.quiet()
    record = await bench.record(id_)
    assert record.attempts[-1].upstream == "a"
    assert "c" not in hosts(bench)


@routed()
async def test_a_long_rest_of_all_its_upstreams_makes_way_for_another_model(bench: Any, shapes: Any) -> None:
    """A minute is more than a quarter of what the image takes."""
    for host in "ab":
        fails(bench, shapes, host, body=BUSY, status=429, retry_after="60")
    record = await bench.made()
    assert (record.generation.state, record.attempts[-1].upstream) == ("succeeded", "c")
    # The only key of B is tried once more, and then believed.
    bench.clock.jump(2.0)
    assert [each.upstream for each in (await bench.made()).attempts] == ["b", "c"]
    assert (await bench.made()).attempts[0].upstream == "c"


@routed(route={"fallback": []})
async def test_where_all_rest_the_soonest_is_waited_for(bench: Any, shapes: Any) -> None:
    """Nobody is told of a limit that ends in time."""
    bench.upstream.next_of["a"] = deque([shapes.Reply(body=BUSY, status=429, retry_after="40") for _ in range(2)])
    bench.upstream.next_of["b"] = deque([shapes.Reply(body=BUSY, status=429, retry_after="20")])
    id_, caller = await bench.ask()
    await bench.resting()
    assert hosts(bench) == "aab"
    bench.clock.jump(20.1)
    await caller.ended()
    await bench.quiet()
    assert hosts(bench) == "aabb"
    last = decisions(await bench.record(id_))[-1]
    assert (last["follows"], last["after_s"], last["to"]["upstream"]) == ("wait", 20.0, "b")


@routed(route={"upstreams": [{"upstream": "b", "model": "pro-at-b"}], "fallback": []})
async def test_a_limit_beyond_the_deadline_is_told_at_once_to_everybody(
    bench: Any, shapes: Any, log: Callable[..., list[dict[str, Any]]]
) -> None:
    """Whoever cannot be served in time is not kept waiting: he hears of the limit, and when to come again."""
    fails(bench, shapes, "b", body=BUSY, status=429, retry_after="600")
    for _ in range(4):
        told = (await bench.made()).generation.told
        assert (told.code, told.charge, told.retry_after_s) == ("overloaded", Charge.NO, 600.0)
        # From the second limit on the only key rests as it was told to.
        bench.clock.jump(2.0)
    first, second, *_ = log("upstream.cooled")
    assert (first["for_s"], second["for_s"]) == (1.5, 600.0)


@routed()
async def test_an_upstream_that_is_full_leaves_the_next_to_others(bench: Any, settings_of: Any) -> None:
    """A limit of places is no reason to wait while another upstream has room."""
    sections = a_route()
    for upstream in sections["upstreams"]:
        upstream["concurrency"] = 1
    await bench.restart(settings_of(**sections))
    gate = bench.hold_back()
    asked = [await bench.ask() for _ in range(3)]
    await bench.in_flight(3)
    assert sorted(hosts(bench)) == ["a", "a", "b"]
    gate.set()
    for _, caller in asked:
        await caller.ended()
    await bench.quiet()


@routed()
async def test_who_stands_in_line_goes_where_room_is_found(bench: Any, shapes: Any, settings_of: Any) -> None:
    """A part that waits looks from time to time whether another upstream of its route would take it at once."""
    sections = a_route(route={"fallback": []})
    for upstream in sections["upstreams"]:
        upstream["concurrency"] = 1
    await bench.restart(settings_of(**sections))
    slow, quick = asyncio.Event(), asyncio.Event()
    for host, gate in (("a", slow), ("b", quick)):
        bench.upstream.by_host[host] = replace(bench.upstream.usual, when=gate)
    first = [await bench.ask() for _ in range(3)]
    await bench.in_flight(3)
    id_, waiting = await bench.ask()
    assert bench.engine.in_line(id_).position == 1
    quick.set()
    await first[-1][1].ended()
    bench.clock.jump(5.1)
    await waiting.ended()
    assert (sorted(hosts(bench)[:3]), hosts(bench)[3]) == (["a", "a", "b"], "b")
    slow.set()
    for _, caller in first:
        await caller.ended()
    await bench.quiet()


# Money


@routed(retry={"on_unknown": "buy_once_more"})
async def test_a_lost_reply_is_bought_once_more_and_paid_once(bench: Any, shapes: Any) -> None:
    """The customer is charged once; what the lost one may have cost stands in an account of its own."""
    fails(bench, shapes, "a", failure=LOST)
    record = await bench.made()
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", USD)
    assert [(each.upstream, each.state) for each in record.attempts] == [("a", "unknown"), ("b", "settled")]
    assert await bench.taken(record.generation.id) == [("exposure", USD), ("cost", USD)]
    assert await bench.verbs(record.generation.id) == ["hold", "capture"]
    assert await bench.store.read(exposed_on, "2026-11-24", PRO) == USD
    await bench.is_clean(record.generation.id)


@routed(retry={"on_unknown": "buy_once_more"})
async def test_two_lost_replies_are_enough(bench: Any, shapes: Any) -> None:
    """Two calls that may have been charged are the limit; the third is not made, whoever is healthy."""
    for host in "ab":
        fails(bench, shapes, host, failure=LOST)
    record = await bench.made()
    assert (record.generation.state, record.generation.told.code) == ("failed", "outcome_unknown")
    assert hosts(bench) == "ab"
    assert decisions(record)[-1]["reason"] == "purchases_spent"
    await bench.is_clean(record.generation.id)


@routed(retry={"on_unknown": "buy_once_more"})
async def test_a_caller_may_forbid_the_second_purchase(bench: Any, shapes: Any, make: Any) -> None:
    """`Holdfast-Purchases: 1`."""
    fails(bench, shapes, "a", failure=LOST)
    record = await bench.made(make(purchases_max=1))
    assert (record.generation.state, hosts(bench)) == ("failed", "a")
    assert decisions(record)[-1]["reason"] == "purchases_spent"


@routed(route={"on_unknown": "buy_once_more"})
async def test_a_route_may_allow_what_the_gateway_does_not(bench: Any, shapes: Any) -> None:
    """And the other way round: what counts is the word of the route."""
    fails(bench, shapes, "a", failure=LOST)
    assert (await bench.made()).generation.state == "succeeded"


@routed(retry={"on_unknown": "buy_once_more", "exposure_images_min": 3, "exposure_share": 0.0})
async def test_an_outage_stops_buying_twice_at_the_day_s_cap(bench: Any, shapes: Any) -> None:
    """Of ten lost at one instant three are bought again; the others end with the same commit, and say why."""
    gate = bench.hold_back()
    bench.upstream.by_host["a"] = shapes.Reply(failure=LOST, when=gate)
    asked = [await bench.ask() for _ in range(10)]
    await bench.in_flight(10)
    gate.set()
    for _, caller in asked:
        await caller.ended()
    await bench.quiet()
    records = [await bench.record(id_) for id_, _ in asked]
    bought = [record for record in records if record.generation.state == "succeeded"]
    assert len(bought) == 3
    for record in records:
        if record not in bought:
            assert record.generation.told.code == "outcome_unknown"
            (decision,) = decisions(record)
            assert (decision["follows"], decision["reason"], decision["to"]) == ("give_up", "exposure_spent", None)
    assert await bench.store.read(exposed_on, "2026-11-24", PRO) == 3 * USD
    await bench.is_clean(*(id_ for id_, _ in asked))
    # The next day begins anew.
    bench.clock.jump(86400.0)
    assert (await bench.made()).generation.state == "succeeded"


@routed(retry={"on_unknown": "buy_once_more", "exposure_images_min": 0, "exposure_share": 0.5})
async def test_the_cap_grows_with_what_comes_in(bench: Any, shapes: Any) -> None:
    """Half of two dollars is one lost reply."""
    for _ in range(2):
        await bench.made()
    fails(bench, shapes, "a", failure=LOST)
    assert (await bench.made()).generation.state == "succeeded"
    assert (await bench.made()).generation.state == "failed"


# Restarts


@routed(route={"fallback": []})
async def test_a_restart_goes_on_with_the_decision_that_was_written_down(
    bench: Any, shapes: Any, arm: Callable[[str], None]
) -> None:
    """Dead between the commit and the next upstream: the new process asks that one, and knows what has failed."""
    bench.upstream.next_of["a"] = deque([shapes.Reply(body=BUSY, status=429, retry_after="40") for _ in range(2)])
    bench.upstream.next_of["b"] = deque([shapes.Reply(body=BUSY, status=429, retry_after="20")])
    id_, _ = await bench.ask()
    await bench.resting()
    await bench.restart()
    await bench.resting()
    assert hosts(bench) == "aab"
    bench.clock.jump(20.1)
    await bench.until(lambda: len(bench.upstream.asked) == 4)
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, hosts(bench)) == ("succeeded", "aabb")
    await bench.is_clean(id_)


@routed(
    retry={"on_unknown": "buy_once_more"}, route={"upstreams": [{"upstream": "b", "model": "pro-at-b"}], "fallback": []}
)
async def test_a_restart_between_two_purchases_keeps_to_their_number(bench: Any, shapes: Any) -> None:
    """The lost one still counts: another lost reply after the restart ends it."""
    fails(bench, shapes, "b", failure=LOST)
    id_, _ = await bench.ask()
    await bench.resting()
    await bench.restart()
    await bench.resting()
    bench.clock.jump(2.0)
    await bench.until(lambda: len(bench.upstream.asked) == 2)
    await bench.quiet()
    record = await bench.record(id_)
    assert (record.generation.state, record.generation.told.code) == ("failed", "outcome_unknown")
    assert await bench.taken(id_) == [("exposure", USD), ("exposure", USD)]
    await bench.is_clean(id_)


# What cannot serve, and less than was asked for


def a_large_request(make: Any, **changes: Any) -> Any:
    """A 4K image."""
    geometry = Geometry(tier=Tier.K4, aspect_ratio="1:1", width_px=4096, height_px=4096)
    return make(geometry=geometry, **changes)


@routed(prices=[a_price(PRO, USD), a_price(OTHER, USD) | {"micros": {"1K": USD}}])
async def test_an_entry_that_has_no_price_at_this_size_is_passed_over(bench: Any, shapes: Any, make: Any) -> None:
    """And the decision says why it was."""
    for host in "ab":
        fails(bench, shapes, host, body=WRONG_KEY, status=403)
    record = await bench.made(a_large_request(make))
    assert (record.generation.state, hosts(bench)) == ("failed", "aab")
    (skipped,) = decisions(record)[-1]["skipped"]
    assert (skipped["upstream"], skipped["size"]) == ("c", "4K")
    assert "has no price at 4K" in skipped["reason"]


@routed(route={"fallback": []})
async def test_a_smaller_size_is_served_to_who_allows_it(bench: Any, shapes: Any, make: Any) -> None:
    """Only when nothing else can, at the price of the smaller one; without the word it fails."""
    wrong = [shapes.Reply(body=WRONG_KEY, status=403)]
    bench.upstream.next_of["a"] = deque(wrong * 2)
    bench.upstream.next_of["b"] = deque(wrong)
    record = await bench.made(a_large_request(make, may_degrade=True))
    last = record.attempts[-1]
    assert (record.generation.state, last.tier, record.generation.charged_micros) == ("succeeded", "2K", 2 * USD)
    assert await bench.taken(record.generation.id) == [("cost", 2 * USD)]
    assert b'"2K"' in json.dumps(_body_of(bench.upstream.asked[-1])).encode()
    await bench.is_clean(record.generation.id)


def _body_of(asked: Any) -> Any:
    """What was sent, as JSON."""
    return json.loads(b"".join(part for part in asked.request.body if isinstance(part, bytes)))


@routed()
async def test_weights_share_what_comes(bench: Any, settings_of: Any) -> None:
    """Neighbours with a weight are one step of the route."""
    weighted = [{"upstream": name, "model": "m", "weight": 1} for name in "ab"]
    await bench.restart(settings_of(**a_route(route={"upstreams": weighted})))
    samples = iter([0.1, 0.9, 0.4, 0.6])
    bench.clock.random = lambda: next(samples)
    for _ in range(4):
        await bench.made()
    assert hosts(bench) == "abab"
    del bench.clock.random


@routed(
    upstreams=[
        {"name": "a", "provider": "openai", "base_url": "http://a.test/v1", "keys": ["a-1"]},
        {"name": "b", "provider": "gemini", "base_url": "http://b.test", "keys": ["b-1"]},
        {"name": "c", "provider": "gemini", "base_url": "http://c.test", "keys": ["c-1"]},
    ]
)
async def test_parts_are_small_enough_for_every_upstream_of_the_route(bench: Any, shapes: Any, make: Any) -> None:
    """One call of A would make four images; B makes one in a call, and brings all four when A is dead."""
    fails(bench, shapes, "a", failure=GONE)
    record = await bench.made(make(n=4))
    assert (record.generation.state, record.generation.parts, len(record.results)) == ("succeeded", 4, 4)
    assert record.generation.partial_result == 0
    await bench.is_clean(record.generation.id)
