"""The published practice: a client that asks the upstream itself, and repeats on a timer whatever fails.

It has a timeout for each call and a fixed list of pauses, and knows nothing of what a call may have cost: a call that
it gives up on is made and charged all the same, and bought again. It is simulated as it would run, not as a gateway
with other numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from holdfast.types import Charge, Failure, FailureKind, Phase, Tier
from holdfast.whatif.agenda import Agenda
from holdfast.whatif.book import Book, Order
from holdfast.whatif.chance import luck_of
from holdfast.whatif.world import World

CODES: Mapping[FailureKind, str] = {
    FailureKind.REFUSED_INPUT: "content_refused",
    FailureKind.REFUSED_OUTPUT: "content_refused",
    FailureKind.LOST_REPLY: "connection_lost",
    FailureKind.MALFORMED: "connection_lost",
}
"""What its author reads where no status says it."""
TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLoop:
    """Such a client."""

    name: str
    upstream: str
    model: str
    timeout_s: Mapping[Tier, float]
    """For one call."""
    pauses_s: tuple[float, ...]
    """Before each repeat; as many repeats as pauses."""
    stops_at: frozenset[FailureKind]
    """What it does not repeat."""

    def __post_init__(self) -> None:
        assert all(pause_s >= 0.0 for pause_s in self.pauses_s)
        assert all(timeout_s > 0.0 for timeout_s in self.timeout_s.values())


class Looping:
    """All callers, each in its own loop."""

    def __init__(
        self, policy: ClientLoop, world: World, agenda: Agenda, book: Book, prices: Mapping[Tier, int], *, seed: int
    ) -> None:
        """Begin.

        Args:
            policy: How each loops.
            world: Whom they ask; it has the one upstream of the policy, with one key.
            agenda: Virtual time.
            book: Where everything is counted.
            prices: List price of an image by size, micro-units.
            seed: Of the run.
        """
        self._policy = policy
        self._prices = prices
        self._world = world
        self._agenda = agenda
        self._book = book
        self._seed = seed
        self._timed_out = {
            tier: Failure(
                kind=FailureKind.LOST_REPLY,
                phase=Phase.WAIT,
                charge=Charge.UNKNOWN,
                detail=f"no answer within {timeout_s:g} s",
                reason=TIMED_OUT,
            )
            for tier, timeout_s in policy.timeout_s.items()
        }

    def arrive(self, order: Order) -> None:
        """Ask for the first time."""
        self._call(order, 0)

    def _call(self, order: Order, tries: int) -> None:
        now = self._agenda.now
        fate = self._world.call(0, 0, order.tier, luck_of(self._seed, order.number, tries), now)
        self._book.sent(self._prices[order.tier], is_charged=fate.is_charged)
        timeout_s = self._policy.timeout_s[order.tier]
        if fate.after_s > timeout_s:
            self._agenda.at(now + timeout_s, self._failed, order, tries, self._timed_out[order.tier])
        elif fate.failure is None:
            self._agenda.at(now + fate.after_s, self._delivered, order)
        else:
            self._agenda.at(now + fate.after_s, self._failed, order, tries, fate.failure)

    def _delivered(self, order: Order) -> None:
        self._book.delivered(order, self._prices[order.tier], self._agenda.now)

    def _failed(self, order: Order, tries: int, failure: Failure) -> None:
        policy, now = self._policy, self._agenda.now
        self._book.failed(failure, self._prices[order.tier])
        if failure.kind in policy.stops_at or tries >= len(policy.pauses_s):
            self._book.told(order, code_of(failure), now)
        else:
            self._agenda.at(now + policy.pauses_s[tries], self._call, order, tries + 1)


def code_of(failure: Failure) -> str:
    """Name what such a client has in its hands in the end: its own timeout, a status, or a connection that broke."""
    if failure.reason == TIMED_OUT:
        return TIMED_OUT
    known = CODES.get(failure.kind)
    return known if known is not None else f"status {failure.status}"
