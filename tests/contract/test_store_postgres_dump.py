"""What `docs/how-to/back-up.md` says of a database: a dump that is taken while it is used is whole when restored."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.audit import audit
from holdfast.store.generations import accept
from holdfast.store.postgres import dispatcher, hub
from holdfast.store.postgres.schema import standing_at
from holdfast.store.postgres.store import Options, PostgresStore, connect
from holdfast.store.queries import steps
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration
from holdfast.types import ImageInfo

AT = "2026-01-17T12:00:00.000Z"
INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="0" * 64)
PRICE = 240_000


def program(name: str) -> str:
    """Find one of PostgreSQL's clients."""
    # Debian keeps them out of the PATH.
    found = [shutil.which(name), *map(str, Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))]
    assert any(found), f"{name} is missing: install the package postgresql"
    return str(next(filter(None, found)))


def run(*words: str) -> None:
    """Run one of them to its end."""
    done = subprocess.run([program(words[0]), *words[1:]], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def live(store: Any, id_: str, *, ends: bool = True) -> None:
    """Accept one and send it; settle it unless it is to be in flight."""
    new = NewGeneration(
        id=id_,
        key_id="key_1",
        surface="openai",
        model="m",
        tier="1K",
        size="1x1",
        n=1,
        parts=1,
        request=b"{}",
        deadline_at="2026-01-17T12:10:00.000Z",
        hard_deadline=False,
        created_at=AT,
        currency="USD",
        unit_micros=PRICE,
        held_micros=PRICE,
        list_micros=PRICE,
    )
    assert store.write_sync(accept, new) is None
    attempt = NewAttempt(
        id=f"att_{id_}",
        generation_id=id_,
        part=0,
        drive=0,
        upstream="google",
        provider="gemini",
        model="m",
        idempotency_key=f"{id_}.0.0",
        estimated_micros=PRICE,
        owner="me",
        sent_at=AT,
    )
    assert store.write_sync(begin_attempt, attempt) is not None
    if ends:
        blob = NewBlob(id=f"img_{id_}", kind="result", position=0, store_key=id_, info=INFO)
        store.write_sync(end_attempt, AttemptEnd(attempt_id=attempt.id, at=AT, purge_after="z", blobs=(blob,)))


def rows(store: Any) -> dict[str, list[Any]]:
    """Every row of every table of ours."""
    asked = "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"

    def read(conn: Any) -> dict[str, list[Any]]:
        tables = [row["name"] for row in conn.execute(asked)]
        return {table: sorted(map(repr, map(tuple, conn.execute(f"SELECT * FROM {table}")))) for table in tables}

    return dict(store.write_sync(read))


def test_a_restored_dump_is_the_database_of_that_moment(postgres_server: Any, tmp_path: Path) -> None:
    """Row by row, with its version, its books and what is in flight; and it goes on from there."""
    options = Options(connections=2, wait_s=5.0, is_exclusive=False)
    dsn, copied = postgres_server.make("dumped"), postgres_server.make("restored")
    file = tmp_path / "rows.dump"
    with closing(PostgresStore(dsn, "me", options)) as store:
        asyncio.run(dispatcher.prepare(dsn))
        asyncio.run(hub.prepare(dsn))
        live(store, "gen_1")
        live(store, "gen_2", ends=False)
        expected = rows(store)
        run("pg_dump", "--format=custom", f"--file={file}", dsn)
    run("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={copied}", str(file))
    assert asyncio.run(standing_at(lambda: connect(copied))).version == len(steps())
    with closing(PostgresStore(copied, "other", options)) as again:
        assert rows(again) == expected
        assert {table for table, lines in expected.items() if lines} >= {
            "generation",
            "attempt",
            "ledger_entry",
            "event",
        }
        live(again, "gen_3")
        assert again.write_sync(audit).problems == ()
