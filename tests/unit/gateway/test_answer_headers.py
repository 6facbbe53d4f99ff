"""Words of others in our headers: visible ASCII, whatever they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast.gateway.heads import served_by, visible

Build = Callable[..., Any]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("google/gemini-3-pro", b"google/gemini-3-pro"),
        ("two words ~", b"two words ~"),
        ("", b""),
        ("a\r\nset-cookie: b", b"a??set-cookie: b"),
        ("tab\tdel\x7f", b"tab?del?"),
        ("图像/model", b"??/model"),
        ("caf\xe9", b"caf?"),
        ("\ud800", b"?"),
    ],
)
def test_onlyvisible_ascii_goes_into_a_header(text: str, told: bytes) -> None:
    """Nothing that ends a line, and nothing that a header has no spelling for."""
    assert visible(text) == told


def test_every_character_is_itself_or_a_question_mark() -> None:
    """Checked one by one, for the whole of the first plane: alone and beside a plain one."""
    for number in range(0x10000):
        char = chr(number)
        kept = char if " " <= char <= "~" else "?"
        assert visible(char) == kept.encode()
        assert visible(f"a{char}") == f"a{kept}".encode()


@pytest.mark.parametrize("char", ["a", "\n"])
def test_a_long_word_is_cut(char: str) -> None:
    """A thousand characters are enough for anybody."""
    assert len(visible(char * 3000)) == 1000


def test_who_served_is_told_where_there_is_an_image(a_record: Build, an_attempt: Build, a_blob: Build) -> None:
    """The attempt of the first image; nobody where there is none."""
    attempt = an_attempt(upstream="up\n1", model="model-2")
    assert served_by(a_record(attempts=[attempt], blobs=[a_blob()])) == [(b"holdfast-served-by", b"up?1/model-2")]
    assert served_by(a_record(attempts=[attempt], blobs=[])) == []
