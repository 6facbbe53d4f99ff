"""The pages show what the command prints."""

from __future__ import annotations

import re

import pytest

from holdfast.config import Deadlines, Network
from holdfast.recipes.catalog import CLIENTS, Client, Language
from holdfast.recipes.numbers import numbers
from holdfast.recipes.pages import SHOWN, client_pages, clients_of
from holdfast.recipes.render import render
from holdfast.types import Tier

PAGES = client_pages()


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_every_program_stands_on_the_page_of_its_language(client: Client) -> None:
    """Both of them, letter by letter, with what the client cannot do."""
    page = PAGES[f"{client.language.value}.md"]
    for through_holdfast in (True, False):
        table = numbers(SHOWN, Deadlines(), through_holdfast=through_holdfast)
        assert render(client, SHOWN, table, through_holdfast=through_holdfast) in page
    assert all(limit in page for limit in client.limits)
    assert client.timers in page


@pytest.mark.parametrize("language", Language)
def test_a_page_has_two_blocks_for_each_client(language: Language) -> None:
    """And none that came from elsewhere."""
    page = PAGES[f"{language.value}.md"]
    assert len(re.findall(r"^```\w+$", page, re.MULTILINE)) == 2 * len(clients_of(language))
    assert len(re.findall(r"^```$", page, re.MULTILINE)) == 2 * len(clients_of(language))


def test_the_index_lists_clients_and_numbers() -> None:
    """One row each; every size on every network."""
    index = PAGES["README.md"]
    assert all(f"| `{client.name}` | [" in index for client in CLIENTS)
    assert all(f"| {tier.value} | {network.value} |" in index for tier in Tier for network in Network)
    assert "| 4K | intranet | 60 / 900 | 600 / 720 |" in index


def test_every_language_has_a_page() -> None:
    """The index and five."""
    assert set(PAGES) == {"README.md", *(f"{language.value}.md" for language in Language)}


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_limits_are_sentences(client: Client) -> None:
    """They stand beside each other in one cell, which no bar may break."""
    for text in (*client.limits, f"{client.timers}."):
        assert text.endswith(".")
        assert "|" not in text
