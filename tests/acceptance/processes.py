"""The real things: `holdfast simulate`, `holdfast serve` and nginx, each a process of its own on loopback."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import tomli_w

from holdfast.store.bookkeeping import LedgerSums, ledger_sums
from holdfast.store.postgres.store import Options, PostgresStore

HOST = "127.0.0.1"
READY_S = 15.0
END_S = 15.0
CUT_S = 3.0
"""`proxy_read_timeout`: nginx gives up an upstream that is silent for so long."""
FIRST_BEAT_S = 0.5
BEAT_S = 0.5
HOP_S = 1.0
"""Half as long again is half of `CUT_S`: a busy machine may take as long once more, and no proxy cuts."""
UPSTREAM_KEY = "upstream-secret-Jw4Ru"
SECRETS = ("marker-Qx7Zt", "Jw4Ru", "sig=", "?key")
"""Must stand in no log: part of every prompt, part of the upstream's credential, pieces of query strings."""


def environment() -> dict[str, str]:
    """Give a shell without settings of ours, keys, and proxies."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HOLDFAST_") and not name.upper().endswith(("_API_KEY", "_PROXY"))
    } | {"NO_PROXY": "*"}


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()


class Holdfast:
    """One `holdfast` command that serves, until it is stopped."""

    def __init__(self, folder: Path, *words: str, more: Mapping[str, str] | None = None) -> None:
        """Start it; `more` is added to its environment."""
        self._log = folder / f"{words[0]}.log"
        command = [sys.executable, "-m", "holdfast.cli.main", *words, "--json"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, env=environment() | dict(more or {}), stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.base_url = self._told()
        self.status: int | None = None
        """How it ended."""

    def _told(self) -> str:
        assert self._process.stdout is not None
        # What it prints before it is ready is not much, and its end ends the loop.
        for line in self._process.stdout:
            if "base_url" in (told := json.loads(line)):
                return str(told["base_url"]).removesuffix("/v1")
        raise AssertionError(f"did not start: {self.logged()[-3000:]}")

    def logged(self) -> str:
        """Everything it wrote to standard error."""
        return self._log.read_text("utf-8")

    def stop(self) -> None:
        """Ask it to end, as a supervisor does."""
        _end(self._process)
        self.status = self._process.returncode

    def kill(self) -> None:
        """End it without a word, as a kernel does that is out of memory."""
        self._process.kill()
        _end(self._process)

    def lives(self) -> bool:
        """Whether it has not ended yet, by itself or otherwise."""
        return self._process.poll() is None

    def ask_to_end(self) -> None:
        """Send SIGTERM, and do not wait."""
        self._process.terminate()


class Simulator(Holdfast):
    """The upstreams: silent exactly as long as a prompt's `[sim delay=…]` says, otherwise quick."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "simulate", "--port", "0", "--scenario", "instant", "--seed", "7")

    def script(self, document: Mapping[str, Any]) -> None:
        """Tell what the next requests of some kind shall suffer."""
        with httpx2.Client(trust_env=False) as client:
            client.post(f"{self.base_url}/_sim/script", json=document).raise_for_status()

    def charges(self) -> list[dict[str, Any]]:
        """List every generation that ended here, oldest first."""
        return list(_get(f"{self.base_url}/_sim/charges")["charges"])

    def purchases(self, generation_id: str) -> list[dict[str, Any]]:
        """List what was charged for one generation of the gateway."""
        return [row for row in self.charges() if row["micros"] and _generation_of(row) == generation_id]

    def requests(self, generation_id: str) -> int:
        """Count what the gateway asked for one generation, paid or not."""
        return sum(_generation_of(row) == generation_id for row in self.charges())


def _generation_of(row: Mapping[str, Any]) -> str:
    return str(row["idempotency_key"] or "").partition(".")[0]


def _get(url: str, **options: Any) -> Any:
    with httpx2.Client(trust_env=False) as client:
        return client.get(url, **options).raise_for_status().json()


class Gateway(Holdfast):
    """`holdfast serve`, its key, its records and its books."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        file = folder / "holdfast.toml"
        file.write_text(tomli_w.dumps(settings), "utf-8")
        self._data = folder / "data"
        self._dsn = str(settings.get("store", {}).get("database", "sqlite"))
        super().__init__(folder, "serve", "--config", str(file), "--data", str(self._data), "--port", "0")
        self.key = (self._data / "first.key").read_text("ascii").strip()
        self._bearer = {"Authorization": f"Bearer {self.key}"}

    def record(self, generation_id: str) -> dict[str, Any]:
        """Ask for a generation's record, as its caller may."""
        return dict(_get(f"{self.base_url}/v1/generations/{generation_id}", headers=self._bearer))

    def ended(self, generation_id: str, within_s: float = 20.0) -> dict[str, Any]:
        """Wait for a generation's end."""
        until = time.monotonic() + within_s
        while (record := self.record(generation_id))["status"] in ("queued", "running"):
            assert time.monotonic() < until, record
            time.sleep(0.05)
        return record

    def listed(self, *, collected: bool) -> list[dict[str, Any]]:
        """List the latest generations by whether their images have arrived."""
        query = f"collected={str(collected).lower()}&limit=100"
        return list(_get(f"{self.base_url}/v1/generations?{query}", headers=self._bearer)["data"])

    def generations(self, prompt: str) -> list[str]:
        """List generations by what was asked, oldest first: their callers may never have learned their names."""
        with closing(self._database()) as database:
            rows = database.execute(
                "SELECT id FROM generation WHERE instr(request, CAST(? AS BLOB)) ORDER BY id", (prompt,)
            )
            return [row["id"] for row in rows]

    def ledger(self) -> LedgerSums:
        """Add up the books."""
        if self._dsn != "sqlite":
            store = PostgresStore(self._dsn, "looking", Options(connections=2, is_exclusive=False))
            with closing(store):
                return store.write_sync(ledger_sums)
        with closing(self._database()) as database:
            return ledger_sums(database)

    def _database(self) -> sqlite3.Connection:
        database = sqlite3.connect(f"file:{self._data / 'holdfast.sqlite3'}?mode=ro", uri=True)
        database.row_factory = sqlite3.Row
        return database


def settings_for(upstream_url: str) -> dict[str, Any]:
    """Make the gateway's settings: the shipped models from the simulated upstreams, and time forty times as fast."""
    upstreams = [
        {"name": "google", "provider": "gemini", "base_url": upstream_url, "keys": [UPSTREAM_KEY]},
        {"name": "openai", "provider": "openai", "base_url": f"{upstream_url}/v1", "keys": [UPSTREAM_KEY]},
    ]
    routes = [
        {
            "model": "nano-banana-pro",
            "aliases": ["gemini-3-pro-image", "gemini-3-pro-image-preview"],
            "upstreams": [{"upstream": "google", "model": "gemini-3-pro-image"}],
        },
        {"model": "gpt-image-2", "upstreams": [{"upstream": "openai", "model": "gpt-image-2"}]},
    ]
    return {
        "heartbeat": {
            "first_beat_s": FIRST_BEAT_S,
            "beat_s": BEAT_S,
            "impatient_first_beat_s": FIRST_BEAT_S,
            "redirect_hop_s": HOP_S,
        },
        "drain": {"grace_s": 5},
        # Time is forty times as fast: nothing is to be learnt of that.
        "latency": {"prior_weight": 1e9},
        "retry": {"on_unknown": "fail"},
        "upstreams": upstreams,
        "routes": routes,
    }


def free_ports(count: int) -> list[int]:
    """Find ports that are free now: nginx cannot choose one itself."""
    sockets = [socket.create_server((HOST, 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Nginx:
    """Debian's nginx with servers of our own, all of its files in one folder."""

    def __init__(self, folder: Path, servers: str, ports: list[int]) -> None:
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        assert program is not None, "nginx is missing: apt-get install nginx (scripts/test does it as root)"
        self._folder = folder
        file = folder / "nginx.conf"
        file.write_text(nginx_conf(folder, servers), "utf-8")
        command = [program, "-p", str(folder), "-c", str(file), "-e", str(folder / "error.log")]
        self._process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
        for port in ports:
            self._reachable(port)

    def _reachable(self, port: int) -> None:
        until = time.monotonic() + READY_S
        while True:
            assert self._process.poll() is None, self.logged()
            try:
                socket.create_connection((HOST, port), timeout=1.0).close()
                return
            except OSError:
                assert time.monotonic() < until, self.logged()
                time.sleep(0.02)

    def logged(self) -> str:
        """Give its error log."""
        log = self._folder / "error.log"
        return log.read_text("utf-8") if log.exists() else ""

    def stop(self) -> None:
        """End it and its workers."""
        _end(self._process)


def nginx_conf(folder: Path, servers: str) -> str:
    """Write the frame around the servers: nothing in it changes how an answer is passed on."""
    # As root its workers would be another user, who cannot enter a test's folder.
    user = "user root root;\n" if os.geteuid() == 0 else ""
    temporary = "\n".join(
        f"    {name}_temp_path {folder / name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""{user}daemon off;
worker_processes 1;
pid {folder / "nginx.pid"};
error_log {folder / "error.log"} warn;
events {{ worker_connections 512; }}
http {{
    access_log off;
{temporary}
{servers}
}}
"""
