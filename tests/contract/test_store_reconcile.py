"""What an operator finds out about an attempt is written once, and only where nothing can still come."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from holdfast.clock import from_rfc3339
from holdfast.errors import RequestError
from holdfast.policy.reconcile import Resolution
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.audit import audit
from holdfast.store.bookkeeping import ledger_of
from holdfast.store.generations import accept, events_of, get_record
from holdfast.store.port import Store
from holdfast.store.reconcile import attempts_between, resolve_exposures
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration, Record
from holdfast.types import Charge, Failure, FailureKind, ImageInfo, Phase

INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="ab" * 32)
LOST = Failure(kind=FailureKind.LOST_REPLY, phase=Phase.WAIT, charge=Charge.UNKNOWN, detail="lost")
LATER = "2026-01-18T12:00:00.000Z"


@pytest.fixture
def store(database: Any) -> Iterator[Any]:
    """Two parts: one lost and one in flight, as `gen_open`; and one generation that ended unknown, as `gen_lost`."""
    with closing(database.open()) as made:
        for name, parts in (("open", 2), ("lost", 1)):
            new = NewGeneration(
                id=f"gen_{name}",
                key_id="key_1",
                surface="openai",
                model="m",
                tier="1K",
                size="1x1",
                n=parts,
                parts=parts,
                request=b"{}",
                deadline_at="later",
                hard_deadline=False,
                created_at="2026-01-17T12:00:00.000Z",
                currency="USD",
                unit_micros=300,
                held_micros=300 * parts,
                list_micros=240,
            )
            made.write_sync(accept, new)
            for part in range(parts):
                attempt = NewAttempt(
                    id=f"att_{name}_{part}",
                    generation_id=new.id,
                    part=part,
                    drive=0,
                    upstream="relay",
                    provider="openai",
                    model="m",
                    idempotency_key="",
                    estimated_micros=240,
                    owner="me",
                    sent_at="2026-01-17T12:00:01.000Z",
                )
                made.write_sync(begin_attempt, attempt)
            made.write_sync(end_attempt, ending(f"att_{name}_0"))
        yield made


def ending(attempt_id: str, *, with_image: bool = False) -> AttemptEnd:
    """It is lost, or brings its image."""
    blob = NewBlob(id=f"img_{attempt_id}", kind="result", position=0, store_key=attempt_id, info=INFO)
    return AttemptEnd(
        attempt_id=attempt_id,
        at="2026-01-17T12:01:00.000Z",
        purge_after="z",
        blobs=(blob,) if with_image else (),
        failure=None if with_image else LOST,
    )


def resolve(store: Store, *attempt_ids: str, micros: int | None = 240, at: str = LATER) -> None:
    """Write down what was found out."""
    store.write_sync(resolve_exposures, [Resolution(attempt_id=each, micros=micros) for each in attempt_ids], at)


@pytest.mark.parametrize(
    ("micros", "state", "charge", "lines"),
    [
        (240, "charged_failed", "yes", {"unknown_exposure": -240, "provider_cost": 240}),
        (100, "charged_failed", "yes", {"unknown_exposure": -240, "provider_cost": 100, "provider:relay": 140}),
        (300, "charged_failed", "yes",
         {"unknown_exposure": -240, "provider_cost": 240, "extra_images": 60, "provider:relay": -60}),
        (0, "charged_failed", "yes", {"unknown_exposure": -240, "provider:relay": 240}),
        (None, "rejected", "no", {"unknown_exposure": -240, "provider:relay": 240}),
    ],
)  # fmt: skip
def test_an_exposure_moves_to_where_it_belongs(
    store: Store, micros: int | None, state: str, charge: str, lines: dict[str, int]
) -> None:
    """One more transaction; what was booked before is never edited."""
    before = store.write_sync(ledger_of, "gen_lost")
    resolve(store, "att_lost_0", micros=micros)
    after = store.write_sync(ledger_of, "gen_lost")
    assert after[: len(before)] == before
    assert {account: much for verb, account, much in after[len(before) :] if verb == "resolve"} == lines
    record = store.write_sync(get_record, "gen_lost")
    assert isinstance(record, Record)
    assert [(each.state, each.charge) for each in record.attempts] == [(state, charge)]
    assert (record.generation.state, record.generation.charged_micros) == ("failed", 0)
    last = store.write_sync(events_of, "gen_lost")[-1]
    assert (last.type, last.data) == (
        "progress",
        f'{{"part":0,"resolved":"{charge}","micros":{micros or 0}}}',
    )
    assert store.write_sync(audit).problems == ()


@pytest.mark.parametrize(
    ("ids", "at", "told"),
    [
        (("att_none",), LATER, "There is no attempt 'att_none'."),
        (("att_open_0",), LATER, "The generation of att_open_0, gen_open, has not ended"),
        (("att_open_1",), LATER, "The attempt att_open_1 is sent: only one of unknown outcome"),
        (("att_lost_0", "att_lost_0"), LATER, "The attempt att_lost_0 is charged_failed"),
        (("att_lost_0",), "2026-01-17T13:00:59.000Z", "is unknown for less than an hour"),
        (("att_lost_0", "att_none"), LATER, "There is no attempt 'att_none'."),
    ],
)
def test_what_may_not_be_resolved_is_refused_and_nothing_is_written(
    store: Store, ids: tuple[str, ...], at: str, told: str
) -> None:
    """All of a list, or none of it."""
    before = store.write_sync(ledger_of, "gen_lost"), store.write_sync(ledger_of, "gen_open")
    with pytest.raises(RequestError) as error:
        resolve(store, *ids, at=at)
    assert told in error.value.message
    assert (store.write_sync(ledger_of, "gen_lost"), store.write_sync(ledger_of, "gen_open")) == before


def test_what_was_resolved_takes_in_nothing_more(store: Store) -> None:
    """An image that comes a day later is nobody's: the books of its attempt are closed."""
    resolve(store, "att_lost_0", micros=None)
    ended = store.write_sync(end_attempt, ending("att_lost_0", with_image=True))
    assert not ended.was_open
    assert store.write_sync(audit).problems == ()


def test_an_upstream_that_only_ever_failed_for_nothing_is_known(store: Store) -> None:
    """Its list is the one to look at: another upstream brought the images, and stands in the days of usage."""

    def pretend(conn: Any) -> None:
        conn.execute("UPDATE attempt SET upstream = 'free', state = 'rejected', charge = 'no' WHERE id = 'att_lost_0'")

    store.write_sync(pretend)
    since, until = (from_rfc3339(f"2026-01-{day}T00:00:00.000Z") for day in (17, 18))
    assert [each.attempt_id for each in store.write_sync(attempts_between, "free", since, until)] == ["att_lost_0"]
    with pytest.raises(RequestError, match="Nothing was ever sent to an upstream 'fre'"):
        store.write_sync(attempts_between, "fre", since, until)
