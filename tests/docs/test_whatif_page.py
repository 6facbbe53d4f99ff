"""The page on `whatif` and `explain` shows files that are taken, and names what is shipped."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from holdfast.simulator import scenarios
from holdfast.whatif import policies, scenario
from holdfast.whatif.client_loop import ClientLoop
from holdfast.whatif.files import load_policy, policy_names

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "explain-and-whatif.md").read_text("utf-8")


def test_the_scenario_of_the_page_is_taken() -> None:
    """By both who play such files; every key that there is, is shown."""
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    incident = scenario.parse(text, name="page")
    assert scenarios.parse(text, name="page") == incident.scenario
    assert incident.temper_of("relay").concurrency == 8
    for key in scenario._UPSTREAM:
        assert key in text
    for key in ("start", "latency_by_hour", "per_s", "sizes", "patience_s", "limits"):
        assert key in text


def test_the_loop_of_the_page_is_the_one_that_is_shipped() -> None:
    """But for what it does not repeat."""
    (text,) = re.findall(r"((?:^ {6}.*\n)+)", PAGE, re.MULTILINE)
    policy, shipped = policies.parse(textwrap.dedent(text), name="page"), load_policy("published-retries")
    assert isinstance(policy, ClientLoop)
    assert isinstance(shipped, ClientLoop)
    assert (policy.timeout_s, policy.pauses_s) == (shipped.timeout_s, shipped.pauses_s)


def test_every_shipped_policy_is_named() -> None:
    """With what it is."""
    assert all(f"`{name}`" in PAGE for name in policy_names())
