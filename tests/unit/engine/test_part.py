"""What one part remembers: where it stands, what has failed, and what it passes over."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.config import Provider, Upstream
from holdfast.engine.core import Earlier, Live, Tried
from holdfast.engine.course import Candidate, Course, Target
from holdfast.engine.part import Part
from holdfast.policy.routing import NEVER, Entry
from holdfast.types import Charge, Failure, FailureKind, Phase, Tier

GONE = Failure(kind=FailureKind.UNREACHABLE, phase=Phase.CONNECT, charge=Charge.NO, detail="")
EMPTY = Failure(kind=FailureKind.NO_IMAGE, phase=Phase.RECEIVE, charge=Charge.UNKNOWN, detail="")


class Place:
    """A ticket that notes when it is given up."""

    def __init__(self) -> None:
        self.has_left = False

    def leave(self) -> None:
        """Give up."""
        self.has_left = True


def a_course(*names: str, barred: dict[int, str] | None = None) -> Course:
    """Entries by name."""
    targets = [
        Target(
            upstream=Upstream(name=name, provider=Provider.GEMINI, base_url="https://u.example"),
            model=f"m-{name}",
            keys=("k",),
            route="pro",
        )
        for name in names
    ]
    return Course(
        candidates=tuple(Candidate(target=target, tier=Tier.K1) for target in targets),
        entries=tuple(Entry(upstream=name) for name in names),
        barred=barred or {},
    )


@pytest.fixture
def part() -> Part:
    """The second of three, at the first of two entries."""
    ticket: Any = Place()
    live = Live(
        id="gen_1",
        key_id="key_1",
        request=None,
        model="pro",
        tier=Tier.K1,
        n=3,
        drive=0,
        parts=3,
        course=a_course("a", "b"),
        images_per_call=1,
        list_micros=1,
        accepted_at=0.0,
        deadline_at=300.0,
        hard_deadline=False,
    )
    live.tickets += [Place(), ticket]  # type: ignore[list-item]
    return Part(live=live, number=1, ticket=ticket, at=0)


def test_what_failed_here_is_told_from_what_failed_elsewhere(part: Part) -> None:
    """Each upstream is given its own attempts."""
    part.note(GONE)
    part.note(EMPTY)
    part.at = 1
    part.note(EMPTY)
    assert part.failures == (GONE, EMPTY, EMPTY)
    assert part.failures_here == (EMPTY,)
    assert part.no_images == 1
    assert [(each.upstream, each.model) for each in part.tried] == [("a", "m-a"), ("a", "m-a"), ("b", "m-b")]


def test_what_it_passes_over_lasts_as_long_as_the_longest_word(part: Part) -> None:
    """For good stays for good."""
    assert not part.passes_over()
    part.avoid(0, 20.0)
    part.avoid(0, 10.0)
    part.avoid(1, NEVER)
    part.avoid(1, 30.0)
    assert part.passes_over() == {0: 20.0, 1: NEVER}


def test_what_cannot_serve_it_is_passed_over_too(part: Part) -> None:
    """Whatever has failed besides."""
    part.live.course = a_course("a", "b", barred={1: "no price"})
    part.avoid(0, 20.0)
    assert part.passes_over() == {0: 20.0, 1: NEVER}
    assert part.live.course.skipped() == [{"upstream": "b", "model": "m-b", "size": "1K", "reason": "no price"}]


def test_it_stands_elsewhere_with_another_ticket(part: Part) -> None:
    """The old place is given up, and the generation knows of the new one only."""
    old, new = part.ticket, Place()
    part.move(new, 1)  # type: ignore[arg-type]
    assert old.has_left  # type: ignore[attr-defined]
    assert part.upstream == "b"
    assert part.live.tickets[1] is new
    part.leave()
    assert new.has_left
    assert len(part.live.tickets) == 1


@pytest.mark.parametrize(
    ("to", "goes_to"),
    [(("b", "m-b", Tier.K1), 1), (("b", "m-b", Tier.K4), None), (("z", "m", Tier.K1), None), (None, None)],
)
def test_it_goes_on_where_an_earlier_process_was_to(
    part: Part, to: tuple[str, str, Tier] | None, goes_to: int | None
) -> None:
    """Unless its route names that no more, or nobody wrote it down: then it is chosen anew."""
    tried = Tried(upstream="a", model="m-a", tier=Tier.K1, failure=GONE)
    part.take_up(Earlier(tried=(tried,), again_at=5.0, to=to))
    assert (part.goes_to, part.failures) == (goes_to, (GONE,))


def test_it_does_not_go_on_where_it_cannot_be_served_any_more(part: Part) -> None:
    """Settings and prices may have changed between two starts: what is barred has no price of its own."""
    part.live.course = a_course("a", "b", barred={1: "no price"})
    tried = Tried(upstream="a", model="m-a", tier=Tier.K1, failure=GONE)
    part.take_up(Earlier(tried=(tried,), again_at=5.0, to=("b", "m-b", Tier.K1)))
    assert part.goes_to is None
