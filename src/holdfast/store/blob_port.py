"""What the engine and the gateway need of a place for images: the port, for a local disk and for a bucket.

Everything here waits for a disk or for the network, and belongs into a worker thread, unless it says otherwise. A key
is ours: `blobs/2026/01/17/att_…-0.png` (`store.blob_keys`) for what an upstream made, `inputs/<sha256>` for what a
request brought along, which several generations may share. What is put is never changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from holdfast.store.leftovers import Found


class Place(NamedTuple):
    """A finished, synced file, and where it is to go."""

    key: str
    source: Path
    """It stays until its owner removes it."""
    sha256: str = ""
    """Hexadecimal; empty: whoever needs it reads the file."""


class Lying(NamedTuple):
    """A blob that is there."""

    key: str
    sha256: str
    """Hexadecimal, as it was put."""


class Blobs(Protocol):
    """A place for images. Failures are `OSError`; `FileNotFoundError` is a blob that is not there."""

    @property
    def puts_together(self) -> bool:
        """Whether files that are put at one instant share what it costs, so that `put_files` is to be given many."""

    def put_file(self, key: str, source: Path, sha256: str = "") -> Path:
        """Make a file durable under its key. A second put changes nothing: the first one counts."""

    def put_files(self, groups: Sequence[Sequence[tuple[str, Path] | Place]]) -> list[OSError | None]:
        """Put several groups of files; tell of each group whether it failed, and how."""

    def put_shared(self, key: str, source: Path) -> Path:
        """Put a file that several generations may share, and make it young: it is wanted again now."""

    def put_again(self, key: str, of: str) -> None:
        """Put what lies under the key `of` under a shared key too.

        Raises:
            FileNotFoundError: There is nothing.
        """

    def here(self, key: str) -> str | None:
        """Where the bytes lie on this machine's disk, if they do; may be called on the loop.

        They may be gone by the time they are opened: then `bring` knows more.
        """

    def bring(self, key: str, sha256: str) -> str:
        """See that the bytes lie on this machine's disk, whole and unharmed, and say where.

        Raises:
            FileNotFoundError: There is no such blob.
            OSError: What holds it does not answer, or gives other bytes than were put.
        """

    def of_attempt(self, attempt_id: str) -> list[Lying]:
        """Name what was put of an attempt, whether or not a row tells of it.

        Raises:
            OSError: What holds it does not answer.
        """

    def signed_url(self, key: str, valid_s: float) -> str | None:
        """An address under which anybody may get it for so many seconds; None where there is none."""

    def delete(self, key: str) -> None:
        """Remove a blob; one that is gone is no error."""

    def delete_files(self, keys: Sequence[str]) -> list[OSError | None]:
        """Remove several; tell of each whether that failed, and how."""

    def delete_shared(self, key: str, *, older_than_unix_s: float) -> bool:
        """Remove a shared file unless it was put again since then; False if it stays."""

    def remove_folder(self, key: str) -> bool:
        """Remove a folder if it is empty; False if it is not, or is gone."""

    def walk(self) -> Iterator[Found]:
        """Go through all that is kept, and the spool, oldest day first. Lazy: it may rest as long as its caller likes.

        Raises:
            OSError: It cannot be listed.
        """
