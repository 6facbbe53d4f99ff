"""`deploy/proxies`: each file starts its program, and a call held longer than twice its idle limit comes through.

The programs are Debian's, the files as people take them: only addresses are put in their places, and a minute is 3 s.
What nobody can run here, a balancer and a tunnel of others, is carried out by a stand-in or read word by word.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import re
import subprocess
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from holdfast.config import parse

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "proxies"
PAGE = (ROOT / "docs" / "how-to" / "behind-a-proxy.md").read_text("utf-8")
IDLE_S = 3.0
SLOW_S = 7.0
PROXIES = ("nginx", "haproxy", "caddy")
BIG = 24 << 20
"""Bytes of an upload."""


@pytest.fixture(scope="module")
def gateway(simulator: Any, processes: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A gateway whose beats come every half second, and which trusts this machine's proxies."""
    settings = processes.settings_for(simulator.base_url)
    # This client is known to be impatient; and what a proxy cut goes on for a while.
    settings["heartbeat"]["impatient_beat_s"] = 0.5
    settings["drain"]["grace_s"] = 2 * SLOW_S
    settings["server"] = {"trusted_proxies": ["127.0.0.0/8"]}
    started = processes.Gateway(tmp_path_factory.mktemp("gateway"), settings)
    yield started
    started.stop()
    assert started.status == 0


@pytest.fixture(scope="module")
def fronts(
    gateway: Any, fronts_module: Any, processes: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """Every proxy, with the gateway behind it and one that is not there."""
    (dead,) = processes.free_ports(1)
    ports = [dead, int(gateway.base_url.rpartition(":")[2])]
    folder = tmp_path_factory.mktemp("fronts")
    started: dict[str, Any] = {}
    try:
        for program, file in fronts_module.FILES.items():
            text = (FOLDER / file).read_text("utf-8")
            started[program] = fronts_module.Front(processes, program, text, folder / program, ports, IDLE_S)
        yield started
    finally:
        for each in started.values():
            each.stop()


@dataclass(kw_only=True)
class Held:
    """One answer, as it came."""

    status: int
    took_s: float
    gaps_s: list[float] = field(default_factory=list)
    """Between bytes, from the asking on."""
    body: bytes = b""


def ask(base_url: str, key: str, prompt: str, **headers: str) -> Held:
    """Ask for an image, and look at its answer as it comes."""
    began_at = last_at = time.monotonic()
    with httpx2.Client(timeout=60.0, trust_env=False, headers={"Authorization": f"Bearer {key}"} | headers) as client:
        body = {"model": "nano-banana-pro", "prompt": prompt, "size": "1K"}
        with client.stream("POST", f"{base_url}/v1/images/generations", json=body) as answer:
            held = Held(status=answer.status_code, took_s=0.0)
            for piece in answer.iter_raw():
                now = time.monotonic()
                held.gaps_s.append(now - last_at)
                last_at = now
                held.body += piece
    held.took_s = time.monotonic() - began_at
    return held


@pytest.fixture(scope="module")
def calls(gateway: Any, fronts: dict[str, Any]) -> Iterator[dict[tuple[str, str], Future[Held]]]:
    """Begin every slow call at once."""
    with ThreadPoolExecutor(12) as pool:
        begun: dict[tuple[str, str], Future[Held]] = {}
        for name, front in fronts.items():
            prompt = f"through {name} [sim delay={SLOW_S:g}]"
            begun[name, "held"] = pool.submit(ask, front.base_url, gateway.key, prompt)
            mute = f"silently {name} [sim delay={SLOW_S:g}]"
            begun[name, "mute"] = pool.submit(ask, front.base_url, gateway.key, mute, Prefer="heartbeat=0")
        yield begun


@pytest.mark.parametrize("name", PROXIES)
def test_a_held_call_outlives_the_idle_limit(
    calls: dict[tuple[str, str], Future[Held]], gateway: Any, name: str
) -> None:
    """More than twice: beats come one by one, and behind them the image that is on record."""
    held = calls[name, "held"].result()
    assert held.status == 200
    assert held.took_s >= SLOW_S
    assert max(held.gaps_s) < IDLE_S, held.gaps_s
    assert len(held.gaps_s) > SLOW_S
    document = json.loads(held.body)
    image = base64.b64decode(document["data"][0]["b64_json"])
    (kept,) = gateway.record(document["generation_id"])["images"]
    assert kept["sha256"] == hashlib.sha256(image).hexdigest()


@pytest.mark.parametrize("name", PROXIES)
def test_without_beats_the_limit_cuts(calls: dict[tuple[str, str], Future[Held]], name: str) -> None:
    """The limit is in force: the test above would pass on a proxy that waits for ever."""
    mute = calls[name, "mute"].result()
    assert mute.status == 504
    assert mute.took_s < SLOW_S


@pytest.mark.parametrize("name", PROXIES)
def test_one_that_is_not_there_costs_nobody_a_call(gateway: Any, fronts: dict[str, Any], name: str) -> None:
    """What cannot be connected is tried elsewhere, POST or not: nothing of it was sent."""
    began_at = time.monotonic()
    for number in range(6):
        assert ask(fronts[name].base_url, gateway.key, f"{name} {number}").status == 200
    assert time.monotonic() - began_at < 30.0


def large_png(bytes_: int) -> bytes:
    """Make a picture that weighs something: one pixel, and a private chunk that says nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = (1).to_bytes(4) * 2 + bytes((8, 2, 0, 0, 0))
    pieces = (b"IHDR", header), (b"teSt", os.urandom(bytes_)), (b"IDAT", zlib.compress(b"\0\1\2\3")), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in pieces)


@pytest.mark.parametrize("name", PROXIES)
def test_large_reference_images_pass(gateway: Any, fronts: dict[str, Any], name: str) -> None:
    """Up to what the gateway takes, and through, not onto the proxy's disk."""
    with httpx2.Client(timeout=60.0, trust_env=False, headers={"Authorization": f"Bearer {gateway.key}"}) as client:
        files = {"image": ("large.png", large_png(BIG), "image/png")}
        form = {"model": "nano-banana-pro", "prompt": f"an edit through {name}", "size": "1K"}
        answer = client.post(f"{fronts[name].base_url}/v1/images/edits", data=form, files=files)
    assert answer.status_code == 200, answer.text[:500]
    left = [path for path in fronts[name].folder.rglob("*") if path.is_file() and path.stat().st_size > BIG // 2]
    assert left == []


@pytest.mark.parametrize("name", PROXIES)
def test_nobody_says_https_of_himself(gateway: Any, fronts: dict[str, Any], name: str) -> None:
    """The gateway believes this proxy; so the proxy tells the truth, whatever its caller tells."""
    said = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "127.0.0.1", "Authorization": f"Bearer {gateway.key}"}
    with httpx2.Client(trust_env=False, headers=said) as client:
        answer = client.get(f"{fronts[name].base_url}/admin/v1/overview")
        assert (answer.status_code, answer.json()["code"]) == (403, "tls_required")
        assert client.get(f"{gateway.base_url}/admin/v1/overview").status_code == 200


@pytest.mark.parametrize("name", PROXIES)
def test_no_log_has_a_signed_link(gateway: Any, fronts: dict[str, Any], name: str) -> None:
    """A line of a log opens no image; an error's line does not either."""
    address = f"{fronts[name].base_url}/v1/generations/gen_none/images/0"
    with httpx2.Client(timeout=30.0, trust_env=False) as client:
        assert client.get(f"{address}?exp=1&kid=1&sig=a-signature").status_code in (401, 403, 404)
        mute = {"Authorization": f"Bearer {gateway.key}", "Prefer": "heartbeat=0"}
        body = {"prompt": f"logged {name} [sim delay={SLOW_S:g}]"}
        cut = client.post(f"{fronts[name].base_url}/v1/images/generations?key=a-key", json=body, headers=mute)
        assert cut.status_code == 504
    logged = fronts[name].logged()
    assert "/v1/images/generations" in logged
    assert name == "caddy" or "/v1/generations/gen_none/images/0" in logged
    assert not [word for word in ("a-signature", "a-key", gateway.key) if word in logged]


# What the files say


def numbers(text: str, setting: str) -> list[float]:
    """Give what a setting is set to, in seconds."""
    return [float(each) for each in re.findall(rf"^\s*{setting}\s+(\d+)s;?$", text, re.MULTILINE)]


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("nginx.conf", ("proxy_read_timeout",)),
        ("haproxy.cfg", ("timeout client", "timeout server")),
        ("Caddyfile", ("response_header_timeout", "read_timeout")),
    ],
)
def test_limits_are_above_the_beats(file: str, settings: tuple[str, ...]) -> None:
    """With room for a beat that is lost: the beats as shipped are all that has to be known."""
    beats = parse({}).heartbeat
    for setting in settings:
        (limit_s,) = numbers((FOLDER / file).read_text("utf-8"), setting)
        assert limit_s >= 2 * max(beats.first_beat_s, beats.beat_s)


def test_what_callers_may_send_is_what_the_gateway_takes() -> None:
    """A proxy that takes less would refuse what is allowed."""
    text = (FOLDER / "nginx.conf").read_text("utf-8")
    assert f"client_max_body_size {parse({}).server.request_bytes_max >> 20}m;" in text
    assert numbers(text, "send_timeout") == [parse({}).server.body_stall_s]


def test_connections_are_given_up_by_the_proxy_first() -> None:
    """The gateway's end would meet a request under way. nginx has 60 s without being told."""
    idle_s = parse({}).server.idle_timeout_s
    kept = {
        "haproxy.cfg": numbers((FOLDER / "haproxy.cfg").read_text("utf-8"), "timeout http-keep-alive"),
        "Caddyfile": numbers((FOLDER / "Caddyfile").read_text("utf-8"), "keepalive"),
    }
    tunnel = yaml.safe_load((FOLDER / "cloudflared.yml").read_text("utf-8"))
    kept["cloudflared.yml"] = [float(tunnel["ingress"][0]["originRequest"]["keepAliveTimeout"].removesuffix("s"))]
    assert {file: len(each) for file, each in kept.items()} == dict.fromkeys(kept, 1)
    assert all(each[0] < idle_s for each in kept.values())


def test_the_page_and_the_files_agree() -> None:
    """The page has the few lines that matter; each of them stands in the file too, or is another address."""
    for language, file in (("nginx", "nginx.conf"), ("haproxy", "haproxy.cfg"), ("caddyfile", "Caddyfile")):
        (block,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
        has = {line.strip() for line in (FOLDER / file).read_text("utf-8").splitlines()}
        lines = {line.strip() for line in block.splitlines() if line.strip()}
        assert {line for line in lines - has if "16888" not in line} == set(), file
        assert f"`deploy/proxies/{file}`" in PAGE
    assert all(f"`deploy/proxies/{name}`" in PAGE for name in ("alb.sh", "cloudflared.yml"))


def test_the_balancer_is_told_what_the_page_says(tmp_path: Path) -> None:
    """Run with somebody in the place of `aws` who writes down what he is asked."""
    stand_in = tmp_path / "aws"
    stand_in.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>"{tmp_path}/asked"\n', "utf-8")
    stand_in.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    command = [str(FOLDER / "alb.sh"), "arn:balancer", "arn:group"]
    subprocess.run(command, env=environ, check=True, capture_output=True)
    asked = [line.split() for line in (tmp_path / "asked").read_text("utf-8").splitlines()]
    assert [words[1] for words in asked] == [
        "modify-load-balancer-attributes",
        "modify-target-group-attributes",
        "modify-target-group",
    ]
    pairs = dict(re.findall(r"Key=(\S+),Value=(\S+)", " ".join(itertools.chain(*asked))))
    assert float(pairs["idle_timeout.timeout_seconds"]) < parse({}).server.idle_timeout_s
    assert float(pairs["deregistration_delay.timeout_seconds"]) == parse({}).drain.grace_s
    assert pairs["load_balancing.algorithm.type"] == "least_outstanding_requests"
    options = dict(itertools.pairwise(asked[2]))
    assert (options["--health-check-path"], options["--target-group-arn"]) == ("/readyz", "arn:group")
    unnamed = subprocess.run(command[:2], env=environ, check=False, capture_output=True, text=True)
    assert unnamed.returncode != 0
    assert "the ARN of the target group" in unnamed.stderr


def test_the_tunnel_leads_to_the_gateway() -> None:
    """To its port, and whatever is asked for under another name nowhere."""
    tunnel = yaml.safe_load((FOLDER / "cloudflared.yml").read_text("utf-8"))
    ours, rest = tunnel["ingress"]
    assert ours["service"] == f"http://127.0.0.1:{parse({}).server.port}"
    assert rest == {"service": "http_status:404"}
