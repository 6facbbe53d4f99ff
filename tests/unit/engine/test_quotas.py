"""What a key's limits are held against: its open generations, those arriving, and its last minute."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest

from holdfast.clock import SystemClock
from holdfast.engine import quotas as module
from holdfast.engine.core import Live
from holdfast.engine.quotas import Lives, Quotas
from holdfast.errors import RequestError
from holdfast.policy.access import MINUTE_S, NO_LIMITS, Limits

ONE_A_MINUTE = Limits(rate_per_min=1)
TWO_AT_ONCE = Limits(concurrency=2)


class Time(SystemClock):
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.at = 100.0

    def monotonic(self) -> float:
        """Tell it."""
        return self.at


def a_live(key_id: str) -> Live:
    """Something that is driven, as far as it counts."""
    return cast(Live, SimpleNamespace(key_id=key_id))


@pytest.fixture
def lives() -> Lives:
    """None yet."""
    return Lives()


@pytest.fixture
def time() -> Time:
    """A clock."""
    return Time()


@pytest.fixture
def quotas(lives: Lives, time: Time) -> Quotas:
    """Over them."""
    return Quotas(lives, time)


def code_of(quotas: Quotas, key_id: str, limits: Limits) -> str | None:
    """Why another one would be refused."""
    error = quotas.refusal(key_id, limits)
    return None if error is None else error.code


def test_generations_are_counted_by_key_and_forgotten_with_the_last(lives: Lives) -> None:
    """One that is driven again under its id is still one."""
    lives["gen_1"], lives["gen_2"], lives["gen_3"] = a_live("a"), a_live("a"), a_live("b")
    lives["gen_1"] = a_live("a")
    assert lives.of_key == {"a": 2, "b": 1}
    del lives["gen_1"]
    del lives["gen_3"]
    assert lives.of_key == {"a": 1}
    with pytest.raises(KeyError):
        del lives["gen_3"]
    assert lives.of_key == {"a": 1}


def test_a_key_has_so_many_open_at_once(quotas: Quotas, lives: Lives) -> None:
    """Those of another key do not count, and one that ends makes room."""
    lives["gen_1"], lives["gen_2"], lives["gen_3"] = a_live("a"), a_live("b"), a_live("b")
    assert code_of(quotas, "a", TWO_AT_ONCE) is None
    assert code_of(quotas, "b", TWO_AT_ONCE) == "concurrency_limited"
    del lives["gen_2"]
    assert code_of(quotas, "b", TWO_AT_ONCE) is None


def test_those_that_arrive_at_one_instant_count(quotas: Quotas) -> None:
    """Until they are driven, or were not bought."""
    with ExitStack() as stack:
        for _ in range(2):
            assert code_of(quotas, "a", TWO_AT_ONCE) is None
            stack.enter_context(quotas.arriving("a"))
        assert code_of(quotas, "a", TWO_AT_ONCE) == "concurrency_limited"
        assert code_of(quotas, "b", TWO_AT_ONCE) is None
    assert code_of(quotas, "a", TWO_AT_ONCE) is None
    assert repr(quotas) == "<Quotas: 0 arrive, 0 keys with a rate>"


def test_only_what_was_accepted_counts_for_the_rate(quotas: Quotas, time: Time) -> None:
    """A repeat that joins arrives, and takes nothing of it."""
    with quotas.arriving("a"):
        assert code_of(quotas, "a", ONE_A_MINUTE) == "rate_limited"
    assert code_of(quotas, "a", ONE_A_MINUTE) is None
    quotas.accepted("a", ONE_A_MINUTE)
    assert code_of(quotas, "a", ONE_A_MINUTE) == "rate_limited"
    assert code_of(quotas, "b", ONE_A_MINUTE) is None
    time.at += MINUTE_S
    assert code_of(quotas, "a", ONE_A_MINUTE) is None


def test_a_key_without_limits_is_not_remembered(quotas: Quotas, lives: Lives) -> None:
    """Nor refused, whatever is open."""
    lives["gen_1"] = a_live("a")
    quotas.accepted("a", NO_LIMITS)
    assert code_of(quotas, "a", NO_LIMITS) is None
    assert "0 keys with a rate" in repr(quotas)


def test_what_is_passed_through_takes_a_place_while_it_lasts(quotas: Quotas, lives: Lives) -> None:
    """It is no generation, and one of the key's calls all the same."""
    limits = Limits(concurrency=1, rate_per_min=2)
    with quotas.passing("a", limits):
        with pytest.raises(RequestError) as told, quotas.passing("a", limits):
            pass
        assert told.value.code == "concurrency_limited"
    with pytest.raises(RuntimeError), quotas.passing("a", limits):
        raise RuntimeError
    assert lives.of_key == {}
    assert code_of(quotas, "a", limits) == "rate_limited"


def test_the_memory_of_minutes_is_bounded(quotas: Quotas, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle ones go first; if none is, the oldest."""
    monkeypatch.setattr(module, "WINDOWS_MAX", 3)
    quotas.accepted("idle", ONE_A_MINUTE)
    time.at += MINUTE_S
    busy: list[Any] = ["a", "b", "c"]
    for key in busy:
        quotas.accepted(key, ONE_A_MINUTE)
    assert [code_of(quotas, key, ONE_A_MINUTE) for key in busy] == ["rate_limited"] * 3
    quotas.accepted("d", ONE_A_MINUTE)
    assert "3 keys with a rate" in repr(quotas)
    assert code_of(quotas, "a", ONE_A_MINUTE) is None
    assert code_of(quotas, "d", ONE_A_MINUTE) == "rate_limited"
