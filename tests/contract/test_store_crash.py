"""SIGKILL at every point of the store: what was told as durable is there, and the rest can be put right.

One generation goes from acceptance to settlement in a process of its own, which prints each step that was done and is
killed at a named point.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

import holdfast.store
from holdfast.clock import SystemClock
from holdfast.store.attempts import get_attempt
from holdfast.store.blob_keys import key_for
from holdfast.store.blobs import LocalBlobs
from holdfast.store.bookkeeping import ledger_of, ledger_sums
from holdfast.store.generations import blobs_of, events_of, get_generation
from holdfast.store.lock import DataFolder
from holdfast.store.spool import recover
from holdfast.store.sqlite import SqliteStore
from holdfast.store.webhooks import deliveries_of

STORY = """
import base64, json, sys
from pathlib import Path
from dataclasses import replace
from holdfast.store.attempts import begin_attempt, end_attempt, keep_handle
from holdfast.store.blob_keys import key_for
from holdfast.store.blobs import LocalBlobs
from holdfast.policy.joining import Claim
from holdfast.store.cancelling import ask_cancel, cancel_unwatched
from holdfast.store.generations import accept
from holdfast.store.joining import Entering, enter
from holdfast.store.lock import DataFolder
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration
from holdfast.store.spool import SpoolWriter
from holdfast.store.sqlite import SqliteStore
from holdfast.store.webhooks import TryEnd, deliveries_of, end_try, insert_endpoint
from holdfast.types import Charge, Failure, FailureKind, Phase
from holdfast.wire.openai import ImagesReader

root, attempt_id, image = Path(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3])
folder = DataFolder(root)
store = SqliteStore(folder.paths.database, "story")
print("opened", flush=True)
AT = "2026-01-17T12:00:00.000Z"
asked = Entering(claim=Claim(idempotency_key="same", by_fingerprint=False, says_retry=False), new=NewGeneration(
    id="gen_1", key_id="key_1", surface="openai", model="m", tier="1K", size="1x1", n=1, parts=1, request=b"{}",
    deadline_at="later", hard_deadline=False, created_at=AT, currency="USD", unit_micros=5, held_micros=5,
    idempotency_key="same", watched_by="story",
))
# In the same commit, so that the commits are counted as they are without a webhook.
hook = dict(endpoint_id="whk_1", key_id="key_1", url="https://hooks.example.com/", created_at=AT)
store.write_sync(lambda conn: (insert_endpoint(conn, **hook), enter(conn, asked)))
print("accepted", flush=True)
store.write_sync(begin_attempt, NewAttempt(
    id=attempt_id, generation_id="gen_1", part=0, drive=0, upstream="u", provider="openai", model="m",
    idempotency_key="gen_1.0.0", estimated_micros=5, owner="story", sent_at="2026-01-17T12:00:01.000Z",
))
print("sent", flush=True)
writer = SpoolWriter(folder.paths.spool, attempt_id, ImagesReader())
writer.feed([json.dumps({"data": [{"b64_json": base64.b64encode(image).decode()}]}).encode()])
spooled = writer.finish()
print("spooled", flush=True)
key = key_for(attempt_id, 0, "png")
LocalBlobs(root).put_file(key, spooled.images[0].path)
print("stored", flush=True)
blob = NewBlob(id="img_1", kind="result", position=0, store_key=key, info=spooled.images[0].info)
store.write_sync(end_attempt, AttemptEnd(attempt_id=attempt_id, at=AT, purge_after="later", blobs=(blob,)))
print("settled", flush=True)
(delivery,) = store.write_sync(deliveries_of, "whk_1", before=None, most=9)
store.write_sync(end_try, TryEnd(delivery_id=delivery.id, number=1, at=AT, took_ms=1, state="delivered", status=204))
print("told", flush=True)
store.write_sync(enter, asked)
print("joined", flush=True)
other = NewGeneration(
    id="gen_2", key_id="key_2", surface="openai", model="m", tier="1K", size="1x1", n=1, parts=1, request=b"{}",
    deadline_at="later", hard_deadline=False, created_at=AT, currency="USD", unit_micros=5, held_micros=5,
)
store.write_sync(accept, other)
print("asked", flush=True)
store.write_sync(ask_cancel, "gen_2", AT, "later")
print("cancelled", flush=True)
third, fourth = (NewGeneration(
    id=id_, key_id="key_2", surface="openai", model="m", tier="1K", size="1x1", n=1, parts=1, request=b"{}",
    deadline_at="later", hard_deadline=False, created_at=AT, currency="USD", unit_micros=5, held_micros=5,
    only_awaited=True,
) for id_ in ("gen_3", "gen_4"))
store.write_sync(lambda conn: (accept(conn, third), accept(conn, fourth), begin_attempt(conn, NewAttempt(
    id="att_3", generation_id="gen_3", part=0, drive=0, upstream="u", provider="openai", model="m",
    idempotency_key="gen_3.0.0", estimated_micros=5, owner="story", sent_at="2026-01-17T12:00:01.000Z",
))))
print("busy", flush=True)
busy = Failure(kind=FailureKind.OVERLOADED, phase=Phase.WAIT, charge=Charge.NO, detail="busy")
store.write_sync(end_attempt, AttemptEnd(attempt_id="att_3", at=AT, purge_after="later", failure=busy, retry_at="soon"))
print("paused", flush=True)
store.write_sync(cancel_unwatched, "gen_4", "story", (), AT, "later")
print("dropped", flush=True)
store.write_sync(accept, replace(other, id="gen_5"))
store.write_sync(begin_attempt, NewAttempt(
    id="att_5", generation_id="gen_5", part=0, drive=0, upstream="u", provider="fal", model="m",
    idempotency_key="gen_5.0.0", estimated_micros=5, owner="story", sent_at=AT,
))
print("submitted", flush=True)
store.write_sync(keep_handle, "att_5", "its-name")
print("kept", flush=True)
store.close()
"""
IMAGE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)
STEPS = [
    *("opened", "accepted", "sent", "spooled", "stored", "settled"),
    *("told", "joined", "asked", "cancelled"),
    *("busy", "paused", "dropped", "submitted", "kept"),
]
# Point and pass -> the last step that was told.
POINTS = {
    "enter.before_rows": "opened",
    "accept.before_rows": "opened",
    "accept.after_generation_row": "opened",
    "accept.after_rows": "opened",
    "store.before_commit:kill:1": "opened",
    "store.after_commit:kill:1": "opened",
    "send.before_rows": "accepted",
    "send.after_claim_row": "accepted",
    "send.after_attempt_row": "accepted",
    "send.after_rows": "accepted",
    "store.before_commit:kill:2": "accepted",
    "store.after_commit:kill:2": "accepted",
    "spool.image_began": "sent",
    "spool.image_synced": "sent",
    "spool.renamed": "sent",
    "spool.before_answer": "sent",
    "spool.finished": "sent",
    "blob.before_link": "spooled",
    "blob.after_link": "spooled",
    "settle.before_rows": "stored",
    "settle.after_attempt_row": "stored",
    "settle.after_image_rows": "stored",
    "ending.after_state_row": "stored",
    "ending.after_postings": "stored",
    "settle.after_rows": "stored",
    "webhook.before_delivery": "stored",
    "webhook.after_delivery": "stored",
    "store.before_commit:kill:3": "stored",
    "store.after_commit:kill:3": "stored",
    "webhook.before_rows": "settled",
    "webhook.after_rows": "settled",
    "enter.before_rows:kill:2": "told",
    "enter.after_join": "told",
    "cancel.before_rows": "asked",
    "cancel.after_rows": "asked",
    "store.before_commit:kill:8": "asked",
    "store.after_commit:kill:8": "asked",
    "retry.after_rows": "busy",
    "store.before_commit:kill:10": "busy",
    "store.after_commit:kill:10": "busy",
    "unwatched.before_rows": "paused",
    "unwatched.after_rows": "paused",
    "store.before_commit:kill:11": "paused",
    "store.after_commit:kill:11": "paused",
    "handle.before_rows": "submitted",
    "handle.after_rows": "submitted",
    "store.before_commit:kill:14": "submitted",
    "store.after_commit:kill:14": "submitted",
}


def tell(root: Path, attempt_id: str, fault: str) -> tuple[list[str], int]:
    """Run the story to its end or its death; give the steps that it told and how it ended."""
    ran = subprocess.run(
        [sys.executable, "-c", STORY, str(root), attempt_id, IMAGE.hex()],
        env={**os.environ, "HOLDFAST_FAULT": fault},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not ran.stderr, ran.stderr
    return ran.stdout.split(), ran.returncode


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_loses_nothing_that_was_told(tmp_path: Path, point: str) -> None:
    """Rows, money and files are those of the last step or of the next one, never of half a step."""
    attempt_id = SystemClock().new_id("att")
    told, code = tell(tmp_path, attempt_id, point if ":" in point else f"{point}:kill")
    assert code == -signal.SIGKILL
    assert told == STEPS[: STEPS.index(POINTS[point]) + 1]
    committed = len([step for step in ("accepted", "sent", "settled") if step in told])
    is_durable = "after_commit" in point
    committed += is_durable and committed < 3
    # The lock died with its process; the database opens, and says exactly what was committed.
    with DataFolder(tmp_path) as folder, closing(SqliteStore(folder.paths.database, "next")) as store:
        row = store.write_sync(get_generation, "gen_1")
        attempt = store.write_sync(get_attempt, attempt_id)
        assert (None if row is None else row.state) == [None, "queued", "running", "succeeded"][committed]
        assert (None if attempt is None else attempt.state) == [None, None, "sent", "settled"][committed]
        verbs = [verb for verb, account, _ in store.write_sync(ledger_of, "gen_1") if account == "held"]
        assert verbs == [[], ["hold"], ["hold"], ["hold", "capture"]][committed]
        assert store.write_sync(ledger_sums).hold
        numbers = [event.sequence_number for event in store.write_sync(events_of, "gen_1")]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(store.write_sync(blobs_of, "gen_1")) == (committed == 3)
        # The end and what is to be told of it are one commit; a try that was not written down is made again.
        deliveries = store.write_sync(deliveries_of, "whk_1", before=None, most=9)
        state = "delivered" if "told" in told else "pending"
        assert [each.state for each in deliveries] == [state] * (committed == 3)
        if "asked" in told:
            other = store.write_sync(get_generation, "gen_2")
            assert other is not None
            assert other.state == ("cancelled" if is_durable or "cancelled" in told else "queued")
        if "busy" in told:
            is_dropped = "dropped" in told or (is_durable and "paused" in told)
            _check_unpaid(store, is_paused=is_durable or "paused" in told, is_dropped=is_dropped)
        if "submitted" in told:
            polled = store.write_sync(get_attempt, "att_5")
            assert polled is not None
            handle = (polled.state, polled.upstream_handle)
            assert handle == (("polling", "its-name") if is_durable else ("sent", None))
        _check_files(folder, attempt_id, point, told)


def _check_unpaid(store: SqliteStore, *, is_paused: bool, is_dropped: bool) -> None:
    """A failure and what follows it are one commit; what nobody waits for is queued, or cancelled and free."""
    attempt = store.write_sync(get_attempt, "att_3")
    assert attempt is not None
    assert (attempt.state, attempt.retry_at) == (("rejected", "soon") if is_paused else ("sent", None))
    paused, dropped = (store.write_sync(get_generation, id_) for id_ in ("gen_3", "gen_4"))
    assert paused is not None
    assert dropped is not None
    assert (paused.state, paused.parts_open, paused.sequence_number) == ("running", 1, 3 if is_paused else 2)
    assert (dropped.state, dropped.charged_micros) == ("cancelled" if is_dropped else "queued", 0)


def _check_files(folder: DataFolder, attempt_id: str, point: str, told: list[str]) -> None:
    """From the moment that the image was synced it can be recovered; in the blob store it is whole or not at all."""
    found = recover(folder.paths.spool, attempt_id)
    was_synced = "spooled" in told or (point.startswith("spool.") and point != "spool.image_began")
    assert (found is not None) == was_synced
    if found is not None:
        assert [image.path.read_bytes() for image in found.images] == [IMAGE]
    kept = LocalBlobs(folder.paths.root).path_of(key_for(attempt_id, 0, "png"))
    assert kept.exists() == ("stored" in told or point == "blob.after_link")
    assert not kept.exists() or kept.read_bytes() == IMAGE


def test_the_story_ends_where_nothing_kills_it(tmp_path: Path) -> None:
    """Else every test above would pass for the wrong reason."""
    attempt_id = SystemClock().new_id("att")
    told, code = tell(tmp_path, attempt_id, "somewhere.else:kill")
    assert (told, code) == (STEPS, 0)
    with closing(SqliteStore(tmp_path / "holdfast.sqlite3", "next")) as store:
        row = store.write_sync(get_generation, "gen_1")
        assert row is not None
        assert (row.state, row.charged_micros) == ("succeeded", 5)
        assert [each.state for each in store.write_sync(deliveries_of, "whk_1", before=None, most=9)] == ["delivered"]
        cancelled = store.write_sync(get_generation, "gen_2")
        assert cancelled is not None
        assert (cancelled.state, cancelled.charged_micros) == ("cancelled", 0)
        _check_unpaid(store, is_paused=True, is_dropped=True)


def test_every_point_of_the_store_is_killed_at() -> None:
    """A point that is added to the store's source is added to the list above; the sweeper has a story of its own."""
    folder = Path(holdfast.store.__file__).parent
    source = "".join(path.read_text("utf-8") for path in folder.glob("*.py"))
    points = {line.split('"')[1] for line in source.splitlines() if "faults.point_sync(" in line}
    # A failure that is driven again needs an upstream that refuses, and a second attempt a slow one: see `tests/crash`.
    told_elsewhere = {point for point in points if point.startswith(("sweeper.", "latency.", "second.", "erase."))}
    told_elsewhere |= {"enter.after_driven_row"}
    # Images that the object store does not take: workers die over them in `tests/acceptance/bucket`.
    told_elsewhere |= {point for point in points if point.startswith("overflow.")}
    assert points - told_elsewhere == {point.split(":")[0] for point in POINTS}
