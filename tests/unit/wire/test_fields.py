"""Looking into JSON that others wrote."""

from __future__ import annotations

import pytest

from holdfast.wire.errors import WireError
from holdfast.wire.fields import (
    count_of,
    document_of,
    list_of,
    mapping_of,
    request_error_of,
    slot_of,
    text_of,
    word_of,
)
from holdfast.wire.scan import JsonReader


def test_documents_that_are_not_json_are_wire_errors() -> None:
    """One exception for whoever reads."""
    assert document_of(b'{"a":1}') == {"a": 1}
    for body, code in ((b"{", "json"), (b'{"a":"\xff"}', "encoding"), (b'{"a":1e999}', "json")):
        with pytest.raises(WireError) as raised:
            document_of(body)
        assert raised.value.code == code


@pytest.mark.parametrize("value", [None, 1, "x", [], True])
def test_what_is_no_object_is_an_empty_one(value: object) -> None:
    """Missing and mistyped are alike."""
    assert mapping_of(value) == {}
    assert mapping_of({"a": 1}) == {"a": 1}


def test_single_items_are_lists_of_one() -> None:
    """Some encoders unwrap them."""
    assert list_of([1]) == [1]
    assert list_of({"a": 1}) == [{"a": 1}]
    assert list_of(None) == list_of("x") == []


def test_empty_text_is_absent() -> None:
    """Relays send `"url":""`."""
    assert text_of("a") == "a"
    assert text_of("") is text_of(None) is text_of(1) is None


def test_a_code_may_be_a_word_or_a_number() -> None:
    """Relays give numbers."""
    assert (word_of("x"), word_of(429), word_of(True), word_of(None)) == ("x", "429", None, None)


@pytest.mark.parametrize(
    ("value", "count"),
    [(5, 5), (5.0, 5), (5.5, 0), (-1, 0), (True, 0), ("5", 0), (None, 0), (1 << 60, 0), (0, 0), (1e300, 0)],
)
def test_counts_are_small_whole_numbers_or_nothing(value: object, count: int) -> None:
    """They end in a database and in arithmetic."""
    assert count_of(value) == count


def test_slots_are_numbers_in_text() -> None:
    """Nothing else stands at an image's path after reading."""
    assert (slot_of("0"), slot_of("12"), slot_of(""), slot_of("x"), slot_of(3), slot_of("²")) == (
        0,
        12,
        None,
        None,
        None,
        None,
    )


def test_wire_errors_become_request_errors() -> None:
    """Too large is a 413, all else a 400."""
    large = request_error_of(WireError("too_large", "too much"))
    assert (large.code, large.status, large.message) == ("input_too_large", 413, "too much")
    bad = request_error_of(WireError("base64", "no base64"))
    assert (bad.code, bad.status, bad.message) == (
        "invalid_request",
        400,
        "The request body cannot be read: no base64",
    )


def test_a_request_that_ends_early_is_called_incomplete() -> None:
    """It came whole, as its framing says; only an answer can have been cut on its way."""
    reader = JsonReader(lambda _: False)
    reader.feed(b'{"prompt":"x"')
    with pytest.raises(WireError) as refused:
        reader.finish()
    told = request_error_of(refused.value)
    assert told.message == "The JSON of the body is not complete: it ends inside an object, a list or a text."
    assert told.status == 400
