"""The console's files: what is served, what is shown, and what they may never hold."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import pytest

from holdfast.config.tree import Compensation
from holdfast.gateway.admin.generations import LIST_GENERATIONS
from holdfast.gateway.app import Endpoint, endpoint
from holdfast.gateway.console import FOLDER, PAGES, SECURITY, TYPES, Console, asset, needed_by, pages_served
from holdfast.types import Surface
from holdfast.wire import admin

SOURCES = sorted(FOLDER.glob("*.js")) + sorted(FOLDER.glob("pages/*.js"))
IMPORT = re.compile(r"""(?:from|import\()\s*["`]([^"`\n]+)["`]""")


async def _nothing(*_: Any) -> None:
    """Serve nothing."""


def endpoints_for(*paths: str) -> list[Endpoint]:
    """Endpoints that answer GET at these paths."""
    return [endpoint("GET", path, Surface.GENERATIONS, _nothing) for path in paths]


def a_console(folder: Path = FOLDER, *paths: str) -> Console:
    """A console beside these endpoints."""
    return Console(cast(Any, None), endpoints_for(*paths), folder)


def test_a_page_is_shown_once_all_its_endpoints_are_there() -> None:
    """Half of what a page needs is a page that fails."""
    half = endpoints_for("/admin/v1/overview")
    assert "now" not in pages_served(half)
    assert "now" in pages_served([*half, *endpoints_for("/admin/v1/events")])
    assert pages_served([]) == ()


def test_an_endpoint_of_another_method_shows_no_page() -> None:
    """`POST` alone tells nothing that could be shown."""
    assert pages_served([endpoint("POST", "/admin/v1/audit", Surface.GENERATIONS, _nothing)]) == ()
    preview = "/admin/v1/compensation/preview"
    settings = endpoints_for("/admin/v1/settings")
    assert pages_served([*settings, *endpoints_for(preview)]) == ("settings",)
    posted = endpoint("POST", preview, Surface.GENERATIONS, _nothing)
    assert pages_served([*settings, posted]) == ("compensation", "settings")


def test_every_page_that_may_be_shown_has_a_file_and_a_place_in_the_menu() -> None:
    """What the server lists, the frame knows, and the other way round."""
    listed = set(re.findall(r'\["([a-z]+)", "[A-Z][a-z]+", "[a-z]"\]', (FOLDER / "app.js").read_text("utf-8")))
    assert listed == set(PAGES)
    assert {path.stem for path in FOLDER.glob("pages/*.js")} == set(PAGES) | {"story"}


def test_the_letters_of_pages_differ() -> None:
    """`g` and a letter lead to one page."""
    letters = re.findall(r'\["[a-z]+", "[A-Z][a-z]+", "([a-z])"\]', (FOLDER / "app.js").read_text("utf-8"))
    assert len(letters) == len(set(letters)) == len(PAGES)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_no_text_can_become_markup(source: Path) -> None:
    """Elements are made one by one from text; nothing is parsed as HTML, nothing is evaluated."""
    code = re.sub(r"const NEVER = new Set\([^)]*\)", "", source.read_text("utf-8"))
    assert (
        re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc", code) == []
    )
    assert re.findall(r"createElement|createTextNode", code) == [] or source.name == "dom.js"


def test_filters_go_by_the_names_that_the_gateway_knows() -> None:
    """`key` in a query would be taken for a credential: a wrong one, which ends the session."""
    code = (FOLDER / "pages" / "generations.js").read_text("utf-8")
    (listed,) = re.findall(r"const FILTERS = \[([^\]]*)\]", code)
    filters = set(re.findall(r'"([a-z_]+)"', listed))
    assert filters <= {each.name for each in LIST_GENERATIONS.parameters}
    assert filters == set(re.findall(r'(?:input", \{ name: |select\()"([a-z_]+)"', code))


def test_rules_are_tried_with_all_that_they_say() -> None:
    """A rule for one customer, tried without saying so, would give back to everybody."""
    code = (FOLDER / "pages" / "compensation.js").read_text("utf-8")
    sent = code[code.index("function read(") : code.index("function report(")]
    missing = [each.name for each in fields(Compensation) if not re.search(rf"\b{each.name}\b", sent)]
    assert missing == []


def test_spend_shows_what_is_told() -> None:
    """A member that nobody sends is no number."""
    shown = set(re.findall(r"\brow\.([a-z_]+)", (FOLDER / "pages" / "spend.js").read_text("utf-8")))
    told = (admin.OutcomeHour, admin.UnknownAttempt, admin.ExposureDay)
    assert shown <= {name for each in told for name in each.__struct_fields__}


@pytest.mark.parametrize(
    ("address", "is_ours"),
    [
        ("#/keys", True),
        ("/v1/models", True),
        ("/", True),
        ("blob:null/1", True),
        ("//evil.example", False),
        ("/\\evil.example", False),
        ("/\t/evil.example", False),
        ("https://evil.example", False),
        ("javascript:alert(1)", False),
    ],
)
def test_a_link_leads_to_this_gateway(address: str, is_ours: bool) -> None:
    """As browsers read addresses, which take a backslash for a slash and pass over tabs."""
    (pattern,) = re.findall(r"const LINK = /(.+)/;", (FOLDER / "dom.js").read_text("utf-8"))
    assert bool(re.match(pattern, address)) is is_ours


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_every_import_leads_to_a_file_of_ours(source: Path) -> None:
    """It works offline: nothing comes from elsewhere."""
    for name in IMPORT.findall(source.read_text("utf-8")):
        if "${" not in name:
            assert name.startswith("."), name
            assert (source.parent / name).is_file(), name


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_a_module_begins_with_what_it_is_for(source: Path) -> None:
    """The first line is a comment, and no module outgrows one idea."""
    lines = source.read_text("utf-8").splitlines()
    assert lines[0].startswith("// ")
    assert len(lines) <= 300


def test_what_is_vendored_has_its_licence_beside_it() -> None:
    """And its version is written down."""
    names = {path.name for path in (FOLDER / "vendor").iterdir()}
    assert names == {"README.md", "uplot.LICENSE", "uplot.css", "uplot.js"}
    assert "MIT" in (FOLDER / "vendor" / "uplot.LICENSE").read_text("utf-8")
    assert "1.6.32" in (FOLDER / "vendor" / "README.md").read_text("utf-8")


def test_the_page_holds_no_script_and_no_style_of_its_own() -> None:
    """The content policy allows neither."""
    html = (FOLDER / "index.html").read_text("utf-8")
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=", html) == []
    assert re.findall(r"<script(?![^>]* src=)", html) == []


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    """One directive each, from what is served here."""
    policy = dict(SECURITY)[b"content-security-policy"].decode()
    rules = dict(each.strip().split(" ", 1) for each in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
    assert rules["frame-ancestors"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy
    assert "http" not in policy


def test_the_stamp_changes_with_any_file(tmp_path: Path) -> None:
    """An address that may be kept for ever must name what it leads to."""
    stamps = []
    for style in ("a {}", "b {}"):
        (tmp_path / "index.html").write_text("<p>@pages @base @preloads</p>", "utf-8")
        (tmp_path / "style.css").write_text(style, "utf-8")
        stamps.append(a_console(tmp_path).stamp)
    assert stamps[0] != stamps[1]
    assert a_console(tmp_path).stamp == stamps[1]


def test_the_page_names_its_pages_and_its_files(tmp_path: Path) -> None:
    """Nothing is left to be filled in."""
    console = a_console(FOLDER, "/admin/v1/audit", "/admin/v1/settings")
    html = console._page.body.decode()
    assert 'content="audit settings"' in html
    assert "@" not in html
    for name in re.findall(rf'"/console/{console.stamp}/([^"]+)"', html):
        assert name in console._assets


def test_what_is_of_no_known_type_is_not_served(tmp_path: Path) -> None:
    """A note beside the files is no part of the page."""
    (tmp_path / "index.html").write_text("x", "utf-8")
    (tmp_path / "notes.md").write_text("x", "utf-8")
    assert a_console(tmp_path)._assets == {}
    assert ".md" not in TYPES


def test_the_same_file_is_packed_the_same() -> None:
    """No time stands in it: every replica gives the same bytes under one tag."""
    one, two = asset(b"text/css", b"a {}" * 100), asset(b"text/css", b"a {}" * 100)
    assert one == two
    assert len(one.packed) < len(one.body)


def test_the_whole_console_is_small() -> None:
    """It is loaded over phones: 120 KB packed, with the library of charts; a fifth of that before the first view."""
    console = a_console()
    assets = console._assets
    assert sum(len(each.packed) for each in assets.values()) < 120_000
    assert re.fullmatch(r"<Console \d+ files, \d+ KB packed, pages: >", repr(console))
    first = [*needed_by(assets, "app.js", "pages/now.js"), "early.js", "style.css", "parts.css"]
    assert sum(len(assets[name].packed) for name in first) < 25_000


def test_what_the_first_view_needs_is_found_at_once() -> None:
    """Each module that it imports is named in the page; what other pages need is not."""
    console = a_console()
    html = console._page.body.decode()
    named = re.findall(r'modulepreload" href="/console/[0-9a-f]+/([^"]+)"', html)
    assert {"app.js", "dom.js", "live.js", "generations.js", "pages/now.js"} <= set(named)
    assert {"charts.js", "vendor/uplot.js", "forms.js", "pages/keys.js", "pictures.js"}.isdisjoint(named)
    assert len(named) == len(set(named))
    assert re.search(r'<script async src="/console/[0-9a-f]+/early\.js">.*<link rel="stylesheet"', html, re.DOTALL)
