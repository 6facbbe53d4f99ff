"""From a caller's words to one picture."""

from __future__ import annotations

import pytest

from holdfast.config import Flavor
from holdfast.errors import RequestError
from holdfast.policy.sizes import PIXELS_1K, RATIOS, edges_of, geometry_of, nearest_ratio, resolve, to_openai, turned
from holdfast.types import Tier


def told(size: str | None, **words: object) -> tuple[str, str, str]:
    geometry = resolve(size, **words)  # type: ignore[arg-type]
    return geometry.tier.value, geometry.aspect_ratio, f"{geometry.width_px}x{geometry.height_px}"


@pytest.mark.parametrize(
    ("size", "tier", "ratio", "pixels"),
    [
        ("1024x1024", "1K", "1:1", "1024x1024"),
        ("1536x1024", "2K", "3:2", "2528x1696"),
        ("1024x1536", "2K", "2:3", "1696x2528"),
        ("1792x1024", "2K", "16:9", "2752x1536"),
        ("1024x1792", "2K", "9:16", "1536x2752"),
        ("1920x1080", "2K", "16:9", "2752x1536"),
        ("2560x1440", "2K", "16:9", "2752x1536"),
        ("3840x2160", "4K", "16:9", "5504x3072"),
        ("4096x4096", "4K", "1:1", "4096x4096"),
        ("2048x2048", "2K", "1:1", "2048x2048"),
        ("512x512", "1K", "1:1", "1024x1024"),
        ("256x256", "1K", "1:1", "1024x1024"),
        ("1X1", "1K", "1:1", "1024x1024"),
        ("1K", "1K", "1:1", "1024x1024"),
        ("2k", "2K", "1:1", "2048x2048"),
        ("4K", "4K", "1:1", "4096x4096"),
    ],
)
def test_what_callers_write_becomes_one_picture(size: str, tier: str, ratio: str, pixels: str) -> None:
    """The smallest class that is large enough, at the nearest ratio."""
    assert told(size) == (tier, ratio, pixels)


@pytest.mark.parametrize("size", [None, "auto", "AUTO", "", " "])
def test_nothing_asked_is_the_routes_size_at_one_to_one(size: str | None) -> None:
    """`auto` and silence are the same."""
    assert told(size) == ("1K", "1:1", "1024x1024")
    assert told(size, size_default=Tier.K4) == ("4K", "1:1", "4096x4096")


def test_an_edit_keeps_the_shape_of_its_last_input() -> None:
    """A photograph edited without a size comes back in its own ratio, unless a ratio was named."""
    assert told("auto", last_input_px=(4000, 3000))[1] == "4:3"
    assert told("4K", last_input_px=(1080, 1920))[1:] == ("9:16", "3072x5504")
    assert told(None, last_input_px=(4000, 3000), aspect_ratio="1:1")[1] == "1:1"
    assert told(None, last_input_px=(0, 0))[1] == "1:1"


@pytest.mark.parametrize("size", ["2048x512", "512x2048", "3000x1000", "1000x2400"])
def test_a_ratio_that_nobody_draws_is_refused(size: str) -> None:
    """More than 10 % off is another picture; nothing is paid for one."""
    with pytest.raises(RequestError, match="nearest is") as refused:
        resolve(size)
    assert (refused.value.code, refused.value.status, refused.value.param) == ("unsupported_size", 400, "size")


def test_a_picture_larger_than_any_class_is_refused() -> None:
    """5000x5000 is not sold as 4096x4096."""
    with pytest.raises(RequestError, match=r"largest of this ratio is 4096x4096 \(4K\)") as refused:
        resolve("5000x5000")
    assert refused.value.code == "unsupported_size"


@pytest.mark.parametrize(
    "size", ["huge", "512", "8K", "0x0", "1024", "1024x", "x1024", "-1x5", "1024x1024x3", "9" * 5000]
)
def test_words_that_name_no_size_are_refused(size: str) -> None:
    """The message says what can be written, and repeats no more than a few characters."""
    with pytest.raises(RequestError, match="Write 1K, 2K, 4K, auto") as refused:
        resolve(size)
    assert refused.value.code == "unsupported_size"
    assert len(refused.value.message) < 200


def test_an_unknown_ratio_is_refused_with_the_known_ones() -> None:
    """A typing error is told before it is paid for."""
    with pytest.raises(RequestError, match="Choose one of 1:1, 3:2") as refused:
        resolve("1K", aspect_ratio="17:9")
    assert (refused.value.code, refused.value.param) == ("unsupported_size", "aspect_ratio")


@pytest.mark.parametrize(("size", "ratio"), [("1024x1024", "16:9"), ("1536x1024", "2:3"), ("1024x1024", "4:1")])
def test_pixels_and_a_ratio_that_disagree_are_refused(size: str, ratio: str) -> None:
    """Which of the two is meant is not ours to guess."""
    with pytest.raises(RequestError, match="disagree") as refused:
        resolve(size, aspect_ratio=ratio)
    assert (refused.value.code, refused.value.status) == ("invalid_request", 400)


def test_pixels_and_a_ratio_that_agree_are_taken() -> None:
    """Saying it twice is fine."""
    assert told("1536x1024", aspect_ratio="3:2") == ("2K", "3:2", "2528x1696")
    assert told("2048x512", aspect_ratio="4:1") == ("1K", "4:1", "2048x512")


def test_extreme_ratios_are_drawn_only_when_named() -> None:
    """4:1 exists on some models; pixels alone never lead to it."""
    assert told("2K", aspect_ratio="8:1") == ("2K", "8:1", "6144x768")
    assert told("1K", aspect_ratio="1:4") == ("1K", "1:4", "512x2048")


def test_a_relay_decides_on_odd_ratios_itself() -> None:
    """It gets the caller's words; here only class, price and deadline are chosen."""
    assert told("2048x512", flavor=Flavor.RELAY)[:2] == ("1K", "21:9")
    with pytest.raises(RequestError, match="larger than any"):
        resolve("20000x5000", flavor=Flavor.RELAY)


@pytest.mark.parametrize("ratio", ["auto", "", "Auto", None, " 1 : 1 "])
def test_a_ratio_left_open_is_square(ratio: str | None) -> None:
    """`auto` beside a class asks for nothing."""
    assert told("2K", aspect_ratio=ratio)[1] == "1:1"


@pytest.mark.parametrize(
    ("ratio", "k1", "k2", "k4"),
    [
        ("1:1", "1024x1024", "2048x2048", "4096x4096"),
        ("2:3", "848x1264", "1696x2528", "3392x5056"),
        ("3:2", "1264x848", "2528x1696", "5056x3392"),
        ("3:4", "896x1200", "1792x2400", "3584x4800"),
        ("4:3", "1200x896", "2400x1792", "4800x3584"),
        ("4:5", "928x1152", "1856x2304", "3712x4608"),
        ("5:4", "1152x928", "2304x1856", "4608x3712"),
        ("9:16", "768x1376", "1536x2752", "3072x5504"),
        ("16:9", "1376x768", "2752x1536", "5504x3072"),
        ("21:9", "1584x672", "3168x1344", "6336x2688"),
        ("1:4", "512x2048", "1024x4096", "2048x8192"),
        ("4:1", "2048x512", "4096x1024", "8192x2048"),
        ("1:8", "384x3072", "768x6144", "1536x12288"),
        ("8:1", "3072x384", "6144x768", "12288x1536"),
    ],
)
def test_the_pixel_table_is_the_vendors(ratio: str, k1: str, k2: str, k4: str) -> None:
    """What is announced as `size` is what Gemini documents."""
    drawn = [geometry_of(tier, ratio) for tier in Tier]
    assert [f"{geometry.width_px}x{geometry.height_px}" for geometry in drawn] == [k1, k2, k4]


def test_the_table_has_the_fourteen_documented_ratios() -> None:
    """No ratio can be named that no model draws."""
    assert len(RATIOS) == len(PIXELS_1K) == 14
    assert "9:21" not in RATIOS


@pytest.mark.parametrize("ratio", RATIOS)
def test_a_ratio_is_read_and_turned(ratio: str) -> None:
    """Width before height, as its pixels are; turned twice it is itself."""
    width, height = edges_of(ratio)
    width_px, height_px = PIXELS_1K[ratio]
    assert width / height == pytest.approx(width_px / height_px, rel=0.03)
    assert edges_of(turned(ratio)) == (height, width)
    assert turned(turned(ratio)) == ratio


def test_the_nearest_ratio_tells_how_far_off_it_is() -> None:
    """Ten per cent is measured the same way in landscape and portrait."""
    assert nearest_ratio(1920, 1080) == ("16:9", pytest.approx(0.0, abs=1e-9))
    ratio, off = nearest_ratio(1100, 1000)
    assert (ratio, off) == ("1:1", pytest.approx(0.10))
    assert nearest_ratio(1000, 1100)[1] == pytest.approx(off)


@pytest.mark.parametrize(
    ("ratio", "k1", "k2", "k4"),
    [
        ("1:1", "1024x1024", "2048x2048", "2880x2880"),
        ("3:2", "1248x832", "2496x1664", "3520x2352"),
        ("2:3", "832x1248", "1664x2496", "2352x3520"),
        ("4:3", "1184x880", "2352x1776", "3312x2480"),
        ("5:4", "1136x912", "2288x1824", "3216x2576"),
        ("4:5", "912x1136", "1824x2288", "2576x3216"),
        ("16:9", "1360x768", "2720x1536", "3840x2160"),
        ("9:16", "768x1360", "1536x2720", "2160x3840"),
        ("21:9", "1552x672", "3120x1344", "3840x1648"),
    ],
)
def test_openai_gets_the_pixels_that_it_draws(ratio: str, k1: str, k2: str, k4: str) -> None:
    """Portrait is landscape turned."""
    assert [to_openai(geometry_of(tier, ratio)) for tier in Tier] == [k1, k2, k4]
