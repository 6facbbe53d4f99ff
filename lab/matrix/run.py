"""The matrix: unmodified clients through real proxies, each cell with what was shown, what was charged, its exchange.

    python lab/matrix/run.py [--core] [--clients A,B] [--fronts A,B] [--scenarios A,B] [--out FOLDER] [--page]
    python lab/matrix/run.py --again | --rewrite

Exits with 1 where a cell is red without a reason, or a success is red that no reason excuses. See README.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import driving
import house
import pages
import playing
import results
from cells import CLIENTS, IMAGE_S, SIZE, SPEED, Cell, Client, Scenario, models_of
from fronts import FRONTS, Front, FrontError, Standing, make_certificate, version_of
from playing import Outcome, Play

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "bench"))

import machine  # noqa: E402 - the bench's

PROJECT = HERE.parent.parent
PAGE = PROJECT / "docs" / "reference" / "matrix.md"
CORE_CLIENTS = ("requests", "curl", "httpx2", "openai")
CORE_FRONTS = ("nginx", "haproxy", "caddy")
DIRECT = (Scenario.SUCCESS,)
"""What is played without holdfast as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is played."""

    clients: tuple[Client, ...]
    fronts: tuple[Front, ...]
    scenarios: tuple[Scenario, ...]

    def cells(self, front: Front, *, is_direct: bool = False) -> list[Cell]:
        """List the cells of one front."""
        scenarios = DIRECT if is_direct else self.scenarios
        return [Cell(front.name, client.name, each, is_direct) for client in self.clients for each in scenarios]


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core", action="store_true", help="four clients and three proxies: under a minute")
    parser.add_argument("--clients", help="comma-separated")
    parser.add_argument("--fronts", help="comma-separated")
    parser.add_argument("--scenarios", help="comma-separated")
    parser.add_argument("--out", type=Path, help=f"folder for the results ({results.FOLDER.relative_to(PROJECT)})")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.relative_to(PROJECT)}")
    parser.add_argument("--again", action="store_true", help="play what is red without a reason in the results again")
    parser.add_argument(
        "--rewrite", action="store_true", help="play nothing: write the page from the results there are"
    )
    return parser.parse_args()


def choice_of(args: argparse.Namespace) -> Choice:
    """Decide what is played.

    Raises:
        FrontError: Something is named that there is not.
    """

    def names(given: str | None, core: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
        wanted = given.split(",") if given else (core if args.core else known)
        unknown = set(wanted) - set(known)
        if unknown:
            raise FrontError(f"not in the matrix: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
        return tuple(wanted)

    clients = names(args.clients, CORE_CLIENTS, [client.name for client in CLIENTS])
    fronts = names(args.fronts, CORE_FRONTS, [front.name for front in FRONTS])
    scenarios = names(args.scenarios, list(Scenario), list(Scenario))
    return Choice(
        clients=tuple(client for client in CLIENTS if client.name in clients),
        fronts=tuple(front for front in FRONTS if front.name in fronts),
        scenarios=tuple(map(Scenario, scenarios)),
    )


class Stage:
    """Gateway, upstream and clients, set up for the cells of one choice."""

    def __init__(self, choice: Choice, work: Path, *, only: Sequence[Cell] = ()) -> None:
        self._choice = choice
        self._only = {results.key_of(cell): cell for cell in only}
        self._work = work
        self._certificate = make_certificate(work)
        self._models = models_of(tuple(cell for front in choice.fronts for cell in choice.cells(front)))
        self._drivers: dict[str, driving.Driver] = {}
        self.outcomes: list[Outcome] = []
        self.direct_charges: dict[str, int] = {}
        """By front: images that the upstream charged for calls that came without holdfast."""
        self.versions: dict[str, str] = {}
        """Of every client and proxy that took part."""

    async def play(self) -> None:
        """Set everything up, play every cell, take everything down."""
        choice, work = self._choice, self._work
        for program in dict.fromkeys(hop.program for front in choice.fronts for hop in front.hops):
            self.versions[program] = version_of(program)
        names = dict.fromkeys(client.driver for client in choice.clients)
        self._drivers = await driving.start_all(names, work, self._certificate[0])
        with contextlib.ExitStack() as stack:
            try:
                self._look_at_versions()
                upstream = house.Upstream(work)
                stack.callback(upstream.stop)
                gateway = house.Gateway(work, upstream, set(self._models.values()))
                stack.callback(gateway.stop)
                for front in choice.fronts:
                    await self._play_front(front, gateway, upstream)
            finally:
                for driver in self._drivers.values():
                    await driver.stop()

    def _look_at_versions(self) -> None:
        known = {client.name for client in self._choice.clients}
        for driver in self._drivers.values():
            self.versions |= {name: version for name, version in driver.versions.items() if name in known}
        if missing := [name for name, version in self.versions.items() if not version]:
            raise FrontError(f"missing: {', '.join(missing)}; scripts/venv matrix installs what Python needs")

    async def _play_front(self, front: Front, gateway: house.Gateway, upstream: house.Upstream) -> None:
        began_at = time.monotonic()
        standing = Standing(front, self._work, gateway.port, self._certificate)
        try:
            turn = Play(front, standing, self._drivers, self._work)
            held = await turn.held(self._cells(front), self._models, gateway, upstream)
        finally:
            standing.stop()
        self.outcomes += held
        if set(DIRECT) <= set(self._choice.scenarios) and not self._only:
            self.outcomes += await self._play_direct(front, upstream)
        red = sum(not outcome.verdict.is_green for outcome in held)
        print(f"{front.title}: {len(held)} cells, {red} red, {time.monotonic() - began_at:.0f} s", flush=True)

    def _cells(self, front: Front) -> list[Cell]:
        cells = self._choice.cells(front)
        if not self._only:
            return cells
        return [self._only[results.key_of(cell)] for cell in cells if results.key_of(cell) in self._only]

    async def _play_direct(self, front: Front, upstream: house.Upstream) -> list[Outcome]:
        before = _images(upstream)
        standing = Standing(front, self._work / "direct", upstream.port, self._certificate)
        try:
            outcomes = await Play(front, standing, self._drivers, self._work).direct(
                self._choice.cells(front, is_direct=True)
            )
            # What nobody waits for any more is made, and charged, all the same.
            await asyncio.sleep(IMAGE_S / SPEED + 1.0)
        finally:
            standing.stop()
        self.direct_charges[front.name] = _images(upstream) - before
        return outcomes


def _images(upstream: house.Upstream) -> int:
    return sum(row["micros"] > 0 for row in upstream.charges())


def play_again(work: Path) -> int:
    """Play what is red without a reason in the results there are, and put it in its place."""
    record = results.read()
    cells = results.puzzling(record)
    if cells:
        choice = Choice(
            clients=tuple(client for client in CLIENTS if client.name in {cell.client for cell in cells}),
            fronts=tuple(front for front in FRONTS if front.name in {cell.front for cell in cells}),
            scenarios=tuple(dict.fromkeys(cell.scenario for cell in cells)),
        )
        stage = Stage(choice, work, only=cells)
        asyncio.run(stage.play())
        results.replace(record, stage.outcomes, results.FOLDER)
    PAGE.write_text(pages.page_of(record), "utf-8")
    print(pages.summary_of(record), flush=True)
    return 1 if pages.problems_of(record) else 0


def main() -> int:
    """Play, write down, judge."""
    args = parse_args()
    if args.rewrite:
        PAGE.write_text(pages.page_of(results.read()), "utf-8")
        return 0
    began_at = time.monotonic()
    playing.drawn.warm((SIZE,))
    work = Path(tempfile.mkdtemp(prefix="holdfast-matrix-"))
    # A proxy that gives up its rights must still find its files.
    work.chmod(0o755)
    try:
        if args.again:
            return play_again(work)
        stage = Stage(choice_of(args), work)
        asyncio.run(stage.play())
    except FrontError as problem:
        print(f"The matrix cannot be played: {problem}", file=sys.stderr)
        return 2
    finally:
        shutil.rmtree(work, ignore_errors=True)
    record = results.record_of(
        stage.outcomes,
        versions=stage.versions,
        direct_charges=stage.direct_charges,
        machine=machine.describe(PROJECT),
        command=" ".join(["python lab/matrix/run.py", *sys.argv[1:]]),
        took_s=time.monotonic() - began_at,
    )
    folder = args.out if args.out is not None else results.FOLDER
    results.write(record, {outcome.cell: outcome.exchange for outcome in stage.outcomes}, folder)
    if args.page:
        PAGE.write_text(pages.page_of(record), "utf-8")
    print(pages.summary_of(record), flush=True)
    return 1 if pages.problems_of(record) else 0


if __name__ == "__main__":
    raise SystemExit(main())
