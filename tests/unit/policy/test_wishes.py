"""What a caller may say about buying."""

from __future__ import annotations

import pytest

from holdfast.errors import RequestError
from holdfast.policy.wishes import as_wished, asked_purchases, may_degrade
from holdfast.types import Geometry, Request, Surface, Tier

REQUEST = Request(
    surface=Surface.OPENAI,
    model="m",
    prompt="a lighthouse",
    geometry=Geometry(tier=Tier.K1, aspect_ratio="1:1", width_px=1024, height_px=1024),
)


def test_a_caller_may_limit_what_is_bought_for_him() -> None:
    """One call that may be charged, and no second one; without the header it is the operator's word."""
    assert asked_purchases({"holdfast-purchases": " 1 "}) == 1
    assert asked_purchases({}) is None


@pytest.mark.parametrize("text", ["", "0", "-1", "10", "1.5", "one", "1;2", "१"])
def test_a_limit_that_is_none_is_refused(text: str) -> None:
    """Nobody finds out by the bill that his limit was not understood."""
    with pytest.raises(RequestError, match="whole number from 1 to 9") as caught:
        asked_purchases({"holdfast-purchases": text})
    assert (caught.value.status, caught.value.param) == (400, "Holdfast-Purchases")


def test_a_smaller_size_is_served_only_to_who_allows_it() -> None:
    """Silence means no."""
    assert may_degrade({"holdfast-degrade": "Size"})
    assert not may_degrade({})


@pytest.mark.parametrize("text", ["", "model", "size, model", "no"])
def test_nothing_else_is_given_up(text: str) -> None:
    """A word that is not known is told, not guessed at."""
    with pytest.raises(RequestError, match="one word: size"):
        may_degrade({"holdfast-degrade": text})


def test_wishes_stand_beside_the_request() -> None:
    """They are kept with it, so that a restart keeps to them."""
    assert as_wished(REQUEST, {}) is REQUEST
    wished = as_wished(REQUEST, {"holdfast-purchases": "1", "holdfast-degrade": "size"})
    assert (wished.purchases_max, wished.may_degrade, wished.prompt) == (1, True, REQUEST.prompt)
