"""`holdfast latency --measure`: real images, size by size, one after the other; the price is asked first."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from holdfast.cli.columns import columns
from holdfast.cli.exits import Exit, Stop
from holdfast.types import Charge, Tier

if TYPE_CHECKING:
    from holdfast.cli.api_key import ApiKey
    from holdfast.client.async_ import AsyncClient
    from holdfast.config import Settings

MODEL = "nano-banana-pro"
TIMES_MAX = 20
PROMPT = "a lighthouse in a storm, measured for its {size}, image {number} of {times}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is going to be bought."""

    model: str
    sizes: tuple[Tier, ...]
    times: int
    """Images of each size."""
    prices: tuple[int | None, ...]
    """Of an image of each size, micro-units; None: these settings have none."""
    currency: str

    @property
    def images(self) -> int:
        """How many that are."""
        return self.times * len(self.sizes)

    def told(self, base_url: str) -> str:
        """Say what it costs, before anything is bought."""
        from holdfast.money import amount

        what = f"{self.images} image{'s' if self.images > 1 else ''} of {self.model} from {base_url}, one after another"
        known = [each for each in self.prices if each is not None]
        if len(known) < len(self.prices):
            lacking = [size.value for size, each in zip(self.sizes, self.prices, strict=True) if each is None]
            return (
                f"{what}. What {', '.join(lacking)} cost is not known here: the settings of this machine have no price."
            )
        shown = ", ".join(f"{size} {amount(each)}" for size, each in zip(self.sizes, known, strict=True))
        return f"{what}: {amount(self.times * sum(known))} {self.currency} by the settings of this machine ({shown})."


@dataclass(slots=True, kw_only=True)
class Measured:
    """What one size took."""

    size: Tier
    seconds: list[float]
    failures: list[str]

    def row(self) -> tuple[str, ...]:
        """Spell it for the table, beside what is published."""
        from holdfast.cli.latency import seconds
        from holdfast.policy.latency import PUBLISHED

        usual = PUBLISHED[self.size]
        took = (
            [seconds(each) for each in (min(self.seconds), median(self.seconds), max(self.seconds))]
            if (self.seconds)
            else ["-", "-", "-"]
        )
        return (
            self.size.value,
            str(len(self.seconds)),
            str(len(self.failures)),
            *took,
            seconds(usual.p50_s),
            seconds(usual.p95_s),
        )


HEAD = ("size", "images", "failed", "fastest", "median", "slowest", "published p50", "p95")


def plan_of(args: argparse.Namespace, settings: Settings) -> Plan:
    """Say what is asked for, at what price.

    Raises:
        Stop: The words do not go together, or ask for too much.
    """
    from holdfast.clock import SystemClock
    from holdfast.policy.price_table import rows_of

    for name in ("data", "plot", "window"):
        if getattr(args, name) is not None:
            raise Stop(
                Exit.USAGE, f"Leave out --{name} or --measure: one looks at what was learnt, the other buys images."
            )
    if not 1 <= args.times <= TIMES_MAX:
        raise Stop(Exit.USAGE, f"--times is 1 to {TIMES_MAX}: every image is paid for.")
    model = args.model or MODEL
    names = {name: route.model for route in settings.routes for name in (route.model, *route.aliases)}
    public = names.get(model, model)
    sizes = tuple(Tier) if args.size is None else (Tier(args.size),)
    rows = [row for row in rows_of(settings, SystemClock().now().date(), ()) if row.model == public]
    prices = tuple(
        # Where quality or shape have prices of their own: the dearest, so that nobody is surprised.
        max((row.unit_micros for row in rows if row.key.startswith(size.value) and "*" not in row.key), default=None)
        for size in sizes
    )
    return Plan(model=model, sizes=sizes, times=args.times, prices=prices, currency=settings.money.currency)


def run_measure(args: argparse.Namespace, settings: Settings) -> int:
    """Ask, then measure, then print."""
    from holdfast.cli.api_key import find_api_key
    from holdfast.cli.asked import base_of
    from holdfast.cli.generate import key_files, local_base_url
    from holdfast.config import with_provider_keys

    plan = plan_of(args, with_provider_keys(settings, os.environ))
    base_url = base_of(args.base_url or os.environ.get("HOLDFAST_BASE_URL") or local_base_url(settings))
    key = find_api_key(args.api_key, os.environ, base_url, key_files(settings))
    confirm(plan.told(base_url), yes=args.yes)
    measured: list[Measured] = []
    try:
        asyncio.run(measure(plan, base_url, key, settings.deadlines.network.value, measured))
    except KeyboardInterrupt:
        print("\n".join(table(measured)))
        raise Stop(
            Exit.INTERRUPTED,
            "Interrupted. The image that was on its way is made and kept: GET /v1/generations lists it.",
        ) from None
    if args.json:
        rows = [{"size": each.size.value, "seconds": each.seconds, "failures": each.failures} for each in measured]
        print(json.dumps({"model": plan.model, "base_url": base_url, "measured": rows}))
    else:
        print("\n".join(table(measured)))
    return Exit.OK if all(each.seconds for each in measured) else Exit.GENERATION_FAILED


def confirm(told: str, *, yes: bool) -> None:
    """Ask whether it may cost that.

    Raises:
        Stop: No; or there is nobody to be asked.
    """
    print(told, file=sys.stderr, flush=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise Stop(Exit.USAGE, "Nobody is here to be asked whether that is right: say --yes. Nothing was bought.")
    print("Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Stop(Exit.USAGE, "Nothing was bought.")


async def measure(plan: Plan, base_url: str, key: ApiKey, network: str, measured: list[Measured]) -> None:
    """Make one image after the other; what came of each is told as it comes, and added to `measured`.

    Raises:
        Stop: Nobody listens, or it would fail for every image alike.
    """
    from holdfast.cli.making import see_that_it_listens
    from holdfast.client.async_ import AsyncClient

    await see_that_it_listens(base_url)
    folder = Path(mkdtemp(prefix="holdfast-measure-"))
    try:
        async with AsyncClient(base_url, key.value or None, network=network) as client:
            for size in plan.sizes:
                measured.append(Measured(size=size, seconds=[], failures=[]))
                for number in range(1, plan.times + 1):
                    await _one(client, plan, number, measured[-1], folder, base_url=base_url, key=key)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _one(
    client: AsyncClient, plan: Plan, number: int, into: Measured, folder: Path, *, base_url: str, key: ApiKey
) -> None:
    from holdfast.cli.client_ends import stop_of
    from holdfast.errors import HoldfastError

    label = f"{into.size} {number} of {plan.times}"
    prompt = PROMPT.format(size=into.size.value, number=number, times=plan.times)
    began_s = asyncio.get_running_loop().time()
    try:
        images = await client.images.generate(prompt, model=plan.model, size=into.size.value, n=1, save_to=folder)
    except HoldfastError as error:
        stop = stop_of(error, base_url=base_url, key=key, keeps=False)
        if stop.code is not Exit.GENERATION_FAILED and error.paid in (None, Charge.NO):
            # A wrong key, no such model, a spent budget: the next image would fare no better.
            raise stop from error
        into.failures.append(stop.message)
        print(f"{label}: {stop.message}", file=sys.stderr, flush=True)
        return
    with images:
        took_s = asyncio.get_running_loop().time() - began_s
        into.seconds.append(round(took_s, 3))
        bytes_ = sum(image.size_bytes for image in images)
        print(f"{label}: {took_s:.1f} s, {bytes_ / 1e6:.1f} MB", file=sys.stderr, flush=True)
    await asyncio.to_thread(_clear, folder)


def _clear(folder: Path) -> None:
    """Keep nothing: only the time counts."""
    for file in folder.iterdir():
        file.unlink()


def table(measured: Sequence[Measured]) -> list[str]:
    """Lay it out, a line for each size."""
    return columns([HEAD, *(each.row() for each in measured)], right=range(len(HEAD)), indent="")
