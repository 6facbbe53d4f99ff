"""What an upstream takes for an answer."""

from __future__ import annotations

import pytest

from holdfast.config import Provider
from holdfast.policy.costs import GEMINI_IMAGE_TOKENS, cost_micros, images_billed
from holdfast.types import Tier, Usage


def tokens(count: int) -> Usage:
    """A count of image tokens, among others."""
    return Usage(input_tokens=50, output_tokens=count + 300, output_image_tokens=count)


@pytest.mark.parametrize(
    ("tier", "count", "results", "drafts", "billed"),
    [
        (Tier.K1, 1120, 1, 0, 1),
        (Tier.K4, 2000, 1, 2, 1),  # thoughts, which are not counted as output images
        (Tier.K2, 3 * 1120, 1, 2, 3),  # drafts among the parts, which are
        (Tier.K4, 6000, 1, 2, 3),
        (Tier.K2, 1680, 1, 1, 1),  # the older count of one 2K image
        (Tier.K4, 2520, 1, 1, 1),
        (Tier.K1, 1290, 1, 0, 1),
        (Tier.K1, 10 * 1120, 1, 2, 3),  # no more than came
        (Tier.K1, 0, 1, 3, 1),  # it counted none, and delivered one
    ],
)
def test_gemini_bills_what_it_counts(tier: Tier, count: int, results: int, drafts: int, billed: int) -> None:
    """Up to ten images for one that was asked for; never fewer than it delivered."""
    assert images_billed(Provider.GEMINI, tier, tokens(count), results=results, drafts=drafts) == billed


def test_without_a_count_what_was_delivered_is_billed() -> None:
    """A relay may leave the metadata out."""
    assert images_billed(Provider.GEMINI, Tier.K1, None, results=1, drafts=4) == 1


@pytest.mark.parametrize("usage", [None, tokens(50_000)])
def test_an_images_api_bills_what_it_delivers(usage: Usage | None) -> None:
    """Its tokens differ from model to model; its list price is for an image. Previews are not told apart."""
    assert images_billed(Provider.OPENAI, Tier.K1, usage, results=3, drafts=2) == 3
    assert images_billed(Provider.OPENAI, Tier.K1, usage, results=0, drafts=2) == 0


def test_a_cost_is_the_list_price_of_each() -> None:
    """Without the margin, which is the customer's price."""
    assert cost_micros(134_000, Provider.GEMINI, Tier.K1, tokens(2240), results=1, drafts=1) == 268_000
    assert cost_micros(0, Provider.OPENAI, Tier.K1, None, results=4, drafts=0) == 0


def test_every_size_has_its_count() -> None:
    """A new size is not billed as none."""
    assert set(GEMINI_IMAGE_TOKENS) == set(Tier)
