"""Replicas that die with their disks, leave, or are new, before one bucket: what was paid for is there, once."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

# Processes are started, and missed only after a lease.
pytestmark = pytest.mark.timeout(600)

PROMPT = "marker-Qx7Zt"
BUYS_AGAIN = {"on_unknown": "buy_once_more"}


@pytest.mark.parametrize("is_away", [True, False], ids=["overflow", "bucket"])
def test_an_image_that_was_put_outlives_its_worker_and_his_disk(alone: Any, is_away: bool) -> None:
    """kill -9 between the put and the commit that tells of it: the next worker settles it, and buys nothing."""
    alone.start("serving", "serve", retry=BUYS_AGAIN)
    alone.start("first", "work", retry=BUYS_AGAIN, fault="settle.before_commit:kill")
    alone.path.always = "refused" if is_away else None
    id_ = alone.accept("serving")
    alone.lose("first")
    alone.start("second", "work", retry=BUYS_AGAIN)
    record = alone.end_of("serving", id_)
    assert record["status"] == "succeeded", record
    alone.until(lambda: alone.told("attempt.adopted", id_) == ["second"])
    assert len(alone.simulator.purchases(id_)) == alone.simulator.requests(id_) == 1
    answer = alone.image("serving", record)
    assert hashlib.sha256(answer.content).hexdigest() == record["images"][0]["sha256"]
    assert (list(alone.bucket.list("blobs")) == []) is is_away
    alone.path.always = None
    alone.until(lambda: len(list(alone.bucket.list("blobs"))) == 1)


def test_what_retention_has_ended_for_is_deleted_once(alone: Any) -> None:
    """Of three that start at one instant one deletes it; all of them know that it is gone."""
    alone.start("before", "all")
    record = alone.end_of("before", alone.accept("before"))
    (head,) = alone.bucket.list("blobs")
    alone.replicas["before"].stop()
    alone.rows("UPDATE generation SET purge_after = '2020-01-01T00:00:00.000Z'")
    alone.start_all({"first": "serve", "second": "serve", "third": "work"})
    alone.until(lambda: list(alone.bucket.list("blobs")) == [])
    for name in ("first", "second"):
        alone.until(lambda name=name: alone.image(name, record).status_code == 410)
    assert alone.asked_to_delete(head.key) == 1
    assert sum("sweeper.deleted" in each.logged() for each in alone.replicas.values()) == 1


@pytest.mark.parametrize("how", ["killed", "drained"])
@pytest.mark.parametrize(
    ("provider", "model"), [("fal", "fal-ai/nano-banana-pro"), ("replicate", "google/nano-banana-pro")]
)
def test_what_was_bought_in_a_queue_is_asked_for_by_another(alone: Any, provider: str, model: str, how: str) -> None:
    """A worker dies, or has no more time to drain: the handle that it noted is the next one's, and buys nothing."""
    upstream = {"name": "queue", "provider": provider, "base_url": alone.simulator.base_url, "keys": ["queue-Jw4Ru"]}
    route = {"model": "nano-banana-pro", "upstreams": [{"upstream": "queue", "model": model}]}
    alone.settings |= {"upstreams": [upstream], "routes": [route], "retry": BUYS_AGAIN, "drain": {"grace_s": 0.5}}
    alone.start("serving", "serve")
    first = alone.start("first", "work")
    id_ = alone.accept("serving", f"[sim delay=20] {PROMPT}")
    alone.until(lambda: alone.told("attempt.polling", id_) == ["first"])
    if how == "killed":
        first.kill()
    else:
        first.ask_to_end()
    alone.lose("first")
    alone.start("second", "work")
    record = alone.end_of("serving", id_)
    assert record["status"] == "succeeded", record
    assert alone.told("attempt.polling", id_) == ["first", "second"]
    assert len(record["attempts"]) == 1
    assert len(alone.simulator.purchases(id_)) == 1
    assert alone.image("serving", record).status_code == 200


def test_what_a_drain_has_no_time_for_is_told_at_once(alone: Any) -> None:
    """A call without a handle, and nobody who could take it over: its caller learns what is known, from the record."""
    alone.settings["drain"] = {"grace_s": 0.5}
    alone.start("serving", "serve")
    first = alone.start("first", "work")
    id_ = alone.accept("serving", f"[sim delay=60] {PROMPT}")
    alone.worker_of(id_)
    first.ask_to_end()
    record = alone.end_of("serving", id_)
    assert record["status"] == "failed", record
    assert record["error"]["code"] == "outcome_unknown"
    assert [each["status"] for each in record["attempts"]] == ["unknown"]
    alone.until(lambda: alone.told("attempt.unknown", id_) == ["first"])
