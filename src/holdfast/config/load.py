"""Reading the settings file: the only I/O of this package."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from holdfast.config.compensating import check_compensation
from holdfast.config.environment import from_environment
from holdfast.config.parse import merged, parse
from holdfast.config.serving import Route
from holdfast.config.tree import Compensation, Settings
from holdfast.errors import ConfigError

FILE = "holdfast.toml"


def load(path: Path | str | None, environ: Mapping[str, str]) -> Settings:
    """Read settings from a file and the environment, which wins.

    The file is `path`, else what `HOLDFAST_CONFIG` names, else `./holdfast.toml` if it is there, else none.

    Raises:
        ConfigError: The file cannot be read or is no TOML, or a setting is wrong.
    """
    named = path if path is not None else environ.get("HOLDFAST_CONFIG") or None
    file = Path(named) if named is not None else Path(FILE)
    mapping = {} if named is None and not file.exists() else _read(file)
    try:
        settings = parse(merged(mapping, from_environment(environ)))
    except ConfigError as exc:
        if not mapping:
            raise
        raise ConfigError(f"{file}: {exc}", key=exc.key) from exc
    # A tilde in TOML is never expanded by a shell.
    return replace(settings, store=replace(settings.store, data=settings.store.data.expanduser()))


def load_compensation(file: Path, routes: Sequence[Route]) -> tuple[Compensation, ...]:
    """Read the `[[compensation]]` entries of a file, which may be a whole settings file or hold nothing else.

    Raises:
        ConfigError: The file cannot be read or has none, or an entry is wrong, or for a model that no route has.
    """
    mapping = _read(file)
    if "compensation" not in mapping:
        raise ConfigError(f"{file} has no [[compensation]] entries.", key="compensation")
    try:
        entries = parse({"compensation": mapping["compensation"]}).compensation
        check_compensation(entries, routes)
    except ConfigError as exc:
        raise ConfigError(f"{file}: {exc}", key=exc.key) from exc
    return entries


def _read(file: Path) -> dict[str, object]:
    try:
        return tomllib.loads(file.read_text("utf-8-sig"))
    except FileNotFoundError as exc:
        raise ConfigError(f"There is no settings file {file}. Check --config or HOLDFAST_CONFIG.") from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{file} is not valid TOML: {exc}.") from exc
    except UnicodeDecodeError as exc:
        raise ConfigError(f"{file} is not UTF-8; save it as UTF-8.") from exc
    except OSError as exc:
        raise ConfigError(f"{file} cannot be read: {exc.strerror}.") from exc
