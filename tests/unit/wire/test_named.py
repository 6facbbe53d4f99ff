"""Where a request goes is found while it passes by, whatever else is in it and wherever it is cut."""

from __future__ import annotations

import json

import pytest

from holdfast.wire.errors import WireError
from holdfast.wire.named import DEPTH_MAX, FieldFinder

DOCUMENT = {
    "messages": [{"role": "user", "content": 'a "model": "no", {[ \\ ü', "model": "inner"}],
    "model": "gpt-4o",
    "tools": [{"model": "other"}],
}


def found(body: bytes, cut: int = 10_000) -> str | None:
    """Find it, reading so many bytes at a time."""
    finder = FieldFinder("model")
    for at in range(0, len(body), cut):
        finder.feed(body[at : at + cut])
    return finder.value


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_only_the_member_at_the_top_counts(cut: int, indent: int | None, ascii_only: bool) -> None:
    """Neither words in a text nor members of the same name deeper down."""
    body = json.dumps(DOCUMENT, indent=indent, ensure_ascii=ascii_only).encode()
    assert found(body, cut) == "gpt-4o"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"model":"a","model":"b"}', "b"),
        (b'{"m\\u006fdel":"g\\u0070t"}', "gpt"),
        (b'{"model":5}', None),
        (b'{"model":null}', None),
        (b'{"model":["a"]}', None),
        (b'{"model":""}', ""),
        (b'["model","a"]', None),
        (b'"model"', None),
        (b"", None),
        (b'{"model":"' + b"a" * 600 + b'"}', None),
        (b'{"x":"' + b"a" * 100_000 + b'","model":"b"}', "b"),
        # A short one does not stand for a long one behind it, which is what counts where the body goes.
        (b'{"model":"a","model":"' + b"\\u0062" * 100 + b'"}', None),
        (b'{"model":"a","x":{"Model":"b"}}', "a"),
    ],
)
def test_what_is_no_name_is_none(body: bytes, value: str | None) -> None:
    """Whoever the body is for will say what is wrong with it."""
    assert found(body) == found(body, 1) == value


@pytest.mark.parametrize("name", [b"Model", b"MODEL", b"\\u004dodel"])
def test_a_name_in_other_letters_is_refused(name: bytes) -> None:
    """Go's decoder takes it for the same, and the last one: a model that is not let through would be."""
    with pytest.raises(WireError, match="write it model"):
        found(b'{"model":"gpt-4o","' + name + b'":"dear"}')


@pytest.mark.parametrize("body", [b"[}", b"{" * (DEPTH_MAX + 1), b'{"model":"\\x"}', b'{"model":"\xff"}'])
def test_what_cannot_be_followed_is_refused(body: bytes) -> None:
    """Brackets that do not match, a depth that nobody means, a name that is no text."""
    with pytest.raises(WireError):
        found(body)


def test_nothing_of_a_body_is_kept() -> None:
    """A text of any length passes by."""
    finder = FieldFinder("model")
    finder.feed(b'{"x":"')
    for _ in range(100):
        finder.feed(b"a" * 65536)
    assert finder._string is not None
    assert len(finder._string) < 2048
