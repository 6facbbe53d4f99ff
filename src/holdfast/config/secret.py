"""The secret that replicas share, from the environment. Pure.

It keys the hashes of API keys and the signatures of links. One process makes its own, in its data folder; several have
to have the same one, and a container's folder is empty at its first start.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from holdfast.errors import ConfigError

VARIABLE = "HOLDFAST_SECRET"
SECRET_BYTES = 32


def secret_of(environ: Mapping[str, str]) -> bytes | None:
    """Read the secret: 32 bytes as base64; None: there is none, and the data folder has its own.

    Raises:
        ConfigError: It is something else. No part of it is in the message.
    """
    text = environ.get(VARIABLE, "").strip()
    if not text:
        return None
    try:
        secret = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != SECRET_BYTES:
        raise ConfigError(
            f"{VARIABLE} must be {SECRET_BYTES} random bytes as base64, the same for every replica. "
            f"This makes one: head -c {SECRET_BYTES} /dev/urandom | base64",
            key=VARIABLE,
        )
    return secret
