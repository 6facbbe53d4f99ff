"""Replicas behind nginx as `deploy/compose` has it, and the stock SDK before it: deploys and a database that restarts.

Half of the SDK's clients make no second try, so that whatever goes wrong is seen; what they see is nothing but latency.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import openai
import pytest
import tomli_w

from holdfast.store.audit import audit
from holdfast.store.bookkeeping import ledger_sums

pytestmark = pytest.mark.timeout(600)

HERE = Path(__file__)
ROOT = HERE.parents[2]
COMPOSED = ROOT / "deploy" / "compose" / "nginx.conf"
SERVE, WORK = ("serve-1", "serve-2"), ("work-1", "work-2")
ACCEPT_S = 2.0
CLIENTS = 8
DELAYS_S = (0.2, 0.8, 1.5, 3.0)
AWAY_S = 2.0
"""How long a database is away that restarts."""
PATIENCE_S = 60.0
"""Longer than any call takes here, however busy the machine is."""


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"replicas_{name}", HERE.with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


processes = _load("processes")


class Replica(processes.Holdfast):  # type: ignore[misc]
    """One process of several, by name; it is started anew with the same settings."""

    def __init__(self, folder: Path, port: int, role: str) -> None:
        self.role = role
        words = ("serve", "--config", str(folder / "holdfast.toml"), "--data", str(folder / "data"))
        super().__init__(folder, *words, "--port", str(port), "--role", role)

    def send(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def ended(self) -> int:
        """Wait until it has ended by itself."""
        status = int(self._process.wait(PATIENCE_S))
        self.stop()
        return status


@dataclass
class Cluster:
    """Replicas, nginx before them, simulated upstreams behind them."""

    folder: Path
    server: Any
    dsn: str
    simulator: Any
    front: str
    ports: dict[str, int]
    replicas: dict[str, Replica] = field(default_factory=dict)
    logs: list[str] = field(default_factory=list)

    def start(self, name: str) -> Replica:
        """Start one."""
        made = Replica(self.folder / name, self.ports.get(name, 0), name.partition("-")[0])
        self.replicas[name] = made
        return made

    def replace(self, name: str) -> None:
        """Deploy one anew, as an orchestrator does: ask it to end, wait, start the next."""
        old = self.replicas.pop(name)
        old.send(signal.SIGTERM)
        assert old.ended() == 0
        self.logs.append(old.logged())
        self.start(name)

    @property
    def key(self) -> str:
        """The key that the first one made."""
        (file,) = self.folder.glob("*/data/first.key")
        return file.read_text("ascii").strip()


@dataclass
class Seen:
    """What came of the calls of one kind."""

    took_s: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Load:
    """Clients that ask one call after the other until they are told to stop."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(2 * CLIENTS)
        self.seen = {"no retries": Seen(), "retries": Seen(), "plain": Seen()}
        self._running = [self._pool.submit(self._sdk, number) for number in range(CLIENTS)]
        self._running += [self._pool.submit(self._plain, number) for number in range(2)]

    def _sdk(self, number: int) -> None:
        kind = "retries" if number % 2 else "no retries"
        retries = openai.DEFAULT_MAX_RETRIES if number % 2 else 0
        client = openai.OpenAI(
            base_url=f"{self._cluster.front}/v1", api_key=self._cluster.key, max_retries=retries, timeout=PATIENCE_S
        )
        count = 0
        while not self._stop.is_set():
            prompt = f"{processes.SECRETS[0]} {number}.{count} [sim delay={DELAYS_S[(number + count) % len(DELAYS_S)]}]"
            self._timed(kind, lambda prompt=prompt: client.images.generate(model="gpt-image-2", prompt=prompt))
            count += 1
        client.close()

    def _plain(self, number: int) -> None:
        """Make one without waiting, look at it until it has ended, list, and get its image."""
        headers = {"Authorization": f"Bearer {self._cluster.key}"}
        count = 0
        with httpx2.Client(trust_env=False, timeout=PATIENCE_S, headers=headers) as client:
            while not self._stop.is_set():
                prompt = f"{processes.SECRETS[0]} plain {number}.{count} [sim delay=0.3]"
                self._timed("plain", lambda prompt=prompt: self._follow(client, prompt))
                count += 1

    def _follow(self, client: httpx2.Client, prompt: str) -> None:
        url = f"{self._cluster.front}/v1/generations"
        made = client.post(url, json={"prompt": prompt}).raise_for_status().json()
        while made["status"] in ("queued", "running"):
            wait = {"Prefer": "wait=2"}
            made = client.get(f"{url}/{made['id']}", headers=wait).raise_for_status().json()
        assert made["status"] == "succeeded", made
        client.get(url, params={"limit": 2}).raise_for_status()
        assert client.get(made["images"][0]["url"]).raise_for_status().content

    def _timed(self, kind: str, call: Callable[[], Any]) -> None:
        began_at = time.monotonic()
        try:
            call()
        except Exception as exc:  # noqa: BLE001 - whatever a caller sees is what this is about
            self.seen[kind].errors.append(f"{type(exc).__name__}: {exc}"[:300])
        self.seen[kind].took_s.append(time.monotonic() - began_at)

    def until(self, count: int) -> None:
        """Wait until so many calls of each kind have been answered from now on."""
        wanted = {kind: len(seen.took_s) + count for kind, seen in self.seen.items()}
        end = time.monotonic() + PATIENCE_S
        while any(len(self.seen[kind].took_s) < at for kind, at in wanted.items()):
            assert time.monotonic() < end, self.told()
            time.sleep(0.05)

    def end(self) -> None:
        """Let what is on its way arrive."""
        self._stop.set()
        self._pool.shutdown()
        for each in self._running:
            each.result()

    def told(self) -> str:
        """Say what was seen, in one line for each kind."""
        lines = []
        for kind, seen in self.seen.items():
            slowest_s = max(seen.took_s, default=0.0)
            lines.append(f"{kind}: {len(seen.took_s)} calls, slowest {slowest_s:.1f} s, {len(seen.errors)} errors")
            lines += seen.errors[:5]
        return "\n".join(lines)

    @property
    def errors(self) -> list[str]:
        """All that any caller saw."""
        return [error for seen in self.seen.values() for error in seen.errors]


def nginx_of_compose(front: int, ports: dict[str, int]) -> str:
    """Give the servers of the composed file, with our addresses in the place of its names."""
    text = COMPOSED.read_text("utf-8")
    for name in SERVE:
        assert text.count(f"server {name}:16888 ") == 1
        text = text.replace(f"server {name}:16888 ", f"server {processes.HOST}:{ports[name]} ")
    assert text.count("listen 80;") == 1
    assert text.count("access_log /dev/stdout holdfast;") == 1
    text = text.replace("access_log /dev/stdout holdfast;", "access_log off;")
    return text.replace("listen 80;", f"listen {processes.HOST}:{front};")


def prepare(folder: Path, dsn: str, simulator_url: str, front: str, secret: bytes) -> None:
    """Give a replica its folder, whose images are everybody's, and its settings."""
    data = folder / "data"
    data.mkdir(parents=True)
    (data / "secret").touch(0o600)
    (data / "secret").write_bytes(secret)
    for each in ("blobs", "inputs"):
        (folder.parent / each).mkdir(exist_ok=True)
        (data / each).symlink_to(folder.parent / each)
    settings = processes.settings_for(simulator_url)
    settings["store"] = {"database": dsn}
    settings["drain"] = {"accept_s": ACCEPT_S}
    settings["server"] = {"public_url": front, "trusted_proxies": [f"{processes.HOST}/32"]}
    (folder / "holdfast.toml").write_text(tomli_w.dumps(settings), "utf-8")


@pytest.fixture
def cluster(own_postgres: Any, tmp_path: Path) -> Iterator[Cluster]:
    """Two that serve, two that work, nginx; afterwards the books balance, and each image was bought once."""
    dsn = own_postgres.emptied(f"replicas_{os.getpid()}")
    front, *ports = processes.free_ports(1 + len(SERVE))
    url, secret = f"http://{processes.HOST}:{front}", secrets.token_bytes(32)
    with contextlib.ExitStack() as stack:
        simulator = processes.Simulator(tmp_path)
        stack.callback(simulator.stop)
        made = Cluster(tmp_path, own_postgres, dsn, simulator, url, dict(zip(SERVE, ports, strict=True)))
        for name in (*SERVE, *WORK):
            prepare(tmp_path / name, dsn, simulator.base_url, url, secret)
            made.start(name)
        stack.callback(lambda: [each.stop() for each in made.replicas.values()])
        folder = tmp_path / "nginx"
        folder.mkdir()
        nginx = processes.Nginx(folder, nginx_of_compose(front, made.ports), [front])
        stack.callback(nginx.stop)
        yield made
        charges = simulator.charges()
    logged = "".join([*made.logs, *(each.logged() for each in made.replicas.values())])
    assert "Traceback" not in logged, logged[logged.index("Traceback") - 2000 :][:4000]
    assert "fault.internal" not in logged
    assert not [word for word in (*processes.SECRETS, made.key) if word in logged]
    sums = own_postgres.read(dsn, ledger_sums)
    assert sums.hold, sums
    assert sums.accounts.get("held", 0) == 0
    assert own_postgres.read(dsn, audit).problems == ()
    rows = own_postgres.read(dsn, lambda conn: conn.execute("SELECT id, state FROM generation ORDER BY id").fetchall())
    bought = sorted(each["idempotency_key"].partition(".")[0] for each in charges if each["micros"])
    assert bought == [row["id"] for row in rows if row["state"] == "succeeded"], "one was bought twice, or for nobody"
    assert {row["state"] for row in rows} == {"succeeded"}


def test_a_rolling_deploy_is_seen_by_nobody(cluster: Cluster) -> None:
    """Every replica is replaced, one after the other, under load: no call fails, whether its SDK tries again or not."""
    load = Load(cluster)
    load.until(2)
    for name in (*SERVE, *WORK):
        cluster.replace(name)
        load.until(1)
    load.end()
    print(load.told())
    assert load.errors == [], load.told()


def test_a_database_that_restarts_is_felt_as_latency(cluster: Cluster) -> None:
    """Two seconds without it, twice, the second time by a crash of its: no call fails, nothing is bought twice."""
    load = Load(cluster)
    load.until(2)
    for how in ("INT", "QUIT"):
        cluster.server.stop(how=how)
        time.sleep(AWAY_S)
        cluster.server.start()
        load.until(2)
    load.end()
    print(load.told())
    assert load.errors == [], load.told()
