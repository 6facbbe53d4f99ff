"""C10: idle defaults: ALB 60 s, nginx `proxy_read_timeout` 60 s, Cloudflare 100 s."""

from __future__ import annotations

from typing import Any

import servers
from clients import ask
from judgement import Judgement, tells_table

CLAIM = "idle defaults: ALB 60 s, nginx `proxy_read_timeout` 60 s, Cloudflare 100 s"
METHOD = (
    "curl's patience is endless here: `requests` without a timeout asks through nginx as it is installed, and "
    "the 504 is timed."
)
LIMITS = (
    "ALB and Cloudflare cannot be run here. ALB's 60 s is its documented `idle_timeout.timeout_seconds`; "
    "Cloudflare documents "
    "100 s, and several projects measured 120-125 s."
)
SILENCE_S = 80.0


async def measure(wait_s: float) -> dict[str, Any]:
    """Time nginx's own limit."""
    del wait_s
    async with servers.silent() as server, servers.nginx(server.port) as port:
        told = await ask("requests", f"http://{servers.HOST}:{port}/", SILENCE_S)
    return {"tells": [told.as_json() | {"client": "nginx"}], "versions": {"nginx": servers.nginx_version()}}


def judge(figures: dict[str, Any]) -> Judgement:
    """Of what can be run here."""
    (told,) = figures["tells"]
    holds = told["status"] == 504 and 58.0 <= told["seconds"] <= 64.0
    return Judgement(
        word="partly" if holds else "false",
        why=f"nginx: {told['status']} after {told['seconds']:.1f} s, as claimed. The other two are documented, not "
        f"measured."
        if holds
        else f"nginx: {told['status']} after {told['seconds']:.1f} s.",
        advice="`holdfast doctor URL` measures the path that you have.",
    )


def table(figures: dict[str, Any]) -> str:
    """Write what was measured."""
    return tells_table(figures["tells"])
