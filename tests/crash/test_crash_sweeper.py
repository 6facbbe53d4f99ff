"""SIGKILL at every point of the sweeper: no row promises a file that is gone, and the next run finishes the work.

The run is made in a process of its own on a folder with generations that are due, one that is not, a reference image
that two of them share, and files that a crash left behind.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from holdfast.clock import SystemClock, ulid
from holdfast.config import parse
from holdfast.engine.core import Core, Transport
from holdfast.engine.sweeper import Sweeper
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.blob_keys import key_for
from holdfast.store.blobs import LocalBlobs
from holdfast.store.bookkeeping import ledger_sums
from holdfast.store.generations import accept, get_record
from holdfast.store.lock import DataFolder
from holdfast.store.opening import open_store
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration, Record
from holdfast.threads import Threads
from holdfast.types import ImageInfo

STORY = """
import asyncio, importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("story", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
asyncio.run(module.sweep(Path(sys.argv[2])))
"""
COMMITS = [f"store.{side}_commit:kill:{nth}" for side in ("before", "after") for nth in (1, 2)]
STORE = parse({}).store
PAST, FUTURE = "2026-01-01T12:00:00.000Z", "2999-01-01T12:00:00.000Z"
ENDS = {"gen_1": PAST, "gen_2": PAST, "gen_3": FUTURE}
INPUT = "inputs/" + "ab" * 32
ATTEMPTS = {id_: f"att_{ulid(1_767_268_800_000 + at, bytes(10))}" for at, id_ in enumerate(ENDS)}
ORPHAN = key_for(f"att_{ulid(1_767_268_800_000, bytes([1] * 10))}", 0, "png")


def store_of(root: Path, owner: str) -> Any:
    """Open the rows of a folder: in it, or in the PostgreSQL that a file beside it names."""
    named = root.with_suffix(".dsn")
    return open_store(root / "holdfast.sqlite3", owner, named.read_text() if named.exists() else None, STORE)


async def sweep(root: Path) -> None:
    """Make one run, as the process that owns the folder."""
    with DataFolder(root) as folder:
        store, threads = store_of(root, "sweeping"), Threads(2, "file")
        core = Core(
            settings=parse({}),
            clock=SystemClock(),
            store=store,
            blobs=LocalBlobs(root),
            spool=folder.paths.spool,
            transport=cast(Transport, None),
            owner="sweeping",
            targets={},
            threads=threads,
        )
        try:
            await Sweeper(core, asyncio.Event()).sweep()
        finally:
            store.close()
            threads.close(wait=True)


def image_of(id_: str) -> str:
    """The key of a generation's image."""
    return key_for(ATTEMPTS[id_], 0, "png")


def an_old_file(root: Path, key: str) -> None:
    """Write a file long ago."""
    path = root / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"image")
    os.utime(path, (1_767_268_800, 1_767_268_800))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder as a process left it."""
    fill(tmp_path / "data")
    yield tmp_path / "data"


def fill(root: Path) -> None:
    """Leave what a process leaves."""
    with DataFolder(root), closing(store_of(root, "before")) as store:
        for id_, end in ENDS.items():
            make(store, id_, end)
            an_old_file(root, image_of(id_))
    for key in (INPUT, ORPHAN, f"spool/{ATTEMPTS['gen_1']}-0.part"):
        an_old_file(root, key)


def make(store: Any, id_: str, end: str) -> None:
    """Make a generation that succeeded, with everything that is to go."""
    new = NewGeneration(
        id=id_,
        key_id="key_1",
        surface="openai",
        model="m",
        tier="1K",
        size="1x1",
        n=1,
        parts=1,
        request=b'{"prompt":"secret"}',
        deadline_at=PAST,
        hard_deadline=False,
        created_at=PAST,
        currency="USD",
        unit_micros=5,
        held_micros=5,
        inputs=() if end == FUTURE else (INPUT,),
    )
    attempt = NewAttempt(
        id=ATTEMPTS[id_],
        generation_id=id_,
        part=0,
        drive=0,
        upstream="u",
        provider="openai",
        model="m",
        idempotency_key="k",
        estimated_micros=5,
        owner="before",
        sent_at=PAST,
    )
    info = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=5, sha256="ab" * 32)
    blob = NewBlob(id=f"img_{id_}", kind="result", position=0, store_key=image_of(id_), info=info)
    store.write_sync(accept, new)
    store.write_sync(begin_attempt, attempt)
    ended = AttemptEnd(attempt_id=ATTEMPTS[id_], at=PAST, purge_after=end, blobs=(blob,), answer=b"words")
    store.write_sync(end_attempt, ended)


def killed(root: Path, fault: str) -> None:
    """Make a run in a process of its own, which dies."""
    ran = subprocess.run(
        [sys.executable, "-c", STORY, __file__, str(root)],
        env={**os.environ, "HOLDFAST_FAULT": fault},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == -signal.SIGKILL, ran.stderr


def records(root: Path) -> dict[str, Record]:
    """Every generation; the books balance whenever one looks."""
    with closing(store_of(root, "after")) as store:
        assert store.write_sync(ledger_sums).hold
        found = {id_: store.write_sync(get_record, id_) for id_ in ENDS}
    return {id_: record for id_, record in found.items() if record is not None}


def check_promises(root: Path) -> None:
    """What a row says is stored is there; the words are gone with the tombstone, and never before."""
    for id_, record in records(root).items():
        (blob,), (attempt,) = record.blobs, record.attempts
        is_gone = blob.state == "deleted"
        assert blob.state != "stored" or (root / blob.store_key).read_bytes() == b"image", id_
        assert (record.generation.request is None, attempt.answer is None) == (is_gone, is_gone), id_
        assert not is_gone or not (root / blob.store_key).exists(), id_
        if not is_gone and ENDS[id_] == PAST:
            assert (root / INPUT).exists(), "a reference image outlives whoever names it"


def check_swept(root: Path) -> None:
    """Only what is not due is left."""
    check_promises(root)
    states = {id_: record.blobs[0].state for id_, record in records(root).items()}
    assert states == {"gen_1": "deleted", "gen_2": "deleted", "gen_3": "stored"}
    left = [path for part in ("blobs", "inputs", "spool") for path in (root / part).rglob("*") if path.is_file()]
    assert [str(path.relative_to(root)) for path in left] == [image_of("gen_3")]


async def test_a_run_that_nothing_kills_sweeps_all(folder: Path) -> None:
    """And a second one finds nothing more to do."""
    for _ in range(2):
        await sweep(folder)
        check_swept(folder)


async def test_a_kill_is_made_good_by_the_next_run(folder: Path, sweeper_point: str, rows: Any) -> None:
    """Between any two steps, and on either side of the commits of marks and of tombstones."""
    spec = sweeper_point if ":" in sweeper_point else f"{sweeper_point}:kill:1"
    with rows.of(spec, "sweep", None) as row:
        killed(folder, spec)
        row.was_passed = True
        check_promises(folder)
        await sweep(folder)
        check_swept(folder)
