"""The demo itself: two calls that differ in nothing but the way they take."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from holdfast.cli.asked import Asked, request_of
from holdfast.cli.exits import Exit, Stop
from holdfast.cli.fetch import Fetch
from holdfast.cli.files import Destination
from holdfast.cli.progress import Progress, Reading, Told, duration, megabytes, sentences
from holdfast.cli.stage import (
    BEAT_S,
    FIRST_BEAT_S,
    HOST,
    IDLE_CUT_S,
    SPEED,
    Serving,
    cutting_path,
    demo_settings,
    gateway,
    real_settings,
    simulated,
)
from holdfast.config import Settings
from holdfast.policy.latency import prior
from holdfast.transport.exchange import Timeouts
from holdfast.types import Failure, ImageInfo, Tier

PICTURE = Path("holdfast-demo.png")
CALL = Asked(
    prompt="a lighthouse in a storm, holding fast",
    # The upstream's own name, and an alias of the gateway's nano-banana-pro: the request is the same either way.
    model="gemini-3-pro-image",
    size="4K",
    aspect_ratio=None,
    n=1,
)
TIMEOUTS = Timeouts(connect_s=5.0, write_s=5.0, read_idle_s=50.0, total_s=50.0)
"""Patient in every phase: what cuts the first call is the path alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """One demo, from its first line to its last."""

    usual: Settings
    """The person's own settings."""
    environ: Mapping[str, str]
    data: Path
    port: int
    key: str
    key_file: Path
    once: bool
    as_json: bool

    async def run(self) -> None:
        """Show both calls, then serve.

        Raises:
            Stop: The call that should arrive did not, or the port is taken.
        """
        real = None if self.once else real_settings(self.usual, self.environ, port=self.port, data=self.data)
        async with simulated() as upstream_port:
            shown = demo_settings(self.usual, upstream_port=upstream_port, port=self.port, data=self.data)
            async with (
                gateway(shown) as serving,
                cutting_path(upstream_port) as bare_port,
                cutting_path(serving.port) as held_port,
            ):
                await serving.while_serving(self._show(bare_port, held_port, upstream_port))
                if self.once:
                    return
                if real is None:
                    self._tell_serving(serving, held_port, "from the simulated upstream, free of charge")
                    await serving.until_ended()
                    return
                # The next gateway takes over the port, even when it was any free one.
                real = replace(real, server=replace(real.server, port=serving.port))
        async with gateway(real) as serving:
            names = ", ".join(upstream.name for upstream in real.upstreams)
            self._tell_serving(serving, None, f"from {names} with your key, and are paid for from here on")
            await serving.until_ended()

    async def _show(self, bare_port: int, held_port: int, upstream_port: int) -> None:
        self._say(
            "One 4K image, asked for twice through a path that cuts silent connections.",
            f"All of it is simulated, free of charge, and {SPEED:g} times as fast as life: the 60 s",
            f"idle timer of a load balancer is {IDLE_CUT_S:g} s here, two minutes of drawing are 15 s.",
            "",
            "1  without holdfast:  client → path → upstream",
        )
        self._say(
            f"   {await self._without(bare_port)}", "", "2  with holdfast:     client → path → holdfast → upstream"
        )
        info, took_s = await self._with(held_port)
        self._say(
            f"   ✓ arrived after {took_s:.1f} s: {PICTURE}, {info.size} {info.mime}, {megabytes(info.bytes)}",
            "",
            charges_told(await _charges(upstream_port)),
            "",
        )
        if self.as_json:
            picture = {"path": str(PICTURE), "size": info.size, "bytes": info.bytes, "sha256": info.sha256}
            print(json.dumps({"picture": picture, "elapsed_s": round(took_s, 3)}), flush=True)

    async def _without(self, port: int) -> str:
        """Make the call straight through the path. It is meant to fail; what happens is what is told."""
        outcome, took_s = await _call(port, api_key="simulated", keeps=False, told=told_of_silence)
        if isinstance(outcome, Failure):
            return f"✗ lost after {took_s:.1f} s: {outcome.detail}"
        return f"✓ arrived after {took_s:.1f} s: this time the upstream was faster than the cut"

    async def _with(self, port: int) -> tuple[ImageInfo, float]:
        """Make the same call through the path to the gateway, and keep its image."""
        outcome, took_s = await _call(port, api_key=self.key, keeps=True, told=told_of_beats)
        if isinstance(outcome, Failure):
            raise Stop(Exit.GENERATION_FAILED, f"The image did not arrive: {outcome.detail}.")
        return outcome, took_s

    def _tell_serving(self, serving: Serving, held_port: int | None, source: str) -> None:
        if self.as_json:
            print(json.dumps({"base_url": serving.base_url, "key_file": str(self.key_file)}), flush=True)
        lines = [f"Serving on; images come {source}. Ctrl-C ends it.", "", f"  base URL  {serving.base_url}"]
        if held_port is not None:
            lines.append(f"            http://{HOST}:{held_port}/v1 is the same through the path that cuts")
        lines += [f"  key       {self.key}  (kept in {self.key_file})", ""]
        self._say(*lines, curl_line(serving.base_url, self.key_file), "")

    def _say(self, *lines: str) -> None:
        print(*lines, sep="\n", file=sys.stderr if self.as_json else sys.stdout, flush=True)


async def _call(port: int, *, api_key: str, keeps: bool, told: Told) -> tuple[ImageInfo | Failure, float]:
    """Make the one call of the demo, with a progress bar."""
    request = request_of(CALL, base_url=f"http://{HOST}:{port}/v1beta", api_key=api_key)
    fetch = Fetch(folder=PICTURE.parent)
    progress = Progress(sys.stderr, label="   4K", latency=prior(Tier.K4, scale=1.0 / SPEED), told=told)
    try:
        outcome = await fetch.run(request, timeouts=TIMEOUTS, progress=progress)
        if isinstance(outcome, Failure):
            return outcome, progress.elapsed_s
        received = outcome.images[0]
        if received.info is None or not received.is_complete:
            raise Stop(Exit.GENERATION_FAILED, "What arrived is not a whole picture.")
        if keeps:
            Destination(PICTURE).keep(received, name="", index=0, count=1)
        return received.info, progress.elapsed_s
    finally:
        fetch.close()


async def _charges(upstream_port: int) -> list[int]:
    """Ask the simulated upstream what it charged, micro-USD each."""
    url = f"http://{HOST}:{upstream_port}/_sim/charges"
    told = json.loads(await asyncio.to_thread(_fetched, url))
    return [row["micros"] for row in told["charges"] if row["micros"]]


def _fetched(url: str) -> bytes:
    # A proxy of the environment's has no business on loopback.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10.0) as answer:
        return bytes(answer.read())


def told_of_silence(reading: Reading) -> tuple[str, ...]:
    """Say what the first call waits for: the cut."""
    if reading.received_bytes:
        return sentences(reading)
    at = f"{reading.elapsed_s:.0f} s"
    return f"{at} of silence; the path cuts at {IDLE_CUT_S:g} s", f"{at} of {IDLE_CUT_S:g} s", at


def told_of_beats(reading: Reading) -> tuple[str, ...]:
    """Say what keeps the second call alive, and until when."""
    if reading.received_bytes or reading.elapsed_s > reading.p95_s:
        return sentences(reading)
    at, expected = f"{reading.elapsed_s:.0f} s", duration(reading.expected_s)
    if reading.elapsed_s < FIRST_BEAT_S:
        return f"{at}; the first byte comes after {FIRST_BEAT_S:g} s", at
    beats = f"a byte every {BEAT_S:g} s"
    return (
        f"{at}: {beats} holds the line; half of all 4K images take {expected}",
        f"{at}, {beats}; half are done by {expected}",
        f"{at}, {beats}",
        at,
    )


def charges_told(micros: list[int]) -> str:
    """Say what the two calls would have cost."""
    total = f"{sum(micros) / 1e6:.2f} USD"
    if len(micros) == 2:
        return (
            f"In life the upstream would have charged for both, {total}: the image that was lost\n"
            "was drawn as well, and had nowhere to go."
        )
    return f"In life the upstream would have charged for {len(micros)} of the two, {total}."


def curl_line(base_url: str, key_file: Path) -> str:
    """Give a call to try; the key stays out of the shell's history."""
    body = json.dumps({"prompt": CALL.prompt, "size": "4K", "response_format": "url"})
    return (
        f"  curl -sS {base_url}/images/generations \\\n"
        f'    -H "Authorization: Bearer $(cat {key_file})" -H "Content-Type: application/json" \\\n'
        f"    -d '{body}'"
    )
