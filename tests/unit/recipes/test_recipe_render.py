"""Templates become programs: every one, for every size and network, with nothing left to fill in."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib.resources import files

import pytest

from holdfast.config import Deadlines
from holdfast.policy.sizes import resolve
from holdfast.recipes import render as module
from holdfast.recipes.catalog import BY_NAME, CLIENTS, COMMENTS, SUFFIXES, Client, Language
from holdfast.recipes.numbers import numbers
from holdfast.recipes.render import SIZES_ALONE, render, template_of
from holdfast.types import Tier

NAMES = list(BY_NAME)
BOTH = (True, False)
WANTED = (
    *("requests", "httpx", "httpx2", "aiohttp", "urllib3", "openai-python", "google-genai-python", "curl", "fetch"),
    *("undici", "axios", "openai-node", "google-genai-node", "java", "go"),
)


def program(client: Client, tier: Tier = Tier.K4, *, through_holdfast: bool) -> str:
    """Render as the command does."""
    table = numbers(tier, Deadlines(), through_holdfast=through_holdfast)
    return render(client, tier, table, through_holdfast=through_holdfast)


def both() -> Iterator[str]:
    """Render every program."""
    for client in CLIENTS:
        for tier in Tier:
            for through_holdfast in BOTH:
                yield program(client, tier, through_holdfast=through_holdfast)


def code(text: str) -> str:
    """Leave the comments out, and the lines that are nothing else."""
    return "\n".join(line for line in text.splitlines() if not line.strip().startswith(("#", "//", '"""')))


def test_there_is_one_for_every_client_that_people_use() -> None:
    """The list of the promise; a client that is taken away is missed here."""
    assert tuple(NAMES) == WANTED


def test_every_template_is_somebody_s() -> None:
    """And everybody has one."""
    found = {item.name for item in (files("holdfast.recipes") / "templates").iterdir()}
    assert found == {client.file for client in CLIENTS}


def test_nothing_is_left_to_fill_in() -> None:
    """Neither a name nor an order, nor a space at a line's end; and no line is too wide to be copied."""
    for text in both():
        assert not re.search(r"[«»]|^\s*@(?:with|without|both|why)\b|[ \t]$", text, re.MULTILINE)
        assert max(map(len, text.splitlines())) <= module.WIDTH
        assert text.endswith("\n")
        assert not text.endswith("\n\n")


@pytest.mark.parametrize("client", CLIENTS, ids=NAMES)
def test_with_holdfast_there_is_one_key(client: Client) -> None:
    """It is made once, outside of the loop, and without holdfast there is none: nobody would honour it."""
    ours = program(client, through_holdfast=True)
    assert len(re.findall("Idempotency-Key", ours, re.IGNORECASE)) == 1
    assert "paid once" in ours
    assert "Idempotency-Key" not in program(client, through_holdfast=False)


@pytest.mark.parametrize("client", CLIENTS, ids=NAMES)
def test_each_asks_for_the_size_it_is_printed_for(client: Client) -> None:
    """In the words of the server that it asks."""
    for tier in Tier:
        assert f'"{tier.value}"' in program(client, tier, through_holdfast=True).replace('\\"', '"')
        alone = tier.value if client.speaks_gemini else SIZES_ALONE[tier]
        assert f'"{alone}"' in program(client, tier, through_holdfast=False).replace('\\"', '"')


@pytest.mark.parametrize("tier", Tier)
def test_pixels_of_a_size_are_of_that_size(tier: Tier) -> None:
    """What OpenAI is asked for is what its price and its time are for."""
    width, height = map(int, SIZES_ALONE[tier].split("x"))
    assert width % 16 == height % 16 == 0
    assert width * height <= 8_294_400
    if tier is not Tier.K4:
        assert resolve(SIZES_ALONE[tier]).tier is tier


@pytest.mark.parametrize("client", CLIENTS, ids=NAMES)
def test_keys_and_addresses_come_from_the_environment(client: Client) -> None:
    """A key in a source is a key in a repository; the two programs never take each other's."""
    ours, alone = (program(client, through_holdfast=through) for through in BOTH)
    assert "HOLDFAST_API_KEY" in ours
    assert "HOLDFAST_BASE_URL" in ours
    assert "HOLDFAST_" not in alone
    assert ("GEMINI_API_KEY" if client.speaks_gemini else "OPENAI_API_KEY") in alone


@pytest.mark.parametrize("client", CLIENTS, ids=NAMES)
def test_a_size_changes_numbers_and_nothing_else(client: Client) -> None:
    """What is tested at one size holds for the others."""
    for through_holdfast in BOTH:
        shapes = {
            re.sub(r"[124]K|\d+x\d+|\d+", "N", code(program(client, tier, through_holdfast=through_holdfast)))
            for tier in Tier
        }
        assert len(shapes) == 1


@pytest.mark.parametrize("client", [each for each in CLIENTS if each.language is Language.PYTHON], ids=lambda c: c.name)
def test_python_is_python(client: Client) -> None:
    """And its numbers are constants with a reason above them."""
    for through_holdfast in BOTH:
        text = program(client, through_holdfast=through_holdfast)
        lines = text.splitlines()
        limits = [
            node
            for node in ast.parse(text).body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and node.value.value is not None
        ]
        assert limits
        for node in limits:
            assert lines[node.lineno - 2].startswith("# ")


@pytest.mark.parametrize("client", CLIENTS, ids=NAMES)
def test_a_program_says_what_it_is_and_how_it_is_run(client: Client) -> None:
    """At its head."""
    head = program(client, Tier.K2, through_holdfast=False)[:400]
    assert "A 2K image from " in head
    assert client.title in head
    assert "lighthouse.png" in head


def test_orders_say_whom_lines_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """`with`, `without`, `both`, and a reason indented as its line is."""
    template = "a\n@with\nours «pause_s»\n@without\nalone «model»\n@both\n    @why pause_s\n    b\n@why_not\n"
    monkeypatch.setattr(module, "template_of", lambda client: template)
    client = BY_NAME["go"]
    ours = program(client, through_holdfast=True).splitlines()
    assert ours[:2] == ["a", "ours 2"]
    assert ours[2].startswith("    // A repeat joins")
    assert ours[-2:] == ["    b", "@why_not"]
    assert program(client, through_holdfast=False).splitlines()[1] == "alone gpt-image-2"


@pytest.mark.parametrize("slip", ["«nothing»", "@why nothing"])
def test_a_slip_in_a_template_is_found(monkeypatch: pytest.MonkeyPatch, slip: str) -> None:
    """A name that nobody knows is an error, not a hole in somebody's program."""
    monkeypatch.setattr(module, "template_of", lambda client: f"{slip}\n")
    with pytest.raises(KeyError):
        program(BY_NAME["go"], through_holdfast=True)


def test_every_language_has_its_words() -> None:
    """A suffix and a comment."""
    assert set(SUFFIXES) == set(COMMENTS) == set(Language)


def test_no_template_says_whose_money_it_is_twice() -> None:
    """A program that may have cost something says so in the same words everywhere: people search for them."""
    for client in CLIENTS:
        assert "may be charged" in template_of(client), client.name
