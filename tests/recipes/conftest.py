"""The stage of the recipes: a simulated upstream, a gateway, paths that cut, and programs that are run as they stand.

Every program is a process of its own and reaches its server through a path of its own, so that what came over the wire
can be counted. All of them are started at once, a few at a time, and a test asks what became of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from holdfast.config import Deadlines
from holdfast.recipes.catalog import SUFFIXES, Client, Language
from holdfast.recipes.numbers import Number, numbers
from holdfast.recipes.render import render
from holdfast.simulator.film import paint
from holdfast.simulator.path import Fate
from holdfast.simulator.path import Path as CutPath
from holdfast.simulator.pictures import Prepared, prepare
from holdfast.types import Tier

ROOT = Path(__file__).resolve().parents[2]
NODE = Path(__file__).with_name("node")
INSTALLED = ROOT / ".venv" / "recipes-node"
ENDS_S = 120.0
AT_ONCE = 8
SEARCHED = f"{os.environ.get('PATH', '')}:/usr/local/go/bin:/usr/lib/go/bin"


def _load(folder: str, name: str) -> ModuleType:
    # Tests are no package, so that nothing imports them by accident; what is shared is loaded from its file.
    spec = importlib.util.spec_from_file_location(f"recipes_{name}", ROOT / "tests" / folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


processes = _load("acceptance", "processes")


def program_of(name: str) -> str:
    """Find a program that the suite needs; `scripts/test` installs it."""
    found = shutil.which(name, path=SEARCHED)
    assert found is not None, f"{name} is missing: scripts/test installs what the suites need"
    return found


def install_node_packages() -> Path:
    """Install what the Node recipes import, once for each lock file; give the folder that holds `node_modules`."""
    lock = NODE / "package-lock.json"
    mark = INSTALLED / "installed"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not mark.exists() or mark.read_text("ascii") != wanted:
        shutil.rmtree(INSTALLED, ignore_errors=True)
        shutil.copytree(NODE, INSTALLED)
        command = [program_of("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
        done = subprocess.run(command, cwd=INSTALLED, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        mark.write_text(wanted, "ascii")
    return INSTALLED / "node_modules"


class CountingPath(CutPath):
    """Also counts the requests that set out: a client may open a connection and say nothing on it."""

    posts = 0

    def admit(self, pair: Any) -> bool:
        """Take note of a connection, and of what is said on it."""
        passed, seen = pair.passed, [b""]

        def counted(data: bytes, *, from_near: bool) -> None:
            # What came before the far side was there is passed once more, the same object.
            if from_near and data is not seen[0]:
                seen[0] = data
                self.posts += data.startswith(b"POST ")
            passed(data, from_near=from_near)

        pair.passed = counted
        return super().admit(pair)


class Paths:
    """Paths that cut, on a loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="paths")
        self._thread.start()
        self._made: list[CountingPath] = []

    def to(self, url: str, *fates: Fate) -> tuple[CountingPath, str]:
        """Make a path to a server: its first connections have these fates, later ones are spared."""
        target = urlsplit(url)
        assert target.hostname is not None
        assert target.port is not None
        path = CountingPath(
            target.hostname, target.port, fate_of=lambda number: fates[number - 1] if number <= len(fates) else None
        )
        self._made.append(path)
        port = self._do(path.start(processes.HOST, 0))
        return path, f"http://{processes.HOST}:{port}"

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10.0)

    def close(self) -> None:
        """Drop what is open, and end the thread."""
        for path in self._made:
            self._do(path.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one program."""

    status: int
    told: str
    """Standard error."""
    image: bytes | None
    posts: int
    """Requests that set out."""
    took_s: float


@dataclass(kw_only=True)
class Stage:
    """Everything the recipes play on."""

    folder: Path
    simulator: Any
    gateway: Any
    paths: Paths
    node_modules: Path
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(AT_ONCE))
    _made: dict[str, Future[list[str]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, client: Client, prompt: str, **options: Any) -> Future[Outcome]:
        """Start a program when there is room; see `run`."""
        return self.pool.submit(self.run, client, prompt, **options)

    def run(
        self,
        client: Client,
        prompt: str,
        *,
        through_holdfast: bool,
        tier: Tier = Tier.K1,
        fates: tuple[Fate, ...] = (),
        limits: Mapping[str, int] | None = None,
        base_url: str = "",
    ) -> Outcome:
        """Run a client's program to its end.

        Args:
            client: Of the catalog.
            prompt: Whatever it draws.
            through_holdfast: Which of its two programs.
            tier: Size class.
            fates: Of its first connections.
            limits: Numbers in place of the shipped ones, by name.
            base_url: Instead of a path to the gateway or the simulator.
        """
        command = self.command(client, tier, through_holdfast=through_holdfast, limits=limits or {})
        url = self.gateway.base_url if through_holdfast else self.simulator.base_url
        path, front = self.paths.to(url, *fates)
        name = hashlib.sha256(f"{client.name} {prompt} {through_holdfast}".encode()).hexdigest()[:16]
        file = self.folder / f"{name}.png"
        environ = processes.environment() | self._environ(client, base_url or front)
        began_at = time.monotonic()
        done = subprocess.run(
            [*command, prompt, str(file)], env=environ, capture_output=True, text=True, timeout=ENDS_S, check=False
        )
        return Outcome(
            status=done.returncode,
            told=done.stderr,
            image=file.read_bytes() if file.exists() else None,
            posts=path.posts,
            took_s=time.monotonic() - began_at,
        )

    def _environ(self, client: Client, front: str) -> dict[str, str]:
        base_url = front if client.speaks_gemini else f"{front}/v1"
        key = processes.UPSTREAM_KEY
        alone = "GEMINI" if client.speaks_gemini else "OPENAI"
        return {
            "PATH": SEARCHED,
            "HOLDFAST_BASE_URL": base_url,
            "HOLDFAST_API_KEY": self.gateway.key,
            "GOOGLE_GEMINI_BASE_URL": base_url,
            "OPENAI_BASE_URL": base_url,
            f"{alone}_API_KEY": key,
        }

    def command(self, client: Client, tier: Tier, *, through_holdfast: bool, limits: Mapping[str, int]) -> list[str]:
        """Write a program down, compile it where its language is compiled, and say how it is started."""
        table = numbers(tier, Deadlines(), through_holdfast=through_holdfast)
        source = render(client, tier, shortened(table, limits), through_holdfast=through_holdfast)
        with self._lock:
            is_first = source not in self._made
            made = self._made.setdefault(source, Future())
            number = len(self._made)
        if is_first:
            # Nobody else waits for a compiler but those who run what it makes.
            try:
                made.set_result(self._prepared(client, source, number))
            except BaseException as error:
                made.set_exception(error)
                raise
        return made.result()

    def _prepared(self, client: Client, source: str, number: int) -> list[str]:
        folder = self.folder / f"{client.name}-{number}"
        folder.mkdir()
        file = folder / f"Image.{SUFFIXES[client.language]}"
        file.write_text(source, "utf-8")
        match client.language:
            case Language.PYTHON:
                return [sys.executable, "-W", "error::SyntaxWarning", str(file)]
            case Language.SHELL:
                return ["sh", str(file)]
            case Language.JAVASCRIPT:
                (folder / "node_modules").symlink_to(self.node_modules)
                return [program_of("node"), str(file)]
            case Language.JAVA:
                _compile([program_of("javac"), "-Xlint:all", "-Werror", "-d", str(folder), str(file)], folder)
                return [program_of("java"), "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", str(folder), "Image"]
            case Language.GO:
                # Without optimizing: a new machine compiles the standard library first.
                build = [program_of("go"), "build", "-gcflags=all=-N -l", "-o", str(folder / "image"), str(file)]
                _compile(build, folder)
                return [str(folder / "image")]


def _compile(command: list[str], folder: Path) -> None:
    # Without cgo no C compiler is needed.
    go = {"GOTOOLCHAIN": "local", "CGO_ENABLED": "0", "GOCACHE": str(ROOT / ".venv" / "recipes-go")}
    environ = processes.environment() | go
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def shortened(table: Mapping[str, Number], limits: Mapping[str, int]) -> dict[str, Number]:
    """Put other numbers in the place of some: the program is the same, letter by letter, but for them."""
    assert limits.keys() <= table.keys()
    return {name: replace(number, value=limits.get(name, number.value)) for name, number in table.items()}


@cache
def _painted(width_px: int, height_px: int, kind: str) -> Prepared:
    return prepare(paint(width_px, height_px, kind), kind)


def is_as_drawn(image: bytes) -> bool:
    """Draw the picture again and compare every byte: what was saved is what the upstream made, to the last one."""
    with Image.open(BytesIO(image)) as opened:
        width_px, height_px = opened.size
        kind = str(opened.format).lower()
        serial = str(opened.info["Comment"] if kind == "png" else opened.info["comment"].decode())
    return _painted(width_px, height_px, kind).with_serial(serial).file() == image


@pytest.fixture(scope="session")
def program() -> Any:
    """Give the finder of programs."""
    return program_of


@pytest.fixture(scope="session")
def as_drawn() -> Any:
    """Give the comparison."""
    return is_as_drawn


@pytest.fixture(scope="session")
def nobody() -> Iterator[str]:
    """Give an address where nobody listens: the port is taken, so that nobody else comes to listen there either."""
    with socket.socket() as held:
        held.bind((processes.HOST, 0))
        yield f"http://{processes.HOST}:{held.getsockname()[1]}"


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Set everything up, and look at the books when it has ended."""
    folder = tmp_path_factory.mktemp("recipes")
    with contextlib.ExitStack() as stack:
        simulator = processes.Simulator(folder)
        stack.callback(simulator.stop)
        gateway = processes.Gateway(folder, processes.settings_for(simulator.base_url))
        stack.callback(gateway.stop)
        paths = Paths()
        stack.callback(paths.close)
        stage = Stage(
            folder=folder,
            simulator=simulator,
            gateway=gateway,
            paths=paths,
            node_modules=install_node_packages(),
        )
        stack.callback(stage.pool.shutdown, cancel_futures=True)
        yield stage
    sums = gateway.ledger()
    assert sums.hold, sums
    assert sums.accounts.get("held", 0) == 0
    assert "Traceback" not in gateway.logged()
    assert gateway.key not in gateway.logged()
