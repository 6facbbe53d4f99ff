"""What a bucket does wrong, end to end: an outage costs no image, a restart neither; what is damaged is not delivered,
what is to be deleted is deleted there, and one that cannot be used is told at the start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import tomli_w


def test_an_outage_of_the_store_costs_no_image_and_a_restart_neither(play: Any) -> None:
    """Paid for, kept on the disk, given to its caller, killed, started again, collected, and moved when it is back."""
    play.path.always = "refused"
    image = play.drawn("while the store is away")
    assert len(play.waiting()) == 1
    assert play.keys() == set()
    assert play.only()["status"] == "succeeded"

    play.gateway.kill()
    play.again()
    assert play.image().content == image
    assert play.drawn("the next one waits for nothing") != image

    play.path.always = None
    play.until(lambda: len(play.keys()) == 2 and play.waiting() == [])
    records = play.get("/v1/generations").json()["data"]
    assert [len(play.simulator.purchases(each["id"])) for each in records] == [1, 1]
    play.forget()
    assert play.get(f"/v1/generations/{records[-1]['id']}/images/0").content == image


def test_while_the_store_is_away_an_image_that_only_it_has_is_not_called_gone(play: Any) -> None:
    """503 and when to come back; then it is there."""
    image = play.drawn("a lighthouse")
    play.forget()
    play.path.always = "refused"
    answer = play.image()
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "deleted" not in answer.text
    play.path.always = None
    assert play.image().content == image


def test_a_bit_that_flipped_in_the_store_is_never_delivered(play: Any) -> None:
    """The digest of what was received is in the record."""
    image = play.drawn("a lighthouse")
    (key,) = play.keys()
    harmed = play.folder / "harmed"
    harmed.write_bytes(image[:-1] + bytes([image[-1] ^ 1]))
    play.bucket.replace(key, harmed, "0" * 64)
    play.forget()
    assert play.image().status_code == 503
    assert "storage.damaged" in play.gateway.logged()


def test_the_sweeper_deletes_in_the_bucket(play: Any) -> None:
    """What retention has ended for, after its row says so."""
    play.drawn("old")
    assert len(play.keys()) == 1
    play.gateway.stop()
    play.change("UPDATE generation SET purge_after = '2020-01-01T00:00:00.000Z'")
    play.again()
    play.until(lambda: play.keys() == set())
    play.until(lambda: play.image().status_code == 410)
    assert list((play.data / "cache").iterdir()) == []


def test_a_bucket_that_cannot_be_used_is_told_at_the_start(settings: dict[str, Any], tmp_path: Path) -> None:
    """And nobody is served."""
    config = tmp_path / "holdfast.toml"
    config.write_text(tomli_w.dumps(settings | {"store": {"blobs": "s3://nowhere-to-be-found/at-all"}}), "utf-8")
    words = ["serve", "--config", str(config), "--data", str(tmp_path / "other"), "--port", "0"]
    command = [sys.executable, "-m", "holdfast.cli.main", *words]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert "store.blobs" in ended.stderr
    assert "the bucket does not exist: create it, or correct store.blobs" in ended.stderr
    assert "Traceback" not in ended.stderr
