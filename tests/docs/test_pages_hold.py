"""What pages say in passing: links lead somewhere, settings in examples exist, and code names pages that are there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from holdfast.config import parse
from holdfast.gateway.asked import Routes

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("lab/**/*.md")])
PAGES = [page for page in PAGES if not any(part.startswith(".") for part in page.relative_to(ROOT).parts)]
SOURCES = sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("lab/bench/*.py"), ROOT / "pyproject.toml"])
LINK = re.compile(r"\]\(([^)\s]+)\)")
EXAMPLE = re.compile(r"```toml\n(.*?)```", re.DOTALL)
NAMED_PAGE = re.compile(r"\b(?:docs|lab)/[\w/.-]+\.(?:md|py)\b")


def shown(page: Path) -> str:
    """Name a page as people do."""
    return str(page.relative_to(ROOT))


def examples() -> list[tuple[str, str]]:
    """List the settings that pages show; scenarios of the simulator have a test of their own."""
    every = [(shown(page), text) for page in PAGES for text in EXAMPLE.findall(page.read_text("utf-8"))]
    return [(page, text) for page, text in every if "[[phase]]" not in text]


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_link_leads_somewhere(page: Path) -> None:
    """A reader who follows a link arrives."""
    targets = [target.partition("#")[0] for target in LINK.findall(page.read_text("utf-8"))]
    inside = [target for target in targets if target and "://" not in target]
    assert [target for target in inside if not (page.parent / target).exists()] == []


def anchor(heading: str) -> str:
    """Give a heading's anchor as GitHub makes it: small letters, no punctuation, hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """List where a page can be entered; what stands in a block of code is no heading."""
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}


def test_anchors_are_made_as_they_are_followed() -> None:
    """The next test would pass on links that it cannot read."""
    assert anchor("What holds: [fal](x.md), and `serve`") == "what-holds-fal-and-serve"
    assert "what-may-be-paid-for-twice" in anchors(ROOT / "docs/discussions/decisions.md")


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_link_into_a_page_finds_its_heading(page: Path) -> None:
    """A heading that was reworded takes its links along."""
    dead = []
    for target in LINK.findall(page.read_text("utf-8")):
        name, _, fragment = target.partition("#")
        other = (page.parent / name).resolve() if name else page
        if fragment and "://" not in target and other.suffix == ".md" and fragment not in anchors(other):
            dead.append(target)
    assert dead == []


def test_every_file_that_the_architecture_names_exists() -> None:
    """Whoever looks for something there finds it; a name without a folder is a neighbour of the one before it."""
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    folders = [ROOT, ROOT / "src/holdfast"]
    named = {name for name in re.findall(r"`([\w/-]+\.(?:py|md|sql))`", text) if "NAME" not in name}
    assert len(named) > 100
    neighbours = {path.name for top in ("src", "tests") for path in (ROOT / top).rglob("*.py")}
    lost = [
        name
        for name in sorted(named)
        if not any((folder / name).exists() for folder in folders) and name not in neighbours
    ]
    assert lost == []


def test_there_are_examples() -> None:
    """The next test would pass on nothing."""
    assert len(examples()) >= 7


@pytest.mark.parametrize(("page", "text"), examples(), ids=[f"{page}-{at}" for at, (page, _) in enumerate(examples())])
def test_every_example_of_settings_is_taken(page: str, text: str) -> None:
    """What is copied from a page starts a gateway."""
    assert text, page
    parse(tomllib.loads(text))


def test_the_snippets_work_with_the_simulated_upstream() -> None:
    """Whoever copies the page's settings, then the README's snippets, is served under every name in them."""
    snippets = (ROOT / "README.md").read_text("utf-8") + (ROOT / "docs/quickstart.md").read_text("utf-8")
    models = set(re.findall(r'model="([^"]+)"', snippets))
    assert len(models) == 2
    (text,) = [text for page, text in examples() if page == "docs/how-to/try-failures.md"]
    routes = Routes(parse(tomllib.loads(text)))
    assert all(routes.find(model) for model in models)


def test_pages_that_code_names_exist() -> None:
    """A comment that sends its reader to a page sends it to one."""
    missing = [
        f"{shown(source)}: {name}"
        for source in SOURCES
        for name in NAMED_PAGE.findall(source.read_text("utf-8"))
        if not (ROOT / name).exists()
    ]
    assert missing == []


def test_every_page_is_reachable() -> None:
    """A page that no index names is found by nobody."""
    index = (ROOT / "docs/README.md").read_text("utf-8")
    lost = [
        shown(page)
        for page in PAGES
        if page.is_relative_to(ROOT / "docs") and page.name != "README.md" and page.name not in index
    ]
    assert lost == []
