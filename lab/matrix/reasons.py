"""Why a cell can be red, and what helps: rules over what was seen, first match wins. Pure.

A red cell that no rule explains makes the run fail: it is a bug, of the gateway or of the matrix.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cells import CLIENTS, Cell, Scenario, Told
from judging import Shown, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why, and which setting helps."""

    name: str
    why: str
    helps: str
    explains: Callable[[Cell, Shown, Verdict], bool]
    is_known_limit: bool = False
    """Whether even a success may be red for it."""


TOLD = {client.name: client.told for client in CLIENTS}


def _is_bought_again(cell: Cell, _: Shown, verdict: Verdict) -> bool:
    # An SDK that says in its repeat that it is one is joined whatever the hop.
    says_so = TOLD[cell.client] is Told.REPEAT
    return (
        cell.scenario is Scenario.REPEAT
        and verdict.wrong == ("charged again",)
        and not says_so
        and cell.front == "varnish"
    )


def _is_cut_without_us(cell: Cell, shown: Shown, _: Verdict) -> bool:
    return cell.is_direct and shown.exception is not None


def _is_an_upgrade(cell: Cell, shown: Shown, _: Verdict) -> bool:
    return cell.is_direct and cell.client == "java" and shown.status == 400


REASONS: tuple[Reason, ...] = (
    Reason(
        name="caller-seems-alive",
        why="The proxy goes on fetching for a client that has left, so that the first call looks alive: the same call "
        "made again, without saying so, is taken for another order.",
        helps="An `Idempotency-Key` from the program ([how](../how-to/ask-again.md)); in Varnish, `return (pipe)` for "
        "POST.",
        explains=_is_bought_again,
    ),
    Reason(
        name="idle-limit",
        why="Without holdfast nothing is sent while the image is made: the proxy's idle limit fires, or the client's.",
        helps="holdfast between them, or longer limits at every hop.",
        explains=_is_cut_without_us,
    ),
    Reason(
        name="upgrade-refused",
        why="Java's client asks for HTTP/2 by `Upgrade: h2c`. The upstream, simulated, refuses that; holdfast passes "
        "over it, and most proxies take it out.",
        helps="`HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1)`.",
        explains=_is_an_upgrade,
    ),
)


def reason_of(cell: Cell, shown: Shown, verdict: Verdict) -> Reason | None:
    """Find why a cell is red."""
    assert not verdict.is_green
    return next((reason for reason in REASONS if reason.explains(cell, shown, verdict)), None)
