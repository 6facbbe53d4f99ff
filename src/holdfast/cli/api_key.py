"""The API key that `holdfast generate` sends: where it comes from, and how it is spoken of without being told."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from holdfast.cli.exits import Exit, Stop
from holdfast.client.address import is_loopback_host

VARIABLE = "HOLDFAST_API_KEY"
FIRST_KEY = "first.key"
"""In the data folder: where the first key goes when there is no terminal to show it on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key, or none."""

    value: str
    """Empty when there is none: something else than holdfast may need none."""
    source: str = ""
    """`--api-key`, `HOLDFAST_API_KEY`, or the file."""
    file: Path | None = None

    @property
    def account(self) -> str:
        """The part of a key of holdfast's that is its name; empty for another's key, which is all secret."""
        brand, _, rest = self.value.partition("-")
        name, _, secret = rest.partition("-")
        return name if brand == "hf" and secret else ""

    def header(self) -> str:
        """Spell the header for a shell, key not included; empty without a key."""
        if not self.value:
            return ""
        spelled = f"${VARIABLE}" if self.file is None else f"$(cat {shlex.quote(str(self.file))})"
        return f'-H "Authorization: Bearer {spelled}" '

    def refused(self, said: str) -> str:
        """Say which key was refused, and where another is to be put.

        Args:
            said: What the gateway said of it.
        """
        if not self.value:
            return (
                f"No API key was given. Give the gateway's with --api-key or {VARIABLE}; it told its first key when it "
                "first started."
            )
        return f"{said} Tried was {self._shown()}. Give another with --api-key or {VARIABLE}."

    def _shown(self) -> str:
        # The middle of a key of ours is its name, which is in the log; the rest is the secret.
        spelled = f"hf-{self.account}-…" if self.account else "a key that is none of holdfast's (hf-…)"
        return f"{spelled}, from {self.source}"


def find_api_key(given: str | None, environ: Mapping[str, str], base_url: str, files: tuple[Path, ...]) -> ApiKey:
    """Find the key: as given, from the environment, or what a gateway on this machine has written down.

    A file is read only for a gateway on this machine: what it opens is nobody else's.

    Args:
        given: From the command line.
        environ: The process's environment.
        base_url: Whom the key is for.
        files: Where gateways of this machine keep a key, the likeliest first.

    Raises:
        Stop: It cannot be one.
    """
    if given:
        key = ApiKey(value=given.strip(), source="--api-key")
    elif environ.get(VARIABLE):
        key = ApiKey(value=environ[VARIABLE].strip(), source=VARIABLE)
    else:
        found = next((file for file in files if os.access(file, os.R_OK)), None) if is_loopback(base_url) else None
        key = ApiKey(value="") if found is None else _read(found)
    if not (key.value.isascii() and key.value.isprintable() and " " not in key.value):
        raise Stop(
            Exit.KEY_WRONG,
            f"The API key from {key.source} holds a character that no HTTP header can carry. Copy it again.",
        )
    return key


def _read(file: Path) -> ApiKey:
    return ApiKey(value=file.read_text("utf-8", "replace").strip(), source=str(file), file=file)


def is_loopback(base_url: str) -> bool:
    """Whether an address is this machine's own."""
    return is_loopback_host(urlsplit(base_url).hostname or "")
