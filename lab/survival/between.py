"""What stands between callers and upstream, and how it is killed: nothing, LiteLLM, holdfast."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "bench"))

import subjects  # noqa: E402 - the bench's: how LiteLLM is installed and started is known there
from load import KINDS, model_of  # noqa: E402

HOST = "127.0.0.1"
START_S = 120.0
MICROS = {"1K": 134_000, "2K": 134_000, "4K": 240_000}
"""What the simulated upstream takes for a model that has no list price."""
UPSTREAM_KEY = "sk-upstream"


def is_healthy(port: int, path: str, key: str) -> bool:
    """Ask once."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2.0)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {key}"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Between:
    """Nothing: callers ask the upstream themselves. The base of the others."""

    name = "direct"
    title = "no gateway"
    is_killed = False
    keeps_records = False
    key = "sk-direct"

    def __init__(self) -> None:
        self.port = 0
        self.restarts_s: list[float] = []
        """From each kill to the first answer."""

    def version(self) -> str:
        """Version; raises SubjectError when it cannot run here."""
        return "-"

    async def start(self, folder: Path, upstream_port: int, speed: float) -> None:
        """Start it, and wait until it serves."""
        self.port = upstream_port

    async def kill(self) -> None:
        """Kill it with SIGKILL, and start it again; return when it serves."""
        raise AssertionError("there is nothing to kill")

    async def prepare(self) -> None:
        """Get ready for the next kill, where that takes a while."""

    async def settled(self, within_s: float) -> bool:
        """Wait until nothing is in flight any more."""
        return True

    async def stop(self) -> None:
        """End it in good order."""


class _Process(Between):
    """A program that is started, killed, and started again."""

    is_killed = True
    health = "/healthz"

    def __init__(self) -> None:
        super().__init__()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    async def _serving(self, process: subprocess.Popen[bytes], port: int) -> None:
        until = time.monotonic() + START_S
        while not await asyncio.to_thread(is_healthy, port, self.health, self.key):
            if process.poll() is not None or time.monotonic() > until:
                log = (self._folder / "subject.log").read_text(errors="replace")[-1500:]
                raise subjects.SubjectError(f"{self.name} does not serve: {log}")
            await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """Kill it, and start it again on the same port, as a supervisor does at once."""
        assert self._process is not None
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        killed_at = time.monotonic()
        self._process = self._spawn(self.port)
        await self._serving(self._process, self.port)
        self.restarts_s.append(time.monotonic() - killed_at)

    async def stop(self) -> None:
        """End it in good order."""
        if self._process is not None:
            await asyncio.to_thread(subjects.end, self._process, patience_s=30.0)
            self._process = None


class Holdfast(_Process):
    """`holdfast serve` on a folder of its own, all its times divided by the speed."""

    name = "holdfast"
    title = "holdfast"
    keeps_records = True
    retry = 'on_unknown = "fail"'
    """What is counted is what a lost reply costs; a second purchase would hide it."""

    def __init__(self) -> None:
        super().__init__()
        self.key = ""

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self._folder / "data"

    def version(self) -> str:
        """What it says of itself."""
        said = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, check=True)
        return said.stdout.strip().rpartition(" ")[2]

    async def start(self, folder: Path, upstream_port: int, speed: float) -> None:
        """Write its settings, and start it."""
        self._folder, self.port = folder, subjects.free_port()
        (folder / "holdfast.toml").write_text(settings_of(upstream_port, speed, retry=self.retry), "utf-8")
        self._process = self._spawn(self.port)
        await self._serving(self._process, self.port)
        self.key = (self.data / "first.key").read_text("ascii").strip()

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        command = [*PROGRAM, "serve", "--config", str(self._folder / "holdfast.toml"), "--data", str(self.data)]
        command += ["--port", str(port), "--json"]
        return subjects.spawn(command, core=None, log=self._folder / "subject.log")

    async def settled(self, within_s: float) -> bool:
        """Wait until every generation has ended."""
        until = time.monotonic() + within_s
        while time.monotonic() < until:
            pages = [await asyncio.to_thread(self._page, state) for state in ("queued", "running")]
            if not any(page["data"] for page in pages):
                return True
            await asyncio.sleep(0.5)
        return False

    def _page(self, state: str) -> Mapping[str, Any]:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10.0)
        try:
            headers = {"authorization": f"Bearer {self.key}"}
            connection.request("GET", f"/v1/generations?status={state}&limit=1", headers=headers)
            return dict(json.loads(connection.getresponse().read()))
        finally:
            connection.close()

    def ledger(self) -> Mapping[str, Any]:
        """Let it prove its books."""
        command = [*PROGRAM, "ledger", "check", "--data", str(self.data), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=self._folder)
        return dict(json.loads(done.stdout))


class HoldfastBuys(Holdfast):
    """The same, buying a second time after an unknown outcome as the other two do: without the daily limit.

    By default a day's second purchases end at 2 % of what customers were charged, or five images; here a sixth of all
    calls die with a process.
    """

    name = "holdfast-buys"
    title = "holdfast, buying again"
    retry = 'on_unknown = "buy_once_more"\nexposure_share = 1.0'


PROGRAM = (sys.executable, "-m", "holdfast.cli.main")


def settings_of(upstream_port: int, speed: float, *, retry: str) -> str:
    """Write the gateway's settings: one upstream, a model for each kind of caller, and every time scaled."""
    times = {
        "heartbeat": {"first_beat_s": 20, "beat_s": 10, "impatient_first_beat_s": 4, "impatient_beat_s": 4},
        "deadlines": {"slow_network_s": 600, "connect_s": 10, "write_s": 30},
        "joining": {"window_s": 900},
        "drain": {"grace_s": 300},
    }
    lines = []
    for section, values in times.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {seconds / speed:g}" for name, seconds in values.items()]
        if section == "deadlines":
            lines += [f"{name} = {_by_size(by, speed)}" for name, by in BY_SIZE.items()]
    lines.append(f"[latency]\nscale = {1 / speed:g}")
    lines.append(f"[retry]\n{retry}")
    lines.append(
        f'[[upstreams]]\nname = "upstream"\nprovider = "openai"\nbase_url = "http://{HOST}:{upstream_port}/v1"\n'
        f'keys = ["{UPSTREAM_KEY}"]'
    )
    prices = ", ".join(f'"{size}" = {micros}' for size, micros in MICROS.items())
    for kind in KINDS:
        model = model_of(kind)
        lines.append(f'[[routes]]\nmodel = "{model}"\nupstreams = [{{ upstream = "upstream", model = "{model}" }}]')
        lines.append(
            f'[[prices]]\nmodel = "{model}"\nmicros = {{ {prices} }}\nsource = "lab"\nvalid_from = "2026-01-01"'
        )
    return "\n".join(lines) + "\n"


BY_SIZE = {"generation_s": {"1K": 300, "2K": 300, "4K": 600}, "attempt_s": {"1K": 180, "2K": 216, "4K": 300}}


def _by_size(seconds: Mapping[str, float], speed: float) -> str:
    return "{ " + ", ".join(f'"{size}" = {value / speed:g}' for size, value in seconds.items()) + " }"


class LiteLLM(_Process):
    """LiteLLM's proxy with two retries, and a second one always ready to take over.

    It takes many seconds to start, which the speed does not divide: its successor is started ahead, on another port, so
    that a kill costs it the calls in flight and nothing else.
    """

    name = "litellm"
    title = "LiteLLM"
    health = "/health/liveliness"

    def __init__(self) -> None:
        super().__init__()
        self._bench = subjects.LiteLLM()
        self.key = self._bench.key
        self._next: tuple[subprocess.Popen[bytes], int] | None = None

    def version(self) -> str:
        """The version in its own environment, or why there is none."""
        return self._bench.version()

    async def start(self, folder: Path, upstream_port: int, speed: float) -> None:
        """Write its settings, and start the first and its successor."""
        self._folder = folder
        timeout_s = f"{600 / speed:g}"
        models = "".join(
            f"- model_name: {model}\n  litellm_params:\n    model: openai/{model}\n"
            f"    api_base: http://{HOST}:{upstream_port}/v1\n    api_key: {UPSTREAM_KEY}\n    timeout: {timeout_s}\n"
            f"  model_info:\n    mode: image_generation\n"
            for model in map(model_of, KINDS)
        )
        (folder / "litellm.yaml").write_text(
            f"model_list:\n{models}litellm_settings:\n  request_timeout: {timeout_s}\n  num_retries: 2\n"
            f"  telemetry: false\nrouter_settings:\n  num_retries: 2\n  retry_after: 0\n"
            f"general_settings:\n  master_key: {self.key}\n"
        )
        await self.prepare()
        await self._take_over()

    def _spawn(self, port: int) -> subprocess.Popen[bytes]:
        command = [str(subjects.LITELLM_VENV / "bin/litellm"), "--config", str(self._folder / "litellm.yaml")]
        command += ["--host", HOST, "--port", str(port), "--num_workers", "1"]
        env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
        return subjects.spawn(command, core=None, log=self._folder / "subject.log", env=env)

    async def prepare(self) -> None:
        """Start the successor, and wait until it serves."""
        if self._next is None:
            port = subjects.free_port()
            process = self._spawn(port)
            self._next = process, port
            await self._serving(process, port)

    async def _take_over(self) -> None:
        assert self._next is not None
        (self._process, self.port), self._next = self._next, None

    async def kill(self) -> None:
        """Kill it, and let its successor take over at once."""
        await self.prepare()
        assert self._process is not None
        old = self._process
        old.kill()
        killed_at = time.monotonic()
        await self._take_over()
        self.restarts_s.append(time.monotonic() - killed_at)
        await asyncio.to_thread(subjects.end, old)

    async def stop(self) -> None:
        """End both."""
        if self._next is not None:
            await asyncio.to_thread(subjects.end, self._next[0])
            self._next = None
        await super().stop()


ALL: Mapping[str, type[Between]] = {each.name: each for each in (Between, LiteLLM, Holdfast, HoldfastBuys)}
