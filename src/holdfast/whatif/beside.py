"""Several policies at the same time, each in a process of its own: they share nothing but the luck of the seed."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import get_context

from holdfast.errors import HoldfastError
from holdfast.whatif.book import Figures
from holdfast.whatif.files import load_policy, load_scenario
from holdfast.whatif.play import play
from holdfast.whatif.policies import Policy
from holdfast.whatif.scenario import Incident

COUNT_MIN = 20_000
"""Fewer orders are played sooner than a process is started."""


def play_all(
    incident: Incident, policies: Sequence[Policy], *, scenario: str, named: Sequence[str], count: int, seed: int
) -> list[Figures]:
    """Play a load under each policy; what comes out does not depend on how many processes did it.

    Args:
        incident: The load.
        policies: As they are told apart.
        scenario: Where `incident` was read from; a process of its own reads it again.
        named: Where each policy was read from.
        count: Orders.
        seed: Of the run.

    Raises:
        HoldfastError: A policy cannot be played: a size has no price.
    """
    processes = min(len(policies), os.cpu_count() or 1)
    if count < COUNT_MIN or processes == 1:
        return [play(incident, policy, count=count, seed=seed) for policy in policies]
    words = [(scenario, name, policy.name, count, seed) for name, policy in zip(named, policies, strict=True)]
    # A new interpreter each: a fork would take along whatever threads there are. Left early, all of them are ended.
    with get_context("spawn").Pool(processes, _leave_interrupts_to_the_parent) as pool:
        found = pool.starmap(_play_named, words, chunksize=1)
    # What could not be played there is told by playing it here.
    return [
        play(incident, policy, count=count, seed=seed) if figures is None else figures
        for policy, figures in zip(policies, found, strict=True)
    ]


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _play_named(scenario: str, named: str, name: str, count: int, seed: int) -> Figures | None:
    """Read and play; None: it cannot be, which the parent tells."""
    try:
        return play(load_scenario(scenario), replace(load_policy(named), name=name), count=count, seed=seed)
    except HoldfastError:
        return None
