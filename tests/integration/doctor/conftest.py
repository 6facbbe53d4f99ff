"""The lab's ground: a gateway of its own, paths before it, doctors at them."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

LAB = Path(__file__).resolve().parents[3] / "lab" / "doctor"


def _imported(name: str) -> ModuleType:
    # Each experiment is a folder of scripts that know one another by their plain names.
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(LAB)
        return importlib.import_module(name)


@pytest.fixture(scope="session")
def ground() -> ModuleType:
    """Gateways and doctors."""
    return _imported("ground")


@pytest.fixture(scope="session")
def paths() -> ModuleType:
    """What is drawn."""
    return _imported("paths")


@pytest.fixture(scope="session")
def hops() -> ModuleType:
    """What stands on a path."""
    return _imported("hops")


@pytest.fixture(scope="module")
def gateway(ground: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A gateway with one key, a process of its own, on a loop of its own: each test has another."""
    standing = ground.gateway(tmp_path_factory.mktemp("gateway"), 1)
    with asyncio.Runner() as runner:
        yield runner.run(standing.__aenter__())
        runner.run(standing.__aexit__(None, None, None))
