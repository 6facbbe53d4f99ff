"""Frozen values that every part shares, and what they refuse to be."""

from __future__ import annotations

import dataclasses
from itertools import permutations
from typing import Any

import pytest

from holdfast import types
from holdfast.types import (
    Charge,
    Failure,
    FailureKind,
    Geometry,
    ImageInfo,
    Phase,
    Request,
    Surface,
    Tier,
    Usage,
    total_usage,
    worst_charge,
)

GEOMETRY = Geometry(tier=Tier.K4, aspect_ratio="1:1", width_px=4096, height_px=4096)


def a_failure(**overrides: Any) -> Failure:
    """A failure, with what matters to a test changed."""
    values: dict[str, Any] = {
        "kind": FailureKind.LOST_REPLY,
        "phase": Phase.WAIT,
        "charge": Charge.UNKNOWN,
        "detail": "the connection ended",
    }
    return Failure(**values | overrides)


def a_request(**overrides: Any) -> Request:
    """A request, with what matters to a test changed."""
    values: dict[str, Any] = {"surface": Surface.OPENAI, "model": "m", "prompt": "a lighthouse", "geometry": GEOMETRY}
    return Request(**values | overrides)


@pytest.mark.parametrize(
    ("charges", "worst"),
    [
        ((), Charge.NO),
        ((Charge.NO,), Charge.NO),
        ((Charge.NO, Charge.UNKNOWN), Charge.UNKNOWN),
        ((Charge.NO, Charge.UNKNOWN, Charge.YES), Charge.YES),
        ((Charge.UNKNOWN, Charge.UNKNOWN), Charge.UNKNOWN),
    ],
)
def test_several_attempts_cost_what_the_worst_of_them_may(charges: tuple[Charge, ...], worst: Charge) -> None:
    """Known beats possible, possible beats nothing, in any order."""
    assert {worst_charge(order) for order in permutations(charges)} == {worst}
    assert worst_charge(iter(charges)) is worst


def test_values_are_frozen_slotted_and_named() -> None:
    """No part can change what another one holds, and no field can be given by position."""
    kinds = [each for each in vars(types).values() if isinstance(each, type) and dataclasses.is_dataclass(each)]
    assert len(kinds) >= 6
    for kind in kinds:
        parameters = kind.__dataclass_params__  # type: ignore[attr-defined]
        assert parameters.frozen, kind
        assert "__slots__" in vars(kind), kind
        assert all(field.kw_only for field in dataclasses.fields(kind)), kind


def test_enumerations_are_their_words() -> None:
    """What is stored and sent is the word itself, in lower case save for sizes."""
    for kind in (Surface, Charge, Phase, FailureKind):
        assert all(str(member) == member.value == member.name.lower() for member in kind)
    assert [tier.value for tier in Tier] == ["1K", "2K", "4K"]


@pytest.mark.parametrize("wrong", [{"retry_after_s": -0.1}, {"detail": "x" * 2001}])
def test_a_failure_is_a_sentence_and_looks_forward(wrong: dict[str, Any]) -> None:
    """A hint into the past, or a whole body as detail, is our own mistake."""
    with pytest.raises(AssertionError):
        a_failure(**wrong)
    assert a_failure(retry_after_s=0.0, detail="x" * 2000).retry_after_s == 0.0


@pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 11}, {"partial_images": -1}, {"partial_images": 4}])
def test_a_request_keeps_to_its_bounds(wrong: dict[str, int]) -> None:
    """Whoever decodes a caller's words has refused these before."""
    with pytest.raises(AssertionError):
        a_request(**wrong)
    assert a_request(n=10, partial_images=3).n == 10


@pytest.mark.parametrize("wrong", [{"width_px": 0}, {"height_px": 0}, {"width_px": -1}])
def test_a_picture_has_two_sides(wrong: dict[str, int]) -> None:
    """A resolved geometry is never empty."""
    with pytest.raises(AssertionError):
        dataclasses.replace(GEOMETRY, **wrong)


def test_an_image_tells_its_size_as_answers_have_it() -> None:
    """Width first."""
    info = ImageInfo(mime="image/png", width_px=5504, height_px=3072, bytes=1, sha256="00")
    assert info.size == "5504x3072"


def test_tokens_add_up() -> None:
    """The parts by modality are within the totals, not beside them."""
    usage = Usage(input_tokens=10, input_image_tokens=4, output_tokens=2000, output_image_tokens=1800)
    assert usage.total_tokens == 2010
    assert Usage().total_tokens == 0


def test_the_usage_of_several_answers_is_one_sum() -> None:
    """Field by field; where nobody said anything there is none, which is not the same as none used."""
    one = Usage(input_tokens=10, input_image_tokens=4, output_tokens=2000, output_image_tokens=1800)
    other = Usage(input_tokens=1, input_image_tokens=2, output_tokens=3, output_image_tokens=5)
    summed = Usage(input_tokens=11, input_image_tokens=6, output_tokens=2003, output_image_tokens=1805)
    assert total_usage(iter((one, other))) == summed
    assert total_usage([one]) == one
    assert total_usage(()) is None
