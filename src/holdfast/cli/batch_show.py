"""Shows a batch while it runs: a bar that is redrawn on a terminal, plain lines elsewhere, JSON lines for a program."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from holdfast.cli.batch_run import Finished
from holdfast.cli.batch_telling import Standing, Trouble, standing_drawn, standing_told, what_to_do
from holdfast.cli.making import row, told
from holdfast.cli.progress import CLEAR_LINE, PLAIN_LINE_S, REDRAW_S


class BatchShow:
    """Writes results to `out` as they come, and how it goes to `err` meanwhile."""

    def __init__(
        self, out: TextIO, err: TextIO, *, folder: Path, as_json: bool, standing: Callable[[], Standing] | None = None
    ) -> None:
        """Show nothing yet.

        Args:
            out: Results: a line each.
            err: Progress; a terminal gets a bar.
            folder: Of the files.
            as_json: Results are objects, and there is no progress.
            standing: Asked how it stands.
        """
        self._out = out
        self._err = err
        self._folder = folder
        self._as_json = as_json
        self.standing = standing
        self._draws = err.isatty() and not as_json
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if not self._as_json:
            self._task = asyncio.create_task(self._show(), name="batch-show")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._clear()

    def heard(self, end: Finished | Trouble) -> None:
        """Tell how a line ended."""
        self._clear()
        print(self._object(end) if self._as_json else self._line(end), file=self._out, flush=True)

    async def _show(self) -> None:
        assert self.standing is not None
        while True:
            if self._draws:
                self._err.write(CLEAR_LINE + standing_drawn(self.standing(), shutil.get_terminal_size().columns))
                self._err.flush()
                await asyncio.sleep(REDRAW_S)
            else:
                await asyncio.sleep(PLAIN_LINE_S)
                print(standing_told(self.standing()), file=self._err, flush=True)

    def _clear(self) -> None:
        if self._draws:
            self._err.write(CLEAR_LINE)
            self._err.flush()

    def _line(self, end: Finished | Trouble) -> str:
        match end:
            case Finished():
                pairs = zip(end.files, end.images, strict=True)
                files = ", ".join(f"{self._folder / name}  {told(image)}" for name, image in pairs)
                fewer = f"; {len(end.files)} of {end.wanted} images came" if len(end.files) < end.wanted else ""
                return f"line {end.line}: {files}, {end.elapsed_s:.1f} s{fewer}"
            case Trouble():
                return f"line {end.line}: no image ({end.code.name.lower()})"

    def _object(self, end: Finished | Trouble) -> str:
        match end:
            case Finished():
                pairs = zip(end.files, end.images, strict=True)
                images = [row(self._folder / name, image) for name, image in pairs]
                ended: dict[str, object] = {"elapsed_s": round(end.elapsed_s, 3), "images": images}
            case Trouble():
                error = {"code": end.code.name.lower(), "exit": end.code.value, "message": end.message}
                ended = {"error": {**error, "paid": end.paid, "open": end.is_open, "what_to_do": what_to_do(end)}}
        return json.dumps({"line": end.line, "generation_id": end.generation_id, **ended})
