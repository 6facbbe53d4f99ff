"""Repeats on real connections: they join, are given the same image, or are told why not; nothing is bought twice."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from holdfast.errors import StorageError
from holdfast.gateway import generate
from holdfast.store.joining import enter

QUICK = {"first_beat_s": 0.1, "beat_s": 0.1}
KEY = {"Idempotency-Key": "order-1"}
SDK = {"x-stainless-lang": "python"}
OVERLOADED = {"error": {"message": "busy", "type": "server_error", "code": "server_is_overloaded"}}


async def held(gateway: Any, upstream: Any, **headers: str) -> Any:
    """Ask on a connection of our own, and wait until it is on its way; give the connection."""
    before = len(upstream.asked)
    wire = await gateway.dial()
    await wire.send(gateway.post(headers=headers))
    await upstream.was_asked(before + 1)
    return wire


# By key


async def test_a_repeat_in_flight_waits_for_the_same_image(gateway: Any, upstream: Any, journal: Any) -> None:
    """Fifty with one key at one instant: one purchase, one generation, the same picture for each."""
    upstream.gate.clear()
    asking = [asyncio.create_task(gateway.images(headers=KEY)) for _ in range(50)]
    await journal.has("generation.joined", 49)
    upstream.gate.set()
    answers = await asyncio.gather(*asking)
    assert {answer.status for answer in answers} == {200}
    assert {answer.picture() for answer in answers} == {upstream.pictures[0]}
    assert len({answer.generation_id for answer in answers}) == 1
    assert len(upstream.asked) == 1
    assert gateway.count("generation") == 1
    assert not any("idempotency-replayed" in answer.headers for answer in answers)


async def test_a_repeat_after_the_end_is_given_the_same_image(gateway: Any, upstream: Any, journal: Any) -> None:
    """Bare or quoted, the key is the same; the links are fresh, the bytes are not, and nothing is charged again."""
    first = await gateway.images(headers=KEY)
    again = await gateway.images(headers={"Idempotency-Key": '"order-1"'})
    assert (again.status, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.picture() == first.picture() == upstream.pictures[0]
    assert again.generation_id == first.generation_id
    assert "idempotency-replayed" not in first.headers
    (replayed,) = await journal.has("generation.replayed")
    assert replayed["generation_id"] == first.generation_id
    assert [line[0] for line in gateway.ledger(first.generation_id) if line[1] == "revenue"] == ["capture"]
    assert len(upstream.asked) == 1


async def test_a_repeat_after_a_restart_is_given_the_same_image(start: Any, tmp_path: Any, upstream: Any) -> None:
    """Whatever the process forgot, the folder has not."""
    first = await start(data=tmp_path / "kept")
    before = await first.images(headers=KEY)
    assert await first.stop() == 0
    second = await start(data=tmp_path / "kept", key=first.key)
    after = await second.images(headers=KEY)
    assert (after.picture(), after.generation_id) == (before.picture(), before.generation_id)
    assert len(upstream.asked) == 1


async def test_another_request_under_the_same_key_is_422(gateway: Any, upstream: Any) -> None:
    """With what to do; in the dialect of each surface."""
    await gateway.images(headers=KEY)
    refused = await gateway.images(headers=KEY, n=2)
    assert (refused.status, refused.error["code"]) == (422, "idempotency_key_reused")
    assert (refused.error["param"], refused.error["paid"]) == ("Idempotency-Key", "no")
    assert refused.headers["x-should-retry"] == "false"
    gemini = await gateway.gemini(headers=KEY)
    assert (gemini.status, gemini.error["status"]) == (422, "INVALID_ARGUMENT")
    assert len(upstream.asked) == 1


async def test_who_wants_to_be_told_is_409_in_flight(gateway: Any, upstream: Any) -> None:
    """`handling=strict`: where it is, and when to come again."""
    upstream.gate.clear()
    wire = await held(gateway, upstream, **KEY)
    refused = await gateway.images(headers={**KEY, "Prefer": "handling=strict"})
    assert (refused.status, refused.error["code"]) == (409, "idempotency_in_flight")
    assert refused.headers["location"] == f"/v1/generations/{refused.generation_id}"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.error["generation_id"] == refused.generation_id
    upstream.gate.set()
    assert (await wire.answer()).generation_id == refused.generation_id
    told = await gateway.images(headers={**KEY, "Prefer": "handling=strict"})
    assert (told.status, told.headers["preference-applied"]) == (200, "handling=strict")
    assert len(upstream.asked) == 1


@pytest.mark.parametrize("key", ["", '""', "x" * 256, "sch\xfc", "a b"])
async def test_a_malformed_key_is_400_and_buys_nothing(gateway: Any, upstream: Any, key: str) -> None:
    """It would be believed to protect, and would not."""
    wire = await gateway.dial()
    line = b"Idempotency-Key: " + key.encode("latin-1")
    await wire.send(gateway.post().replace(b"\r\nHost:", b"\r\n" + line + b"\r\nHost:", 1))
    refused = await wire.answer()
    assert (refused.status, refused.error["param"]) == (400, "Idempotency-Key")
    assert upstream.asked == []


async def test_a_key_is_its_owners_alone(gateway: Any, upstream: Any) -> None:
    """Another key's owner may use the same word for the same request, and gets an image of his own."""
    mine = await gateway.images(headers=KEY)
    theirs = await gateway.images(headers={**KEY, "Authorization": f"Bearer {await gateway.another_key()}"})
    assert theirs.status == 200
    assert theirs.generation_id != mine.generation_id
    assert len(upstream.asked) == 2


async def test_a_failure_that_cost_nothing_is_driven_again(start: Any, upstream: Any, a_png: Any) -> None:
    """The upstream was busy; the same key tries once more, under the same id, and is charged once."""
    gateway = await start(retry={"sends_max": 1})
    upstream.answers(OVERLOADED, status=503)
    first = await gateway.images(headers=KEY, model="gpt-image-2")
    assert (first.status, first.error["paid"]) == (503, "no")
    picture = a_png()
    upstream.gives(picture)
    again = await gateway.images(headers=KEY, model="gpt-image-2")
    assert (again.status, again.picture(), again.generation_id) == (200, picture, first.generation_id)
    verbs = [verb for verb, account, _ in gateway.ledger(first.generation_id) if account == "held"]
    assert verbs == ["hold", "void", "hold", "capture"]
    resource = await gateway.resource(first.generation_id)
    assert [attempt["charge"] for attempt in resource["attempts"]] == ["no", "yes"]


async def test_a_refusal_is_told_again_and_not_bought_again(gateway: Any, upstream: Any) -> None:
    """It would be refused again."""
    refusal = {"error": {"message": "no", "type": "image_generation_user_error", "code": "moderation_blocked"}}
    upstream.answers(refusal, status=400)
    first = await gateway.images(headers=KEY, model="gpt-image-2")
    again = await gateway.images(headers=KEY, model="gpt-image-2")
    assert first.status == again.status == 400
    assert again.headers["idempotency-replayed"] == "true"
    assert again.error["code"] == first.error["code"] == "moderation_blocked"
    assert len(upstream.asked) == 1


# Without a key


@pytest.mark.parametrize("reset", [False, True])
async def test_the_repeat_of_a_caller_that_was_cut_joins(start: Any, upstream: Any, journal: Any, reset: bool) -> None:
    """A plain loop asks again: the image that was on its way is given to it, bought once."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    wire = await held(gateway, upstream)
    await wire.head()
    wire.leave(reset=reset)
    await journal.has("caller.left")
    asking = asyncio.create_task(gateway.images())
    await journal.has("generation.joined")
    upstream.gate.set()
    answer = await asking
    assert answer.picture() == upstream.pictures[0]
    assert len(upstream.asked) == 1
    assert gateway.count("generation") == 1


async def test_an_image_that_nobody_received_is_given_to_the_repeat(start: Any, upstream: Any, journal: Any) -> None:
    """It was finished while nobody was there; what comes after it was received buys anew."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    wire = await held(gateway, upstream)
    await wire.head()
    wire.leave(reset=True)
    (left,) = await journal.has("caller.left")
    upstream.gate.set()
    await gateway.resource_once(left["generation_id"], "succeeded")
    repeat = await gateway.images()
    assert (repeat.generation_id, repeat.picture()) == (left["generation_id"], upstream.pictures[0])
    await gateway.idle()
    another = await gateway.images()
    assert another.generation_id != repeat.generation_id
    assert another.picture() == upstream.pictures[1]


async def test_two_who_ask_the_same_at_once_get_an_image_each(gateway: Any, upstream: Any) -> None:
    """Nobody has left; one person's image is not another's."""
    first, second = await asyncio.gather(gateway.images(), gateway.images())
    assert first.generation_id != second.generation_id
    assert first.picture() != second.picture()
    assert len(upstream.asked) == 2


async def test_one_who_asks_the_same_again_and_again_gets_a_new_image_each_time(gateway: Any, upstream: Any) -> None:
    """On the heels of the last byte: what was received is his, what he asks for is new."""
    seen = [(await gateway.images()).picture() for _ in range(8)]
    assert seen == upstream.pictures
    assert len(set(seen)) == 8


@pytest.mark.parametrize("says_so", [False, True])
async def test_a_caller_that_vanished_in_silence_is_asked_for_first(
    start: Any, upstream: Any, journal: Any, monkeypatch: pytest.MonkeyPatch, says_so: bool
) -> None:
    """It closed, and nothing that would have told was sent to it; its repeat has the connection asked, and joins."""
    monkeypatch.setattr("holdfast.engine.submit.TWIN_AFTER_S", 0.0)
    gateway = await start()
    upstream.gate.clear()
    wire = await held(gateway, upstream)
    wire.leave()
    await asyncio.sleep(0.1)
    assert journal.of("caller.left") == []
    headers = {"x-stainless-retry-count": "1"} if says_so else {}
    asking = asyncio.create_task(gateway.images(headers=headers))
    await journal.has("generation.joined")
    upstream.gate.set()
    assert (await asking).picture() == upstream.pictures[0]
    assert len(upstream.asked) == 1


async def test_a_twin_of_somebody_who_is_there_buys(start: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The older connection answers for itself with its kernel's acknowledgement, and both get an image."""
    monkeypatch.setattr("holdfast.engine.submit.TWIN_AFTER_S", 0.0)
    gateway = await start()
    upstream.gate.clear()
    wire = await held(gateway, upstream)
    asking = asyncio.create_task(gateway.images())
    await upstream.was_asked(2)
    head = await wire.head()
    assert head.status == 200, "it was sent a beat ahead of its time"
    upstream.gate.set()
    head.body = await wire.chunks()
    assert head.picture() != (await asking).picture()


async def test_a_twin_behind_a_hop_that_learns_late_joins(
    start: Any, upstream: Any, journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy acknowledges beats for a client that is gone, and hangs up when the third of them has failed."""
    monkeypatch.setattr("holdfast.engine.submit.TWIN_AFTER_S", 0.0)
    gateway = await start()
    upstream.gate.clear()
    hop = await held(gateway, upstream)
    asking = asyncio.create_task(gateway.images())
    await hop.head()
    await hop.beats(3)
    hop.leave(reset=True)
    await journal.has("generation.joined")
    upstream.gate.set()
    assert (await asking).picture() == upstream.pictures[0]
    assert len(upstream.asked) == 1


async def test_a_twin_that_cannot_be_asked_is_believed_to_be_there(
    start: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`heartbeat=0` wants its true status: no beat may be sent to it."""
    monkeypatch.setattr("holdfast.engine.submit.TWIN_AFTER_S", 0.0)
    monkeypatch.setattr(generate, "TWIN_WAIT_S", 60.0)
    gateway = await start()
    upstream.gate.clear()
    wire = await held(gateway, upstream, Prefer="heartbeat=0")
    asking = asyncio.create_task(gateway.images())
    await upstream.was_asked(2)
    upstream.gate.set()
    assert (await wire.answer()).picture() != (await asking).picture()


@pytest.mark.parametrize(
    ("settings", "headers", "joins"),
    [
        ({"join": "all"}, {}, True),
        ({"join": "retries"}, {}, False),
        ({"join": "retries"}, {"x-stainless-retry-count": "1"}, True),
        ({"join": "retries"}, {"Holdfast-End-User": "ann"}, True),
        ({"join": "keyed"}, {"x-stainless-retry-count": "1"}, False),
        ({"join": "off"}, {"x-stainless-retry-count": "1"}, False),
    ],
)
async def test_settings_say_whose_repeats_join(
    start: Any, upstream: Any, journal: Any, settings: Any, headers: Any, joins: bool
) -> None:
    """Of the gateway; a shared key is as careful by itself."""
    gateway = await start(heartbeat=QUICK, joining=settings)
    upstream.gate.clear()
    user = {name: value for name, value in headers.items() if name == "Holdfast-End-User"}
    wire = await held(gateway, upstream, **user)
    await wire.head()
    wire.leave(reset=True)
    await journal.has("caller.left")
    upstream.gate.set()
    await gateway.images(headers=headers)
    assert len(upstream.asked) == (1 if joins else 2)


async def test_a_further_key_joins_only_what_says_that_it_repeats(start: Any, upstream: Any, journal: Any) -> None:
    """It may be shared: one person's lost image must not reach another who asks for the same."""
    gateway = await start(heartbeat=QUICK)
    bearer = {"Authorization": f"Bearer {await gateway.another_key()}"}
    upstream.gate.clear()
    wire = await held(gateway, upstream, **bearer)
    await wire.head()
    wire.leave(reset=True)
    await journal.has("caller.left")
    upstream.gate.set()
    assert (await gateway.images(headers=bearer)).status == 200
    assert len(upstream.asked) == 2
    retried = await gateway.images(headers={**bearer, "x-stainless-retry-count": "1"})
    assert retried.status == 200
    assert len(upstream.asked) == 2


async def test_another_end_user_never_gets_it(start: Any, upstream: Any, journal: Any) -> None:
    """The application names whom it asks for: header or body, they are two requests."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    wire = await held(gateway, upstream, **{"Holdfast-End-User": "ann"})
    await wire.head()
    wire.leave(reset=True)
    await journal.has("caller.left")
    upstream.gate.set()
    await gateway.images(headers={"Holdfast-End-User": "bob"})
    await gateway.images(user="ann")
    await gateway.images()
    assert len(upstream.asked) == 4


@pytest.mark.parametrize("blank", [{"Holdfast-End-User": ""}, {"Holdfast-End-User": "  "}])
async def test_a_blank_end_user_is_nobody(start: Any, upstream: Any, journal: Any, blank: dict[str, str]) -> None:
    """All who leave it empty would be one person to a key that is shared."""
    gateway = await start(heartbeat=QUICK, joining={"join": "retries"})
    upstream.gate.clear()
    wire = await gateway.dial()
    name, value = next(iter(blank.items()))
    line = f"\r\n{name}: {value}\r\nHost:".encode()
    await wire.send(gateway.post().replace(b"\r\nHost:", line, 1))
    await wire.head()
    wire.leave(reset=True)
    await journal.has("caller.left")
    upstream.gate.set()
    await gateway.images(headers=blank)
    assert len(upstream.asked) == 2


async def test_of_several_twins_the_one_that_vanished_is_found(
    start: Any, upstream: Any, journal: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older one is there, the younger one is not: the repeat is the younger one's."""
    monkeypatch.setattr("holdfast.engine.submit.TWIN_AFTER_S", 0.0)
    gateway = await start()
    monkeypatch.setattr("holdfast.engine.submit.TWIN_AFTER_S", 60.0)
    upstream.gate.clear()
    await held(gateway, upstream)
    younger = await held(gateway, upstream)
    monkeypatch.setattr("holdfast.engine.submit.TWIN_AFTER_S", 0.0)
    younger.leave()
    await asyncio.sleep(0.1)
    asking = asyncio.create_task(gateway.images())
    await journal.has("generation.joined")
    upstream.gate.set()
    assert (await asking).status == 200
    assert len(upstream.asked) == 2


async def test_a_late_image_is_given_to_the_repeat_of_who_was_told_that_it_is_too_late(
    gateway: Any, upstream: Any, journal: Any
) -> None:
    """504 at his own limit; the image comes, is paid for, and waits for him."""
    upstream.gate.clear()
    told = await gateway.images(headers={"Holdfast-Timeout": "0.3", "Prefer": "heartbeat=0"})
    assert (told.status, told.error["code"]) == (504, "deadline_exceeded")
    await gateway.idle()
    upstream.gate.set()
    await gateway.resource_once(told.generation_id, "succeeded")
    repeat = await gateway.images()
    assert (repeat.generation_id, repeat.picture()) == (told.generation_id, upstream.pictures[0])
    assert len(upstream.asked) == 1


async def test_a_repeat_of_part_of_what_was_asked_is_given_it_at_once(start: Any, upstream: Any, a_png: Any) -> None:
    """One of two images had come when the time was over; the other is still on its way, and nobody waits for it."""
    gateway = await start()
    first = a_png()

    async def script(asked: Any, reply: Any) -> None:
        if len(upstream.asked) == 1:
            await reply.pictures(first)
        else:
            await reply.stall()

    upstream.script = script
    headers = {**KEY, "Holdfast-Timeout": "1"}
    told = await gateway.images(headers=headers, n=2)
    assert told.picture() == first
    again = await asyncio.wait_for(gateway.images(headers=headers, n=2), 3)
    assert (again.picture(), again.headers["idempotency-replayed"]) == (first, "true")
    upstream.script = upstream.draw


async def test_what_nobody_drives_is_taken_up_by_its_repeat(
    start: Any, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit's answer was lost, and with it who was to drive it: who asks next does not wait for ever."""
    gateway = await start(retry={"sends_max": 1})
    upstream.answers(OVERLOADED, status=503)
    first = await gateway.images(headers=KEY, model="gpt-image-2")
    assert first.status == 503
    upstream.script = upstream.draw
    write = gateway.core.store.write

    async def lost(function: Any, *arguments: Any, **more: Any) -> Any:
        result = await write(function, *arguments, **more)
        if function is enter:
            raise StorageError("The database could not be used: disk I/O error.", reason="broken")
        return result

    monkeypatch.setattr(gateway.core.store, "write", lost)
    assert (await gateway.images(headers=KEY, model="gpt-image-2")).status == 503
    monkeypatch.undo()
    repeat = await asyncio.wait_for(gateway.images(headers=KEY, model="gpt-image-2"), 5)
    assert (repeat.status, repeat.generation_id) == (200, first.generation_id)
    assert len(upstream.asked) == 2


# Late failures


async def test_an_sdk_that_repeats_is_broken_off_and_its_repeat_is_told(start: Any, upstream: Any) -> None:
    """200 is out when the upstream refuses: the body ends without its last chunk, the repeat has the true status.

    Words come before the break: some hops make a clean end of it, and they are all that the SDK reads then.
    """
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    refusal = {"error": {"message": "no", "type": "image_generation_user_error", "code": "moderation_blocked"}}
    upstream.answers(refusal, status=400)
    document = {"prompt": "a lighthouse", "model": "gpt-image-2"}
    wire = await gateway.dial()
    await wire.send(gateway.post(document, headers=SDK))
    head = await wire.head()
    await wire.beats(1)
    upstream.gate.set()
    rest = await wire.rest()
    (words,) = rest.replace(b"1\r\n\n\r\n", b"").split(b"\r\n", 1)[1:]
    assert words.startswith(f"holdfast: generation {head.generation_id} failed: content_refused: ".encode())
    assert words.count(b"\r\n") == 1, "one chunk, and no last one"
    again = await gateway.dial()
    await again.send(gateway.post(document, headers={**SDK, "x-stainless-retry-count": "1"}))
    told = await again.answer()
    assert (told.status, told.error["code"]) == (400, "moderation_blocked")
    assert told.generation_id == head.generation_id
    assert len(upstream.asked) == 1


@pytest.mark.parametrize(
    ("headers", "settings"),
    [
        ({**SDK, "x-stainless-retry-count": "2"}, {}),
        (SDK, {"join": "keyed"}),
        (SDK, {"join": "off"}),
        (SDK, {"window_s": 0}),
        # It repeats without saying so.
        ({"User-Agent": "volc-sdk-python/1.0.0"}, {"join": "retries"}),
    ],
)
async def test_where_no_repeat_would_join_it_ends_as_text(
    start: Any, upstream: Any, headers: Any, settings: Any
) -> None:
    """Its last try, or a gateway that joins nothing: a broken body would be bought again, or never explained."""
    gateway = await start(heartbeat=QUICK, joining=settings)
    upstream.gate.clear()
    upstream.answers({"error": {"message": "no", "code": "moderation_blocked"}}, status=400)
    wire = await gateway.dial()
    await wire.send(gateway.post({"prompt": "a lighthouse", "model": "gpt-image-2"}, headers=headers))
    head = await wire.head()
    upstream.gate.set()
    text = (await wire.chunks()).strip()
    assert text.startswith(b"holdfast: generation " + head.generation_id.encode())
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


# Doors that are closed


async def test_a_gateway_that_drains_serves_repeats(gateway: Any, upstream: Any, journal: Any) -> None:
    """New work is refused, what is on its way is waited for."""
    upstream.gate.clear()
    wire = await held(gateway, upstream, **KEY)
    gateway.made.engine.is_draining = True
    asking = asyncio.create_task(gateway.images(headers=KEY))
    await journal.has("generation.joined")
    refused = await gateway.images(headers={"Idempotency-Key": "order-2"})
    assert (refused.status, refused.error["holdfast_code"]) == (503, "draining")
    upstream.gate.set()
    assert (await asking).picture() == (await wire.answer()).picture()
    assert len(upstream.asked) == 1


async def test_repeats_are_bounded_too(start: Any, upstream: Any, journal: Any) -> None:
    """A gateway that is full serves some, not any number: each has a connection."""
    gateway = await start(server={"held_max": 2})
    upstream.gate.clear()
    await held(gateway, upstream, **KEY)
    await held(gateway, upstream, **{"Idempotency-Key": "order-2"})
    joining = [asyncio.create_task(gateway.images(headers=KEY)) for _ in range(2)]
    await journal.has("generation.joined", 2)
    refused = await gateway.images(headers=KEY)
    assert (refused.status, refused.error["holdfast_code"]) == (503, "queue_full")
    upstream.gate.set()
    assert {answer.status for answer in await asyncio.gather(*joining)} == {200}
    assert len(upstream.asked) == 2


async def test_an_image_that_was_deleted_is_410_and_not_bought_again(gateway: Any, upstream: Any) -> None:
    """Never a silent purchase."""
    first = await gateway.images(headers=KEY)
    await gateway.core.store.write(lambda conn: conn.execute("UPDATE blob SET state = 'deleted'").rowcount)
    gone = await gateway.images(headers=KEY)
    assert (gone.status, gone.error["holdfast_code"]) == (410, "image_expired")
    assert gone.generation_id == first.generation_id
    assert len(upstream.asked) == 1


async def test_a_caller_of_http_1_0_is_never_broken_off(start: Any, upstream: Any) -> None:
    """The end of its body is the end of its connection: broken off, an answer would look like an empty one."""
    gateway = await start(heartbeat=QUICK)
    upstream.gate.clear()
    upstream.answers({"error": {"message": "no", "code": "moderation_blocked"}}, status=400)
    wire = await gateway.dial()
    await wire.send(gateway.post({"prompt": "a lighthouse", "model": "gpt-image-2"}, version="1.0", headers=SDK))
    await wire.head()
    upstream.gate.set()
    assert (await wire.rest()).strip().startswith(b"holdfast: generation gen_")
