"""Images in a bucket, end to end: the stock SDK of OpenAI gets 4K through it, an outage of the store costs no image, a
restart neither, and what retention has ended for is deleted there."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

MODEL = "nano-banana-pro"
AT_ONCE = 8
GROWTH_BYTES_MAX = 64 << 20
"""Far below what eight images weigh, encoded or not."""


def drawn(play: Any, prompt: str, size: str = "1024x1024", **more: Any) -> bytes:
    """Ask as a program does, and take the image out of the answer."""
    with play.client() as client:
        answer = client.images.generate(model=MODEL, prompt=f"{prompt} marker-Qx7Zt", size=size, **more)
    return base64.b64decode(answer.data[0].b64_json)


def only(play: Any) -> dict[str, Any]:
    """The record of the one generation."""
    (found,) = play.get("/v1/generations").json()["data"]
    return dict(found)


def image_of(play: Any, **options: Any) -> Any:
    """Collect its image by its id."""
    return play.get(f"/v1/generations/{only(play)['id']}/images/0", **options)


def anonymous_bytes(pid: int) -> int:
    """Memory that is nobody's page cache."""
    text = Path(f"/proc/{pid}/status").read_text("ascii")
    return 1024 * int(next(line for line in text.splitlines() if line.startswith("RssAnon")).split()[1])


def test_an_image_lies_in_the_bucket_and_nowhere_else(play: Any) -> None:
    """But for the cache, which may be lost: it is read from the bucket then, and checked."""
    image = drawn(play, "a lighthouse")
    record = only(play)
    (told,) = record["images"]
    assert told["sha256"] == hashlib.sha256(image).hexdigest()
    (key,) = play.keys()
    assert (play.bucket.head(key).bytes, play.bucket.head(key).sha256) == (len(image), told["sha256"])
    assert play.waiting() == []
    gets = play.path.count("GET")
    assert image_of(play).content == image
    assert play.path.count("GET") == gets, "it is in the cache"
    play.gateway.stop()
    play.forget()
    play.again()
    assert image_of(play).content == image
    assert sum(each.method == "GET" and key in each.path for each in play.path.seen) == 1


@pytest.mark.parametrize("is_cached", [True, False])
def test_eight_of_4k_at_once_leave_memory_as_it_was(play: Any, is_cached: bool) -> None:
    """On their way into the bucket and out of it: mapped, in pieces, never whole."""
    drawn(play, "the first one warms up", size="4096x4096")
    ids = [each["id"] for each in play.get("/v1/generations").json()["data"]]
    before, peak, over = anonymous_bytes(play.pid), [0], threading.Event()

    def watch(pid: int) -> None:
        while not over.wait(0.01):
            peak[0] = max(peak[0], anonymous_bytes(pid))

    if is_cached:
        work = lambda at: len(drawn(play, f"picture {at}", size="4096x4096"))  # noqa: E731
    else:
        play.gateway.stop()
        play.forget()
        play.again()
        image_of(play)
        before = anonymous_bytes(play.pid)
        work = lambda _: len(play.get(f"/v1/generations/{ids[0]}/images/0").content)  # noqa: E731
    watching = threading.Thread(target=watch, args=(play.pid,), daemon=True)
    watching.start()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        sizes = list(threads.map(work, range(AT_ONCE)))
    over.set()
    watching.join()
    assert min(sizes) > 8 << 20
    assert peak[0] - before < GROWTH_BYTES_MAX, f"{(peak[0] - before) >> 20} MiB for {sum(sizes) >> 20} MiB of images"


def test_an_outage_of_the_store_costs_no_image_and_a_restart_neither(play: Any) -> None:
    """Paid for, kept on the disk, given to its caller, killed, started again, collected, and moved when it is back."""
    play.path.always = "refused"
    image = drawn(play, "while the store is away")
    assert len(play.waiting()) == 1
    assert play.keys() == set()
    assert only(play)["status"] == "succeeded"

    play.gateway.kill()
    play.again()
    assert image_of(play).content == image
    assert drawn(play, "the next one waits for nothing") != image

    play.path.always = None
    play.until(lambda: len(play.keys()) == 2 and play.waiting() == [])
    assert play.simulator.charges() != []
    play.gateway.stop()
    play.forget()
    play.again()
    record = play.get("/v1/generations").json()["data"][-1]
    assert play.get(f"/v1/generations/{record['id']}/images/0").content == image


def test_while_the_store_is_away_an_image_that_only_it_has_is_not_called_gone(play: Any) -> None:
    """503 and when to come back; then it is there."""
    image = drawn(play, "a lighthouse")
    play.gateway.stop()
    play.forget()
    play.again()
    play.path.always = "refused"
    answer = image_of(play)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "deleted" not in answer.text
    play.path.always = None
    assert image_of(play).content == image


def test_a_bit_that_flipped_in_the_store_is_never_delivered(play: Any) -> None:
    """The digest of what was received is in the record."""
    image = drawn(play, "a lighthouse")
    (key,) = play.keys()
    harmed = play.folder / "harmed"
    harmed.write_bytes(image[:-1] + bytes([image[-1] ^ 1]))
    play.bucket.replace(key, harmed, "0" * 64)
    play.gateway.stop()
    play.forget()
    play.again()
    assert image_of(play).status_code == 503
    assert "storage.damaged" in play.gateway.logged()


def test_the_sweeper_deletes_in_the_bucket(play: Any) -> None:
    """What retention has ended for, after its row says so."""
    drawn(play, "old")
    assert len(play.keys()) == 1
    play.gateway.stop()
    play.change("UPDATE generation SET purge_after = '2020-01-01T00:00:00.000Z'")
    play.again()
    play.until(lambda: play.keys() == set())
    play.until(lambda: image_of(play).status_code == 410)
    assert list((play.data / "cache").iterdir()) == []


def test_a_redirect_leads_to_the_bucket(play: Any) -> None:
    """Signed for a while, for who has the right to the image here; it counts as not collected."""
    play.gateway.stop()
    play.again(serve="redirect", link_s=60)
    with play.client() as client:
        answer = client.images.generate(model=MODEL, prompt="a link marker-Qx7Zt", response_format="url")
    link = answer.data[0].url
    first = play.get(link.removeprefix(play.gateway.base_url), follow_redirects=False)
    assert first.status_code == 307
    assert first.headers["cache-control"] == "private, no-store"
    got = play.get(link.removeprefix(play.gateway.base_url), follow_redirects=True)
    assert hashlib.sha256(got.content).hexdigest() == only(play)["images"][0]["sha256"]
    assert got.headers["content-type"] == "image/png"
    time.sleep(0.2)
    assert len(play.gateway.listed(collected=False)) == 1


def test_an_image_to_start_from_goes_through_the_bucket(play: Any) -> None:
    """It is there before its request is accepted, and is read from there by who sends it on."""
    file = BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "png")
    content = file.getvalue()
    with play.client() as client:
        for _ in range(2):
            answer = client.images.edit(model=MODEL, image=("a.png", content), prompt="edited marker-Qx7Zt")
            assert answer.data[0].b64_json
    assert play.keys("inputs") == {f"inputs/{hashlib.sha256(content).hexdigest()}"}
    play.gateway.stop()
    play.forget()
    play.again()
    with play.client() as client:
        answer = client.images.edit(model=MODEL, image=("a.png", content), prompt="edited anew marker-Qx7Zt")
    assert answer.data[0].b64_json


def test_a_bucket_that_cannot_be_used_is_told_at_the_start(play: Any) -> None:
    """And nobody is served."""
    config = play.folder / "holdfast.toml"
    config.write_text(config.read_text("utf-8").replace("s3://images/", "s3://nowhere-to-be-found/"), "utf-8")
    words = ["serve", "--config", str(config), "--data", str(play.folder / "other"), "--port", "0"]
    command = [sys.executable, "-m", "holdfast.cli.main", *words]
    ended = subprocess.run(command, cwd=play.folder, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert "store.blobs" in ended.stderr
    assert "the bucket does not exist: create it, or correct store.blobs" in ended.stderr
    assert "Traceback" not in ended.stderr
