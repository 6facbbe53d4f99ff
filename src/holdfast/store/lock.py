"""The data folder: made, locked for one process, with its secret; refused where locks cannot be trusted."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from holdfast.errors import StorageError, is_disk_full

SECRET_BYTES = 32
RESTORING = "restoring"
"""In a folder that a restore has not finished: nothing else may use it."""
_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "beegfs", "ceph", "glusterfs", "lustre"}
    | {f"fuse.{name}" for name in ("sshfs", "ceph", "glusterfs", "juicefs", "rclone", "s3fs")}
)
_READ_ONLY = frozenset({errno.EPERM, errno.EACCES, errno.EROFS})
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """Where things lie in a data folder."""

    root: Path

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.root / "holdfast.sqlite3"

    @property
    def spool(self) -> Path:
        """Answers that have not been settled."""
        return self.root / "spool"

    @property
    def lock(self) -> Path:
        """Held by the process that owns the folder."""
        return self.root / "lock"

    @property
    def secret(self) -> Path:
        """Keys the hash of API keys and the signature of links."""
        return self.root / "secret"


class DataFolder:
    """A folder that this process owns until `close`."""

    def __init__(self, root: Path, *, force: bool = False) -> None:
        """Make the folder if it is missing, and lock it.

        Raises:
            StorageError: It is locked by another process, read-only, or on a network file system.
        """
        self.paths = Paths(root=root)
        if (root / RESTORING).exists():
            raise StorageError(
                f"A restore into {root} goes on, or was broken off: run `holdfast restore` again.", reason="broken"
            )
        try:
            root.mkdir(parents=True, exist_ok=True)
            self.paths.spool.mkdir(exist_ok=True)
            (root / "blobs").mkdir(exist_ok=True)
            (root / "inputs").mkdir(exist_ok=True)
            self._fd = os.open(self.paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise _unusable(root, exc) from exc
        try:
            self._take(force)
            self.secret = self._read_or_make_secret()
        except OSError as exc:
            self.close()
            raise _unusable(root, exc) from exc
        except StorageError:
            self.close()
            raise

    def _take(self, force: bool) -> None:
        kind = file_system_of(self.paths.root)
        if kind in _NETWORK_FILE_SYSTEMS and not force:
            raise StorageError(
                f"The data folder {self.paths.root} is on {kind}, where file locks cannot be trusted. "
                "Use a local disk.",
                reason="network_file_system",
            )
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise StorageError(
                f"The data folder {self.paths.root} is in use by process {holder}. "
                "Stop it, or choose another folder with --data.",
                reason="locked",
            ) from exc
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, str(os.getpid()).encode(), 0)

    def _read_or_make_secret(self) -> bytes:
        path = self.paths.secret
        try:
            secret = path.read_bytes()
        except FileNotFoundError:
            secret = os.urandom(SECRET_BYTES)
            temporary = path.with_suffix(".new")
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                os.write(fd, secret)
                os.fsync(fd)
            finally:
                os.close(fd)
            temporary.rename(path)
            fsync_folder(path.parent)
        if len(secret) != SECRET_BYTES:
            raise StorageError(f"{path} should hold {SECRET_BYTES} bytes; restore it from a backup.", reason="broken")
        return secret

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def free_bytes(self) -> int:
        """What the disk still takes from an ordinary user."""
        stat = os.statvfs(self.paths.root)
        return stat.f_bavail * stat.f_frsize


def _unusable(root: Path, error: OSError) -> StorageError:
    reason = "full" if is_disk_full(error) else "read_only" if error.errno in _READ_ONLY else "broken"
    return StorageError(
        f"The data folder {root} cannot be used: {error.strerror}. Choose another with --data.", reason=reason
    )


def fsync_folder(folder: Path | str) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def file_system_of(path: Path) -> str:
    """The kind of file system a path lies on, as the kernel names it; `unknown` where it does not tell."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "unknown"
    return kind_of_mount(mounts.read_text("utf-8", "replace"), str(path.resolve()))


def kind_of_mount(mounts: str, resolved: str) -> str:
    """Find the innermost mount that a path lies in, in the kernel's table of mounts; the later of two counts."""
    best, kind = "", "unknown"
    for line in mounts.splitlines():
        _, mount, type_, *_ = line.split(" ")
        # The kernel spells space, tab, newline and backslash in octal.
        at = _OCTAL.sub(lambda found: chr(int(found[1], 8)), mount)
        inside = resolved == at or resolved.startswith(at.rstrip("/") + "/")
        if inside and len(at) >= len(best):
            best, kind = at, type_
    return kind
