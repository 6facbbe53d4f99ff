"""What became of a load: the callers' side, the upstream's books and the gateway's records, held against each other.

Pure: values in, values out. The upstream's books are the truth of what was made and charged; the callers' own hands are
the truth of what arrived. The gateway is believed nothing that these two do not confirm.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

SETTLED, UNKNOWN, PAID_FAILED = "settled", "unknown", "charged_failed"
"""States of attempts."""
OPEN_STATES = frozenset({"queued", "running"})


class End(StrEnum):
    """How it ended for a caller."""

    IMAGE = "image"
    """The picture is in its hands, byte for byte."""
    TOLD = "told"
    """It was told that there is none."""
    NOTHING = "nothing"
    """Its last try broke off: it knows nothing."""
    WRONG = "wrong"
    """It was told that all went well, and holds no picture, or one that is damaged: the worst of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one caller ended with."""

    number: int
    kind: str
    end: End
    tries: int
    took_s: float = 0.0
    sha256: str | None = None
    serial: str | None = None
    """Of the picture: the upstream makes none twice."""
    status: int | None = None
    code: str | None = None
    paid: str | None = None
    generation_id: str | None = None
    error: str | None = None
    """Of the last try that broke off."""

    def taking(self, took_s: float) -> Told:
        """Note how long it took."""
        return replace(self, took_s=took_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """A line of the upstream's books."""

    kind: str
    outcome: str
    micros: int
    generation_id: str | None
    """None where there is no gateway that names its calls."""

    @property
    def is_image(self) -> bool:
        """Whether a picture was made and charged."""
        return self.outcome == "made" and self.micros > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What the gateway's records say of one generation."""

    id: str
    number: int
    kind: str
    state: str
    code: str | None = None
    paid: str | None = None
    """Of its failure, as its callers are told."""
    attempts: tuple[str, ...] = ()
    """Their states."""
    images: tuple[str, ...] = ()
    """SHA-256 of every picture it keeps, whatever for."""
    is_collected: bool = False
    """Whether the gateway believes that somebody has them."""


@dataclass(slots=True)
class Tally:
    """The figures of one kind of caller, or of all."""

    asked: int = 0
    images: int = 0
    """Callers with their picture in hand."""
    told: int = 0
    """Callers who were told that there is none."""
    nothing: int = 0
    wrong: int = 0
    charges_images: int = 0
    """Pictures that the upstream made and charged."""
    charges_other: int = 0
    """Charged without a picture: refused after it was made."""
    micros: int = 0
    fetched: int = 0
    """Orders whose caller had given up, and whose picture was fetched from the gateway afterwards, by its list."""
    extra: int = 0
    """Further pictures of orders that have one already: bought twice, and kept."""
    images_missed: int = 0
    """Pictures that were charged and that nobody has, whoever is to blame."""
    # Of the gateway's records.
    accepted: int = 0
    succeeded: int = 0
    failed: int = 0
    unended: int = 0
    unknown: int = 0
    """Ended without an image, and nobody can know whether one was made."""
    unknown_images: int = 0
    """Of `images_missed`: made in a call whose connection or process died; the record says `unknown`."""
    broken: int = 0
    """Of `images_missed`: the upstream broke its answer off in the middle; on record as paid for, without an image."""
    lost: int = 0
    """Of `images_missed`: the gateway had them whole, or has no attempt on record that could have made them."""
    dishonest: int = 0
    """Failures whose `paid` is not what the upstream's books say."""
    collected: int = 0
    """Generations with an image that is in somebody's hands, their own caller's or who fetched it afterwards."""
    surplus: int = 0
    """Generations beyond the first for one order: a repeat that did not join."""

    def of_all(self) -> dict[str, Any]:
        """Give the figures, and what they come to."""
        had = self.images + self.fetched
        return {
            **asdict(self),
            "images_share": share(self.images, self.asked),
            "in_hand_share": share(had, self.asked),
            "charges_per_image": self.charges_images / had if had else None,
            "collected_share": share(self.collected, self.accepted),
            "collected_share_of_known": share(self.collected, self.accepted - self.failed),
        }


def share(part: int, whole: int) -> float | None:
    """Divide; None where there is nothing to divide."""
    return part / whole if whole else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The figures by kind of caller, and every case that must not be."""

    kinds: Mapping[str, Tally]
    total: Tally
    problems: tuple[str, ...]
    causes: Mapping[str, int] = field(default_factory=dict)
    """Why callers have no picture."""


def judge(
    told: Sequence[Told],
    charges: Sequence[Charge],
    generations: Sequence[Generation] = (),
    fetched: Mapping[str, frozenset[str]] | None = None,
) -> Verdict:
    """Hold all of it against each other.

    Args:
        told: One for each order.
        charges: The upstream's books.
        generations: The gateway's records; none where there is no gateway that keeps any.
        fetched: Generation to the SHA-256 of whole pictures that were fetched from it afterwards.
    """
    fetched = fetched or {}
    problems: list[str] = []
    tallies: dict[str, Tally] = {}

    def of(kind: str) -> Tally:
        return tallies.setdefault(kind, Tally())

    _count_callers(told, of, problems)
    for charge in charges:
        tally = of(charge.kind)
        tally.charges_images += charge.is_image
        tally.charges_other += charge.micros > 0 and not charge.is_image
        tally.micros += charge.micros
    if generations:
        _count_records(told, charges, generations, fetched, of, problems)
    for tally in tallies.values():
        tally.images_missed = max(0, tally.charges_images - tally.images - tally.fetched - tally.extra)
        tally.unknown_images = max(0, tally.images_missed - tally.lost - tally.broken) if generations else 0
    total = Tally()
    for tally in tallies.values():
        for name, value in asdict(tally).items():
            setattr(total, name, getattr(total, name) + value)
    causes = Counter(cause_of(each) for each in told if each.end is not End.IMAGE)
    return Verdict(kinds=tallies, total=total, problems=tuple(problems), causes=dict(causes.most_common()))


def cause_of(told: Told) -> str:
    """Say in a word why a caller has no picture."""
    if told.end is End.TOLD:
        paid = f", paid {told.paid}" if told.paid else ""
        return f"told {told.code or told.status}{paid}"
    return f"{told.end.value}: {told.error or told.status or '?'}"


def _count_callers(told: Iterable[Told], of: Callable[[str], Tally], problems: list[str]) -> None:
    holders: dict[str, int] = {}
    for each in told:
        tally = of(each.kind)
        tally.asked += 1
        match each.end:
            case End.IMAGE:
                tally.images += 1
                assert each.serial is not None
                other = holders.setdefault(each.serial, each.number)
                if other != each.number:
                    problems.append(f"orders {other} and {each.number} were given the same picture")
            case End.TOLD:
                tally.told += 1
            case End.NOTHING:
                tally.nothing += 1
            case End.WRONG:
                tally.wrong += 1
                problems.append(f"order {each.number} was told that all went well, without its picture: {each.error}")


def _count_records(
    told: Sequence[Told],
    charges: Sequence[Charge],
    generations: Sequence[Generation],
    fetched: Mapping[str, frozenset[str]],
    of: Callable[[str], Tally],
    problems: list[str],
) -> None:
    made, paid = Counter[str](), Counter[str]()
    for charge in charges:
        made[str(charge.generation_id)] += charge.is_image
        paid[str(charge.generation_id)] += charge.micros > 0
    held = {each.number: each.sha256 for each in told if each.end is End.IMAGE}
    answers = {each.generation_id: each for each in told if each.end is End.TOLD and each.generation_id}
    known_ids = {generation.id for generation in generations}
    for charge in charges:
        if charge.is_image and charge.generation_id not in known_ids:
            of(charge.kind).lost += 1
            problems.append(f"a picture was bought for {charge.generation_id}, of which there is no record")
    seen: set[int] = set()
    in_hand = set(held)
    for generation in generations:
        tally = of(generation.kind)
        tally.accepted += 1
        tally.surplus += generation.number in seen
        seen.add(generation.number)
        in_hands = fetched.get(generation.id, frozenset()) | {str(held.get(generation.number))}
        _count_end(generation, tally, in_hands, problems)
        for sha256 in in_hands & set(generation.images) - {held.get(generation.number)}:
            assert sha256
            tally.extra += generation.number in in_hand
            tally.fetched += generation.number not in in_hand
            in_hand.add(generation.number)
        _count_lost(
            generation, tally, made[generation.id], paid[generation.id] - made[generation.id], in_hands, problems
        )
        answer = answers.get(generation.id)
        for said in {generation.paid, answer.paid if answer is not None else None} - {None}:
            if (said == "no" and paid[generation.id]) or (said == "yes" and not paid[generation.id]):
                tally.dishonest += 1
                problems.append(f"{generation.id}: told paid={said}, charged {paid[generation.id]} times")
    images = {generation.number: set[str]() for generation in generations}
    for generation in generations:
        images[generation.number].update(generation.images)
    for number, sha256 in held.items():
        if sha256 not in images.get(number, ()):
            problems.append(f"order {number} holds a picture that its generations do not have")


def _count_end(generation: Generation, tally: Tally, in_hands: frozenset[str], problems: list[str]) -> None:
    if generation.state in OPEN_STATES:
        tally.unended += 1
        problems.append(f"{generation.id} has no end: {generation.state}")
    elif generation.state == "succeeded":
        tally.succeeded += 1
        tally.collected += bool(in_hands & set(generation.images))
        if not generation.images:
            problems.append(f"{generation.id} succeeded without an image")
    else:
        tally.failed += 1
        tally.unknown += generation.paid == UNKNOWN


def _count_lost(
    generation: Generation, tally: Tally, made: int, refused: int, in_hands: frozenset[str], problems: list[str]
) -> None:
    """Count pictures that were paid for and are gone, and by whose doing.

    Args:
        generation: What the records say.
        tally: Where it is counted.
        made: Pictures that were made and charged for it.
        refused: Charged for it without a picture.
        in_hands: Pictures that somebody has.
        problems: Where it is told.
    """
    attempts = Counter(generation.attempts)
    gone = [sha256 for sha256 in generation.images if sha256 not in in_hands]
    unaccounted = max(0, made + refused - attempts[SETTLED] - attempts[UNKNOWN] - attempts[PAID_FAILED])
    tally.lost += len(gone) + unaccounted
    # A refusal that is charged is on record as paid, too: whatever is left of such attempts broke off.
    tally.broken += min(max(0, attempts[PAID_FAILED] - refused), max(0, made - attempts[SETTLED]))
    if gone:
        problems.append(f"{generation.id}: {len(gone)} stored pictures cannot be fetched")
    if unaccounted:
        problems.append(f"{generation.id}: charged {made + refused} times, its attempts are {dict(attempts)}")
