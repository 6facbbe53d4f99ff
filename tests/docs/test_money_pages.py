"""`team-with-budgets.md` and `reseller.md`: their commands, run in order against a gateway, do what the pages say."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest

from holdfast.wire.failures import CODES

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to"
TEAM = (HOW_TO / "team-with-budgets.md").read_text("utf-8")
RESELLER = (HOW_TO / "reseller.md").read_text("utf-8")


def blocks(page: str, language: str) -> list[str]:
    """Give a page's blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


class Operator:
    """Somebody at the gateway's machine, with `holdfast` on the PATH."""

    def __init__(self, folder: Path, gateway: Any) -> None:
        self.folder = folder
        self.gateway = gateway
        self.key_id = ""
        program = folder / "bin" / "holdfast"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m holdfast.cli.main "$@"\n', "utf-8")
        program.chmod(0o755)

    def shell(self, block: str) -> str:
        """Run a block as it stands; a name in the place of the dots is a key's id."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        environ |= {"PATH": f"{self.folder / 'bin'}:{environ['PATH']}", "HOLDFAST_DATA": str(self.folder / "data")}
        done = subprocess.run(
            ["sh", "-ec", block.replace("key_…", self.key_id)],
            cwd=self.folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, key: str, **fields: Any) -> httpx2.Response:
        """Ask for an image as a customer."""
        with httpx2.Client(trust_env=False, timeout=30.0) as client:
            return client.post(
                f"{self.gateway.base_url}/v1/images/generations",
                headers={"Authorization": f"Bearer {key}"},
                json={"prompt": "a lighthouse", "response_format": "url", **fields},
            )


def started(folder: Path, processes: ModuleType, settings: dict[str, Any]) -> Iterator[Operator]:
    """Run a gateway in a folder."""
    gateway = processes.Gateway(folder, settings)
    try:
        yield Operator(folder, gateway)
    finally:
        gateway.stop()
    assert gateway.status == 0


@pytest.fixture
def team(tmp_path: Path, served: Any, processes: ModuleType) -> Iterator[Operator]:
    """The gateway of a team."""
    yield from started(tmp_path, processes, processes.settings_for(served.simulator.base_url))


@pytest.fixture
def reseller(tmp_path: Path, served: Any, processes: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    """The gateway of the page's settings, with simulated upstreams in the place of both of its own."""
    settings = tomllib.loads(blocks(RESELLER, "toml")[0])
    usual = processes.settings_for(served.simulator.base_url)
    google, wholesale = settings["upstreams"]
    google |= {"base_url": served.simulator.base_url, "keys": ["a-key"]}
    wholesale |= {"base_url": f"{served.simulator.base_url}/v1", "keys": ["a-key"]}
    yield from started(tmp_path, processes, {**usual, **settings})


def keys_in(said: str) -> list[str]:
    """Give the keys that a command printed."""
    return re.findall(r"\bhf-\S+", said)


def test_a_team_is_set_up_as_the_page_says(team: Operator) -> None:
    """Keys with limits that hold, what was used, a changed budget, a rotated secret, and a key that is taken back."""
    create, use, change = blocks(TEAM, "bash")
    said = team.shell(create)
    ana, batch = keys_in(said)
    listed = team.shell("holdfast keys list")
    assert "Ana" in listed
    assert "30/min" in listed
    assert team.ask(ana).status_code == 200
    for key, fields, told in (
        (ana, {"model": "gpt-image-2"}, "model_not_allowed"),
        (batch, {"model": "nano-banana-pro"}, "model_not_allowed"),
    ):
        refused = team.ask(key, **fields)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, told)
    assert "Ana" in team.shell(use)
    (team.key_id,) = re.findall(r"(key_\w+)\s+Ana", listed)
    changed = team.shell(change)
    (rotated,) = keys_in(changed)
    assert rotated != ana
    for key in (ana, rotated):
        assert team.ask(key).json()["error"]["code"] == "key_revoked"


def test_the_page_tells_what_is_told() -> None:
    """Each code is one of the table's, with its status."""
    rows = re.findall(r"^\| `--.*?\| (\d{3}) (.*) \|$", TEAM, re.MULTILINE)
    assert len(rows) >= 6
    for status, rest in rows:
        codes = [code for code in re.findall(r"`(\w+)`", rest) if code in CODES]
        assert codes
        assert {CODES[code].status for code in codes} == {int(status)}


def test_a_budget_ends_where_it_says(team: Operator) -> None:
    """For one image: the second is told 402, and the day on which the budget begins anew."""
    (key,) = keys_in(team.shell('holdfast keys create "one image" --budget 0.20/day'))
    assert team.ask(key).status_code == 200
    refused = team.ask(key, prompt="another")
    assert refused.status_code == 402
    assert "begins anew" in refused.json()["error"]["message"]


def test_a_reseller_is_set_up_as_the_page_says(reseller: Operator) -> None:
    """Groups with prices of their own, a price list, rules that can be tried, and a bill that agrees."""
    create, preview, reconcile, bill = blocks(RESELLER, "bash")
    # A key that wants TLS is of no use on loopback; everything else of it is as the page has it.
    said = reseller.shell(create.replace(" --tls", ""))
    (key,) = keys_in(said)
    assert "studio" in said
    assert "partners" in said
    assert reseller.ask(key, model="nano-banana-pro", size="4K").status_code == 200
    (reseller.folder / "rules.toml").write_text(blocks(RESELLER, "toml")[1], "utf-8")
    assert "These rules would have given back" in reseller.shell(preview)
    (reseller.folder / "charges.csv").write_text(
        f"id,created_at,model,cost\nsomebody-else-s,{datetime.now(UTC).isoformat()},nano-banana-pro,0.09\n", "utf-8"
    )
    # It names nothing of ours, so that it is paired by model and time.
    assert "1 are listed at another amount than we booked" in reseller.shell(reconcile)
    by_key, by_upstream, check = bill.splitlines()
    said = reseller.shell(re.sub(r" --since \S+ --until \S+", " --days 2", by_key))
    (row,) = list(csv.DictReader(io.StringIO(said)))
    assert "Studio North" in row.values()
    assert "0.25" in {value.rstrip("0") for value in row.values()}, row
    assert "wholesale" in reseller.shell(re.sub(r" --since \S+ --until \S+", " --days 2", by_upstream))
    assert reseller.shell(check)


def test_the_prices_of_the_page_are_those_that_it_works_out() -> None:
    """List price times margin, and what it may cost."""
    settings = tomllib.loads(blocks(RESELLER, "toml")[0])
    (cost,) = [price["micros"]["4K"] for price in settings["prices"] if price.get("upstream")]
    sold = 0.24 * settings["money"]["margin"]
    assert f"{sold:.2f} for a 4K image that is listed at 0.24 and may cost {cost / 1e6:.2f}" in RESELLER
