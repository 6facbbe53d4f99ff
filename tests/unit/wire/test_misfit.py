"""What a caller is told of a request that differs from its definition."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast.errors import RequestError
from holdfast.wire.gemini_request import GenerateContentRequest
from holdfast.wire.misfit import misfit
from holdfast.wire.openai_request import ImagesRequest

SECRET = "a prompt nobody may read"


def told(document: object, expected: Any = ImagesRequest) -> RequestError:
    """What is said of a document that the definition refuses."""
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.convert(document, type=expected)
    return misfit(refused.value, document, expected)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"n": 0}, "n must be a whole number from 1 to 10, not 0."),
        ({"n": 1.5}, "n must be a whole number from 1 to 10, not 1.5."),
        ({"n": True}, "n must be a whole number from 1 to 10, not true."),
        ({"n": "2"}, "n must be a whole number from 1 to 10, not text."),
        ({"n": 10**400}, "n must be a whole number from 1 to 10, not a number of that size."),
        ({"size": 1024}, "size must be text of at most 32 characters, not 1024."),
        ({"size": "9" * 33}, "size must be text of at most 32 characters, not 33 characters."),
        ({"prompt": ""}, "prompt must be text of 1 to 32000 characters, not 0 characters."),
        ({"prompt": None}, "prompt must be text of 1 to 32000 characters, not null."),
        ({"output_format": "jpg"}, "output_format must be one of jpeg, png, webp, not 'jpg'."),
        ({"output_format": ["png"]}, "output_format must be one of jpeg, png, webp, not a list."),
        ({"stream": {}}, "stream must be true or false, not an object."),
        ({"metadata": []}, "metadata must be an object of at most 16 members, not a list."),
        (
            {"metadata": dict.fromkeys("abcdefghijklmnopq", "x")},
            "metadata must be an object of at most 16 members, not 17 members.",
        ),
        ({"metadata": {"a": 1}}, "metadata: each value must be text of at most 512 characters."),
    ],
)
def test_a_field_is_told_with_what_it_must_be_and_what_came(field: dict[str, object], message: str) -> None:
    """In a caller's words, not in those of a validator."""
    error = told({"prompt": "a cat", **field})
    assert error.message == message
    assert (error.code, error.status) == ("invalid_request", 400)
    assert (error.param or "").removesuffix("[...]") == next(iter(field))


@pytest.mark.parametrize(
    ("document", "param", "message"),
    [
        ({}, "contents", "contents is missing."),
        ({"contents": []}, "contents", "contents must be a list of at least 1 items, not 0 items."),
        ({"contents": [1]}, "contents[0]", "contents[0] must be an object, not 1."),
        (
            {"contents": [{}, {"parts": [{"text": 3}]}]},
            "contents[1].parts[0].text",
            "contents[1].parts[0].text must be text, not 3.",
        ),
        (
            {"contents": [{}], "generationConfig": {"candidateCount": 11}},
            "generationConfig.candidateCount",
            "generationConfig.candidateCount must be a whole number from 1 to 10, not 11.",
        ),
    ],
)
def test_a_field_further_in_is_told_by_its_path(document: object, param: str, message: str) -> None:
    """As the caller's language spells it."""
    error = told(document, GenerateContentRequest)
    assert (error.param, error.message) == (param, message)


def test_a_missing_field_is_told_as_missing() -> None:
    """No talk of objects."""
    assert told({}).message == "prompt is missing."
    assert told({}).param == "prompt"


def test_a_body_that_is_no_object_blames_no_field() -> None:
    """There is none."""
    assert told([]).message == "The body must be a JSON object."
    assert told([]).param is None


def test_only_a_short_piece_of_a_word_is_quoted() -> None:
    """A prompt that slipped into another field goes into no message."""
    assert SECRET not in told({"prompt": "x", "n": SECRET}).message
    assert SECRET not in told({"prompt": "x", "size": SECRET * 3}).message
    assert len(told({"prompt": "x", "quality": "x" * 10_000}).message) < 200
