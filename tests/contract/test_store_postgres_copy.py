"""A data folder's rows in a PostgreSQL: all of them, proven, or none; and the command that does it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.exits import Exit
from holdfast.cli.main import main
from holdfast.errors import StorageError
from holdfast.policy.joining import Claim
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.audit import audit, lines_of
from holdfast.store.generations import accept, get_record
from holdfast.store.joining import Entering, enter
from holdfast.store.keys import insert_key
from holdfast.store.postgres import copying
from holdfast.store.postgres.copying import copy_folder
from holdfast.store.postgres.store import Options, PostgresStore
from holdfast.store.queries import steps
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration
from holdfast.store.sqlite import SqliteStore
from holdfast.types import ImageInfo

AT = "2026-01-17T12:00:00.000Z"
PRICE = 240_000
INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="0" * 64)
HOW_MANY = 40


def a_new(number: int) -> NewGeneration:
    """A generation, with words that are no ASCII."""
    return NewGeneration(
        id=f"gen_{number:03}",
        key_id="key_1",
        surface="openai",
        model="m",
        tier="1K",
        size="1x1",
        n=1,
        parts=1,
        request='{"prompt":"ein Bär"}'.encode(),
        deadline_at="2026-01-17T12:10:00.000Z",
        hard_deadline=False,
        created_at=AT,
        currency="USD",
        unit_micros=PRICE,
        held_micros=PRICE,
        list_micros=PRICE,
        metadata='{"note":"ü"}',
        inputs=("inputs/a",),
    )


def send(conn: Any, number: int) -> None:
    """Send it."""
    new = NewAttempt(
        id=f"att_{number:03}",
        generation_id=f"gen_{number:03}",
        part=0,
        drive=0,
        upstream="google",
        provider="gemini",
        model="m",
        idempotency_key="k",
        estimated_micros=PRICE,
        owner="me",
        sent_at=AT,
    )
    assert begin_attempt(conn, new) is not None


def end(conn: Any, number: int) -> None:
    """End it with an image."""
    id_ = f"att_{number:03}"
    blob = NewBlob(id=f"img_{number}", kind="result", position=0, store_key=f"blobs/{id_}-0", info=INFO)
    end_attempt(
        conn,
        AttemptEnd(attempt_id=id_, at=AT, purge_after="2026-01-24T12:00:00.000Z", blobs=(blob,), answer=b"\x00\xff"),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with a bit of everything: queued, in flight and ended."""
    with closing(SqliteStore(tmp_path / "holdfast.sqlite3", "me")) as store:
        store.write_sync(insert_key, "key_1", b"digest", "first", AT, is_admin=1)
        for number in range(HOW_MANY):
            store.write_sync(accept, a_new(number))
            if number % 3:
                store.write_sync(send, number)
            if number % 3 == 2:
                store.write_sync(end, number)
    return tmp_path


async def test_all_of_it_arrives_and_goes_on(folder: Path, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row, in steps; and what comes after it gets numbers of its own."""
    monkeypatch.setattr(copying, "BATCH_ROWS", 7)
    seen: list[tuple[str, int, int]] = []
    done = await copy_folder(folder, postgres_dsn, lambda *progress: seen.append(progress))
    assert (done.rows["generation"], done.rows["api_key"], done.problems) == (HOW_MANY, 1, 0)
    assert [each for each in seen if each[0] == "generation"] == [
        ("generation", min(rows, HOW_MANY), HOW_MANY) for rows in range(7, HOW_MANY + 7, 7)
    ]
    with closing(SqliteStore(folder / "holdfast.sqlite3", "me")) as before:
        store = PostgresStore(postgres_dsn, "own_1", Options(connections=2))
        for number in range(HOW_MANY):
            id_ = f"gen_{number:03}"
            assert await store.read(get_record, id_) == await before.read(get_record, id_)
            assert await store.read(lines_of, id_) == await before.read(lines_of, id_)
        assert await store.read(audit) == await before.read(audit)
    entering = Entering(new=a_new(999), claim=Claim(idempotency_key=None, by_fingerprint=False, says_retry=False))
    assert (await store.write(enter, entering)).generation_id == "gen_999"
    await store.write(end, 1)
    assert (await store.read(audit)).problems == ()
    store.close()
    with pytest.raises(StorageError, match="rows in") as refused:
        await copy_folder(folder, postgres_dsn, lambda *_: None)
    assert refused.value.reason == "not_empty"


async def test_what_does_not_arrive_whole_is_not_there(
    folder: Path, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that is lost on the way is found before the commit."""
    batches = copying._batches

    def lossy(cursor: sqlite3.Cursor) -> Any:
        for rows in batches(cursor):
            yield rows[:-1] if "account" in [each[0] for each in cursor.description] else rows

    monkeypatch.setattr(copying, "_batches", lossy)
    with pytest.raises(StorageError, match="were sent, and"):
        await copy_folder(folder, postgres_dsn, lambda *_: None)
    store = PostgresStore(postgres_dsn, "own_1", Options(connections=2))
    assert await store.read(get_record, "gen_000") is None
    store.close()


def test_tables_come_behind_those_they_refer_to(folder: Path) -> None:
    """Whoever names a generation comes after it."""
    with closing(sqlite3.connect(folder / "holdfast.sqlite3")) as source:
        order = list(copying.tables_in_order(source))
    assert order.index("generation") < order.index("attempt") < order.index("blob")
    assert order.index("ledger_txn") < order.index("ledger_entry")
    assert "meta" not in order


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`holdfast`, with settings that name a database in the environment."""
    config = tmp_path / "holdfast.toml"
    config.write_text('[store]\ndatabase = "env:DATABASE"\n')

    def run(*words: str, dsn: str = "sqlite") -> int:
        monkeypatch.setenv("DATABASE", dsn)
        return main(["--config", str(config), "--data", str(tmp_path), *words])

    return run


def test_the_command_copies(
    folder: Path, postgres_dsn: str, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """It tells each table, and that the ledger is the same; a second time it is refused."""
    assert command("migrate", "copy", "--from", str(folder), "--to", "env:DATABASE", dsn=postgres_dsn) == Exit.OK
    told = capsys.readouterr()
    assert f"generation: {HOW_MANY} of {HOW_MANY}" in told.err
    assert "the ledger is the same in both" in told.out
    assert command("migrate", "copy", "--from", str(folder), "--to", postgres_dsn) != Exit.OK
    assert "copy into an empty database" in capsys.readouterr().err
    assert command("migrate", "copy", "--from", str(folder / "none"), "--to", postgres_dsn) == Exit.FOLDER_LOCKED
    assert command("migrate", "copy", "--from", str(folder), "--to", "mysql://there") == Exit.SETTINGS
    assert command("migrate", "copy", "--from", str(folder), "--to", "sqlite") == Exit.USAGE
    assert command("migrate", "up", "--to", postgres_dsn) == Exit.USAGE


def test_the_schema_is_told_checked_and_brought_up(
    postgres_server: Any, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """The same on both engines: an empty one is behind, and then it is not."""
    for dsn in ("sqlite", postgres_server.make("unmade")):
        assert command("migrate", "check", "--json", dsn=dsn) == Exit.GENERATION_FAILED
        told = json.loads(capsys.readouterr().out)
        assert (told["version"], told["known"], len(told["pending"])) == (0, len(steps()), len(steps()))
        assert command("migrate", "status", dsn=dsn) == Exit.OK
        assert "pending  0001_begin: runs at the next start" in capsys.readouterr().out
        assert command("migrate", "up", dsn=dsn) == Exit.OK
        assert "done     0015_admin" in capsys.readouterr().out
        assert command("migrate", "up", dsn=dsn) == Exit.OK
        assert "Nothing was to be done." in capsys.readouterr().out
        assert command("migrate", "check", dsn=dsn) == Exit.OK
        capsys.readouterr()


def test_no_word_of_an_address_is_told(command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """A password stays where it is written."""
    assert command("migrate", "status", dsn="postgresql://user:tops3cret@127.0.0.1:1/holdfast") != Exit.OK
    told = capsys.readouterr()
    assert "could not be used" in told.err
    assert "tops3cret" not in told.err + told.out


def test_commands_look_where_the_settings_say(
    folder: Path, postgres_dsn: str, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """What they tell of the folder, they tell of the database that it was copied into."""
    assert command("migrate", "copy", "--from", str(folder), "--to", postgres_dsn) == Exit.OK
    for words in (
        ("ledger", "check", "--json"),
        ("ledger", "show", "gen_002", "--json"),
        ("explain", "gen_002", "--json"),
        ("usage", "--since", "2026-01-17", "--until", "2026-01-17", "--json"),
        ("prices", "list", "--json"),
    ):
        told = []
        for dsn in ("sqlite", postgres_dsn):
            capsys.readouterr()
            assert command(*words, dsn=dsn) == Exit.OK, words
            told.append(capsys.readouterr().out)
        assert told[0] == told[1] != "", words


def test_keys_are_looked_after_where_the_settings_say(
    folder: Path, postgres_dsn: str, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """No file of rows is written beside the database; and another gateway's being there is no obstacle."""
    (folder / "holdfast.sqlite3").unlink()
    owner = PostgresStore(postgres_dsn, "own_1", Options(connections=2))
    assert command("keys", "create", "first", dsn=postgres_dsn) == Exit.OK
    assert command("keys", "list", "--json", dsn=postgres_dsn) == Exit.OK
    assert '"first"' in capsys.readouterr().out
    # Without those settings, nobody takes the folder for one that has no rows yet.
    assert command("keys", "list") == Exit.USAGE
    assert not (folder / "holdfast.sqlite3").exists()
    owner.close()


def test_who_only_looks_needs_the_tables(
    folder: Path, postgres_server: Any, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """And makes none."""
    dsn = postgres_server.make("unlooked")
    assert command("ledger", "check", dsn=dsn) == Exit.FOLDER_LOCKED
    assert "Start `holdfast serve` on it once" in capsys.readouterr().err
    assert command("migrate", "check", dsn=dsn) == Exit.GENERATION_FAILED
    assert folder.exists()
