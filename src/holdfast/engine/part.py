"""One part of a generation as it is driven: where it stands, what it has tried, and what it passes over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from holdfast.engine.core import Earlier, Live, Tried
from holdfast.engine.course import Candidate
from holdfast.engine.queue import Ticket
from holdfast.policy.routing import NEVER
from holdfast.store.records import Told
from holdfast.types import Failure, FailureKind

NOTHING: Mapping[int, float] = {}


@dataclass(slots=True, kw_only=True)
class Part:
    """What its task keeps; small, since thousands wait."""

    live: Live
    number: int
    ticket: Ticket
    """Its place at its upstream, or in line there."""
    at: int
    """Which entry of the course it is sent to next, or was sent to last."""
    tried: list[Tried] = field(default_factory=list)
    """What has failed, oldest first."""
    goes_to: int | None = None
    """The entry that was decided on after its last failure; None: it is chosen when it is asked for a place."""
    ends_as: Told | None = None
    """Why nothing more is to be had for it, where that is known before its deadline."""
    avoided: dict[int, float] | None = None
    """Entries that it passes over, by place: until which monotonic second."""
    queued_at: float = 0.0
    """Monotonic second since which it wants a place."""
    had_second: bool = False
    """Whether a second attempt was made beside a slow one: there is one for each part."""

    @property
    def candidate(self) -> Candidate:
        """The entry that it is sent to."""
        return self.live.course.candidates[self.at]

    @property
    def upstream(self) -> str:
        """Its name."""
        return self.live.course.entries[self.at].upstream

    @property
    def is_astray(self) -> bool:
        """Whether there is nothing to be had any more where it stands: the settings have changed."""
        return self.at in self.live.course.gone or self.ticket.is_void

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What has failed, wherever."""
        return tuple(each.failure for each in self.tried)

    @property
    def failures_here(self) -> tuple[Failure, ...]:
        """What has failed at this upstream."""
        return tuple(each.failure for each in self.tried if each.upstream == self.upstream)

    @property
    def no_images(self) -> int:
        """Answers of this upstream without an image."""
        return sum(failure.kind is FailureKind.NO_IMAGE for failure in self.failures_here)

    def passes_over(self) -> Mapping[int, float]:
        """Say which entries are not for this part: what cannot serve it, and what has failed for it."""
        barred = self.live.course.barred
        if not barred:
            return self.avoided or NOTHING
        return {**(self.avoided or {}), **dict.fromkeys(barred, NEVER)}

    def avoid(self, at: int, until: float) -> None:
        """Pass an entry over until then; `NEVER`: for good."""
        if self.avoided is None:
            self.avoided = {}
        self.avoided[at] = max(until, self.avoided.get(at, until))

    def note(self, failure: Failure, at: int | None = None) -> None:
        """Note that the attempt at an entry has failed; None: at its present one."""
        candidate = self.candidate if at is None else self.live.course.candidates[at]
        target, tier = candidate.target, candidate.tier
        self.tried.append(Tried(upstream=target.upstream.name, model=target.model, tier=tier, failure=failure))

    def take_up(self, earlier: Earlier) -> None:
        """Go on where an earlier process was to."""
        self.tried += earlier.tried
        self.had_second = earlier.had_second
        at = None if earlier.to is None else self.live.course.find(*earlier.to)
        if at is not None and at not in self.live.course.barred:
            self.goes_to = at

    def move(self, ticket: Ticket, at: int) -> None:
        """Stand elsewhere: another ticket, at another entry. The old one is given up."""
        self.ticket.leave()
        tickets = self.live.tickets
        tickets[tickets.index(self.ticket)] = ticket
        self.ticket, self.at = ticket, at

    def leave(self) -> None:
        """Give up the place; the part has ended."""
        self.ticket.leave()
        self.live.tickets.remove(self.ticket)
