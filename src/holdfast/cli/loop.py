"""The event loop of every command that serves: uvloop, where there is one."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end.

    uvloop is a matter of memory, not of speed: asyncio's own TLS keeps 256 KB a connection, which is 2.9 GB instead of
    0.45 GB with 9,800 callers held (measured).
    """
    if importlib.util.find_spec("uvloop") is None:
        return asyncio.run(work)
    import uvloop

    return uvloop.run(work)
