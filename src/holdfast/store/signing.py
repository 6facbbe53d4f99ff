"""Links that carry their own permission: path, expiry and key id under HMAC-SHA256. Pure."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Signs with the first secret and accepts any; two are valid at once while they rotate."""

    secrets: tuple[tuple[str, bytes], ...]
    """Key id and secret, the one in use first."""

    def __post_init__(self) -> None:
        assert self.secrets
        assert all(secret for _, secret in self.secrets)

    def sign(self, path: str, *, expires_unix_s: int) -> str:
        """Give the path with its signature as query."""
        return f"{path}?{self.query(path, expires_unix_s=expires_unix_s)}"

    def query(self, signed: str, *, expires_unix_s: int) -> str:
        """Give the signature of a text alone, as a query has it."""
        kid, secret = self.secrets[0]
        return f"exp={expires_unix_s}&kid={kid}&sig={_signature(secret, signed, expires_unix_s, kid)}"

    def is_valid(self, path: str, query: Mapping[str, str], *, now_unix_s: float) -> bool:
        """Whether a presented link was signed by us and has not expired."""
        expires, kid, presented = query.get("exp", ""), query.get("kid", ""), query.get("sig", "")
        if not (expires.isascii() and expires.isdigit() and len(expires) <= 12) or not presented.isascii():
            return False
        if int(expires) < now_unix_s:
            return False
        return any(
            hmac.compare_digest(_signature(secret, path, int(expires), kid), presented)
            for known, secret in self.secrets
            if known == kid
        )


def _signature(secret: bytes, path: str, expires_unix_s: int, kid: str) -> str:
    message = f"image-url\0{path}\0{expires_unix_s}\0{kid}".encode()
    return base64.urlsafe_b64encode(hmac.digest(secret, message, "sha256")).rstrip(b"=").decode()
