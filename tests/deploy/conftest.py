"""The stage of these tests: the image that the Dockerfile makes, simulated upstreams, and processes run from both."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _load(file: Path) -> ModuleType:
    # Tests are no package; what is shared is loaded from its file.
    spec = importlib.util.spec_from_file_location(f"deploy_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sandbox_ = _load(Path(__file__).with_name("sandbox.py"))
containerfile_ = _load(Path(__file__).with_name("containerfile.py"))
boxed_ = _load(Path(__file__).with_name("boxed.py"))
composition_ = _load(Path(__file__).with_name("composition.py"))
by_hand_ = _load(Path(__file__).with_name("by_hand.py"))
fronts_ = _load(Path(__file__).with_name("fronts.py"))
processes_ = _load(ROOT / "tests" / "acceptance" / "processes.py")


@pytest.fixture(scope="session", autouse=True)
def clean_environment() -> Iterator[None]:
    """Let no proxy stand between loopback and itself, and no real key be found."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name not in processes_.environment()]:
            patch.delenv(name)
        patch.setenv("NO_PROXY", "*")
        yield


@pytest.fixture(scope="session")
def sandbox() -> ModuleType:
    """Give root file systems for processes."""
    return sandbox_


@pytest.fixture(scope="session")
def containerfile() -> ModuleType:
    """Give what carries out a Dockerfile."""
    return containerfile_


@pytest.fixture(scope="session")
def processes() -> ModuleType:
    """Give the processes of the acceptance tests."""
    return processes_


@pytest.fixture(scope="session")
def boxed() -> ModuleType:
    """Give processes in root file systems of their own."""
    return boxed_


@pytest.fixture(scope="session")
def composition() -> ModuleType:
    """Give what reads a compose file."""
    return composition_


@pytest.fixture(scope="session")
def by_hand() -> ModuleType:
    """Give what carries a compose file out."""
    return by_hand_


@pytest.fixture(scope="session")
def fronts_module() -> ModuleType:
    """Give the proxies."""
    return fronts_


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Start the upstreams, once."""
    started = processes_.Simulator(tmp_path_factory.mktemp("simulator"))
    yield started
    started.stop()
    assert started.status == 0


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Build the image, once; its stages are kept."""
    builder = containerfile_.Builder(sandbox_, ROOT, tmp_path_factory.mktemp("image"), {"REVISION": "a-commit"})
    builder.build((ROOT / "Dockerfile").read_text("utf-8"))
    return builder


@pytest.fixture(scope="session")
def image(builder: Any) -> Any:
    """Give what the last step of the Dockerfile leaves."""
    return list(builder.stages.values())[-1]
