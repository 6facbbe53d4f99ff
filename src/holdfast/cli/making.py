"""From what was asked to files with names, over the client library; and what to print of them."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from holdfast.cli.api_key import ApiKey, is_loopback
from holdfast.cli.asked import Asked
from holdfast.cli.client_ends import how_to_collect, received, stop_of
from holdfast.cli.exits import Exit, Stop
from holdfast.cli.files import Destination, Received, misnamed
from holdfast.cli.progress import Progress, label_of, megabytes
from holdfast.client.async_ import AsyncClient
from holdfast.errors import HoldfastError, is_disk_full
from holdfast.policy.latency import prior

if TYPE_CHECKING:
    from holdfast.client.results import Images
    from holdfast.client.steps import Standing

FOLLOW_S = 0.1
REACH_S = 5.0
"""For a connection on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to ask, of whom, and how to tell the result."""

    asked: Asked
    inputs: tuple[Path, ...]
    """The files of `asked.inputs`."""
    base_url: str
    key: ApiKey
    network: str
    """As `deadlines.network` has it: how much time is given."""
    latency_scale: float = 1.0
    as_json: bool = False


@dataclass(slots=True, kw_only=True)
class Calling:
    """The call, as far as whoever interrupts it has to know."""

    idempotency_key: str
    generation_id: str | None = None
    """Known once the gateway has told it."""


async def make(job: Job, destination: Destination, calling: Calling) -> list[str]:
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
    await see_that_it_listens(job.base_url)
    # Beside the destination, so that keeping is a rename; gone with whatever was not kept.
    parts = Path(mkdtemp(prefix=".holdfast-", dir=destination.folder))
    try:
        async with AsyncClient(job.base_url, job.key.value or None, network=job.network) as client, progress:
            following = asyncio.create_task(_follow(progress, parts), name="follow")
            try:
                images = await _called(client, job, calling, progress, parts)
            finally:
                following.cancel()
                await asyncio.wait([following])
        with images:
            return kept(images, destination, took_s=progress.elapsed_s, n=job.asked.n, as_json=job.as_json)
    except HoldfastError as error:
        raise _ended(job, error, calling) from error
    except OSError as error:
        if not is_disk_full(error):
            raise
        message = f"The disk is full ({destination.folder.resolve()}). Free some space. "
        collect = how_to_collect(job.base_url, calling.generation_id, calling.idempotency_key, job.key)
        raise Stop(Exit.DISK_FULL, message + collect, generation_id=calling.generation_id) from error
    finally:
        shutil.rmtree(parts, ignore_errors=True)


async def _called(client: AsyncClient, job: Job, calling: Calling, progress: Progress, parts: Path) -> Images:
    asked, tier = job.asked, job.asked.geometry.tier

    def stands(standing: Standing) -> None:
        calling.generation_id = standing.generation_id or calling.generation_id
        # It may be a simulated one, or have learnt better.
        if standing.expected_s:
            progress.latency = prior(tier, scale=standing.expected_s / prior(tier).expected_s)

    if job.inputs:
        return await client.images.edit(
            list(job.inputs),
            asked.prompt,
            model=asked.model,
            size=asked.size,
            aspect_ratio=asked.aspect_ratio,
            save_to=parts,
            idempotency_key=calling.idempotency_key,
            on_progress=stands,
        )
    return await client.images.generate(
        asked.prompt,
        model=asked.model,
        size=asked.size,
        aspect_ratio=asked.aspect_ratio,
        n=asked.n,
        save_to=parts,
        idempotency_key=calling.idempotency_key,
        on_progress=stands,
    )


def _ended(job: Job, error: HoldfastError, calling: Calling) -> Stop:
    """Tell how it ended; where the image may still be made, how to collect it."""
    if isinstance(error, Stop):
        return error
    generation_id = error.generation_id or calling.generation_id
    stop = stop_of(error, base_url=job.base_url, key=job.key, keeps=generation_id is not None)
    if stop.details.pop("is_open") is None:
        return stop
    collect = how_to_collect(job.base_url, generation_id, calling.idempotency_key, job.key)
    return Stop(stop.code, f"{stop.message} {collect}", **stop.details)


async def _follow(progress: Progress, parts: Path) -> None:
    """Tell the bar how much of the images is on disk."""
    while True:
        progress.received_bytes = _bytes_in(parts)
        await asyncio.sleep(FOLLOW_S)


def _bytes_in(folder: Path) -> int:
    total = 0
    for part in folder.iterdir():
        # It may be renamed while it is looked at.
        with suppress(FileNotFoundError):
            total += part.stat().st_size
    return total


async def see_that_it_listens(base_url: str) -> None:
    """Find out at once that no gateway runs on this machine: the client would try again for a while.

    Raises:
        Stop: Nobody listens there.
    """
    if not is_loopback(base_url):
        return
    parts = urlsplit(base_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(parts.hostname, port), REACH_S)
    except (OSError, TimeoutError) as error:
        message = f"{base_url} cannot be reached: nobody listens there. Is holdfast serve running?"
        raise Stop(Exit.UNREACHABLE, message, paid="no") from error
    writer.close()


def kept(images: Images, destination: Destination, *, took_s: float, n: int, as_json: bool) -> list[str]:
    """Give every image its name, and say what came."""
    stem = images.generation_id or "image"
    files = received(images)
    count = max(n, len(files))
    paths = [destination.keep(file, name=stem, index=index, count=count) for index, file in enumerate(files)]
    pairs = list(zip(paths, files, strict=True))
    if as_json:
        rows = [row(path, received) for path, received in pairs]
        return [json.dumps({"generation_id": images.generation_id, "elapsed_s": round(took_s, 3), "images": rows})]
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
