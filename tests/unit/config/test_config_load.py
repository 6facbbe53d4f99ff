"""Which file is read, and what is said of a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.config import load, parse
from holdfast.errors import ConfigError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_file_the_defaults_hold(folder: Path) -> None:
    """It runs in an empty folder."""
    assert load(None, {}) == parse({})


def test_the_file_beside_us_is_found(folder: Path) -> None:
    """`./holdfast.toml` needs no option."""
    (folder / "holdfast.toml").write_text("server.port = 1")
    assert load(None, {}).server.port == 1


def test_a_named_file_wins_over_the_variable_and_that_over_the_folder(folder: Path) -> None:
    """--config, HOLDFAST_CONFIG, ./holdfast.toml: in this order."""
    for port, name in ((1, "holdfast.toml"), (2, "two.toml"), (3, "three.toml")):
        (folder / name).write_text(f"server.port = {port}")
    environ = {"HOLDFAST_CONFIG": "two.toml"}
    assert load(None, environ).server.port == 2
    assert load(folder / "three.toml", environ).server.port == 3
    assert load("three.toml", {**environ, "HOLDFAST_PORT": "4"}).server.port == 4


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"server.port =", "is not valid TOML: "),
        (b"\xff", "is not UTF-8"),
        (b"server.prot = 1", "bad.toml: Unknown setting server.prot. Did you mean 'port'?"),
    ],
)
def test_a_bad_file_is_named_with_its_fault(folder: Path, content: bytes, says: str) -> None:
    """The operator reads which file, and where in it."""
    (folder / "bad.toml").write_bytes(content)
    with pytest.raises(ConfigError) as told:
        load("bad.toml", {})
    assert "bad.toml" in str(told.value)
    assert says in str(told.value)


def test_a_byte_order_mark_is_no_part_of_the_first_line(folder: Path) -> None:
    """Some editors write one, and show none."""
    (folder / "holdfast.toml").write_bytes(b"\xef\xbb\xbfserver.port = 1\n")
    assert load(None, {}).server.port == 1


def test_a_missing_named_file_is_an_error(folder: Path) -> None:
    """A wrong path never falls back to defaults."""
    with pytest.raises(ConfigError, match=r"There is no settings file nowhere\.toml"):
        load("nowhere.toml", {})
    with pytest.raises(ConfigError, match="There is no settings file"):
        load(None, {"HOLDFAST_CONFIG": "nowhere.toml"})


def test_a_folder_in_place_of_a_file_is_an_error(folder: Path) -> None:
    """The system's own word is told."""
    with pytest.raises(ConfigError, match="cannot be read"):
        load(folder, {})


def test_a_fault_of_the_environment_is_not_blamed_on_a_file(folder: Path) -> None:
    """Without a file there is none to name."""
    with pytest.raises(ConfigError, match=r"^server\.port is -1"):
        load(None, {"HOLDFAST_PORT": "-1"})


def test_a_tilde_in_the_data_folder_is_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder called `~` is ever made."""
    monkeypatch.setenv("HOME", str(folder))
    (folder / "holdfast.toml").write_text('store.data = "~/images"')
    assert load(None, {}).store.data == folder / "images"
