"""Who is next among API keys that wait for the same upstream: start-time fair queueing. Pure.

Each API key is a *flow*. Its calls keep their order; between flows, the next call is of the one that was given least so
far, where a call counts by its weight. In detail: the first call of a flow in line carries a *start tag*, the call with
the lowest tag goes, and the tag of its flow grows by its weight. Virtual time is the tag of the call that went last. A
flow that begins to wait starts at virtual time: who asked for nothing until now has saved nothing up, and takes its
share of places from now on, however many calls others have waiting.

While two flows wait together, what they are given differs by one call of each at most, and by one call from when they
began together. Nobody starves: whoever is ahead of a call is ahead by a tag, and tags only grow.

Source: Goyal, Vin, Cheng, "Start-time Fair Queueing" (SIGCOMM 1996); tags are kept for the first call of each flow
instead of every call, which comes to the same and lets a call leave from the middle without having been charged.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from heapq import heappop, heappush
from itertools import accumulate
from types import MappingProxyType

from holdfast.types import Tier

WEIGHTS: Mapping[Tier, int] = MappingProxyType({Tier.K1: 3, Tier.K2: 4, Tier.K4: 8})
"""What one image counts. A place is taken as long as the image takes: the published medians of 45, 65 and 120 s
(`policy.latency.PUBLISHED`) in units of 15 s. Whole numbers, so that sums of them are exact."""

AGAIN = -1
"""The tag of whoever had a place before and comes again: it was its turn then, so it is still."""


def weight_of(tier: Tier, images: int) -> int:
    """Say how much a call for so many images counts: the upstream is at work for each."""
    assert images >= 1
    return WEIGHTS[tier] * images


class _Flow:
    """What one API key has waiting."""

    __slots__ = ("again", "name", "new", "shown", "start", "tags", "weights")

    def __init__(self, name: str, start: int) -> None:
        self.name = name
        self.start = start
        """Tag of the first of the new."""
        self.again: list[int] = []
        """Numbers of those that had a place before, sorted: they go first, and have been counted."""
        self.new: list[int] = []
        self.weights: list[int] = []
        """Of the new, in their order."""
        self.tags: list[int] | None = None
        """Of the new, in their order; None until somebody asks."""
        self.shown: tuple[int, int, str] | None = None
        """As it stands among the flows; None: it does not."""

    def __len__(self) -> int:
        return len(self.again) + len(self.new)

    @property
    def head(self) -> tuple[int, int, str]:
        """Tag and number of whoever is first, and the flow's name."""
        return (AGAIN, self.again[0], self.name) if self.again else (self.start, self.new[0], self.name)

    def all_tags(self) -> list[int]:
        """Give the tags of the new."""
        if self.tags is None:
            self.tags = list(accumulate(self.weights, initial=self.start))[:-1]
        return self.tags

    def add(self, number: int, weight: int) -> None:
        """Let a new one wait where its number says; nearly always that is at the end."""
        if not self.new or number > self.new[-1]:
            if self.tags is not None:
                self.tags.append(self.tags[-1] + self.weights[-1] if self.tags else self.start)
            self.new.append(number)
            self.weights.append(weight)
            return
        at = bisect_left(self.new, number)
        self.new.insert(at, number)
        self.weights.insert(at, weight)
        self.tags = None

    def remove(self, number: int) -> None:
        """Let one wait no longer: those behind it move up."""
        at = bisect_left(self.again, number)
        if at < len(self.again) and self.again[at] == number:
            del self.again[at]
            return
        at = bisect_left(self.new, number)
        del self.new[at], self.weights[at]
        self.tags = None

    def pop(self) -> bool:
        """Take the first one out; True: it was counted just now."""
        if self.again:
            del self.again[0]
            return False
        self.start += self.weights[0]
        del self.new[0], self.weights[0]
        if self.tags is not None:
            del self.tags[0]
        return True

    def start_at(self, start: int) -> None:
        """Move the first of the new to a tag."""
        if start != self.start:
            self.start = start
            self.tags = None

    def place_of(self, number: int) -> tuple[int, int]:
        """Give a number's tag, and how many of the same flow are before it."""
        at = bisect_left(self.again, number)
        if at < len(self.again) and self.again[at] == number:
            return AGAIN, at
        at = bisect_left(self.new, number)
        return self.all_tags()[at], len(self.again) + at

    def before(self, tag: int, number: int) -> int:
        """Count those that go before another flow's call."""
        if tag == AGAIN:
            return bisect_left(self.again, number)
        if tag < self.start:
            return len(self.again)
        tags = self.all_tags()
        at = bisect_left(tags, tag)
        if at < len(tags) and tags[at] == tag and self.new[at] < number:
            at += 1
        return len(self.again) + at


class FairOrder:
    """All that wait at one upstream, by number, in the order in which they go.

    To enter, to leave and to be next take a few binary searches, and move 40 KB at most of 5,000; a position costs a
    binary search for each flow that is ahead. The figures are in `docs/discussions/overload.md`.
    """

    __slots__ = ("_barred", "_flow_of", "_flows", "_order", "_owing", "_owing_until", "_time")

    def __init__(self) -> None:
        """Begin with nobody."""
        self._flows: dict[str, _Flow] = {}
        self._flow_of: dict[int, _Flow] = {}
        self._order: list[tuple[int, int, str]] = []
        """The heads of the flows that are not barred, sorted."""
        self._barred: set[str] = set()
        self._time = 0
        self._owing: dict[str, int] = {}
        """Start tags of flows that wait for nothing now, as far as they are ahead of virtual time."""
        self._owing_until: list[tuple[int, str]] = []
        """The same as a heap; what is not in `_owing` too has been superseded."""

    def __repr__(self) -> str:
        barred = sum(flow.shown is None for flow in self._flows.values())
        return f"<FairOrder {len(self)} of {len(self._flows)} flows, {barred} barred>"

    def __len__(self) -> int:
        return len(self._flow_of)

    def __contains__(self, number: int) -> bool:
        return number in self._flow_of

    def enter(self, number: int, *, flow: str, weight: int, again: bool = False) -> None:
        """Let a call wait.

        Args:
            number: Its own; of one flow the lower goes first.
            flow: Whose it is.
            weight: How much it counts, from 1.
            again: It had a place before: it stands where it stood, before all that had none, and is not counted twice.
        """
        assert number not in self._flow_of
        assert weight >= 1
        its = self._flows.get(flow)
        if its is None:
            its = self._flows[flow] = _Flow(flow, max(self._time, self._owing.pop(flow, 0)))
        self._flow_of[number] = its
        if again:
            insort(its.again, number)
        else:
            its.add(number, weight)
        self._show(its)

    def leave(self, number: int) -> bool:
        """Let a call wait no longer; False: it did not."""
        flow = self._flow_of.pop(number, None)
        if flow is None:
            return False
        flow.remove(number)
        self._show(flow)
        return True

    def pop(self) -> int | None:
        """Name the next one, who waits no longer; None: nobody who may go waits."""
        if not self._order:
            return None
        tag, number, name = self._order[0]
        flow = self._flows[name]
        if flow.pop():
            self._time = tag
        del self._flow_of[number]
        self._show(flow)
        return number

    def bar(self, flow: str) -> None:
        """Let a flow wait however its turn comes, until it is let in again."""
        self._barred.add(flow)
        if flow in self._flows:
            self._show(self._flows[flow])

    def let_in(self, flow: str) -> None:
        """Let a barred flow take its turns again; it has saved nothing up meanwhile."""
        self._barred.discard(flow)
        its = self._flows.get(flow)
        if its is not None:
            its.start_at(max(self._time, its.start))
            self._show(its)

    def position_of(self, number: int) -> int | None:
        """Count from 1 how many go before a call if nothing else comes; None: it does not wait.

        Flows that are barred are not counted for others; a call of a barred flow is told as if it were let in.
        """
        own = self._flow_of.get(number)
        if own is None:
            return None
        tag, ahead = own.place_of(number)
        for _, _, name in self._order[: bisect_left(self._order, (tag, number))]:
            if name != own.name:
                flow = self._flows[name]
                ahead += 1 if len(flow) == 1 else flow.before(tag, number)
        return ahead + 1

    def place_in_flow(self, number: int) -> int:
        """Count from 0 how many of the same flow go before a call that waits."""
        return self._flow_of[number].place_of(number)[1]

    def _show(self, flow: _Flow) -> None:
        """Let a flow stand where its first call belongs."""
        head = flow.head if flow and flow.name not in self._barred else None
        if head != flow.shown:
            if flow.shown is not None:
                del self._order[bisect_left(self._order, flow.shown)]
            if head is not None:
                insort(self._order, head)
            flow.shown = head
        if not flow:
            self._forget(flow)

    def _forget(self, flow: _Flow) -> None:
        """Keep of a flow that waits for nothing what it is ahead, as long as it is."""
        del self._flows[flow.name]
        if not self._flows:
            # Nobody waits: whoever comes next takes nothing from anybody.
            self._time = 0
            self._owing.clear()
            self._owing_until.clear()
            return
        if flow.start > self._time:
            self._owing[flow.name] = flow.start
            heappush(self._owing_until, (flow.start, flow.name))
        while self._owing_until and self._owing_until[0][0] <= self._time:
            until, name = heappop(self._owing_until)
            if self._owing.get(name) == until:
                del self._owing[name]
