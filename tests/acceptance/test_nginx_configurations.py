"""The same slow call through every nginx that people have: beats come early, and the answer is whole.

As it comes from the package (HTTP/1.0 towards the gateway, buffering on), as our page has it, with a compressor for
JSON and event streams, and with TLS and HTTP/2 in front.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

SLOW_S = 4.0
EARLY_S = 2.0
"""The first beat is due after half a second; the rest is for a machine that has other things to do."""
FRONTS = ("stock", "documented", "compressing", "tls")
BY_SDK = [
    (flavour, front) for front in FRONTS[1:] for flavour in ("openai", "openai-stream", "google", "google-stream")
]


@dataclass(kw_only=True)
class Watched:
    """One answer, as it came."""

    headers: dict[str, str] = field(default_factory=dict)
    protocol: str = ""
    beats_at_s: list[float] = field(default_factory=list)
    """When pieces came that were nothing but white space, seconds from the start of curl."""
    headers_at_s: float = 0.0
    body: bytes = b""
    took_s: float = 0.0


def watch(stage: Any, front: str, folder: Path) -> Watched:
    """Ask with curl, which speaks all of these protocols, and look at its output as it comes."""
    asked = stage.asked(f"watched {front} [sim delay={SLOW_S:g}]", front=front)
    head = folder / f"{front}.headers"
    command = ["curl", "-sS", "--no-buffer", "--http2", "--compressed", "--cacert", str(stage.authorities)]
    command += ["--dump-header", str(head), "--header", "Content-Type: application/json"]
    # From a file: neither key nor prompt stands in the list of processes.
    config = folder / f"{front}.curl"
    body = json.dumps({"prompt": asked.prompt, "size": "1K"})
    config.write_text(f'header = "Authorization: Bearer {asked.key}"\ndata = {json.dumps(body)}\n')
    command += ["--config", str(config), f"{asked.front}/v1/images/generations"]
    began_at = time.monotonic()
    watched = Watched()
    # Plain HTTP/2 would be asked for by an upgrade; only what TLS negotiates is meant.
    with subprocess.Popen(command if front == "tls" else [*command, "--http1.1"], stdout=subprocess.PIPE) as curl:
        assert curl.stdout is not None
        while piece := curl.stdout.read1(1 << 20):  # type: ignore[attr-defined]
            came_s = time.monotonic() - began_at
            if not watched.body:
                watched.headers_at_s = came_s if head.read_text("latin-1") else 0.0
            if not piece.strip():
                watched.beats_at_s.append(came_s)
            watched.body += piece
    assert curl.returncode == 0
    watched.took_s = time.monotonic() - began_at
    lines = head.read_text("latin-1").splitlines()
    watched.protocol = lines[0]
    watched.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    return watched


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """The calls of this file."""

    watched: dict[str, Future[Watched]]
    by_sdk: dict[tuple[str, str], Future[Any]]


@pytest.fixture(scope="module")
def under_way(stage: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnderWay]:
    """Begin every call at once."""
    folder = tmp_path_factory.mktemp("curl")
    watched = {front: stage.pool.submit(watch, stage, front, folder) for front in FRONTS}
    by_sdk = {
        (sdk, front): stage.begin(sdk, f"by {sdk} through {front} [sim delay={SLOW_S:g}]", front=front)
        for sdk, front in BY_SDK
    }
    yield UnderWay(watched=watched, by_sdk=by_sdk)


@pytest.mark.parametrize("front", FRONTS)
def test_beats_come_early_and_one_by_one(under_way: UnderWay, front: str) -> None:
    """No configuration holds them back, although two of them buffer and one compresses; the name comes with the first.

    Whoever is cut afterwards knows what to collect.
    """
    watched = under_way.watched[front].result()
    assert watched.beats_at_s[0] < EARLY_S
    assert 0.0 < watched.headers_at_s < EARLY_S
    assert re.fullmatch(r"gen_[0-9A-HJKMNP-TV-Z]{26}", watched.headers["generation-id"])
    # One each half second, for four seconds; a busy machine may join two of them.
    assert len(watched.beats_at_s) >= 4
    assert max(b - a for a, b in zip(watched.beats_at_s, watched.beats_at_s[1:], strict=False)) < 2.0


@pytest.mark.parametrize("front", FRONTS)
def test_the_answer_behind_the_beats_is_whole(
    under_way: UnderWay, stage: Any, as_drawn: Callable[[bytes], bool], front: str
) -> None:
    """White space and then one JSON document, whose image is what the upstream drew."""
    watched = under_way.watched[front].result()
    assert watched.took_s >= SLOW_S
    document = json.loads(watched.body)
    assert document["generation_id"] == watched.headers["generation-id"]
    image = base64.b64decode(document["data"][0]["b64_json"])
    assert as_drawn(image)
    (kept,) = stage.gateway.record(document["generation_id"])["images"]
    assert kept["sha256"] == hashlib.sha256(image).hexdigest()


def test_each_configuration_does_what_it_is_there_for(under_way: UnderWay) -> None:
    """One compresses, one speaks HTTP/2: what passes here passes those."""
    seen = {front: under_way.watched[front].result() for front in FRONTS}
    assert seen["compressing"].headers["content-encoding"] == "gzip"
    assert "content-encoding" not in seen["documented"].headers
    assert seen["tls"].protocol.startswith("HTTP/2 200")
    assert seen["stock"].protocol.startswith("HTTP/1.1 200")


@pytest.mark.parametrize(("sdk", "front"), BY_SDK)
def test_sdks_pass_every_configuration(
    under_way: UnderWay, as_drawn: Callable[[bytes], bool], sdk: str, front: str
) -> None:
    """Plain and as a stream, each image arrives after twice the silence that the path bears."""
    got = under_way.by_sdk[sdk, front].result()
    assert got.took_s >= SLOW_S
    (image,) = got.images
    assert as_drawn(image)


@pytest.mark.parametrize("front", ["documented", "tls"])
def test_signed_links_lead_through_the_proxy(stage: Any, as_drawn: Callable[[bytes], bool], front: str) -> None:
    """A gateway that was told its public address, as the page says, makes links that work without a key."""
    asked = stage.asked("linked", front=front)
    with httpx2.Client(verify=asked.verify or True, headers={"Authorization": f"Bearer {asked.key}"}) as client:
        body = {"prompt": asked.prompt, "response_format": "url"}
        answer = client.post(f"{asked.front}/v1/images/generations", json=body).raise_for_status().json()
    (item,) = answer["data"]
    assert "b64_json" not in item
    assert item["url"].startswith(f"{stage.front('documented')}/v1/generations/{answer['generation_id']}/images/0?")
    with httpx2.Client() as stranger:
        whole = stranger.get(item["url"]).raise_for_status()
        assert as_drawn(whole.content)
        assert whole.headers["etag"] == f'"{hashlib.sha256(whole.content).hexdigest()}"'
        part = stranger.get(item["url"], headers={"Range": "bytes=8-15"})
        assert (part.status_code, part.content) == (206, whole.content[8:16])
        assert stranger.get(item["url"].replace("sig=", "sig=x")).status_code == 401


def test_metrics_are_nobodys_behind_a_proxy(stage: Any) -> None:
    """As documented nginx knows no such page; as it comes it hides whom it speaks for, and is told by its version."""
    documented = httpx2.get(f"{stage.front('documented')}/metrics", trust_env=False)
    assert documented.status_code == 404
    stock = httpx2.get(f"{stage.front('stock')}/metrics", trust_env=False)
    assert stock.status_code == 403
    assert "holdfast_" not in stock.text
