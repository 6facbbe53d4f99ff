"""From what was asked to files with names, and what to print of them."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from holdfast.cli.api_key import ApiKey
from holdfast.cli.asked import Asked, request_of, status_request
from holdfast.cli.fetch import Fetch, Fetched, of_broken
from holdfast.cli.files import Destination, ErrorText, Received, misnamed
from holdfast.cli.progress import Progress, label_of, megabytes
from holdfast.config import Deadlines
from holdfast.policy.deadlines import attempt_timeout_s_max, generation_s_max, write_timeout_s
from holdfast.policy.latency import prior
from holdfast.transport.aio import AioTransport
from holdfast.transport.exchange import Timeouts
from holdfast.types import Failure, Tier
from holdfast.wire.generations import decode_generation

STATUS = Timeouts(connect_s=5.0, write_s=5.0, read_idle_s=5.0, total_s=5.0)
"""An estimate that comes late is of no use."""
ANSWER_S = 30.0
"""Left to an answer that the gateway gives at the last moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to ask, of whom, and how to tell the result."""

    asked: Asked
    inputs: tuple[Path, ...]
    """The files of `asked.inputs`."""
    base_url: str
    key: ApiKey
    deadlines: Deadlines
    latency_scale: float = 1.0
    as_json: bool = False


async def make(job: Job, fetch: Fetch, destination: Destination) -> list[str]:
    """Make the images and keep them; the result is what to print.

    Raises:
        Stop: There is none.
        RequestError: No picture stands for the size asked.
    """
    geometry = job.asked.geometry
    progress = Progress(
        None if job.as_json else sys.stderr,
        label=label_of(geometry.tier, geometry.aspect_ratio, job.asked.n),
        latency=prior(geometry.tier, scale=job.latency_scale),
    )
    request = request_of(job.asked, base_url=job.base_url, api_key=job.key.value)
    timeouts = timeouts_of(job, geometry.tier)
    learning = asyncio.create_task(_learn(job, fetch, progress, geometry.tier), name="learn")
    try:
        outcome = await fetch.run(request, inputs=job.inputs, timeouts=timeouts, progress=progress)
    finally:
        learning.cancel()
        await asyncio.wait([learning])
    if isinstance(outcome, Failure):
        raise of_broken(outcome, base_url=job.base_url, key=job.key, generation_id=fetch.generation_id)
    return kept(outcome, destination, took_s=progress.elapsed_s, n=job.asked.n, as_json=job.as_json)


async def _learn(job: Job, fetch: Fetch, progress: Progress, tier: Tier) -> None:
    """Ask the gateway how long such images take there: it may be a simulated one, or have learnt better."""
    await fetch.has_begun.wait()
    if fetch.generation_id is None:
        return
    answer = ErrorText()
    request = status_request(fetch.generation_id, base_url=job.base_url, api_key=job.key.value)
    transport = AioTransport()
    try:
        await transport.exchange(request, timeouts=STATUS, on_head=lambda _: answer)
    finally:
        await transport.close()
    expected_s = expected_s_of(answer.body)
    if expected_s is not None:
        progress.latency = prior(tier, scale=expected_s / prior(tier).expected_s)


def expected_s_of(body: bytes) -> float | None:
    """Read the estimate of a status resource; None where there is none, as from something else than holdfast."""
    try:
        told = decode_generation(body).progress
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return told.expected_s if told is not None and told.expected_s > 0 else None


def timeouts_of(job: Job, tier: Tier) -> Timeouts:
    """Give as much time as the gateway may take: until its deadline, and for an attempt begun just before it, however
    slow it has learnt that its upstream is.
    """
    total_s = generation_s_max(tier, job.deadlines) + attempt_timeout_s_max(tier, job.deadlines) + ANSWER_S
    body_bytes = sum(image.bytes for image in job.asked.inputs) * 4 // 3
    return Timeouts(
        connect_s=job.deadlines.connect_s,
        write_s=write_timeout_s(job.deadlines, body_bytes),
        # Something that does not beat is silent for as long as it draws.
        read_idle_s=total_s,
        total_s=total_s,
    )


def kept(fetched: Fetched, destination: Destination, *, took_s: float, n: int, as_json: bool) -> list[str]:
    """Give every image its name, and say what came."""
    stem = fetched.generation_id or "image"
    count = max(n, len(fetched.images))
    paths = [
        destination.keep(received, name=stem, index=index, count=count) for index, received in enumerate(fetched.images)
    ]
    pairs = list(zip(paths, fetched.images, strict=True))
    if as_json:
        rows = [row(path, received) for path, received in pairs]
        return [json.dumps({"generation_id": fetched.generation_id, "elapsed_s": round(took_s, 3), "images": rows})]
    lines = [f"{path}  {told(received)}, {took_s:.1f} s{_name_told(path, received)}" for path, received in pairs]
    return [*lines, f"{len(pairs)} of {n} images came."] if len(pairs) < n else lines


def _name_told(path: Path, received: Received) -> str:
    return f" (kept as named, but {path.suffix} is not what it is)" if misnamed(path, received) else ""


def row(path: Path, received: Received) -> dict[str, object]:
    """Tell one image to a program."""
    info = received.info
    known = {} if info is None else {"mime": info.mime, "size": info.size, "bytes": info.bytes, "sha256": info.sha256}
    return {"path": str(path), **known, "complete": received.is_complete}


def told(received: Received) -> str:
    """Tell one image to a person."""
    if received.info is None:
        return "bytes of no image format known here"
    torn = "" if received.is_complete else " (its end is missing)"
    return f"{received.info.size} {received.info.mime}, {megabytes(received.info.bytes)}{torn}"
