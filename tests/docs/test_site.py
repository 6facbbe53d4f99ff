"""The documentation as a site: it builds without a warning, nothing of it is lost, and nothing comes from elsewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote, urljoin

import pytest

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "http://site/"
# Programs, styles, pictures, frames: what a browser fetches by itself.
FETCHED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("link", "href")}


class Parsed(HTMLParser):
    """One page: what it links to, what it fetches, where it can be entered, and its words outside code."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.ids: set[str] = set()
        self.paragraphs: list[str] = []
        self._open: list[str] = []
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note addresses and ids."""
        named = {name: value or "" for name, value in attrs}
        if "id" in named:
            self.ids.add(named["id"])
        if tag == "a" and "href" in named:
            self.links.append(named["href"])
        self.fetched += [value for name, value in named.items() if (tag, name) in FETCHED]
        if tag in ("p", "code", "pre"):
            self._open.append(tag)
            if tag == "p":
                self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        """Leave what was entered."""
        if tag in self._open:
            del self._open[len(self._open) - 1 - self._open[::-1].index(tag) :]

    def handle_data(self, data: str) -> None:
        """Keep the words of paragraphs."""
        if self._open and self._open[-1] == "p":
            self.paragraphs[-1] += data


class Site:
    """What was built."""

    def __init__(self, folder: Path, said: str, status: int) -> None:
        self.folder = folder
        self.said = said
        self.status = status

    @cached_property
    def pages(self) -> dict[str, Parsed]:
        """Every page, by its path in the site."""
        every = sorted(self.folder.rglob("*.html"))
        return {str(file.relative_to(self.folder)): Parsed(file) for file in every if file.name != "404.html"}

    def file_of(self, page: str, link: str) -> tuple[str, str]:
        """Resolve a link as a browser does: the file of the site, and the fragment."""
        address, _, fragment = urljoin(ADDRESS + page, link).partition("#")
        return unquote(address.removeprefix(ADDRESS).partition("?")[0]), unquote(fragment)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Build it once, as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return Site(folder, done.stdout + done.stderr, done.returncode)


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    """`scripts/docs_site.py`, imported as mkdocs does."""
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "scripts" / "docs_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_builds_without_a_warning(site: Site) -> None:
    """A dead link or anchor, a page that the navigation names and that is not there: each would be one."""
    assert site.status == 0, site.said
    assert "WARNING" not in site.said
    assert "Documentation built" in site.said


def test_every_page_is_there(site: Site, hooks: ModuleType) -> None:
    """Of `docs/`, and those of the project."""
    sources = [str(page.relative_to(ROOT)) for page in (*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"))]
    assert len(sources) > 50
    for source in sources:
        place = hooks.place_of(source).removesuffix(".md")
        assert f"{re.sub(r'(?:^|(?<=/))README$', 'index', place)}.html" in site.pages, source


def test_every_page_is_in_the_navigation(site: Site, hooks: ModuleType) -> None:
    """It is read off `docs/README.md`, which another test holds to name them all."""
    first = {site.file_of("index.html", link)[0] for link in site.pages["index.html"].links}
    chapters = hooks.contents((ROOT / "docs" / "README.md").read_text("utf-8"))
    assert [next(iter(chapter)) for chapter in chapters] == ["Begin", "How to", "Why", "Reference"]
    places = re.findall(r"'([\w/.-]+\.md)'", str(chapters))
    pages = {hooks.place_of(f"docs/{page.relative_to(ROOT / 'docs')}") for page in (ROOT / "docs").rglob("*.md")}
    assert set(places) == pages - {"contents.md"}
    assert len(places) == len(set(places))
    assert "quickstart.html" in first


def test_every_link_arrives(site: Site) -> None:
    """At a file, and at its heading: also those that the theme makes."""
    dead: set[str] = set()
    count = 0
    for name, page in site.pages.items():
        for link in page.links:
            if "://" in link or link.startswith(("mailto:", "javascript:")):
                continue
            count += 1
            file, fragment = site.file_of(name, link)
            target = site.pages.get(file)
            missing = fragment and target is not None and not fragment.startswith("__") and fragment not in target.ids
            if missing or not (site.folder / file).is_file():
                dead.add(f"{name}: {link}")
    assert count > 2_000
    assert dead == set()


def test_nothing_is_fetched_from_elsewhere(site: Site) -> None:
    """No font, no script, no counter: what is read here is nobody else's business, and it works without a network."""
    files = {str(file.relative_to(site.folder)) for file in site.folder.rglob("*") if file.is_file()}
    for name, page in site.pages.items():
        assert page.fetched
        assert [each for each in page.fetched if "//" in each] == [], name
        inside = {site.file_of(name, each)[0] for each in page.fetched if not each.startswith("data:")}
        assert inside - files == set(), name
    # The theme would load this for pictures that are drawn in the browser.
    assert not any('class="mermaid"' in file.read_text("utf-8") for file in site.folder.rglob("*.html"))


def test_no_markdown_is_left_over(site: Site) -> None:
    """What one reader of Markdown takes for a list or a table, another takes for a line of words."""
    left = re.compile(r"^(?:[-*] |\|.*\||#+ |```)|\]\(", re.MULTILINE)
    assert [
        f"{name}: {text[:80]}" for name, page in site.pages.items() for text in page.paragraphs if left.search(text)
    ] == []


def test_it_can_be_searched(site: Site) -> None:
    """The index is a file of the site, and knows a word of a page deep inside."""
    assert "exposure_share" in (site.folder / "search" / "search_index.json").read_text("utf-8")


def test_links_are_turned_into_links_of_the_site(hooks: ModuleType) -> None:
    """One for each kind: inside `docs/`, out of it, to the first page, to what is no page, in code, and to nowhere."""
    served = {"docs/how-to/ask-again.md", "ARCHITECTURE.md", "README.md", "docs/README.md", "lab/bench/README.md"}

    def turned(text: str, page: str = "docs/how-to/new.md") -> str:
        text = hooks.linked(page, text, served)
        assert isinstance(text, str)
        return text

    assert turned("[a](ask-again.md#who-joins-whom)") == "[a](ask-again.md#who-joins-whom)"
    assert turned("[a](../../ARCHITECTURE.md)") == "[a](../ARCHITECTURE.md)"
    assert turned("[a](../../lab/bench/README.md)") == "[a](../lab/bench/README.md)"
    assert turned("[a](docs/README.md) and [b](README.md)", "ARCHITECTURE.md") == "[a](contents.md) and [b](README.md)"
    assert turned("[`run`](../../lab/bench/run.py) `and` [b](#here)") == "`run` `and` [b](#here)"
    assert turned("`[a](../../ARCHITECTURE.md)`\n```text\n[a](../../ARCHITECTURE.md)\n```\n").count("../../") == 2
    assert turned("[a](nowhere.md) [b](https://example.com/x.md)") == "[a](nowhere.md) [b](https://example.com/x.md)"


def test_what_github_understands_unsaid_is_said(hooks: ModuleType) -> None:
    """A list behind a paragraph becomes one, what is none stays, and code is left alone."""
    assert hooks.as_markdown("words\n- a\n- b\n") == "words\n\n- a\n- b\n"
    assert hooks.as_markdown("- a\n- b\n  more\n- c\n") == "- a\n- b\n  more\n- c\n"
    assert hooks.as_markdown("```sh\nwords\n- a\n```\n") == "```sh\nwords\n- a\n```\n"
    assert hooks.as_markdown("<details><summary>x</summary>") == '<details markdown="1"><summary>x</summary>'


def test_the_contents_are_the_navigation(hooks: ModuleType) -> None:
    """In order, each page once, with those of a folder below its `README.md`."""
    text = "# x\n\n**Why** · [heartbeats](why.md): so\n· [clients](to/README.md): [Go](to/go.md), [again](why.md#x)\n"
    assert hooks.contents(text) == [
        {"Why": [{"Heartbeats": "why.md"}, {"Clients": ["to/README.md", {"Go": "to/go.md"}]}]}
    ]


def test_the_versions_are_pinned() -> None:
    """The theme's next one may look different, and the pins are what was tried."""
    pins = (ROOT / "constraints.txt").read_text("utf-8")
    assert re.search(r"^mkdocs==1\.", pins, re.MULTILINE)
    assert re.search(r"^mkdocs-material==9\.", pins, re.MULTILINE)
    assert sorted(pins.splitlines()[1:], key=str.lower) == pins.splitlines()[1:]
