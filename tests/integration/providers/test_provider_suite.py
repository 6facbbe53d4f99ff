"""The same scenarios for every door to every provider: see `suite.py`; a new one registers in `doors_NAME.py`."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import pytest

from holdfast.config import Provider, UpstreamApi
from holdfast.types import Tier

suite = pytest.importorskip("provider_suite")
PROMPT: str = suite.PROMPT
DOORS: tuple[Any, ...] = suite.doors()


async def image(gateway: Any, size: str = "1K", **fields: Any) -> Any:
    """Ask for one as an OpenAI SDK does."""
    return await gateway.images(model=suite.MODEL, size=size, **fields)


def the_failure(gateway: Any, answer: Any) -> Any:
    """How the last attempt of a generation ended."""
    failure = gateway.record(answer.generation_id).attempts[-1].failed
    assert failure is not None
    return failure


async def charged(upstream: Any, count: int) -> None:
    """Wait until so many generations have ended there, and no more."""
    async with asyncio.timeout(5):
        while upstream.charges.count < count:
            await asyncio.sleep(0.01)
    assert upstream.charges.count == count


async def in_state(gateway: Any, state: str) -> str:
    """Wait until the one attempt stands so; give its generation."""
    query = "SELECT generation_id FROM attempt WHERE state = ?"
    async with asyncio.timeout(5):
        while True:
            found = gateway.read(lambda conn: [row[0] for row in conn.execute(query, (state,))])
            if found:
                return str(found[0])
            await asyncio.sleep(0.01)


# Making


@pytest.mark.parametrize("size", ["1K", "2K", "4K"])
async def test_an_image_of_each_size_is_made_and_booked(gateway: Any, upstream: Any, door: Any, size: str) -> None:
    """True pixels, one purchase at its price, the bytes of the file."""
    tier = Tier(size)
    if tier not in door.sizes:
        pytest.skip(f"{door} does not offer {size}")
    answer = await image(gateway, size)
    assert answer.status == 200, answer
    assert answer.json["data"][0]["size"] == door.sizes[tier]
    assert upstream.outcomes == ["made"]
    record = gateway.record(answer.generation_id)
    assert gateway.stored(answer.generation_id) == [answer.picture()]
    (attempt,) = record.attempts
    assert (attempt.state, attempt.charge, attempt.provider) == ("settled", "yes", door.provider)
    assert ("cost", "provider_cost", suite.MICROS[size]) in gateway.ledger(answer.generation_id)


async def test_a_caller_who_streams_gets_it_in_his_stream(gateway: Any, upstream: Any, door: Any) -> None:
    """Whether or not the door can stream."""
    answer = await image(gateway, stream=True)
    assert answer.status == 200, answer
    assert answer.events()[-1][0] == "image_generation.completed"
    assert upstream.made == 1


async def test_a_ratio_is_kept(gateway: Any, upstream: Any, door: Any) -> None:
    """Wide, and as wide as the provider draws it."""
    answer = await image(gateway, aspect_ratio="16:9")
    assert answer.status == 200, answer
    width, height = (int(edge) for edge in answer.json["data"][0]["size"].split("x"))
    assert 1.6 < width / height < 2.0
    assert upstream.asked[0].geometry.aspect_ratio == "16:9"


@pytest.mark.edits
async def test_reference_images_go_along(gateway: Any, upstream: Any, door: Any) -> None:
    """In the provider's own form, each as it was given."""
    pictures = [suite.paint(64, 64, "png"), suite.paint(96, 64, "png")]
    answer = await gateway.gemini(contents=suite.inline(*pictures))
    assert answer.status == 200, answer
    (asked,) = upstream.asked
    assert (asked.inputs, asked.is_edit) == (2, True)
    assert PROMPT in asked.prompt
    assert upstream.made == 1


# Refusals


@pytest.mark.parametrize("stage", ["input", "output"])
async def test_a_refusal_is_told_and_not_repeated(gateway: Any, upstream: Any, door: Any, stage: str) -> None:
    """400, its kind, and what it may have cost."""
    upstream.suffers(f"refused_{stage}")
    answer = await image(gateway)
    assert (answer.status, answer.error["code"]) == (400, "moderation_blocked"), answer
    assert answer.error["paid"] == door.paid_if_refused[stage == "output"]
    assert the_failure(gateway, answer).kind == f"refused_{stage if door.tells_stage else 'output'}"
    assert upstream.outcomes == ["refused"]


async def test_an_answer_without_an_image_is_told(gateway: Any, upstream: Any, door: Any) -> None:
    """502, and it may have cost its text."""
    upstream.suffers("no_image")
    answer = await image(gateway)
    assert (answer.status, answer.error["holdfast_code"], answer.error["paid"]) == (502, "empty_result", "unknown")
    assert the_failure(gateway, answer).kind == "no_image"


# Waiting out


async def test_overload_is_waited_out(gateway: Any, upstream: Any, door: Any) -> None:
    """Twice turned away, then served: the caller sees an image, and pays for one."""
    upstream.suffers("status=503", "status=503")
    answer = await image(gateway)
    assert answer.status == 200, answer
    kinds = [attempt.failed.kind for attempt in gateway.record(answer.generation_id).attempts if attempt.failed]
    assert kinds == ["overloaded", "overloaded"]
    assert upstream.made == 1


async def test_a_rate_limit_is_waited_out_as_it_asks(gateway: Any, upstream: Any, door: Any) -> None:
    """Not before the second that it names."""
    upstream.suffers("status=429 retry_after=1")
    began = time.monotonic()
    answer = await image(gateway)
    assert answer.status == 200, answer
    assert time.monotonic() - began >= 0.95
    first = gateway.record(answer.generation_id).attempts[0].failed
    assert first is not None
    assert (first.kind, first.charge, first.retry_after_s) == ("rate_limited", "no", 1.0)
    assert upstream.made == 1


async def test_a_wrong_key_costs_nothing_and_is_not_shown(gateway: Any, upstream: Any, door: Any) -> None:
    """An operator's matter: 502 for the caller, the upstream's name for who reads the record, the key for nobody."""
    upstream.suffers(*["status=401"] * 12)
    answer = await image(gateway)
    assert (answer.status, answer.error["holdfast_code"], answer.error["paid"]) == (502, "upstream_failed", "no")
    failure = the_failure(gateway, answer)
    assert failure.kind == "credential"
    assert "the-upstream" in failure.detail
    assert b"Jw4Ru" not in answer.body


async def test_a_fault_of_its_own_is_told(begin: Any, upstream: Any, door: Any) -> None:
    """500, when no more is tried: with what it may have cost."""
    gateway = await begin(retry={"sends_max": 1})
    upstream.suffers("status=500")
    answer = await image(gateway)
    assert (answer.status, answer.error["holdfast_code"]) == (502, "upstream_failed"), answer
    assert answer.error["paid"] == door.paid_if_failed
    assert the_failure(gateway, answer).kind == "server_fault"


# Cut


async def test_nobody_there_costs_nothing(begin: Any, door: Any) -> None:
    """A port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        entry = {**door.upstream(sock.getsockname()[1])}
        async with door.prepare(entry) as prepared:
            gateway = await begin(upstreams=[prepared])
            answer = await image(gateway)
    assert (answer.status, answer.error["holdfast_code"], answer.error["paid"]) == (502, "upstream_failed", "no")
    assert the_failure(gateway, answer).kind == "unreachable"


async def test_cut_before_the_answer_it_is_unknown(gateway: Any, upstream: Any, door: Any) -> None:
    """The request was read; nothing came back. It was made and charged: it is not bought again, and told so."""
    upstream.suffers("reset_sent")
    answer = await image(gateway)
    assert (answer.status, answer.error["holdfast_code"], answer.error["paid"]) == (502, "outcome_unknown", "unknown")
    assert the_failure(gateway, answer).kind == "lost_reply"
    await charged(upstream, 1)
    assert upstream.made == 1


@pytest.mark.parametrize("fault", ["reset_body", "truncate"])
async def test_cut_in_the_middle_it_is_bought_once(gateway: Any, upstream: Any, door: Any, fault: str) -> None:
    """Where there is a handle, or a link, its image is got all the same; else it was made and is lost, and told so."""
    upstream.suffers(fault)
    answer = await image(gateway)
    if door.is_polled or not door.is_inline:
        assert answer.status == 200, answer
    else:
        assert (answer.status, answer.error["holdfast_code"], answer.error["paid"]) == (502, "upstream_failed", "yes")
    assert upstream.outcomes == ["made"]


async def test_cut_behind_the_answer_it_is_whole(gateway: Any, upstream: Any, door: Any) -> None:
    """All of the body came, and no end of it: nobody waits for that."""
    upstream.suffers("unterminated")
    answer = await image(gateway)
    assert answer.status == 200, answer
    assert upstream.outcomes == ["made"]


# Malformed


@pytest.mark.parametrize("fault", ["not_image", "cut_image", "bad_base64"])
async def test_a_picture_that_is_none_is_paid_for(gateway: Any, upstream: Any, door: Any, fault: str) -> None:
    """It was made and charged; what came cannot be delivered, and is not bought again."""
    if fault == "bad_base64" and not door.is_inline:
        pytest.skip("its pictures are files")
    upstream.suffers(fault)
    answer = await image(gateway)
    assert (answer.status, answer.error["holdfast_code"], answer.error["paid"]) == (502, "upstream_failed", "yes")
    assert the_failure(gateway, answer).kind == "malformed"
    assert upstream.outcomes == ["made"]


@pytest.mark.parametrize("fault", ["html", "empty"])
async def test_a_page_in_the_place_of_an_answer(gateway: Any, upstream: Any, door: Any, fault: str) -> None:
    """Where there is a handle, the answer is read again; else it counts as paid."""
    upstream.suffers(fault)
    answer = await image(gateway)
    if door.is_polled:
        assert answer.status == 200, answer
    else:
        assert (answer.status, answer.error["holdfast_code"], answer.error["paid"]) == (502, "upstream_failed", "yes")
    assert upstream.outcomes == ["made"]


# Slow


@pytest.mark.parametrize("wish", ["delay=6", "delay=6 drip", "gzip", "mislabelled", "other_size"])
async def test_slow_or_odd_it_is_an_image(gateway: Any, upstream: Any, door: Any, wish: str) -> None:
    """One purchase, delivered as it is."""
    upstream.suffers(wish)
    answer = await image(gateway)
    assert answer.status == 200, answer
    assert upstream.outcomes == ["made"]


async def test_silence_ends_with_the_attempts_time(begin: Any, upstream: Any, door: Any) -> None:
    """Not a byte ever comes: unknown, when the attempt's time is over."""
    gateway = await begin(deadlines={"attempt_s": {"1K": 1.0, "2K": 1.0, "4K": 1.0}})
    upstream.suffers("stall_headers")
    answer = await image(gateway)
    assert (answer.status, answer.error["holdfast_code"], answer.error["paid"]) == (502, "outcome_unknown", "unknown")
    await charged(upstream, 1)


# Cancelled


async def test_who_cancels_one_at_work_gets_its_image(gateway: Any, upstream: Any, door: Any) -> None:
    """It is paid for: awaited, and kept."""
    upstream.suffers("delay=15")
    asking = asyncio.create_task(image(gateway))
    id_ = await in_state(gateway, "polling" if door.is_polled else "sent")
    await asyncio.sleep(0.6)
    await gateway.ask("POST", f"/v1/generations/{id_}/cancel")
    answer = await asking
    assert answer.status == 200, answer
    assert upstream.outcomes == ["made"]


@pytest.mark.takes_back
async def test_who_cancels_one_that_waits_pays_nothing(gateway: Any, upstream: Any, door: Any) -> None:
    """It has not been begun: it is taken back there."""
    upstream.suffers("delay=60")
    asking = asyncio.create_task(image(gateway))
    id_ = await in_state(gateway, "polling")
    assert (await gateway.ask("POST", f"/v1/generations/{id_}/cancel")).status == 200
    answer = await asking
    assert (answer.status, answer.error["code"], answer.error["paid"]) == (409, "generation_cancelled", "no")
    assert upstream.charges.count == 0


# Polled


@pytest.mark.is_polled
@pytest.mark.parametrize("fault", ["poll_404", "poll_503", "poll_reset", "backwards"])
async def test_trouble_on_the_way_costs_nothing_more(gateway: Any, upstream: Any, door: Any, fault: str) -> None:
    """One charge, one image, whatever the questions met."""
    upstream.suffers(f"delay=2 {fault}")
    answer = await image(gateway)
    assert answer.status == 200, answer
    (attempt,) = gateway.record(answer.generation_id).attempts
    assert (attempt.state, attempt.charge) == ("settled", "yes")
    assert upstream.outcomes == ["made"]


@pytest.mark.is_polled
async def test_a_restart_goes_on_with_the_handle(begin: Any, upstream: Any, door: Any, journal: Any) -> None:
    """Two gateways, one handle: the first hands it over, the second delivers what was bought once."""
    upstream.suffers("delay=15")
    first = await begin(drain={"grace_s": 0.1})
    body = {"prompt": PROMPT, "model": suite.MODEL}
    taken = await first.ask("POST", "/v1/generations", json=body)
    assert taken.status == 202, taken
    id_ = taken.json["id"]
    await in_state(first, "polling")
    first.hands_over = True
    await first.stop()
    second = await begin(data=first.data, key=first.key)
    resource = await second.resource_once(id_, "succeeded")
    assert (resource["images"][0]["width"], resource["paid"]) == (1024, "yes")
    assert upstream.outcomes == ["made"]
    assert journal.of("attempt.unknown") == []


# The suite itself


def test_every_provider_has_a_door() -> None:
    """What can be configured has been through this: each provider, and each `api` of it."""
    assert {Provider(door.provider) for door in DOORS} == set(Provider)
    named = {UpstreamApi(door.api) for door in DOORS if door.api is not None}
    assert named >= set(UpstreamApi) - {UpstreamApi.AUTO}
