"""Replicas that share a PostgreSQL and a bucket, and no disk: whatever comes to one of them is there for all."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

# Five processes are started for the first test, which a busy machine does slowly.
pytestmark = pytest.mark.timeout(600)

SERVING = ("first", "second", "third")
MODEL = "nano-banana-pro"
PROMPT = "marker-Qx7Zt"


def a_picture(color: str) -> bytes:
    """An image to start from."""
    file = BytesIO()
    Image.new("RGB", (64, 64), color).save(file, "png")
    return file.getvalue()


def edited(cluster: Any, name: str, picture: bytes) -> bytes:
    """Upload an image to one of them as a form, and wait for what becomes of it."""
    form = {"model": MODEL, "prompt": f"edited {PROMPT}"}
    answer = cluster.ask(name, "POST", "/v1/images/edits", data=form, files={"image": ("a.png", picture, "image/png")})
    assert answer.status_code == 200, answer.text
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


def test_one_accepts_another_works_and_each_gives_the_image(cluster: Any) -> None:
    """Bytes come from the bucket to whoever is asked, through him or by an address there, and are those drawn."""
    id_ = cluster.accept("first")
    record = cluster.end_of("second", id_)
    assert record["status"] == "succeeded", record
    assert cluster.worker_of(id_) in ("one", "two")
    (told,) = record["images"]
    for name in ("first", "second"):
        answer = cluster.image(name, record)
        assert answer.status_code == 200
        assert hashlib.sha256(answer.content).hexdigest() == told["sha256"]
    redirected = cluster.image("third", record, follow_redirects=False)
    assert redirected.status_code == 307
    assert redirected.headers["location"].startswith(cluster.path.endpoint)
    followed = cluster.image("third", record, follow_redirects=True)
    assert hashlib.sha256(followed.content).hexdigest() == told["sha256"]
    assert len(cluster.simulator.purchases(id_)) == 1


def test_a_caller_who_waits_gets_bytes_that_another_has_drawn(cluster: Any) -> None:
    """Held by one, drawn by another: the image is in the answer, whole, once per call and once in the bucket."""
    before = {head.key for head in cluster.bucket.list("blobs")}

    def draw(at: int) -> Any:
        body = {"model": MODEL, "prompt": f"picture {at} {PROMPT}"}
        return cluster.ask(SERVING[at % 3], "POST", "/v1/images/generations", json=body)

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(draw, range(6)))
    images = [base64.b64decode(each.json()["data"][0]["b64_json"]) for each in answers]
    assert len(set(images)) == 6
    stored = {head.key for head in cluster.bucket.list("blobs")} - before
    assert {cluster.bucket.head(key).sha256 for key in stored} == {hashlib.sha256(each).hexdigest() for each in images}
    ids = [each.json()["generation_id"] for each in answers]
    assert [len(cluster.simulator.purchases(each)) for each in ids] == [1] * 6
    assert {cluster.worker_of(each) for each in ids} <= {"one", "two"}


def test_an_image_that_was_uploaded_to_one_is_sent_on_by_another(cluster: Any) -> None:
    """It is in the bucket before its request is accepted; the same one uploaded elsewhere is the same object."""
    before = {head.key for head in cluster.bucket.list("inputs")}
    picture = a_picture("red")
    images = {edited(cluster, name, picture) for name in SERVING}
    assert len(images) == 3
    added = {head.key for head in cluster.bucket.list("inputs")} - before
    assert added == {f"inputs/{hashlib.sha256(picture).hexdigest()}"}
    # What was drawn at one is what is drawn on at another.
    record = cluster.end_of("first", cluster.accept("first"))
    body = {"prompt": f"drawn on {PROMPT}", "images": [{"generation_id": record["id"], "index": 0}]}
    followed = cluster.ask("second", "POST", "/v1/generations", json=body)
    assert followed.status_code == 202, followed.text
    assert cluster.end_of("third", followed.json()["id"])["status"] == "succeeded"


def test_the_console_shows_the_same_wherever_it_is_opened(cluster: Any) -> None:
    """The gallery's page, and a small picture of what another one has drawn; looking collects nothing."""
    id_ = cluster.accept("second")
    assert cluster.end_of("second", id_)["status"] == "succeeded"
    galleries, pictures = [], []
    for name in SERVING:
        listed = cluster.ask(name, "GET", "/admin/v1/generations?limit=100").json()["data"]
        galleries.append(sorted(each["id"] for each in listed))
        answer = cluster.ask(name, "GET", f"/admin/v1/generations/{id_}/images/0/thumbnail")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp"), answer.text
        pictures.append(answer.content)
    assert id_ in galleries[0]
    assert galleries[0] == galleries[1] == galleries[2]
    assert len(set(pictures)) == 1
    story = cluster.ask("first", "GET", f"/admin/v1/generations/{id_}").json()
    assert story["generation"]["collected_at"] is None


def test_what_its_owner_deletes_at_one_is_gone_at_all(cluster: Any) -> None:
    """From the bucket, and from the disks of those who have it in their caches."""
    id_ = cluster.accept("first")
    record = cluster.end_of("first", id_)
    for name in ("first", "second"):
        assert cluster.image(name, record).status_code == 200
    assert cluster.ask("second", "DELETE", f"/v1/generations/{id_}").status_code in (200, 202, 204)
    for name in SERVING:
        assert cluster.image(name, record, follow_redirects=False).status_code == 410
    digest = record["images"][0]["sha256"]
    cluster.until(lambda: digest not in {cluster.bucket.head(head.key).sha256 for head in cluster.bucket.list("blobs")})


def test_with_the_bucket_away_under_load_nothing_is_lost(cluster: Any) -> None:
    """What is drawn meanwhile, also from what is uploaded meanwhile, is given by all, and moved when it is back."""
    cluster.path.always = "refused"

    def draw(at: int) -> tuple[str, bytes]:
        name = SERVING[at % 3]
        if at % 4 == 3:
            form = {"model": MODEL, "prompt": f"edited {at} {PROMPT}"}
            files = {"image": ("a.png", a_picture("blue"), "image/png")}
            answer = cluster.ask(name, "POST", "/v1/images/edits", data=form, files=files)
        else:
            body = {"model": MODEL, "prompt": f"away {at} {PROMPT}"}
            answer = cluster.ask(name, "POST", "/v1/images/generations", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["generation_id"], base64.b64decode(answer.json()["data"][0]["b64_json"])

    with ThreadPoolExecutor(12) as threads:
        drawn = dict(threads.map(draw, range(12)))
    assert len(set(drawn.values())) == 12
    records = {id_: cluster.end_of("second", id_) for id_ in drawn}
    for name in SERVING:
        for id_, record in records.items():
            answer = cluster.image(name, record, follow_redirects=False)
            assert (answer.status_code, answer.content) == (200, drawn[id_]), (name, answer.text[:500])
    thumbnail = cluster.ask("first", "GET", f"/admin/v1/generations/{next(iter(drawn))}/images/0/thumbnail")
    assert thumbnail.status_code == 200
    cluster.path.always = None
    digests = {hashlib.sha256(image).hexdigest() for image in drawn.values()}

    def are_moved() -> bool:
        return digests <= {cluster.bucket.head(head.key).sha256 for head in cluster.bucket.list("blobs")}

    cluster.until(are_moved)
    cluster.until(lambda: cluster.image("third", records[next(iter(drawn))], follow_redirects=False).status_code == 307)
    assert [len(cluster.simulator.purchases(id_)) for id_ in drawn] == [1] * 12
    assert all(waits == [] for waits in map(on_disk, cluster.replicas.values()))


def on_disk(replica: Any) -> list[str]:
    """What one of them has on its disk, and nobody else."""
    return [path.name for path in (replica.data / "blobs").rglob("*") if path.is_file()]
