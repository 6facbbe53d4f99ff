"""A number at the place of an image is ours, or nothing is drawn from it."""

from __future__ import annotations

import pytest

from holdfast.errors import RequestError
from holdfast.wire.slots import check_numbers, is_number, texts_at


def test_texts_come_in_the_order_of_the_document() -> None:
    """From every item of a list, under every name, and from nowhere else."""
    document = {"b": {"u": "1"}, "a": [{"u": "2"}, [{"u": "3"}], {"u": 4}], "u": "5"}
    found = list(texts_at(document, lambda path: path in (("b", "u"), ("a", "u"))))
    assert found == [(("b", "u"), "1"), (("a", "u"), "2"), (("a", "u"), "3")]


@pytest.mark.parametrize("numbers", [[], ["0"], ["0", "1", "2"]])
def test_numbers_that_count_up_are_ours(numbers: list[str]) -> None:
    """One for each image that was cut out."""
    check_numbers(numbers, len(numbers))


@pytest.mark.parametrize(
    ("numbers", "came_along"),
    [(["0"], 0), ([], 1), (["1"], 1), (["0", "0"], 2), (["0", "2"], 2), (["1", "0"], 2), (["00"], 1), (["0", "1"], 1)],
)
def test_any_other_number_is_a_caller_s(numbers: list[str], came_along: int) -> None:
    """Out of turn, one too many, or one that has gone missing."""
    with pytest.raises(RequestError, match="data: URL"):
        check_numbers(numbers, came_along)


@pytest.mark.parametrize(("text", "is_one"), [("0", True), ("17", True), ("", False), ("٣", False), ("1a", False)])
def test_only_plain_digits_are_a_number(text: str, is_one: bool) -> None:
    """Other scripts have digits too, and `int` reads them."""
    assert is_number(text) is is_one
