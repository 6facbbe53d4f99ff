"""The demo's API key: made once, kept in a file of mode 0600, and known to the demo's own data folder."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from holdfast.cli.key_file import write_key
from holdfast.clock import Clock, rfc3339
from holdfast.store.apikeys import SECRET_BYTES, digest_of, spell
from holdfast.store.keys import find_key, insert_key
from holdfast.store.lock import DataFolder
from holdfast.store.sqlite import SqliteStore


def demo_key(data: Path, file: Path, clock: Clock) -> str:
    """Give the key in `file`, made if it is missing, and see to it that the gateway on `data` will know it.

    Raises:
        StorageError: The data folder cannot be used: a gateway is running on it.
    """
    with DataFolder(data) as folder, closing(SqliteStore(folder.paths.database, "demo-key")) as store:
        key_id = clock.new_id("key")
        key = file.read_text("ascii").strip() if file.exists() else ""
        if not key:
            key = spell(key_id, clock.token(SECRET_BYTES))
            write_key(file, key)
        digest = digest_of(folder.secret, key)
        # The folder may have been deleted since, or the file copied from elsewhere.
        if store.write_sync(find_key, digest) is None:
            store.write_sync(insert_key, key_id, digest, "demo", rfc3339(clock.now()), join_mode="all", is_admin=1)
    return key
