"""Which key is sent, to whom, and how it is spoken of."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.cli.api_key import ApiKey, find_api_key, is_loopback
from holdfast.cli.exits import Exit, Stop

HERE = "http://127.0.0.1:16888/v1"


def a_file(folder: Path, text: str = "hf-01ABC-secret", name: str = "a.key") -> Path:
    """Write a key file."""
    file = folder / name
    file.write_text(f"{text}\n", "utf-8")
    return file


@pytest.mark.parametrize(
    ("given", "environ", "value", "source"),
    [
        ("hf-a", {"HOLDFAST_API_KEY": "hf-b"}, "hf-a", "--api-key"),
        (None, {"HOLDFAST_API_KEY": " hf-b\n"}, "hf-b", "HOLDFAST_API_KEY"),
        ("", {"HOLDFAST_API_KEY": ""}, "hf-01ABC-secret", "a.key"),
    ],
)
def test_what_is_nearer_to_the_hand_wins(
    tmp_path: Path, given: str | None, environ: dict[str, str], value: str, source: str
) -> None:
    """The command line before the environment, and that before what a gateway wrote down."""
    key = find_api_key(given, environ, HERE, (tmp_path / "none", a_file(tmp_path)))
    assert (key.value, Path(key.source).name) == (value, source)


@pytest.mark.parametrize(
    ("base_url", "is_here"),
    [
        ("http://127.0.0.1:1/v1", True),
        ("http://127.9.9.9/v1", True),
        ("http://localhost:16888/v1", True),
        ("https://[::1]:16889/v1", True),
        ("https://api.example.com/v1", False),
        ("http://10.0.0.5:16888/v1", False),
        ("http://0.0.0.0:16888/v1", False),
        ("http://localhost.example.com/v1", False),
        ("http://127.0.0.1.example.com/v1", False),
    ],
)
def test_a_key_file_opens_gateways_of_this_machine_only(tmp_path: Path, base_url: str, is_here: bool) -> None:
    """A key that nobody gave is never sent to another host."""
    assert is_loopback(base_url) is is_here
    assert bool(find_api_key(None, {}, base_url, (a_file(tmp_path),)).value) is is_here


def test_without_a_key_there_is_none() -> None:
    """Something else than holdfast may need none."""
    key = find_api_key(None, {}, HERE, ())
    assert (key.value, key.header()) == ("", "")


@pytest.mark.parametrize("text", ["a b", "ключ", "a\x00b", "hf-…"])
def test_a_key_that_no_header_can_carry_is_told_with_its_origin(tmp_path: Path, text: str) -> None:
    """It is copied again from where it came, and not repeated on the screen."""
    with pytest.raises(Stop) as stopped:
        find_api_key(None, {}, HERE, (a_file(tmp_path, text),))
    assert stopped.value.code is Exit.KEY_WRONG
    assert "a.key" in stopped.value.message
    assert text not in stopped.value.message


def test_the_header_is_spelled_for_a_shell() -> None:
    """Pasted, it finds the key; printed, it tells none."""
    assert ApiKey(value="hf-1", source="--api-key").header() == '-H "Authorization: Bearer $HOLDFAST_API_KEY" '
    kept = ApiKey(value="hf-1", source="x", file=Path("my data/first.key"))
    assert kept.header() == "-H \"Authorization: Bearer $(cat 'my data/first.key')\" "


@pytest.mark.parametrize("value", ["sk-proj-secret", "secret", "hf-secret", "AIzaSecret-a-secret"])
def test_a_key_of_somebody_else_is_not_shown(value: str) -> None:
    """A vendor's key in the wrong variable is a common slip, and stays a secret."""
    said = ApiKey(value=value, source="HOLDFAST_API_KEY").refused("No.")
    assert value not in said
    assert "ecret" not in said
    assert "none of holdfast's" in said
    assert "from HOLDFAST_API_KEY" in said
