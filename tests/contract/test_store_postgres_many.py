"""Many processes on one PostgreSQL: what the functions decide stays right when others decide at the same instant."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from holdfast.errors import StorageError
from holdfast.policy.fingerprint import VERSION
from holdfast.policy.joining import Answer, Claim
from holdfast.policy.retention import Retention
from holdfast.store.attempts import begin_attempt, end_attempt
from holdfast.store.audit import audit
from holdfast.store.budgets import spent
from holdfast.store.cancelling import ask_cancel
from holdfast.store.exposure import Cap, expose, exposed_on
from holdfast.store.generations import accept, get_record, mark_received, pass_deadline
from holdfast.store.joining import Entering, enter
from holdfast.store.keyring import create, revoke
from holdfast.store.records import AttemptEnd, NewAttempt, NewBlob, NewGeneration, Told
from holdfast.store.retention import Receipt
from holdfast.store.webhooks import ENDPOINTS_MAX, endpoints_of, insert_endpoint
from holdfast.types import Charge, ImageInfo

AT = "2026-01-17T12:00:00.000Z"
LATER = "2026-01-17T12:00:30.000Z"
PRICE = 240_000
INFO = ImageInfo(mime="image/png", width_px=1, height_px=1, bytes=70, sha256="0" * 64)
EXCEEDED = Told(code="deadline_exceeded", message="too late", charge=Charge.UNKNOWN)
KEPT = Retention(max_s=7 * 86400.0, after_finish_s=86400.0, after_collect_s=3600.0)
KEYED = Claim(idempotency_key="order-7", by_fingerprint=False, says_retry=False)
RETRY = Claim(idempotency_key=None, by_fingerprint=True, says_retry=True)


@pytest.fixture
def stores(postgres_dsn: str) -> Iterator[list[Any]]:
    """Four stores, as four replicas have them."""
    from holdfast.store.postgres.store import Options, PostgresStore

    options = Options(connections=4, wait_s=20.0, is_exclusive=False)
    made = [PostgresStore(postgres_dsn, f"own_{number}", options) for number in range(4)]
    yield made
    for store in made:
        store.close()


async def together(stores: list[Any], function: Any, calls: list[tuple[Any, ...]]) -> list[Any]:
    """Call a function once for each set of arguments, all at once, over all the stores in turn."""
    asked = [stores[number % len(stores)].write(function, *args) for number, args in enumerate(calls)]
    return await asyncio.gather(*asked, return_exceptions=True)


def a_new(id_: str, *, key_id: str = "key_1", n: int = 1, claim: Claim | None = None) -> NewGeneration:
    """A generation of 4K images."""
    return NewGeneration(
        id=id_,
        key_id=key_id,
        surface="openai",
        model="nano-banana-pro",
        tier="4K",
        size="4096x4096",
        n=n,
        parts=n,
        request=b"{}",
        deadline_at="2026-01-17T12:10:00.000Z",
        hard_deadline=False,
        created_at=AT,
        currency="USD",
        unit_micros=PRICE,
        held_micros=n * PRICE,
        list_micros=PRICE,
        fingerprint=b"\x01" * 32,
        fingerprint_version=VERSION,
        idempotency_key=None if claim is None else claim.idempotency_key,
        callers=1,
        watched_by="me",
    )


def an_attempt(id_: str, generation_id: str, part: int = 0) -> NewAttempt:
    """One try of a part."""
    return NewAttempt(
        id=id_,
        generation_id=generation_id,
        part=part,
        drive=0,
        upstream="google",
        provider="gemini",
        model="gemini-3-pro-image",
        idempotency_key=f"{generation_id}.{part}.0",
        estimated_micros=PRICE,
        owner="me",
        sent_at=AT,
    )


def an_image(attempt_id: str) -> AttemptEnd:
    """Its end, with an image."""
    blob = NewBlob(id=f"img_{attempt_id}", kind="result", position=0, store_key=f"blobs/{attempt_id}-0", info=INFO)
    return AttemptEnd(attempt_id=attempt_id, at=LATER, purge_after="2026-01-24", blobs=(blob,))


@pytest.mark.parametrize("claim", [KEYED, RETRY], ids=["keyed", "retry"])
async def test_a_hundred_equal_posts_over_four_stores_buy_one_generation(stores: list[Any], claim: Claim) -> None:
    """Whoever asks first, buys; ninety-nine join that, and each is counted."""
    asked = [
        (Entering(new=a_new(f"gen_{number}", claim=claim), claim=claim, asks_twins=False),) for number in range(100)
    ]
    entered = await together(stores, enter, asked)
    assert {each.generation_id for each in entered} == {entered[0].generation_id}
    answers = Counter(each.answer for each in entered)
    assert answers[None] == 1, "one bought"
    assert answers[Answer.JOIN] == 99
    counted = "SELECT callers, joins FROM generation"
    assert tuple(await stores[0].read(lambda conn: conn.execute(counted).fetchone())) == (100, 99)
    assert (await stores[0].read(audit)).problems == ()


def limited(conn: Any) -> None:
    """A group that may spend ten images this month, with two keys of which one may spend four a day."""
    conn.execute(
        "INSERT INTO key_group (id, label, spend_micros_per_month, created_at) VALUES ('kgr_1', 'team', :most, :at)",
        {"most": 10 * PRICE, "at": AT},
    )
    for name, most in (("1", 4 * PRICE), ("2", None)):
        conn.execute(
            "INSERT INTO api_key (id, label, created_at, group_id, spend_micros_per_day) "
            "VALUES (:id, :id, :at, 'kgr_1', :most)",
            {"id": f"key_{name}", "at": AT, "most": most},
        )
    # What other days of the month have spent counts too.
    conn.execute(
        "INSERT INTO spend_day (owner, day, currency, micros) VALUES ('group:kgr_1', '2026-01-05', 'USD', :micros)",
        {"micros": PRICE},
    )


async def test_a_budget_is_never_overspent_by_a_race(stores: list[Any]) -> None:
    """Of a hundred holds at one instant exactly as many fit as fit, for a key's day and for its group's month."""
    await stores[0].write(limited)
    calls = [(a_new(f"gen_{number}", key_id=f"key_{1 + number % 2}"),) for number in range(100)]
    done = await together(stores, accept, calls)
    refused = [each for each in done if each is not None]
    assert not [each for each in done if isinstance(each, Exception)]
    assert len(done) - len(refused) == 9
    month = await stores[0].read(spent, "group:kgr_1", "2026-01-17", "USD")
    assert (month.day_micros, month.month_micros) == (9 * PRICE, 10 * PRICE)
    assert (await stores[0].read(spent, "key:key_1", "2026-01-17", "USD")).day_micros <= 4 * PRICE
    problems = (await stores[0].read(audit)).problems
    assert [(each.rule, each.id) for each in problems] == [("spent_otherwise", "group:kgr_1")], "the day made up above"


async def test_a_claim_has_one_winner(stores: list[Any]) -> None:
    """Twenty at once for each of twenty generations: one attempt each, one epoch each."""
    for number in range(20):
        await stores[0].write(accept, a_new(f"gen_{number}"))
    calls = [(an_attempt(f"att_{number}_{claim}", f"gen_{number}"),) for claim in range(20) for number in range(20)]
    epochs = await together(stores, begin_attempt, calls)
    assert Counter(epochs) == {1: 20, None: 380}
    for number in range(20):
        record = await stores[0].read(get_record, f"gen_{number}")
        assert (len(record.attempts), record.generation.epoch) == (1, 1)


async def test_an_end_is_written_once_whoever_comes_first(stores: list[Any]) -> None:
    """An image, a deadline and a cancel at one instant: the generation ends once, and its books hold."""
    for number in range(20):
        await stores[0].write(accept, a_new(f"gen_{number}", key_id=f"key_{number % 3}"))
        await stores[0].write(begin_attempt, an_attempt(f"att_{number}", f"gen_{number}"))
    asked = []
    for number in range(20):
        id_, store = f"gen_{number}", stores[number % 4]
        asked += [
            store.write(end_attempt, an_image(f"att_{number}")),
            stores[(number + 1) % 4].write(end_attempt, an_image(f"att_{number}")),
            stores[(number + 2) % 4].write(pass_deadline, id_, EXCEEDED, LATER, "2026-01-24", False),
            stores[(number + 3) % 4].write(ask_cancel, id_, LATER, "2026-01-24"),
            store.write(mark_received, [Receipt(id_, True)], LATER, KEPT),
        ]
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert [each for each in done if isinstance(each, Exception)] == []
    assert sum(each.was_open for each in done if hasattr(each, "was_open")) == 20, "each image is taken in once"
    found = await stores[0].read(audit)
    assert found.problems == ()
    for number in range(20):
        record = await stores[0].read(get_record, f"gen_{number}")
        assert record.generation.state == "succeeded"
        assert [blob.state for blob in record.blobs] == ["stored"], "a paid image is never thrown away"


async def test_parts_that_end_at_once_are_counted_one_by_one(stores: list[Any]) -> None:
    """The last of them concludes, and only that one."""
    await stores[0].write(accept, a_new("gen_1", n=10))
    begun = await together(stores, begin_attempt, [(an_attempt(f"att_{part}", "gen_1", part),) for part in range(10)])
    assert sorted(begun) == list(range(1, 11)), "epochs strictly increase"
    ended = await together(stores, end_attempt, [(an_image(f"att_{part}"),) for part in range(10)])
    assert sum(each.finished is not None for each in ended) == 1
    record = await stores[0].read(get_record, "gen_1")
    assert (record.generation.state, record.generation.charged_micros) == ("succeeded", 10 * PRICE)
    assert (await stores[0].read(audit)).problems == ()


async def test_caps_are_not_passed_by_a_race(stores: list[Any]) -> None:
    """As many second purchases as fit under the day's cap; as many endpoints as a key may have."""

    def buy(conn: Any) -> bool:
        return expose(conn, Cap(model="m", micros=7), at=AT, micros=1)

    assert Counter(await together(stores, buy, [()] * 40)) == {True: 7, False: 33}
    assert await stores[0].read(exposed_on, AT[:10], "m") == 7

    def add(conn: Any, number: int) -> bool:
        return insert_endpoint(
            conn, endpoint_id=f"whe_{number}", key_id="key_1", url="https://example.com", created_at=AT
        )

    made = await together(stores, add, [(number,) for number in range(ENDPOINTS_MAX + 20)])
    assert Counter(made) == {True: ENDPOINTS_MAX, False: 20}
    assert len(await stores[0].read(endpoints_of, "key_1")) == ENDPOINTS_MAX


async def test_an_administrator_always_stays(stores: list[Any]) -> None:
    """Two who take each other's key back at one instant would leave nobody."""

    def make(conn: Any, number: int) -> None:
        columns = {"label": str(number), "is_admin": 1}
        create(conn, columns, key_id=f"key_{number}", digest=str(number).encode(), at=AT)

    def take_back(conn: Any, number: int) -> None:
        revoke(conn, f"key_{number}", at=AT)

    await together(stores, make, [(number,) for number in range(4)])
    done = await together(stores, take_back, [(number,) for number in range(4)])
    assert sum(each is None for each in done) == 3


async def test_one_owner_at_a_time(postgres_dsn: str) -> None:
    """A second gateway is refused with what to do about it; once the first has gone, the next one has the data."""
    from holdfast.store.postgres import ownership
    from holdfast.store.postgres.store import Options, PostgresStore

    first = PostgresStore(postgres_dsn, "own_1", Options(connections=2))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StorageError, match="Another gateway uses") as refused:
        patch.setattr(ownership, "TAKE_S", 0.0)
        PostgresStore(postgres_dsn, "own_2", Options(connections=2))
    assert refused.value.reason == "locked"
    first.close()
    first.close()
    with pytest.raises(StorageError, match="closed"):
        await first.write(limited)
    PostgresStore(postgres_dsn, "own_2", Options(connections=2)).close()
