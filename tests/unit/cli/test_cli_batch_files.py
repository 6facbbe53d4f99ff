"""A batch's journal is on disk before anything follows from it, one process's own, and nothing half-written counts."""

from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest

from holdfast.batch.journal import AskedOf, Began, Done, spell
from holdfast.cli import batch_files
from holdfast.cli.batch_files import Folder, JournalFile, journal_path, read_prompts, see_that_it_began
from holdfast.cli.exits import Exit, Stop
from holdfast.cli.files import Received
from holdfast.errors import RequestError
from holdfast.types import ImageInfo

HEAD = Began(id="bat_1", base_url="http://x/v1")
ASKED = AskedOf(line=1, key="bat_1.1.1.ab", fingerprint="ab")


def received(path: Path, data: bytes = b"picture", mime: str = "image/png") -> Received:
    """Have an image under a temporary name."""
    path.write_bytes(data)
    info = ImageInfo(mime=mime, width_px=1, height_px=1, bytes=len(data), sha256="0" * 64)
    return Received(index=0, path=path, info=info, is_complete=True)


def test_a_journal_goes_on_where_it_ended(tmp_path: Path) -> None:
    """What one process wrote, the next one reads."""
    path = tmp_path / "p.txt.journal"
    with JournalFile(path) as journal:
        assert journal.told.head is None
        journal.write(HEAD)
        journal.write(ASKED)
    with JournalFile(path) as journal:
        assert journal.told.head == HEAD
        journal.write(Done(line=1, key=ASKED.key, files=("1.png",)))
    assert len(path.read_bytes().splitlines()) == 3


def test_half_a_line_is_cut_off_before_the_next(tmp_path: Path) -> None:
    """A process killed while writing leaves it; what follows must not be glued to it."""
    path = tmp_path / "j"
    path.write_bytes(spell(HEAD) + spell(ASKED)[:20])
    with JournalFile(path) as journal:
        assert journal.told.entries == {}
        journal.write(ASKED)
    assert path.read_bytes() == spell(HEAD) + spell(ASKED)


def test_a_journal_has_one_process(tmp_path: Path) -> None:
    """Two would pay for the same lines."""
    with JournalFile(tmp_path / "j") as journal:
        journal.write(HEAD)
        with pytest.raises(Stop, match="Another holdfast is at work") as caught:
            JournalFile(tmp_path / "j")
        assert caught.value.code is Exit.FOLDER_LOCKED
    with JournalFile(tmp_path / "j") as again:
        assert again.told.head == HEAD


def test_a_batch_that_did_not_begin_leaves_nothing(tmp_path: Path) -> None:
    """A mistake on the command line is found after the journal was opened."""
    with JournalFile(tmp_path / "j"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_going_on_needs_something_to_go_on_with(tmp_path: Path) -> None:
    """And makes no journal."""
    with pytest.raises(Stop, match="There is no batch to go on with") as caught:
        see_that_it_began(tmp_path / "j")
    assert caught.value.code is Exit.USAGE
    assert list(tmp_path.iterdir()) == []
    with JournalFile(tmp_path / "j") as journal:
        journal.write(HEAD)
    see_that_it_began(tmp_path / "j")


def test_what_is_no_journal_is_left_as_it_is(tmp_path: Path) -> None:
    """It is somebody's file."""
    path = tmp_path / "j"
    path.write_bytes(b"my notes\n")
    with pytest.raises(RequestError):
        JournalFile(path)
    assert path.read_bytes() == b"my notes\n"


def test_a_very_long_line_without_end_is_damage(tmp_path: Path) -> None:
    """It is not taken for the half line of a crash and cut away with all that follows."""
    path = tmp_path / "j"
    data = spell(HEAD) + b"x" * 100_000 + b"\n" + spell(ASKED)
    path.write_bytes(data)
    with pytest.raises(RequestError, match="line 2"):
        JournalFile(path)
    assert path.read_bytes() == data


def test_a_record_that_does_not_reach_the_disk_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller is told, sends nothing, and the next record stands on a line of its own."""
    real = os.fsync

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with JournalFile(tmp_path / "j") as journal:
        journal.write(HEAD)
        monkeypatch.setattr(batch_files.os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            journal.write(ASKED)
        monkeypatch.setattr(batch_files.os, "fsync", real)
        journal.write(ASKED)
    assert (tmp_path / "j").read_bytes() == spell(HEAD) + spell(ASKED)


def test_a_journal_is_named_after_its_prompts() -> None:
    """Two files may share a folder; a pipe has a name too."""
    assert journal_path(Path("out"), "a/cats.txt") == Path("out/cats.txt.journal")
    assert journal_path(Path("out"), "-") == Path("out/stdin.journal")


def test_an_image_is_named_by_what_it_is(tmp_path: Path) -> None:
    """Its own bytes say its type; an older one of the same line gives way."""
    folder = Folder(tmp_path, tmp_path / "p.journal")
    folder.prepare()
    (tmp_path / "1.jpg").write_bytes(b"older")
    name = folder.keep(received(folder.parts / "a.part", mime="image/jpeg"), "1")
    assert name == "1.jpg"
    assert (tmp_path / "1.jpg").read_bytes() == b"picture"
    assert (tmp_path / "1.jpg").stat().st_mode & 0o400
    assert folder.has("1.jpg")
    assert not folder.has("2.jpg")


def test_parts_of_a_dead_run_are_cleared_away(tmp_path: Path) -> None:
    """They are not whole, and what they were part of is asked for again."""
    folder = Folder(tmp_path, tmp_path / "p.journal")
    folder.prepare()
    (folder.parts / "half").write_bytes(b"x")
    folder.prepare()
    assert list(folder.parts.iterdir()) == []
    folder.close()
    assert folder.names() == []
    assert list(tmp_path.iterdir()) == []


def test_prompts_come_from_a_file_or_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` is standard input."""
    (tmp_path / "p.txt").write_text("a cat\n", "utf-8")
    assert read_prompts(str(tmp_path / "p.txt")) == "a cat\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("a Bär\n".encode()), "ascii"))
    assert read_prompts("-") == "a Bär\n"
