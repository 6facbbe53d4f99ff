"""The lines of `docs/how-to/ask-without-waiting.md` and `collect-an-image.md`, run by curl as they stand."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

HOW_TO = Path(__file__).resolve().parents[3] / "docs" / "how-to"
PAGES = ("ask-without-waiting.md", "collect-an-image.md")


def lines_of(page: str) -> list[str]:
    """Every command of a page, its continued lines joined."""
    text = (HOW_TO / page).read_text("utf-8").replace("\\\n", " ")
    return re.findall(r"^    (curl .*)$", text, re.MULTILINE)


def asked(line: str) -> tuple[str, str]:
    """Method and path of a command."""
    path = re.search(r"http://127\.0\.0\.1:16888(/[^\s\"?]*)", line)
    assert path is not None, line
    return "POST" if " -d " in line or "-X POST" in line else "GET", path[1]


async def curl(gateway: Any, line: str, generation_id: str) -> bytes:
    """Run one command with address, key and id put in their places, as a reader would."""
    filled = line.replace("http://127.0.0.1:16888", gateway.running.base_url)
    filled = filled.replace("hf-…", gateway.key).replace("gen_…", generation_id)
    assert "…" not in filled
    process = await asyncio.create_subprocess_exec(
        *shlex.split(filled), "--fail-with-body", "--max-time", "10", stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said
    return said


@pytest.mark.parametrize("page", PAGES)
async def test_every_line_of_the_page_works(gateway: Any, page: str) -> None:
    """Each is accepted, and tells a generation, or a list of them."""
    lines = lines_of(page)
    assert lines
    last = (await gateway.images(response_format="url")).generation_id
    for line in lines:
        method, path = asked(line)
        said = await curl(gateway, line, last)
        if path.endswith("/events"):
            assert b"event: generation.succeeded\n" in said, line
            continue
        document = json.loads(said)
        if method == "GET" and path == "/v1/generations":
            assert document["object"] == "list", line
            assert document["data"], line
            continue
        assert document["object"] == "generation", line
        await gateway.resource_once(document["id"], "succeeded")


async def test_the_page_on_the_status_shows_a_call_that_follows(start: Any, upstream: Any, journal: Any) -> None:
    """curl is sent on, follows, and has the image as it would have had it at once."""
    gateway = await start(heartbeat={"redirect_hop_s": 0.1}, deadlines={"generation_s": {"1K": 1, "2K": 1, "4K": 1}})
    (line,) = lines_of("keep-the-status.md")
    upstream.gate.clear()
    calling = asyncio.create_task(curl(gateway, line, ""))
    await journal.has("caller.sent_on", 2)
    upstream.gate.set()
    assert json.loads(await calling)["data"][0]["b64_json"]


def test_the_page_shows_every_way_to_ask() -> None:
    """What the native surface has, and both wishes on OpenAI's."""
    shown = {asked(line) for line in lines_of(PAGES[0])}
    assert shown >= {
        ("POST", "/v1/generations"),
        ("GET", "/v1/generations"),
        ("GET", "/v1/generations/gen_…"),
        ("POST", "/v1/images/generations"),
        ("POST", "/v1/generations/gen_…/cancel"),
        ("GET", "/v1/generations/gen_…/events"),
    }
