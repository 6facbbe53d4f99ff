"""Named points at which tests make the process fail; nothing happens unless `HOLDFAST_FAULT` asks for it.

`HOLDFAST_FAULT=settle.before_commit:kill:2` kills the process (SIGKILL) the second time that point is passed. Actions:
`kill`, `error` (raises `InjectedFault`), `sleep=SECONDS`. Several are separated by commas. The names are literals, so
that a test can list them from the source.

The simulation decides itself what happens at a point: `ruled` hands it every one that is passed.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

_ACTION = re.compile(r"kill|error|sleep=\d+(\.\d+)?")
_NTH = re.compile(r"[1-9]\d*")


class InjectedFault(OSError):
    """The failure that a fault point was asked for."""


class Ruler(Protocol):
    """Decides what happens at every point, in place of the environment."""

    def point(self, name: str) -> Awaitable[None]:
        """Pass a point on the loop."""

    def point_sync(self, name: str) -> None:
        """Pass a point in a worker thread, or in what stands for one."""


@dataclass(slots=True)
class _Armed:
    action: str
    countdown: int


def parse(spec: str) -> dict[str, tuple[str, int]]:
    """Read `name:action[:nth],…` into name → (action, nth).

    Raises:
        ValueError: It says something else; a fault that is spelled wrongly must not look like a fault survived.
    """
    armed: dict[str, tuple[str, int]] = {}
    for entry in filter(None, (part.strip() for part in spec.split(","))):
        name, _, rest = entry.partition(":")
        action, _, nth = rest.partition(":")
        if not name or _ACTION.fullmatch(action) is None or _NTH.fullmatch(nth or "1") is None:
            raise ValueError(
                f"HOLDFAST_FAULT: cannot read {entry!r}; write NAME:ACTION[:NTH], "
                "where ACTION is kill, error or sleep=SECONDS"
            )
        armed[name] = (action, int(nth or 1))
    return armed


_armed = {name: _Armed(action, nth) for name, (action, nth) in parse(os.environ.get("HOLDFAST_FAULT", "")).items()}

_ruler: Ruler | None = None


@contextmanager
def ruled(ruler: Ruler) -> Iterator[None]:
    """Let `ruler` decide at every point; what the environment asked for does nothing meanwhile."""
    global _armed, _ruler
    before = _armed
    # Not empty: points that are not armed cost one look, and this is it.
    _armed, _ruler = {"": _Armed("error", 0)}, ruler
    try:
        yield
    finally:
        _armed, _ruler = before, None


def _due(name: str) -> str | None:
    armed = _armed.get(name)
    if armed is None:
        return None
    armed.countdown -= 1
    return armed.action if armed.countdown == 0 else None


def _act(name: str, action: str) -> float:
    """Kill or raise; otherwise give the seconds to sleep."""
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "error":
        raise InjectedFault(f"injected at {name}")
    return float(action.removeprefix("sleep="))


async def point(name: str) -> None:
    """Pass a named point on the loop."""
    if _armed and _ruler is not None:
        await _ruler.point(name)
    elif _armed and (action := _due(name)) is not None:
        await asyncio.sleep(_act(name, action))


def point_sync(name: str) -> None:
    """Pass a named point in a worker thread."""
    if _armed and _ruler is not None:
        _ruler.point_sync(name)
    elif _armed and (action := _due(name)) is not None:
        time.sleep(_act(name, action))
