"""The core of the matrix: four clients through three proxies in every scenario, judged as the whole is.

Real clients, real proxies, the real gateway and upstream; `make matrix` runs all of them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).resolve().parents[2]
CLIENTS = {"requests", "curl", "httpx2", "openai"}
FRONTS = {"nginx", "haproxy", "caddy"}
SCENARIOS = {"success", "early-error", "late-refusal", "late-overload", "cut", "repeat"}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Play it once for all tests."""
    out = tmp_path_factory.mktemp("matrix")
    command = [sys.executable, str(ROOT / "lab" / "matrix" / "run.py"), "--core", "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT), out


@pytest.fixture(scope="module")
def record(played: tuple[subprocess.CompletedProcess[str], Path]) -> Mapping[str, Any]:
    """Give what was written down."""
    done, out = played
    assert (out / "matrix.json").exists(), done.stdout + done.stderr
    return dict(json.loads((out / "matrix.json").read_text("utf-8")))


def test_no_cell_is_red(played: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """In these, none has a reason to be: right image, right error, one charge; the proxies say so of themselves."""
    done, out = played
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "PROBLEM" not in told
    record = json.loads((out / "matrix.json").read_text("utf-8"))
    red = [row for row in record["cells"] if not row["green"] and not row["direct"]]
    assert red == []


def test_every_cell_was_played(record: Mapping[str, Any]) -> None:
    """Each client behind each proxy in each scenario, once."""
    held = [(row["client"], row["front"], row["scenario"]) for row in record["cells"] if not row["direct"]]
    assert sorted(held) == sorted((a, b, c) for a in CLIENTS for b in FRONTS for c in SCENARIOS)
    assert set(record["versions"]) == CLIENTS | FRONTS


def test_an_image_is_charged_once_and_a_failure_never(record: Mapping[str, Any]) -> None:
    """As the upstream's own books have it."""
    charged = {"success": 1, "cut": 1, "repeat": 1}
    held = [row for row in record["cells"] if not row["direct"]]
    assert [row for row in held if row["charges"] != charged.get(row["scenario"], 0)] == []


def test_without_holdfast_nothing_arrives(record: Mapping[str, Any]) -> None:
    """The same calls through the same proxies to the upstream itself: the idle limit is what it is said to be."""
    direct = [row for row in record["cells"] if row["direct"]]
    assert {(row["client"], row["front"]) for row in direct} == {(a, b) for a in CLIENTS for b in FRONTS}
    assert [row for row in direct if row["green"]] == []
    assert {row["reason"] for row in direct} == {"idle-limit"}
    assert all(record["direct_charges"][front] >= len(CLIENTS) for front in FRONTS)


def test_each_cell_has_its_exchange(
    played: tuple[subprocess.CompletedProcess[str], Path], record: Mapping[str, Any]
) -> None:
    """Under the heading that the page links to; no key stands in it."""
    _, out = played
    pages = {front: (out / "exchanges" / f"{front}.md").read_text("utf-8") for front in FRONTS}
    for row in record["cells"]:
        direct = "without holdfast " if row["direct"] else ""
        _, _, rest = pages[row["front"]].partition(f"\n## {row['client']} {direct}{row['scenario']}\n")
        exchange = rest.partition("\n## ")[0]
        assert "→ POST /v1/images/generations HTTP/1.1" in exchange
        assert len(exchange) < 2_500
    for text in pages.values():
        assert "hf-" not in text
        assert "sk-direct" not in text
        assert "Authorization: Bearer [redacted]" in text
