"""The data folder: one owner at a time, its secret made once, refused where it cannot be trusted."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from holdfast.errors import StorageError
from holdfast.store import lock
from holdfast.store.lock import SECRET_BYTES, DataFolder, Paths, file_system_of, fsync_folder

HOLDER = """
import sys
from pathlib import Path
from holdfast.store.lock import DataFolder
folder = DataFolder(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def another_process(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that owns the folder until it is told to end."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        try:
            yield process
        finally:
            process.kill()


@contextlib.contextmanager
def child_process() -> Iterator[subprocess.Popen[str]]:
    """A child that was given every file that lets itself be inherited."""
    script = "print('runs', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, close_fds=False
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def reason_of(root: Path, **options: bool) -> str:
    """Why a folder is refused."""
    with pytest.raises(StorageError) as told:
        DataFolder(root, **options).close()
    assert str(root) in str(told.value)
    return told.value.reason


def test_a_folder_is_made_whole_with_its_parents(tmp_path: Path) -> None:
    """One option is enough for a first start."""
    root = tmp_path / "some" / "where"
    with DataFolder(root) as folder:
        assert folder.paths == Paths(root=root)
        assert sorted(path.name for path in root.iterdir()) == ["blobs", "inputs", "lock", "secret", "spool"]
        assert folder.paths.database == root / "holdfast.sqlite3"
        assert folder.paths.spool == root / "spool"


def test_a_second_process_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    """Two gateways on one folder would pay twice; the message names the process and the way out."""
    with another_process(tmp_path) as process:
        with pytest.raises(StorageError, match=rf"process {process.pid}\b.*--data") as told:
            DataFolder(tmp_path)
        assert told.value.reason == "locked"
        assert (tmp_path / "lock").read_text() == str(process.pid)


def test_a_process_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    """The lock is the kernel's: no file has to be removed by hand, and its own number replaces the dead one's."""
    with another_process(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    with DataFolder(tmp_path) as folder:
        assert folder.paths.lock.read_text() == str(os.getpid())


def test_the_lock_holds_within_a_process_too_and_ends_with_close(tmp_path: Path) -> None:
    """Closing twice is closing once, and closes nobody else's file."""
    folder = DataFolder(tmp_path)
    assert reason_of(tmp_path) == "locked"
    folder.close()
    with DataFolder(tmp_path):
        folder.close()
        assert reason_of(tmp_path) == "locked"


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    """A converter that outlives us would else keep the folder locked."""
    with DataFolder(tmp_path) as folder, child_process() as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "runs\n"
        folder.close()
        DataFolder(tmp_path).close()
        assert child.poll() is None


def test_a_shorter_process_number_replaces_a_longer_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the former is left behind the new one."""
    (tmp_path / "lock").write_text("4194304")
    monkeypatch.setattr(lock.os, "getpid", lambda: 7)
    with DataFolder(tmp_path):
        assert (tmp_path / "lock").read_text() == "7"


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "fuse.glusterfs"])
def test_a_network_file_system_is_refused_unless_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Its locks and its fsync cannot be trusted; who knows better may say so."""
    monkeypatch.setattr(lock, "file_system_of", lambda _: kind)
    assert reason_of(tmp_path) == "network_file_system"
    with DataFolder(tmp_path, force=True):
        assert reason_of(tmp_path, force=True) == "locked"


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "overlay", "tmpfs", "apfs", "unknown"])
def test_local_file_systems_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Those that are not known are not suspected."""
    monkeypatch.setattr(lock, "file_system_of", lambda _: kind)
    DataFolder(tmp_path).close()


def test_the_kernel_tells_the_kind_of_a_folder() -> None:
    """Read from its own table."""
    assert file_system_of(Path("/proc/self")) == "proc"


def test_without_a_table_of_mounts_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other kernels have none; holdfast starts there too."""
    monkeypatch.setattr(lock, "Path", lambda _: tmp_path / "no-such-file")
    assert file_system_of(tmp_path) == "unknown"


def test_the_secret_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    """256 bits, readable by nobody else however open the process's mask is; the next start finds the same."""
    before = os.umask(0)
    try:
        with DataFolder(tmp_path) as folder:
            secret = folder.secret
    finally:
        os.umask(before)
    path = tmp_path / "secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600
    assert len(secret) == SECRET_BYTES == 32
    assert path.read_bytes() == secret
    assert not (tmp_path / "secret.new").exists()
    with DataFolder(tmp_path) as folder:
        assert folder.secret == secret


def test_every_folder_has_a_secret_of_its_own(tmp_path: Path) -> None:
    """A key of one opens nothing in another."""
    secrets = set()
    for name in "abc":
        with DataFolder(tmp_path / name) as folder:
            secrets.add(folder.secret)
    assert len(secrets) == 3


@pytest.mark.parametrize("content", [b"", b"short", bytes(31), bytes(33), b"x" * 64])
def test_a_secret_that_was_damaged_is_told_and_kept(tmp_path: Path, content: bytes) -> None:
    """A new one would silently lock out every key; after a repair the folder opens, for its lock was given back."""
    (tmp_path / "secret").write_bytes(content)
    assert reason_of(tmp_path) == "broken"
    assert (tmp_path / "secret").read_bytes() == content
    (tmp_path / "secret").write_bytes(b"r" * 32)
    with DataFolder(tmp_path) as folder:
        assert folder.secret == b"r" * 32


def test_a_secret_whose_making_broke_off_is_made_again(tmp_path: Path) -> None:
    """Only a whole one gets the name; a torn one is overwritten."""
    (tmp_path / "secret.new").write_bytes(b"torn")
    with DataFolder(tmp_path) as folder:
        assert len(folder.secret) == 32


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EROFS, "read_only"),
        (errno.EACCES, "read_only"),
        (errno.EPERM, "read_only"),
        (errno.ENOSPC, "full"),
        (errno.EDQUOT, "full"),
        (errno.EIO, "broken"),
    ],
)
@pytest.mark.parametrize("step", ["open", "fsync"])
def test_a_disk_that_takes_nothing_is_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str, step: str
) -> None:
    """At the lock as at the secret; the reason decides what the operator is advised to do. The lock is given back."""

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(lock.os, step, refuse)
        assert reason_of(tmp_path) == reason
    DataFolder(tmp_path).close()


def test_a_file_in_the_way_is_told(tmp_path: Path) -> None:
    """As a sentence with the path, not as a traceback."""
    (tmp_path / "file").write_text("")
    assert reason_of(tmp_path / "file") == "broken"
    assert reason_of(tmp_path / "file" / "below") == "broken"


def test_free_bytes_are_those_of_an_ordinary_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is reserved for root does not count: the gateway may not be root."""
    with DataFolder(tmp_path) as folder:
        assert folder.free_bytes() > 0
        told = SimpleNamespace(f_bavail=3, f_bfree=1000, f_frsize=4096, f_bsize=1)
        monkeypatch.setattr(lock.os, "statvfs", lambda _: told)
        assert folder.free_bytes() == 3 * 4096


def test_a_folder_that_is_gone_cannot_be_made_durable(tmp_path: Path) -> None:
    """A name that may be lost is an error, never silence; a file is no folder."""
    fsync_folder(tmp_path)
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(OSError, match=r"No such file|Not a directory"):
            fsync_folder(path)
