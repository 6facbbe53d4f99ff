"""A progress bar that is honest: the share of past generations of this size that had ended by this time.

It never reaches 100 % by itself, and it does not run evenly: an upstream says nothing while it draws, so nobody knows
more. On a terminal it is one line, redrawn; elsewhere a plain line now and then.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TextIO

from holdfast.policy.latency import Latency
from holdfast.types import Tier

REDRAW_S = 0.2
PLAIN_LINE_S = 15.0
"""Between two plain lines, for logs and for people who read them later."""
PLAIN_FIRST_S = 6.0
"""Before the first of them: what fails at once needs no progress, and the gateway has told its estimate by then."""
BAR_CELLS_MIN = 20
BAR_CELLS_MAX = 40
_EIGHTHS = " ▏▎▍▌▋▊▉"
CLEAR_LINE = "\r\x1b[2K"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What is known at one moment."""

    elapsed_s: float
    fraction: float
    """Of past generations that had ended by now, [0, 1)."""
    expected_s: float
    p95_s: float
    received_bytes: int
    """Of the image itself; more than 0 means that the waiting is over."""


def read(latency: Latency, elapsed_s: float, received_bytes: int) -> Reading:
    """Say what the distribution knows at this time."""
    return Reading(
        elapsed_s=elapsed_s,
        fraction=latency.fraction_done(elapsed_s),
        expected_s=latency.expected_s,
        p95_s=latency.p95_s,
        received_bytes=received_bytes,
    )


def bar(fraction: float, cells: int) -> str:
    """Draw a fraction as blocks, to an eighth of a cell; only a whole one is ever full."""
    assert 0.0 <= fraction <= 1.0
    eighths = int(fraction * cells * 8)
    whole, part = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[part] if part else "")).ljust(cells, "░")[:cells]


def sentences(reading: Reading) -> tuple[str, ...]:
    """Say in words where a generation stands, the fullest version first."""
    at = f"{reading.elapsed_s:.0f} s"
    if reading.received_bytes:
        return (f"{at}: receiving, {megabytes(reading.received_bytes)}",)
    percent = min(99, int(100 * reading.fraction))
    if reading.elapsed_s > reading.p95_s:
        slow = f"{at}: slower than {percent} of 100 such images"
        return f"{slow}; still waiting", slow
    expected, p95 = duration(reading.expected_s), duration(reading.p95_s)
    return (
        f"{at}: {percent} of 100 such images are done by now; half take {expected}, 95 of 100 at most {p95}",
        f"{at}: {percent} of 100 are done by now, half by {expected}",
        f"{at}, {percent} %",
    )


Told = Callable[[Reading], tuple[str, ...]]
"""Puts a reading into words, the fullest version first."""


def megabytes(count: int) -> str:
    """`19.4 MB`."""
    return f"{count / 1e6:.1f} MB"


def duration(seconds: float) -> str:
    """`15 s`, `2 min 5 s`."""
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min" + (f" {rest} s" if rest else "")


class Progress:
    """Shows how a generation goes on, from `async with` to its end."""

    def __init__(self, stream: TextIO | None, *, label: str, latency: Latency, told: Told = sentences) -> None:
        """Show nothing yet.

        Args:
            stream: Where to write; a terminal gets a bar. None: nobody looks.
            label: Stands before the bar: `4K`.
            latency: What is expected.
            told: The words beside the bar.
        """
        self._stream = stream
        self._label = label
        self.latency = latency
        """What is expected; whoever learns better changes it."""
        self._told = told
        self._is_terminal = stream is not None and stream.isatty()
        self._task: asyncio.Task[None] | None = None
        self._began_at = 0.0
        self.received_bytes = 0
        """Set by whoever receives the image."""

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return asyncio.get_running_loop().time() - self._began_at

    async def __aenter__(self) -> Progress:
        self._began_at = asyncio.get_running_loop().time()
        self._task = asyncio.create_task(self._show(), name="progress")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._is_terminal:
            self._write(CLEAR_LINE)

    async def _show(self) -> None:
        if not self._is_terminal:
            await asyncio.sleep(PLAIN_FIRST_S)
        while True:
            reading = read(self.latency, self.elapsed_s, self.received_bytes)
            if self._is_terminal:
                self._write(CLEAR_LINE + line(self._label, reading, shutil.get_terminal_size().columns, self._told))
                await asyncio.sleep(REDRAW_S)
            else:
                self._write(f"{self._label}  {self._told(reading)[0]}\n")
                await asyncio.sleep(PLAIN_LINE_S)

    def _write(self, text: str) -> None:
        if self._stream is not None:
            self._stream.write(text)
            self._stream.flush()


def line(label: str, reading: Reading, columns: int, told: Told = sentences) -> str:
    """Draw the line of a terminal this wide; it never wraps, and the bar goes before the words."""
    versions = told(reading)
    room = columns - len(label) - 5
    words = next((each for each in versions if len(each) + BAR_CELLS_MIN <= room), versions[-1])
    cells = min(BAR_CELLS_MAX, room - len(words))
    if cells < 1:
        return f"{label}  {words}"[: max(0, columns - 1)]
    return f"{label}  {bar(reading.fraction, cells)}  {words}"


def label_of(tier: Tier, ratio: str, n: int) -> str:
    """`4K 16:9`, `2 x 1K`."""
    size = f"{tier} {ratio}" if ratio != "1:1" else str(tier)
    return f"{n} x {size}" if n > 1 else size
