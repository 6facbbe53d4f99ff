"""How an API key looks and how it is hashed. Pure.

`hf-<26 characters of its id>-<43 characters of base64url>`: 256 bits of chance, so a fast keyed hash is enough; the key
of the hash is the data folder's secret, so a stolen database alone tells nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

PREFIX = "hf"
SECRET_BYTES = 32


def spell(key_id: str, secret: bytes) -> str:
    """Make the text that its owner keeps."""
    assert len(secret) == SECRET_BYTES
    body = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    return f"{PREFIX}-{key_id.removeprefix('key_')}-{body}"


def digest_of(folder_secret: bytes, key: str) -> bytes:
    """Hash a presented key; looked up by equality, which tells an attacker nothing he can steer."""
    return hmac.new(folder_secret, b"api-key\0" + key.encode(), hashlib.sha256).digest()
