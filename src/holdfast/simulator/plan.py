"""What will happen to one request, decided when it has been read: when, at what cost, and with which answer.

Pure: no I/O, clock or randomness. Seconds in a plan are real ones; everything before is in seconds of life.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import ceil

from holdfast.money import times
from holdfast.simulator import ark, chat, fal, gemini, openai, replicate
from holdfast.simulator.asked import Asked, other_geometry
from holdfast.simulator.charges import Outcome
from holdfast.simulator.faults import Fault, Wish
from holdfast.simulator.replies import Drawn, Making, Reply, html, plain
from holdfast.simulator.vendors import Vendor
from holdfast.types import Geometry, Surface, Tier
from holdfast.wire.template import Template

FRONT_END_S = 61.0
"""Google's front end gives a call without `X-Server-Timeout` about a minute. The second above it lets a path that
cuts after 60 s of silence come first, as it does in the field."""
QUICK_S = 1.0
"""Until an upstream says that it is busy, or that the request is wrong."""
CENSOR_S = 3.0
"""Until a prompt is refused."""
MOVED_TO = "/_sim/moved"
_BUSY = frozenset({429, 503})
AT_THE_END = frozenset({500, 504})
"""What a queue tells at the end of a request that it has taken; other errors are told to whoever submits it."""
GAVE_UP = frozenset({504, 524})
"""The front end stopped waiting; what works behind it goes on, and is charged."""
_ASKED_AGAIN = frozenset({Fault.HTML, Fault.EMPTY, Fault.REDIRECT})
"""What befalls one answer of a queue: the next one is what it should have been."""
TEXT = "I can draw that. Should the lighthouse be white, or white with red bands?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One request's fate."""

    reply: Reply
    wait_s: float
    """Until the generation ends: it is charged, and its answer is due."""
    outcome: Outcome
    micros: int
    """What is charged for all its pictures."""
    fault: Fault | None
    """What befalls the answer on its way, or the text of its pictures."""
    deadline_s: float | None = None
    """When the answer gives way to `too_late`."""
    too_late: Reply | None = None
    too_late_event: Template | None = None
    """The same, for a stream that has begun."""
    is_turned_away: bool = False
    """A queue does not take the request: the reply is that to its submission."""
    linked: Callable[[Mapping[int, str]], Reply] | None = None
    """Writes the answer once it is known under which links its pictures can be had; the reply holds those."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a plan needs to know besides request and wish."""

    number: int
    """Of the request."""
    seed: int
    speed: float
    is_instant: bool
    """Nothing takes any time unless somebody asked for it."""
    surplus_tokens: int
    created: int
    """Unix seconds."""
    price_micros: int
    """Of one picture as asked for."""
    draft_micros: int
    """Of one draft."""
    server_timeout_s: float | None
    """What the caller allows, in its own seconds: the speed does not divide them."""


def scaled_hint(wish: Wish, speed: float) -> Wish:
    """Divide a drawn Retry-After by the speed; one that somebody wrote is left as it is."""
    if wish.retry_after is None or not wish.retry_after.isdigit():
        return wish
    return replace(wish, retry_after=str(max(1, ceil(int(wish.retry_after) / speed))))


def plan_of(asked: Asked, wish: Wish, now: Circumstances) -> Plan:
    """Decide what happens to a request.

    Args:
        asked: The request.
        wish: What script, prompt and scenario together want; its delay is set.
        now: The rest.
    """
    assert wish.delay_s is not None
    status = wish.status if wish.status is not None else (429 if wish.retry_after is not None else None)
    delay_s = wish.delay_s / now.speed
    if status is not None:
        return _failing(asked, wish, status, delay_s, now)
    making = making_of(asked, wish, now)
    if wish.fault is Fault.REFUSED_INPUT:
        reply = _refusal(making, wish, now)
        wait_s = _quick(CENSOR_S, delay_s, now)
        return Plan(reply=reply, wait_s=wait_s, outcome=Outcome.REFUSED, micros=0, fault=None)
    reply, outcome, micros = _content(making, wish, now)
    if wish.fault is Fault.REFUSE_CONNECT:
        return Plan(reply=reply, wait_s=0.0, outcome=Outcome.FAILED, micros=0, fault=wish.fault)
    deadline_s = _deadline_s(asked, delay_s, now)
    return Plan(
        reply=reply,
        wait_s=delay_s,
        outcome=outcome,
        micros=micros,
        fault=wish.fault,
        deadline_s=deadline_s,
        too_late=gemini.error(504) if deadline_s is not None else None,
        too_late_event=gemini.error_event(504) if deadline_s is not None else None,
        linked=_linked(making, wish) if outcome is Outcome.MADE and reply.pictures else None,
    )


def _linked(making: Making, wish: Wish) -> Callable[[Mapping[int, str]], Reply] | None:
    """Give what writes an answer that names its pictures by links; None: it holds them."""
    asked = making.asked
    if asked.surface is not Surface.OPENAI or asked.is_queued or asked.vendor is not None:
        return None
    if asked.is_chat:
        return (lambda urls: chat.linked(making, urls)) if wish.shape == "link" else None
    wants = wish.shape == "link" or (asked.wants_links and wish.shape is None)
    return (lambda urls: openai.linked(making, urls)) if wants else None


def _failing(asked: Asked, wish: Wish, status: int, delay_s: float, now: Circumstances) -> Plan:
    is_quick = status in _BUSY or status < 500
    wait_s = _quick(QUICK_S, delay_s, now) if is_quick else delay_s
    goes_on = status in GAVE_UP
    reply = _error(asked, status, retry_after=wish.retry_after)
    if asked.is_vertex and status == 429 and wish.retry_after is None:
        # Capacity that all share: nobody's quota, and no hint.
        reply = gemini.exhausted()
    return Plan(
        reply=reply,
        wait_s=wait_s,
        outcome=Outcome.MADE if goes_on else Outcome.FAILED,
        micros=times(now.price_micros, asked.n) if goes_on else 0,
        fault=wish.fault,
        is_turned_away=asked.is_queued and status not in AT_THE_END,
    )


def _error(asked: Asked, status: int, *, retry_after: str | None = None, http_status: int | None = None) -> Reply:
    if asked.vendor is Vendor.ARK:
        return ark.error(status, retry_after=retry_after, http_status=http_status)
    if asked.vendor is Vendor.REPLICATE:
        return replicate.error(status, retry_after=retry_after, http_status=http_status)
    if asked.is_queued:
        return fal.error(status, retry_after=retry_after, http_status=http_status)
    if asked.surface is Surface.GEMINI:
        return gemini.error(status, retry_after=retry_after, http_status=http_status)
    return openai.error(status, retry_after=retry_after, http_status=http_status)


def _quick(usual_s: float, delay_s: float, now: Circumstances) -> float:
    """Seconds until something that is decided early: never later than the picture would have come."""
    return 0.0 if now.is_instant and delay_s == 0.0 else min(usual_s / now.speed, delay_s)


def _deadline_s(asked: Asked, delay_s: float, now: Circumstances) -> float | None:
    if asked.surface is not Surface.GEMINI:
        return None
    allowed_s = now.server_timeout_s if now.server_timeout_s is not None else FRONT_END_S / now.speed
    return allowed_s if allowed_s < delay_s else None


def making_of(asked: Asked, wish: Wish, now: Circumstances) -> Making:
    """Say what is drawn for a request: drafts first, then what was asked for."""
    geometry = other_geometry(asked.geometry) if wish.fault is Fault.OTHER_SIZE else asked.geometry
    format_ = wish.format or asked.format
    # A queue names what was asked for, and nothing else.
    drafts = 0 if asked.is_queued else wish.drafts or 0
    draft = Geometry(
        tier=Tier.K1,
        aspect_ratio=geometry.aspect_ratio,
        width_px=max(16, geometry.width_px >> (geometry.width_px * geometry.height_px > 2_000_000)),
        height_px=max(16, geometry.height_px >> (geometry.width_px * geometry.height_px > 2_000_000)),
    )
    shapes = [draft] * drafts + [geometry] * (asked.n if asked.surface is Surface.OPENAI else 1)
    drawn = tuple(
        Drawn(
            width_px=shape.width_px,
            height_px=shape.height_px,
            format=format_,
            serial=serial_of(now.seed, now.number, index),
        )
        for index, shape in enumerate(shapes)
    )
    other = {"png": "jpeg", "jpeg": "png"}[format_]
    return Making(
        asked=asked,
        drawn=drawn,
        drafts=drafts,
        created=now.created,
        micros=now.price_micros,
        declared_format=other if wish.fault is Fault.MISLABELLED else format_,
    )


def serial_of(seed: int, number: int, index: int) -> str:
    """Spell what makes a picture unique: 39 characters and one that tells it from its previews."""
    return f"{seed & (1 << 64) - 1:016x}-{number:016d}-{index:05d}."


def _content(making: Making, wish: Wish, now: Circumstances) -> tuple[Reply, Outcome, int]:
    """Give the answer that is due after the whole wait, how the generation ended, and its price."""
    asked = making.asked
    is_gemini = asked.surface is Surface.GEMINI
    micros = times(now.price_micros, len(making.drawn) - making.drafts) + times(now.draft_micros, making.drafts)
    response_id = f"sim-{now.seed}-{now.number}"
    if asked.is_queued and wish.fault in _ASKED_AGAIN:
        return _answer(making, wish, now, response_id), Outcome.MADE, micros
    match wish.fault:
        case Fault.REFUSED_OUTPUT:
            is_free = is_gemini or asked.vendor is not None
            return _refusal(making, wish, now), Outcome.REFUSED, 0 if is_free else micros
        case Fault.NO_IMAGE | Fault.TEXT_ONLY:
            text = TEXT if wish.fault is Fault.TEXT_ONLY else None
            if asked.vendor is not None:
                reply = ark.without_picture(making) if asked.vendor is Vendor.ARK else replicate.without_picture()
            elif asked.is_queued:
                reply = fal.without_picture(text=text)
            elif is_gemini:
                reply = gemini.without_picture(making, text=text, reason=wish.reason, response_id=response_id)
            elif asked.is_chat:
                reply = chat.without_picture(making, text=text)
            else:
                reply = openai.without_picture(making, text=text)
            return reply, Outcome.EMPTY, 0
        case Fault.ERROR_IN_200:
            if asked.vendor is Vendor.REPLICATE:
                return replicate.failed("Something went wrong (E1000)"), Outcome.FAILED, 0
            dialect = gemini if is_gemini else chat if asked.is_chat else openai
            is_streamed = asked.stream and not asked.is_queued
            told = dialect.broken_stream(500) if is_streamed else _error(asked, 500, http_status=200)
            return told, Outcome.FAILED, 0
        case Fault.HTML:
            return html(200), Outcome.MADE, micros
        case Fault.EMPTY:
            return plain(200, "application/json", b""), Outcome.MADE, micros
        case Fault.REDIRECT:
            moved = plain(302, "text/plain", b"moved\n", headers=(("location", MOVED_TO),))
            return moved, Outcome.MADE, micros
        case _:
            pass
    return _answer(making, wish, now, response_id), Outcome.MADE, micros


def _answer(making: Making, wish: Wish, now: Circumstances, response_id: str) -> Reply:
    asked = making.asked
    if asked.vendor is not None:
        return ark.answer(making) if asked.vendor is Vendor.ARK else replicate.answer(making)
    if asked.surface is Surface.GEMINI:
        return gemini.answer(making, response_id=response_id, surplus_tokens=now.surplus_tokens)
    if asked.is_chat:
        return chat.answer(making, shape=wish.shape)
    if wish.shape == "data_url" and not asked.is_queued:
        return openai.inlined(making)
    return fal.answer(making) if asked.is_queued else openai.answer(making)


def _refusal(making: Making, wish: Wish, now: Circumstances) -> Reply:
    stage = "input" if wish.fault is Fault.REFUSED_INPUT else "output"
    if making.asked.vendor is Vendor.ARK:
        return ark.refusal(making, stage=stage, reason=wish.reason)
    if making.asked.vendor is Vendor.REPLICATE:
        return replicate.refusal(reason=wish.reason)
    if making.asked.is_queued:
        return fal.refusal(stage=stage, reason=wish.reason)
    if making.asked.is_chat:
        return chat.refusal(making, stage=stage, reason=wish.reason)
    if making.asked.surface is Surface.OPENAI:
        stream = making.asked.stream and stage == "output"
        return openai.refusal(stage=stage, reason=wish.reason, stream=stream)
    refused = gemini.refused_input if stage == "input" else gemini.refused_output
    return refused(making, reason=wish.reason, response_id=f"sim-{now.seed}-{now.number}")
