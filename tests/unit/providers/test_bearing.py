"""What an upstream takes along is known before it is asked."""

from __future__ import annotations

import pytest

from holdfast.config import Provider, Upstream
from holdfast.providers.bearing import INPUTS_MAX, inputs_max, takes_masks
from holdfast.providers.capabilities import obstacle_of
from holdfast.types import Geometry, InputImage, Request, Surface, Tier

IMAGE = InputImage(sha256="5" * 64, mime="image/png", bytes=9, store_key="inputs/5")


def an_upstream(provider: Provider) -> Upstream:
    """An upstream of a provider."""
    return Upstream(name="u", provider=provider, base_url="https://u.example", keys=("k",))


def a_request(images: int, *, has_mask: bool = False) -> Request:
    """A request with so many images."""
    return Request(
        surface=Surface.OPENAI,
        model="m",
        prompt="p",
        geometry=Geometry(tier=Tier.K2, aspect_ratio="1:1", width_px=2048, height_px=2048),
        inputs=(IMAGE,) * images,
        mask=IMAGE if has_mask else None,
    )


@pytest.mark.parametrize("provider", list(Provider))
def test_every_provider_has_a_limit_that_holds(provider: Provider) -> None:
    """None takes fewer than the documented least, and one more than its limit is one too many."""
    upstream = an_upstream(provider)
    most = inputs_max(upstream)
    assert most >= INPUTS_MAX
    for images, bears in ((0, True), (1, True), (most + 1, False)):
        why = obstacle_of(upstream, a_request(images), model="seedream-4-5-251128")
        assert (why is None) is bears, why
    with_mask = obstacle_of(upstream, a_request(1, has_mask=True), model="seedream-4-5-251128")
    assert (with_mask is None) is takes_masks(upstream)


def test_openai_bears_more_and_masks() -> None:
    """Sixteen images; Gemini has no word for a mask."""
    assert inputs_max(an_upstream(Provider.OPENAI)) == 16
    assert takes_masks(an_upstream(Provider.OPENAI))
    assert not takes_masks(an_upstream(Provider.GEMINI))


def test_what_goes_along_is_numbered_with_the_mask_last() -> None:
    """The slots of an upstream's request are counted so."""
    mask = InputImage(sha256="6" * 64, mime="image/png", bytes=9, store_key="inputs/6")
    request = a_request(2)
    assert request.files == (IMAGE, IMAGE)
    with_mask = Request(
        surface=request.surface, model="m", prompt="p", geometry=request.geometry, inputs=(IMAGE,), mask=mask
    )
    assert with_mask.files == (IMAGE, mask)
