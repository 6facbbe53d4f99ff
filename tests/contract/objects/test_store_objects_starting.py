"""A start with a bucket: tried out before anybody is served, and what is wrong is told so that it can be put right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.config.objects import ObjectKeys, ObjectSettings, address_of
from holdfast.errors import ConfigError
from holdfast.store.objects import starting
from holdfast.store.objects.blobs import ObjectBlobs
from holdfast.store.objects.bucket import Bucket
from holdfast.store.objects.starting import open_blobs
from holdfast.store.objects.trying import try_out
from holdfast.store.port import Store

KEYS = ObjectKeys(id="test-key-id", secret="test-secret-Jw4Ru")
READER = ObjectKeys(id="reader-key-id", secret="reader-secret-Jw4Ru")


@pytest.fixture
def start(server: Any, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ObjectBlobs]:
    """Open a bucket as a start does, with the same data folder unless another is named."""
    monkeypatch.setattr(starting, "PROBE_S", 0.3)

    def start(
        blobs: str = place,
        keys: ObjectKeys = KEYS,
        endpoint: str = "",
        root: Path = tmp_path,
        shared: Store | None = None,
    ) -> ObjectBlobs:
        address = address_of(blobs)
        assert address is not None
        root.mkdir(exist_ok=True)
        objects = ObjectSettings(endpoint=endpoint or server.endpoint)
        return open_blobs(address, objects, keys, root, probe_name="try_1", shared=shared)

    return start


def test_a_start_leaves_nothing_behind(start: Callable[..., ObjectBlobs], bucket: Bucket, tmp_path: Path) -> None:
    """Neither in the bucket nor in the data folder, but for the bucket's name."""
    assert not start().is_away
    assert list(bucket.list("probes")) == []
    assert sorted(each.name for each in tmp_path.iterdir()) == ["bucket", "cache"]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"blobs": "s3://nowhere-to-be-found"}, "the bucket does not exist: create it, or correct store.blobs"),
        ({"keys": ObjectKeys(id="nobody", secret="x")}, "it does not know this credential: see objects.access_key_id"),
        ({"keys": READER}, "it forbids what was asked: allow this credential to put, get, list and delete"),
        ({"endpoint": "http://127.0.0.1:1"}, "it cannot be reached, or does not answer in time"),
    ],
)
def test_what_is_wrong_is_told(start: Callable[..., ObjectBlobs], how: dict[str, Any], words: str) -> None:
    """With what to change, and without a key."""
    with pytest.raises(ConfigError) as caught:
        start(**how)
    assert caught.value.key == "store.blobs"
    assert words in str(caught.value)
    assert "Jw4Ru" not in str(caught.value)


def test_a_clock_that_is_wrong_is_told(start: Callable[..., ObjectBlobs], path: Any) -> None:
    """Signatures carry the hour; the server refuses those of another one."""
    path.harms = [("PUT", "skewed")]
    with pytest.raises(ConfigError, match="set this machine's clock"):
        start(endpoint=path.endpoint)


def test_a_bucket_that_was_reached_before_may_be_away(start: Callable[..., ObjectBlobs], path: Any) -> None:
    """A restart in the midst of an outage of the store serves: images stay in the data folder meanwhile."""
    start(endpoint=path.endpoint)
    path.always = "slow_down"
    assert start(endpoint=path.endpoint).is_away
    path.always = "forbidden"
    with pytest.raises(ConfigError):
        start(endpoint=path.endpoint)


def test_a_new_machine_may_start_while_the_bucket_that_others_reached_is_away(
    start: Callable[..., ObjectBlobs], path: Any, place: str, tmp_path: Path, database: Any
) -> None:
    """A replica that is replaced in the midst of an outage has an empty disk; the database knows the bucket."""
    shared = database.open()
    start(endpoint=path.endpoint, root=tmp_path / "first", shared=shared)
    path.always = "slow_down"
    assert start(endpoint=path.endpoint, root=tmp_path / "second", shared=shared).is_away
    with pytest.raises(ConfigError):
        start(endpoint=path.endpoint, root=tmp_path / "third")
    with pytest.raises(ConfigError):
        start(f"{place}-2", endpoint=path.endpoint, root=tmp_path / "second", shared=shared)


def test_another_bucket_must_be_reached_first(start: Callable[..., ObjectBlobs], path: Any, place: str) -> None:
    """Its name may be a slip of the hand."""
    start(endpoint=path.endpoint)
    path.always = "slow_down"
    with pytest.raises(ConfigError):
        start(f"{place}-2", endpoint=path.endpoint)


def test_a_bucket_that_gives_other_bytes_is_refused(start: Callable[..., ObjectBlobs], path: Any) -> None:
    """Something on the way changes what passes."""
    path.harms = [("GET", "flipped")]
    with pytest.raises(ConfigError, match="other bytes"):
        start(endpoint=path.endpoint)


def test_a_bucket_without_conditional_puts_is_refused(tmp_path: Path) -> None:
    """Two that recover one attempt must not write over one another."""

    class Careless:
        def __init__(self) -> None:
            self.deleted: list[str] = []

        def create(self, key: str, source: Path, sha256: str) -> bool:
            return True

        def delete(self, keys: list[str]) -> None:
            self.deleted += keys

    bucket: Any = Careless()
    with pytest.raises(OSError, match="a put that creates only"):
        try_out(bucket, tmp_path / "x.probe", "try_1")
    assert bucket.deleted == ["probes/try_1"]
    assert list(tmp_path.iterdir()) == []
