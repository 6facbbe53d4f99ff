"""A gateway and simulated upstreams, real processes that the pages' blocks are run against."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _load(file: Path) -> ModuleType:
    # Tests are no package; what is shared is loaded from its file.
    spec = importlib.util.spec_from_file_location(f"docs_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Served:
    """What the pages' addresses and keys stand for."""

    simulator: Any
    gateway: Any

    def filled(self, block: str, generation_id: str = "") -> str:
        """Put addresses, the key and an id in their places, as a reader would."""
        filled = block.replace("http://127.0.0.1:16888", self.gateway.base_url).replace("hf-…", self.gateway.key)
        filled = filled.replace("http://127.0.0.1:16900", self.simulator.base_url)
        return filled.replace("gen_…", generation_id) if generation_id else filled


@pytest.fixture(scope="session")
def processes() -> ModuleType:
    """The processes of the acceptance tests."""
    return _load(ROOT / "tests" / "acceptance" / "processes.py")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory, processes: ModuleType) -> Iterator[Served]:
    """Start both, once."""
    # Whoever has a key in the environment must not pay for this.
    for name in [name for name in os.environ if name.startswith("HOLDFAST_") or name.upper().endswith("_API_KEY")]:
        os.environ.pop(name)
    folder = tmp_path_factory.mktemp("served")
    simulator = processes.Simulator(folder)
    try:
        gateway = processes.Gateway(folder, processes.settings_for(simulator.base_url))
        try:
            yield Served(simulator, gateway)
        finally:
            gateway.stop()
    finally:
        simulator.stop()
    assert gateway.status == 0, gateway.logged()[-3000:]
