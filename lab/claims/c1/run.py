"""C1: `requests` has no default timeout, yet the operating system cuts at 60-120 s."""

from __future__ import annotations

from typing import Any

from clients import ask, versions
from judgement import Judgement, gave_up_s, tells_table, told_of
from servers import silent

CLAIM = "`requests` has no default timeout, yet the operating system cuts at 60-120 s"
METHOD = (
    "`requests.get(url)` without a timeout asks a server on loopback that says nothing for so long, and then answers. "
    "Nothing stands between them but the operating system, with its usual settings."
)
LIMITS = "Linux only. What cuts in the field are NATs, balancers and proxies on the way: C7, C10."


async def measure(wait_s: float) -> dict[str, Any]:
    """Ask once across the longest silence."""
    async with silent() as server:
        told = await ask("requests", server.url, wait_s)
    return {"tells": [told.as_json()], "versions": versions("requests")}


def judge(figures: dict[str, Any]) -> Judgement:
    """True only if the call ended between 60 and 120 s."""
    told = told_of(figures["tells"], "requests")
    ended_s = gave_up_s(told)
    advice = "Set a read timeout all the same: without one a dead connection is waited for for ever."
    if ended_s is None:
        return Judgement(
            word="partly",
            why=f"There is no default timeout, and nothing cut either: the answer was read after "
            f"{told['seconds']:.0f} s "
            "of silence.",
            advice=advice,
        )
    word = "true" if 60.0 <= ended_s <= 120.0 else "false"
    return Judgement(word=word, why=f"The call ended after {ended_s:.0f} s with {told['error']}.", advice=advice)


def table(figures: dict[str, Any]) -> str:
    """Write what was measured."""
    return tells_table(figures["tells"])
