"""A gateway under load is copied and then killed; the copy serves all that was collected, and nothing is paid twice."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

WITHIN_S = 60.0
processes: Any = sys.modules["acceptance_processes"]
"""Loaded by `conftest.py`: tests are no package."""


@pytest.fixture
def upstreams(tmp_path: Path) -> Iterator[Any]:
    """Simulated upstreams of this test alone: what they charged is counted."""
    (tmp_path / "sim").mkdir()
    made = processes.Simulator(tmp_path / "sim")
    yield made
    made.stop()


class Crowd:
    """Callers that ask for one image after the other, and keep what they were given."""

    def __init__(self, gateway: Any, callers: int) -> None:
        self._gateway = gateway
        self._ends = threading.Event()
        self.collected: dict[str, str] = {}
        """SHA-256 of what was collected, by generation."""
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(callers)]
        for thread in self._threads:
            thread.start()

    def _ask(self, number: int) -> None:
        with httpx2.Client(trust_env=False, timeout=WITHIN_S) as client:
            round_ = 0
            while not self._ends.is_set():
                round_ += 1
                body = {"model": "nano-banana-pro", "prompt": f"{number} {round_} [sim delay=0.4]", "size": "1K"}
                try:
                    answer = client.post(
                        f"{self._gateway.base_url}/v1/images/generations",
                        json={**body, "response_format": "url"},
                        headers={"Authorization": f"Bearer {self._gateway.key}"},
                    )
                    url = answer.json()["data"][0]["url"]
                    image = client.get(url).raise_for_status().content
                except (httpx2.HTTPError, json.JSONDecodeError):
                    return
                self.collected[answer.headers["generation-id"]] = hashlib.sha256(image).hexdigest()

    def until(self, count: int) -> None:
        """Wait until so many images were collected."""
        until = time.monotonic() + WITHIN_S
        while len(self.collected) < count:
            assert time.monotonic() < until
            time.sleep(0.02)

    def end(self) -> None:
        """Ask for nothing more."""
        self._ends.set()
        for thread in self._threads:
            thread.join(WITHIN_S)


def holdfast(*words: str) -> dict[str, Any]:
    """Run a command to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "holdfast.cli.main", *words, "--json"],
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("form", ["bak", "bak.tar"])
def test_a_copy_of_a_gateway_under_load_has_all_that_was_collected(tmp_path: Path, upstreams: Any, form: str) -> None:
    """Whatever had reached a caller before it began is served by the copy, byte for byte, under the same key."""
    (tmp_path / "old").mkdir()
    settings = processes.settings_for(upstreams.base_url)
    old = processes.Gateway(tmp_path / "old", settings)
    crowd = Crowd(old, 4)
    try:
        crowd.until(8)
        before = dict(crowd.collected)
        made = holdfast("backup", str(tmp_path / form), "--data", str(tmp_path / "old" / "data"))
        crowd.until(len(before) + 4)
    finally:
        old.kill()
        crowd.end()
    assert made["faulty"] == 0
    (tmp_path / "new").mkdir()
    told = holdfast("restore", str(tmp_path / form), "--data", str(tmp_path / "new" / "data"))
    assert (told["images_lost"], told["problems"]) == (0, [])
    bought = len(upstreams.charges())
    (tmp_path / "new" / "data" / "first.key").write_text(old.key)
    new = processes.Gateway(tmp_path / "new", settings)
    try:
        for generation_id, sha256 in before.items():
            record = new.record(generation_id)
            assert record["status"] == "succeeded"
            image = httpx2.get(record["images"][0]["url"], trust_env=False).raise_for_status().content
            assert hashlib.sha256(image).hexdigest() == sha256 == record["images"][0]["sha256"]
        # What was in flight is told as unknown, and nothing was bought for it.
        assert len(upstreams.charges()) == bought
        assert new.ledger().hold
    finally:
        new.stop()
    checked = holdfast("ledger", "check", "--data", str(tmp_path / "new" / "data"))
    assert checked["holds"]
    assert checked["accounts"].get("held", 0) == 0
