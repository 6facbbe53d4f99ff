"""How API keys look, and what the database keeps of them."""

from __future__ import annotations

import base64
import re

import pytest

from holdfast.clock import SystemClock
from holdfast.store.apikeys import SECRET_BYTES, digest_of, spell

KEY_ID = "key_01ARZ3NDEKTSV4RRFFQ69G5FAV"


def test_a_key_holds_its_id_and_its_secret() -> None:
    """`hf-`, 26 characters of the id, 43 of base64url without padding: one word for a shell and a header."""
    secret = bytes(range(224, 256))
    key = spell(KEY_ID, secret)
    prefix, id_, body = key.split("-", 2)
    assert (prefix, f"key_{id_}") == ("hf", KEY_ID)
    assert len(body) == 43
    assert base64.urlsafe_b64decode(body + "=") == secret
    assert re.fullmatch(r"[A-Za-z0-9_-]+", key)


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33)])
def test_a_key_has_256_bits_of_chance(secret: bytes) -> None:
    """Less would be guessed; a fast hash is enough only for that much."""
    with pytest.raises(AssertionError):
        spell(KEY_ID, secret)
    assert SECRET_BYTES == 32


def test_every_secret_makes_another_key() -> None:
    """No two keys share their text."""
    clock = SystemClock()
    keys = {spell(KEY_ID, clock.token(SECRET_BYTES)) for _ in range(100)}
    assert len(keys) == 100


def test_the_digest_is_of_this_folder_and_this_key_alone() -> None:
    """A stolen database opens no other folder; the key itself is not in it."""
    key = spell(KEY_ID, bytes(32))
    digest = digest_of(b"s" * 32, key)
    assert len(digest) == 32
    assert digest == digest_of(b"s" * 32, key)
    assert digest != digest_of(b"t" * 32, key)
    assert digest != digest_of(b"s" * 32, key + "A")
    assert key.encode() not in digest


@pytest.mark.parametrize("key", ["", "hf-", "ключ", "\x00", "x" * 100_000])
def test_anything_can_be_presented(key: str) -> None:
    """What a stranger sends is hashed like a key, and found nowhere."""
    assert len(digest_of(b"s" * 32, key)) == 32
