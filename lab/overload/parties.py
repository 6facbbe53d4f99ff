"""What stands between callers and upstreams: holdfast, LiteLLM, nothing; and the two upstreams, A and B."""

from __future__ import annotations

import asyncio
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "bench"))

import subjects  # noqa: E402 - the bench's: how LiteLLM is installed and started is known there

HOST = "127.0.0.1"
PROGRAM = (sys.executable, "-m", "holdfast.cli.main")
MODEL = "nano-banana-pro"
UPSTREAM_KEY = "sk-upstream"
START_S = 120.0
ARENAS: Mapping[str, tuple[str, ...]] = {"A+B": ("a", "b"), "A alone": ("a",)}
"""Which upstreams there are."""
SCENARIOS: Mapping[str, str] = {
    "a": "[[phase]]\n[phase.errors]\n503 = 0.45\n",
    "b": "[[phase]]\n",
}


class Upstream:
    """`holdfast simulate`, a process of its own."""

    def __init__(self, name: str, folder: Path, *, speed: float, seed: int) -> None:
        scenario = folder / f"{name}.toml"
        scenario.write_text(SCENARIOS[name], "utf-8")
        command = [*PROGRAM, "simulate", "--port", "0", "--json", "--speed", f"{speed:g}"]
        command += ["--seed", str(seed), "--scenario", str(scenario)]
        log = folder / f"simulator-{name}.log"
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log.open("wb"))
        assert self._process.stdout is not None
        told = self._process.stdout.readline()
        if not told:
            raise subjects.SubjectError(f"the simulator does not serve: {log.read_text(errors='replace')[-1500:]}")
        self.name = name
        self.port = int(json.loads(told)["base_url"].rpartition(":")[2])

    def purchases(self) -> int:
        """Count the images that it has charged so far."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=60.0)
        try:
            connection.request("GET", "/_sim/charges")
            rows = json.loads(connection.getresponse().read())["charges"]
        finally:
            connection.close()
        return sum(row["micros"] > 0 for row in rows)

    def stop(self) -> None:
        """End it; its books are gone with it."""
        self._process.terminate()
        self._process.wait(30.0)


class Party:
    """Nothing: callers ask A themselves. The base of the others."""

    name = "published"
    asks = "published"
    """Which kind of caller comes; see `askers`."""
    key = UPSTREAM_KEY

    def __init__(self) -> None:
        self.port = 0

    def version(self) -> str:
        """Version; raises SubjectError when it cannot run here."""
        return "-"

    async def start(self, folder: Path, upstreams: Sequence[Upstream], speed: float) -> None:
        """Start it, and wait until it serves."""
        self.port = upstreams[0].port

    async def stop(self) -> None:
        """End it in good order."""


class _Process(Party):
    """A program."""

    asks = "sdk"
    health = "/healthz"

    def __init__(self) -> None:
        super().__init__()
        self._process: subprocess.Popen[bytes] | None = None

    async def _serve(self, command: list[str], folder: Path, env: dict[str, str] | None = None) -> None:
        log = folder / "subject.log"
        self._process = subjects.spawn(command, core=None, log=log, env=env)
        until = time.monotonic() + START_S
        while not await asyncio.to_thread(is_healthy, self.port, self.health):
            if self._process.poll() is not None or time.monotonic() > until:
                raise subjects.SubjectError(f"{self.name} does not serve: {log.read_text(errors='replace')[-1500:]}")
            await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """End it in good order."""
        if self._process is not None:
            await asyncio.to_thread(subjects.end, self._process, patience_s=30.0)
            self._process = None


class Holdfast(_Process):
    """`holdfast serve` on a folder of its own, all its times divided by the speed."""

    name = "holdfast"

    def version(self) -> str:
        """What it says of itself."""
        said = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, check=True)
        return said.stdout.strip().rpartition(" ")[2]

    async def start(self, folder: Path, upstreams: Sequence[Upstream], speed: float) -> None:
        """Write its settings, and start it."""
        self.port = subjects.free_port()
        config, data = folder / "holdfast.toml", folder / "data"
        config.write_text(settings_of({each.name: each.port for each in upstreams}, speed), "utf-8")
        command = [*PROGRAM, "serve", "--config", str(config), "--data", str(data), "--port", str(self.port), "--json"]
        await self._serve(command, folder)
        self.key = (data / "first.key").read_text("ascii").strip()


class LiteLLM(_Process):
    """LiteLLM's proxy with retries of its own; with two upstreams it balances between them, and cools what fails."""

    name = "litellm"
    health = "/health/liveliness"

    def __init__(self) -> None:
        super().__init__()
        self._bench: Any = subjects.LiteLLM()
        self.key = self._bench.key

    def version(self) -> str:
        """The version in its own environment, or why there is none."""
        return str(self._bench.version())

    async def start(self, folder: Path, upstreams: Sequence[Upstream], speed: float) -> None:
        """Write its settings, and start it."""
        self.port = subjects.free_port()
        config = folder / "litellm.yaml"
        config.write_text(litellm_settings_of([each.port for each in upstreams], speed, self.key), "utf-8")
        command = [str(subjects.LITELLM_VENV / "bin/litellm"), "--config", str(config), "--host", HOST]
        command += ["--port", str(self.port), "--num_workers", "1"]
        env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}
        await self._serve(command, folder, env)


def is_healthy(port: int, path: str) -> bool:
    """Ask once."""
    connection = http.client.HTTPConnection(HOST, port, timeout=2.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


TIMES: Mapping[str, Mapping[str, float]] = {
    "heartbeat": {"first_beat_s": 20, "beat_s": 10, "impatient_first_beat_s": 4, "impatient_beat_s": 4},
    "deadlines": {"slow_network_s": 600, "connect_s": 10, "write_s": 30},
    "joining": {"window_s": 900},
    "retry": {"backoff_s_first": 2, "backoff_s_max": 60, "eject_s": 30, "eject_s_max": 300},
    "drain": {"grace_s": 300},
}
"""Defaults that are times of life."""
BY_SIZE: Mapping[str, Mapping[str, float]] = {
    "generation_s": {"1K": 300, "2K": 300, "4K": 600},
    "attempt_s": {"1K": 180, "2K": 216, "4K": 300},
}


def settings_of(ports: Mapping[str, int], speed: float) -> str:
    """Write the gateway's settings: the defaults, every time scaled, and the upstreams in order, A first."""
    lines: list[str] = []
    for section, values in TIMES.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {seconds / speed:g}" for name, seconds in values.items()]
        if section == "deadlines":
            lines += [f"{name} = {_by_size(by, speed)}" for name, by in BY_SIZE.items()]
    lines.append(f"[latency]\nscale = {1 / speed:g}")
    for name, port in ports.items():
        lines.append(
            f'[[upstreams]]\nname = "{name}"\nprovider = "openai"\nbase_url = "http://{HOST}:{port}/v1"\n'
            f'keys = ["{UPSTREAM_KEY}"]'
        )
    targets = ", ".join(f'{{ upstream = "{name}", model = "{MODEL}" }}' for name in ports)
    lines.append(f'[[routes]]\nmodel = "{MODEL}"\nupstreams = [{targets}]')
    return "\n".join(lines) + "\n"


def _by_size(seconds: Mapping[str, float], speed: float) -> str:
    return "{ " + ", ".join(f'"{size}" = {value / speed:g}' for size, value in seconds.items()) + " }"


def litellm_settings_of(ports: Sequence[int], speed: float, key: str) -> str:
    """Write LiteLLM's: one deployment for each upstream, three retries, its cooldown scaled like every other time."""
    timeout_s = f"{600 / speed:g}"
    models = "".join(
        f"- model_name: {MODEL}\n  litellm_params:\n    model: openai/{MODEL}\n"
        f"    api_base: http://{HOST}:{port}/v1\n    api_key: {UPSTREAM_KEY}\n    timeout: {timeout_s}\n"
        f"  model_info:\n    mode: image_generation\n"
        for port in ports
    )
    return (
        f"model_list:\n{models}litellm_settings:\n  request_timeout: {timeout_s}\n  num_retries: 3\n"
        f"  telemetry: false\n"
        f"router_settings:\n  num_retries: 3\n  retry_after: 0\n  cooldown_time: {5 / speed:g}\n"
        f"general_settings:\n  master_key: {key}\n"
    )


ALL: Mapping[str, type[Party]] = {each.name: each for each in (Party, LiteLLM, Holdfast)}
