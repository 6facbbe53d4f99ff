"""Replicas that die with their disks, or are new, before one bucket: what was paid for is there, and goes once."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

# Processes are started, and missed only after a lease.
pytestmark = pytest.mark.timeout(600)

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
