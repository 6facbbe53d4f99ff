"""One gateway in this process, the product's own simulator behind it: nothing is paid, and every charge is counted.

It serves all tests of a file, on a loop of the file's own. That is the point: whatever was sent before, the next caller
is answered at once, and nothing of it is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio

from holdfast.config import Settings, parse
from holdfast.gateway import serve as composition
from holdfast.gateway.protocol import HoldProtocol
from holdfast.gateway.server import Running
from holdfast.simulator.server import Simulator
from holdfast.store.audit import audit
from holdfast.store.bookkeeping import ledger_sums
from holdfast.store.sqlite import READERS, SqliteStore

HERE = Path(__file__).parent
UPSTREAM_KEY = "upstream-secret-Jw4Ru"
AT_ONCE_S = 5.0
"""A machine that does other things too answers within it, unless something holds it up."""
PATIENCE_S = 0.6
"""`server.header_timeout_s` and `server.body_gap_s`: long enough for 1 MB on a busy machine."""


def load(name: str, folder: Path = HERE) -> ModuleType:
    """Load what tests share: they are no package, so that nothing imports them by accident."""
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


for part in ("items", "framing", "heads", "bodies", "forms"):
    load(f"corpus_{part}")
corpus = load("corpus")
wires = load("wires")
processes = load("processes", HERE.parent / "acceptance")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for an item once for each."""
    if "item" in metafunc.fixturenames:
        metafunc.parametrize("item", corpus.ITEMS, ids=lambda item: str(item.name))


class Journal(logging.Handler):
    """Everything that is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.events: list[tuple[str, dict[str, Any]]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        self.events.append((record.getMessage(), dict(getattr(record, "fields", {}))))

    def of(self, event: str) -> list[dict[str, Any]]:
        """The fields of every event of this name."""
        return [fields for name, fields in self.events if name == event]


@dataclass
class Stage:
    """A gateway that serves, and what is asked of it."""

    simulator: Simulator
    settings: Settings
    running: Running
    store: SqliteStore
    key: str
    journal: Journal
    tasks: int = 0
    """Of the gateway, when nobody asks anything."""
    descriptors: int = 0
    accepted: int = 0
    """Connections so far."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.running.listeners[0].port

    def spelled(self, pieces: tuple[bytes | float, ...]) -> tuple[bytes | float, ...]:
        """Put the key where an item has its sign."""
        key = self.key.encode()
        return tuple(each.replace(corpus.KEY, key) if isinstance(each, bytes) else each for each in pieces)

    async def send(self, *pieces: bytes | float, port: int | None = None, half_closes: bool = False) -> Any:
        """Send pieces over a connection of their own."""
        return await wires.play(port or self.port, self.spelled(pieces), half_closes=half_closes)

    def bought(self) -> dict[str, int]:
        """Count what must stay none: generations and attempts here, charges there."""
        with contextlib.closing(read_only(self.settings.store.data)) as database:
            tables = ("generation", "attempt", "ledger_txn", "blob")
            rows = {name: int(database.execute(f"SELECT count(*) FROM {name}").fetchone()[0]) for name in tables}
        return {**rows, "charges": self.simulator.charges.count}

    async def warm(self) -> None:
        """Answer each kind of call once: threads and readers are made when they are first needed."""
        await asyncio.gather(*(self.store.read(lambda _: time.sleep(0.1)) for _ in range(READERS)))
        for _ in range(4):
            # SQLite keeps the descriptor of a reader that has left, for the next one.
            self.bought()
            await asyncio.gather(*(self.is_well() for _ in range(4)))
        self.tasks, self.descriptors = len(asyncio.all_tasks()), open_descriptors() + OPENED_LATE

    async def is_well(self) -> None:
        """See that the next callers are answered at once: one who asks for nothing, one whose key is looked up."""
        close = b"Connection: close"
        for sent in (corpus.get(close), corpus.head(close, method=b"GET", target=corpus.NATIVE + b"?limit=1")):
            seen = await self.send(sent)
            assert [each.status for each in seen.answers] == [200], seen
            assert seen.took_s < AT_ONCE_S

    async def buys(self) -> None:
        """See that an image is made, and charged once."""
        before = self.simulator.charges.count
        seen = await self.send(corpus.json_post(corpus.BODY))
        assert [each.status for each in seen.answers] == [200], seen.raw[:500]
        assert b'"b64_json":"iVBOR' in seen.answers[0].body
        assert self.simulator.charges.count == before + 1

    async def settled(self) -> tuple[int, int]:
        """Tasks and descriptors, once they are down to what they were, or have had the time to be."""
        for _ in range(200):
            now = len(asyncio.all_tasks()), open_descriptors()
            if now[0] <= self.tasks and now[1] <= self.descriptors:
                break
            await asyncio.sleep(0.01)
        return now


def read_only(data: Path) -> sqlite3.Connection:
    """Open the books as a second reader may."""
    database = sqlite3.connect(f"file:{data}/holdfast.sqlite3?mode=ro", uri=True)
    database.row_factory = sqlite3.Row
    return database


OPENED_LATE = 4
"""Files that a gateway opens once, when two read from its store at one moment for the first time."""


def open_descriptors() -> int:
    """Count what this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def settings_for(upstream_port: int, data: Path) -> Settings:
    """Write settings: the shipped models from the simulator, and little patience."""
    base = f"http://127.0.0.1:{upstream_port}"
    return parse(
        {
            "server": {
                "port": 0,
                "header_timeout_s": PATIENCE_S,
                "body_gap_s": PATIENCE_S,
                "idle_timeout_s": 2 * PATIENCE_S,
            },
            "store": {"data": str(data), "free_bytes_margin": 0},
            "drain": {"grace_s": 5.0},
            "log": {"level": "debug"},
            "upstreams": [{"name": "google", "provider": "gemini", "base_url": base, "keys": [UPSTREAM_KEY]}],
            "routes": [
                {"model": "nano-banana-pro", "upstreams": [{"upstream": "google", "model": "gemini-3-pro-image"}]}
            ],
        }
    )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """Serve; in the end an image is bought as if nothing had happened, and the books balance."""
    simulator = Simulator(speed=1000.0, seed=7, scenario="instant")
    port = await simulator.start("127.0.0.1", 0)
    settings = settings_for(port, tmp_path_factory.mktemp("http") / "data")
    journal = Journal()
    logger = logging.getLogger("holdfast")
    logger.addHandler(journal)
    stores: list[SqliteStore] = []
    keys: list[str] = []
    make = composition.make
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composition, "make", lambda core, *more: stores.append(core.store) or make(core, *more))
        # Freezing the collector is for a process of its own.
        patch.setattr(composition, "tune_gc", lambda: None)
        ready: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
        serving = composition.serve(settings, environ={}, ready=ready.set_result, tell_first_key=keys.append)
        task = asyncio.create_task(serving, name="gateway")
        await asyncio.wait([ready, task], return_when=asyncio.FIRST_COMPLETED, timeout=15.0)
        if task.done():
            task.result()
        stage = Stage(simulator, settings, ready.result(), stores[0], keys[0], journal)
        began = HoldProtocol.connection_made

        def note(self: HoldProtocol, transport: asyncio.Transport) -> None:
            stage.accepted += 1
            began(self, transport)

        patch.setattr(HoldProtocol, "connection_made", note)
        try:
            await stage.warm()
            yield stage
            await stage.buys()
        finally:
            ready.result().stop()
            assert await asyncio.wait_for(task, 15.0) == 0
            await simulator.close()
            logger.removeHandler(journal)
    assert journal.of("fault.internal") == []
    assert not [event for event in journal.events if stage.key in str(event)]
    with contextlib.closing(read_only(settings.store.data)) as database:
        assert ledger_sums(database).hold
        assert audit(database).problems == ()


@pytest.fixture(name="corpus", scope="session")
def corpus_fixture() -> ModuleType:
    """Give the table."""
    return corpus


@pytest.fixture(name="processes", scope="session")
def processes_fixture() -> ModuleType:
    """Give the real things: commands and nginx, each a process of its own."""
    return processes
