"""What befalls the cluster and when: drawn from one seed. Pure; seconds are real ones, since the run began."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Kind(StrEnum):
    """What befalls."""

    KILL = "kill"
    """kill -9 of a replica; it is started again at once, as a supervisor does."""
    FREEZE = "freeze"
    """SIGSTOP past its lease, then SIGCONT."""
    PARTITION = "partition"
    """Between one replica and one of the others it talks to; what was sent meanwhile arrives afterwards, or never."""
    DATABASE_RESTART = "database restart"
    DATABASE_OUTAGE = "database outage"
    OBJECTS_OUTAGE = "objects outage"
    """The S3 server is killed, and started again after a while."""
    DEPLOY = "deploy"
    """Every replica is replaced, one after another, by the other release."""


class Way(StrEnum):
    """Which direction of a partition carries nothing, as the replica sees it."""

    OUT = "out"
    IN = "in"
    BOTH = "both"


PEERS = ("database", "objects", "upstream")
LEASE_S = 10.0
FREEZE_S = (LEASE_S + 2.0, 3 * LEASE_S)
PARTITION_S = (2.0, 3 * LEASE_S)
OBJECTS_S = (5.0, 45.0)
DECK: Mapping[Kind, int] = MappingProxyType(
    {
        Kind.KILL: 5,
        Kind.PARTITION: 6,
        Kind.FREEZE: 2,
        Kind.DATABASE_RESTART: 2,
        Kind.DATABASE_OUTAGE: 1,
        Kind.OBJECTS_OUTAGE: 1,
        Kind.DEPLOY: 1,
    }
)
"""How often each comes before all have come: drawn without putting back, so that no kind stays away by chance."""
SHORT_DECK: Mapping[Kind, int] = MappingProxyType({**DECK, Kind.KILL: 3, Kind.PARTITION: 3, Kind.FREEZE: 1})
"""For a run of a minute or so: every kind comes within it."""
CALM_SHARE = 0.1
"""At the end nothing begins any more, and what has begun ends within the run."""
DEPLOY_SHARE = 0.6
"""Behind it none begins: it takes as long as three drains."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that befalls."""

    at_s: float
    lasts_s: float
    """0: it is over at once; a deploy ends when it is done."""
    kind: Kind
    target: str = ""
    """The replica."""
    peer: str = ""
    way: Way | None = None
    is_violent: bool = False
    """A partition that ends with RST; a database that crashes instead of ending in order."""

    @property
    def until_s(self) -> float:
        """When it is over."""
        return self.at_s + self.lasts_s

    def __str__(self) -> str:
        parts = [self.kind.value, self.target, self.peer, self.way.value if self.way else ""]
        lasts = f"{self.lasts_s:.0f} s" if self.lasts_s else ""
        return " ".join(each for each in [*parts, lasts, "violent" if self.is_violent else ""] if each)


def schedule(
    seed: int, seconds: float, replicas: Iterable[str], *, every_s: float, outage_s: float, deck: Mapping[Kind, int]
) -> tuple[Fault, ...]:
    """Draw all of a run.

    Args:
        seed: Of everything here.
        seconds: How long the run is.
        replicas: Their names.
        every_s: Mean time from one to the next.
        outage_s: The longest time that the database is away; the first outage is as long, others are 2 s or more.
        deck: How often each kind comes in a round.
    """
    chance = random.Random(f"weather/{seed}")
    names = tuple(replicas)
    faults: list[Fault] = []
    left: list[Kind] = []
    busy_until_s: dict[str, float] = {}
    last_s = seconds * (1.0 - CALM_SHARE)
    at_s = every_s * chance.uniform(0.3, 0.8)
    while at_s < last_s:
        if not left:
            left = [kind for kind, count in deck.items() for _ in range(count)]
            chance.shuffle(left)
            if not faults and Kind.DEPLOY in left:
                # It takes longest: what comes first of all is over soonest.
                left.remove(Kind.DEPLOY)
                left.append(Kind.DEPLOY)
        if left[-1] is Kind.DEPLOY and at_s > seconds * DEPLOY_SHARE:
            left.pop()
            continue
        fault = _drawn(chance, left.pop(), at_s, last_s, names, outage_s, faults)
        # The same thing twice at once would be one.
        about = fault.target or fault.kind.value.partition(" ")[0]
        if busy_until_s.get(about, 0.0) <= at_s:
            faults.append(fault)
            busy_until_s[about] = fault.until_s
        else:
            left.insert(0, fault.kind)
        at_s += every_s * chance.uniform(0.4, 1.6)
    return tuple(faults)


def _drawn(
    chance: random.Random,
    kind: Kind,
    at_s: float,
    last_s: float,
    names: tuple[str, ...],
    outage_s: float,
    before: list[Fault],
) -> Fault:
    room_s = last_s - at_s + 2.0
    target = chance.choice(names)
    match kind:
        case Kind.KILL:
            return Fault(at_s=at_s, lasts_s=0.0, kind=kind, target=target)
        case Kind.FREEZE:
            return Fault(at_s=at_s, lasts_s=min(room_s, chance.uniform(*FREEZE_S)), kind=kind, target=target)
        case Kind.PARTITION:
            return Fault(
                at_s=at_s,
                lasts_s=min(room_s, chance.uniform(*PARTITION_S)),
                kind=kind,
                target=target,
                peer=chance.choice(PEERS),
                way=chance.choice(tuple(Way)),
                is_violent=chance.random() < 0.5,
            )
        case Kind.DATABASE_RESTART:
            return Fault(at_s=at_s, lasts_s=0.0, kind=kind, is_violent=chance.random() < 0.5)
        case Kind.DATABASE_OUTAGE:
            is_longest = not any(each.kind is Kind.DATABASE_OUTAGE for each in before)
            lasts_s = outage_s if is_longest else chance.uniform(min(2.0, outage_s), outage_s)
            return Fault(at_s=at_s, lasts_s=lasts_s, kind=kind, is_violent=chance.random() < 0.5)
        case Kind.OBJECTS_OUTAGE:
            return Fault(at_s=at_s, lasts_s=min(room_s, chance.uniform(*OBJECTS_S)), kind=kind)
        case Kind.DEPLOY:
            return Fault(at_s=at_s, lasts_s=0.0, kind=kind)
