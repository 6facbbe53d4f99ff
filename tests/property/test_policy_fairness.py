"""Places are shared fairly, nobody starves, and positions are true, whatever comes and goes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from holdfast.policy.fairness import FairOrder

WEIGHTS = st.sampled_from([3, 4, 8, 24])
BACKLOGS = st.lists(st.lists(WEIGHTS, min_size=1, max_size=30), min_size=2, max_size=6)


def filled(backlogs: list[list[int]], order: FairOrder | None = None, first: int = 0) -> dict[int, tuple[str, int]]:
    """Let flows wait with these calls; give each call's flow and weight by its number."""
    order = FairOrder() if order is None else order
    calls: dict[int, tuple[str, int]] = {}
    for flow, weights in enumerate(backlogs):
        for weight in weights:
            number = first + len(calls)
            calls[number] = (f"key_{flow}", weight)
            order.enter(number, flow=f"key_{flow}", weight=weight)
    return calls


@given(BACKLOGS)
def test_flows_that_wait_together_are_given_the_same_but_for_one_call(backlogs: list[list[int]]) -> None:
    """At every moment from when they began until one has nothing waiting: by the weight of one call at most."""
    order = FairOrder()
    calls = filled(backlogs, order)
    given_to = {f"key_{flow}": 0 for flow in range(len(backlogs))}
    left = {f"key_{flow}": len(weights) for flow, weights in enumerate(backlogs)}
    while all(left.values()):
        number = order.pop()
        assert number is not None
        flow, weight = calls[number]
        given_to[flow] += weight
        left[flow] -= 1
        heaviest = max(weight for weights in backlogs for weight in weights)
        assert max(given_to.values()) - min(given_to.values()) <= heaviest


@given(BACKLOGS, st.integers(0, 60), st.lists(WEIGHTS, min_size=1, max_size=10))
def test_who_comes_later_has_no_credit_and_no_debt(backlogs: list[list[int]], served: int, late: list[int]) -> None:
    """From when it comes, it is given as much as any that has waited on, but for one call of each."""
    order = FairOrder()
    calls = filled(backlogs, order)
    left = {f"key_{flow}": len(weights) for flow, weights in enumerate(backlogs)}
    for _ in range(min(served, len(calls) - 1)):
        number = order.pop()
        assert number is not None
        left[calls[number][0]] -= 1
    first = 1000
    for at, weight in enumerate(late):
        calls[first + at] = ("late", weight)
        order.enter(first + at, flow="late", weight=weight)
    left["late"] = len(late)
    given_to = dict.fromkeys((flow for flow, count in left.items() if count), 0)
    while all(left[flow] for flow in given_to):
        number = order.pop()
        assert number is not None
        flow, weight = calls[number]
        given_to[flow] += weight
        left[flow] -= 1
        assert abs(given_to["late"] - max(given_to.values())) <= 24 + max(late)
        assert abs(given_to["late"] - min(given_to.values())) <= 24 + max(late)


@given(BACKLOGS)
def test_nobody_starves_beside_a_stream_that_never_ends(backlogs: list[list[int]]) -> None:
    """Each time one goes, its flow asks for another: every call that waited before has gone within a bounded time."""
    order = FairOrder()
    calls = filled(backlogs, order)
    waiting = set(calls)
    most = max(weight for weights in backlogs for weight in weights)
    work = max(sum(weights) for weights in backlogs)
    # Within the virtual time of the longest backlog each flow is given as much, and a call more.
    bound = len(backlogs) * (work + 2 * most)
    gone = 0
    while waiting:
        number = order.pop()
        assert number is not None
        flow, weight = calls[number]
        waiting.discard(number)
        gone += weight
        fresh = len(calls)
        calls[fresh] = (flow, 8 if fresh % 7 == 0 else 3)
        order.enter(fresh, flow=flow, weight=calls[fresh][1])
        assert gone <= bound


class Orders(RuleBasedStateMachine):
    """Positions against what really happens, and the books against what was entered."""

    def __init__(self) -> None:
        super().__init__()
        self.order = FairOrder()
        self.calls: dict[int, tuple[str, int, bool]] = {}
        """Those that wait."""
        self.gone: list[tuple[int, str, int]] = []
        self.barred: set[str] = set()
        self.numbers = 0

    @rule(flow=st.sampled_from("abcd"), weight=WEIGHTS, count=st.integers(1, 4))
    def enter(self, flow: str, weight: int, count: int) -> None:
        """Somebody new, or several."""
        for _ in range(count):
            self.numbers += 1
            self.calls[self.numbers] = (flow, weight, False)
            self.order.enter(self.numbers, flow=flow, weight=weight)

    @rule(data=st.data())
    def come_again(self, data: st.DataObject) -> None:
        """Somebody who had a place."""
        if self.gone:
            number, flow, weight = self.gone.pop(data.draw(st.integers(0, len(self.gone) - 1)))
            self.calls[number] = (flow, weight, True)
            self.order.enter(number, flow=flow, weight=weight, again=True)

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Somebody who waits, or does not."""
        number = data.draw(st.integers(0, self.numbers + 1))
        assert self.order.leave(number) is (self.calls.pop(number, None) is not None)

    @rule(flow=st.sampled_from("abcd"))
    def bar(self, flow: str) -> None:
        """A flow has all that it may."""
        self.barred.add(flow)
        self.order.bar(flow)

    @rule(flow=st.sampled_from("abcd"))
    def let_in(self, flow: str) -> None:
        """And may again."""
        self.barred.discard(flow)
        self.order.let_in(flow)

    @rule(count=st.integers(1, 5))
    def pop(self, count: int) -> None:
        """Those that are next: as their positions say; nobody waits while a place is free and he may have it."""
        may = [number for number, (flow, _, _) in self.calls.items() if flow not in self.barred]
        expected = sorted(may, key=lambda number: self.order.position_of(number) or 0)
        for number in expected[:count]:
            assert self.order.position_of(number) == 1
            assert self.order.pop() == number
            flow, weight, _ = self.calls.pop(number)
            self.gone.append((number, flow, weight))
        if len(expected) < count:
            assert self.order.pop() is None

    @invariant()
    def is_in_order(self) -> None:
        """Positions of those that may go are 1, 2, 3 and so on; of one flow, and of those who come again, by number."""
        may = [number for number, (flow, _, _) in self.calls.items() if flow not in self.barred]
        positions = sorted((self.order.position_of(number) or 0, number) for number in may)
        assert [at for at, _ in positions] == list(range(1, len(may) + 1))
        in_line = [number for _, number in positions]
        again = [number for number in in_line if self.calls[number][2]]
        assert in_line[: len(again)] == sorted(again)
        for flow in "abcd":
            new = [number for number in in_line if self.calls[number][0] == flow and not self.calls[number][2]]
            assert new == sorted(new)
        assert len(self.order) == len(self.calls)
        assert all(number in self.order for number in self.calls)


TestOrders = Orders.TestCase
TestOrders.settings = settings(max_examples=60, stateful_step_count=40)
