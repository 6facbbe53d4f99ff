"""The unit: what systemd says of it, and what it starts, reloads and ends.

No systemd runs where tests do; what a unit's lines mean for the process is done by hand: its command, as another user,
with its credentials and its one folder, in a root file system that is read-only otherwise.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
import tomli_w

from holdfast.cli.exits import Exit
from holdfast.config import parse
from holdfast.config.environment import from_environment

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "deploy" / "systemd" / "holdfast.service"
EXPOSURE_MAX = 2.0
"""Of 10, as `systemd-analyze security` counts; a service without a line of hardening has 9.6."""
RELOADED_S = 10.0


def lines() -> list[tuple[str, str]]:
    """List the unit's settings."""
    found = re.findall(r"^(\w+)=(.*)$", UNIT.read_text("utf-8"), re.MULTILINE)
    return [(name, value) for name, value in found]


def one(name: str) -> str:
    """Give a setting that stands there once."""
    (value,) = [value for setting, value in lines() if setting == name]
    return value


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    """Ask systemd's own checker."""
    program = shutil.which("systemd-analyze")
    assert program is not None, "systemd-analyze is missing: apt-get install systemd (scripts/test does it as root)"
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit, with its program where it is installed here."""
    program = tmp_path / "holdfast"
    program.write_text("#!/bin/sh\n", "utf-8")
    program.chmod(0o755)
    unit = tmp_path / "holdfast.service"
    text = UNIT.read_text("utf-8")
    assert text.count("=/opt/holdfast/bin/holdfast ") == 1
    unit.write_text(text.replace("=/opt/holdfast/bin/holdfast ", f"={program} "), "utf-8")
    return unit


def test_systemd_finds_no_mistake(installed: Path) -> None:
    """No unknown setting, no value that it cannot read."""
    done = analyze("verify", "--man=no", str(installed))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_it_would_find_one(installed: Path) -> None:
    """The test above would pass on a checker that reads nothing."""
    installed.write_text(installed.read_text("utf-8").replace("KillMode=mixed", "KillMood=mixed"), "utf-8")
    assert "KillMood" in analyze("verify", "--man=no", str(installed)).stderr


def test_little_is_left_to_the_process(installed: Path) -> None:
    """By systemd's own count."""
    done = analyze("security", "--offline=true", "--no-pager", str(installed))
    (exposure,) = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert float(exposure) <= EXPOSURE_MAX, done.stdout


def test_it_waits_as_long_as_the_gateway_does() -> None:
    """Half a minute more than its grace; the process alone is told, and has room for two connections a held call."""
    settings = parse({})
    assert float(one("TimeoutStopSec")) == settings.drain.grace_s + 30
    assert int(one("LimitNOFILE")) > 2 * settings.server.held_max
    assert (one("KillMode"), one("KillSignal")) == ("mixed", "SIGTERM")


def test_what_no_restart_mends_is_not_restarted() -> None:
    """A mistake that is told once is read; one that is told each second fills the disk."""
    assert set(one("RestartPreventExitStatus").split()) == {str(int(Exit.USAGE)), str(int(Exit.SETTINGS))}
    assert one("Restart") == "on-failure"


@pytest.fixture
def service(
    sandbox: Any, boxed: Any, image: Any, simulator: Any, processes: Any, tmp_path: Path
) -> Iterator[tuple[Any, Path]]:
    """The unit's process, and its settings file."""
    settings = processes.settings_for(simulator.base_url)
    credential = "/run/credentials/holdfast.service/keys_google"
    for upstream in settings["upstreams"]:
        upstream["keys"] = [f"file:{credential}"]
    assert credential in UNIT.read_text("utf-8")
    (tmp_path / "key").write_text("a-key-of-ones-own\n", "ascii")
    (port,) = processes.free_ports(1)
    variables = dict(value.split("=", 1) for name, value in lines() if name == "Environment")
    assert from_environment(variables)["store"]["data"] == f"/var/lib/{one('StateDirectory')}"
    started = boxed.Boxed(
        sandbox,
        replace(image, entrypoint=[], workdir="/"),
        tmp_path / "service",
        port=port,
        settings=tomli_w.dumps(settings),
        environment=variables,
        command=shlex.split(one("ExecStart")),
        binds=[sandbox.Bind(source=tmp_path / "key", target=credential)],
    )
    try:
        started.wait()
        yield started, tmp_path / "service" / "holdfast.toml"
    finally:
        started.kill()


def models(service: Any) -> set[str]:
    """Ask which models there are."""
    with httpx2.Client(trust_env=False, headers={"Authorization": f"Bearer {service.key}"}) as client:
        listed = client.get(f"{service.base_url}/v1/models").raise_for_status().json()["data"]
    return {each["id"] for each in listed}


@pytest.mark.timeout(600)
def test_it_starts_reloads_and_ends(service: tuple[Any, Path]) -> None:
    """As systemd does it: ExecStart, ExecReload while it runs, and the signal that ends it, with 0."""
    running, file = service
    assert "nano-banana-pro" in models(running)
    assert "one-more" not in models(running)
    text = file.read_text("utf-8")
    # In its place: what is mounted is the file, not its name.
    file.write_text(
        text.replace('aliases = [\n    "gemini-3-pro-image"', 'aliases = [\n    "one-more", "gemini-3-pro-image"')
    )
    assert file.read_text("utf-8") != text
    reload = shlex.split(one("ExecReload").replace("$MAINPID", str(running.pid)))
    subprocess.run(reload, check=True)
    until = time.monotonic() + RELOADED_S
    while "one-more" not in models(running):
        assert time.monotonic() < until, running.logged()[-2000:]
        time.sleep(0.05)
    running.ask_to_end()
    assert running.ended() == 0, running.logged()[-2000:]
