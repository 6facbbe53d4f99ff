"""What an upstream takes for an answer: by its list price, for the images that its own count says it made."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from holdfast.config import Provider
from holdfast.money import times
from holdfast.types import Tier, Usage

GEMINI_IMAGE_TOKENS: Mapping[Tier, int] = MappingProxyType({Tier.K1: 1120, Tier.K2: 1120, Tier.K4: 2000})
"""Fewest output tokens that an image of each size is counted with. Source: Google's price page, read in October 2026;
older pages say up to 1680 and 2520, which still are less than two."""


def images_billed(provider: Provider, tier: Tier, usage: Usage | None, *, results: int, drafts: int) -> int:
    """Say how many images of an answer the upstream bills.

    Gemini draws up to ten images for one that was asked for, and bills those that its `usageMetadata` counts: drafts
    among the answer's parts, but not every thought. Others bill what they answer with.

    Args:
        provider: The API family.
        tier: The size asked for.
        usage: Tokens as the upstream counted them; None if it said nothing.
        results: Images of the answer that are what was asked for, whole or not.
        drafts: Those that came beside them.
    """
    assert results >= 0
    assert drafts >= 0
    if provider not in (Provider.GEMINI, Provider.VERTEX) or usage is None:
        return results
    counted = usage.output_image_tokens // GEMINI_IMAGE_TOKENS[tier]
    return max(results, min(counted, results + drafts))


def cost_micros(
    list_micros: int, provider: Provider, tier: Tier, usage: Usage | None, *, results: int, drafts: int
) -> int:
    """Give the list price of what an answer holds, without our margin."""
    return times(list_micros, images_billed(provider, tier, usage, results=results, drafts=drafts))
