"""Parts of the lab that talk over sockets."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

LAB = Path(__file__).resolve().parents[3] / "lab"


@pytest.fixture(scope="session")
def chaos_lines() -> ModuleType:
    """What replicas of the lab of chaos talk through."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(LAB / "chaos")
        return importlib.import_module("lines")
