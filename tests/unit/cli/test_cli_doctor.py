"""`holdfast doctor`: the URL as people write it, proxy variables, the bar, and how it ends."""

from __future__ import annotations

import argparse
import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.asked import base_of
from holdfast.cli.doctor import Stages, proxies_set, stage_line, target_of, trimmed
from holdfast.cli.exits import Exit
from holdfast.cli.main import build_parser, main
from holdfast.doctor import examine as examining
from holdfast.doctor.examine import Notebook, Plan, WrongKey, WrongUrl
from holdfast.doctor.findings import Named
from holdfast.doctor.probing import Target, Unreachable


@pytest.mark.parametrize(
    ("url", "base", "scheme", "port"),
    [
        ("images.example.com", "http://images.example.com/v1", "http", 80),
        ("https://images.example.com", "https://images.example.com/v1", "https", 443),
        ("https://images.example.com/v1/", "https://images.example.com/v1", "https", 443),
        ("http://127.0.0.1:16888/v1/images/generations", "http://127.0.0.1:16888/v1", "http", 16888),
        ("https://a.example/relay/v1/models", "https://a.example/relay/v1", "https", 443),
        ("https://a.example/v1beta", "https://a.example/v1beta", "https", 443),
        ("http://[::1]:16888", "http://[::1]:16888/v1", "http", 16888),
    ],
)
def test_a_url_is_read_as_people_write_it(url: str, base: str, scheme: str, port: int) -> None:
    """Without scheme, with or without /v1, or the address of a call."""
    found = trimmed(base_of(url))
    assert found == base
    target = target_of(found)
    assert (target.scheme, target.port) == (scheme, port)
    assert target.host_header.startswith("[::1]") is ("::1" in url)


def test_the_host_header_has_a_port_where_it_is_unusual() -> None:
    """As clients write it."""
    assert target_of("https://a.example/v1").host_header == "a.example"
    assert target_of("http://a.example:443/v1").host_header == "a.example:443"


@pytest.mark.parametrize("url", ["ftp://a.example", "http://", "http://a:port", "/v1"])
def test_what_is_no_url_is_refused(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With how it is written."""
    assert main(["doctor", url]) == Exit.USAGE
    assert "is not a URL. Write it as" in capsys.readouterr().err


def test_a_key_that_no_header_carries_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With a newline in the middle, as from a file; nothing of it is told."""
    assert main(["doctor", "http://a.example", "--api-key", "hf-secret\nmore"]) == Exit.KEY_WRONG
    told = capsys.readouterr().err
    assert "no HTTP header can carry" in told
    assert "secret" not in told


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, ()),
        ({"HTTPS_PROXY": "http://me:secret@proxy.example:3128"}, (("HTTPS_PROXY", "proxy.example:3128"),)),
        ({"https_proxy": "http://proxy.example"}, (("HTTPS_PROXY", "http://proxy.example"),)),
        ({"HTTP_PROXY": "http://proxy.example"}, ()),
        ({"ALL_PROXY": "socks5://p"}, (("ALL_PROXY", "socks5://p"),)),
        ({"ALL_PROXY": "socks5://p", "NO_PROXY": "b.example, .a.example"}, ()),
        ({"ALL_PROXY": "socks5://p", "no_proxy": "*"}, ()),
        ({"ALL_PROXY": "socks5://p", "NO_PROXY": "example.com"}, (("ALL_PROXY", "socks5://p"),)),
    ],
)
def test_proxy_variables_in_force_are_found(environ: dict[str, str], found: tuple[tuple[str, str], ...]) -> None:
    """Those of the scheme, unless the host is exempt; a password in them is not told."""
    assert proxies_set(environ, "https://images.a.example/v1") == found


@pytest.mark.parametrize("columns", [20, 40, 60, 200])
@pytest.mark.parametrize("elapsed_s", [0.0, 33.0, 500.0])
def test_the_bar_never_wraps(columns: int, elapsed_s: float) -> None:
    """On any terminal, even when it takes longer than it may."""
    assert len(stage_line("silences", elapsed_s, 134.0, columns)) < columns
    assert stage_line("connecting", 1.0, 0.0, columns) == "connecting"


def test_the_bar_grows() -> None:
    """With the time of what is measured."""
    half = stage_line("silences", 67.0, 134.0, 100)
    assert half.count("█") == 16
    assert half.endswith("67 s of at most 134 s")


async def test_a_terminal_gets_a_bar_and_a_clean_line() -> None:
    """Nothing of it is left when the report comes."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    async with Stages(stream) as stages:
        stages.began("silences", 134.0)
        while "silences" not in stream.getvalue():
            await asyncio.sleep(0)
    assert stream.getvalue().endswith("\r\x1b[2K")


async def test_json_shows_nothing_meanwhile() -> None:
    """And no task is left behind."""
    async with Stages(None) as stages:
        stages.began("silences", 134.0)
    assert stages._task is None


def test_quick_is_an_option_of_it() -> None:
    """Beside the key."""
    args = build_parser(["doctor"]).parse_args(["doctor", "a.example", "--quick", "--api-key", "k", "--json"])
    assert (args.url, args.quick, args.api_key, args.json) == ("a.example", True, "k", True)
    assert isinstance(args, argparse.Namespace)


def examined(monkeypatch: pytest.MonkeyPatch, error: BaseException | None, plans: list[Plan]) -> None:
    """Let an examination find a name, and end so."""

    async def examine(target: Target, key: str, clock: Any, notebook: Notebook, plan: Plan) -> None:
        assert key == "hf-key-0"
        plans.append(plan)
        notebook.add(named=Named(addresses=("192.0.2.1",), took_s=0.01))
        if error is not None:
            raise error

    monkeypatch.setattr(examining, "examine", examine)


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (None, Exit.OK, ""),
        (Unreachable("Port 443 cannot be connected to."), Exit.UNREACHABLE, "Port 443"),
        (WrongUrl("Port 443 speaks TLS. Write https://a.example."), Exit.USAGE, "Write https://"),
        (WrongKey("The API key is not known here."), Exit.KEY_WRONG, "Give another with --api-key"),
        (KeyboardInterrupt(), Exit.INTERRUPTED, "this is what is known by now"),
    ],
)
def test_what_is_known_is_printed_however_it_ends(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException | None,
    code: Exit,
    says: str,
) -> None:
    """With the exit code that every command has for it; Ctrl-C as well."""
    plans: list[Plan] = []
    examined(monkeypatch, error, plans)
    assert main(["doctor", "a.example", "--api-key", "hf-key-0", "--quick"]) == code
    printed = capsys.readouterr()
    assert "192.0.2.1" in printed.out
    assert says in printed.err
    assert plans[0].until_s == 65.0


def test_json_is_one_document(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard output; the error, if there is one, on the other."""
    plans: list[Plan] = []
    examined(monkeypatch, Unreachable("gone"), plans)
    assert main(["doctor", "a.example", "--api-key", "hf-key-0", "--json"]) == Exit.UNREACHABLE
    printed = capsys.readouterr()
    assert json.loads(printed.out)["named"] == {"addresses": ["192.0.2.1"], "took_s": 0.01}
    assert json.loads(printed.err)["error"]["exit"] == 8
    assert plans[0].until_s == 132.0


def test_settings_that_cannot_be_read_end_it_first(tmp_path: Path) -> None:
    """Nothing is measured with half of what was asked for."""
    file = tmp_path / "holdfast.toml"
    file.write_text("[serverr]\n", "utf-8")
    assert main(["doctor", "a.example", "--config", str(file)]) == Exit.SETTINGS
