"""What will happen to one request that works in the background, decided when it has been read.

Pure: no I/O, clock or randomness. The plan's reply is the object as it ends; a request that is turned away gets it at
once.
"""

from __future__ import annotations

from typing import Protocol

from holdfast.config import UpstreamApi
from holdfast.money import times
from holdfast.simulator import interactions, responses
from holdfast.simulator.asked import Asked
from holdfast.simulator.charges import Outcome
from holdfast.simulator.faults import Fault, Wish
from holdfast.simulator.plan import AT_THE_END, CENSOR_S, GAVE_UP, QUICK_S, TEXT, Circumstances, Plan, making_of
from holdfast.simulator.replies import Making, Reply


class Dialect(Protocol):
    """How an API spells what becomes of a request."""

    def handle_of(self, seed: int, number: int) -> str:
        """Name a request."""

    def standing(self, handle: str, status: str, making: Making) -> Reply:
        """Write one that has not ended, or was cancelled."""

    def answer(self, making: Making, handle: str) -> Reply:
        """Write one that has drawn."""

    def without_picture(self, making: Making, handle: str, *, text: str | None, reason: str | None) -> Reply:
        """Write one that holds no picture."""

    def refusal(self, making: Making, handle: str, *, stage: str, reason: str | None) -> Reply:
        """Write one that was refused."""

    def failed(self, making: Making, handle: str, status: int) -> Reply:
        """Write one that came to nothing."""

    def error(self, status: int, *, retry_after: str | None = None) -> Reply:
        """Write an error answer."""


def dialect_of(api: UpstreamApi) -> Dialect:
    """Give the words of an API."""
    return responses if api is UpstreamApi.RESPONSES else interactions


def background_plan_of(asked: Asked, wish: Wish, now: Circumstances) -> Plan:
    """Decide what happens to a request.

    Args:
        asked: The request.
        wish: What script, prompt and scenario together want; its delay is set.
        now: The rest.
    """
    assert wish.delay_s is not None
    dialect, handle = dialect_of(asked.api), dialect_of(asked.api).handle_of(now.seed, now.number)
    delay_s, making = wish.delay_s / now.speed, making_of(asked, wish, now)
    status = wish.status if wish.status is not None else (429 if wish.retry_after is not None else None)
    if wish.fault is Fault.ERROR_IN_200:
        status = 500
    if status is not None and status not in AT_THE_END:
        reply = dialect.error(status, retry_after=wish.retry_after)
        wait_s = _quick(QUICK_S, delay_s, now)
        return Plan(reply=reply, wait_s=wait_s, outcome=Outcome.FAILED, micros=0, fault=wish.fault, is_turned_away=True)
    if status is not None:
        goes_on = status in GAVE_UP
        return Plan(
            reply=dialect.failed(making, handle, status),
            wait_s=delay_s,
            outcome=Outcome.MADE if goes_on else Outcome.FAILED,
            micros=now.price_micros if goes_on else 0,
            fault=wish.fault,
        )
    if wish.fault is Fault.REFUSED_INPUT:
        reply = dialect.refusal(making, handle, stage="input", reason=wish.reason)
        wait_s = _quick(CENSOR_S, delay_s, now)
        return Plan(reply=reply, wait_s=wait_s, outcome=Outcome.REFUSED, micros=0, fault=None)
    reply, outcome, micros = _content(dialect, making, handle, wish, now)
    if wish.fault is Fault.REFUSE_CONNECT:
        return Plan(reply=reply, wait_s=0.0, outcome=Outcome.FAILED, micros=0, fault=wish.fault)
    return Plan(reply=reply, wait_s=delay_s, outcome=outcome, micros=micros, fault=wish.fault)


def _content(
    dialect: Dialect, making: Making, handle: str, wish: Wish, now: Circumstances
) -> tuple[Reply, Outcome, int]:
    micros = times(now.price_micros, len(making.drawn) - making.drafts) + times(now.draft_micros, making.drafts)
    match wish.fault:
        case Fault.REFUSED_OUTPUT:
            # OpenAI is taken to charge for it, Google says that it does not: as on their other doors.
            charged = micros if making.asked.api is UpstreamApi.RESPONSES else 0
            reply = dialect.refusal(making, handle, stage="output", reason=wish.reason)
            return reply, Outcome.REFUSED, charged
        case Fault.NO_IMAGE | Fault.TEXT_ONLY:
            text = TEXT if wish.fault is Fault.TEXT_ONLY else None
            reply = dialect.without_picture(making, handle, text=text, reason=wish.reason)
            return reply, Outcome.EMPTY, 0
        case _:
            return dialect.answer(making, handle), Outcome.MADE, micros


def _quick(usual_s: float, delay_s: float, now: Circumstances) -> float:
    """Seconds until something that is decided early: never later than the picture would have come."""
    return 0.0 if now.is_instant and delay_s == 0.0 else min(usual_s / now.speed, delay_s)
