"""A whole gateway on real sockets: an upstream behind it, callers before it, and what must hold after each test.

Whatever a test does, in the end the ledger balances with nothing held, nothing is open, the spool is empty, and neither
prompt nor credential nor query string has been logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import math
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn.server

from holdfast.clock import rfc3339
from holdfast.config import Settings, parse
from holdfast.engine.core import Core
from holdfast.errors import StorageError
from holdfast.gateway import serve as composition
from holdfast.gateway.server import Listeners, Running
from holdfast.log import JsonLines, TextLines
from holdfast.store.apikeys import SECRET_BYTES, digest_of, spell
from holdfast.store.audit import audit
from holdfast.store.bookkeeping import LedgerSums, ledger_of, ledger_sums
from holdfast.store.generations import get_record
from holdfast.store.keys import insert_key
from holdfast.store.lock import DataFolder
from holdfast.store.records import Record

PROMPT = "a lighthouse in the fog, marker Qx7Zt"
UPSTREAM_KEY = "upstream-secret-Jw4Ru"
WAITING = "SELECT count(*) FROM pgqueuer WHERE status = 'queued'"
WITHIN_S = 15.0
"""Nothing that a test waits for takes longer; a loop that waits for ever cannot be interrupted from outside."""
NEVER_LOGGED = ["Qx7Zt", "Jw4Ru", "sig=", "exp=", "?key"]

# Tests are no package, so that nothing imports them by accident; what is shared is loaded from its file.
_spec = importlib.util.spec_from_file_location("gateway_peers", Path(__file__).with_name("peers.py"))
assert _spec is not None
assert _spec.loader is not None
peers = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = peers
_spec.loader.exec_module(peers)
Answer, Upstream, Wire = peers.Answer, peers.Upstream, peers.Wire


IS_ON_POSTGRES = os.environ.get("HOLDFAST_TEST_DATABASE") == "postgres"
# What is there in any case runs with the embedded store's suite, once.
collect_ignore = ["test_gateway_postgres.py", "test_gateway_replicas.py"] if IS_ON_POSTGRES else []
"""Whether this run is that of the other engine: then what has no rows, and what has its own server anyway, is passed
by; both are run with the embedded one."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is the same on both engines."""
    here = Path(__file__).parent
    if not IS_ON_POSTGRES:
        return
    ours = [item for item in items if item.path.parent == here]
    passed_by = {
        item for item in ours if "start" not in getattr(item, "fixturenames", ()) or item.path.name in WITH_A_SERVER
    }
    config.hook.pytest_deselected(items=list(passed_by))
    items[:] = [item for item in items if item not in passed_by]


WITH_A_SERVER = frozenset({"test_gateway_goes.py", "test_gateway_postgres.py"})
"""Files whose gateways have a PostgreSQL in every run."""


class Journal(logging.Handler):
    """Everything that was logged, by anyone, at debug level."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.secrets = list(NEVER_LOGGED)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record as an operator would see it, in both formats."""
        self.lines += [JsonLines().format(record), TextLines().format(record)]
        if record.name == "holdfast":
            self.events.append((record.getMessage(), dict(getattr(record, "fields", {}))))

    def of(self, event: str) -> list[dict[str, Any]]:
        """The fields of every event of this name."""
        return [fields for name, fields in self.events if name == event]

    async def has(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until an event has been logged so often."""
        async with asyncio.timeout(5):
            while len(found := self.of(event)) < count:
                await asyncio.sleep(0.005)
        return found

    def leaks(self) -> list[str]:
        """Lines that hold what must never be logged."""
        return [line for line in self.lines if any(secret in line for secret in self.secrets)]


def a_session() -> aiohttp.ClientSession:
    """Open a client that waits for no lost answer."""
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=WITHIN_S))


@dataclass
class Gateway:
    """One that serves, and everything a test asks of it."""

    settings: Settings
    running: Running
    task: asyncio.Task[int]
    core: Core
    folder: DataFolder
    made: composition.Gateway
    key: str
    session: aiohttp.ClientSession
    wires: list[Wire] = field(default_factory=list)
    hands_over: bool = False
    """It ends with something open, which the next one in its folder takes up."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.running.listeners[0].port

    @property
    def data(self) -> Path:
        """Its folder."""
        return self.settings.store.data

    # Asking

    async def ask(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any) -> Answer:
        """Make one call through aiohttp; without headers, with the key as a Bearer token."""
        sent = {"Authorization": f"Bearer {self.key}"} if headers is None else headers
        base = "" if path.startswith("http") else self.running.base_url
        async with self.session.request(method, base + path, headers=sent, allow_redirects=False, **options) as got:
            body = await got.read()
            return Answer(status=got.status, headers={k.lower(): v for k, v in got.headers.items()}, body=body)

    async def images(self, *, headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
        """Ask for images as an OpenAI SDK does."""
        sent = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        body = {"prompt": PROMPT, **fields}
        return await self.ask("POST", "/v1/images/generations", headers=sent, json=body)

    async def gemini(
        self,
        *,
        stream: bool = False,
        version: str = "v1beta",
        model: str = "gemini-3-pro-image",
        headers: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> Answer:
        """Ask for an image as a Google SDK does."""
        verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
        body = {"contents": [{"role": "user", "parts": [{"text": PROMPT}]}], **fields}
        sent = {"x-goog-api-key": self.key, **(headers or {})}
        return await self.ask("POST", f"/{version}/models/{model}:{verb}", headers=sent, json=body)

    async def resource(self, generation_id: str) -> dict[str, Any]:
        """What `GET /v1/generations/{id}` says."""
        answer = await self.ask("GET", f"/v1/generations/{generation_id}")
        assert answer.status == 200, answer
        return dict(answer.json)

    async def resource_once(self, generation_id: str, status: str) -> dict[str, Any]:
        """The same, once it stands so."""
        async with asyncio.timeout(5):
            while (found := await self.resource(generation_id))["status"] != status:
                await asyncio.sleep(0.01)
        return found

    async def dial(self, **options: Any) -> Wire:
        """Open a connection."""
        where = () if "sock" in options else ("127.0.0.1", self.port)
        wire = Wire(*await asyncio.open_connection(*where, **options))
        self.wires.append(wire)
        return wire

    def post(
        self,
        document: Mapping[str, Any] | bytes | None = None,
        *,
        path: str = "/v1/images/generations",
        version: str = "1.1",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Write a POST as bytes; a header given as empty is left out."""
        body = document if isinstance(document, bytes) else json.dumps(document or {"prompt": PROMPT}).encode()
        usual = {
            "Host": f"127.0.0.1:{self.port}",
            "Authorization": f"Bearer {self.key}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
        }
        lines = [f"{name}: {value}" for name, value in {**usual, **(headers or {})}.items() if value]
        return "\r\n".join([f"POST {path} HTTP/{version}", *lines]).encode() + b"\r\n\r\n" + body

    async def another_key(self, **fields: Any) -> str:
        """Make a second key, with these fields of its row."""
        key_id = self.core.clock.new_id("key")
        key = spell(key_id, os.urandom(SECRET_BYTES))
        now = rfc3339(self.core.clock.now())
        await self.core.store.write(insert_key, key_id, digest_of(self.folder.secret, key), "another", now, **fields)
        return key

    @property
    def is_shared(self) -> bool:
        """Whether its rows are where other gateways may have them too, and any of them works on what it accepts."""
        return self.core.dispatcher.is_shared

    async def placed(
        self, asked: Mapping[str, Any], position: int | None, *, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Ask without waiting, and find the call at this place in line, None: sent; give what is told of it then.

        The answer itself says so; where any of several may be given the call, a status does, once one of them has it.
        """
        sent = {"Authorization": f"Bearer {self.key}", **(headers or {})}
        answer = await self.ask("POST", "/v1/generations", headers=sent, json=asked)
        assert answer.status == 202, answer
        told = dict(answer.json)
        if self.is_shared:
            async with asyncio.timeout(WITHIN_S):
                while told["queue_position"] != position or (position is None and told["status"] != "running"):
                    await asyncio.sleep(0.01)
                    told = await self.resource(told["id"])
        assert told["queue_position"] == position
        return told

    async def delivered(self) -> None:
        """Wait until nothing waits for a worker, where what is accepted is not this one's at once."""
        if not self.is_shared:
            return
        # What no worker may have stays; a database that a test has harmed tells nothing.
        with contextlib.suppress(TimeoutError, StorageError):
            async with asyncio.timeout(5):
                while await self.core.store.read(lambda conn: conn.execute(WAITING).fetchone()[0]):
                    await asyncio.sleep(0.02)

    async def idle(self) -> None:
        """Wait until every caller has been dealt with, whether its answer arrived included."""
        async with asyncio.timeout(5):
            await self.made.app.idle.wait()

    def forgive(self) -> None:
        """Let every key be used again, and every upstream be asked: what was learnt of them is forgotten."""
        upstreams = self.made.engine._parts.upstreams
        for upstream in self.settings.upstreams:
            for key in range(len(upstream.keys)):
                upstreams.succeeded(upstream.name, key, sent_at=math.inf)

    # Looking into its folder, as a second reader may

    def read(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run a function of the store on a connection of our own, read-only."""
        return read_store(self.data, function, *arguments)

    def record(self, generation_id: str) -> Record:
        """Read a generation with all that belongs to it."""
        found = self.read(get_record, generation_id)
        assert isinstance(found, Record)
        return found

    def ledger(self, generation_id: str) -> list[tuple[str, str, int]]:
        """Read its money: verb, account, micro-units."""
        return list(self.read(ledger_of, generation_id))

    def count(self, table: str) -> int:
        """Count the rows of a table."""
        return int(self.read(lambda conn: conn.execute(f"SELECT count(*) FROM {table}").fetchone()[0]))

    def stored(self, generation_id: str) -> list[bytes]:
        """Read its images from the blob store."""
        return [(self.data / blob.store_key).read_bytes() for blob in self.record(generation_id).results]

    async def stop(self) -> int:
        """Let it drain, and end."""
        if not self.task.done() and not self.made.engine.is_draining:
            await self.delivered()
        self.running.stop()
        for wire in self.wires:
            wire.leave()
        await self.session.close()
        return await asyncio.wait_for(asyncio.shield(self.task), WITHIN_S)

    async def renew_session(self) -> None:
        """Close the connections of `ask`, and begin anew."""
        await self.session.close()
        self.session = a_session()


class Hurried:
    """asyncio for uvicorn, which looks every 100 ms whether it shall end; a hundred tests have no time for that."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        """Sleep for a twentieth."""
        await asyncio.sleep(seconds / 20)


ELSEWHERE: dict[Path, Callable[..., Any]] = {}
"""Data folders whose rows are in a PostgreSQL, with what reads there."""


def read_store(data: Path, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function of the store on a read-only connection to the rows of a data folder."""
    if data in ELSEWHERE:
        return ELSEWHERE[data](function, *arguments)
    with contextlib.closing(sqlite3.connect(f"file:{data}/holdfast.sqlite3?mode=ro", uri=True)) as conn:
        conn.row_factory = sqlite3.Row
        return function(conn, *arguments)


def assert_nothing_is_left(data: Path) -> None:
    """Whatever happened: books balance, nothing is held or open, nothing lies in the spool."""

    def look(conn: Any) -> tuple[LedgerSums, Any, set[str]]:
        states = {row[0] for row in conn.execute("SELECT DISTINCT state FROM generation")}
        return ledger_sums(conn), audit(conn).problems, states

    sums, problems, states = read_store(data, look)
    assert sums.hold, sums
    assert sums.accounts.get("held", 0) == 0
    assert problems == ()
    assert states <= {"succeeded", "failed", "cancelled"}
    assert list((data / "spool").iterdir()) == []


def settings_for(upstream_port: int, data: Path, sections: Mapping[str, Any]) -> dict[str, Any]:
    """Write settings whose upstreams are the test's; sections and lists given by name are laid over them."""
    base = f"http://127.0.0.1:{upstream_port}"
    usual: dict[str, Any] = {
        "server": {"port": 0},
        "store": {"data": str(data), "free_bytes_margin": 0},
        "deadlines": {"attempt_s": {"1K": 5.0, "2K": 5.0, "4K": 5.0}, "connect_s": 2.0, "write_s": 5.0},
        "drain": {"grace_s": 3.0, "accept_s": 0.0},
        "retry": {"on_unknown": "fail"},
        "log": {"level": "debug"},
        "upstreams": [
            {"name": "google", "provider": "gemini", "base_url": base, "keys": [UPSTREAM_KEY]},
            {"name": "openai", "provider": "openai", "base_url": f"{base}/v1", "keys": [UPSTREAM_KEY]},
        ],
        "routes": [
            {
                "model": "nano-banana-pro",
                "aliases": ["gemini-3-pro-image"],
                "upstreams": [{"upstream": "google", "model": "gemini-3-pro-image"}],
            },
            {"model": "gpt-image-2", "upstreams": [{"upstream": "openai", "model": "gpt-image-2"}]},
        ],
    }
    for name, section in sections.items():
        usual[name] = {**usual.get(name, {}), **section} if isinstance(section, Mapping) else section
    return usual


@pytest.fixture(name="a_png")
def a_png_fixture() -> Callable[..., bytes]:
    """Draw pictures."""
    made: Callable[..., bytes] = peers.a_png
    return made


@pytest.fixture(name="settings_for")
def settings_for_fixture() -> Callable[..., dict[str, Any]]:
    """Write settings."""
    return settings_for


@pytest.fixture(name="assert_nothing_is_left")
def assert_nothing_is_left_fixture() -> Callable[[Path], None]:
    """Look at the folder of a gateway that has ended."""
    return assert_nothing_is_left


@pytest.fixture(autouse=True)
def journal() -> Iterator[Journal]:
    """Listen to every logger; afterwards, nothing secret may have been said."""
    made = Journal()
    # `uvicorn.access` would write the query string, if anybody let it.
    loggers = [logging.getLogger(name) for name in (None, "holdfast", "uvicorn.access")]
    before = [(logger, logger.level, logger.propagate, list(logger.handlers)) for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.addHandler(made)
    yield made
    for logger, level, propagate, handlers in before:
        logger.setLevel(level)
        logger.propagate = propagate
        logger.handlers[:] = handlers
    assert made.leaks() == []


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A peer to buy from."""
    made = Upstream()
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def dsn_for(request: pytest.FixtureRequest) -> Callable[[Path], str] | None:
    """Where the rows of each data folder are, if not in it: `HOLDFAST_TEST_DATABASE=postgres` runs all of it there."""
    return request.getfixturevalue("on_postgres") if IS_ON_POSTGRES else None


@pytest.fixture
def on_postgres(postgres_server: Any) -> Iterator[Callable[..., str]]:
    """Make a database for a data folder; the same one for the same folder."""
    made: dict[Path, str] = {}

    def dsn_for(data: Path, server: Any = postgres_server) -> str:
        if data not in made:
            made[data] = server.emptied(f"gateway_{os.getpid()}_{len(made)}")
            ELSEWHERE[data] = partial(server.read, made[data])
        return made[data]

    yield dsn_for
    for data in made:
        del ELSEWHERE[data]


@pytest.fixture
async def start(
    upstream: Upstream,
    journal: Journal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dsn_for: Callable[[Path], str] | None,
) -> AsyncIterator[Callable[..., Awaitable[Gateway]]]:
    """Start gateways, each with a folder of its own unless told otherwise; afterwards, see that nothing is left."""
    started: list[Gateway] = []
    make = composition.make
    parts: list[tuple[Core, DataFolder, composition.Gateway]] = []

    def note(core: Core, listeners: Listeners, folder: DataFolder) -> composition.Gateway:
        made = make(core, listeners, folder)
        parts.append((core, folder, made))
        return made

    monkeypatch.setattr(composition, "make", note)
    monkeypatch.setattr(uvicorn.server, "asyncio", Hurried())
    # Freezing the collector is for a process of its own.
    monkeypatch.setattr(composition, "tune_gc", lambda: None)

    async def starter(*, data: Path | None = None, key: str | None = None, **sections: Any) -> Gateway:
        folder = data or tmp_path / f"data-{len(started)}"
        if dsn_for is not None:
            dsn = dsn_for(folder)
            # For commands beside it.
            monkeypatch.setenv("HOLDFAST_STORE__DATABASE", dsn)
            sections["store"] = {"database": dsn, "database_connections": 3, **sections.get("store", {})}
        settings = parse(settings_for(upstream.port, folder, sections))
        keys = [key] if key else []
        ready: asyncio.Future[Running] = asyncio.get_running_loop().create_future()
        serving = composition.serve(settings, environ={}, ready=ready.set_result, tell_first_key=keys.append)
        task = asyncio.create_task(serving, name="gateway")
        await asyncio.wait([ready, task], return_when=asyncio.FIRST_COMPLETED, timeout=WITHIN_S)
        if task.done():
            task.result()
        assert ready.done(), "it did not start"
        # Starting took its handlers away; an operator who configures logging gives it new ones.
        logging.getLogger("uvicorn.access").addHandler(journal)
        session = a_session()
        made = Gateway(settings, ready.result(), task, *parts[-1], keys[0], session)
        journal.secrets.append(made.key)
        started.append(made)
        return made

    yield starter
    upstream.gate.set()
    # All of them, whatever became of one: a listener that is left open keeps uvloop from closing, for ever. And before
    # anything is looked at: two may have had one folder.
    codes = await asyncio.gather(*(gateway.stop() for gateway in started), return_exceptions=True)
    assert codes == [0] * len(started)
    for gateway in started:
        is_open = repr(gateway.made.engine).startswith("<Engine 1 generations open, 0 tasks")
        is_done = repr(gateway.made.engine).startswith("<Engine 0 generations open, 0 tasks")
        # Where any of several may go on with it, it is let go of.
        assert (is_open or (gateway.is_shared and is_done)) if gateway.hands_over else is_done
        assert_nothing_is_left(gateway.data)


@pytest.fixture
async def gateway(start: Callable[..., Awaitable[Gateway]]) -> Gateway:
    """A gateway with the usual settings: no beat within the time of a test."""
    return await start()
