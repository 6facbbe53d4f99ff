"""Nothing can be set, asked, typed, met or raised that does not stand on a page."""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import holdfast
from holdfast.cli.main import COMMANDS, build_parser
from holdfast.clock import SystemClock
from holdfast.config import describe, parse
from holdfast.gateway import openapi
from holdfast.gateway.app import Endpoint
from holdfast.gateway.serve import running
from holdfast.wire.failures import CODES

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
EVERYWHERE = {"--help", "--config", "--data", "--json", "--version"}


def page(name: str) -> str:
    """Read a page of the reference."""
    return (REFERENCE / name).read_text("utf-8")


def section(text: str, heading: str) -> str:
    """Cut out of a page what stands under a heading."""
    found = re.search(rf"^## {re.escape(heading)}$\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found is not None, f"no section {heading}"
    return found[1]


# Settings


@pytest.mark.parametrize("name", [setting.name for setting in describe()])
def test_every_setting_stands_in_its_section(name: str) -> None:
    """With its default and its reason: a page that has the same key in another section does not count."""
    (setting,) = [each for each in describe() if each.name == name]
    headings = [line[4:-1] for line in page("settings.md").splitlines() if line.startswith("## `")]
    (heading,) = [each for each in headings if each.strip("[]") == setting.section]
    rows = section(page("settings.md"), f"`{heading}`").splitlines()
    (row,) = [row for row in rows if row.startswith(f"| `{name.rsplit('.', 1)[-1]}` |")]
    assert setting.means in row
    assert row.rstrip("| ").rsplit("|", 1)[-1].strip(), "no reason"


# Routes


async def served(folder: Path) -> list[Endpoint]:
    """Everything that a gateway serves, as it was put together."""
    settings = parse({"server": {"port": 0}, "store": {"data": str(folder / "data"), "free_bytes_margin": 0}})
    async with running(settings, {}, SystemClock(), None, {}) as gateway:
        return list(gateway.app._endpoints)


def documented_routes() -> set[tuple[str, str]]:
    """The rows of the page."""
    return set(re.findall(r"^\| `([A-Z]+) (/[^`]*)` \|", page("routes.md"), re.MULTILINE))


async def test_every_route_is_documented(tmp_path: Path) -> None:
    """Whatever is mounted has its row, and every row something that is mounted."""
    endpoints = await served(tmp_path)
    assert len(endpoints) > 25
    rows = {(method, re.sub(r"\{\w+\}", "x1", path)) for method, path in documented_routes()}
    missing = [
        f"{each.method} {each.pattern.pattern}"
        for each in endpoints
        if not any(method == each.method and each.pattern.fullmatch(path) for method, path in rows)
    ]
    assert missing == []
    invented = [row for row in rows if not any(e.method == row[0] and e.pattern.fullmatch(row[1]) for e in endpoints)]
    assert invented == []


def test_every_route_tells_its_parameters_and_answers() -> None:
    """Those of the OpenAPI document, which is tried out against a gateway by another suite."""
    text = page("routes.md")
    everywhere = set(re.findall(r"\d{3}", text.partition("every route may answer")[2].partition(".")[0]))
    for path, methods in json.loads(openapi.document())["paths"].items():
        for method, operation in methods.items():
            (row,) = [line for line in text.splitlines() if line.startswith(f"| `{method.upper()} {path}` |")]
            named = {each["name"] for each in operation.get("parameters", []) if each["in"] != "path"}
            assert {name for name in named if f"`{name}`" not in row} == set()
            assert set(re.findall(r"\d{3}", row.rsplit("|", 2)[-2])) | everywhere == set(operation["responses"])


# Errors


def raised_codes() -> Iterator[tuple[str, str]]:
    """Every code that the sources write out, with where."""
    for file in sorted((ROOT / "src" / "holdfast").rglob("*.py")):
        if file.parent.name in ("cli", "client", "simulator", "recipes", "doctor", "batch"):
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            for keyword in node.keywords:
                if keyword.arg == "code" and isinstance(keyword.value, ast.Constant):
                    yield str(keyword.value.value), f"{file.name}:{node.lineno}"


def test_every_code_that_is_told_is_documented() -> None:
    """With the status that it has in each dialect."""
    text, told = page("failures.md"), dict(raised_codes())
    assert len(told) > 10
    for code in {*told, *CODES}:
        assert code in CODES, f"{told[code]} tells {code}, which the table does not know"
        row = CODES[code]
        assert f"| `{code}` | {row.status} | {row.openai_type} / {row.openai_code} |" in text, code


def test_every_exception_is_documented() -> None:
    """Those that the library offers; the ones that its client raises also on the page that teaches it."""
    text = page("exceptions.md")
    offered = [getattr(holdfast, name) for name in holdfast.__all__]
    kinds = [each for each in offered if isinstance(each, type) and issubclass(each, holdfast.HoldfastError)]
    assert len(kinds) > 10
    for kind in kinds:
        assert kind.__base__ is not None
        assert f"| `{kind.__name__}` | `{kind.__base__.__name__}` |" in text


# Commands


def parsers_of(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """A command and its own commands, by what is typed."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield f"{name} {word}".strip(), below
                yield from parsers_of(below, f"{name} {word}".strip())


TYPED = dict(parsers_of(build_parser()))


def test_the_commands_are_those_of_the_program() -> None:
    """The next test would pass on none."""
    assert set(COMMANDS) <= set(TYPED)
    assert len(TYPED) >= len(COMMANDS) > 10


@pytest.mark.parametrize("name", TYPED)
def test_every_command_is_documented(name: str) -> None:
    """Also what stands below another, with every option and every word that may be typed, in its command's section."""
    sections = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", page("commands.md"), re.DOTALL | re.MULTILINE)
    command = name.partition(" ")[0]
    told = [text for heading, text in sections if re.search(rf"`holdfast {command}\b", heading)]
    assert told, f"docs/reference/commands.md has no section whose heading names `holdfast {command}`"
    assert name == command or f"`{name}" in "".join(told), f"the section of {command} does not tell of {name}"
    for action in TYPED[name]._actions:
        for option in action.option_strings:
            shown = not option.startswith("--") or option in EVERYWHERE or f"`{option}" in "".join(told)
            assert shown, f"{option} of holdfast {name} is not documented"
        if not action.option_strings and not isinstance(action, argparse._SubParsersAction):
            words = [str(word) for word in action.choices or ()]
            typed = "".join(heading for heading, _ in sections) + "".join(told)
            assert [word for word in words if f"holdfast {name} {word}" not in typed and f"`{word}`" not in typed] == []
