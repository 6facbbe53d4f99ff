"""Every program of every size is accepted by its own language, and is laid out as its people lay theirs out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast.config import Deadlines
from holdfast.recipes.catalog import CLIENTS, SUFFIXES, Client, Language
from holdfast.recipes.numbers import numbers
from holdfast.recipes.render import render
from holdfast.types import Tier

ROOT = Path(__file__).resolve().parents[2]
NODE = Path(__file__).with_name("node")
BOTH = (True, False)


def clients_of(language: Language) -> list[Client]:
    """List those of one language."""
    return [client for client in CLIENTS if client.language is language]


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Give what writes all programs of a language down, a folder each."""

    def write(language: Language) -> list[Path]:
        files: list[Path] = []
        for client in clients_of(language):
            for tier in Tier:
                for through_holdfast in BOTH:
                    table = numbers(tier, Deadlines(), through_holdfast=through_holdfast)
                    file = tmp_path / f"{client.name}-{tier.value}-{through_holdfast}" / f"Image.{SUFFIXES[language]}"
                    file.parent.mkdir()
                    file.write_text(render(client, tier, table, through_holdfast=through_holdfast), "utf-8")
                    files.append(file)
        assert len(files) == 6 * len(clients_of(language))
        return files

    return write


def check(*command: str | Path) -> str:
    """Run a checker, which must be content."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_python(written: Any) -> None:
    """With the rules of this project; `print` is what a program does."""
    files = written(Language.PYTHON)
    config = ("--config", str(ROOT / "pyproject.toml"))
    check(sys.executable, "-m", "ruff", "check", *config, "--no-cache", "--ignore", "T20", *files)
    check(sys.executable, "-m", "ruff", "format", *config, "--no-cache", "--check", *files)


def test_javascript(written: Any, program: Any) -> None:
    """Node reads it."""
    for file in written(Language.JAVASCRIPT):
        check(program("node"), "--check", file)


def test_shell(written: Any) -> None:
    """The plainest shell there is reads it."""
    for file in written(Language.SHELL):
        check("sh", "-n", file)


def test_go(written: Any, program: Any) -> None:
    """gofmt reads it, and has nothing to say; what is run is compiled as well."""
    gofmt = Path(program("go")).resolve().with_name("gofmt")
    assert check(gofmt, "-l", *written(Language.GO)) == ""


def test_java(written: Any, program: Any) -> None:
    """The compiler reads it, all of it in one go; what is run is compiled to its end, without a warning."""
    files = written(Language.JAVA)
    check(program("javac"), "-XDshould-stop.ifNoError=PARSE", *files)
    files[0].write_text("class Image {", "utf-8")
    with pytest.raises(AssertionError, match="reached end of file"):
        check(program("javac"), "-XDshould-stop.ifNoError=PARSE", *files)


def test_node_packages_are_pinned_without_an_address() -> None:
    """A lock file names versions and checksums; where they come from is the machine's business."""
    package = json.loads((NODE / "package.json").read_text("utf-8"))
    lock = json.loads((NODE / "package-lock.json").read_text("utf-8"))
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in package["dependencies"].values())
    assert lock["packages"][""]["dependencies"] == package["dependencies"]
    for name, entry in lock["packages"].items():
        assert "resolved" not in entry
        assert not name or entry["integrity"].startswith("sha512-")


def test_what_the_recipes_import_is_installed() -> None:
    """A package that a catalog entry names is one that the tests have."""
    dependencies = json.loads((NODE / "package.json").read_text("utf-8"))["dependencies"]
    wanted = {word for client in clients_of(Language.JAVASCRIPT) for word in client.package.split()}
    assert wanted == set(dependencies)
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for client in clients_of(Language.PYTHON):
        assert re.search(rf'^  "{client.package}[\[=><]', project, re.MULTILINE), client.package
