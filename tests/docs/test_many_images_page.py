"""What the pages on batches and notebooks tell is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from holdfast.batch import names, prompts
from holdfast.batch.names import stems_of
from holdfast.batch.prompts import Defaults, parse_prompts
from holdfast.cli import batch, batch_run
from holdfast.cli.batch_files import journal_path
from holdfast.cli.exits import Exit
from holdfast.cli.generate import batch_options
from holdfast.cli.main import build_parser
from holdfast.client import preview

ROOT = Path(__file__).resolve().parents[2]
MANY = (ROOT / "docs" / "how-to" / "make-many-images.md").read_text("utf-8")
NOTEBOOK = (ROOT / "docs" / "how-to" / "in-a-notebook.md").read_text("utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Give the code blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def test_the_lines_of_json_are_lines_of_json() -> None:
    """Whoever copies them has a batch."""
    (block,) = blocks(MANY, "json")
    lines = parse_prompts(block, "standard input", Defaults())
    assert stems_of(lines, names.TEMPLATE_DEFAULT) == {1: "wallpaper", 2: "2"}
    assert lines[1].n == 4


@pytest.mark.parametrize("typed", re.findall(r"^    holdfast (generate .*)$", MANY, re.MULTILINE))
def test_the_commands_are_commands(typed: str) -> None:
    """As they stand, quotes included."""
    words = [word.strip('"') for word in typed.split()]
    args = build_parser(words).parse_args(words)
    assert args.prompts == "cats.txt"
    assert journal_path(Path(args.output), args.prompts) == Path("cats/cats.txt.journal")
    assert set(batch_options(args)) <= {"--concurrency", "--name"}


def test_the_limits_are_those_of_the_program() -> None:
    """The last line of the page."""
    limits = f"Limits: {prompts.LINES_MAX:,} lines and {prompts.FILE_BYTES_MAX >> 20} MB a file, "
    assert f"{limits}{batch_run.CONCURRENCY_MAX} lines at once, {prompts.IMAGES_MAX} images a line." in MANY
    assert f"The exit code is {Exit.PARTLY_FAILED.value}, `{Exit.PARTLY_FAILED.name.lower()}`" in MANY
    commands = (ROOT / "docs" / "reference" / "commands.md").read_text("utf-8")
    assert f"lines at once, 1 to {batch_run.CONCURRENCY_MAX}; else {batch.CONCURRENCY}" in commands


def test_every_field_of_a_template_and_of_a_line_is_told() -> None:
    """On the page that teaches them, and no other."""
    assert [field for field in names.FIELDS if f"`{{{field}}}`" not in MANY] == []
    commands = (ROOT / "docs" / "reference" / "commands.md").read_text("utf-8")
    assert [field for field in prompts.FIELDS if f"`{field}`" not in commands] == []


def test_the_preview_is_as_large_as_the_page_says() -> None:
    """In pixels, bytes and images."""
    assert f"at most {preview.PREVIEW_PX_MAX} pixels a side and {preview.PREVIEW_BYTES_MAX // 1000} KB" in NOTEBOOK
    assert f"up to {preview.SHEET_MAX} of them" in NOTEBOOK


@pytest.mark.parametrize("block", blocks(NOTEBOOK, "python"))
def test_the_cells_are_python(block: str) -> None:
    """They ask for what the library has; that a result shows itself is tested with IPython."""
    compile(block, "cell", "exec")
    from holdfast import Client, Image

    assert "Client(" not in block or callable(Client)
    assert all(hasattr(Image, name) for name in ("save", "bytes"))
