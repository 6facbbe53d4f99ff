"""Images in a bucket, end to end: the stock SDK of OpenAI gets 4K through it, links lead to it, edits read from it."""

from __future__ import annotations

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

AT_ONCE = 8
GROWTH_BYTES_MAX = 64 << 20
"""Far below what eight images weigh, encoded or not."""


def anonymous_bytes(pid: int) -> int:
    """Memory that is nobody's page cache."""
    text = Path(f"/proc/{pid}/status").read_text("ascii")
    return 1024 * int(next(line for line in text.splitlines() if line.startswith("RssAnon")).split()[1])


def test_an_image_lies_in_the_bucket_and_nowhere_else(play: Any) -> None:
    """But for the cache, which may be lost: it is read from the bucket then, and checked."""
    image = play.drawn("a lighthouse")
    record = play.only()
    (told,) = record["images"]
    assert told["sha256"] == hashlib.sha256(image).hexdigest()
    (key,) = play.keys()
    assert (play.bucket.head(key).bytes, play.bucket.head(key).sha256) == (len(image), told["sha256"])
    assert play.waiting() == []
    gets = play.path.count("GET")
    assert play.image().content == image
    assert play.path.count("GET") == gets, "it is in the cache"
    play.forget()
    assert play.image().content == image
    assert sum(each.method == "GET" and key in each.path for each in play.path.seen) == 1


@pytest.mark.parametrize("is_cached", [True, False])
def test_eight_of_4k_at_once_leave_memory_as_it_was(play: Any, is_cached: bool) -> None:
    """On their way into the bucket and out of it: mapped, in pieces, never whole."""
    play.drawn("the first one warms up", size="4096x4096")
    ids = [each["id"] for each in play.get("/v1/generations").json()["data"]]
    before, peak, over = anonymous_bytes(play.pid), [0], threading.Event()

    def watch(pid: int) -> None:
        while not over.wait(0.01):
            peak[0] = max(peak[0], anonymous_bytes(pid))

    if is_cached:
        work = lambda at: len(play.drawn(f"picture {at}", size="4096x4096"))  # noqa: E731
    else:
        play.forget()
        play.image()
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


@pytest.mark.parametrize("settings", [{"serve": "redirect", "link_s": 60}], indirect=True)
def test_a_redirect_leads_to_the_bucket(play: Any) -> None:
    """Signed for a while, for who has the right to the image here; it counts as not collected."""
    with play.client() as client:
        answer = client.images.generate(model=play.model, prompt="a link marker-Qx7Zt", response_format="url")
    link = answer.data[0].url
    first = play.get(link.removeprefix(play.gateway.base_url), follow_redirects=False)
    assert first.status_code == 307
    assert first.headers["cache-control"] == "private, no-store"
    got = play.get(link.removeprefix(play.gateway.base_url), follow_redirects=True)
    assert hashlib.sha256(got.content).hexdigest() == play.only()["images"][0]["sha256"]
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
            answer = client.images.edit(model=play.model, image=("a.png", content), prompt="edited marker-Qx7Zt")
            assert answer.data[0].b64_json
    assert play.keys("inputs") == {f"inputs/{hashlib.sha256(content).hexdigest()}"}
    play.forget()
    with play.client() as client:
        answer = client.images.edit(model=play.model, image=("a.png", content), prompt="edited anew marker-Qx7Zt")
    assert answer.data[0].b64_json
