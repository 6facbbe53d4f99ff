"""Loops for the tests: the gateway's own (uvloop) on real sockets, plain asyncio elsewhere, both where bytes move."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is; nothing here is timed (speed is for the bench).
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

BOTH_LOOPS = {"test_protocol.py", "test_transport_bodies.py", "test_transport_ends.py"}
REAL_SOCKETS = {"integration", "acceptance", "crash", "http"}


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Choose by folder."""
    if item.path.name in BOTH_LOOPS:
        return {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    if REAL_SOCKETS & set(item.path.parts):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}
