"""The generated reference pages say what the code does."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from holdfast.config import LIST_PRICES, describe
from holdfast.generation import EVENTS, AttemptState, State
from holdfast.providers.mapping import FIELDS
from holdfast.providers.registry import MAPPINGS
from holdfast.types import FailureKind
from holdfast.wire.failures import CODES

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`scripts/docs-reference`, imported."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = importlib.machinery.SourceFileLoader("docs_reference", str(ROOT / "scripts" / "docs-reference"))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_pages_are_what_the_code_declares(script: ModuleType) -> None:
    """After a change of a default or a table, `scripts/docs-reference` is run."""
    for name, page in script.pages().items():
        assert (REFERENCE / name).read_text("utf-8") == page, f"{name} is out of date: run scripts/docs-reference"
    assert script.main(["--check"]) == 0


def test_every_setting_and_price_is_documented() -> None:
    """Nothing can be set that does not stand on the page."""
    page = (REFERENCE / "settings.md").read_text("utf-8")
    for setting in describe():
        assert f"| `{setting.name.rsplit('.', 1)[-1]}` |" in page
        assert setting.means in page
    assert all(f"| `{price.model}` |" in page for price in LIST_PRICES)


def test_every_failure_and_code_is_documented() -> None:
    """What a caller is told can be looked up."""
    page = (REFERENCE / "failures.md").read_text("utf-8")
    assert all(f"| `{word}` |" in page for word in (*FailureKind, *CODES))


def test_every_state_and_event_is_documented() -> None:
    """The diagram and the tables name them all."""
    page = (REFERENCE / "lifecycle.md").read_text("utf-8")
    assert all(f"| {state} |" in page for state in (*State, *AttemptState))
    assert all(f"| {event.__name__} |" in page for event in EVENTS)
    assert "queued --> running: AttemptSent" in page


def test_every_door_is_documented() -> None:
    """With a row for each wish."""
    page = (REFERENCE / "providers.md").read_text("utf-8")
    for mapping in MAPPINGS:
        section = page.split(f"\n## {mapping.title}\n")[1].split("\n## ")[0]
        assert all(f"| `{name}` |" in section for name in FIELDS)


def test_no_cell_breaks_its_table(script: ModuleType) -> None:
    """Each line of a table has as many cells as its head."""
    for page in script.pages().values():
        cells = 0
        for line in page.splitlines():
            if not line.startswith("|"):
                cells = 0
                continue
            cells = cells or line.count("|")
            assert line.count("|") == cells, line


def test_an_outdated_page_is_told(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check names page and command, and writing makes it pass."""
    monkeypatch.setattr(script, "REFERENCE", tmp_path / "reference")
    assert script.main(["--check"]) == 1
    assert "docs/reference/settings.md is out of date: run scripts/docs-reference" in capsys.readouterr().err
    assert script.main([]) == 0
    assert script.main(["--check"]) == 0
    (tmp_path / "reference" / "failures.md").write_text("old", "utf-8")
    assert script.main(["--check"]) == 1


def test_pages_beside_the_document_are_listed(script: ModuleType, tmp_path: Path) -> None:
    """What serves a page and no API is told of in its module's words; what the document has is not told twice."""
    (tmp_path / "page.py").write_text(
        '"""`/page`: shows something.\n\nMore."""\n'
        'all = [endpoint("GET", "/page", A, b), endpoint("GET", "/v1/known", A, b), endpoint("GET", f"/{x}", A, b)]\n',
        "utf-8",
    )
    found = script.beside_the_document({("GET", "/v1/known")}, tmp_path)
    assert found == [("GET", "/page", "`/page`: shows something")]
