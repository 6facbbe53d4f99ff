"""Playing a load under a policy, from the first order to the last answer."""

from __future__ import annotations

import gc
import random
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Protocol

from holdfast.config import Flavor, Provider, Settings
from holdfast.whatif.agenda import Agenda
from holdfast.whatif.book import Book, Figures, Order
from holdfast.whatif.client_loop import ClientLoop, Looping
from holdfast.whatif.gateway import Gateway
from holdfast.whatif.policies import GatewayPolicy, Policy, prices_of
from holdfast.whatif.scenario import Incident, Load
from holdfast.whatif.world import Served, World


class _Player(Protocol):
    def arrive(self, order: Order) -> None:
        """Take an order in."""


def orders(load: Load, *, count: int, seed: int) -> Iterator[Order]:
    """Draw who comes: the same for every policy.

    Args:
        load: Rate and sizes.
        count: How many.
        seed: Of the run.
    """
    chance = random.Random(f"orders/{seed}")
    tiers = list(load.sizes)
    thresholds = list(accumulate(load.sizes.values()))
    at = 0.0
    for number in range(count):
        at += chance.expovariate(load.per_s)
        tier = tiers[min(bisect_right(thresholds, chance.random()), len(tiers) - 1)]
        yield Order(number, tier, at)


def served_by(settings: Settings) -> list[Served]:
    """List a gateway's upstreams, in the order of the settings."""
    return [
        Served(
            name=each.name,
            keys=len(each.keys),
            is_gemini=each.provider is Provider.GEMINI,
            is_relay=each.flavor is Flavor.RELAY,
        )
        for each in settings.upstreams
    ]


def play(incident: Incident, policy: Policy, *, count: int, seed: int) -> Figures:
    """Play a load under a policy.

    Args:
        incident: How upstreams feel, and who comes.
        policy: What is done about it.
        count: Orders.
        seed: The same seed brings the same orders and the same luck, whatever the policy.

    Raises:
        ConfigError: A size that is asked for has no price.
    """
    assert count >= 1
    agenda = Agenda()
    book = Book(incident.load.patience_s)
    player = _player(incident, policy, agenda, book, seed=seed)
    with _collector_at_rest():
        for order in orders(incident.load, count=count, seed=seed):
            agenda.run(order.at)
            player.arrive(order)
        agenda.run()
    return book.figures(policy.name)


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    """Let nobody look for cycles among hundreds of thousands of appointments: there are none, and it takes a tenth."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _player(incident: Incident, policy: Policy, agenda: Agenda, book: Book, *, seed: int) -> _Player:
    if isinstance(policy, ClientLoop):
        world = World(incident, [Served(name=policy.upstream)])
        return Looping(policy, world, agenda, book, prices_of(policy, policy.model), seed=seed)
    assert isinstance(policy, GatewayPolicy)
    world = World(incident, served_by(policy.settings))
    return Gateway(policy, world, agenda, book, seed=seed, start_s=incident.scenario.start_s)
