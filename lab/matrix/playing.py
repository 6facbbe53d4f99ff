"""Playing the cells of one front: each call over a wire of its own, judged by what was shown and by the books."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import exchanges
from cells import ASK_AGAIN_S, CLIENTS, CUT_AFTER_BYTES, CUT_AFTER_S, SIZE, Cell, Scenario
from driving import Driver
from fronts import Front, Standing
from house import HOST, UPSTREAM_MODEL, Gateway, Upstream, books_of
from judging import Books, Picture, Shown, Verdict, judge, shown_of
from reasons import reason_of
from tap import Tap

sys.path.append(str(Path(__file__).resolve().parent.parent / "survival"))

import drawn

AT_ONCE = 32
AGAIN_AT_ONCE = 4
GOES_MAX = 3
"""How often a cell is played while it is red and nothing explains that. A machine that does something else for a while
makes an idle limit fire by itself; what stays red is none of the machine's doing. How often: in the results."""
CALL_S_MAX = 120.0
DIRECT_MODEL = "gpt-image-2"
BY_NAME = {client.name: client for client in CLIENTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a cell."""

    cell: Cell
    shown: Shown
    books: Books
    verdict: Verdict
    took_s: float
    calls: int
    """That the program made; what a client repeats by itself is none of them."""
    connections: int
    exchange: str
    before: tuple[str, ...] = ()
    """How it had ended when it was played before."""

    @property
    def is_puzzling(self) -> bool:
        """Whether it is red, and nothing explains that."""
        return not self.verdict.is_green and reason_of(self.cell, self.shown, self.verdict) is None


def is_right(picture: bytes) -> bool:
    """Compare a picture with what the upstream made."""
    return drawn.serial_of(picture, SIZE) is not None


class Play:
    """The cells of one front."""

    def __init__(self, front: Front, standing: Standing, drivers: Mapping[str, Driver], work: Path) -> None:
        self._front = front
        self._standing = standing
        self._drivers = drivers
        self._work = work

    async def held(
        self, cells: list[Cell], models: Mapping[str, str], gateway: Gateway, upstream: Upstream
    ) -> list[Outcome]:
        """Play them through holdfast, side by side; those that are red without a reason again, fewer at a time."""
        room = asyncio.Semaphore(AT_ONCE)

        async def one(cell: Cell) -> Outcome:
            async with room:
                played = await self._played(cell, models[replace(cell, go=1).id], gateway.key)
                books = await asyncio.to_thread(_books, cell, gateway, upstream)
            return replace(played, books=books, verdict=_judged(cell, played.shown, books))

        outcomes = list(await asyncio.gather(*map(one, cells)))
        room = asyncio.Semaphore(AGAIN_AT_ONCE)
        for _ in range(GOES_MAX - 1):
            puzzling = [n for n, outcome in enumerate(outcomes) if outcome.is_puzzling]
            again = await asyncio.gather(
                *(one(replace(outcomes[n].cell, go=outcomes[n].cell.go + 1)) for n in puzzling)
            )
            for n, outcome in zip(puzzling, again, strict=True):
                outcomes[n] = replace(outcome, before=(*outcomes[n].before, outcomes[n].verdict.told))
        return outcomes

    async def direct(self, cells: list[Cell]) -> list[Outcome]:
        """Play them to the upstream itself, which knows nobody: what it charges is counted for all of them together."""
        room = asyncio.Semaphore(AT_ONCE)

        async def one(cell: Cell) -> Outcome:
            model = UPSTREAM_MODEL if BY_NAME[cell.client].is_gemini else DIRECT_MODEL
            async with room:
                return await self._played(cell, model, "sk-direct")

        return list(await asyncio.gather(*map(one, cells)))

    async def _played(self, cell: Cell, model: str, key: str) -> Outcome:
        tap = Tap(
            self._standing.port,
            cut_after_s=CUT_AFTER_S if cell.scenario is Scenario.REPEAT else None,
            cut_after_bytes=CUT_AFTER_BYTES if cell.scenario is Scenario.CUT else None,
        )
        port = await tap.start()
        job = {
            "client": cell.client,
            "front": f"{'https' if self._front.is_tls else 'http'}://{HOST}:{port}",
            "key": key,
            "model": model,
            "prompt": cell.prompt,
        }
        began_at = time.monotonic()
        try:
            calls, shown = 1, await self._called(job, f"{cell.id}1")
            if cell.scenario is Scenario.REPEAT and shown.picture is Picture.NONE:
                await asyncio.sleep(ASK_AGAIN_S)
                calls, shown = 2, await self._called(job, f"{cell.id}2")
            took_s = time.monotonic() - began_at
        finally:
            await tap.close()
        nothing = Books(requests=0, purchases=0)
        is_green = shown.picture is Picture.RIGHT
        return Outcome(
            cell=cell,
            shown=shown,
            books=nothing,
            verdict=Verdict(is_green=is_green, told=shown.told, wrong=() if is_green else ("no image",)),
            took_s=took_s,
            calls=calls,
            connections=len(tap.records),
            exchange=exchanges.of_cell(tap.records),
        )

    async def _called(self, job: dict[str, Any], id_: str) -> Shown:
        body_file = self._work / id_.replace(":", "_")
        driver = self._drivers[BY_NAME[job["client"]].driver]
        try:
            result = await asyncio.wait_for(driver.ask(job | {"id": id_, "body_file": str(body_file)}), CALL_S_MAX)
        except TimeoutError:
            return Shown(exception="nothing", message=f"waiting after {CALL_S_MAX:g} s still")
        body = body_file.read_text("utf-8") if body_file.exists() else ""
        body_file.unlink(missing_ok=True)
        return await asyncio.to_thread(shown_of, result, body, is_right)


def _books(cell: Cell, gateway: Gateway, upstream: Upstream) -> Books:
    ids = gateway.generations(cell.id)
    records = [gateway.ended(id_) for id_ in ids]
    is_kept = any(is_right(gateway.picture(record)) for record in records) if cell.scenario is Scenario.CUT else False
    return books_of(upstream.charges(), ids, is_kept=is_kept)


def _judged(cell: Cell, shown: Shown, books: Books) -> Verdict:
    return judge(cell.scenario, BY_NAME[cell.client].told, shown, books)
