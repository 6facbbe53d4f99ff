"""C2: what httpx, axios, Java's HttpClient and Go wait for when nobody tells them."""

from __future__ import annotations

import asyncio
from typing import Any

from clients import ask, versions
from judgement import Judgement, gave_up_s, tells_table, told_of
from servers import silent

CLAIM = (
    "`httpx` defaults to 5 s; axios to none; Java HttpClient reads 30 s on JDK 11+; Go has none but its "
    "Transport limits it"
)
METHOD = (
    "Each client, with nothing set, asks a server on loopback that says nothing for so long and then answers. All "
    "ask at "
    "the same time; Python's others and Node's fetch are asked too, for whoever chooses."
)
LIMITS = "Defaults of these versions; a framework on top may set others."
CLIENTS = ("httpx", "axios", "java", "go", "httpx2", "requests", "urllib3", "aiohttp", "node")


async def measure(wait_s: float) -> dict[str, Any]:
    """Ask with each client across the longest silence, all at once."""
    async with silent() as server:
        tells = await asyncio.gather(*(ask(client, server.url, wait_s) for client in CLIENTS))
    return {"tells": [told.as_json() for told in tells], "versions": versions(*CLIENTS)}


def judge(figures: dict[str, Any]) -> Judgement:
    """Each of the four parts is true or false by itself."""
    ends = {client: gave_up_s(told_of(figures["tells"], client)) for client in CLIENTS}
    waited_s = max(told["silence_s"] for told in figures["tells"])
    parts = {
        "httpx": ends["httpx"] is not None and 4.5 <= ends["httpx"] <= 7.0,
        "axios": ends["axios"] is None,
        "java": ends["java"] is not None and 28.0 <= ends["java"] <= 34.0,
        "go": ends["go"] is not None,
    }
    said = ", ".join(
        f"{client} {'waited to the end' if end is None else f'gave up after {end:.0f} s'}"
        for client, end in ends.items()
    )
    word = "true" if all(parts.values()) else "partly" if any(parts.values()) else "false"
    return Judgement(
        word=word,
        why=f"Of {waited_s:.0f} s of silence: {said}.",
        advice="Set the read timeout yourself: 300 s for 1K and 2K, 600 s for 4K; see `holdfast timeouts --client`.",
    )


def table(figures: dict[str, Any]) -> str:
    """Write what was measured."""
    return tells_table(figures["tells"])
