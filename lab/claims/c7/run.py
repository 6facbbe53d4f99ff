"""C7: a 600 s read timeout still fails behind ALB, nginx or Cloudflare defaults."""

from __future__ import annotations

import asyncio
from typing import Any

import servers
from clients import ask, versions
from judgement import Judgement, tells_table

CLAIM = "a 600 s read timeout still fails behind ALB, nginx or Cloudflare defaults"
METHOD = (
    "`requests` with `timeout=600` asks a server that says nothing for 70 s and then answers: directly, and "
    "through nginx with "
    "nothing set but where it passes requests to."
)
LIMITS = "ALB and Cloudflare cannot be run here; their limits are documented at 60 and 100 s: C10."
SILENCE_S = 70.0


async def measure(wait_s: float) -> dict[str, Any]:
    """Ask directly, and behind the proxy, at the same time."""
    del wait_s
    async with servers.silent() as server, servers.nginx(server.port) as port:
        direct, behind = await asyncio.gather(
            ask("requests", server.url, SILENCE_S, more=", timeout=600"),
            ask("requests", f"http://{servers.HOST}:{port}/", SILENCE_S, more=", timeout=600"),
        )
    return {
        "tells": [direct.as_json() | {"client": "direct"}, behind.as_json() | {"client": "behind nginx"}],
        "versions": versions("requests") | {"nginx": servers.nginx_version()},
    }


def judge(figures: dict[str, Any]) -> Judgement:
    """True if the proxy gave up while the client was still waiting."""
    direct, behind = figures["tells"]
    is_cut = direct["status"] == 200 and behind["status"] != 200
    return Judgement(
        word="true" if is_cut else "false",
        why=f"The same call: {direct['status']} after {direct['seconds']:.0f} s directly, {behind['status']} after "
        f"{behind['seconds']:.0f} s behind nginx.",
        advice="The longest timeout of a client does not help: bytes must flow meanwhile (heartbeats), or the "
        "hop's limit be raised.",
    )


def table(figures: dict[str, Any]) -> str:
    """Write what was measured."""
    return tells_table(figures["tells"])
