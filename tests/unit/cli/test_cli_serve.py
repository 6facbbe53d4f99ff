"""`holdfast serve`: which settings win, what is announced, and where the first key goes."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.cli.exits import Exit, Stop
from holdfast.cli.main import build_parser, main
from holdfast.cli.serve import FIRST_KEY, announcement, first_key_told, refusal_of, settings_of
from holdfast.config import Settings, parse, with_provider_keys
from holdfast.errors import ConfigError
from holdfast.gateway.server import PortRefused, Running

KEY = "hf-01J00000000000000000000000-secret"


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty folder with one vendor's key and nothing else in the environment."""
    for name in [name for name in os.environ if name.startswith("HOLDFAST_") or name.endswith("_API_KEY")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GEMINI_API_KEY", "a-key")
    monkeypatch.chdir(tmp_path)


def settings_from(*words: str) -> Settings:
    """Read the settings of a command line."""
    return settings_of(build_parser(["serve"]).parse_args(["serve", *words]))


def a_running(**overrides: Any) -> Running:
    """Build what is told once the listeners answer."""
    usual: dict[str, Any] = {
        "base_url": "http://127.0.0.1:16888",
        "tls_base_url": None,
        "listeners": (),
        "stop": lambda: None,
    }
    return Running(**{**usual, **overrides})


def test_without_words_the_defaults_hold() -> None:
    """Port and folder are the documented ones; the vendor's key opens its models."""
    settings = settings_from()
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 16888)
    assert settings.store.data == Path("holdfast-data")
    assert [upstream.name for upstream in settings.upstreams] == ["google"]
    assert "nano-banana-pro" in [route.model for route in settings.routes]


def test_the_command_line_wins_over_environment_and_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """File below, environment above it, what was typed on top; what was not typed stays."""
    Path("holdfast.toml").write_text('[server]\nport = 1\nhost = "127.0.0.2"\nidle_timeout_s = 60\n', "utf-8")
    monkeypatch.setenv("HOLDFAST_PORT", "2")
    monkeypatch.setenv("HOLDFAST_DATA", "from-environment")
    assert settings_from().server.port == 2
    settings = settings_from("--port", "3", "--data", "typed")
    assert (settings.server.port, settings.store.data) == (3, Path("typed"))
    assert (settings.server.host, settings.server.idle_timeout_s) == ("127.0.0.2", 60.0)


def test_port_0_is_typed_and_not_absent() -> None:
    """It takes a free port; a truth test would make 16888 of it."""
    assert settings_from("--port", "0").server.port == 0


def test_a_settings_file_can_be_named(tmp_path: Path) -> None:
    """Before or after the command."""
    file = tmp_path / "mine.toml"
    file.write_text("[server]\nport = 4\n", "utf-8")
    assert settings_from("--config", str(file)).server.port == 4


def test_a_certificate_needs_its_key() -> None:
    """What was typed is checked as what was written: half of a pair is no TLS."""
    settings = settings_from("--tls-cert", "c.pem", "--tls-key", "k.pem")
    assert (settings.server.tls_cert, settings.server.tls_key) == ("c.pem", "k.pem")
    with pytest.raises(ConfigError, match=r"server\.tls_key"):
        settings_from("--tls-cert", "c.pem")


@pytest.mark.parametrize(
    ("cert", "key", "says"),
    [
        ("nothing", "nothing", "server.tls_cert: c.pem holds no certificate in PEM form"),
        ("-----BEGIN PRIVATE KEY-----", "-----BEGIN CERTIFICATE-----", "server.tls_cert: c.pem holds no certificate"),
        ("-----BEGIN CERTIFICATE-----", "-----BEGIN CERTIFICATE-----", "server.tls_key: k.pem holds no private key"),
    ],
)
def test_the_tls_file_that_is_something_else_is_named(
    cert: str, key: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """OpenSSL calls both `PEM lib`, and names neither."""
    Path("c.pem").write_text(cert, "ascii")
    Path("k.pem").write_text(key, "ascii")
    assert main(["serve", "--port", "0", "--tls-cert", "c.pem", "--tls-key", "k.pem"]) == Exit.SETTINGS
    assert says in capsys.readouterr().err


def test_settings_that_name_upstreams_are_left_alone() -> None:
    """A key that happens to be set opens no paid upstream beside the ones that were chosen."""
    Path("holdfast.toml").write_text(
        '[[upstreams]]\nname = "mine"\nprovider = "openai"\nbase_url = "https://mine.example/v1"\nkeys = ["k"]\n',
        "utf-8",
    )
    assert [upstream.name for upstream in settings_from().upstreams] == ["mine"]


def test_the_announcement_says_what_to_give_each_sdk() -> None:
    """OpenAI's take the version in the address, Google's do not."""
    settings = with_provider_keys(parse({"store": {"data": "my-data"}}), {"GEMINI_API_KEY": "k"})
    lines = announcement(settings, a_running(), as_json=False)
    said = "\n".join(lines)
    assert "base_url http://127.0.0.1:16888/v1\n" in said
    assert "base_url http://127.0.0.1:16888\n" in said
    assert "nano-banana-pro" in lines[0]
    assert "my-data" in said
    assert "TLS" not in said


def test_the_announcement_names_the_tls_listener() -> None:
    """Where there is one."""
    running = a_running(tls_base_url="https://127.0.0.1:16889")
    assert any("https://127.0.0.1:16889" in line for line in announcement(parse({}), running, as_json=False))


@pytest.mark.parametrize(
    ("server", "running", "told"),
    [
        ({}, {}, "http://127.0.0.1:16888/console"),
        ({}, {"tls_base_url": "https://127.0.0.1:16889"}, "https://127.0.0.1:16889/console"),
        ({}, {"base_url": "http://192.0.2.7:16888"}, None),
        ({"admin_anywhere": True}, {"base_url": "http://192.0.2.7:16888"}, "http://192.0.2.7:16888/console"),
    ],
)
def test_the_announcement_names_the_console_where_it_is_answered(
    server: dict[str, Any], running: dict[str, Any], told: str | None
) -> None:
    """A stranger on a clear line would only be refused there: then it is not named."""
    lines = announcement(parse({"server": server}), a_running(**running), as_json=False)
    named = [line.split()[1].rstrip(",") for line in lines if line.startswith("  console:")]
    assert named == ([] if told is None else [told])


def test_the_announcement_is_one_object_for_a_script() -> None:
    """A script that asked for port 0 learns the port from it."""
    settings = with_provider_keys(parse({}), {"OPENAI_API_KEY": "k"})
    (line,) = announcement(settings, a_running(tls_base_url="https://127.0.0.1:9"), as_json=True)
    assert json.loads(line) == {
        "base_url": "http://127.0.0.1:16888/v1",
        "tls_base_url": "https://127.0.0.1:9",
        "models": ["gpt-image-2"],
    }


def test_on_a_terminal_the_key_is_shown_and_written_nowhere(tmp_path: Path) -> None:
    """Once: who clears the screen without copying it makes another."""
    lines = first_key_told(KEY, tmp_path, on_terminal=True, as_json=False)
    assert KEY in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("on_terminal", "as_json"), [(False, False), (False, True), (True, True)])
def test_elsewhere_the_key_goes_to_a_file_of_its_owner(tmp_path: Path, on_terminal: bool, as_json: bool) -> None:
    """A log collector keeps what is printed; so the file is named, and the key is not."""
    lines = first_key_told(KEY, tmp_path, on_terminal=on_terminal, as_json=as_json)
    file = tmp_path / FIRST_KEY
    assert file.read_text("ascii") == f"{KEY}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert KEY not in "".join(lines)
    if as_json:
        assert [json.loads(line) for line in lines] == [{"first_key_file": str(file)}]
    else:
        assert str(file) in lines[0]


def test_an_older_key_file_is_replaced_and_closed_to_others(tmp_path: Path) -> None:
    """It may be longer, and readable for everyone."""
    file = tmp_path / FIRST_KEY
    file.write_text("something longer than any key of ours " * 9, "ascii")
    file.chmod(0o644)
    first_key_told(KEY, tmp_path, on_terminal=False, as_json=False)
    assert file.read_text("ascii") == f"{KEY}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(("is_tls", "setting"), [(False, "--port"), (True, "server.tls_port")])
def test_a_refused_port_is_told_with_the_setting_that_moves_it(is_tls: bool, setting: str) -> None:
    """The plain listener's and the TLS one's are chosen in different places."""
    refused = PortRefused(OSError(errno.EADDRINUSE, "Address already in use"), "127.0.0.1", 443, is_tls=is_tls)
    stop = refusal_of(refused)
    assert isinstance(stop, Stop)
    assert stop.code is Exit.PORT_TAKEN
    assert "443" in stop.message
    assert setting in stop.message


def test_a_full_disk_is_not_told_as_a_port_taken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Errors of the system without a file name come from more places than `bind`."""
    from holdfast.cli import loop

    def full(work: Any) -> int:
        work.close()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loop, "run_on_loop", full)
    monkeypatch.setattr("holdfast.log.setup", lambda *_: SimpleNamespace())
    assert main(["serve", "--data", "d"]) == Exit.DISK_FULL
    assert "disk is full" in capsys.readouterr().err
