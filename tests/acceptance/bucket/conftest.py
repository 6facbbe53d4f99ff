"""A gateway with its images in a bucket: simulator, gateway and S3 server are processes, and the path between them can
be harmed."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import itertools
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import openai
import pytest

from holdfast.config.objects import ObjectKeys, ObjectSettings, address_of
from holdfast.store.objects.bucket import Bucket, open_bucket


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


object_server = _load("object_server", Path(__file__).parents[2] / "object_server.py")
processes = _load("bucket_processes", Path(__file__).parents[1] / "processes.py")
replicas = _load("bucket_replicas", Path(__file__).with_name("replicas.py"))
_numbers = itertools.count(1)
KEYS = ObjectKeys(id=object_server.KEY_ID, secret=object_server.SECRET)


@dataclass
class Play:
    """Everything a test asks."""

    folder: Path
    settings: dict[str, Any]
    simulator: Any
    path: Any
    bucket: Bucket
    gateway: Any
    model: str = "nano-banana-pro"

    @property
    def data(self) -> Path:
        """The gateway's data folder."""
        return self.folder / "data"

    @property
    def pid(self) -> int:
        """Of the gateway."""
        return int(self.gateway._process.pid)

    def client(self) -> openai.OpenAI:
        """Make a stock SDK."""
        return openai.OpenAI(base_url=f"{self.gateway.base_url}/v1", api_key=self.gateway.key)

    def get(self, path: str, **options: Any) -> httpx2.Response:
        """Get something with the key."""
        headers = {"Authorization": f"Bearer {self.gateway.key}"}
        with httpx2.Client(trust_env=False, timeout=60) as client:
            return client.get(f"{self.gateway.base_url}{path}", headers=headers, **options)

    def drawn(self, prompt: str, size: str = "1024x1024", **more: Any) -> bytes:
        """Ask as a program does, and take the image out of the answer."""
        with self.client() as client:
            answer = client.images.generate(model=self.model, prompt=f"{prompt} marker-Qx7Zt", size=size, **more)
        return base64.b64decode(answer.data[0].b64_json)

    def only(self) -> dict[str, Any]:
        """Give the record of the one generation."""
        (found,) = self.get("/v1/generations").json()["data"]
        return dict(found)

    def image(self) -> httpx2.Response:
        """Collect its image by its id."""
        return self.get(f"/v1/generations/{self.only()['id']}/images/0")

    def again(self) -> None:
        """Start the gateway that was stopped or killed."""
        self.gateway = processes.Gateway(self.folder, self.settings)

    def keys(self, prefix: str = "blobs") -> set[str]:
        """Name what lies in the bucket."""
        return {head.key for head in self.bucket.list(prefix)}

    def waiting(self) -> list[Path]:
        """What the bucket has not taken."""
        return [each for each in (self.data / "blobs").rglob("*") if each.is_file()]

    def forget(self) -> None:
        """Empty the cache, as another machine's is."""
        for each in (self.data / "cache").iterdir():
            each.unlink()

    def until(self, is_so: Callable[[], bool], within_s: float = 20.0) -> None:
        """Wait for something that nobody tells of."""
        end = time.monotonic() + within_s
        while not is_so():
            assert time.monotonic() < end
            time.sleep(0.05)

    def change(self, sql: str, **values: Any) -> None:
        """Change a record behind the gateway's back, which must not run."""
        with closing(sqlite3.connect(self.data / "holdfast.sqlite3")) as database, database:
            database.execute(sql, values)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The S3 server, started once for all processes."""
    with object_server.shared(tmp_path_factory.getbasetemp()) as reached:
        yield reached


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The upstreams, which are nobody's question here."""
    made = processes.Simulator(tmp_path_factory.mktemp("upstreams"))
    yield made
    made.stop()


@pytest.fixture
def path(server: Any) -> Iterator[Any]:
    """The way to it."""
    with object_server.FaultyPath(server.port).running() as made:
        yield made


def settings_in(folder: Path, simulator: Any, path: Any, **objects: Any) -> dict[str, Any]:
    """Make settings of a gateway whose images lie in a place of their own in the bucket."""
    made = dict(processes.settings_for(simulator.base_url))
    made["store"] = {"blobs": f"s3://images/{os.getpid()}/{folder.name}"}
    (folder / "secret").write_text(KEYS.secret, "utf-8")
    made["objects"] = {
        "endpoint": path.endpoint,
        "access_key_id": KEYS.id,
        "secret_access_key": f"file:{folder / 'secret'}",
        **objects,
    }
    return made


def bucket_of(server: Any, settings: dict[str, Any]) -> Bucket:
    """Open it beside the gateway."""
    address = address_of(settings["store"]["blobs"])
    assert address is not None
    return open_bucket(address, ObjectSettings(endpoint=server.endpoint), KEYS)


@pytest.fixture
def settings(request: pytest.FixtureRequest, server: Any, simulator: Any, path: Any, tmp_path: Path) -> dict[str, Any]:
    """Settings of a gateway whose images lie in a folder of the bucket; parameters go into the section `objects`."""
    server.make_bucket("images")
    return settings_in(tmp_path, simulator, path, **getattr(request, "param", {}))


@pytest.fixture
def play(server: Any, simulator: Any, path: Any, settings: dict[str, Any], tmp_path: Path) -> Iterator[Play]:
    """Set everything up; afterwards the books balance, and nothing secret was logged."""
    bucket = bucket_of(server, settings)
    with contextlib.ExitStack() as stack:
        play = Play(tmp_path, settings, simulator, path, bucket, processes.Gateway(tmp_path, settings))
        stack.callback(lambda: play.gateway.stop())
        yield play
        sums = play.gateway.ledger()
    assert sums.hold, sums
    assert sums.accounts.get("held", 0) == 0
    logged = play.gateway.logged()
    assert "fault.internal" not in logged
    assert not [word for word in (*processes.SECRETS, play.gateway.key) if word in logged]


@pytest.fixture
def alone(server: Any, simulator: Any, path: Any, tmp_path: Path, postgres_server: Any) -> Iterator[Any]:
    """Replicas of one test, none of which is started."""
    yield from _cluster(server, simulator, path, tmp_path, postgres_server)


@pytest.fixture(scope="module")
def shared_path(server: Any) -> Iterator[Any]:
    """The way to the bucket that the replicas of a file share."""
    with object_server.FaultyPath(server.port).running() as made:
        yield made


@pytest.fixture(scope="module")
def shared_cluster(
    server: Any,
    simulator: Any,
    shared_path: Any,
    tmp_path_factory: pytest.TempPathFactory,
    postgres_server: Any,
) -> Iterator[Any]:
    """Three that serve, the third by redirects, and two that work: of all tests of a file."""
    server.make_bucket("images")
    folder = tmp_path_factory.mktemp("replicas")
    for cluster in _cluster(server, simulator, shared_path, folder, postgres_server):
        cluster.start_all({"first": "serve", "second": "serve", "one": "work", "two": "work"})
        cluster.start("third", "serve", objects={"serve": "redirect"})
        yield cluster


@pytest.fixture
def cluster(shared_cluster: Any, shared_path: Any) -> Iterator[Any]:
    """The same for one test, with a bucket that answers."""
    yield shared_cluster
    shared_path.always = None


def _cluster(server: Any, simulator: Any, path: Any, folder: Path, postgres_server: Any) -> Iterator[Any]:
    server.make_bucket("images")
    settings = settings_in(folder, simulator, path)
    name = f"bucket_{os.getpid()}_{next(_numbers)}"
    settings["store"]["database"] = postgres_server.make(name)
    made = replicas.Cluster(folder, settings, processes.Holdfast)
    made.database, made.name = postgres_server, name
    made.bucket, made.path, made.simulator = bucket_of(server, settings), path, simulator
    with replicas.running(made, processes.SECRETS):
        yield made
