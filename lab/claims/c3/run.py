"""C3: `requests` with `timeout=600` sets only the connect timeout."""

from __future__ import annotations

from typing import Any

from clients import ask, versions
from judgement import Judgement, gave_up_s, tells_table, told_of
from servers import silent

CLAIM = "`requests` with `timeout=600` sets only the connect timeout"
METHOD = (
    "`requests.get(url, timeout=T)` with T = 3 s asks a server that accepts at once and says nothing for 10 s. If "
    "T were the "
    "connect timeout only, the answer would be read after 10 s."
)
LIMITS = "What counts is that one number sets both; how large it is changes nothing."
TIMEOUT_S, SILENCE_S = 3.0, 10.0


async def measure(wait_s: float) -> dict[str, Any]:
    """Ask with one number and, beside it, with the pair that sets the connect timeout only."""
    del wait_s
    async with silent() as server:
        one = await ask("requests", server.url, SILENCE_S, more=f", timeout={TIMEOUT_S:g}")
        pair = await ask("requests", server.url, SILENCE_S - 1.0, more=f", timeout=({TIMEOUT_S:g}, None)")
    return {"tells": [one.as_json(), pair.as_json()], "versions": versions("requests")}


def judge(figures: dict[str, Any]) -> Judgement:
    """False if the silence after the connect was cut at the number."""
    one = told_of(figures["tells"], "requests")
    ended_s = gave_up_s(one)
    is_cut = ended_s is not None and ended_s < SILENCE_S - 1.0
    return Judgement(
        word="false" if is_cut else "true",
        why=f"With `timeout={TIMEOUT_S:g}` the call "
        + (
            f"gave up after {ended_s:.1f} s of a silence that came after the connect." if is_cut else "read its answer."
        ),
        advice="One number is connect and read timeout; `timeout=(10, 600)` sets them apart.",
    )


def table(figures: dict[str, Any]) -> str:
    """Write what was measured; the second row has `timeout=(3, None)`."""
    return tells_table(figures["tells"])
