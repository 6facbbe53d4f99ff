"""Who is calling: where a key may stand, and for how long it is believed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from holdfast.errors import RequestError, StorageError
from holdfast.gateway import auth
from holdfast.gateway.auth import (
    CACHE_S,
    KEY_CHARS_MAX,
    OPERATOR,
    Authenticator,
    address_of,
    presented_key,
    speaks_gemini,
)
from holdfast.policy.wrong_keys import DELAY_S_MAX, FREE, OF_AN_ADDRESS_MAX
from holdfast.store.apikeys import digest_of, operator_token
from holdfast.store.records import KeyRow
from holdfast.types import Charge, Surface
from holdfast.wire.failures import is_retryable

SECRET = b"\x01" * 32


@pytest.mark.parametrize(
    ("headers", "query", "key"),
    [
        ({"authorization": "Bearer hf-1"}, {}, "hf-1"),
        ({"authorization": "bearer   hf-1 "}, {}, "hf-1"),
        ({"x-goog-api-key": "hf-2"}, {}, "hf-2"),
        ({}, {"key": "hf-3"}, "hf-3"),
        ({"authorization": "Bearer hf-1", "x-goog-api-key": "hf-2"}, {"key": "hf-3"}, "hf-1"),
        ({"authorization": "Basic dXNlcjpwYXNz", "x-goog-api-key": "hf-2"}, {}, "hf-2"),
        ({"authorization": "Bearer "}, {"key": "hf-3"}, "hf-3"),
        ({"authorization": "hf-1"}, {}, None),
        ({"x-goog-api-key": ""}, {}, None),
        ({}, {"key": ""}, None),
        ({}, {}, None),
    ],
)
async def test_a_key_is_found_in_each_of_its_places(
    a_caller: Any, headers: dict[str, str], query: dict[str, str], key: str | None
) -> None:
    """OpenAI's SDKs, Google's, and a browser's address line each have their own."""
    assert presented_key(a_caller(headers=headers, query=query).call()) == key


@pytest.mark.parametrize(
    ("headers", "query", "is_gemini"),
    [
        ({"x-goog-api-key": "k"}, {}, True),
        ({}, {"key": "k"}, True),
        ({"authorization": "Bearer k", "x-goog-api-client": "google-genai-sdk/3.4.0"}, {}, True),
        ({"authorization": "Bearer k"}, {}, False),
        ({}, {"alt": "sse"}, False),
    ],
)
async def test_the_place_of_the_credential_tells_the_dialect(
    a_caller: Any, headers: dict[str, str], query: dict[str, str], is_gemini: bool
) -> None:
    """`GET /v1/models` means two different things."""
    assert speaks_gemini(a_caller(headers=headers, query=query).call()) is is_gemini


class FakeStore:
    """Knows one key by its digest, and counts how often it is asked."""

    def __init__(self, key: str, **fields: Any) -> None:
        row = KeyRow(id="key_1", label="first", created_at="2026-11-24T12:00:00.000Z", **fields)
        self.rows = {digest_of(SECRET, key): row}
        self.asked: list[bytes] = []

    async def read(self, _: Callable[..., Any], digest: bytes) -> KeyRow | None:
        """Look up."""
        self.asked.append(digest)
        return self.rows.get(digest)


def bearer(a_caller: Any, key: str) -> Any:
    """Make a call with a key."""
    return a_caller(headers={"authorization": f"Bearer {key}"}, client="192.0.2.7").call()


async def test_a_known_key_gives_its_row_and_the_store_never_sees_the_key(a_caller: Any) -> None:
    """Only a keyed hash is looked up: a stolen database tells nothing."""
    store = FakeStore("hf-good")
    row = await Authenticator(store, SECRET).authenticate(bearer(a_caller, "hf-good"))  # type: ignore[arg-type]
    assert row.id == "key_1"
    assert store.asked == [digest_of(SECRET, "hf-good")]
    assert b"hf-good" not in store.asked[0]


def test_a_good_key_is_believed_for_a_while_and_no_longer(a_caller: Any, in_jumped_time: Any) -> None:
    """One that is revoked elsewhere stops working within seconds."""
    store = FakeStore("hf-good")

    async def main() -> None:
        authenticator = Authenticator(store, SECRET)  # type: ignore[arg-type]
        for _ in range(5):
            await authenticator.authenticate(bearer(a_caller, "hf-good"))
        assert len(store.asked) == 1
        store.rows.clear()
        await asyncio.sleep(CACHE_S + 0.1)
        with pytest.raises(RequestError) as refused:
            await authenticator.authenticate(bearer(a_caller, "hf-good"))
        assert refused.value.status == 401

    in_jumped_time(main())


async def test_a_bad_key_is_asked_for_every_time(a_caller: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Remembering refusals would lock out a key that is made a second later, and could be filled by anyone."""
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(auth, "emit", lambda event, **fields: told.append({"event": event, **fields}))
    store = FakeStore("hf-good")
    authenticator = Authenticator(store, SECRET)  # type: ignore[arg-type]
    for _ in range(3):
        with pytest.raises(RequestError) as refused:
            await authenticator.authenticate(bearer(a_caller, "hf-bad"))
        assert (refused.value.status, refused.value.code) == (401, "invalid_api_key")
        assert "hf-bad" not in refused.value.message
        assert "first.key in its data folder" in refused.value.message
    assert len(store.asked) == 3
    assert [line["event"] for line in told] == ["key.refused"] * 3
    assert "hf-bad" not in str(told)


async def test_no_key_is_told_where_to_put_one(a_caller: Any) -> None:
    """The store is not troubled for it."""
    store = FakeStore("hf-good")
    with pytest.raises(RequestError, match="Authorization: Bearer") as refused:
        await Authenticator(store, SECRET).authenticate(a_caller().call())  # type: ignore[arg-type]
    assert refused.value.status == 401
    assert store.asked == []


async def test_the_memory_of_good_keys_is_bounded(a_caller: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys there are."""
    monkeypatch.setattr(auth, "CACHE_ENTRIES_MAX", 3)
    store = FakeStore("hf-0")
    row = next(iter(store.rows.values()))
    store.rows = {digest_of(SECRET, f"hf-{number}"): row for number in range(10)}
    authenticator = Authenticator(store, SECRET)  # type: ignore[arg-type]
    for number in range(10):
        await authenticator.authenticate(bearer(a_caller, f"hf-{number}"))
    assert len(authenticator._known) <= 3


NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
TRUSTED = (ip_network("10.0.0.0/8"),)


class WallClock:
    """The wall clock, as the test sets it."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        """Tell it."""
        return self.at


def at(seconds: float) -> str:
    """A moment around now, as rows have it."""
    return (NOW + timedelta(seconds=seconds)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def knowing(store: FakeStore, **options: Any) -> Authenticator:
    """Make one whose clock stands still."""
    return Authenticator(store, SECRET, clock=WallClock(), **options)  # type: ignore[arg-type]


async def refused(work: Any) -> RequestError:
    """What it says."""
    with pytest.raises(RequestError) as told:
        await work
    return told.value


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"revoked_at": at(-1)}, "key_revoked", "was revoked"),
        ({"expires_at": at(0)}, "key_revoked", "expired"),
        ({"secret_expires_at": at(-1)}, "key_revoked", "was replaced"),
    ],
)
async def test_a_key_that_has_ended_is_told_apart_from_one_that_never_was(
    a_caller: Any, fields: dict[str, Any], code: str, words: str
) -> None:
    """Its owner knows then whom to ask."""
    error = await refused(knowing(FakeStore("hf-good", **fields)).authenticate(bearer(a_caller, "hf-good")))
    assert (error.status, error.code) == (401, code)
    assert words in error.message


def test_a_key_is_believed_no_longer_than_it_is_valid(a_caller: Any, in_jumped_time: Any) -> None:
    """Three seconds, where it ends in three seconds."""
    store = FakeStore("hf-good", expires_at=at(3.0))

    async def main() -> None:
        clock = WallClock()
        authenticator = Authenticator(store, SECRET, clock=clock)  # type: ignore[arg-type]
        await authenticator.authenticate(bearer(a_caller, "hf-good"))
        await asyncio.sleep(3.1)
        clock.at += timedelta(seconds=3.1)
        error = await refused(authenticator.authenticate(bearer(a_caller, "hf-good")))
        assert error.code == "key_revoked"
        assert len(store.asked) == 2

    in_jumped_time(main())


async def test_a_change_made_here_counts_at_once(a_caller: Any) -> None:
    """Also where the key is being read at that very moment: what was read before the change is not remembered."""
    store = FakeStore("hf-good")
    authenticator = knowing(store)
    await authenticator.authenticate(bearer(a_caller, "hf-good"))
    authenticator.forget()
    await authenticator.authenticate(bearer(a_caller, "hf-good"))
    assert len(store.asked) == 2
    authenticator.forget()
    read = store.read

    async def read_while_it_changes(function: Any, digest: bytes) -> KeyRow | None:
        row = await read(function, digest)
        authenticator.forget()
        return row

    store.read = read_while_it_changes  # type: ignore[method-assign]
    await authenticator.authenticate(bearer(a_caller, "hf-good"))
    await authenticator.authenticate(bearer(a_caller, "hf-good"))
    assert len(store.asked) == 4


@pytest.mark.parametrize(
    ("scheme", "client", "headers", "is_served"),
    [
        ("http", "192.0.2.7", {}, False),
        ("https", "192.0.2.7", {}, True),
        ("http", "192.0.2.7", {"x-forwarded-proto": "https"}, False),
        ("http", "10.0.0.1", {"x-forwarded-proto": "https"}, True),
        ("http", "10.0.0.1", {"x-forwarded-proto": "http"}, False),
        ("http", "10.0.0.1", {}, False),
    ],
)
async def test_a_key_that_demands_tls_is_served_over_tls_only(
    a_caller: Any, scheme: str, client: str, headers: dict[str, str], is_served: bool
) -> None:
    """The listener's, or what a trusted proxy vouches for; each time, whether the key is remembered or not."""
    authenticator = knowing(FakeStore("hf-good", tls_required=1), trusted=TRUSTED)
    headers = {"authorization": "Bearer hf-good", **headers}
    for _ in range(2):
        call = a_caller(headers=headers, client=client, scheme=scheme).call()
        if is_served:
            assert (await authenticator.authenticate(call)).id == "key_1"
        else:
            assert (await refused(authenticator.authenticate(call))).code == "tls_required"


async def test_a_surface_is_asked_about_only_where_images_are_asked_for(a_caller: Any) -> None:
    """A key for one of them still reads what it made."""
    authenticator = knowing(FakeStore("hf-good", surfaces='["openai"]'))
    assert await authenticator.authenticate(bearer(a_caller, "hf-good"), Surface.OPENAI)
    assert await authenticator.authenticate(bearer(a_caller, "hf-good"))
    error = await refused(authenticator.authenticate(bearer(a_caller, "hf-good"), Surface.GEMINI))
    assert (error.status, error.code) == (403, "scope_missing")


async def test_a_key_that_is_much_too_long_is_not_looked_up(a_caller: Any) -> None:
    """A header may have 32 KB; no key of ours has."""
    store = FakeStore("x" * (KEY_CHARS_MAX + 1))
    assert (await refused(knowing(store).authenticate(bearer(a_caller, "x" * (KEY_CHARS_MAX + 1))))).status == 401
    assert store.asked == []


async def test_whoever_has_the_folders_secret_administers_and_asks_for_no_images(a_caller: Any) -> None:
    """For two minutes; without the store, and never from memory."""
    store = FakeStore("hf-good")
    authenticator = knowing(store)
    token = operator_token(SECRET, NOW.timestamp())
    assert await authenticator.authenticate(bearer(a_caller, token)) == OPERATOR
    assert OPERATOR.is_admin
    assert (await refused(authenticator.authenticate(bearer(a_caller, token), Surface.OPENAI))).code == "scope_missing"
    assert store.asked == []
    for wrong in (
        operator_token(SECRET, NOW.timestamp() - 300),
        operator_token(SECRET, NOW.timestamp() + 300),
        operator_token(b"\x02" * 32, NOW.timestamp()),
        token[:-1],
        "hf-operator-",
        "hf-operator-x-y",
        "hf-operator-²-y",
        f"hf-operator-{'9' * 40}-y",
    ):
        assert (await refused(authenticator.authenticate(bearer(a_caller, wrong)))).code == "invalid_api_key"


def test_wrong_keys_wait_and_good_ones_of_the_same_address_do_not(a_caller: Any, in_jumped_time: Any) -> None:
    """Nobody is locked out by what comes from behind the same proxy, known or not yet known."""

    async def main() -> None:
        store = FakeStore("hf-good")
        authenticator = knowing(store)
        loop = asyncio.get_running_loop()

        async def took_s(key: str) -> float:
            began = loop.time()
            try:
                await authenticator.authenticate(bearer(a_caller, key))
            except RequestError as error:
                assert error.code == "invalid_api_key"
            return loop.time() - began

        waits = await asyncio.gather(*[took_s(f"hf-bad-{number}") for number in range(FREE + 4)])
        assert sorted(waits)[:FREE] == pytest.approx([0.0] * FREE, abs=0.05)
        assert sorted(waits)[FREE:] == pytest.approx([1.0, 2.0, 3.0, 4.0], abs=0.05)
        storm = [asyncio.create_task(took_s(f"hf-bad-{number}")) for number in range(OF_AN_ADDRESS_MAX)]
        await asyncio.sleep(0.5)
        assert await took_s("hf-good") < 0.05
        authenticator.forget()
        assert await took_s("hf-good") < 0.05
        assert max(await asyncio.gather(*storm)) <= DELAY_S_MAX + 0.05

    in_jumped_time(main())


def test_more_wrong_keys_than_may_wait_are_sent_away(a_caller: Any, in_jumped_time: Any) -> None:
    """Each that waits has a connection; what is told is that they are wrong, and when to come back."""

    async def main() -> None:
        authenticator = knowing(FakeStore("hf-good"))
        tasks = [
            asyncio.create_task(refused(authenticator.authenticate(bearer(a_caller, f"hf-bad-{number}"))))
            for number in range(FREE + OF_AN_ADDRESS_MAX + 10)
        ]
        errors = await asyncio.gather(*tasks)
        codes = [error.code for error in errors]
        assert codes.count("rate_limited") == 10
        assert codes.count("invalid_api_key") == FREE + OF_AN_ADDRESS_MAX
        (told,) = {error.message for error in errors if error.code == "rate_limited"}
        assert "not known here" in told
        assert {error.retry_after_s for error in errors if error.code == "rate_limited"} == {2 * DELAY_S_MAX}

    in_jumped_time(main())


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        ("192.0.2.7", "", "192.0.2.7"),
        ("192.0.2.7", "203.0.113.9", "192.0.2.7"),
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", " , ", "10.0.0.1"),
        ("", "203.0.113.9", ""),
    ],
)
async def test_an_address_is_what_trusted_proxies_say_of_it(
    a_caller: Any, client: str, forwarded: str, address: str
) -> None:
    """The last that is none of theirs: whatever its caller wrote before that is only its own word."""
    call = a_caller(client=client, headers={"x-forwarded-for": forwarded} if forwarded else {}).call()
    assert address_of(call, TRUSTED) == address


async def test_a_check_takes_at_most_fifty_microseconds(a_caller: Any) -> None:
    """Of a key that is remembered; the best of several, as whatever else runs here is not what is measured."""
    authenticator = knowing(FakeStore("hf-good", tls_required=1, surfaces='["openai"]'), trusted=TRUSTED)
    call = a_caller(headers={"authorization": f"Bearer {'hf-good'}"}, client="192.0.2.7", scheme="https").call()
    times = []
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(100):
            await authenticator.authenticate(call, Surface.OPENAI)
        times.append((time.perf_counter() - began) / 100)
    assert min(times) <= 50e-6


async def test_a_key_that_cannot_be_looked_up_may_be_shown_again(a_caller: Any) -> None:
    """While the database is away a call has asked for nothing yet: its SDK is told to repeat it, and pays nothing."""
    store = FakeStore("hf-good")

    async def away(*_: Any) -> None:
        raise StorageError("The database is away.", reason="away")

    store.read = away  # type: ignore[method-assign, assignment]
    with pytest.raises(RequestError) as caught:
        await Authenticator(store, SECRET).authenticate(bearer(a_caller, "hf-good"))  # type: ignore[arg-type]
    error = caught.value
    assert (error.code, error.status, error.retry_after_s) == ("storage_low", 503, 5.0)
    assert is_retryable(error.code, Charge.NO)


async def test_a_database_that_is_broken_is_told_as_such(a_caller: Any) -> None:
    """Another try would find the same."""
    store = FakeStore("hf-good")

    async def broken(*_: Any) -> None:
        raise StorageError("It is no database.", reason="broken")

    store.read = broken  # type: ignore[method-assign, assignment]
    with pytest.raises(StorageError):
        await Authenticator(store, SECRET).authenticate(bearer(a_caller, "hf-good"))  # type: ignore[arg-type]
