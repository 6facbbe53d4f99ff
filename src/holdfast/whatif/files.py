"""Scenarios and policies by name or file: the only reading of files in this package."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from holdfast.config.words import nearest
from holdfast.errors import ConfigError
from holdfast.simulator.scenarios import SHIPPED
from holdfast.whatif import policies, scenario
from holdfast.whatif.policies import Policy
from holdfast.whatif.scenario import Incident

_HERE = files("holdfast.whatif")


def _shipped(folder: str) -> dict[str, Traversable]:
    found = {
        item.name.removesuffix(".toml"): item for item in (_HERE / folder).iterdir() if item.name.endswith(".toml")
    }
    return dict(sorted(found.items()))


def scenario_names() -> list[str]:
    """List the scenarios that are shipped: the simulator's, some of them with load and upstreams of their own."""
    return sorted({*SHIPPED, *_shipped("scenarios")})


def policy_names() -> list[str]:
    """List the policies that are shipped."""
    return list(_shipped("policies"))


def load_scenario(named: str) -> Incident:
    """Give a scenario that is shipped, or read one from a TOML file.

    Raises:
        ConfigError: There is none of this name, or the file says something unknown.
    """
    shipped = _shipped("scenarios")
    if named in shipped:
        return scenario.parse(shipped[named].read_text("utf-8"), name=named)
    if named in SHIPPED:
        return Incident(scenario=SHIPPED[named])
    return scenario.parse(_read(named, "scenario", scenario_names()), name=Path(named).stem)


def load_policy(named: str) -> Policy:
    """Give a policy that is shipped, or read one from a TOML file.

    Raises:
        ConfigError: There is none of this name, or a setting is wrong.
    """
    shipped = _shipped("policies")
    if named in shipped:
        return policies.parse(shipped[named].read_text("utf-8"), name=named)
    return policies.parse(_read(named, "policy", policy_names()), name=Path(named).stem)


def _read(named: str, what: str, names: Iterable[str]) -> str:
    path = Path(named)
    names = list(names)
    if path.suffix != ".toml" and not path.is_file():
        near = nearest(named, names)
        hint = f"{near} " if near.startswith("Did you mean") else ""
        raise ConfigError(f"Unknown {what} {named!r}. {hint}Shipped: {', '.join(names)}; or name a TOML file.")
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError as exc:
        raise ConfigError(f"There is no {what} file {path}. Shipped: {', '.join(names)}.") from exc
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"The {what} file {path} cannot be read: {exc}.") from exc
