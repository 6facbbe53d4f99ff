"""Wrong keys wait, and only they: nobody is locked out by what comes from his address."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy import wrong_keys
from holdfast.policy.wrong_keys import (
    DELAY_S_MAX,
    EVERY_S,
    FREE,
    OF_AN_ADDRESS_MAX,
    WAITING_MAX,
    WrongKeys,
    neighbourhood,
)


def test_a_few_mistakes_cost_nothing_and_then_each_waits_longer() -> None:
    """Up to a bound that no person is bothered by."""
    wrong = WrongKeys()
    delays = [wrong.delay_s("192.0.2.7", 100.0) for _ in range(30)]
    assert delays[:FREE] == [0.0] * FREE
    assert delays[FREE : FREE + 3] == [EVERY_S, 2 * EVERY_S, 3 * EVERY_S]
    assert delays == sorted(delays)
    assert delays[-1] == DELAY_S_MAX


def test_another_address_is_not_slowed() -> None:
    """What comes from one says nothing of the other."""
    wrong = WrongKeys()
    for _ in range(100):
        wrong.delay_s("192.0.2.7", 100.0)
    assert wrong.delay_s("192.0.2.8", 100.0) == 0.0


def test_a_storm_is_forgotten_soon_after_it_ends() -> None:
    """An hour of it as soon as ten seconds of it."""
    wrong = WrongKeys()
    for _ in range(10_000):
        wrong.delay_s("192.0.2.7", 100.0)
    assert wrong.delay_s("192.0.2.7", 100.0 + FREE * EVERY_S + DELAY_S_MAX) == 0.0


@given(st.lists(st.floats(0.0, 3.0, allow_nan=False), max_size=60))
def test_no_address_is_answered_faster_than_its_pace(gaps: list[float]) -> None:
    """Whatever the rhythm, as long as answers wait for less than the bound."""
    wrong, now_s, answered = WrongKeys(), 0.0, []
    for gap in gaps:
        now_s += gap
        delay_s = wrong.delay_s("a", now_s)
        assert 0.0 <= delay_s <= DELAY_S_MAX
        if delay_s == DELAY_S_MAX:
            return
        answered.append(now_s + delay_s)
    for first, later in zip(answered, answered[FREE:], strict=False):
        assert later - first >= EVERY_S - 1e-6


@pytest.mark.parametrize(
    ("address", "whose"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("[2001:db8:1:2::3]:4711", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::3]", "2001:db8:1:2::/64"),
        ("not an address:4711", "not an address:4711"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_of_ipv6_the_network_counts(address: str, whose: str) -> None:
    """Whoever has one address has 2**64 of them."""
    assert neighbourhood(address) == whose


def test_few_answers_wait_at_once() -> None:
    """Each has a connection: of an address, and of all."""
    wrong = WrongKeys()
    with ExitStack() as stack:
        for _ in range(OF_AN_ADDRESS_MAX):
            stack.enter_context(wrong.waiting("a"))
        assert not wrong.may_wait("a")
        assert wrong.may_wait("b")
        for number in range(WAITING_MAX - OF_AN_ADDRESS_MAX):
            assert wrong.may_wait(f"c{number}")
            stack.enter_context(wrong.waiting(f"c{number}"))
        assert not wrong.may_wait("b")
        assert f"{WAITING_MAX} answers wait" in repr(wrong)
    assert wrong.may_wait("b")


def test_what_waits_no_more_leaves_nothing_behind() -> None:
    """Also if whoever waited was cut off."""
    wrong = WrongKeys()
    with pytest.raises(RuntimeError), wrong.waiting("a"):
        raise RuntimeError
    assert repr(wrong) == "<WrongKeys of 0 addresses, 0 answers wait>"


def test_the_memory_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was heard of least recently goes first."""
    monkeypatch.setattr(wrong_keys, "ADDRESSES_MAX", 3)
    wrong = WrongKeys()
    for _ in range(FREE):
        wrong.delay_s("old", 100.0)
    for address in ("a", "b", "old", "c"):
        wrong.delay_s(address, 100.0)
    assert "3 addresses" in repr(wrong)
    assert wrong.delay_s("old", 100.0) > 0.0
    assert wrong.delay_s("a", 100.0) == 0.0
