"""Where `holdfast keys` works: in a data folder that no gateway has, or at the gateway that has it.

Both take the requests of the admin API. In a folder they are carried out here, by the functions that serve them in a
gateway, with the same line in the log of changes; only one process ever writes a database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import msgspec

from holdfast.cli.exits import Exit, Stop, of_answer
from holdfast.cli.reaching import reach
from holdfast.clock import SystemClock, rfc3339
from holdfast.errors import RequestError, StorageError
from holdfast.gateway.auth import OPERATOR
from holdfast.gateway.keys import KeyDesk
from holdfast.providers.http import HttpRequest
from holdfast.store.address import noted_address
from holdfast.store.apikeys import operator_token
from holdfast.store.audit_log import note
from holdfast.store.lock import DataFolder, Paths
from holdfast.store.opening import open_beside
from holdfast.store.port import Conn
from holdfast.wire.keys import GroupResource, KeyResource, stated

PREFIX = "/admin/v1"


class Place(Protocol):
    """Takes requests about keys."""

    def ask(self, method: str, path: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
        """Carry one out.

        Args:
            method: Of the admin API.
            path: Below `/admin/v1`.
            document: What is sent along.

        Raises:
            Stop: It is refused, or nobody could be asked.
            StorageError: The data folder cannot be used.
        """


class Folder:
    """A data folder that no gateway has."""

    def __init__(self, data: Path, dsn: str | None = None) -> None:
        self._data = data
        self._dsn = dsn

    def ask(self, method: str, path: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
        """Carry it out on the database."""
        clock = SystemClock()
        body = b"" if document is None else msgspec.json.encode(document)
        with (
            DataFolder(self._data) as folder,
            closing(open_beside(folder.paths.database, clock.new_id("own"), self._dsn)) as store,
        ):
            try:
                work, action = work_of(KeyDesk(clock, folder.secret), method, path, body)
                done = store.write_sync(_noted, work, action, stated(body), rfc3339(clock.now()))
            except RequestError as error:
                raise refused(error.status, error.code, error.message) from error
        made: dict[str, Any] = msgspec.to_builtins(done)
        return made


def work_of(desk: KeyDesk, method: str, path: str, body: bytes) -> tuple[Callable[[Conn], msgspec.Struct], str | None]:
    """Give what serves a request in a gateway, and what the log of changes calls it."""
    match (method, *path.partition("?")[0].strip("/").split("/")):
        case ("GET", "keys"):
            return desk.look_through(), None
        case ("POST", "keys"):
            return desk.create(body), "key.created"
        case ("PATCH", "keys", id_):
            return desk.change(id_, body), "key.changed"
        case ("POST", "keys", id_, "rotate"):
            return desk.rotate(id_, body), "key.rotated"
        case ("POST", "keys", id_, "revoke"):
            return desk.revoke(id_), "key.revoked"
        case ("GET", "key-groups"):
            return desk.groups(), None
        case ("POST", "key-groups"):
            return desk.create_group(body), "key_group.created"
        case ("PATCH", "key-groups", name):
            return desk.change_group(name, body), "key_group.changed"
    raise AssertionError(f"no command asks for {method} {path}")


def _noted(
    conn: Conn,
    work: Callable[[Conn], msgspec.Struct],
    action: str | None,
    details: dict[str, Any] | None,
    at: str,
) -> msgspec.Struct:
    done = work(conn)
    if action is not None:
        assert isinstance(done, KeyResource | GroupResource)
        note(conn, actor=OPERATOR.id, action=action, target=done.id, at=at, details=details)
    return done


class Gateway:
    """A gateway that runs."""

    def __init__(self, base_url: str, token: Callable[[], str]) -> None:
        """Ask it.

        Args:
            base_url: Without a path.
            token: Gives the key to show.
        """
        self._base_url = base_url
        self._token = token

    def ask(self, method: str, path: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send it."""
        return asyncio.run(self._ask(method, path, document))

    async def _ask(self, method: str, path: str, document: dict[str, Any] | None) -> dict[str, Any]:
        headers = [("Authorization", f"Bearer {self._token()}"), ("Accept", "application/json")]
        body: tuple[bytes, ...] = ()
        if document is not None:
            headers.append(("Content-Type", "application/json"))
            body = (msgspec.json.encode(document),)
        url = f"{self._base_url}{PREFIX}{path}"
        request = HttpRequest(method=method, url=url, headers=tuple(headers), body=body)
        status, said = await reach(self._base_url, request)
        return _read(status, said, self._base_url)


def _read(status: int, body: bytes, base_url: str) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Stop(
            of_answer(status, None) if status >= 400 else Exit.USAGE,
            f"{base_url} answers (HTTP {status}), and not as holdfast does. Is the URL right?",
        ) from exc
    if status >= 400:
        code, detail = document.get("code"), document.get("detail")
        told = detail if isinstance(detail, str) else f"HTTP {status}"
        raise refused(status, code if isinstance(code, str) else None, told)
    return document


def refused(status: int, code: str | None, message: str) -> Stop:
    """Tell what was refused; a key that does not exist is a slip of the command line."""
    exit_code = Exit.USAGE if code in ("key_not_found", "not_found") else of_answer(status, code)
    return Stop(exit_code, message, holdfast_code=code)


def place_of(data: Path, *, makes: bool, dsn: str | None = None) -> Place:
    """Find where the keys of a data folder are looked after: by its gateway if one runs, else here.

    Args:
        data: The folder.
        makes: Whether the folder may be made.
        dsn: Of the PostgreSQL that its rows are in; None: the folder has them.

    Raises:
        Stop: There is no such folder, or who has it cannot be asked.
        StorageError: It cannot be used.
    """
    paths = Paths(root=data)
    none = Stop(Exit.USAGE, f"There is no data folder of a gateway at {data}. Name it with --data.")
    if not (makes or paths.secret.exists() or paths.database.exists()):
        raise none
    try:
        DataFolder(data).close()
    except StorageError as error:
        if error.reason != "locked":
            raise
        return _gateway_of(data, error)
    if not (makes or dsn is not None or paths.database.exists()):
        # Its rows may be in a PostgreSQL, of which these settings know nothing.
        raise none
    return Folder(data, dsn)


def _gateway_of(data: Path, locked: StorageError) -> Gateway:
    from holdfast.cli.holder import holder_of

    holder = holder_of(data)
    base_url = None if holder is None else noted_address(data, holder)
    if base_url is None:
        raise Stop(
            Exit.FOLDER_LOCKED,
            f"{locked} Where it answers is not on record: give --base-url and an admin's key.",
        ) from locked
    secret = Paths(root=data).secret.read_bytes()
    return Gateway(base_url, lambda: operator_token(secret, SystemClock().now().timestamp()))
