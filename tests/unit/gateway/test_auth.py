"""Who is calling: where a key may stand, and for how long it is believed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.gateway import auth
from holdfast.gateway.auth import CACHE_S, Authenticator, presented_key, speaks_gemini
from holdfast.store.apikeys import digest_of
from holdfast.store.records import KeyRow

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

    def __init__(self, key: str) -> None:
        self.rows = {digest_of(SECRET, key): KeyRow(id="key_1", label="first", created_at="2026-11-24T12:00:00.000Z")}
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
