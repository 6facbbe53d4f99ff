"""Gateways as the gateway's own tests start them, each before a simulator and a door of its own."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from holdfast.policy import polling
from holdfast.providers import fal, replicate

HERE = Path(__file__).parent
NEEDS = {
    "edits": "only doors that take reference images",
    "is_polled": "only doors that give a handle",
    "takes_back": "only doors whose requests can be cancelled before they are begun",
    "in_background": "only doors to an API that works in the background",
}
"""Marks of scenarios, each the name of a field of a door."""


def _loaded(name: str, path: Path) -> ModuleType:
    # Tests are no package, so that nothing imports them by accident; what is shared is loaded from its file.
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_loaded("provider_token_service", HERE / "token_service.py")
suite = _loaded("provider_suite", HERE / "suite.py")
_gateways = _loaded("provider_gateways", HERE.parent / "gateway" / "conftest.py")
start = _gateways.start
dsn_for = _gateways.dsn_for
journal = _gateways.journal
_ALL = suite.doors()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every scenario for every door that offers what it needs."""
    if "door" not in metafunc.fixturenames:
        return
    marks = {mark.name for mark in metafunc.definition.iter_markers()}
    able = [door for door in _ALL if all(getattr(door, name) for name in marks & NEEDS.keys())]
    metafunc.parametrize("door", able, ids=str)


def pytest_configure(config: pytest.Config) -> None:
    """Name what a scenario may need of a door."""
    for name, what in NEEDS.items():
        config.addinivalue_line("markers", f"{name}: {what}")


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds in life takes a tenth of it here: pauses are tested where they are decided."""
    for name, seconds in (("POLL_S_FIRST", 0.02), ("POLL_S_MAX", 0.1), ("FETCH_S_MAX", 0.1)):
        monkeypatch.setattr(fal, name, seconds)
        monkeypatch.setattr(replicate, name, seconds)
    monkeypatch.setattr(polling, "PAUSE_S_MIN", 0.02)


@pytest.fixture
async def upstream() -> AsyncIterator[Any]:
    """Instant unless a script says otherwise; ten times as fast as life."""
    made = suite.Watched()
    made.port = await made.start("127.0.0.1", 0)
    yield made
    await made.close()


@pytest.fixture
async def begin(start: Any, upstream: Any, door: Any) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Start gateways whose one upstream is the door."""
    async with door.prepare(door.upstream(upstream.port)) as entry:

        async def starter(**more: Any) -> Any:
            own = {name: more.pop(name) for name in ("data", "key") if name in more}
            return await start(**own, **{**door.sections(entry), **more})

        yield starter


@pytest.fixture
async def gateway(begin: Any) -> Any:
    """One with the usual settings."""
    return await begin()
