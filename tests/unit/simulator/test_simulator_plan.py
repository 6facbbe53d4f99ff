"""What is decided about one request: when, at what cost, with which answer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from holdfast.policy.sizes import geometry_of
from holdfast.simulator.asked import Asked
from holdfast.simulator.charges import Outcome
from holdfast.simulator.faults import Fault, Wish
from holdfast.simulator.pictures import SERIAL_CHARS
from holdfast.simulator.plan import (
    CENSOR_S,
    FRONT_END_S,
    QUICK_S,
    Circumstances,
    Plan,
    plan_of,
    scaled_hint,
    serial_of,
)
from holdfast.simulator.replies import Reply
from holdfast.types import Surface, Tier
from holdfast.wire.template import slots_of

PRICE = 240_000
DRAFT_PRICE = 134_000
DELAY_S = 40.0


def asked(surface: Surface = Surface.GEMINI, **changes: Any) -> Asked:
    """Ask for one 4K picture."""
    usual = Asked(
        surface=surface, model="gemini-3-pro-image", prompt="a lighthouse", geometry=geometry_of(Tier.K4, "1:1")
    )
    return replace(usual, **changes)


def now(**changes: Any) -> Circumstances:
    """Make circumstances."""
    usual = Circumstances(
        number=3,
        seed=7,
        speed=1.0,
        is_instant=False,
        surplus_tokens=100,
        created=1_764_000_000,
        price_micros=PRICE,
        draft_micros=DRAFT_PRICE,
        server_timeout_s=None,
    )
    return replace(usual, **changes)


def planned(request: Asked | None = None, *, circumstances: Circumstances | None = None, **wish: Any) -> Plan:
    """Plan a request that takes 40 s unless something else is wished."""
    return plan_of(request or asked(), Wish(**{"delay_s": DELAY_S, **wish}), circumstances or now())


def text_of(reply: Reply) -> str:
    """Write a reply that holds no picture."""
    return b"".join(part for timed in reply.parts for part in timed.template if isinstance(part, bytes)).decode()


def document_of(reply: Reply) -> Any:
    """Decode it."""
    return json.loads(text_of(reply))


BOTH = pytest.mark.parametrize("surface", [Surface.OPENAI, Surface.GEMINI])


@BOTH
def test_a_request_that_goes_well(surface: Surface) -> None:
    """It is made after its time, charged once, and answered with one picture of the size that was asked for."""
    plan = planned(asked(surface))
    assert (plan.outcome, plan.micros, plan.wait_s, plan.fault) == (Outcome.MADE, PRICE, DELAY_S, None)
    (drawn,) = plan.reply.pictures.values()
    assert (drawn.width_px, drawn.height_px, drawn.format) == (4096, 4096, "png")
    assert plan.reply.status == 200


def test_several_images_are_charged_each() -> None:
    """OpenAI makes up to ten in one call, all different."""
    plan = planned(asked(Surface.OPENAI, n=4))
    assert plan.micros == 4 * PRICE
    assert len({drawn.serial for drawn in plan.reply.pictures.values()}) == 4


def test_the_speed_divides_every_time() -> None:
    """Forty seconds at eight times the speed are five."""
    assert planned(circumstances=now(speed=8.0)).wait_s == DELAY_S / 8
    assert planned(status=429, circumstances=now(speed=8.0)).wait_s == QUICK_S / 8
    assert planned(fault=Fault.REFUSED_INPUT, circumstances=now(speed=8.0)).wait_s == CENSOR_S / 8


@BOTH
@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 503])
def test_what_is_decided_early_is_told_early(surface: Surface, status: int) -> None:
    """And costs nothing."""
    plan = planned(asked(surface), status=status)
    assert (plan.reply.status, plan.wait_s, plan.micros, plan.outcome) == (status, QUICK_S, 0, Outcome.FAILED)


@BOTH
def test_a_server_fault_takes_its_time(surface: Surface) -> None:
    """It fails while it works."""
    plan = planned(asked(surface), status=500)
    assert (plan.wait_s, plan.micros, plan.outcome) == (DELAY_S, 0, Outcome.FAILED)


@BOTH
@pytest.mark.parametrize("status", [504, 524])
def test_a_front_end_that_gave_up_costs_all_the_same(surface: Surface, status: int) -> None:
    """What works behind it does not know."""
    plan = planned(asked(surface), status=status)
    assert (plan.reply.status, plan.micros, plan.outcome) == (status, PRICE, Outcome.MADE)


def test_nothing_takes_time_where_everything_is_instant() -> None:
    """Except what somebody asked for."""
    at_once = now(is_instant=True)
    assert planned(delay_s=0.0, status=503, circumstances=at_once).wait_s == 0.0
    assert planned(delay_s=0.0, fault=Fault.REFUSED_INPUT, circumstances=at_once).wait_s == 0.0
    assert planned(delay_s=9.0, status=500, circumstances=at_once).wait_s == 9.0
    assert planned(delay_s=9.0, status=503, circumstances=at_once).wait_s == QUICK_S


def test_an_early_word_is_never_later_than_the_picture() -> None:
    """A delay of half a second holds for a refusal as well."""
    assert planned(delay_s=0.5, fault=Fault.REFUSED_INPUT).wait_s == 0.5


@pytest.mark.parametrize("status", [502, 520, 522, 524])
@BOTH
def test_a_proxy_answers_in_html(surface: Surface, status: int) -> None:
    """Whatever dialect stands behind it."""
    reply = planned(asked(surface), status=status).reply
    assert reply.content_type.startswith("text/html")
    assert text_of(reply).startswith("<!DOCTYPE html>")


def test_a_hint_alone_is_a_429() -> None:
    """In header and, for Gemini, in the body."""
    reply = planned(retry_after="34").reply
    assert (reply.status, dict(reply.headers)) == (429, {"retry-after": "34"})
    details = document_of(reply)["error"]["details"]
    assert {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"} in details
    assert dict(planned(asked(Surface.OPENAI), status=503, retry_after="7").reply.headers) == {"retry-after": "7"}


def test_a_hint_that_is_a_date_stays_in_the_header() -> None:
    """protobuf has no dates in a duration."""
    reply = planned(status=429, retry_after="Wed,21Oct2026").reply
    assert "RetryInfo" not in text_of(reply)
    assert dict(reply.headers) == {"retry-after": "Wed,21Oct2026"}


def test_a_drawn_hint_is_scaled_and_never_nought() -> None:
    """A caller's clock runs at the speed of life, the simulator's does not."""
    assert scaled_hint(Wish(retry_after="34"), 8.0).retry_after == "5"
    assert scaled_hint(Wish(retry_after="5"), 1000.0).retry_after == "1"
    assert scaled_hint(Wish(), 8.0) == Wish()
    assert scaled_hint(Wish(retry_after="soon"), 8.0).retry_after == "soon"


REFUSALS = [
    (Surface.OPENAI, Fault.REFUSED_INPUT, CENSOR_S, 0),
    (Surface.OPENAI, Fault.REFUSED_OUTPUT, DELAY_S, PRICE),
    (Surface.GEMINI, Fault.REFUSED_INPUT, CENSOR_S, 0),
    (Surface.GEMINI, Fault.REFUSED_OUTPUT, DELAY_S, 0),
]


@pytest.mark.parametrize(("surface", "fault", "wait_s", "micros"), REFUSALS)
def test_refusals(surface: Surface, fault: Fault, wait_s: float, micros: int) -> None:
    """Before the work or after it, and at whose expense."""
    plan = planned(asked(surface), fault=fault)
    assert (plan.outcome, plan.wait_s, plan.micros) == (Outcome.REFUSED, wait_s, micros)
    assert plan.reply.pictures == {}
    assert plan.reply.status == (400 if surface is Surface.OPENAI else 200)


@BOTH
@pytest.mark.parametrize("fault", [Fault.NO_IMAGE, Fault.TEXT_ONLY])
def test_an_answer_without_a_picture_costs_nothing(surface: Surface, fault: Fault) -> None:
    """It is a 200 all the same."""
    plan = planned(asked(surface), fault=fault)
    assert (plan.outcome, plan.micros, plan.reply.status) == (Outcome.EMPTY, 0, 200)
    assert plan.reply.pictures == {}
    said = "lighthouse be white" in text_of(plan.reply)
    assert said == (fault is Fault.TEXT_ONLY)


@BOTH
def test_a_stream_fails_within_itself(surface: Surface) -> None:
    """With an event, since its status is already 200."""
    reply = planned(asked(surface, stream=True), fault=Fault.ERROR_IN_200).reply
    assert reply.is_stream
    assert '"error"' in text_of(reply)


def test_a_stream_is_refused_within_itself_only_after_the_wait() -> None:
    """A prompt that is refused at once still gets its real status."""
    stream = asked(Surface.OPENAI, stream=True)
    assert planned(stream, fault=Fault.REFUSED_OUTPUT).reply.is_stream
    assert planned(stream, fault=Fault.REFUSED_INPUT).reply.status == 400


MADE = [
    Fault.STALL_HEADERS,
    Fault.STALL_BODY,
    Fault.RESET_SENT,
    Fault.RESET_BODY,
    Fault.TRUNCATE,
    Fault.DRIP,
    Fault.GZIP,
    Fault.UNTERMINATED,
    Fault.HTML,
    Fault.EMPTY,
    Fault.REDIRECT,
    Fault.BAD_BASE64,
    Fault.URL_SAFE,
    Fault.NOT_IMAGE,
    Fault.CUT_IMAGE,
    Fault.MISLABELLED,
    Fault.OTHER_SIZE,
    Fault.POLL_404,
    Fault.POLL_503,
    Fault.POLL_RESET,
    Fault.BACKWARDS,
    Fault.EXPIRED,
]


@BOTH
@pytest.mark.parametrize("fault", MADE)
def test_what_was_made_is_charged_however_it_arrives(surface: Surface, fault: Fault) -> None:
    """The vendor does not know what became of its answer."""
    plan = planned(asked(surface), fault=fault)
    assert (plan.outcome, plan.micros, plan.fault) == (Outcome.MADE, PRICE, fault)


@BOTH
@pytest.mark.parametrize("fault", [Fault.REFUSE_CONNECT, Fault.ERROR_IN_200])
def test_what_was_not_made_is_not_charged(surface: Surface, fault: Fault) -> None:
    """A refused connection, and an error in a 200."""
    plan = planned(asked(surface), fault=fault)
    assert (plan.outcome, plan.micros) == (Outcome.FAILED, 0)


def test_every_fault_is_known_to_these_tests() -> None:
    """A new one needs a decision on who pays."""
    known = {*MADE, *(fault for _, fault, _, _ in REFUSALS), Fault.NO_IMAGE, Fault.TEXT_ONLY}
    assert set(Fault) == known | {Fault.REFUSE_CONNECT, Fault.ERROR_IN_200, Fault.NONE}


def test_another_size_comes_than_was_asked_for() -> None:
    """One class smaller."""
    (drawn,) = planned(fault=Fault.OTHER_SIZE).reply.pictures.values()
    assert (drawn.width_px, drawn.height_px) == (2048, 2048)


@pytest.mark.parametrize(("format_", "told"), [("png", "image/jpeg"), ("jpeg", "image/png")])
def test_a_label_can_lie(format_: str, told: str) -> None:
    """The bytes do not."""
    plan = planned(fault=Fault.MISLABELLED, format=format_)
    (drawn,) = plan.reply.pictures.values()
    assert drawn.format == format_
    assert told in text_of(plan.reply)


def test_drafts_come_first_and_are_charged() -> None:
    """Google bills each at 1120 tokens; they are smaller than the picture that is meant."""
    plan = planned(drafts=2)
    sizes = [(drawn.width_px, drawn.height_px) for drawn in plan.reply.pictures.values()]
    assert sizes == [(2048, 2048), (2048, 2048), (4096, 4096)]
    assert plan.micros == PRICE + 2 * DRAFT_PRICE
    assert len({drawn.serial for drawn in plan.reply.pictures.values()}) == 3


def test_an_openai_answer_may_hold_more_than_was_asked_for() -> None:
    """That is what drafts mean there."""
    reply = planned(asked(Surface.OPENAI, n=2), drafts=1).reply
    assert slots_of(reply.parts[0].template) == (0, 1, 2)


@pytest.mark.parametrize(
    ("server_timeout_s", "speed", "delay_s", "deadline_s"),
    [
        (None, 1.0, 59.0, None),
        (None, 1.0, 70.0, FRONT_END_S),
        (None, 8.0, 70.0, FRONT_END_S / 8),
        (300.0, 1.0, 250.0, None),
        (300.0, 1.0, 301.0, 300.0),
        (30.0, 8.0, 80.0, None),
        (5.0, 8.0, 80.0, 5.0),
    ],
)
def test_googles_front_end_waits_as_long_as_it_is_told(
    server_timeout_s: float | None, speed: float, delay_s: float, deadline_s: float | None
) -> None:
    """About a minute without `X-Server-Timeout`; with it as many of the caller's own seconds as it says."""
    circumstances = now(server_timeout_s=server_timeout_s, speed=speed)
    plan = planned(delay_s=delay_s, circumstances=circumstances)
    assert plan.deadline_s == deadline_s
    # The work goes on behind it, and is charged.
    assert (plan.outcome, plan.micros, plan.wait_s) == (Outcome.MADE, PRICE, delay_s / speed)
    if deadline_s is not None:
        assert plan.too_late is not None
        assert plan.too_late.status == 504
        assert b"DEADLINE_EXCEEDED" in b"".join(part for part in plan.too_late_event or () if isinstance(part, bytes))


def test_openai_has_no_such_front_end() -> None:
    """There a call lasts as long as it lasts."""
    assert planned(asked(Surface.OPENAI), delay_s=500.0).deadline_s is None


@pytest.mark.parametrize("seed", [0, 16888, -1, 1 << 80])
def test_a_serial_fits_its_comment_and_leaves_room_for_previews(seed: int) -> None:
    """Its last character is a dot, which previews replace."""
    serial = serial_of(seed, 123, 4)
    assert len(serial) == SERIAL_CHARS
    assert serial.endswith(".")
    assert serial != serial_of(seed, 124, 4) != serial_of(seed, 123, 5)
