"""Ten paths drawn from a seed: which hops, in which order, which of them is guilty, and after how long it cuts.

Pure. The doctor is told nothing of it; what it has to say of each is written here, from what was drawn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from hops import Hop

PROXIES = ("nginx", "haproxy", "apache", "caddy", "varnish", "squid")
LINES = ("closer", "resetter", "forgetter")
PATIENT_S = 300.0
WHOLE_SECONDS = ("apache", "squid")
"""Take no fractions of a second."""
COARSE = ("squid",)
COARSE_S = 10.0
"""Its timers are looked at once a second: of a limit below this, that is more than the 10 % that is asserted."""
NO_OWN_STATUS = ("apache", "varnish")
"""Say the same (502, 503) when they give up and when the connection behind them is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A path, and the truth of it."""

    hops: tuple[Hop, ...]
    """From the caller to the gateway."""
    guilty: int
    name: str
    """What the doctor has to call the guilty hop."""
    place: str

    @property
    def limit_s(self) -> float:
        """The true limit."""
        return self.hops[self.guilty].limit_s

    @property
    def title(self) -> str:
        """`nginx > (haproxy)`: the guilty one in brackets."""
        return " > ".join(f"({hop.kind})" if at == self.guilty else hop.kind for at, hop in enumerate(self.hops))


def draw(seed: int, count: int, *, low_s: float, high_s: float) -> list[Drawn]:
    """Draw paths: each kind of hop is guilty at least once where `count` allows."""
    chance = random.Random(seed)
    exact = [kind for kind in PROXIES if kind not in COARSE or low_s >= COARSE_S]
    kinds = [*exact, *LINES]
    chance.shuffle(kinds)
    while len(kinds) < count:
        kinds.append(chance.choice([*exact, *LINES]))
    return [_draw(chance, kind, round(chance.uniform(low_s, high_s), 2)) for kind in kinds[:count]]


def _draw(chance: random.Random, guilty: str, limit_s: float) -> Drawn:
    own = Hop(kind=guilty, limit_s=float(round(limit_s)) if guilty in WHOLE_SECONDS else limit_s)
    others = [kind for kind in PROXIES if kind != guilty]
    if guilty in LINES:
        return _with_line(chance, own, others)
    beside = chance.sample(others, chance.choice((0, 1, 1)))
    hops = [Hop(kind=kind, limit_s=PATIENT_S) for kind in beside]
    at = chance.randrange(len(hops) + 1)
    hops.insert(at, own)
    return Drawn(hops=tuple(hops), guilty=at, name=guilty, place="proxy")


def _with_line(chance: random.Random, own: Hop, others: list[str]) -> Drawn:
    name = "forgetter" if own.kind == "forgetter" else "closer"
    # A forgetter behind a proxy is not drawn: one that is a program acknowledges what it forgets, and the gateway hears
    # that its answer was taken. What a NAT drops is acknowledged by nobody.
    where = chance.choice(("path", "front") if name == "forgetter" else ("path", "front", "behind"))
    if where == "path":
        return Drawn(hops=(own,), guilty=0, name=name, place=where)
    if where == "behind" and name == "closer":
        others = [kind for kind in others if kind not in NO_OWN_STATUS]
    beside = Hop(kind=chance.choice(others), limit_s=PATIENT_S)
    hops = (own, beside) if where == "front" else (beside, own)
    return Drawn(hops=hops, guilty=hops.index(own), name=name, place=where)
