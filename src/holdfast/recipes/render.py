"""A template becomes a program.

A template is the program itself, but for three things: `«name»` stands for a value; a line `@with`, `@without` or
`@both` says whom the lines after it are for; and a line that only says `@why name` becomes the number's reason, as a
comment. Every name must be known, so that a slip is found by the first test that renders it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping
from importlib.resources import files

from holdfast.policy.sizes import geometry_of
from holdfast.recipes.catalog import COMMENTS, RUNS, Client
from holdfast.recipes.numbers import Number, named
from holdfast.types import Tier

WIDTH = 120
MODEL = "nano-banana-pro"
MODEL_ALONE = "gpt-image-2"
MODEL_GEMINI = "gemini-3-pro-image"
SIZES_ALONE = {Tier.K1: "1024x1024", Tier.K2: "2048x2048", Tier.K4: "2880x2880"}
"""What OpenAI takes for the three classes: its largest square has 8,294,400 pixels."""
PROMPT = "a lighthouse in a storm"

_NAME = re.compile(r"«(\w+)»")
_ORDER = re.compile(r"^(\s*)@(?:(without|with|both)|why (\w+))$")


def template_of(client: Client) -> str:
    """Read a client's template."""
    return (files("holdfast.recipes") / "templates" / client.file).read_text("utf-8")


def values_of(client: Client, tier: Tier, table: Mapping[str, Number], *, through_holdfast: bool) -> dict[str, str]:
    """Give what stands for each `«name»`."""
    asked = tier.value if through_holdfast or client.speaks_gemini else SIZES_ALONE[tier]
    model = MODEL_GEMINI if client.speaks_gemini else MODEL if through_holdfast else MODEL_ALONE
    vendor = "the Gemini API" if client.speaks_gemini else "an API shaped as OpenAI's"
    place = "through holdfast" if through_holdfast else f"from {vendor}, without holdfast"
    pixels = geometry_of(tier, "1:1")
    return named(table) | {
        "title": f"A {tier.value} image {place}, with {client.title}.",
        "usage": f'{RUNS[client.language]} "{PROMPT}" lighthouse.png',
        "module": client.name,
        "model": model,
        "size": asked,
        "pixels": asked if "x" in asked else f"{pixels.width_px}x{pixels.height_px}",
    }


def render(client: Client, tier: Tier, table: Mapping[str, Number], *, through_holdfast: bool) -> str:
    """Fill a client's template.

    Args:
        client: Of the catalog.
        tier: Size class of the image.
        table: What `numbers` gave for the same size and the same `through_holdfast`.
        through_holdfast: Which of the two programs.

    Raises:
        KeyError: The template names something that there is not.
    """
    values = values_of(client, tier, table, through_holdfast=through_holdfast)
    comment = COMMENTS[client.language]
    lines: list[str] = []
    is_ours = True
    for line in template_of(client).splitlines():
        order = _ORDER.match(line)
        if order is None:
            if is_ours:
                lines.append(_NAME.sub(lambda found: values[found[1]], line))
        elif order[2] is None:
            if is_ours:
                lines += _wrapped(f"{order[1]}{comment} ", table[order[3]].reason)
        else:
            is_ours = order[2] == "both" or (order[2] == "with") is through_holdfast
    return "\n".join(lines) + "\n"


def _wrapped(lead: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=lead, subsequent_indent=lead)
