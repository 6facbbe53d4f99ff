"""Commands, options, exit codes and links in the documentation are those of the program."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from holdfast.cli.exits import MEANINGS
from holdfast.cli.main import COMMANDS, build_parser

ROOT = Path(__file__).resolve().parents[2]
COMMANDS_PAGE = (ROOT / "docs" / "reference" / "commands.md").read_text("utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
EVERYWHERE = {"--help", "--config", "--data", "--json", "--version"}
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def section(command: str) -> str:
    """Cut a command's section out of the page."""
    _, _, rest = COMMANDS_PAGE.partition(f"## `holdfast {command}")
    assert rest, f"docs/reference/commands.md has no section for {command}"
    return rest.partition("\n## ")[0]


def options_of(command: str) -> set[str]:
    """List the long options that a command takes."""
    parser = build_parser()
    subparsers = next(each for each in parser._actions if isinstance(each, argparse._SubParsersAction))
    return long_options(subparsers.choices[command]) - EVERYWHERE


def long_options(parser: argparse.ArgumentParser) -> set[str]:
    """List the long options of a command and of those below it."""
    names = {name for action in parser._actions for name in action.option_strings if name.startswith("--")}
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return names.union(*(long_options(each) for action in below for each in action.choices.values()))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_documented(command: str) -> None:
    """What the program takes, the page tells."""
    told = section(command)
    assert {option for option in options_of(command) if f"`{option}" not in told} == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_no_documented_option_is_invented(command: str) -> None:
    """What the page tells, the program takes."""
    named = set(re.findall(r"`(--[a-z-]+)", section(command)))
    assert named - options_of(command) - EVERYWHERE == set()


def test_the_options_that_work_everywhere_are_documented() -> None:
    """Once, at the top."""
    head = COMMANDS_PAGE.partition("\n## ")[0]
    assert {option for option in EVERYWHERE if option not in head} == set()


def test_every_exit_code_is_documented() -> None:
    """Number, name and meaning, word for word."""
    page = (ROOT / "docs" / "reference" / "exit-codes.md").read_text("utf-8")
    rows = {f"| {code.value} | `{code.name.lower()}` | {meaning} |" for code, meaning in MEANINGS.items()}
    assert rows - set(page.splitlines()) == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link is a file of the repository."""
    targets = [target.partition("#")[0] for target in _LINK.findall(page.read_text("utf-8"))]
    dead = [target for target in targets if target and "://" not in target and not (page.parent / target).exists()]
    assert dead == []


def test_every_page_is_reached_from_the_index() -> None:
    """A page that nothing links to is not found."""
    index = ROOT / "docs" / "README.md"
    seen: set[Path] = set()
    waiting = [index, ROOT / "README.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page in seen or page.suffix != ".md" or not page.exists():
            continue
        seen.add(page)
        targets = [target.partition("#")[0] for target in _LINK.findall(page.read_text("utf-8"))]
        waiting += [page.parent / target for target in targets if target and "://" not in target]
    assert {path.resolve() for path in (ROOT / "docs").rglob("*.md")} - seen == set()


def test_make_targets_named_in_the_docs_exist() -> None:
    """A command that a page tells to type works."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    pages = "\n".join(page.read_text("utf-8") for page in PAGES)
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", pages, re.MULTILINE))
    assert named - targets == set()


def test_the_picture_is_well_formed() -> None:
    """The one picture of the README is shown everywhere."""
    from xml.dom import minidom

    picture = minidom.parse(str(ROOT / "docs" / "images" / "held-call.svg")).documentElement
    assert picture is not None
    assert picture.tagName == "svg"


def test_what_the_pages_tell_to_make_is_ignored_by_git() -> None:
    """Whoever follows the README in a clone finds nothing untracked in it."""
    ignored = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    pages = (ROOT / "README.md").read_text("utf-8") + (ROOT / "docs" / "quickstart.md").read_text("utf-8")
    made = set(re.findall(r" -o ([\w.-]+)", pages))
    assert made
    assert {name for name in made if f"/{name}" not in ignored} == set()
