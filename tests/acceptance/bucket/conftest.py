"""A gateway with its images in a bucket: simulator, gateway and S3 server are processes, and the path between them can
be harmed."""

from __future__ import annotations

import contextlib
import importlib.util
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


@dataclass
class Play:
    """Everything a test asks."""

    folder: Path
    settings: dict[str, Any]
    simulator: Any
    path: Any
    bucket: Bucket
    gateway: Any

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

    def again(self, **objects: Any) -> None:
        """Start the gateway that was stopped or killed, with other settings of the bucket."""
        self.settings["objects"] |= objects
        self.gateway = processes.Gateway(self.folder, self.settings)

    def keys(self, prefix: str = "blobs") -> set[str]:
        """Name what lies in the bucket."""
        return {head.key for head in self.bucket.list(prefix)}

    def waiting(self) -> list[Path]:
        """What the bucket has not taken."""
        return [each for each in (self.data / "blobs").rglob("*") if each.is_file()]

    def forget(self) -> None:
        """Empty the cache, as another machine's is. The gateway must not run."""
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
    """The S3 server, started once."""
    made = object_server.ObjectServer(tmp_path_factory.mktemp("weed"))
    yield made
    made.kill()


@pytest.fixture
def play(server: Any, tmp_path: Path) -> Iterator[Play]:
    """Set everything up; afterwards the books balance, and nothing secret was logged."""
    server.make_bucket("images")
    blobs = f"s3://images/{tmp_path.name}"
    address = address_of(blobs)
    assert address is not None
    keys = ObjectKeys(id=object_server.KEY_ID, secret=object_server.SECRET)
    with contextlib.ExitStack() as stack:
        path = stack.enter_context(object_server.FaultyPath(server.port).running())
        simulator = processes.Simulator(tmp_path)
        stack.callback(simulator.stop)
        settings = processes.settings_for(simulator.base_url)
        settings["store"] = {"blobs": blobs}
        settings["objects"] = {
            "endpoint": path.endpoint,
            "access_key_id": keys.id,
            "secret_access_key": f"file:{tmp_path / 'secret'}",
        }
        (tmp_path / "secret").write_text(keys.secret, "utf-8")
        bucket = open_bucket(address, ObjectSettings(endpoint=server.endpoint), keys)
        gateway = processes.Gateway(tmp_path, settings)
        play = Play(tmp_path, settings, simulator, path, bucket, gateway)
        stack.callback(lambda: play.gateway.stop())
        yield play
        sums = play.gateway.ledger()
    assert sums.hold, sums
    assert sums.accounts.get("held", 0) == 0
    logged = play.gateway.logged()
    assert "fault.internal" not in logged
    assert not [word for word in (*processes.SECRETS, play.gateway.key) if word in logged]
