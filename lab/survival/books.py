"""Reading the books afterwards: the upstream's charges, the gateway's records, and the pictures that nobody has yet."""

from __future__ import annotations

import hashlib
import http.client
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import callers
import drawn
import msgspec
import requests
from load import kind_of, number_of
from verdict import Charge, End, Generation, Told

from holdfast.generation import State
from holdfast.store.generations import get_record
from holdfast.store.reading import snapshot
from holdfast.types import Request

HOST = "127.0.0.1"
FETCH_TIMEOUT_S = 60.0


def charges(port: int) -> tuple[Charge, ...]:
    """Read the upstream's books."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60.0)
    try:
        connection.request("GET", "/_sim/charges")
        rows = json.loads(connection.getresponse().read())["charges"]
    finally:
        connection.close()
    return tuple(charge_of(row) for row in rows)


def charge_of(row: Mapping[str, Any]) -> Charge:
    """Read a line: its idempotency key begins with the generation's id where a gateway wrote it."""
    key = str(row["idempotency_key"] or "")
    return Charge(
        kind=kind_of(row["model"]),
        outcome=row["outcome"],
        micros=row["micros"],
        generation_id=key.partition(".")[0] if key.startswith("gen_") else None,
    )


def generations(data: Path) -> tuple[Generation, ...]:
    """Read the gateway's records, oldest first."""
    with snapshot(data) as conn:
        ids = [row["id"] for row in conn.execute("SELECT id FROM generation ORDER BY created_at, id")]
        records = [get_record(conn, id_) for id_ in ids]
    found = []
    for record in records:
        assert record is not None
        row = record.generation
        assert row.request is not None, "nothing is purged in the minutes that this takes"
        told = row.told if State(row.state) is State.FAILED else None
        found.append(
            Generation(
                id=row.id,
                number=number_of(msgspec.json.decode(row.request, type=Request).prompt),
                kind=kind_of(row.model),
                state=row.state,
                code=told.code if told is not None else None,
                paid=told.charge.value if told is not None else None,
                attempts=tuple(attempt.state for attempt in record.attempts),
                images=tuple(blob.sha256 for blob in record.blobs),
                is_collected=row.collected_at is not None,
            )
        )
    return tuple(found)


def fetch_left(
    url: str, key: str, records: Iterable[Generation], told: Iterable[Told], sizes: Mapping[int, str]
) -> dict[str, frozenset[str]]:
    """Fetch every picture that its caller does not have, as its owner could: by the id that the list tells."""
    held = {each.sha256 for each in told if each.end is End.IMAGE}
    found: dict[str, frozenset[str]] = {}
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {key}"
        for record in records:
            if set(record.images) - held:
                resource = session.get(f"{url}/v1/generations/{record.id}", timeout=FETCH_TIMEOUT_S).json()
                whole = (_fetched(session, image, sizes[record.number]) for image in _images(resource))
                found[record.id] = frozenset(sha256 for sha256 in whole if sha256 is not None)
    return found


def _images(resource: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*resource.get("images", ()), *resource.get("drafts", ())]


def _fetched(session: requests.Session, image: Mapping[str, Any], size: str) -> str | None:
    """Fetch one; None if it is not whole, or cannot be fetched."""
    try:
        picture = callers.fetch(session, image["url"], FETCH_TIMEOUT_S)
    except callers.Broken:
        return None
    return hashlib.sha256(picture).hexdigest() if drawn.serial_of(picture, size) is not None else None
