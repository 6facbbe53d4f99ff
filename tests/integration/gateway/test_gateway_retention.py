"""Retention of a gateway that runs: what callers see of images that were collected, and of images that were not."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import tomli_w

from holdfast.clock import SystemClock, from_rfc3339
from holdfast.engine import sweeper
from holdfast.gateway import serve as composition
from holdfast.store.bookkeeping import ledger_sums

SHORT = {"retention_s_max": 1200, "keep_after_finish_s": 120, "keep_after_collect_s": 60}


class ShiftedClock(SystemClock):
    """The machine's clocks, ahead by as much as a test says: both, as if so much time had passed."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return super().monotonic() + self.ahead_s

    def now(self) -> datetime:
        """The wall clock."""
        return super().now() + timedelta(seconds=self.ahead_s)


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let seconds pass for every gateway of the test; sweepers run many times a second."""
    monkeypatch.setattr(composition, "SystemClock", ShiftedClock)
    monkeypatch.setattr(ShiftedClock, "ahead_s", 0.0)
    for name in ("FIRST_S", "EVERY_S", "PAUSE_S_MIN"):
        monkeypatch.setattr(sweeper, name, 0.02)

    def pass_time(seconds: float) -> None:
        monkeypatch.setattr(ShiftedClock, "ahead_s", ShiftedClock.ahead_s + seconds)

    return pass_time


async def once(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.01)


async def some_runs() -> None:
    """Let the sweeper run a few times."""
    await asyncio.sleep(0.2)


def images_in(gateway: Any) -> list[Path]:
    """Every image file."""
    return [path for path in (gateway.data / "blobs").rglob("*") if path.is_file()]


async def test_an_image_that_came_in_the_answer_goes_first(
    start: Any, pass_time: Callable[[float], None], journal: Any
) -> None:
    """One was sent as base64, the other as a link that nobody followed: it stays until the cap."""
    gateway = await start(store=SHORT)
    sent = (await gateway.images()).generation_id
    linked = await gateway.images(response_format="url")
    await gateway.idle()
    pass_time(115)
    await some_runs()
    assert len(images_in(gateway)) == 2
    pass_time(10)
    await once(lambda: len(images_in(gateway)) == 1)
    assert gateway.stored(linked.generation_id) != []
    await journal.has("sweeper.deleted")
    pass_time(1000)
    await some_runs()
    assert gateway.stored(linked.generation_id) != []
    pass_time(100)
    await once(lambda: images_in(gateway) == [])
    assert [line["images"] for line in await journal.has("sweeper.deleted", 2)] == [1, 1]
    for id_ in (sent, linked.generation_id):
        record = gateway.record(id_)
        assert (record.generation.state, record.generation.request) == ("succeeded", None)
        assert [attempt.answer for attempt in record.attempts] == [None]
    assert gateway.read(ledger_sums).hold


async def test_following_the_link_brings_the_end_nearer(start: Any, pass_time: Callable[[float], None]) -> None:
    """The resource says so at once; a caller who takes half of it has not had it."""
    gateway = await start(store=SHORT)
    answer = await gateway.images(response_format="url")
    id_, link = answer.generation_id, answer.json["data"][0]["url"]
    finished_at = from_rfc3339((await gateway.resource(id_))["finished_at"])

    async def kept_s() -> float:
        (image,) = (await gateway.resource(id_))["images"]
        return (from_rfc3339(image["expires_at"]) - finished_at).total_seconds()

    assert await kept_s() == pytest.approx(1200, abs=0.1)
    await gateway.ask("GET", link, headers={"Range": "bytes=0-9"})
    await gateway.ask("HEAD", link, headers={})
    await gateway.idle()
    assert await kept_s() == pytest.approx(1200, abs=0.1)
    pass_time(300)
    await gateway.ask("GET", link, headers={})
    await gateway.idle()
    assert await kept_s() == pytest.approx(360, abs=5)
    pass_time(70)
    await once(lambda: images_in(gateway) == [])


async def test_what_is_gone_says_so_and_is_never_bought_again(
    start: Any, upstream: Any, pass_time: Callable[[float], None]
) -> None:
    """410 by key and by a link that still lives; the resource keeps hash and size, without a link."""
    gateway = await start(store=SHORT)
    answer = await gateway.images(response_format="url")
    id_, link = answer.generation_id, answer.json["data"][0]["url"]
    await gateway.ask("GET", link, headers={})
    await gateway.idle()
    (before,) = (await gateway.resource(id_))["images"]
    pass_time(130)
    await once(lambda: images_in(gateway) == [])
    for headers in (None, {}):
        gone = await gateway.ask("GET", link, headers=headers)
        assert (gone.status, gone.json["code"], gone.json["paid"]) == (410, "image_expired", "no")
        assert before["expires_at"] in gone.json["detail"]
    resource = await gateway.resource(id_)
    (image,) = resource["images"]
    assert resource["status"] == "succeeded"
    assert (image["url"], image["expires_at"]) == (None, None)
    assert {**image, "url": 0, "expires_at": 0} == {**before, "url": 0, "expires_at": 0}
    assert len(upstream.asked) == 1


async def test_a_link_ends_with_its_image_or_after_a_day(start: Any, pass_time: Callable[[float], None]) -> None:
    """As shipped a link ends after a day, and the resource gives a fresh one for as long as the image is there."""
    gateway = await start()
    answer = await gateway.images(response_format="url")
    old = answer.json["data"][0]["url"]
    pass_time(2 * 86400)
    assert (await gateway.ask("GET", old, headers={})).status == 401
    (image,) = (await gateway.resource(answer.generation_id))["images"]
    assert (await gateway.ask("GET", image["url"], headers={})).status == 200


async def test_a_reference_image_goes_with_its_generation(
    start: Any, a_png: Callable[..., bytes], pass_time: Callable[[float], None]
) -> None:
    """Shared by two, it stays for the second; then nothing of either is left."""
    gateway = await start(store={**SHORT, "keep_after_finish_s": 4000, "retention_s_max": 8000})
    reference = {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(a_png()).decode()}}
    contents = [{"role": "user", "parts": [{"text": "like this one"}, reference]}]
    assert (await gateway.gemini(contents=contents)).status == 200
    (kept,) = (gateway.data / "inputs").iterdir()
    pass_time(2000)
    assert (await gateway.gemini(contents=contents)).status == 200
    await gateway.idle()
    pass_time(2010)
    await once(lambda: len(images_in(gateway)) == 1)
    assert kept.exists()
    pass_time(2000)
    # Shifted time knows nothing of the disk's own: the file was written when the test began.
    await once(lambda: images_in(gateway) == [] and not kept.exists())
    assert gateway.count("input_ref") == 0


async def test_low_storage_deletes_what_is_due_and_refuses_the_rest(
    start: Any, upstream: Any, pass_time: Callable[[float], None], monkeypatch: pytest.MonkeyPatch, journal: Any
) -> None:
    """A disk that is nearly full: refused before paying, not ready, and swept at once; what is not due stays."""
    gateway = await start(store=SHORT)
    await gateway.images()
    await gateway.idle()
    kept = await gateway.images(response_format="url")
    # From here on only low storage makes it run.
    monkeypatch.setattr(sweeper, "EVERY_S", 3600.0)
    await some_runs()
    pass_time(130)
    await some_runs()
    assert len(images_in(gateway)) == 2
    real = os.statvfs

    def nearly_full(path: Any) -> Any:
        room = real(path)
        # Each image that goes makes room.
        bavail = 0 if len(images_in(gateway)) > 1 else room.f_bavail
        return SimpleNamespace(f_bavail=bavail, f_frsize=room.f_frsize)

    monkeypatch.setattr(os, "statvfs", nearly_full)
    refused = await gateway.images()
    assert (refused.status, refused.error["code"], refused.error["paid"]) == (503, "storage_low", "no")
    assert len(journal.of("storage.low")) == 1
    await once(lambda: len(images_in(gateway)) == 1)
    assert gateway.stored(kept.generation_id) != []
    ready = await gateway.ask("GET", "/readyz", headers={})
    assert (ready.status, ready.json) == (200, {"status": "ready"})
    assert (await gateway.images()).status == 200
    assert len(upstream.asked) == 3


async def test_readiness_says_that_storage_is_low_while_nothing_is_due(
    start: Any, pass_time: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks has the sweeper look, and it finds nothing that may go: the image outlives the need for room."""
    gateway = await start(store={**SHORT, "free_bytes_margin": 1})
    answer = await gateway.images(response_format="url")
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=4096))
    for _ in range(3):
        ready = await gateway.ask("GET", "/readyz", headers={})
        assert (ready.status, ready.json) == (503, {"status": "storage_low"})
        await some_runs()
    assert gateway.stored(answer.generation_id) != []


class Process:
    """`holdfast serve` as a process of its own, on one folder."""

    def __init__(self, config: Path, data: Path) -> None:
        self._config = config
        self.data = data

    async def start(self, fault: str = "") -> asyncio.subprocess.Process:
        """Start it, to die at a point if one is named."""
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "holdfast.cli.main", "serve", "--config", str(self._config)),
            env={**os.environ, "HOLDFAST_FAULT": fault},
            cwd=self.data.parent,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return self.process

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any, Any]:
        """Make a call once it serves: status, headers and document."""
        assert self.process.stdout is not None
        while not self.base_url:
            line = await asyncio.wait_for(self.process.stdout.readline(), 10)
            assert line, "it ended"
            match = re.search(rb"http://127\.0\.0\.1:\d+/v1", line)
            self.base_url = "" if match is None else match[0].decode()
        key = (self.data / "first.key").read_text("ascii").strip()
        headers = {"Authorization": f"Bearer {key}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.base_url + path, headers=headers, **options) as got,
        ):
            return got.status, got.headers, json.loads(await got.read())

    async def end(self) -> int:
        """Wait for its end, and for nothing that it does not do by itself."""
        self.base_url = ""
        return await asyncio.wait_for(self.process.wait(), 10)

    base_url = ""


@pytest.fixture
async def process(upstream: Any, settings_for: Any, tmp_path: Path) -> AsyncIterator[Process]:
    """A process that is not started yet; one that still runs in the end is killed."""
    config, data = tmp_path / "holdfast.toml", tmp_path / "data"
    config.write_text(tomli_w.dumps(settings_for(upstream.port, data, {})), "utf-8")
    made = Process(config, data)
    yield made
    if made.process.returncode is None:
        made.process.kill()
        await made.process.wait()


async def test_a_start_finishes_what_a_kill_interrupted(process: Process, upstream: Any) -> None:
    """It dies between the removal of the file and the tombstone; the image was bought once and is told as gone."""
    await process.start()
    status, headers, _ = await process.ask("POST", "/images/generations", json={"prompt": "a lighthouse"})
    assert status == 200
    id_ = headers["Generation-Id"]
    process.process.terminate()
    assert await process.end() == 0
    with closing(sqlite3.connect(process.data / "holdfast.sqlite3")) as conn:
        (key,) = conn.execute("SELECT store_key FROM blob").fetchone()
        conn.execute("UPDATE generation SET purge_after = '2026-01-01T00:00:00.000Z'")
        conn.commit()
    assert (process.data / key).exists()
    await process.start("sweeper.after_unlink:kill")
    assert await process.end() == -signal.SIGKILL
    assert not (process.data / key).exists()
    await process.start()
    async with asyncio.timeout(10):
        while True:
            status, _, gone = await process.ask("GET", f"/generations/{id_}/images/0")
            assert (status, gone["code"]) == (410, "image_expired")
            with closing(sqlite3.connect(f"file:{process.data}/holdfast.sqlite3?mode=ro", uri=True)) as conn:
                if conn.execute("SELECT request FROM generation").fetchone() == (None,):
                    break
            await asyncio.sleep(0.05)
    _, _, resource = await process.ask("GET", f"/generations/{id_}")
    assert (resource["status"], resource["images"][0]["url"]) == ("succeeded", None)
    assert len(upstream.asked) == 1
