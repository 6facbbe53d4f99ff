"""Every size either becomes a picture of its shape or is refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.errors import RequestError
from holdfast.policy.sizes import AREA_SHARE_MIN, RATIO_TOLERANCE, RATIOS, geometry_of, resolve, to_openai
from holdfast.types import Tier

edges = st.integers(1, 8000)


@given(edges, edges)
def test_a_picture_is_large_enough_and_of_the_shape_asked_for(width_px: int, height_px: int) -> None:
    """Whatever is sold has 95 % of the pixels asked for and a ratio within 10 % of the nominal one."""
    try:
        geometry = resolve(f"{width_px}x{height_px}")
    except RequestError as refused:
        assert refused.code == "unsupported_size"
        return
    area = geometry.width_px * geometry.height_px
    assert area >= AREA_SHARE_MIN * width_px * height_px
    wide, high = (int(edge) for edge in geometry.aspect_ratio.split(":"))
    off = (wide / high) / (width_px / height_px)
    assert max(off, 1 / off) <= 1 + RATIO_TOLERANCE + 1e-9
    if geometry.tier is not Tier.K1:
        smaller = geometry_of(Tier.K1 if geometry.tier is Tier.K2 else Tier.K2, geometry.aspect_ratio)
        assert smaller.width_px * smaller.height_px < AREA_SHARE_MIN * width_px * height_px


@given(edges, edges)
def test_turning_the_request_turns_the_picture(width_px: int, height_px: int) -> None:
    """Portrait is treated as landscape turned; only the banner 21:9 has no portrait form."""
    try:
        upright = resolve(f"{width_px}x{height_px}")
        turned = resolve(f"{height_px}x{width_px}")
    except RequestError:
        return
    assert (upright.width_px, upright.height_px) == (turned.height_px, turned.width_px)


@given(st.sampled_from(Tier), st.sampled_from(RATIOS))
def test_the_tables_own_pixels_lead_back_to_their_entry(tier: Tier, ratio: str) -> None:
    """A caller that writes back the size it was given gets the same again."""
    geometry = geometry_of(tier, ratio)
    assert resolve(f"{geometry.width_px}x{geometry.height_px}", aspect_ratio=ratio) == geometry


@given(st.sampled_from(Tier), st.sampled_from(RATIOS))
def test_openai_is_never_asked_for_what_it_refuses(tier: Tier, ratio: str) -> None:
    """Edges are multiples of 16 up to 3840, pixels between 655,360 and 8,294,400, ratio within 3:1."""
    width_px, height_px = (int(edge) for edge in to_openai(geometry_of(tier, ratio)).split("x"))
    assert width_px % 16 == height_px % 16 == 0
    assert max(width_px, height_px) <= 3840
    assert 655_360 <= width_px * height_px <= 8_294_400
    assert max(width_px / height_px, height_px / width_px) <= 3.0


@given(st.text(max_size=40))
def test_any_text_is_a_size_or_a_request_error(text: str) -> None:
    """Nothing a caller writes brings the gateway down."""
    try:
        resolve(text)
    except RequestError as refused:
        assert refused.status == 400
