"""`holdfast demo`: what a stranger sees first, as they see it."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.exits import Exit

DEMO_S_MAX = 60.0
"""What the demo may take after installation."""


def environment() -> dict[str, str]:
    """Give a shell without keys and settings."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HOLDFAST_") and not name.endswith("_API_KEY")
    }


def start(folder: Path, *words: str, **variables: str) -> subprocess.Popen[str]:
    """Start the demo in a folder of its own, with further environment variables."""
    return subprocess.Popen(
        [sys.executable, "-m", "holdfast.cli.main", "demo", *words],
        cwd=folder,
        env=environment() | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def lines_of(process: subprocess.Popen[str], count: int) -> list[dict[str, Any]]:
    """Read so many JSON lines."""
    assert process.stdout is not None
    return [json.loads(process.stdout.readline()) for _ in range(count)]


def png_size(path: Path) -> tuple[int, int]:
    """Read a PNG's own word on its size, and see that it is whole."""
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert data.endswith(b"IEND\xaeB`\x82")
    width_px, height_px = struct.unpack(">II", data[16:24])
    return width_px, height_px


def status_of(url: str, key: str) -> int:
    """Ask the gateway something that needs a key."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(answer.status)


def test_the_image_is_lost_without_and_arrives_with_holdfast_which_goes_on_serving(tmp_path: Path) -> None:
    """The whole demo: a loss, a 4096x4096 picture, and a gateway that knows the key it named."""
    began_at = time.monotonic()
    process = start(tmp_path, "--port", "0", "--json")
    try:
        shown, serving = lines_of(process, 2)
        assert time.monotonic() - began_at < DEMO_S_MAX
        assert png_size(tmp_path / "holdfast-demo.png") == (4096, 4096)
        assert shown["picture"]["size"] == "4096x4096"
        assert shown["elapsed_s"] > 7.5
        key_file = tmp_path / serving["key_file"]
        assert key_file.stat().st_mode & 0o777 == 0o600
        assert status_of(f"{serving['base_url']}/models", key_file.read_text("ascii").strip()) == 200
        with pytest.raises(urllib.error.HTTPError, match="401") as refused:
            status_of(f"{serving['base_url']}/models", "hf-wrong")
        refused.value.close()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == Exit.OK
    assert '"event":"key.refused","client":"127.0.0.1' in said, "a bare word says neither who nor why"
    assert "✗ lost after 7." in said
    assert "✓ arrived after" in said
    assert "charged for both" in said
    assert "curl -sS" in said
    assert "Traceback" not in said


def test_a_taken_port_is_code_4(tmp_path: Path) -> None:
    """One line says which port and what to do, before anything is shown."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start(tmp_path, "--once", "--port", str(port))
        out, said = process.communicate(timeout=30)
    assert process.returncode == Exit.PORT_TAKEN
    assert out == ""
    assert f"Port {port}" in said
    assert "--port" in said


def test_ctrl_c_in_the_middle_is_code_130(tmp_path: Path) -> None:
    """The person who has seen enough is let go at once."""
    process = start(tmp_path, "--once", "--port", "0")
    try:
        assert process.stdout is not None
        assert "4K image" in process.stdout.readline()
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == Exit.INTERRUPTED
    assert "Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == [".holdfast"]


def test_ctrl_c_while_the_call_is_held_is_code_130_at_once(tmp_path: Path) -> None:
    """The second half of the demo is left as the first is: no draining, no story of a gateway that ended."""
    process = start(tmp_path, "--once", "--port", "0")
    try:
        assert process.stdout is not None
        while "2  with holdfast" not in process.stdout.readline():
            pass
        time.sleep(3.5)  # the first beat has been sent
        began_at = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
        took_s = time.monotonic() - began_at
    finally:
        process.kill()
        process.wait()
    assert process.returncode == Exit.INTERRUPTED
    assert said.splitlines()[-1] == "holdfast: Interrupted."
    assert "server." not in said
    assert "ended its wait" not in said
    # The image would have come after as much as that.
    assert took_s < 4.0


def test_a_terminal_without_arrows_is_shown_the_rest(tmp_path: Path) -> None:
    """An old encoding costs the arrows and bars, not the demo."""
    process = start(tmp_path, "--once", "--port", "0", PYTHONIOENCODING="ascii")
    try:
        assert process.stdout is not None
        shown = [process.stdout.readline() for _ in range(5)]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert "client ? path ? upstream" in shown[-1]
    assert process.returncode == Exit.INTERRUPTED
    assert "Traceback" not in said


def test_a_second_demo_beside_the_first_is_code_5(tmp_path: Path) -> None:
    """It is told what runs here already, and how to end it; not how a data folder is locked."""
    from holdfast.store.lock import DataFolder

    with DataFolder(tmp_path / ".holdfast" / "data"):
        process = start(tmp_path, "--once", "--port", "0")
        _, said = process.communicate(timeout=30)
    assert process.returncode == Exit.FOLDER_LOCKED
    assert f"The demo is already running here (process {os.getpid()})." in said
    assert "--data" in said
