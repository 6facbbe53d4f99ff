"""The page on simulated failures says what the simulator does."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from holdfast.policy.sizes import geometry_of
from holdfast.simulator.asked import Asked
from holdfast.simulator.faults import _FIELDS, Fault, Wish, script_of, wish_of_prompt
from holdfast.simulator.plan import Circumstances, plan_of
from holdfast.simulator.scenarios import SHIPPED, parse
from holdfast.types import Surface, Tier

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "try-failures.md").read_text("utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")]


def charged(fault: Fault, surface: Surface) -> bool:
    """Ask the code who pays."""
    asked = Asked(surface=surface, model="m", prompt="a", geometry=geometry_of(Tier.K1, "1:1"))
    now = Circumstances(
        number=1,
        seed=0,
        speed=1.0,
        is_instant=True,
        surplus_tokens=0,
        created=0,
        price_micros=7,
        draft_micros=3,
        server_timeout_s=None,
    )
    return plan_of(asked, Wish(fault=fault, delay_s=0.0), now).micros > 0


def test_every_scenario_is_listed() -> None:
    """And no other."""
    listed = {row[0].strip("`") for row in ROWS if len(row) == 2 and row[0].strip("`") in SHIPPED}
    assert listed == set(SHIPPED)


@pytest.mark.parametrize("fault", list(Fault))
def test_every_fault_is_listed_with_who_pays(fault: Fault) -> None:
    """The column is the code's own decision."""
    (row,) = [row for row in ROWS if row[0] == f"`{fault.value}`"]
    pays = {surface: charged(fault, surface) for surface in (Surface.OPENAI, Surface.GEMINI)}
    told = {"yes": {True}, "no": {False}, "OpenAI yes, Gemini no": {True, False}}[row[2]]
    assert set(pays.values()) == told
    if len(told) == 2:
        assert pays[Surface.OPENAI]


@pytest.mark.parametrize("word", list(_FIELDS))
def test_every_word_is_listed(word: str) -> None:
    """What a prompt may say."""
    assert any(row[0].startswith(f"`{word}=") for row in ROWS)


def test_the_examples_are_understood() -> None:
    """Prompt, script and scenario file, as they stand on the page."""
    prompts = re.findall(r"`([^`]*\[sim [^`]*\])`", PAGE)
    assert [wish_of_prompt(prompt) for prompt in prompts] == [Wish(delay_s=12.0, fault=Fault.TRUNCATE)]
    (script,) = re.findall(r"/_sim/script -d '(.*?)'", PAGE, re.DOTALL)
    assert len(script_of(json.loads(script)).wishes) == 3
    blocks = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (scenario,) = [block for block in blocks if "[[phase]]" in block]
    assert len(parse(scenario, name="page").phases) == 2
    assert all(tomllib.loads(block) for block in blocks)


def test_the_shares_on_the_page_are_those_of_the_scenarios() -> None:
    """Numbers that drift apart would be believed."""
    told = {row[0].strip("`"): row[1] for row in ROWS if len(row) == 2}
    peak = SHIPPED["peak-2026-01-17"].phases[0]
    assert f"times {peak.latency_factor:g}" in told["peak-2026-01-17"]
    assert f"{peak.statuses[429]:.0%} 429".replace("%", " %") in told["peak-2026-01-17"]
    assert f"{peak.statuses[503]:.0%} 503".replace("%", " %") in told["peak-2026-01-17"]
    assert f"{SHIPPED['overloaded'].phases[0].statuses[503]:.0%}".replace("%", " %") in told["overloaded"]
    assert f"{SHIPPED['refusals'].phases[0].refused:.0%}".replace("%", " %") in told["refusals"]
    assert f"{SHIPPED['cuts'].phases[0].cut:.0%}".replace("%", " %") in told["cuts"]
