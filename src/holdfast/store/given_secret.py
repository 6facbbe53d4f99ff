"""A data folder's secret that comes from elsewhere: written into a folder that has none, held against one that has."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.config.secret import VARIABLE
from holdfast.errors import ConfigError, StorageError
from holdfast.store.lock import Paths, fsync_folder


def keep_secret(root: Path, secret: bytes | None) -> None:
    """Let a data folder have a secret; None: it makes its own.

    It is there whole or not at all, and two processes that start at once on one folder write the same.

    Raises:
        ConfigError: The folder has another one.
        StorageError: The folder cannot be written to.
    """
    if secret is None:
        return
    path = Paths(root=root).secret
    try:
        root.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _write(path, secret)
        has = path.read_bytes()
    except OSError as exc:
        raise StorageError(f"The data folder {root} cannot be used: {exc.strerror}.", reason="broken") from exc
    if has != secret:
        raise ConfigError(
            f"{VARIABLE} is not the secret of the data folder {root}: keys and links that were made with the one in "
            f"{path} would mean nothing. Unset it, or start on an empty folder.",
            key=VARIABLE,
        )


def _write(path: Path, secret: bytes) -> None:
    temporary = path.with_suffix(f".{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, secret)
        os.fsync(fd)
    finally:
        os.close(fd)
    temporary.rename(path)
    fsync_folder(path.parent)
