"""Images that an answer names by a link: fetched, and fetched again, but never bought again.

Pure: no I/O, clock or randomness. The answer has been paid for by then. A link is tried for half a minute, since files
are often told of before they can be read; one that stays dead or has expired is a malformed answer, charged. The key
never goes along, and only addresses that stand on the public internet are asked, or beside an upstream that does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from holdfast.policy.addresses import AddressRules
from holdfast.providers.conversation import Done, Failed, Fetch, Step, Wait
from holdfast.providers.http import Head
from holdfast.types import Charge, Failure, FailureKind, Phase
from holdfast.wire.answers import Answer, AnswerImage, Reader, Role
from holdfast.wire.image_file import ImageFileReader

HEAD_S = 30.0
"""Until the head of a file's answer."""
FETCH_TRIES = 7
FETCH_S_FIRST = 0.5
FETCH_S_MAX = 15.0
"""Pauses double up to this: seven tries in half a minute, beside the time that each takes."""


@dataclass(slots=True, kw_only=True)
class LinkedImages:
    """The images of one answer, as far as they have been got."""

    upstream: str
    """The operator's name for it."""
    base_url: str
    image_bytes_max: int
    answer: Answer
    """What named them; they stand in it as results from here on."""
    urls: Sequence[str]
    wanted: int = 1
    """How many were asked for; more are kept, not delivered."""
    _links: dict[int, str] = field(default_factory=dict)
    _got: set[int] = field(default_factory=set)
    _dead: set[int] = field(default_factory=set)
    _tries: int = 0

    def __post_init__(self) -> None:
        assert self.urls, "an answer without links has nothing to fetch"
        first = len(self.answer.images)
        self._links = dict(enumerate(self.urls, first))
        images = tuple(AnswerImage(index=index, role=Role.RESULT) for index in self._links)
        self.answer = replace(self.answer, images=(*self.answer.images, *images), url_only=False)

    def __repr__(self) -> str:
        return f"<LinkedImages {len(self._got)} of {len(self._links)}, try {self._tries + 1}>"

    def start(self) -> Step:
        """Fetch the next one."""
        rules = AddressRules.beside(self.base_url)
        return Fetch(url=self._links[self._next], rules=rules, timeout_s=HEAD_S)

    def reader(self) -> Reader:
        """Give what reads its file."""
        return ImageFileReader(index=self._next, answer=self.answer, image_bytes_max=self.image_bytes_max)

    def received(self, head: Head) -> Step:
        """Judge the answer of whoever has the file; the body of a good one was read as an image."""
        if not head.is_success:
            return self.failed(f"its file was answered {head.status}")
        self._got.add(self._next)
        return self._go_on()

    def failed(self, why: str) -> Step:
        """Try again, unless that has been done for long enough: then it is done without, if there is another."""
        self._tries += 1
        if self._tries < FETCH_TRIES:
            pause_s = min(FETCH_S_MAX, FETCH_S_FIRST * 2 ** (self._tries - 1))
            return Wait(delay_s=pause_s, why=f"its image could not be fetched: {why}", is_made=True)
        self._dead.add(self._next)
        return self._go_on(why)

    @property
    def _next(self) -> int:
        return min(self._links.keys() - self._got - self._dead)

    def _go_on(self, why: str = "") -> Step:
        self._tries = 0
        if self._links.keys() - self._got - self._dead:
            return self.start()
        if self._got:
            inline = tuple(image.index for image in self.answer.images if image.index not in self._links)
            results = tuple(sorted(self._got))
            drafts = tuple(sorted((*inline, *results[self.wanted :])))
            return Done(results=results[: self.wanted], drafts=drafts, answer=self.answer)
        detail = f"{self.upstream} gave a link to an image that cannot be fetched ({why})"[:2000]
        return Failed(
            failure=Failure(
                kind=FailureKind.MALFORMED, phase=Phase.RECEIVE, charge=Charge.YES, detail=detail, status=200
            )
        )
