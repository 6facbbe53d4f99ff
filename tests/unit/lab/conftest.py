"""The lab's own arithmetic: a harness that cannot see a loss proves nothing."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest

LAB = Path(__file__).resolve().parents[3] / "lab"


_KNOWN: dict[str, dict[str, ModuleType]] = {}


def _imported(folder: str, name: str) -> ModuleType:
    # Each experiment is a folder of scripts that know one another by their plain names, which another one may have too.
    names = [path.stem for path in (LAB / folder).glob("*.py")]
    for other in names:
        sys.modules.pop(other, None)
    sys.modules.update(_KNOWN.get(folder, {}))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(LAB / folder)
        module = importlib.import_module(name)
    _KNOWN[folder] = {other: sys.modules[other] for other in names if other in sys.modules}
    return module


@pytest.fixture(scope="session")
def verdict() -> ModuleType:
    """What became of a load."""
    return _imported("survival", "verdict")


@pytest.fixture(scope="session")
def load() -> ModuleType:
    """What is asked."""
    return _imported("survival", "load")


@pytest.fixture(scope="session")
def table() -> ModuleType:
    """Figures and bars."""
    return _imported("survival", "table")


@pytest.fixture(scope="session")
def callers() -> ModuleType:
    """Those who ask."""
    return _imported("survival", "callers")


@pytest.fixture(scope="session")
def books() -> ModuleType:
    """What is read afterwards."""
    return _imported("survival", "books")


@pytest.fixture(scope="session")
def bars() -> ModuleType:
    """What the bench promises."""
    return _imported("bench", "bars")


@pytest.fixture(scope="session")
def paired() -> ModuleType:
    """Two states of the sources side by side."""
    return _imported("bench", "paired")


@pytest.fixture(scope="session")
def crowd() -> ModuleType:
    """Who asks while an upstream is overloaded."""
    return _imported("overload", "crowd")


@pytest.fixture(scope="session")
def reckoning() -> ModuleType:
    """Figures and bars of that."""
    return _imported("overload", "reckoning")


@pytest.fixture(scope="session")
def parties() -> ModuleType:
    """What stands between."""
    return _imported("overload", "parties")


@pytest.fixture(scope="session")
def askers() -> ModuleType:
    """Those who ask then."""
    return _imported("overload", "askers")


@pytest.fixture(scope="session")
def cells() -> ModuleType:
    """What the matrix is made of."""
    return _imported("matrix", "cells")


@pytest.fixture(scope="session")
def judging() -> ModuleType:
    """Whether a cell is right."""
    return _imported("matrix", "judging")


@pytest.fixture(scope="session")
def reasons() -> ModuleType:
    """Why a cell can be red."""
    return _imported("matrix", "reasons")


@pytest.fixture(scope="session")
def tap() -> ModuleType:
    """The wire between a client and its proxy."""
    return _imported("matrix", "tap")


@pytest.fixture(scope="session")
def exchanges() -> ModuleType:
    """What went over it, as text."""
    return _imported("matrix", "exchanges")


@pytest.fixture(scope="session")
def pages() -> ModuleType:
    """The page of the matrix."""
    return _imported("matrix", "pages")


@pytest.fixture(scope="session")
def results() -> ModuleType:
    """What a run of the matrix leaves behind."""
    return _imported("matrix", "results")


@pytest.fixture(scope="session")
def chaos_weather() -> ModuleType:
    """What befalls replicas."""
    return _imported("chaos", "weather")


@pytest.fixture(scope="session")
def chaos_orders() -> ModuleType:
    """What their callers want."""
    return _imported("chaos", "orders")


@pytest.fixture(scope="session")
def chaos_evidence() -> ModuleType:
    """What is left when all has come to rest."""
    return _imported("chaos", "evidence")


@pytest.fixture(scope="session")
def chaos_checks() -> ModuleType:
    """The invariants over it."""
    return _imported("chaos", "checks")


@pytest.fixture(scope="session")
def capacity() -> ModuleType:
    """What so many generations a day take."""
    return _imported("scale", "capacity")


@pytest.fixture(scope="session")
def scale_tables() -> ModuleType:
    """How that is told."""
    return _imported("scale", "scale_tables")


@pytest.fixture(scope="session")
def chaos_report() -> ModuleType:
    """What is told of it."""
    return _imported("chaos", "report")
