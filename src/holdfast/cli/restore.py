"""`holdfast restore`: a data folder out of a backup, or a look at whether that is possible."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli.backup import megabytes, teller
from holdfast.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from holdfast.config import Settings
    from holdfast.store.restore import Source, Taken
    from holdfast.store.restored import PutRight


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("restore", help="make a data folder out of a backup")
    parser.add_argument(
        "source", metavar="BACKUP", help="a folder or an archive that `holdfast backup` made; -: a pipe"
    )
    parser.add_argument("--check", action="store_true", help="read all of it, say whether it is whole; write nothing")
    parser.add_argument(
        "--salvage", action="store_true", help="restore what there is, where images or the ledger are damaged"
    )
    parser.add_argument(
        "--original-is-gone",
        action="store_true",
        help="nothing else goes on with what was in flight: this gateway does, as after a crash",
    )


def run(args: argparse.Namespace) -> int:
    """Read, check, put right, and give the folder its contents."""
    from holdfast.config import load

    settings = load(args.config, os.environ)
    data: Path = args.data or settings.store.data
    with _source(args.source) as source:
        if args.check:
            return _check(source, as_json=args.json)
        return _restore(source, data, settings, args)


@contextmanager
def _source(name: str) -> Iterator[Source]:
    from holdfast.store.restore import FromFolder, FromTar

    if name == "-":
        yield FromTar(sys.stdin.buffer)
    elif Path(name).is_dir():
        yield FromFolder(Path(name))
    else:
        with Path(name).open("rb") as file:
            yield FromTar(file)


def _check(source: Source, *, as_json: bool) -> int:
    from holdfast.store.restore import take_in

    with tempfile.TemporaryDirectory(prefix=".holdfast-restore-") as scratch:
        place = Path(scratch)
        taken = take_in(source, place, keeps_images=False, tell=_tell())
        problems = _problems(place)
    is_whole = not (taken.damaged or problems)
    if as_json:
        print(json.dumps({"is_whole": is_whole, **_of(taken), "problems": problems}, indent=2))
    else:
        print("\n".join([f"{_named(taken)}: {'whole' if is_whole else 'damaged'}.", *_damage(taken), *problems]))
    return Exit.OK if is_whole else Exit.GENERATION_FAILED


def _restore(source: Source, data: Path, settings: Settings, args: argparse.Namespace) -> int:
    from holdfast.store.restore import settle_in, staging, take_in

    with staging(data) as place:
        taken = take_in(source, place, keeps_images=True, tell=_tell())
        problems = _problems(place)
        if (taken.damaged or problems) and not args.salvage:
            wrong = "; ".join([*_damage(taken), *problems[:3]])
            raise Stop(
                Exit.GENERATION_FAILED,
                f"{_named(taken)} is damaged, and nothing was restored: {wrong} Take another one, or what there is "
                "with --salvage.",
            )
        done = _put_right(place, settings, taken.head.id, is_only_one=args.original_is_gone)
        settle_in(data)
    if args.json:
        print(json.dumps({"data": str(data), **_of(taken), "problems": problems, **asdict(done)}, indent=2))
    else:
        print("\n".join(told(taken, done, data)))
    return Exit.OK


def _tell() -> Callable[[tuple[int, int]], None]:
    from holdfast.clock import SystemClock

    return teller(lambda at: f"{at[0]} files, {megabytes(at[1])} read", SystemClock().monotonic)


def _problems(place: Path) -> list[str]:
    """What is wrong with a database that came whole: its pages, then its books."""
    from holdfast.store.audit import audit
    from holdfast.store.restored import brought_up

    with brought_up(place) as conn:
        (said,) = conn.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise Stop(Exit.GENERATION_FAILED, f"The database of this backup is damaged: {said}.")
        return [f"{problem.message}." for problem in audit(conn).problems]


def _put_right(place: Path, settings: Settings, backup_id: str, *, is_only_one: bool) -> PutRight:
    from holdfast.clock import SystemClock, rfc3339
    from holdfast.policy.compensation import rules_of
    from holdfast.policy.retention import Retention, delete_after
    from holdfast.store.lock import Paths
    from holdfast.store.restored import Moment, put_right
    from holdfast.store.sqlite import SqliteStore

    clock = SystemClock()
    now = clock.now()
    moment = Moment(
        at=rfc3339(now),
        purge_after=rfc3339(delete_after(Retention.of(settings.store), ended_at=now)),
        rules=rules_of(settings.compensation),
    )
    with closing(SqliteStore(Paths(root=place).database, clock.new_id("own"))) as store:
        return put_right(store, place, moment, backup_id=backup_id, is_only_one=is_only_one)


def _of(taken: Taken) -> dict[str, object]:
    return {
        "backup_id": taken.head.id,
        "made_at": taken.head.made_at,
        "made_by": taken.head.holdfast,
        "with_images": taken.head.with_images,
        "files": taken.files,
        "bytes": taken.bytes,
        "damaged": taken.damaged,
        "damaged_files": taken.named,
    }


def _named(taken: Taken) -> str:
    return f"{taken.head.id}, made {taken.head.made_at} by holdfast {taken.head.holdfast}"


def _damage(taken: Taken) -> list[str]:
    if not taken.damaged:
        return []
    more = "" if taken.damaged == len(taken.named) else " and others"
    return [f"Missing or damaged in it are {taken.damaged} images: {', '.join(taken.named)}{more}."]


def told(taken: Taken, done: PutRight, data: Path) -> list[str]:
    """Tell what is there now, and what is not."""
    lines = [f"{data} is restored from {_named(taken)}: {taken.files - taken.damaged} files, {megabytes(taken.bytes)}."]
    lines += _damage(taken)
    if done.images_lost:
        lines.append(
            f"Deleted, since they are not in the backup: {done.images_lost} images. Of {done.never_collected} "
            "generations with such images nobody had collected any."
        )
    if done.inputs_lost:
        lines.append(f"Of {done.inputs_lost} images that callers sent along the files are gone too.")
    if done.ended:
        lines.append(
            f"Ended as unknown, since they were open or in flight when the backup was made: {done.ended} generations."
        )
    return lines
