"""`docs/how-to/first-gateway.md`, followed from its settings to its ledger, in a folder instead of as root."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "first-gateway.md").read_text("utf-8")
READY_S = 30.0


def blocks(language: str) -> list[str]:
    """Give the page's blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


class Reader:
    """Somebody who follows the page, with a folder in the place of `/`, and the installed program in that of `/opt`."""

    def __init__(self, folder: Path, upstream: str) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.upstream = upstream
        program = folder / "opt/holdfast/bin/holdfast"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m holdfast.cli.main "$@"\n', "utf-8")
        program.chmod(0o755)

    def here(self, text: str) -> str:
        """Put the folder, the port and the upstream where the page has its own."""
        text = re.sub(r"(?<![\w.])/(?=(?:opt|etc|var)/)", f"{self.folder}/", text)
        text = text.replace("16888", str(self.port))
        return text.replace("https://generativelanguage.googleapis.com", self.upstream)

    def shell(self, text: str) -> str:
        """Run a block, and give what it said."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        # The page's command asks the gateway of its settings; here that is another port.
        environ["HOLDFAST_BASE_URL"] = f"http://127.0.0.1:{self.port}/v1"
        done = subprocess.run(
            ["sh", "-ec", self.here(text)],
            cwd=self.folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, unit: str) -> subprocess.Popen[str]:
        """Start what the unit starts."""
        (command,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
        environ = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        return subprocess.Popen(
            shlex.split(self.here(command)), cwd=self.folder, env=environ, stdout=subprocess.DEVNULL, text=True
        )

    def wait(self) -> None:
        """Wait until it answers: it listens before it has a key."""
        until = time.monotonic() + READY_S
        with httpx2.Client(trust_env=False) as client:
            while True:
                try:
                    client.get(f"http://127.0.0.1:{self.port}/healthz").raise_for_status()
                    return
                except httpx2.HTTPError:
                    assert time.monotonic() < until
                    time.sleep(0.05)


@pytest.fixture
def reader(tmp_path: Path, served: Any) -> Reader:
    """A machine with nothing of it yet."""
    return Reader(tmp_path, served.simulator.base_url)


def test_the_page_leads_to_a_gateway_that_draws(reader: Reader) -> None:
    """Step by step: settings, unit, first key, an image, and books that hold."""
    (settings,) = blocks("toml")
    (unit,) = blocks("ini")
    _, enable, take, look = blocks("bash")
    (reader.folder / "etc/holdfast").mkdir(parents=True)
    (reader.folder / "var/lib").mkdir(parents=True)
    (reader.folder / "etc/holdfast.toml").write_text(reader.here(settings), "utf-8")
    (reader.folder / "etc/holdfast/google").write_text("a-key-of-ones-own\n", "ascii")
    assert "systemctl enable --now holdfast" in enable
    process = reader.start(unit)
    try:
        reader.wait()
        key = reader.shell(take).strip()
        assert key.startswith("hf-")
        assert not (reader.folder / "var/lib/holdfast/first.key").exists()
        said = reader.shell(look.replace("hf-…", key))
        assert said.startswith('{"status":"ready"}')
        assert (reader.folder / "lighthouse.png").read_bytes()
    finally:
        process.terminate()
        assert process.wait(READY_S) == 0


def test_what_is_installed_is_there() -> None:
    """The extras that the page names exist, and the versions are those of the file that it names."""
    install = blocks("bash")[0]
    assert "--constraint constraints.txt" in install
    extras = re.findall(r"`'\.\[(\w+)\]'`", PAGE)
    assert extras == ["convert", "vertex"]
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert all(f"\n{extra} = [" in project for extra in extras)


def test_the_unit_waits_as_long_as_the_gateway_does() -> None:
    """Half a minute more than its grace, and with room for two connections a held call."""
    from holdfast.config import parse

    settings = parse({})
    (unit,) = blocks("ini")
    assert f"TimeoutStopSec={settings.drain.grace_s + 30:g}\n" in unit
    assert f"`drain.grace_s` ({settings.drain.grace_s:g} s)" in PAGE
    (files,) = re.findall(r"^LimitNOFILE=(\d+)$", unit, re.MULTILINE)
    assert int(files) > 2 * settings.server.held_max
