"""Credentials that stand in files of their own, as service managers and container platforms hand secrets over."""

from __future__ import annotations

from pathlib import Path

from holdfast.errors import ConfigError

PREFIX = "file:"
KEY_BYTES_MAX = 64 * 1024
"""What is longer is no key, but some other file."""


def read_key_file(reference: str, setting: str) -> str:
    """Read the key that `file:PATH` names.

    Args:
        reference: As the settings have it; a tilde is somebody's home.
        setting: Dotted name of the setting, for the complaint. What the file holds is never told.

    Raises:
        ConfigError: It cannot be read, or is no short text.
    """
    path = Path(reference.removeprefix(PREFIX)).expanduser()
    try:
        with path.open("rb") as file:
            held = file.read(KEY_BYTES_MAX + 1)
        text = held.decode("ascii").strip()
    except OSError as exc:
        raise ConfigError(f"{setting}: the file {path} cannot be read: {exc.strerror}.", key=setting) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{setting}: the file {path} holds no key.", key=setting) from exc
    if not text or len(held) > KEY_BYTES_MAX:
        raise ConfigError(f"{setting}: the file {path} {'is empty' if not text else 'holds no key'}.", key=setting)
    return text
