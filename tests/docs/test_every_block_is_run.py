"""Every code block of the README, the quickstart and the pages on clients is run by a test, or written from one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from holdfast.cli.main import build_parser
from holdfast.recipes.pages import client_pages

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "quickstart.md")
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INDENTED = re.compile(r"(?:^\n|\A)((?:    .*\n)+)", re.MULTILINE)

RUN_BY = {
    "make run": ("tests/integration/test_scripts.py", "holdfast demo"),
    "export GEMINI_API_KEY=": ("tests/recipes/test_readme_blocks.py", "export GEMINI_API_KEY"),
    "export HOLDFAST_API_KEY=": ("tests/acceptance/test_published_snippets.py", "export HOLDFAST_API_KEY"),
    "curl ": ("tests/acceptance/test_published_snippets.py", '"curl "'),
}
"""How a shell block begins -> the test that runs it, and what stands in that test."""


def shown(page: Path) -> str:
    """Name a page as people do."""
    return str(page.relative_to(ROOT))


def shell_blocks(page: Path) -> list[str]:
    """List the indented blocks."""
    text = FENCED.sub("", page.read_text("utf-8"))
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in INDENTED.findall(text)]


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_shell_block_has_a_test_that_runs_it(page: Path) -> None:
    """A new kind of block needs a new test; one that is taken away leaves its blocks alone here."""
    blocks = shell_blocks(page)
    assert blocks
    for block in blocks:
        (found,) = [run_by for beginning, run_by in RUN_BY.items() if block.startswith(beginning)]
        file, mark = found
        assert mark in (ROOT / file).read_text("utf-8"), block


def test_blocks_that_are_run_once_are_the_same_everywhere() -> None:
    """The quickstart's is run for both."""
    by_page = [{block for block in shell_blocks(page) if block.startswith("export HOLDFAST_API_KEY")} for page in PAGES]
    assert by_page[0] == by_page[1]
    assert len(by_page[0]) == 1


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_fenced_block_is_of_a_kind_that_is_run(page: Path) -> None:
    """Python is run whole by the acceptance tests; any other language would stand there unread."""
    languages = {language for language, _ in FENCED.findall(page.read_text("utf-8"))}
    assert languages == {"python"}
    assert "PAGES = (ROOT" in (ROOT / "tests" / "acceptance" / "test_published_snippets.py").read_text("utf-8")


@pytest.mark.parametrize("name", client_pages())
def test_the_pages_on_clients_are_written_from_what_is_run(name: str) -> None:
    """`tests/recipes` runs the same templates; the page is theirs letter by letter."""
    page = ROOT / "docs" / "how-to" / "clients" / name
    assert page.read_text("utf-8") == client_pages()[name], f"{name} is out of date: run scripts/docs-reference"


def test_no_page_on_clients_was_written_by_hand() -> None:
    """One that is not generated would not be run."""
    folder = ROOT / "docs" / "how-to" / "clients"
    assert {path.name for path in folder.iterdir()} == set(client_pages())


@pytest.mark.parametrize("name", client_pages())
def test_commands_on_the_pages_are_understood(name: str) -> None:
    """`holdfast timeouts` takes every line that is shown."""
    lines = re.findall(r"^    holdfast (timeouts .*)$", client_pages()[name], re.MULTILINE)
    assert lines or name == "README.md"
    for line in lines:
        args = build_parser().parse_args(line.split())
        assert args.client
        assert args.size == "4K"


def test_no_cell_breaks_its_table() -> None:
    """Each line of a table has as many cells as its head."""
    for page in client_pages().values():
        cells = 0
        for line in FENCED.sub("", page).splitlines():
            cells = cells or line.count("|") if line.startswith("|") else 0
            assert not line.startswith("|") or line.count("|") == cells, line
