"""`GET /v1/latency` and `holdfast latency`, of a gateway that has made images and been stopped."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from xml.dom import minidom

import pytest

from holdfast.cli.exits import Exit
from holdfast.cli.main import main
from holdfast.store.latency import get_sketches
from holdfast.types import Tier

LATENCY = "/v1/latency"


async def rows(gateway: Any, query: str = "") -> list[dict[str, Any]]:
    """What is told."""
    answer = await gateway.ask("GET", f"{LATENCY}?{query}")
    assert answer.status == 200, answer
    return list(answer.json["data"])


async def test_images_that_were_made_are_told_of(gateway: Any) -> None:
    """By model, size, upstream and window; what nobody asked for as published."""
    for _ in range(3):
        assert (await gateway.images()).status == 200
    answer = await gateway.ask("GET", f"{LATENCY}?model=nano-banana-pro&size=1K&window=24h")
    assert answer.headers["content-type"] == "application/json"
    both, google = answer.json["data"]
    assert (both["upstream"], google["upstream"]) == (None, "google")
    assert (google["model"], google["size"], google["window"], google["count"]) == ("nano-banana-pro", "1K", "24h", 3)
    assert google["prior_share"] == pytest.approx(50 / 53, abs=1e-4)
    assert google["updated_at"].endswith("Z")
    everything = await rows(gateway)
    assert {(row["model"], row["size"]) for row in everything} == {
        (model, size) for model in ("nano-banana-pro", "gpt-image-2") for size in ("1K", "2K", "4K")
    }
    assert [row["count"] for row in everything if row["model"] == "gpt-image-2"] == [0] * 9


async def test_an_alias_names_its_model(gateway: Any) -> None:
    """As everywhere."""
    told = await rows(gateway, "model=gemini-3-pro-image&size=4K")
    assert {row["model"] for row in told} == {"nano-banana-pro"}


async def test_details_are_told_on_request(gateway: Any) -> None:
    """Distributions and hours."""
    await gateway.images()
    answer = await gateway.ask("GET", f"{LATENCY}?detail=true&size=1K")
    assert all(row["distribution"] for row in answer.json["data"])
    (hour,) = answer.json["hours"]
    assert (hour["model"], hour["count"]) == ("nano-banana-pro", 1)


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("size=8K", "size"),
        ("window=2h", "window"),
        ("model=dall-e-3", "model"),
        ("model=", "model"),
        ("detail=yes", "detail"),
        ("hours=1", "hours"),
    ],
)
async def test_what_is_not_known_is_refused_by_name(gateway: Any, query: str, param: str) -> None:
    """400, with the field."""
    answer = await gateway.ask("GET", f"{LATENCY}?{query}")
    assert (answer.status, answer.json["param"], answer.json["code"]) == (400, param, "invalid_request")


async def test_only_who_has_a_key_is_told(gateway: Any) -> None:
    """How busy a gateway is, is its owner's business."""
    assert (await gateway.ask("GET", LATENCY, headers={})).status == 401
    wrong = {"Authorization": "Bearer hf-nobody-nothing"}
    assert (await gateway.ask("GET", LATENCY, headers=wrong)).status == 401
    assert (await gateway.ask("POST", LATENCY)).status == 405


async def test_estimates_follow_what_was_measured(gateway: Any) -> None:
    """Where images come at once, nobody is told to come back in eleven seconds."""
    headers = {"Authorization": f"Bearer {gateway.key}", "Prefer": "respond-async"}
    latencies = gateway.core.latencies
    before = await gateway.images(headers=headers)
    for _ in range(2000):
        latencies.learn(upstream="google", model="nano-banana-pro", tier=Tier.K1, seconds=2.0)
    await asyncio.sleep(1.1)
    after = await gateway.images(headers=headers)
    assert (before.headers["retry-after"], after.headers["retry-after"]) == ("12", "1")
    assert after.json["progress"]["expected_s"] == pytest.approx(2.0, rel=0.02)
    await gateway.resource_once(before.json["id"], "succeeded")
    await gateway.resource_once(after.json["id"], "succeeded")


async def test_what_was_learnt_outlives_the_gateway(start: Any, tmp_path: Path) -> None:
    """Written at its end; the next one in its folder goes on from there, and the folder can be looked into."""
    first = await start(data=tmp_path / "kept")
    await first.images()
    await first.stop()
    (row,) = first.read(get_sketches, 0)
    assert (row.upstream, row.model, row.tier) == ("google", "nano-banana-pro", "1K")
    second = await start(data=tmp_path / "kept", key=first.key)
    (told,) = [row for row in await rows(second, "size=1K&window=7d") if row["upstream"] == "google"]
    assert told["count"] == 1


async def command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run `holdfast latency`; give its exit code and what it said."""
    code = await asyncio.to_thread(main, ["latency", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


async def test_the_command_asks_a_gateway(
    gateway: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table, a picture, or the document."""
    monkeypatch.chdir(tmp_path)
    await gateway.images()
    base, key = f"{gateway.running.base_url}/v1".replace("/v1/v1", "/v1"), gateway.key
    where = ("--base-url", base, "--api-key", key)
    picture = tmp_path / "latency.svg"
    code, out, _ = await command(capsys, *where, "--size", "1K", "--plot", str(picture))
    assert code == Exit.OK
    assert out.startswith("nano-banana-pro 1K\n")
    assert "google" in out
    assert f"wrote {picture}" in out
    assert minidom.parse(str(picture)).documentElement.tagName == "svg"  # type: ignore[union-attr]
    code, out, _ = await command(capsys, *where, "--json", "--model", "gpt-image-2", "--window", "7d")
    document = json.loads(out)
    assert {(row["model"], row["window"]) for row in document["data"]} == {("gpt-image-2", "7d")}


async def test_the_command_says_what_is_wrong(
    gateway: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong key, a model that is none, nobody there, somebody else there."""
    monkeypatch.chdir(tmp_path)
    base = f"{gateway.running.base_url}/v1".replace("/v1/v1", "/v1")
    code, _, err = await command(capsys, "--base-url", base, "--api-key", "hf-wrong-key")
    assert (code, "Tried was" in err) == (Exit.KEY_WRONG, True)
    code, _, err = await command(capsys, "--base-url", base, "--api-key", gateway.key, "--model", "dall-e-3")
    assert (code, "dall-e-3" in err) == (Exit.NO_SUCH_MODEL, True)
    code, _, err = await command(capsys, "--base-url", "http://127.0.0.1:1", "--api-key", "k")
    assert (code, "cannot be reached" in err) == (Exit.UNREACHABLE, True)


async def test_the_command_looks_into_a_folder(
    start: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a gateway, and without changing anything there."""
    gateway = await start()
    await gateway.images()
    await gateway.stop()
    monkeypatch.chdir(tmp_path)
    database = gateway.data / "holdfast.sqlite3"
    before = database.read_bytes() if database.exists() else b""
    code, out, _ = await command(capsys, "--data", str(gateway.data), "--size", "1K")
    assert (code, "google" in out) == (Exit.OK, True)
    assert (database.read_bytes() if database.exists() else b"") == before
