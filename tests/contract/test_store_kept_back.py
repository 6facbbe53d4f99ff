"""An image that was kept back, of a part that another attempt has brought: an extra, however late it is taken in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.audit import audit
from holdfast.store.bookkeeping import ledger_of
from holdfast.store.exposure import Cap
from holdfast.store.generations import accept, get_record
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration
from holdfast.store.sqlite import SqliteStore
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

PRICE = 240_000
CAP = Cap(model="nano-banana-pro", micros=100 * PRICE)
UNKNOWN = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.RECEIVE, charge=Charge.UNKNOWN, detail="it is kept")
INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="ab" * 32)


def test_it_is_an_extra_while_other_parts_go_on(tmp_path: Path) -> None:
    """Two were asked for, two are delivered and charged; the third one is the operator's cost."""
    store = SqliteStore(tmp_path / "holdfast.sqlite3", "me")
    run: Any = store.write_sync
    sent = {"generation_id": "gen_1", "drive": 0, "provider": "gemini", "model": "m", "owner": "me"}
    sent |= {"idempotency_key": "k", "estimated_micros": PRICE, "sent_at": "2026-01-17T12:00:01.000Z"}
    new = {"key_id": "key_1", "surface": "openai", "model": "nano-banana-pro", "tier": "4K", "size": "4096x4096"}
    until = {"deadline_at": "2026-01-17T12:00:59.000Z", "created_at": "2026-01-17T12:00:00.000Z"}
    money = {"currency": "USD", "unit_micros": PRICE, "held_micros": 2 * PRICE}
    run(accept, NewGeneration(id="gen_1", n=2, parts=2, request=b"{}", hard_deadline=False, **new, **until, **money))

    def end(id_: str, failure: Failure | None = None) -> None:
        blobs = () if failure else (NewBlob(id=f"img_{id_}", kind="result", position=0, store_key=id_, info=INFO),)
        at = {"at": "2026-01-17T12:00:30.000Z", "purge_after": "2026-01-18T12:00:00.000Z"}
        assert run(end_attempt, AttemptEnd(attempt_id=id_, failure=failure, blobs=blobs, **at)).was_open

    assert run(begin_attempt, NewAttempt(id="a", part=0, upstream="a", **sent)) is not None
    assert run(begin_attempt, NewAttempt(id="b", part=0, upstream="b", hedge=1, **sent), CAP) is not None
    assert run(begin_attempt, NewAttempt(id="c", part=1, upstream="a", **sent)) is not None
    end("a", UNKNOWN)
    end("b")
    # The next start takes in what was kept.
    end("a")
    end("c")
    record = run(get_record, "gen_1")
    assert record is not None
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", 2 * PRICE)
    assert sorted((blob.attempt_id, blob.kind) for blob in record.blobs) == [
        ("a", "late"),
        ("b", "result"),
        ("c", "result"),
    ]
    assert [verb for verb, account, _ in run(ledger_of, "gen_1") if account == "extra_images"] == ["resolve"]
    assert run(audit).problems == ()
    store.close()
