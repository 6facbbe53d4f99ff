"""`holdfast backup`: a copy of a data folder, made while its gateway goes on."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from holdfast.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from holdfast.config import Settings
    from holdfast.store.backup import Progress, Report, Target

At = TypeVar("At")
NICE = 19
"""The last of all: a backup may take a minute longer."""
TELL_S = 2.0
"""Between two lines that say how far it is."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("backup", help="copy a data folder, while its gateway goes on")
    parser.add_argument(
        "target", metavar="TARGET", help="a folder that is to be made; NAME.tar: one archive; -: the archive, to a pipe"
    )
    parser.add_argument(
        "--previous", metavar="DIR", type=Path, help="an earlier backup: images that it has are shared with it"
    )
    parser.add_argument("--copy", action="store_true", help="share no bytes with the data folder: for the same disk")
    parser.add_argument("--without-images", action="store_true", help="database and secret only")


def run(args: argparse.Namespace) -> int:
    """Copy, and say what was taken."""
    from holdfast.clock import SystemClock, rfc3339
    from holdfast.config import load
    from holdfast.store.backup import back_up

    settings = load(args.config, os.environ)
    _check_kept_here(settings, with_images=not args.without_images)
    data: Path = args.data or settings.store.data
    clock = SystemClock()
    _let_others_first()
    with _target(args) as target:
        report = back_up(
            data,
            target,
            backup_id=clock.new_id("bak"),
            now=lambda: rfc3339(clock.now()),
            with_images=not args.without_images,
            tell=teller(progress_told, clock.monotonic),
        )
    # An archive may be on its way down the standard output.
    out = sys.stderr if args.target == "-" else sys.stdout
    print(json.dumps(as_json(report), indent=2) if args.json else "\n".join(told(report, args.target)), file=out)
    return Exit.PARTLY_FAILED if report.faulty else Exit.OK


def _check_kept_here(settings: Settings, *, with_images: bool) -> None:
    """See that what is to be copied lies in the data folder.

    A folder whose rows have moved to a PostgreSQL still has those of before: a copy of them would look like a backup.
    """
    from holdfast.config import database_of
    from holdfast.config.objects import LOCAL

    if database_of(settings.store, os.environ) is not None:
        raise Stop(
            Exit.SETTINGS,
            "The rows of this gateway are in a PostgreSQL (store.database), and this copies a data folder. Take the "
            "database with pg_dump, or as whoever operates it does, and with it the secret and the images; "
            "docs/how-to/back-up.md says how. For the rows that a folder had before: "
            "HOLDFAST_STORE__DATABASE=sqlite holdfast backup …",
        )
    if with_images and settings.store.blobs != LOCAL:
        raise Stop(
            Exit.SETTINGS,
            f"The images of this gateway are in a bucket ({settings.store.blobs}), and this copies a data folder. Add "
            "--without-images, and keep the bucket by its own means: versions, or a copy elsewhere.",
        )


def _let_others_first() -> None:
    """Take what CPU is left: whoever is served by the gateway beside this comes first."""
    # A sandbox may refuse it.
    with suppress(OSError):
        os.nice(NICE)


@contextmanager
def _target(args: argparse.Namespace) -> Iterator[Target]:
    from holdfast.store.backup_files import ToFolder, ToTar
    from holdfast.store.lock import fsync_folder

    path = Path(args.target)
    is_archive = args.target == "-" or path.suffix == ".tar"
    if is_archive and (args.previous is not None or args.copy):
        raise Stop(Exit.USAGE, "An archive shares nothing: --previous and --copy are for a folder.")
    if args.target == "-":
        if sys.stdout.isatty():
            raise Stop(Exit.USAGE, "An archive is nothing for a terminal. Send it into a file or a pipe.")
        with closing(ToTar(sys.stdout.buffer)) as tar:
            yield tar
        return
    if not is_archive:
        with closing(ToFolder(path, previous=args.previous, links=not args.copy)) as folder:
            yield folder
        return
    if path.exists():
        raise Stop(Exit.USAGE, f"{path} exists. Give the backup a name of its own.")
    part = path.with_name(f"{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    # It holds the hashes of all keys, and the secret that makes them worth something.
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file, closing(ToTar(file, scratch=path.parent)) as tar:
        yield tar
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)
    fsync_folder(path.parent)


def teller(word: Callable[[At], str], monotonic: Callable[[], float]) -> Callable[[At], None]:
    """Say now and then on standard error how far something is, where somebody looks."""
    last_s = monotonic()

    def tell(at: At) -> None:
        nonlocal last_s
        if monotonic() - last_s >= TELL_S and sys.stderr.isatty():
            last_s = monotonic()
            print(word(at), file=sys.stderr)

    return tell


def progress_told(at: Progress) -> str:
    """Say how far a backup is."""
    if not at.of:
        return f"database: {megabytes(at.bytes)}"
    return f"images: {at.files} of {at.of}, {megabytes(at.bytes)} copied"


def megabytes(bytes_: int) -> str:
    """Say how many bytes those are."""
    return f"{bytes_ / 1e6:,.1f} MB"


def as_json(report: Report) -> dict[str, object]:
    """Give a report as JSON tells it."""
    assert report.end is not None
    return {
        "backup_id": report.head.id,
        "made_at": report.head.made_at,
        "with_images": report.head.with_images,
        "files": report.end.files,
        "bytes": report.end.bytes,
        "images": report.images,
        "linked": report.linked,
        "deleted_meanwhile": report.swept,
        "faulty": report.faulty,
        "faulty_files": report.named,
    }


def told(report: Report, target: str) -> list[str]:
    """Tell what was taken, and what could not be."""
    assert report.end is not None
    what = f"{report.images} images ({report.linked} of them shared)" if report.head.with_images else "without images"
    lines = [f"{report.head.id} in {target}: {what}, {megabytes(report.end.bytes)}, as of {report.head.made_at}."]
    if report.swept:
        lines.append(f"{report.swept} images were deleted by retention while it was made.")
    if report.faulty:
        lines.append(f"Not in it, since they are missing or damaged in the data folder: {report.faulty} images.")
        lines += [f"  {name}" for name in report.named]
    return lines
