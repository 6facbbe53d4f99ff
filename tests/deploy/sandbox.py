"""A root file system of one's own for a process: what an engine for containers gives it, with the kernel's own means.

Mount and process namespaces, `chroot`, another user, no capability. It needs root, and says so where there is none; the
network is this machine's.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SYSTEM = ("usr", "lib", "lib32", "lib64", "libx32", "bin", "sbin")
"""Of this machine, read-only: the stand-in for a base image's Debian."""
ETC = ("group", "hosts", "ld.so.cache", "localtime", "nsswitch.conf", "passwd", "pip.conf", "resolv.conf")
SEARCHED = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
INTERPRETER = Path(sys.base_prefix).resolve()
"""Where this Python lies: the stand-in for that of a base image."""


@dataclass(frozen=True, kw_only=True)
class Bind:
    """A file or a folder of this machine that the process sees."""

    source: Path
    target: str
    is_writable: bool = False


@dataclass(frozen=True, kw_only=True)
class Box:
    """What a process sees, and as whom."""

    root: Path
    uid: int = 0
    gid: int = 0
    workdir: str = "/"
    binds: tuple[Bind, ...] = ()
    is_read_only: bool = False
    """Nothing can be written, `/tmp` included, but for writable binds."""
    hostname: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, words: Sequence[str]) -> list[str]:
        """Give the command that runs another as process 1 inside; it is killed when whoever started it ends."""
        if os.geteuid() != 0:
            pytest.fail("this test needs root: it gives processes a root file system of their own (unshare, chroot)")
        inside = f"exec {shlex.join([*self._as_user(), *words])}"
        script = "\n".join([*self._mounts(), f"exec chroot {q(self.root)} /bin/sh -c {shlex.quote(self._cd(inside))}"])
        environ = ["env", "-i", *(f"{name}={value}" for name, value in self.environment.items())]
        return [*environ, "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", script]

    def run(self, words: Sequence[str], timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end."""
        return subprocess.run(
            self.command(words), capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
        )

    def _cd(self, command: str) -> str:
        return f"cd {shlex.quote(self.workdir)} && {command}"

    def _as_user(self) -> list[str]:
        if self.uid == 0:
            return []
        ids = [f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        return ["setpriv", *ids, "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]

    def _mounts(self) -> list[str]:
        root = self.root
        lines = ["mount --make-rprivate /", f"mount --bind {q(root)} {q(root)}"]
        # /tmp first: what is bound may lie below it.
        lines += [] if self.is_read_only else [f"mount -t tmpfs -o mode=1777 tmpfs {q(root / 'tmp')}"]
        for bind in (*_system(), *self.binds):
            at = root / bind.target.lstrip("/")
            lines += [f"mkdir -p {q(at)}" if bind.source.is_dir() else f"mkdir -p {q(at.parent)}; touch {q(at)}"]
            lines += [f"mount --bind {q(bind.source)} {q(at)}"]
            lines += [] if bind.is_writable else [f"mount -o remount,bind,ro {q(at)}"]
        lines += [f"mount -t proc proc {q(root / 'proc')}", f"mount --rbind /dev {q(root / 'dev')}"]
        return lines + ([f"mount -o remount,bind,ro {q(root)}"] if self.is_read_only else [])


def _system() -> list[Bind]:
    folders = [Path("/") / name for name in SYSTEM]
    found = [Bind(source=each, target=str(each)) for each in folders if each.is_dir() and not each.is_symlink()]
    found.append(Bind(source=Path("/etc/ssl"), target="/etc/ssl"))
    if not INTERPRETER.is_relative_to("/usr"):
        found.append(Bind(source=INTERPRETER, target=str(INTERPRETER)))
    return found


def q(path: Path) -> str:
    """Quote a path for the shell."""
    return shlex.quote(str(path))


def empty_root(folder: Path) -> Path:
    """Make the stand-in of a base image: folders to mount on, and the few files that programs look for in `/etc`."""
    folder.mkdir(parents=True, mode=0o755)
    for name in ("dev", "etc", "opt", "proc", "root", "tmp", "var/lib"):
        (folder / name).mkdir(parents=True)
    for name in SYSTEM:
        if (link := Path("/") / name).is_symlink():
            (folder / name).symlink_to(link.readlink())
    for name in ETC:
        if (file := Path("/etc") / name).is_file():
            (folder / "etc" / name).write_bytes(file.read_bytes())
    return folder
