"""Reads a compose file as far as the project's own uses it; what is beyond that is refused and not passed over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_DURATION = re.compile(r"(\d+)(ms|s|m)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0}
STARTED, HEALTHY, COMPLETED = "service_started", "service_healthy", "service_completed_successfully"
KNOWN = {
    *("image", "build", "env_file", "environment", "volumes", "read_only", "cap_drop", "cap_add", "security_opt"),
    *("restart", "stop_grace_period", "stop_signal", "ulimits", "depends_on", "networks", "network_mode", "ports"),
    *("healthcheck", "command", "entrypoint", "user", "profiles"),
}


class CompositionError(Exception):
    """The file says what is not understood here, or contradicts itself."""


def seconds(text: str) -> float:
    """Read a duration."""
    assert re.fullmatch(r"(\d+(ms|s|m))+", text), text
    return sum(int(number) * _UNIT_S[unit] for number, unit in _DURATION.findall(text))


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A volume by its name, or a file or a folder beside the file."""

    source: str
    target: str
    is_writable: bool

    @property
    def is_named(self) -> bool:
        """Whether the engine makes it."""
        return not self.source.startswith(".")


@dataclass(frozen=True, kw_only=True)
class Check:
    """How a service's health is asked for."""

    words: tuple[str, ...]
    interval_s: float
    timeout_s: float
    retries: int


@dataclass(frozen=True, kw_only=True)
class Service:
    """One of them."""

    name: str
    image: str
    environment: Mapping[str, str]
    mounts: tuple[Mount, ...] = ()
    after: Mapping[str, str] = field(default_factory=dict)
    """Service -> condition."""
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    user: str = ""
    address: str = ""
    shares_network_of: str = ""
    check: Check | None = None
    stop_grace_s: float = 10.0
    is_read_only: bool = False
    raw: Mapping[str, Any] = field(default_factory=dict)


class Composition:
    """A compose file."""

    def __init__(self, file: Path, environ: Mapping[str, str]) -> None:
        """Read it.

        Args:
            file: Its own folder is where paths in it begin.
            environ: For `${NAME:-default}`.

        Raises:
            CompositionError: Something in it is not understood.
        """
        self.folder = file.parent
        self._environ = environ
        self.raw: dict[str, Any] = self._filled(yaml.safe_load(file.read_text("utf-8")))
        self.services = {name: self._service(name, raw) for name, raw in self.raw["services"].items()}
        for each in self.services.values():
            for mount in each.mounts:
                if mount.is_named and mount.source not in self.raw["volumes"]:
                    raise CompositionError(f"{each.name}: there is no volume {mount.source}")
            self._check_order(each)

    def _check_order(self, service: Service) -> None:
        for name, condition in service.after.items():
            if name not in self.services:
                raise CompositionError(f"{service.name}: there is no service {name}")
            other = self.services[name]
            if condition == HEALTHY and other.check is None and "build" not in other.raw:
                raise CompositionError(f"{service.name}: {name} has no health to wait for")

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._filled(each) for each in value]
        if not isinstance(value, str):
            return value
        return _VARIABLE.sub(lambda found: self._environ.get(found[1]) or found[2] or "", value)

    def _service(self, name: str, raw: dict[str, Any]) -> Service:
        if unknown := set(raw) - KNOWN:
            raise CompositionError(f"{name}: {', '.join(sorted(unknown))} is not understood here")
        networks = raw.get("networks", {})
        addresses = [each["ipv4_address"] for each in networks.values()] if isinstance(networks, dict) else []
        given = [self._variables(self.folder / file) for file in raw.get("env_file", [])]
        after = raw.get("depends_on", {})
        after = {other: {"condition": STARTED} for other in after} if isinstance(after, list) else after
        return Service(
            name=name,
            image=raw["image"],
            environment={k: v for each in [*given, raw.get("environment", {})] for k, v in each.items()},
            mounts=tuple(self._mount(name, text) for text in raw.get("volumes", [])),
            after={other: each["condition"] for other, each in after.items()},
            entrypoint=tuple(raw["entrypoint"]) if "entrypoint" in raw else None,
            command=tuple(raw["command"]) if "command" in raw else None,
            user=raw.get("user", ""),
            address=addresses[0] if addresses else "",
            shares_network_of=raw.get("network_mode", "").removeprefix("service:"),
            check=self._check(raw["healthcheck"]) if "healthcheck" in raw else None,
            stop_grace_s=seconds(raw.get("stop_grace_period", "10s")),
            is_read_only=raw.get("read_only", False),
            raw=raw,
        )

    def _variables(self, file: Path) -> dict[str, str]:
        # A file of secrets that nobody has made yet is told by who starts the services.
        text = file.read_text("utf-8") if file.exists() else ""
        return dict(line.split("=", 1) for line in text.splitlines() if line and not line.startswith("#"))

    def _mount(self, name: str, text: str) -> Mount:
        source, target, *mode = text.split(":")
        if mode not in ([], ["ro"]):
            raise CompositionError(f"{name}: {text} is not understood here")
        return Mount(source=source, target=target, is_writable=not mode)

    def _check(self, raw: dict[str, Any]) -> Check:
        kind, *words = raw["test"]
        if kind != "CMD":
            raise CompositionError(f"{raw['test']} is not understood here")
        return Check(
            words=tuple(words),
            interval_s=seconds(raw["interval"]),
            timeout_s=seconds(raw["timeout"]),
            retries=raw["retries"],
        )

    def order(self, names: set[str] | None = None) -> list[Service]:
        """List services so that each comes behind what it needs.

        Raises:
            CompositionError: They wait for one another.
        """
        left = {name: each for name, each in self.services.items() if names is None or name in names}
        ordered: list[Service] = []
        while left:
            ready = [name for name, each in left.items() if not set(each.after) & set(left)]
            if not ready:
                raise CompositionError(f"{', '.join(left)} wait for one another")
            ordered += [left.pop(name) for name in ready]
        return ordered
