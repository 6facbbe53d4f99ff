"""`holdfast simulate`: upstreams to try things on, started and ended like any server."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from holdfast.cli.exits import Exit
from holdfast.cli.main import main
from holdfast.config import Provider


def start(*words: str) -> subprocess.Popen[str]:
    """Start the simulator."""
    return subprocess.Popen(
        [sys.executable, "-m", "holdfast.cli.main", "simulate", "--port", "0", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end(number: signal.Signals) -> None:
    """It says where it is, answers there, and ends with 0 at either signal."""
    process = start("--scenario", "instant", "--speed", "8", "--seed", "3", "--json")
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert (told["speed"], told["seed"], told["scenario"]) == (8.0, 3, "instant")
        with urllib.request.urlopen(f"{told['base_url']}/_sim/charges", timeout=10) as answer:
            assert json.loads(answer.read())["charges"] == []
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == Exit.OK
    assert said == ""


def test_a_person_is_told_the_base_url_of_every_provider() -> None:
    """Each takes its own form of the address."""
    process = start("--scenario", "instant")
    try:
        assert process.stdout is not None
        said = "".join(process.stdout.readline() for _ in range(4))
    finally:
        process.terminate()
        process.communicate(timeout=20)
    assert "base_url = http://127.0.0.1:" in said
    assert "/v1 for openai" in said
    assert "/api/v3 for ark" in said
    assert all(str(provider) in said for provider in Provider)
    assert "/_sim/charges" in said


def test_a_taken_port_is_code_4(capsys: pytest.CaptureFixture[str]) -> None:
    """As for the gateway."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["simulate", "--port", str(port)]) == Exit.PORT_TAKEN
    assert f"Port {port}" in capsys.readouterr().err


def test_an_unknown_scenario_is_told_with_the_known_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip is answered with the list."""
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", "--port", "0", "--scenario", "stedy"]) in (Exit.SETTINGS, Exit.USAGE)
    assert "steady" in capsys.readouterr().err
