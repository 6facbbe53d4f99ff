"""Three replicas that serve and three that work, on a real PostgreSQL and a real S3 server, while everything is killed,
frozen, cut off and replaced: nothing is lost, nothing paid twice without leave, every invariant holds.

It is the lab's experiment (`lab/chaos`), shorter, with fewer callers, and with life eight times as fast.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(600)

PROJECT = Path(__file__).resolve().parents[2]
MINUTES = 0.9
IN_FLIGHT = 30
"""The lab has 300: two cores that others use as well have no room for more of life at eight times its speed."""
OUTAGE_S = 8.0
GRACE_S = 15.0
"""Twice what nine of ten calls take."""
SEED = 4
KINDS = {"kill", "freeze", "partition", "database restart", "database outage", "objects outage", "deploy"}


@pytest.fixture(scope="module")
def record() -> Iterator[dict[str, Any]]:
    """Let it happen once; what it left is looked at by each test."""
    # PostgreSQL's user has to come by, and whoever else begins tests shuts pytest's folders to all but its own user.
    folder = Path(tempfile.mkdtemp(prefix="holdfast-chaos-"))
    folder.chmod(0o755)
    out = folder / "chaos.json"
    command = [sys.executable, str(PROJECT / "lab/chaos/run.py"), "--minutes", str(MINUTES), "--out", str(out)]
    command += ["--in-flight", str(IN_FLIGHT), "--speed", "8", "--every", "2.5", "--outage", str(OUTAGE_S)]
    command += ["--seed", str(SEED), "--work", str(folder), "--grace", str(GRACE_S)]
    # A group of its own: whatever it has started ends with it.
    process = subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
    )
    try:
        said, _ = process.communicate()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert out.exists(), said
    found = json.loads(out.read_text("utf-8"))
    print(said)
    yield found
    shutil.rmtree(folder)


def test_no_invariant_is_broken(record: dict[str, Any]) -> None:
    """Neither by the database, nor by the upstream's journal, nor by what callers got."""
    assert {name: found for name, found in record["broken"].items() if found} == {}


def test_every_kind_of_fault_came(record: dict[str, Any]) -> None:
    """A run in which nothing befell proves nothing."""
    assert {each["kind"] for each in record["faults"]} == KINDS
    assert any(start["follows"] == "deploy" and start["tree"] == 1 for start in record["starts"])


def test_callers_had_their_images(record: dict[str, Any]) -> None:
    """All through it: a run that made nothing would lose nothing."""
    figures = record["figures"]
    assert figures["generations"] > 2 * IN_FLIGHT
    assert figures["states"]["succeeded"] > 0.9 * figures["generations"]
    assert figures["charged"] >= figures["states"]["succeeded"]


def test_what_nobody_knows_is_the_work_of_a_fault(record: dict[str, Any]) -> None:
    """The upstream says clearly what it does: else a worker was killed, frozen, cut off or replaced meanwhile."""
    assert record["figures"]["unexplained"] == []
