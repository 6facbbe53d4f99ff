"""`holdfast migrate`: the schema of the database that the settings name, and the way from a data folder to a
PostgreSQL.

A start brings the schema to its version by itself, as far as older gateways can go on beside it. What takes away what
they need waits for `migrate up`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from holdfast.config import Settings
    from holdfast.store.queries import Step


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("migrate", help="the schema of the database; copy a data folder into a PostgreSQL")
    parser.add_argument(
        "action",
        choices=["status", "check", "up", "copy"],
        help="tell how it stands; end with 1 if it is behind; bring it to this version, when no older gateway runs; "
        "copy a data folder's rows",
    )
    parser.add_argument("--from", dest="source", metavar="DATA", type=Path, help="for copy: the data folder")
    parser.add_argument(
        "--to",
        metavar="DSN",
        help="for copy: the empty PostgreSQL, postgresql://… or env:NAME, which history keeps not",
    )


def run(args: argparse.Namespace) -> int:
    """Do it."""
    from holdfast.config import load

    if (args.action == "copy") is not (args.to is not None) or (args.source is not None and args.action != "copy"):
        raise Stop(Exit.USAGE, "Write holdfast migrate status, check or up, or copy --from DATA --to DSN.")
    settings = load(args.config, os.environ)
    data: Path = args.source or args.data or settings.store.data
    if args.action == "copy":
        return _copy(data, args.to, as_json=args.json)
    before, known = _version(settings, data)
    if args.action == "up":
        done = _up(settings, data)
        before = known if before <= known else before
        if not args.json:
            print("\n".join(f"done     {step.name}" for step in done) or "Nothing was to be done.")
            return Exit.OK
    _tell(before, known, as_json=args.json)
    return Exit.GENERATION_FAILED if args.action == "check" and before < known else Exit.OK


def _version(settings: Settings, data: Path) -> tuple[int, int]:
    """Read which schema the database has, and which this version knows; 0: there is none yet."""
    from holdfast.config import database_of
    from holdfast.store.queries import steps

    dsn = database_of(settings.store, os.environ)
    if dsn is not None:
        return _on_postgres(dsn, "standing"), len(steps())
    from holdfast.store.reading import schema_version

    return schema_version(data), len(steps())


def _up(settings: Settings, data: Path) -> Sequence[Step]:
    from contextlib import closing

    from holdfast.config import database_of
    from holdfast.store.lock import DataFolder
    from holdfast.store.queries import steps
    from holdfast.store.reading import schema_version
    from holdfast.store.sqlite import SqliteStore

    dsn = database_of(settings.store, os.environ)
    if dsn is not None:
        before = _on_postgres(dsn, "standing")
        _on_postgres(dsn, "up")
    else:
        before = schema_version(data)
        with DataFolder(data) as folder, closing(SqliteStore(folder.paths.database, "migrate")):
            pass
    return steps()[before:]


def _on_postgres(dsn: str, what: str) -> int:
    """Read the version of a PostgreSQL's schema, after bringing it up where that is asked for."""
    import asyncio
    from functools import partial

    from holdfast.store.opening import check_installed

    check_installed()
    from holdfast.store.postgres.schema import bring_up_at, standing_at
    from holdfast.store.postgres.store import connect

    if what == "up":
        asyncio.run(bring_up_at(partial(connect, dsn)))
    return asyncio.run(standing_at(partial(connect, dsn))).version


def _tell(version: int, known: int, *, as_json: bool) -> None:
    from holdfast.store.queries import steps

    pending = [
        {"step": step.name, "runs": "after" if step.is_after else "before", "keeps_older": step.keeps_older}
        for step in steps()[version:]
    ]
    if as_json:
        print(json.dumps({"version": version, "known": known, "pending": pending}, indent=2))
        return
    print(f"The database has schema {version}; this version knows {known}.")
    for each in pending:
        beside = "an older gateway goes on beside it" if each["keeps_older"] else "stop older gateways first"
        when = "runs with `migrate up`" if each["runs"] == "after" else "runs at the next start"
        print(f"pending  {each['step']}: {when}; {beside}")


def _copy(data: Path, to: str, *, as_json: bool) -> int:
    """Copy, with a line for each table as it goes."""
    import asyncio
    from dataclasses import replace

    from holdfast.config import Settings, check_database, database_of
    from holdfast.store.lock import DataFolder
    from holdfast.store.opening import check_installed

    store = replace(Settings().store, database=to)
    check_database(store)
    dsn = database_of(store, os.environ)
    if dsn is None:
        raise Stop(Exit.USAGE, "Name a PostgreSQL with --to: postgresql://… or env:NAME.")
    check_installed()
    from holdfast.store.postgres.copying import copy_folder

    if not (data / "holdfast.sqlite3").is_file():
        raise Stop(Exit.FOLDER_LOCKED, f"There is no database in {data}. Name a data folder with --from.")
    with DataFolder(data):
        done = asyncio.run(copy_folder(data, dsn, _teller(quiet=as_json)))
    if as_json:
        print(json.dumps({"rows": done.rows, "problems": done.problems}, indent=2))
        return Exit.OK
    print(f"{sum(done.rows.values())} rows of {len(done.rows)} tables are there, and the ledger is the same in both.")
    if done.problems:
        print(f"It has {done.problems} problems, as it had before: see holdfast ledger check.")
    print(f"Images and the secret stay in {data}: keep it as store.data, and set store.database.")
    return Exit.OK


def _teller(*, quiet: bool) -> Callable[[str, int, int], None]:
    def tell(table: str, done: int, total: int) -> None:
        if not quiet and (done == total or sys.stderr.isatty()):
            print(f"{table}: {done} of {total}", file=sys.stderr, flush=True)

    return tell
