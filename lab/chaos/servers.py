"""What the replicas stand on, each a real program: PostgreSQL, SeaweedFS, nginx and the simulated upstream."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import importlib.util
import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import asyncpg

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
HOST = "127.0.0.1"
READY_S = 60.0
SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin"
DATABASE = "holdfast"
MINUTE_S = 60.0
PORTS = range(12_000, 32_000)
"""Below those that the kernel draws from."""


def free_ports(count: int) -> list[int]:
    """Find ports that are free now and that the kernel gives to nobody who connects: whoever is away keeps his."""
    with contextlib.ExitStack() as stack:
        sockets: list[socket.socket] = []
        for port in random.SystemRandom().sample(PORTS, len(PORTS)):
            if len(sockets) == count:
                break
            with contextlib.suppress(OSError):
                sockets.append(stack.enter_context(socket.create_server((HOST, port))))
        return [each.getsockname()[1] for each in sockets]


def environment() -> dict[str, str]:
    """Give a shell without settings of ours, keys, and proxies."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HOLDFAST_") and not name.upper().endswith(("_API_KEY", "_PROXY"))
    } | {"NO_PROXY": "*"}


def is_open(port: int) -> bool:
    """Whether somebody listens."""
    try:
        with socket.create_connection((HOST, port), 1.0):
            return True
    except OSError:
        return False


def end(process: subprocess.Popen[bytes], patience_s: float = 30.0) -> int:
    """Ask a process to end, and see that it does; how it ended."""
    process.terminate()
    try:
        return process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


class Postgres:
    """Debian's PostgreSQL as its own user, on a socket in a folder of its own, with its defaults but for that."""

    def __init__(self, folder: Path) -> None:
        """Make an empty cluster, start it, and make the database."""
        self.folder = folder
        folder.mkdir()
        self._as: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        command = [*self._as, _postgres("initdb"), "--no-sync", "--auth=trust", "--username=postgres"]
        command += ["--encoding=UTF8", "--locale=C.UTF-8", "--pgdata", str(folder / "data")]
        subprocess.run(command, cwd=folder, capture_output=True, check=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.folder / ".s.PGSQL.5432"

    @property
    def dsn(self) -> str:
        """The way to it that nothing disturbs: the checker's."""
        return f"postgresql://postgres@/{DATABASE}?host={self.folder}"

    def start(self) -> None:
        """Start it; it takes callers a moment later."""
        named = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "max_connections": "400"}
        options = [word for name, value in named.items() for word in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as, _postgres("postgres"), "-D", str(self.folder / "data"), *options],
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )

    def stop(self, *, is_crash: bool) -> None:
        """End it with all its connections open: in order, or as by a crash of it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT if is_crash else signal.SIGINT)
        self._process.wait(READY_S)

    async def ready(self, name: str = DATABASE) -> asyncpg.Connection:
        """Connect, as soon as it can be done.

        Raises:
            AssertionError: It does not come up.
        """
        until = time.monotonic() + READY_S
        dsn = self.dsn.replace(f"/{DATABASE}?", f"/{name}?")
        while time.monotonic() < until:
            with contextlib.suppress(OSError, asyncpg.CannotConnectNowError):
                return await asyncpg.connect(dsn)
            await asyncio.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text("utf-8")[-3000:])

    async def make(self) -> None:
        """Make the database."""
        raw = await self.ready("postgres")
        await raw.execute(f"CREATE DATABASE {DATABASE}")
        await raw.close()


def _postgres(name: str) -> str:
    """Find one of PostgreSQL's programs, which Debian keeps out of the PATH."""
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    found = shutil.which(name) or (str(newest[-1]) if newest else None)
    assert found is not None, f"{name} is missing: install the package postgresql"
    return found


def object_server() -> ModuleType:
    """Load the tests' SeaweedFS: it is a module of no package."""
    spec = importlib.util.spec_from_file_location("object_server", PROJECT / "tests/object_server.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    # Its own are given to others while it is away, even to those who try to reach it.
    module._free_ports = free_ports
    return module


class Simulator:
    """`holdfast simulate`: what it charges is the truth, and nothing disturbs it."""

    def __init__(self, folder: Path, *, speed: float, seed: int) -> None:
        command = [sys.executable, "-m", "holdfast.cli.main", "simulate", "--port", "0", "--json"]
        command += ["--speed", f"{speed:g}", "--seed", str(seed), "--scenario", str(HERE / "scenario.toml")]
        with (folder / "simulator.log").open("wb") as log:
            self._process = subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=log)
        assert self._process.stdout is not None
        told = json.loads(self._process.stdout.readline())
        self.port = int(told["base_url"].rpartition(":")[2])

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def charges(self) -> list[dict[str, Any]]:
        """Read its journal: whatever ended there, charged or not."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=MINUTE_S)
        try:
            connection.request("GET", "/_sim/charges")
            return list(json.loads(connection.getresponse().read())["charges"])
        finally:
            connection.close()

    def stop(self) -> None:
        """End it; its journal is gone with it."""
        end(self._process)


class Nginx:
    """Debian's nginx before the replicas that serve: `deploy/proxies/nginx.conf` with their addresses."""

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        folder.mkdir()
        (self.port,) = free_ports(1)
        text = (PROJECT / "deploy/proxies/nginx.conf").read_text("utf-8")
        servers = "\n".join(f"server {HOST}:{port} max_fails=0;" for port in ports)
        places = {"listen 80;": f"listen {HOST}:{self.port};", "server 127.0.0.1:16888 max_fails=0;": servers}
        for old, new in {**places, "/var/log/nginx/holdfast.log": str(folder / "access.log")}.items():
            assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
            text = text.replace(old, new)
        user = "user root root;\n" if os.geteuid() == 0 else ""
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "\n".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)
        file, log = folder / "nginx.conf", folder / "error.log"
        frame = f"{user}daemon off;\nworker_processes 1;\nworker_rlimit_nofile 8192;\npid {folder / 'pid'};\n"
        frame += f"error_log {log} warn;\nevents {{ worker_connections 4096; }}\nhttp {{\n{temporary}\n{text}\n}}\n"
        file.write_text(frame, "utf-8")
        program = shutil.which("nginx", path=SEARCHED)
        assert program is not None, "nginx is missing: apt-get install nginx"
        command = [program, "-p", str(folder), "-c", str(file), "-e", str(log)]
        self._process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
        until = time.monotonic() + READY_S
        while not is_open(self.port):
            assert self._process.poll() is None, log.read_text("utf-8")
            assert time.monotonic() < until, log.read_text("utf-8")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it and its worker."""
        end(self._process)
