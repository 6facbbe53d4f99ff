"""Every block of every page is run, or read by the program that it is for; here, or in the test that is named here."""

from __future__ import annotations

import argparse
import configparser
import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from holdfast.cli.main import build_parser

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FENCED = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:^\n|\A)((?:    .*\n)+)", re.MULTILINE)
SEARCHED = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

RUN_ELSEWHERE = {
    "README.md": "tests/acceptance/test_published_snippets.py",
    "docs/quickstart.md": "tests/acceptance/test_published_snippets.py",
    "docs/how-to/use-with-sdks.md": "tests/acceptance/test_published_snippets.py",
    "docs/how-to/use-the-client.md": "tests/integration/gateway/test_client_page.py",
    "docs/how-to/ask-without-waiting.md": "tests/integration/gateway/test_gateway_howto.py",
    "docs/how-to/collect-an-image.md": "tests/integration/gateway/test_gateway_howto.py",
    "docs/how-to/team-with-budgets.md": "tests/docs/test_money_pages.py",
    "docs/how-to/reseller.md": "tests/docs/test_money_pages.py",
    "docs/how-to/first-gateway.md": "tests/docs/test_first_gateway_page.py",
    "docs/how-to/watch-a-gateway.md": "tests/docs/test_observability.py",
}
"""Page -> the test that runs its Python and its shell."""

READ_ELSEWHERE = {
    "toml": "tests/docs/test_pages_hold.py",
    "nginx": "tests/acceptance/conftest.py",
    "js": "tests/browser/test_pages_elsewhere.py",
}
"""Language -> the test that reads its blocks, on every page."""

SHOWN = {
    # What a program printed; and words that are no program.
    "docs/how-to/find-who-cuts.md": "text",
    "docs/how-to/look-at-the-console.md": "text",
    "docs/reference/lifecycle.md": "mermaid",
}
NO_PROGRAM = ("F(t) =", "generate_image MODEL", "attempt 1:", "GET  /v1/", "POST /v1/", "  kind =", '{"prompt"')
"""How indented blocks begin that are a formula, an answer, a route, or a piece of a file."""


@dataclass(frozen=True)
class Block:
    """One block of code."""

    page: str
    language: str
    """Empty: an indented one."""
    text: str
    number: int

    def __str__(self) -> str:
        return f"{self.page}-{self.number}"


def blocks() -> list[Block]:
    """Cut all of them out; what is generated from programs that are run (`how-to/clients`) stays out."""
    found: list[Block] = []
    for file in (ROOT / "README.md", *sorted(DOCS.rglob("*.md"))):
        if file.parent.name == "clients":
            continue
        text, page = file.read_text("utf-8"), str(file.relative_to(ROOT))
        cut = [(language, body) for language, body in FENCED.findall(text)]
        cut += [("", re.sub(r"^    ", "", body, flags=re.M)) for body in INDENTED.findall(FENCED.sub("", text))]
        found += [Block(page, language, body, at) for at, (language, body) in enumerate(cut)]
    return found


BLOCKS = blocks()
HERE = [block for block in BLOCKS if block.page not in RUN_ELSEWHERE]


def of(*languages: str, here: bool = False) -> Any:
    """Give a test each block of some languages."""
    chosen = [block for block in (HERE if here else BLOCKS) if block.language in languages]
    assert chosen
    return pytest.mark.parametrize("block", chosen, ids=str)


def commands_in(block: Block) -> list[str]:
    """Join what goes on in the next line, by a backslash or inside quotes; leave out comments behind two spaces."""
    commands: list[str] = []
    begun = ""
    for line in re.sub(r"\\\n\s*", "", block.text).splitlines():
        begun += re.sub(r"\s{2,}#.*$", "", line)
        with contextlib.suppress(ValueError):
            shlex.split(begun)
            commands.append(begun)
            begun = ""
    assert not begun, block
    return [command for command in commands if command]


def curls() -> list[tuple[str, str]]:
    """List the curl lines that are run here, with their pages."""
    shells = [block for block in HERE if block.language in ("", "bash") and block.text.startswith("curl ")]
    return [(block.page, line) for block in shells for line in re.split(r"\n(?=curl )", block.text.strip())]


# Nothing is left out


def test_every_block_is_of_a_kind_that_is_looked_at() -> None:
    """A new language, or a shell that is neither run nor understood, needs a test."""
    looked_at = {"python", "json", "yaml", "bash", "ini", *READ_ELSEWHERE, *CHECKED_BY}
    for block in BLOCKS:
        if block.language:
            assert block.language in looked_at or SHOWN.get(block.page) == block.language, block
        elif not block.text.startswith(NO_PROGRAM):
            for line in commands_in(block):
                program = line.removeprefix(".venv/bin/").split()[0]
                is_known = program in ("curl", "holdfast", "export", "make", "source") or line.startswith("scripts/")
                assert is_known or block.page in RUN_ELSEWHERE, block
    assert len(BLOCKS) > 70


def test_every_test_that_is_named_looks_at_its_page() -> None:
    """And is there."""
    for page, file in RUN_ELSEWHERE.items():
        assert Path(page).name in (ROOT / file).read_text("utf-8"), page
        assert (ROOT / page).exists()
    for language, file in READ_ELSEWHERE.items():
        assert language in (ROOT / file).read_text("utf-8")


# Understood


@of("json")
def test_json_is_json(block: Block) -> None:
    """One document, or one a line."""
    with contextlib.suppress(json.JSONDecodeError):
        json.loads(block.text)
        return
    assert [json.loads(line) for line in block.text.splitlines()]


def holdfast_lines() -> list[tuple[str, str]]:
    """List every command line of ours in a shell's block, with its page."""
    found = []
    for block in BLOCKS:
        if block.language in ("", "bash") and not block.text.startswith(NO_PROGRAM):
            lines = [re.sub(r"^(?:/opt/holdfast/|\.venv/)bin/", "", line) for line in commands_in(block)]
            found += [(block.page, line) for line in lines if re.match(r"holdfast |source <\(holdfast ", line)]
    return found


@pytest.mark.parametrize(("page", "line"), holdfast_lines())
def test_every_command_of_ours_is_understood(page: str, line: str) -> None:
    """As it stands, quotes included: each option exists, and each word is one that is taken."""
    line = re.sub(r"^source <\((.*)\)$", r"\1", line.partition(" > ")[0])
    words = shlex.split(line)[1:]
    args = build_parser(words).parse_args(words)
    assert isinstance(args, argparse.Namespace), page
    assert callable(args.run)


@of("ini")
def test_a_unit_starts_what_there_is(block: Block) -> None:
    """Its command is one of ours, it is stopped as a gateway wants to be, and reloaded by the signal that it knows."""
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(block.text)
    service = unit["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program.endswith("/bin/holdfast")
    assert build_parser(words).parse_args(words).command == "serve"
    assert service["KillSignal"] == "SIGTERM"
    assert service["ExecReload"] == "kill -HUP $MAINPID"
    assert int(service["TimeoutStopSec"]) >= 300 + 30


def test_litellm_and_its_translation_say_the_same() -> None:
    """Names, addresses, keys and limits of the page's configuration are in the settings that stand beside it."""
    page = "docs/how-to/move-here.md"
    (before,) = [yaml.safe_load(block.text) for block in BLOCKS if block.page == page and block.language == "yaml"]
    texts = [block.text for block in BLOCKS if block.page == page and block.language == "toml"]
    (after,) = [tomllib.loads(text) for text in texts if "per_minute" in text]
    (route,) = after["routes"]
    assert {entry["model_name"] for entry in before["model_list"]} == {route["model"]}
    assert len(before["model_list"]) == len(route["upstreams"]) == len(after["upstreams"])
    for entry, upstream, to in zip(before["model_list"], after["upstreams"], route["upstreams"], strict=True):
        params = entry["litellm_params"]
        assert params["model"] == f"{upstream['provider']}/{to['model']}"
        assert [params["api_key"].replace("os.environ/", "env:")] == upstream["keys"]
        assert params.get("api_base", upstream["base_url"]) == upstream["base_url"]
        assert params.get("rpm", 0) == upstream.get("per_minute", 0)


# Read by the program that it is for


def run(*words: str, folder: Path) -> None:
    """Run a checker of configurations."""
    program = shutil.which(words[0], path=SEARCHED)
    assert program is not None, f"{words[0]} is missing: scripts/test installs it as root"
    environ = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    done = subprocess.run(
        [program, *words[1:]], cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def caddy(text: str, folder: Path) -> None:
    """As a Caddyfile of its own."""
    (folder / "Caddyfile").write_text(text, "utf-8")
    run("caddy", "validate", "--config", "Caddyfile", "--adapter", "caddyfile", folder=folder)


def haproxy(text: str, folder: Path) -> None:
    """With something that leads to its backend."""
    (folder / "haproxy.cfg").write_text(
        f"{text}\nfrontend in\n    bind 127.0.0.1:1\n    default_backend holdfast\n", "utf-8"
    )
    run("haproxy", "-c", "-f", "haproxy.cfg", folder=folder)


def apache(text: str, folder: Path) -> None:
    """With the modules that its words are of."""
    modules = next(path for path in map(Path, ("/usr/lib/apache2/modules", "/etc/httpd/modules")) if path.is_dir())
    loaded = ("mpm_event", "authz_core", "proxy", "proxy_http")
    lines = [f"LoadModule {name}_module {modules}/mod_{name}.so" for name in loaded]
    head = [f"ServerRoot {folder}", "ServerName localhost", "Listen 127.0.0.1:1", f"PidFile {folder}/pid"]
    (folder / "apache.conf").write_text("\n".join([*head, *lines, text, f"ErrorLog {folder}/log", ""]), "utf-8")
    run("apache2", "-t", "-f", str(folder / "apache.conf"), folder=folder)


def varnish(text: str, folder: Path) -> None:
    """With a backend."""
    head = 'vcl 4.1;\nbackend default { .host = "127.0.0.1"; .port = "16888"; }\n'
    # It reads the file as a user of its own, who cannot enter a test's folder.
    with tempfile.TemporaryDirectory() as everybodys:
        Path(everybodys).chmod(0o755)
        file = Path(everybodys) / "holdfast.vcl"
        file.write_text(head + text, "utf-8")
        run("varnishd", "-C", "-n", str(folder / "n"), "-f", str(file), folder=folder)


def squid(text: str, folder: Path) -> None:
    """As it stands, with nothing kept."""
    (folder / "squid.conf").write_text(f"{text}cache deny all\n", "utf-8")
    run("squid", "-k", "parse", "-f", str(folder / "squid.conf"), folder=folder)


CHECKED_BY = {"caddyfile": caddy, "haproxy": haproxy, "apache": apache, "vcl": varnish, "squid": squid}


@of(*CHECKED_BY)
def test_a_proxy_takes_its_configuration(block: Block, tmp_path: Path) -> None:
    """Each is read by its own program; what goes over the wire then, `tests/matrix` looks at."""
    CHECKED_BY[block.language](block.text, tmp_path)


# Run against a gateway


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of somebody who follows a page: with the pictures that it speaks of."""
    for name in ("room.png", "chair.jpg"):
        made = BytesIO()
        Image.new("RGB", (64, 64), "teal").save(made, "PNG" if name.endswith("png") else "JPEG")
        (tmp_path / name).write_bytes(made.getvalue())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("page", "line"), curls())
def test_a_line_of_curl_is_answered(served: Any, folder: Path, page: str, line: str) -> None:
    """With a document, or nothing where the page says so; none of them is a mistake."""
    filled = served.filled(line)
    assert "…" not in filled
    done = subprocess.run(
        ["sh", "-c", f"{filled} --fail-with-body --max-time 30"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{page}: {line}\n{done.stdout}{done.stderr}"
    assert json.loads(done.stdout)


PROGRAMS = sorted({block.page for block in HERE if block.language == "python"} - {"docs/how-to/webhooks.md"})


@pytest.mark.parametrize("page", PROGRAMS)
def test_the_programs_of_a_page_run(served: Any, folder: Path, page: str) -> None:
    """One behind the other, since a later block goes on with what an earlier one made."""
    program = "\n".join(block.text for block in HERE if block.page == page and block.language == "python")
    done = subprocess.run(
        [sys.executable, "-W", "error::SyntaxWarning", "-"],
        input=served.filled(program),
        cwd=folder,
        env={**os.environ, "OPENAI_API_KEY": served.gateway.key},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
