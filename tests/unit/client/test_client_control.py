"""The small calls: repeated while it helps, told when not; and events followed over any number of connections."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.client import defaults as d
from holdfast.client.address import address_of
from holdfast.client.asking import Asker
from holdfast.client.control import (
    Answered,
    Control,
    EventLines,
    Following,
    create_ask,
    generation_of,
    list_ask,
    page_of,
)
from holdfast.client.steps import Cause, Raise, Send, Wait
from holdfast.errors import RequestError, TimedOut, Unavailable
from holdfast.types import Charge, Phase
from holdfast.wire.generations import EventResource, render_event

ASKER = Asker(address=address_of("http://h:1/v1"), api_key="hf-k", user_agent="holdfast-client/1")


def a_control(**options: Any) -> Control:
    """Make one."""
    return Control(asker=ASKER, ask=ASKER.poll("gen_1", wait_s=None), **options)


def run(control: Control, script: list[Any], *, forever: Any = None) -> tuple[Any, float, int]:
    """Play answers and breaks; give the last step, the seconds it took, and the requests made."""
    now_s, sends, left = 0.0, 0, list(script)
    step: Any = control.start(now_s)
    for _ in range(100):
        match step:
            case Send():
                sends += 1
                said = left.pop(0) if left else forever
                assert said is not None
                if isinstance(said, tuple):
                    step = control.received(said[0], said[1].document, now_s=now_s, jitter=0.5)
                else:
                    step = control.broke(said, now_s=now_s, jitter=0.5)
            case Wait():
                now_s += step.after_s
                step = control.woke(now_s)
            case _:
                return step, now_s, sends
    raise AssertionError("it goes on for ever")


def test_an_answer_is_given_as_it_is(kit: Any) -> None:
    """Once."""
    step, _, sends = run(a_control(), [kit.stands("running")])
    assert isinstance(step, Answered)
    assert generation_of(step.document).status == "running"
    assert sends == 1


def test_what_passes_is_tried_again(kit: Any) -> None:
    """Cuts, proxies' pages, a gateway that drains, at the pace that it asks for."""
    draining = kit.holdfast_error("draining", retry_after="5")
    step, took_s, sends = run(a_control(), [kit.cut(), kit.error(502), draining, kit.stands("running")])
    assert isinstance(step, Answered)
    assert sends == 4
    assert took_s >= 5.0


def test_what_does_not_pass_is_told_at_once(kit: Any) -> None:
    """404 is an answer; so is a certificate."""
    missing = {"type": "urn:holdfast:error:generation_not_found", "code": "generation_not_found", "detail": "none"}
    step, _, sends = run(a_control(generation_id="gen_1"), [kit.error(404, missing, "application/problem+json")])
    assert isinstance(step, Raise)
    assert isinstance(step.error, RequestError)
    assert (step.error.generation_id, sends) == ("gen_1", 1)
    step, _, sends = run(a_control(), [kit.cut(Phase.CONNECT, Cause.CERTIFICATE)])
    assert isinstance(step, Raise)
    assert sends == 1


def test_it_ends_whatever_the_server_does(kit: Any) -> None:
    """Refused soon, silent after minutes; a creation may then be at work, and its key is on the exception."""
    step, took_s, sends = run(a_control(), [], forever=kit.REFUSED)
    assert isinstance(step, Raise)
    assert type(step.error) is Unavailable
    assert (sends, took_s < 10.0) == (d.FAULTS_MAX, True)
    control = a_control(idempotency_key="k")
    step, took_s, _ = run(control, [], forever=kit.cut(Phase.WAIT, Cause.TIMEOUT))
    assert isinstance(step, Raise)
    assert type(step.error) is TimedOut
    assert (step.error.idempotency_key, step.error.paid) == ("k", Charge.UNKNOWN)
    assert took_s <= control.total_s


def test_a_page_is_no_answer(kit: Any) -> None:
    """200 with HTML is a site."""
    step, _, _ = run(a_control(), [(kit.a_head(200, "text/html"), kit.Received(document=b"<html>"))])
    assert isinstance(step, Raise)
    assert isinstance(step.error, Unavailable)


@pytest.mark.parametrize("read", [generation_of, page_of])
@pytest.mark.parametrize("document", [b"", b"{}", b"[]", b'{"data":[{"id":"x"}]}', b"\xff"])
def test_json_of_somebody_else_is_no_generation(read: Any, document: bytes) -> None:
    """Then no holdfast is there."""
    with pytest.raises(Unavailable, match="no holdfast"):
        read(document)


def test_requests_are_written() -> None:
    """A creation carries its key; a list what was asked for only."""
    ask = create_ask(ASKER, {"prompt": "p"}, idempotency_key="k")
    assert (ask.method, dict(ask.headers)["Idempotency-Key"]) == ("POST", "k")
    assert ask.body is not None
    assert json.loads(ask.body.parts[0]) == {"prompt": "p"}
    assert list_ask(ASKER, {"status": None}).url.endswith("/generations")
    assert list_ask(ASKER, {"collected": True, "limit": 5}).url.endswith("?collected=true&limit=5")


def an_event(number: int, status: Any = "running") -> EventResource:
    """Make one."""
    return EventResource(
        id="gen_1", type=f"generation.{status}", status=status, sequence_number=number, at="2026-11-28T00:00:00.000Z"
    )


@pytest.mark.parametrize("step", [1, 5, 10_000])
def test_events_are_read_in_any_pieces_and_previews_passed_over(step: int) -> None:
    """Blank lines are heartbeats."""
    preview = b'event: generation.partial_image\ndata: {"b64_json":"' + b"A" * 5000 + b'"}\n\n'
    stream = b"retry: 2000\n\n" + render_event(an_event(1)) + b"\n\n" + preview + render_event(an_event(2, "succeeded"))
    lines = EventLines()
    read = [event for at in range(0, len(stream), step) for event in lines.feed(stream[at : at + step])]
    assert [event.sequence_number for event in read] == [1, 2]


def test_what_are_no_events_is_told() -> None:
    """A line too long, JSON of somebody else."""
    for stream in (b"data: {}\n\n", b"x" * 100_000):
        with pytest.raises(Unavailable):
            EventLines().feed(stream)


def test_following_goes_on_behind_the_last_number_and_ends_with_the_generation(kit: Any) -> None:
    """Breaks and ends in between are taken up again."""
    following = Following(asker=ASKER, generation_id="gen_1")
    assert "Last-Event-ID" not in dict(following.start(0.0).ask.headers)
    following.seen(an_event(4), 1.0)
    assert isinstance(following.broke(kit.cut(), now_s=1.0, jitter=0.5), Wait)
    assert dict(following.woke(2.0).ask.headers)["Last-Event-ID"] == "4"
    assert isinstance(following.ended(now_s=2.0, jitter=0.5), Wait)
    following.seen(an_event(5, "failed"), 3.0)
    assert following.ended(now_s=3.0, jitter=0.5) is None
    assert following.answered(kit.a_head(204), b"", now_s=3.0, jitter=0.5) is None


def test_following_is_given_up_after_an_outage_or_a_refusal(kit: Any) -> None:
    """Two minutes without a sign; 404 at once."""
    following = Following(asker=ASKER, generation_id="gen_1")
    following.start(0.0)
    now_s, step = 0.0, None
    for _ in range(100):
        step = following.broke(kit.REFUSED, now_s=now_s, jitter=0.5)
        if isinstance(step, Raise):
            break
        now_s += step.after_s
    assert isinstance(step, Raise)
    assert step.error.generation_id == "gen_1"
    assert now_s <= d.OUTAGE_S
    following.start(0.0)
    assert isinstance(following.answered(kit.a_head(404), b"{}", now_s=0.0, jitter=0.5), Raise)
    assert isinstance(following.answered(kit.a_head(503), b"{}", now_s=0.0, jitter=0.5), Wait)
    assert isinstance(following.broke(kit.cut(Phase.CONNECT, Cause.NOT_TLS), now_s=0.0, jitter=0.5), Raise)
