"""What the kernel says about processes: CPU, memory, and how busy everything else is."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

PROC = Path("/proc")


def tree(root: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def cpu_s(root: int) -> float:
    """CPU time of a tree, user and kernel, ended threads included: the kernel's own clock of each process."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in tree(root))


def rss_bytes(root: int) -> int:
    """Resident memory of a tree, counted page by page."""
    return sum(_kb(pid, "smaps_rollup", "Rss:") for pid in tree(root)) * 1024


def peak_rss_bytes(root: int) -> int:
    """The most each process of a tree held since `forget_peak`, summed."""
    return sum(_kb(pid, "status", "VmHWM:") for pid in tree(root)) * 1024


def forget_peak(root: int) -> None:
    """Let the peak begin anew."""
    for pid in tree(root):
        (PROC / str(pid) / "clear_refs").write_text("5")


def _kb(pid: int, file: str, name: str) -> int:
    for line in (PROC / str(pid) / file).read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise LookupError(f"{file} of {pid} has no {name}")


def busy_cores(seconds: float) -> float:
    """How many cores are busy with anything at all, over a moment in which we do nothing ourselves."""
    before = _busy_ticks()
    time.sleep(seconds)
    return (_busy_ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds


def _busy_ticks() -> int:
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, (PROC / "stat").read_text().split()[1:9])
    return user + nice + system + irq + softirq + steal


def describe(root: Path) -> dict[str, Any]:
    """The machine, the kernel, the versions and the commit: what a figure means nothing without."""
    cpu = next((line.partition(":")[2].strip() for line in _lines("cpuinfo") if line.startswith("model name")), "?")
    memory_kb = next(int(line.split()[1]) for line in _lines("meminfo") if line.startswith("MemTotal"))
    packages = ("uvicorn", "uvloop", "httptools", "aiohappyeyeballs", "pybase64", "orjson", "msgspec")
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gb": round(memory_kb / 1e6, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in packages},
        "commit": _git(root, "rev-parse", "--short", "HEAD"),
        "is_modified": bool(_git(root, "status", "--porcelain", "--", "src")),
        "tcp_mem_pages": (PROC / "sys/net/ipv4/tcp_mem").read_text().split(),
    }


def _lines(name: str) -> list[str]:
    return (PROC / name).read_text().splitlines()


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    return done.stdout.strip()
