"""What mkdocs does not know of these pages: they are one with the repository, and `docs/README.md` is their contents.

The README is the site's first page, and the pages that `docs/` links to elsewhere in the repository come along. A link
to a file that is no page (a program, a table of figures) becomes words, since the site has no such file. Links are
written for readers of the repository; here each is turned into one inside the site, and mkdocs checks it as any other.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
CONTENTS = "docs/README.md"

PLACES = {"README.md": "README.md", CONTENTS: "contents.md", "README.fr.md": "fr.md", "README.zh.md": "zh.md"}
"""Page of the repository -> its place in the site, where that is not its path (below `docs/`, if it is there)."""

TRANSLATIONS = {"Français": "README.fr.md", "中文": "README.zh.md"}
PROJECT = {"Architecture": "ARCHITECTURE.md", "Contributing": "CONTRIBUTING.md", "Changelog": "CHANGELOG.md"}

_FENCED = re.compile(r"(^ *```.*?^ *```$)", re.DOTALL | re.MULTILINE)
# Blocks and words of code come first: a link in them is none. The words of a link may be code themselves.
_LINK = re.compile(
    r"^ *```.*?^ *```$|`[^`\n]+`|(?P<picture>!?)\[(?P<words>(?:[^][]|\[[^][]*\])*)\]\((?P<to>[^)\s]+)\)",
    re.DOTALL | re.MULTILINE,
)
_CHAPTER = re.compile(r"^\*\*(?P<name>[^*]+)\*\*(?P<text>.*?)(?=^\*\*|\Z)", re.DOTALL | re.MULTILINE)
_LIST = re.compile(r"^((?![-*|>#]|\d+\.)\S.*\n)(?=- )", re.MULTILINE)
_PICTURES = (".svg", ".png")


def place_of(path: str) -> str:
    """Say where in the site a file of the repository stands, both as paths with slashes."""
    return PLACES.get(path) or path.removeprefix("docs/")


def contents(text: str) -> list[dict[str, Any]]:
    """Read the navigation off `docs/README.md`.

    Returns:
        Its chapters, each with its links in order, once. What lies in the folder of a `README.md` stands below that.
    """
    chapters: list[dict[str, Any]] = []
    for chapter in _CHAPTER.finditer(text):
        words: dict[str, str] = {}
        for link in _links(chapter["text"]):
            words.setdefault(link["to"].partition("#")[0], link["words"])
        pages: list[Any] = []
        folders: dict[str, list[Any]] = {}
        for to, said in words.items():
            title, place, folder = said[:1].upper() + said[1:], place_of(f"docs/{to}"), posixpath.dirname(to)
            if posixpath.basename(to) == "README.md":
                folders[folder] = [place]
                pages.append({title: folders[folder]})
            else:
                folders.get(folder, pages).append({title: place})
        chapters.append({chapter["name"]: pages})
    return chapters


def _links(text: str) -> list[re.Match[str]]:
    return [link for link in _LINK.finditer(text) if link["to"]]


def targets(path: str, text: str) -> set[str]:
    """Collect the paths in the repository that a page leads to."""
    return {target for link in _links(text) if (target := _target(path, link["to"])) is not None}


def _target(path: str, to: str) -> str | None:
    """Resolve a link of the page at `path`; None: it leads elsewhere, or into the page itself."""
    to = to.partition("#")[0]
    return None if not to or ":" in to else posixpath.normpath(posixpath.join(posixpath.dirname(path), to))


def linked(path: str, text: str, served: set[str]) -> str:
    """Turn a page's links into links inside the site.

    Args:
        path: The page's, in the repository.
        text: Its Markdown.
        served: Paths in the repository of all that the site has.

    Returns:
        The Markdown for mkdocs. What leads to a file that the site has not is words; what leads nowhere stays, for
        mkdocs to find.
    """

    def one(link: re.Match[str]) -> str:
        target = _target(path, link["to"]) if link["to"] else None
        if target is None or not (ROOT / target).exists():
            return link[0]
        if target not in served:
            return link["words"]
        there = posixpath.relpath(place_of(target), posixpath.dirname(place_of(path)) or ".")
        return f"{link['picture']}[{link['words']}]({there}{''.join(link['to'].partition('#')[1:])})"

    return _LINK.sub(one, text)


def as_markdown(text: str) -> str:
    """Say what GitHub understands unsaid: a list begins after a paragraph, and Markdown goes on inside `<details>`."""
    parts = _FENCED.split(text)
    parts[::2] = [_LIST.sub(r"\1\n", prose) for prose in parts[::2]]
    return "".join(parts).replace("<details>", '<details markdown="1">')


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Take the navigation from the contents."""
    pages = {"Contents": CONTENTS, **PROJECT, **TRANSLATIONS}
    chapters: list[dict[str, Any]] = [{"holdfast": "README.md"}]
    chapters += contents((ROOT / CONTENTS).read_text("utf-8"))
    config.nav = [*chapters, {"Project": [{words: place_of(path)} for words, path in pages.items()]}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the README, and what the pages of `docs/` lead to."""
    inside = {f"docs/{file.src_uri}" for file in files}
    first = {"README.md", *TRANSLATIONS.values(), *PROJECT.values()}
    pages = {path for path in inside | first if path.endswith(".md")}
    pages |= {path for path in _led_to(pages) if path.endswith(".md")}
    pictures = {path for path in _led_to(pages) if path.endswith(_PICTURES)}
    served = inside | pages | pictures
    files.remove(next(file for file in files if file.src_uri == "README.md"))
    for path in sorted((served - inside) | {CONTENTS}):
        files.append(File.generated(config, place_of(path), abs_src_path=os.fspath(ROOT / path)))
    config.extra["repository"] = {place_of(path): path for path in served}
    return files


def _led_to(pages: set[str]) -> set[str]:
    """Collect the files that exist and that these pages lead to."""
    every = {target for path in pages for target in targets(path, (ROOT / path).read_text("utf-8"))}
    return {path for path in every if (ROOT / path).is_file()}


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write a page for the site."""
    repository: dict[str, str] = config.extra["repository"]
    return as_markdown(linked(repository[page.file.src_uri], markdown, set(repository.values())))
