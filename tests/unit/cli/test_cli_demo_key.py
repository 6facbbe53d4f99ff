"""The demo's key: made once, private, and known to the demo's gateway."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from holdfast.cli.demo_key import demo_key
from holdfast.clock import SystemClock
from holdfast.errors import StorageError
from holdfast.store.apikeys import digest_of
from holdfast.store.keys import count_keys, find_key
from holdfast.store.lock import DataFolder
from holdfast.store.sqlite import SqliteStore


def is_known(data: Path, key: str) -> bool:
    """Ask the data folder as the gateway does."""
    with DataFolder(data) as folder, closing(SqliteStore(folder.paths.database, "test")) as store:
        return store.write_sync(find_key, digest_of(folder.secret, key)) is not None


def test_a_key_is_made_and_known(tmp_path: Path) -> None:
    """The gateway that opens the folder next accepts it."""
    key = demo_key(tmp_path / "data", tmp_path / "demo.key", SystemClock())
    assert key.startswith("hf-")
    assert is_known(tmp_path / "data", key)


def test_its_file_is_private(tmp_path: Path) -> None:
    """0600, in a folder that is made when it is missing, even where an older file was open to all."""
    file = tmp_path / "new" / "demo.key"
    demo_key(tmp_path / "data", file, SystemClock())
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("", "ascii")
    file.chmod(0o644)
    demo_key(tmp_path / "data", file, SystemClock())
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_second_demo_uses_the_first_ones_key(tmp_path: Path) -> None:
    """What a person copied into a program goes on working."""
    first = demo_key(tmp_path / "data", tmp_path / "demo.key", SystemClock())
    assert demo_key(tmp_path / "data", tmp_path / "demo.key", SystemClock()) == first
    with DataFolder(tmp_path / "data") as folder, closing(SqliteStore(folder.paths.database, "test")) as store:
        assert store.write_sync(count_keys) == 1


def test_a_folder_that_was_deleted_learns_the_old_key(tmp_path: Path) -> None:
    """The file stays valid without its data."""
    first = demo_key(tmp_path / "data", tmp_path / "demo.key", SystemClock())
    again = demo_key(tmp_path / "other", tmp_path / "demo.key", SystemClock())
    assert again == first
    assert is_known(tmp_path / "other", first)


def test_a_folder_in_use_is_told(tmp_path: Path) -> None:
    """A second demo beside the first ends with a sentence, not with a broken database."""
    with DataFolder(tmp_path / "data"), pytest.raises(StorageError) as refused:
        demo_key(tmp_path / "data", tmp_path / "demo.key", SystemClock())
    assert refused.value.reason == "locked"
