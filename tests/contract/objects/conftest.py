"""A real S3 server, one for all tests of a run, and a folder of its bucket for each."""

from __future__ import annotations

import importlib.util
import itertools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.config.objects import ObjectKeys, ObjectSettings, address_of
from holdfast.store.objects.blobs import ObjectBlobs
from holdfast.store.objects.bucket import Bucket, open_bucket
from holdfast.store.objects.cache import Cache
from holdfast.store.overflow import Overflow

_spec = importlib.util.spec_from_file_location("object_server", Path(__file__).parents[2] / "object_server.py")
assert _spec is not None
assert _spec.loader is not None
object_server = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = object_server
_spec.loader.exec_module(object_server)

KEYS = ObjectKeys(id=object_server.KEY_ID, secret=object_server.SECRET)
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The server, started once for all processes."""
    with object_server.shared(tmp_path_factory.getbasetemp()) as reached:
        yield reached


@pytest.fixture
def place(server: Any) -> str:
    """An empty folder of the one bucket: each bucket takes volumes of its own."""
    server.make_bucket("images")
    return f"s3://images/some/prefix-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def path(server: Any) -> Iterator[Any]:
    """A path to the server that misbehaves on demand."""
    with object_server.FaultyPath(server.port).running() as made:
        yield made


@pytest.fixture
def open_at(server: Any, place: str) -> Callable[..., Bucket]:
    """Open the test's bucket, through another address, or with another credential."""

    def open_at(endpoint: str = "", keys: ObjectKeys = KEYS, blobs: str = place, retry_s: float = 3.0) -> Bucket:
        address = address_of(blobs)
        assert address is not None
        return open_bucket(address, ObjectSettings(endpoint=endpoint or server.endpoint), keys, retry_s=retry_s)

    return open_at


@pytest.fixture
def bucket(open_at: Callable[..., Bucket]) -> Bucket:
    """The test's bucket."""
    return open_at()


@pytest.fixture
def blobs_at(open_at: Callable[..., Bucket], tmp_path: Path) -> Callable[..., ObjectBlobs]:
    """Images in the test's bucket, with a data folder for what it does not take."""

    def blobs_at(
        root: str = "root", *, cache_bytes: int = 1 << 30, overflow: Overflow | None = None, **how: Any
    ) -> ObjectBlobs:
        folder = tmp_path / root
        for name in ("spool", "blobs", "inputs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        return ObjectBlobs(open_at(**how), folder, Cache(folder / "cache", cache_bytes), overflow)

    return blobs_at


@pytest.fixture
def a_file(tmp_path: Path) -> Callable[..., Path]:
    """Make finished files, as the spool has them."""
    numbers = itertools.count()

    def a_file(content: bytes = b"image") -> Path:
        made = tmp_path / f"source-{next(numbers)}"
        made.write_bytes(content)
        return made

    return a_file
