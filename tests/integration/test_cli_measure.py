"""`holdfast latency --measure` against a peer on a real socket: the price is asked, images are timed, failures told."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.exits import Exit
from holdfast.cli.main import main
from holdfast.types import Charge

_spec = importlib.util.spec_from_file_location("cli_gateway", Path(__file__).with_name("cli_gateway.py"))
assert _spec is not None
assert _spec.loader is not None
peer = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = peer
_spec.loader.exec_module(peer)


@pytest.fixture
def gateway() -> Iterator[Any]:
    """Run a peer that answers every call with a picture."""
    server = peer.Gateway()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, with nothing in the environment, and with everything temporary in one place."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("HOLDFAST_API_KEY", "HOLDFAST_BASE_URL", "HOLDFAST_PORT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def measure(gateway: Any, *words: str) -> int:
    """Run the command against the peer."""
    return main(["latency", "--measure", "--base-url", gateway.base_url, "--api-key", "hf-test", *words])


def test_each_size_is_timed_and_nothing_is_kept(gateway: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Two of each, one after another, each a call of its own; the price was told before."""
    assert measure(gateway, "--times", "2", "--yes") == Exit.OK
    asked = [body["size"] for body in gateway.bodies]
    assert asked == ["1K", "1K", "2K", "2K", "4K", "4K"]
    assert len({headers["idempotency-key"] for headers in gateway.headers}) == 6
    assert len({body["prompt"] for body in gateway.bodies}) == 6
    out, err = capsys.readouterr()
    assert f"6 images of nano-banana-pro from {gateway.base_url}" in err
    # 2 x (0.134 + 0.134 + 0.24)
    assert "1.016 USD" in err
    assert "4K 2 of 2:" in err
    head, *rows = out.splitlines()
    assert head.split()[:6] == ["size", "images", "failed", "fastest", "median", "slowest"]
    assert [row.split()[:3] for row in rows] == [["1K", "2", "0"], ["2K", "2", "0"], ["4K", "2", "0"]]
    assert rows[2].endswith("120 s  170 s")
    assert list(Path().iterdir()) == []


def test_a_program_is_told_in_json(gateway: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Seconds as they were; nothing else on standard output."""
    assert main(["--json", "latency", "--measure", "--base-url", gateway.base_url, "--size", "1K", "--yes"]) == Exit.OK
    told = json.loads(capsys.readouterr().out)
    (row,) = told["measured"]
    assert (told["model"], row["size"], row["failures"], len(row["seconds"])) == ("nano-banana-pro", "1K", [], 1)
    assert 0.0 < row["seconds"][0] < 30.0


def test_without_a_yes_nothing_is_bought(
    gateway: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody to be asked is a no, and so is every answer but yes."""
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    assert measure(gateway) == Exit.USAGE
    assert "say --yes" in capsys.readouterr().err

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal("perhaps\n"))
    assert measure(gateway) == Exit.USAGE
    assert gateway.bodies == []
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert measure(gateway, "--size", "1K") == Exit.OK
    assert len(gateway.bodies) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--times", "0"), "--times is 1 to 20"),
        (("--times", "21"), "--times is 1 to 20"),
        (("--data", "x"), "Leave out --data"),
        (("--plot", "x.svg"), "Leave out --plot"),
        (("--window", "1h"), "Leave out --window"),
    ],
)
def test_what_does_not_go_together_is_told(
    gateway: Any, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    """Before anything is bought."""
    base = ["--data", "x"] if words[0] == "--data" else []
    rest = [] if base else list(words)
    command = [*base, "latency", "--measure", "--yes", "--base-url", gateway.base_url, *rest]
    assert main(command) == Exit.USAGE
    assert told in capsys.readouterr().err
    assert gateway.bodies == []


def test_a_wrong_key_ends_it_at_the_first(gateway: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """It would be refused for each image alike."""
    gateway.script = peer.answer_with(401, peer.error("The API key is not known here.", "invalid_api_key"))
    assert measure(gateway, "--yes") == Exit.KEY_WRONG
    assert len(gateway.bodies) == 1
    assert "hf-test" not in capsys.readouterr().err


def test_what_failed_is_counted_and_the_next_one_follows(gateway: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A failure that may be charged is one of the measurements; a size without an image is told by the exit code."""
    good, bad = gateway.script, peer.answer_with(502, peer.error("The upstream failed.", "upstream_failed", Charge.YES))
    gateway.script = lambda handler: (good if gateway.bodies[-1]["size"] == "1K" else bad)(handler)
    assert measure(gateway, "--yes") == Exit.GENERATION_FAILED
    out, err = capsys.readouterr()
    rows = [row.split()[:4] for row in out.splitlines()[1:]]
    assert [row[:3] for row in rows] == [["1K", "1", "0"], ["2K", "0", "1"], ["4K", "0", "1"]]
    assert rows[1][3] == "-"
    assert "2K 1 of 1: The upstream failed." in err


def test_a_price_that_is_not_known_is_said(gateway: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Another gateway's model may cost anything."""
    assert measure(gateway, "--model", "somebody-elses", "--size", "2K", "--yes") == Exit.OK
    assert "What 2K cost is not known here" in capsys.readouterr().err


def test_nobody_listening_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """As for every command."""
    assert main(["latency", "--measure", "--yes", "--base-url", "http://127.0.0.1:9/v1"]) == Exit.UNREACHABLE
    assert "nobody listens there" in capsys.readouterr().err
