"""Several processes on one PostgreSQL and one bucket, each with a disk of its own that nobody else sees."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import tomli_w

WITHIN_S = 120.0
"""Nothing that a test waits for takes longer, on a machine that has other work too."""
PROMPT = "a lighthouse, marker-Qx7Zt"


class Cluster:
    """Replicas by their names: those that serve, and those that work."""

    def __init__(self, folder: Path, settings: dict[str, Any], holdfast: type[Any]) -> None:
        self.folder = folder
        self.settings = settings
        self._holdfast = holdfast
        self._secret = os.urandom(32)
        self.replicas: dict[str, Any] = {}
        self.bucket: Any = None
        self.path: Any = None
        """To the bucket; may be harmed."""
        self.simulator: Any = None
        self.database: Any = None
        self.name = ""
        """Of the database."""
        self._client = httpx2.Client(trust_env=False, timeout=WITHIN_S, limits=httpx2.Limits(max_connections=100))

    def start(self, name: str, role: str, *, fault: str = "", **sections: Any) -> Any:
        """Start one, as a new machine: nothing lies on its disk but the secret. `fault`: where it fails."""
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        data = folder / "data"
        data.mkdir()
        (data / "secret").touch(0o600)
        (data / "secret").write_bytes(self._secret)
        settings = self.settings | {name: {**self.settings.get(name, {}), **of} for name, of in sections.items()}
        file = folder / "holdfast.toml"
        file.write_text(tomli_w.dumps(settings), "utf-8")
        words = ["serve", "--config", str(file), "--data", str(data), "--port", "0", "--role", role]
        more = {"HOLDFAST_FAULT": fault} if fault else None
        self.replicas[name] = self._holdfast(folder, *words, more=more)
        self.replicas[name].data = data
        return self.replicas[name]

    def start_all(self, roles: dict[str, str]) -> None:
        """Start several: the first one makes tables and key, the others at once."""
        (name, role), *rest = roles.items()
        self.start(name, role)
        with ThreadPoolExecutor(len(roles)) as threads:
            list(threads.map(lambda each: self.start(*each), rest))

    @property
    def key(self) -> str:
        """The key that the first one made."""
        (file,) = self.folder.glob("*/data/first.key")
        return file.read_text("ascii").strip()

    def lose(self, name: str) -> None:
        """Wait until one of them has died, and take its disk away."""
        self.until(lambda: not self.replicas[name].lives())
        shutil.rmtree(self.replicas[name].data)

    def ask(self, name: str, method: str, path: str, **options: Any) -> httpx2.Response:
        """Make a call at one of them."""
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        return self._client.request(method, self.replicas[name].base_url + path, headers=headers, **options)

    def accept(self, name: str, prompt: str = PROMPT, **fields: Any) -> str:
        """Have a generation accepted, and give its id."""
        answer = self.ask(name, "POST", "/v1/generations", json={"prompt": prompt, **fields})
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def end_of(self, name: str, generation_id: str) -> dict[str, Any]:
        """Wait for the end of a generation at one of them."""
        answer = self.ask(name, "GET", f"/v1/generations/{generation_id}", headers={"Prefer": "wait=100"})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def image(self, name: str, record: dict[str, Any], **options: Any) -> httpx2.Response:
        """Follow the link of a generation's first image, at one of them."""
        path = httpx2.URL(record["images"][0]["url"]).raw_path.decode()
        return self.ask(name, "GET", path, **options)

    def asked_to_delete(self, key: str) -> int:
        """Count the requests to the bucket that were to delete an object."""
        return sum(key.encode() in each.words for each in self.path.seen)

    def rows(self, sql: str) -> None:
        """Change records behind everybody's back."""
        self.database.command(sql, at=self.name)

    def told(self, event: str, generation_id: str) -> list[str]:
        """Name the replicas that have logged something of a generation."""
        return [
            name
            for name, each in self.replicas.items()
            if any(event in line and generation_id in line for line in each.logged().splitlines())
        ]

    def worker_of(self, generation_id: str) -> str:
        """Wait until somebody has sent it to an upstream, and say who."""
        self.until(lambda: bool(self.told("attempt.sent", generation_id)))
        return self.told("attempt.sent", generation_id)[-1]

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that nobody tells of."""
        end = time.monotonic() + WITHIN_S
        while not is_so():
            assert time.monotonic() < end
            time.sleep(0.05)

    def leaks(self, words: tuple[str, ...]) -> list[str]:
        """Log lines that hold what must never be logged, or tell of a fault of ours."""
        lines = [line for each in self.replicas.values() for line in each.logged().splitlines()]
        return [line for line in lines if any(word in line for word in (*words, self.key, "fault.internal"))]

    def stop(self) -> None:
        """End all that still run."""
        self._client.close()
        with ThreadPoolExecutor(len(self.replicas) or 1) as threads:
            list(threads.map(lambda each: each.stop(), self.replicas.values()))


@contextmanager
def running(cluster: Cluster, secrets: tuple[str, ...]) -> Iterator[Cluster]:
    """End it with the block; nothing secret was logged, and nothing broke inside."""
    try:
        yield cluster
        assert cluster.leaks(secrets) == []
    finally:
        cluster.stop()


def document_of(answer: httpx2.Response) -> Any:
    """Read an answer that succeeded."""
    assert answer.status_code == 200, answer.text
    return json.loads(answer.content)
