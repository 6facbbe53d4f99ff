"""The gateway and its upstream, each a process of its own, every time of life divided by the speed; and their books."""

from __future__ import annotations

import http.client
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import driving
import fronts
from cells import SPEED
from judging import Books

HOST = fronts.HOST
PROGRAM = (sys.executable, "-m", "holdfast.cli.main")
UPSTREAM_KEY = "sk-upstream"
DEADLINE_S = 9
"""Of the clock on the wall: an image takes 6 s, and waiting 4 s for an overloaded upstream is possible once."""
IMPATIENT_S = 0.5
"""Of the clock on the wall, where 4 s are shipped: for the 5 s of httpx, which nothing divides. That is longer than the
idle limit here."""
UPSTREAM_MODEL = "gemini-3-pro-image"
START_S = 60.0


def settings_of(upstream_url: str, models: Iterable[str]) -> str:
    """Write the gateway's settings: an upstream and a route for each model, and every time of life scaled."""
    times = {
        "heartbeat": {"first_beat_s": 20, "beat_s": 10},
        "joining": {"window_s": 900},
        "drain": {"grace_s": 300},
    }
    lines = []
    for section, values in times.items():
        lines.append(f"[{section}]")
        lines += [f"{name} = {seconds / SPEED:.4g}" for name, seconds in values.items()]
        if section == "heartbeat":
            lines += [f"impatient_{name} = {IMPATIENT_S}" for name in ("first_beat_s", "beat_s")]
    by_size = f'{{ "1K" = {DEADLINE_S}, "2K" = {DEADLINE_S}, "4K" = {DEADLINE_S} }}'
    lines.append(f"[deadlines]\ngeneration_s = {by_size}\nattempt_s = {by_size}\nslow_network_s = {DEADLINE_S}")
    lines.append(f"[latency]\nscale = {1 / SPEED:.4g}")
    # What is counted is what a repeat costs; a second purchase of the gateway's own would hide it.
    lines.append('[retry]\non_unknown = "fail"')
    for model in sorted(models):
        lines.append(
            f'[[upstreams]]\nname = "for-{model}"\nprovider = "gemini"\nbase_url = "{upstream_url}"\n'
            f'keys = ["{UPSTREAM_KEY}"]\n'
            f'[[routes]]\nmodel = "{model}"\nupstreams = [{{ upstream = "for-{model}", model = "{UPSTREAM_MODEL}" }}]\n'
            f'[[prices]]\nmodel = "{model}"\nmicros = {{ "1K" = 134000, "2K" = 134000, "4K" = 240000 }}\n'
            'source = "lab"\nvalid_from = "2026-01-01"'
        )
    return "\n".join(lines) + "\n"


def _get(url: str, key: str = "") -> bytes:
    parts = urlsplit(url)
    assert parts.port is not None
    connection = http.client.HTTPConnection(HOST, parts.port, timeout=30.0)
    try:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request("GET", f"{parts.path}?{parts.query}", headers=headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise LookupError(f"{parts.path}: {response.status}: {body[:300]!r}")
    return body


class _Served:
    """A `holdfast` command that serves until it is stopped."""

    def __init__(self, folder: Path, *words: str) -> None:
        log = folder / f"{words[0]}.log"
        with log.open("wb") as out:
            command = [*PROGRAM, *words, "--json"]
            self._process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=out, cwd=folder, env=driving.clean_environment()
            )
        assert self._process.stdout is not None
        self.url = ""
        for line in self._process.stdout:
            told = json.loads(line)
            if "base_url" in told:
                self.url = str(told["base_url"]).removesuffix("/v1")
                break
        if not self.url:
            raise fronts.FrontError(f"holdfast {words[0]} does not serve: {log.read_text(errors='replace')[-2000:]}")

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def stop(self) -> None:
        """End it in good order."""
        self._process.terminate()
        try:
            self._process.wait(30.0)
        finally:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()


class Upstream(_Served):
    """`holdfast simulate`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder, "simulate", "--port", "0", "--speed", f"{SPEED:g}", "--scenario", "instant", "--seed", "7"
        )

    def charges(self) -> list[dict[str, Any]]:
        """What it was asked and what it charged, oldest first."""
        return list(json.loads(_get(f"{self.url}/_sim/charges"))["charges"])


class Gateway(_Served):
    """`holdfast serve` on a folder of its own."""

    def __init__(self, folder: Path, upstream: Upstream, models: Iterable[str]) -> None:
        file = folder / "holdfast.toml"
        file.write_text(settings_of(upstream.url, models), "utf-8")
        self._data = folder / "data"
        super().__init__(folder, "serve", "--config", str(file), "--data", str(self._data), "--port", "0")
        self.key = (self._data / "first.key").read_text("ascii").strip()

    def generations(self, part: str) -> list[str]:
        """List generations by a part of their prompts: their callers may never have learned their names."""
        with closing(sqlite3.connect(f"file:{self._data / 'holdfast.sqlite3'}?mode=ro", uri=True)) as database:
            found = database.execute(
                "SELECT id FROM generation WHERE instr(request, CAST(? AS BLOB)) ORDER BY id", (part,)
            )
            return [str(row[0]) for row in found]

    def ended(self, generation_id: str, within_s: float = 20.0) -> dict[str, Any]:
        """Give a generation's record when it has ended."""
        until = time.monotonic() + within_s
        while True:
            record = dict(json.loads(_get(f"{self.url}/v1/generations/{generation_id}", self.key)))
            if record["status"] not in ("queued", "running"):
                return record
            if time.monotonic() > until:
                raise LookupError(f"{generation_id} does not end: {record}")
            time.sleep(0.1)

    def picture(self, record: dict[str, Any]) -> bytes:
        """Collect the image of a generation, as its owner may; nothing if there is none."""
        return _get(record["images"][0]["url"]) if record["images"] else b""


def books_of(charges: list[dict[str, Any]], ids: list[str], *, is_kept: bool) -> Books:
    """Count what was charged for some generations."""
    rows = [row for row in charges if str(row["idempotency_key"] or "").partition(".")[0] in ids]
    return Books(requests=len(rows), purchases=sum(row["micros"] > 0 for row in rows), is_kept=is_kept)
