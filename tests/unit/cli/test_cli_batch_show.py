"""A batch is shown as what is looking can read: a bar, lines, or objects."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest

from holdfast.cli import batch_show
from holdfast.cli.batch_run import Finished
from holdfast.cli.batch_show import BatchShow
from holdfast.cli.batch_telling import Standing, Trouble
from holdfast.cli.exits import Exit
from holdfast.cli.files import Received
from holdfast.types import ImageInfo

STANDING = Standing(total=4, done=1, failed=0, running=2, elapsed_s=3.0, begun=0.5, ended_now=1)
INFO = ImageInfo(mime="image/png", width_px=64, height_px=48, bytes=1_500_000, sha256="ab")
FINISHED = Finished(
    line=3,
    files=("3.png",),
    images=(Received(index=0, path=Path("x"), info=INFO, is_complete=True),),
    wanted=2,
    elapsed_s=14.21,
    generation_id="gen_3",
)
TROUBLE = Trouble(line=4, code=Exit.REFUSED, message="Declined.", paid="yes", is_open=False, generation_id="gen_4")


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def shown(err: io.StringIO, *, as_json: bool = False) -> tuple[BatchShow, io.StringIO]:
    """Show into texts."""
    out = io.StringIO()
    return BatchShow(out, err, folder=Path("out"), as_json=as_json, standing=lambda: STANDING), out


def test_each_line_that_ends_is_a_line() -> None:
    """Where its files are, what they are, how long it took, and whether all came."""
    show, out = shown(io.StringIO())
    show.heard(FINISHED)
    show.heard(TROUBLE)
    assert out.getvalue().splitlines() == [
        "line 3: out/3.png  64x48 image/png, 1.5 MB, 14.2 s; 1 of 2 images came",
        "line 4: no image (refused)",
    ]


def test_a_program_gets_objects() -> None:
    """A line each, with everything."""
    show, out = shown(io.StringIO(), as_json=True)
    show.heard(FINISHED)
    show.heard(TROUBLE)
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["line"], first["generation_id"], first["images"][0]["path"]) == (3, "gen_3", "out/3.png")
    assert (second["error"]["code"], second["error"]["exit"], second["error"]["paid"]) == ("refused", 10, "yes")
    assert second["error"]["what_to_do"].startswith("Change this prompt")


async def test_a_terminal_gets_a_bar_that_gives_way_to_results() -> None:
    """It is redrawn in its line, and the line is cleared before anything else is written and in the end."""
    screen = Screen()
    show, out = shown(screen)
    async with show:
        await asyncio.sleep(0)
        assert "1 of 4 done, 2 being made" in screen.getvalue()
        show.heard(FINISHED)
    assert screen.getvalue().endswith("\r\x1b[2K")
    assert "\n" not in screen.getvalue()
    assert out.getvalue().startswith("line 3")


async def test_a_log_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without control characters, now and then."""
    monkeypatch.setattr(batch_show, "PLAIN_LINE_S", 0.0)
    log = io.StringIO()
    show, _ = shown(log)
    async with show:
        while not log.getvalue():
            await asyncio.sleep(0)
    assert log.getvalue().splitlines()[0] == "1 of 4 done, 2 being made; 3 s so far, about 5 s left"
    assert "\x1b" not in log.getvalue()


async def test_a_program_is_shown_no_progress() -> None:
    """Standard error is for errors then."""
    screen = Screen()
    show, _ = shown(screen, as_json=True)
    async with show:
        await asyncio.sleep(0)
    assert screen.getvalue() == ""
