"""The processes that run the clients: built where they must be, started, given jobs, and asked who they are."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fronts import FrontError

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
NODE_FOLDER = PROJECT / ".venv" / "matrix-node"
"""Where `npm ci` puts the clients for Node: not below the sources, whose files are all ours."""
LINE_BYTES = 1 << 20


def clean_environment() -> dict[str, str]:
    """Give a room without settings of ours, keys and proxies, in which `holdfast` is this checkout's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HOLDFAST_") and not name.upper().endswith(("_API_KEY", "_PROXY"))
    }
    return kept | {"PYTHONPATH": str(PROJECT / "src"), "NO_PROXY": "*"}


def environment(certificate: Path) -> dict[str, str]:
    """Give such a room, in which a home-made certificate is believed by whoever looks at the environment."""
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
    return clean_environment() | dict.fromkeys(names, str(certificate)) | {"PYTHONWARNINGS": "ignore"}


def _run(command: list[str], **options: Any) -> None:
    if shutil.which(command[0]) is None:
        raise FrontError(f"{command[0]} is missing: lab/matrix/README.md says what the whole matrix needs")
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise FrontError(f"{' '.join(command[:2])} failed: {(done.stdout + done.stderr)[-2000:]}")


def _python(_: Path, __: Path) -> list[str]:
    return [sys.executable, str(HERE / "drivers" / "python_clients.py")]


def _node(_: Path, __: Path) -> list[str]:
    wanted = HERE / "node"
    lock = NODE_FOLDER / "package-lock.json"
    is_there = lock.exists() and lock.read_bytes() == (wanted / "package-lock.json").read_bytes()
    if not is_there or not (NODE_FOLDER / "node_modules").exists():
        NODE_FOLDER.mkdir(parents=True, exist_ok=True)
        for file in wanted.iterdir():
            shutil.copy(file, NODE_FOLDER)
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=NODE_FOLDER)
    return ["node", str(HERE / "drivers" / "node_clients.mjs"), str(NODE_FOLDER)]


def _java(work: Path, certificate: Path) -> list[str]:
    _run(["javac", "-d", str(work), str(HERE / "drivers" / "JavaClient.java")])
    store = work / "trust.p12"
    imported = ["keytool", "-importcert", "-noprompt", "-alias", "matrix", "-file", str(certificate)]
    _run([*imported, "-keystore", str(store), "-storetype", "PKCS12", "-storepass", "changeit"])
    trust = [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStorePassword=changeit"]
    return ["java", "-cp", str(work), *trust, "JavaClient"]


def _go(work: Path, _: Path) -> list[str]:
    program = work / "go_client"
    _run(["go", "build", "-o", str(program), str(HERE / "drivers" / "go_client.go")], cwd=work)
    return [str(program)]


COMMANDS = {"python": _python, "node": _node, "java": _java, "go": _go}


def line_of(driver: str, job: dict[str, Any]) -> str:
    """Write a job the way a driver reads it."""
    if driver != "java":
        return json.dumps(job)
    body = json.dumps({"model": job["model"], "prompt": job["prompt"]})
    return "\t".join([job["id"], job["front"], job["key"], body, job["body_file"]])


class Driver:
    """A process that runs clients."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, versions: dict[str, str]) -> None:
        self.versions = versions
        """Of its clients."""
        self._name = name
        self._process = process
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._reader = asyncio.create_task(self._read(), name=f"driver {name}")

    @classmethod
    async def start(cls, name: str, work: Path, certificate: Path) -> Driver:
        """Build it where it must be built, and start it.

        Raises:
            FrontError: Something it needs is missing.
        """
        folder = work / f"driver-{name}"
        folder.mkdir()
        command = await asyncio.to_thread(COMMANDS[name], folder, certificate)
        pipe = asyncio.subprocess.PIPE
        with (folder / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=pipe, stdout=pipe, stderr=log, env=environment(certificate), limit=LINE_BYTES
            )
        assert process.stdout is not None
        first = await process.stdout.readline()
        if not first:
            raise FrontError(f"the clients of {name} do not start: {(folder / 'log').read_text()[-2000:]}")
        return cls(name, process, json.loads(first)["versions"])

    async def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """Let a client make a call; give what it showed."""
        assert self._process.stdin is not None
        if self._reader.done():
            raise FrontError(f"the clients of {self._name} are gone")
        answer = asyncio.get_running_loop().create_future()
        self._waiting[job["id"]] = answer
        self._process.stdin.write(f"{line_of(self._name, job)}\n".encode())
        await self._process.stdin.drain()
        return dict(await answer)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            result = json.loads(line)
            self._waiting.pop(result["id"]).set_result(result)
        for answer in self._waiting.values():
            answer.set_exception(FrontError(f"the clients of {self._name} are gone"))

    async def stop(self) -> None:
        """End it."""
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)


async def start_all(names: Iterable[str], work: Path, certificate: Path) -> dict[str, Driver]:
    """Start the drivers that are needed.

    Raises:
        FrontError: One cannot be; those that could be are ended.
    """
    drivers: dict[str, Driver] = {}
    try:
        for name in names:
            drivers[name] = await Driver.start(name, work, certificate)
    except BaseException:
        for driver in drivers.values():
            await driver.stop()
        raise
    return drivers
