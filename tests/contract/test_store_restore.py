"""A restore makes a whole folder or none, and takes nothing in a backup on trust."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import StorageError
from holdfast.store import backup_files, restore
from holdfast.store.audit import audit
from holdfast.store.generations import left_open
from holdfast.store.lock import RESTORING, DataFolder, Paths
from holdfast.store.manifest import MANIFEST
from holdfast.store.queries import migrations
from holdfast.store.reading import snapshot
from holdfast.store.restore import FromFolder, FromTar, settle_in, staging, take_in
from holdfast.store.restored import brought_up, put_right
from holdfast.store.sqlite import SqliteStore

from .backups import MADE, MOMENT, House, OneWay, a_folder, an_archive, key_of, picture, restored


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A gateway's folder, in use."""
    made = House(tmp_path / "data")
    yield made
    made.close()


def die_at(count: int) -> None:
    """End this process at its so-and-so-many-th look for progress or rename, without a word."""
    left = count

    def tick(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os._exit(9)

    def ticking(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            tick()
            done = real(*args, **kwargs)
            tick()
            return done

        return call

    for module, name in ((Path, "rename"), (Path, "rmdir"), (Path, "mkdir"), (restore, "fsync_folder")):
        setattr(module, name, ticking(getattr(module, name)))
    SqliteStore.write_sync = ticking(SqliteStore.write_sync)  # type: ignore[method-assign]
    restore.pour = ticking(restore.pour)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_restore_that_is_killed_anywhere_leaves_nothing_or_all(house: House, tmp_path: Path) -> None:
    """Killed at each step: no gateway takes what is there, and the same command makes a whole folder of it."""
    a_folder(house, tmp_path)
    root, seen = tmp_path / "new", set()
    # Every fifth step: others write a step or two on either side of them.
    for count in range(1, 1000, 5):
        child = os.fork()
        if child == 0:
            die_at(count)
            restored(FromFolder(tmp_path / "bak"), root)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, 9)
        is_whole = (root / "holdfast.sqlite3").exists() and not (root / RESTORING).exists()
        seen.add((code, is_whole))
        if not is_whole:
            if (root / RESTORING).exists():
                with pytest.raises(StorageError, match="holdfast restore"):
                    DataFolder(root)
            restored(FromFolder(tmp_path / "bak"), root)
        with closing(DataFolder(root)), snapshot(root) as conn:
            assert not audit(conn).problems
            assert left_open(conn) == ((), ())
        assert all((root / key_of(name)).read_bytes() == picture(name) for name in MADE)
        for path in sorted(root.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        if code == 0:
            break
    assert seen == {(9, False), (9, True), (0, True)}


def test_a_restore_that_fails_leaves_nothing(house: House, tmp_path: Path) -> None:
    """Whatever the reason, the folder is as empty as it was."""
    a_folder(house, tmp_path)
    (tmp_path / "bak" / "secret").write_bytes(bytes(32))
    with pytest.raises(StorageError, match="secret is missing or damaged"):
        restored(FromFolder(tmp_path / "bak"), tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["lock"]


# What is refused


def test_a_folder_that_is_not_empty_is_refused(house: House, tmp_path: Path) -> None:
    """What is in it may be somebody's images; one that is in use is told as such."""
    source = a_folder(house, tmp_path)
    with pytest.raises(StorageError, match="in use"):
        restored(source, house.root)
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").touch()
    with pytest.raises(StorageError, match=r"not empty \(mine\)"):
        restored(source, tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine", "lock"] or (tmp_path / "new/mine").exists()


def test_a_damaged_image_is_found_and_can_be_left_behind(house: House, tmp_path: Path) -> None:
    """Every byte is held against the manifest; where it is wanted, the rest is restored."""
    a_folder(house, tmp_path, links=False)
    (tmp_path / "bak" / key_of("A")).write_bytes(b"x" * len(picture("A")))
    (tmp_path / "bak" / key_of("B")).unlink()
    with staging(tmp_path / "new") as place:
        taken = take_in(FromFolder(tmp_path / "bak"), place, keeps_images=False, tell=lambda _: None)
        assert (taken.damaged, taken.named) == (2, [key_of("A"), key_of("B")])
        assert not (place / "blobs").exists()
        settle_in_nothing(place)
    done = restored(FromFolder(tmp_path / "bak"), tmp_path / "new", salvage=True)
    assert done.images_lost == 2
    assert not (tmp_path / "new" / key_of("A")).exists()


def settle_in_nothing(place: Path) -> None:
    """Only look: leave the place as a look leaves it."""
    for path in place.iterdir():
        path.unlink()
    place.rmdir()


def test_a_damaged_database_is_found(house: House, tmp_path: Path) -> None:
    """It is held against its sum as images are, and nothing is restored without it."""
    a_folder(house, tmp_path)
    with (tmp_path / "bak" / "holdfast.sqlite3").open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff" * 10)
    with pytest.raises(StorageError, match=r"holdfast\.sqlite3 is missing or damaged"):
        restored(FromFolder(tmp_path / "bak"), tmp_path / "new")


def test_a_newer_schema_is_refused_before_anything_is_read(house: House, tmp_path: Path) -> None:
    """By its head, with the version that can."""
    a_folder(house, tmp_path)
    manifest = tmp_path / "bak" / MANIFEST
    head, _, rest = manifest.read_text().partition("\n")
    told = json.loads(head)
    assert told["schema"] == len(migrations())
    manifest.write_text(f"{json.dumps({**told, 'schema': 999, 'holdfast': '9.9'})}\n{rest}")
    with pytest.raises(StorageError, match=r"holdfast 9\.9, with schema 999") as refused:
        FromFolder(tmp_path / "bak").head()
    assert refused.value.reason == "newer_schema"


def test_an_older_schema_is_brought_up(tmp_path: Path) -> None:
    """A backup outlives versions: it is migrated as its folder would have been."""
    steps = migrations()[:12]
    with staging(tmp_path / "new") as place:
        (place / "secret").write_bytes(bytes(32))
        with closing(sqlite3.connect(Paths(root=place).database)) as conn:
            for step in steps:
                conn.executescript(step)
            conn.execute(f"PRAGMA user_version = {len(steps)}")
        with brought_up(place) as conn:
            assert conn.execute("PRAGMA user_version").fetchone()[0] == len(migrations())
        with closing(SqliteStore(Paths(root=place).database, "new")) as store:
            put_right(store, place, MOMENT, backup_id="bak_1", is_only_one=False)
        settle_in(tmp_path / "new")
    with snapshot(tmp_path / "new") as conn:
        assert not audit(conn).problems


BAD_NAMES = ("../evil", "/evil", "blobs/../../evil", "holdfast.toml", "blobs/2026/01/17/evil.png", "spool/x.done")


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leads_elsewhere_is_refused(house: House, tmp_path: Path, name: str) -> None:
    """Nothing is written outside of the folder, whoever made the archive."""
    an_archive(house, tmp_path)
    data = io.BytesIO((tmp_path / "bak.tar").read_bytes())
    made = io.BytesIO()
    with tarfile.open(fileobj=data) as old, tarfile.open(fileobj=made, mode="w") as new:
        for position, info in enumerate(old.getmembers()):
            if position == 1:
                evil = tarfile.TarInfo(name)
                evil.size = 1
                new.addfile(evil, io.BytesIO(b"x"))
            new.addfile(info, old.extractfile(info))
    with pytest.raises(StorageError, match="no data folder holds"):
        restored(FromTar(io.BytesIO(made.getvalue())), tmp_path / "new")
    assert not (tmp_path / "evil").exists()


def test_a_link_in_an_archive_is_refused(house: House, tmp_path: Path) -> None:
    """It would make the gateway serve a file of the machine as an image."""
    an_archive(house, tmp_path)
    made = io.BytesIO()
    with tarfile.open(tmp_path / "bak.tar") as old, tarfile.open(fileobj=made, mode="w") as new:
        for info in old.getmembers():
            if info.name == key_of("B"):
                info = replace_link(info)
                new.addfile(info)
            else:
                new.addfile(info, old.extractfile(info))
    with pytest.raises(StorageError, match="is no file"):
        restored(FromTar(io.BytesIO(made.getvalue())), tmp_path / "new")


def replace_link(info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Make a symbolic link of a member."""
    link = tarfile.TarInfo(info.name)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return link


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_an_archive_that_breaks_off_is_refused(house: House, tmp_path: Path, share: float) -> None:
    """A pipe whose other end died brings no half of a gateway."""
    an_archive(house, tmp_path)
    whole = (tmp_path / "bak.tar").read_bytes()
    content = whole.rstrip(b"\0")
    with pytest.raises(StorageError, match=r"archive|manifest"):
        restored(FromTar(OneWay(content[: int(len(content) * share)])), tmp_path / "new")


def test_what_is_no_archive_is_refused() -> None:
    """With a word for it."""
    with pytest.raises(StorageError, match="no archive"):
        FromTar(io.BytesIO(b"not a tar at all" * 100))


def test_any_tar_reads_it(house: House, tmp_path: Path) -> None:
    """An operator can look into it without us; the manifest says what is in it."""
    an_archive(house, tmp_path)
    with tarfile.open(tmp_path / "bak.tar") as tar:
        names = tar.getnames()
        manifest = tar.extractfile(MANIFEST)
        assert manifest is not None
        lines = [json.loads(line) for line in manifest]
    assert names[0] == backup_files.HEAD
    assert names[-1] == MANIFEST
    assert [line["name"] for line in lines if line["line"] == "file"] == names[1:-1]
    assert lines[-1] == {
        "line": "end",
        "files": len(names) - 2,
        "bytes": sum(line["bytes"] for line in lines if line["line"] == "file"),
    }
