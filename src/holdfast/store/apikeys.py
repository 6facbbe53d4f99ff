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
OPERATOR_PREFIX = "hf-operator-"
OPERATOR_MINUTES = 2
"""For how long a credential of the folder's own holds; two processes of one machine have one clock."""


def spell(key_id: str, secret: bytes) -> str:
    """Make the text that its owner keeps."""
    assert len(secret) == SECRET_BYTES
    body = base64.urlsafe_b64encode(secret).rstrip(b"=").decode()
    return f"{PREFIX}-{key_id.removeprefix('key_')}-{body}"


def digest_of(folder_secret: bytes, key: str) -> bytes:
    """Hash a presented key; looked up by equality, which tells an attacker nothing he can steer."""
    return hmac.new(folder_secret, b"api-key\0" + key.encode(), hashlib.sha256).digest()


def operator_token(folder_secret: bytes, unix_s: float) -> str:
    """Make a credential of whoever can read the data folder's secret, for the next minutes.

    He could write any key into the folder; this spares him that while a gateway has it.
    """
    return _operator_of(folder_secret, int(unix_s // 60))


def is_operator(folder_secret: bytes, token: str, unix_s: float) -> bool:
    """Whether a credential was made with the folder's secret within the last minutes; compared in constant time."""
    if not token.startswith(OPERATOR_PREFIX):
        return False
    minute = token.removeprefix(OPERATOR_PREFIX).partition("-")[0]
    if not (minute.isascii() and minute.isdigit() and len(minute) < 12):
        return False
    if abs(int(minute) - unix_s // 60) > OPERATOR_MINUTES:
        return False
    return hmac.compare_digest(_operator_of(folder_secret, int(minute)).encode(), token.encode())


def _operator_of(folder_secret: bytes, minute: int) -> str:
    digest = hmac.new(folder_secret, b"operator\0%d" % minute, hashlib.sha256).digest()
    return f"{OPERATOR_PREFIX}{minute}-{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"
