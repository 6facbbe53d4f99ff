"""A data folder is given its secret once, and held to it from then on."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.config.secret import SECRET_BYTES
from holdfast.errors import ConfigError, StorageError
from holdfast.store.given_secret import keep_secret
from holdfast.store.lock import DataFolder

SECRET = bytes(range(SECRET_BYTES))
OTHER = bytes(SECRET_BYTES)


def test_an_empty_folder_takes_it(tmp_path: Path) -> None:
    """It is made, and whoever opens it has the secret that was given; nobody else can read it."""
    root = tmp_path / "a" / "b"
    keep_secret(root, SECRET)
    with DataFolder(root) as folder:
        assert folder.secret == SECRET
        assert folder.paths.secret.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in root.iterdir() if path.name.startswith("secret")] == ["secret"]


def test_given_again_it_is_the_same(tmp_path: Path) -> None:
    """A restart has the same variable."""
    keep_secret(tmp_path, SECRET)
    keep_secret(tmp_path, SECRET)
    assert (tmp_path / "secret").read_bytes() == SECRET


def test_another_one_is_refused(tmp_path: Path) -> None:
    """Keys and links of the folder would silently mean nothing."""
    with DataFolder(tmp_path) as folder:
        own = folder.secret
    with pytest.raises(ConfigError, match="not the secret of the data folder") as caught:
        keep_secret(tmp_path, OTHER)
    assert caught.value.key == "HOLDFAST_SECRET"
    assert (tmp_path / "secret").read_bytes() == own


def test_none_changes_nothing(tmp_path: Path) -> None:
    """The folder makes its own, as ever."""
    keep_secret(tmp_path / "none", None)
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    """With its name."""
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(StorageError, match="file/data"):
        keep_secret(tmp_path / "file" / "data", SECRET)
