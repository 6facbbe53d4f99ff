"""`holdfast backup` and `holdfast restore`: what they take, what they say, and how they end for scripts."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import backup
from holdfast.cli.exits import Exit
from holdfast.cli.main import main
from holdfast.store.backup import Progress
from holdfast.store.generations import accept
from holdfast.store.lock import RESTORING, DataFolder
from holdfast.store.reading import snapshot
from holdfast.store.records import NewGeneration
from holdfast.store.sqlite import SqliteStore

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with one generation that waits."""
    root = tmp_path / "data"
    new = NewGeneration(
        id="gen_1",
        key_id="key_1",
        surface="openai",
        model="m",
        tier="1K",
        size="1x1",
        n=1,
        parts=1,
        request=b"{}",
        deadline_at="later",
        hard_deadline=False,
        created_at="2026-01-17T12:00:00.000Z",
        currency="USD",
        unit_micros=7,
        held_micros=7,
        list_micros=7,
    )
    with DataFolder(root) as folder, closing(SqliteStore(folder.paths.database, "me")) as store:
        store.write_sync(accept, new)
    return root


@pytest.fixture
def nices() -> list[int]:
    """How far a command has stepped back."""
    return []


@pytest.fixture
def run(
    nices: list[int], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run a command line in a folder of its own; give how it ended and what it wrote."""
    monkeypatch.chdir(tmp_path)
    # It would be this process that lets others first, to its end.
    monkeypatch.setattr(backup.os, "nice", nices.append)
    for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
        monkeypatch.delenv(name)

    def run(*words: str, on: Path | None = None) -> tuple[int, str, str]:
        code = main([*words, "--data", str(on or data)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_there_and_back(run: Run, tmp_path: Path, nices: list[int]) -> None:
    """One line says what was taken, a few say what is there now and what became of what was open."""
    code, out, err = run("backup", "bak")
    assert (code, err) == (Exit.OK, "")
    assert nices == [backup.NICE]
    assert out.startswith("bak_")
    assert "in bak: 0 images (0 of them shared)" in out
    assert oct((tmp_path / "bak").stat().st_mode & 0o777) == "0o700"
    code, out, err = run("restore", "bak", "--check")
    assert (code, err) == (Exit.OK, "")
    assert out.endswith(": whole.\n")
    assert not (tmp_path / "new").exists()
    code, out, err = run("restore", "bak", on=tmp_path / "new")
    assert (code, err) == (Exit.OK, "")
    assert f"{tmp_path / 'new'} is restored from bak_" in out
    assert "Ended as unknown, since they were open or in flight when the backup was made: 1 generations." in out
    with snapshot(tmp_path / "new") as conn:
        assert conn.execute("SELECT state FROM generation").fetchone()[0] == "failed"


def test_a_script_reads_json(run: Run, tmp_path: Path) -> None:
    """Counts and names, the same on both ways."""
    _, out, _ = run("backup", "bak", "--without-images", "--json")
    made = json.loads(out)
    assert {name: made[name] for name in ("with_images", "files", "images", "faulty", "faulty_files")} == {
        "with_images": False,
        "files": 2,
        "images": 0,
        "faulty": 0,
        "faulty_files": [],
    }
    _, out, _ = run("restore", "bak", "--json", "--original-is-gone", on=tmp_path / "new")
    told = json.loads(out)
    assert (told["backup_id"], told["ended"], told["images_lost"], told["problems"]) == (made["backup_id"], 0, 0, [])
    _, out, _ = run("restore", "bak", "--json", "--check")
    assert json.loads(out)["is_whole"]


def test_an_archive_goes_into_a_file_and_down_a_pipe(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The words go to standard error where the archive goes to standard output."""
    code, out, _ = run("backup", "bak.tar")
    assert (code, out.partition(" ")[2][:10]) == (Exit.OK, "in bak.tar")
    assert oct((tmp_path / "bak.tar").stat().st_mode & 0o777) == "0o600"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bak.tar", "data"]

    class Pipe(io.TextIOWrapper):
        def isatty(self) -> bool:
            return False

    piped = Pipe(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", piped)
    code, _, err = run("backup", "-")
    assert code == Exit.OK
    assert "in -: 0 images" in err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", Pipe(io.BytesIO(piped.buffer.getvalue())))  # type: ignore[attr-defined]
    assert run("restore", "-", on=tmp_path / "new")[0] == Exit.OK
    assert run("restore", "bak.tar", on=tmp_path / "newer")[0] == Exit.OK


def test_an_image_that_is_missing_ends_with_a_code_of_its_own(run: Run, data: Path) -> None:
    """A backup that runs by night must be heard when the disk has begun to lose things; the rest of it is whole."""
    _with_image(data)
    code, out, _ = run("backup", "bak")
    assert code == Exit.PARTLY_FAILED
    assert "missing or damaged in the data folder: 1 images" in out
    code, out, err = run("restore", "bak", on=data.parent / "new")
    assert (code, err) == (Exit.OK, "")
    assert "Deleted, since they are not in the backup: 1 images." in out


def _with_image(data: Path) -> None:
    """A row of an image whose file is not there."""
    with DataFolder(data) as folder, closing(SqliteStore(folder.paths.database, "me")) as store:
        store.write_sync(
            lambda conn: conn.execute(
                "INSERT INTO attempt (id, generation_id, part, drive, number, epoch, upstream, provider, model,"
                " idempotency_key, state, sent_at, estimated_micros)"
                " VALUES ('att_1', 'gen_1', 0, 0, 1, 1, 'u', 'gemini', 'm', '', 'rejected', '', 0)"
            )
        )
        store.write_sync(
            lambda conn: conn.execute(
                "INSERT INTO blob (id, generation_id, attempt_id, part, position, kind, store_key, sha256, bytes, mime,"
                " width_px, height_px) VALUES ('img_1', 'gen_1', 'att_1', 0, 0, 'draft',"
                " 'blobs/2026/01/17/att_01J00000000000000000000000-0.png', 'ab', 3, 'image/png', 1, 1)"
            )
        )


def test_damage_is_refused_and_can_be_left_behind(run: Run, data: Path, tmp_path: Path) -> None:
    """Nothing is restored of what is not whole, unless that is asked for."""
    assert run("backup", "bak")[0] == Exit.OK
    lines = (tmp_path / "bak" / "manifest.jsonl").read_text().splitlines()
    gone = {
        "line": "file",
        "name": "blobs/2026/01/17/att_01J00000000000000000000000-0.png",
        "bytes": 3,
        "sha256": "ab",
    }
    end = json.loads(lines[-1])
    lines[-1:] = [json.dumps(gone), json.dumps({**end, "files": end["files"] + 1, "bytes": end["bytes"] + 3})]
    (tmp_path / "bak" / "manifest.jsonl").write_text("\n".join(lines) + "\n")
    code, out, _ = run("restore", "bak", "--check")
    assert code == Exit.GENERATION_FAILED
    assert "damaged" in out
    code, _, err = run("restore", "bak", on=tmp_path / "new")
    assert code == Exit.GENERATION_FAILED
    assert "nothing was restored" in err
    assert "--salvage" in err
    assert not (tmp_path / "new" / "secret").exists()
    assert run("restore", "bak", "--salvage", on=tmp_path / "new")[0] == Exit.OK


def test_books_that_do_not_hold_are_found(run: Run, data: Path, tmp_path: Path) -> None:
    """They are checked as `holdfast ledger check` does, before anybody trusts them."""
    with DataFolder(data) as folder, closing(SqliteStore(folder.paths.database, "me")) as store:
        store.write_sync(lambda conn: conn.execute("UPDATE account SET balance = balance + 1 WHERE id = 'held'"))
    assert run("backup", "bak")[0] == Exit.OK
    code, _, err = run("restore", "bak", on=tmp_path / "new")
    assert code == Exit.GENERATION_FAILED
    assert "the balance of held is not the sum of its lines" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("backup", "data"), "data exists"),
        (("backup", "b.tar", "--copy"), "An archive shares nothing"),
        (("backup", "b", "--previous", "nowhere"), "nowhere is no backup"),
        (("restore", "nowhere"), "No such file"),
        (("restore", "data"), "data is no backup, or was not finished"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(run: Run, words: tuple[str, ...], says: str) -> None:
    """With what to do about it, and nothing made."""
    code, _, err = run(*words)
    assert code != Exit.OK
    assert says in err
    assert err.count("\n") == 1


def test_a_folder_whose_restore_was_broken_off_is_not_served(run: Run, data: Path) -> None:
    """Every command that would use it says what to do."""
    (data / RESTORING).mkdir()
    code, _, err = run("keys", "list")
    assert code == Exit.FOLDER_LOCKED
    assert "run `holdfast restore` again" in err


def test_a_terminal_is_told_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Now and then; a log that nobody watches is not."""
    now = [0.0]
    tell: Any = backup.teller(backup.progress_told, lambda: now[0])
    steps = [Progress(files=0, of=0, bytes=4_000_000), Progress(files=3, of=9, bytes=60_000_000)]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for step in steps:
        tell(step)
        now[0] += backup.TELL_S
        tell(step)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    now[0] += 10
    tell(steps[0])
    assert capsys.readouterr().err.splitlines() == ["database: 4.0 MB", "images: 3 of 9, 60.0 MB copied"]


@pytest.mark.parametrize("address", ["postgresql://user:hidden@db.internal/holdfast", "env:DSN"])
def test_rows_that_are_elsewhere_are_not_taken_from_where_they_were(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """A folder that was moved still has its old database: a copy of that would be found out at the restore."""
    monkeypatch.setenv("DSN", "postgresql://user:hidden@db.internal/holdfast")
    monkeypatch.setenv("HOLDFAST_STORE__DATABASE", address)
    code, out, err = run("backup", "bak")
    assert (code, out) == (Exit.SETTINGS, "")
    assert "pg_dump" in err
    assert "hidden" not in err
    assert not (tmp_path / "bak").exists()
    monkeypatch.setenv("HOLDFAST_STORE__DATABASE", "sqlite")
    assert run("backup", "bak")[0] == Exit.OK


def test_images_that_are_elsewhere_are_not_told_as_missing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The books can be taken alone; the bucket is kept by whoever has it."""
    monkeypatch.setenv("HOLDFAST_STORE__BLOBS", "s3://images/holdfast")
    code, _, err = run("backup", "bak")
    assert code == Exit.SETTINGS
    assert "--without-images" in err
    assert "s3://images/holdfast" in err
    assert not (tmp_path / "bak").exists()
    assert run("backup", "bak", "--without-images")[0] == Exit.OK
