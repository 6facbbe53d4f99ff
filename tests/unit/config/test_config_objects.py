"""Where images are kept, as settings: what is taken, and what a complaint names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.config import parse
from holdfast.config.objects import (
    ObjectAddress,
    ObjectKeys,
    ObjectSettings,
    Scheme,
    Serving,
    address_of,
    check_objects,
    object_keys,
)
from holdfast.config.renewal import renewed
from holdfast.errors import ConfigError


def test_images_are_in_the_data_folder_by_default() -> None:
    """A disk needs no account."""
    settings = parse({})
    assert address_of(settings.store.blobs) is None
    assert settings.objects.serve is Serving.PROXY


@pytest.mark.parametrize(
    ("text", "scheme", "bucket", "prefix"),
    [
        ("s3://images", Scheme.S3, "images", ""),
        ("s3://images/", Scheme.S3, "images", ""),
        ("s3://my.images-2/holdfast/eu/", Scheme.S3, "my.images-2", "holdfast/eu"),
        ("gs://images_of_mine/a", Scheme.GCS, "images_of_mine", "a"),
        ("az://container/a.b_c", Scheme.AZURE, "container", "a.b_c"),
    ],
)
def test_a_bucket_is_read(text: str, scheme: Scheme, bucket: str, prefix: str) -> None:
    """And spelled the same way however many slashes there were."""
    address = address_of(text)
    assert address == ObjectAddress(scheme=scheme, bucket=bucket, prefix=prefix)
    assert address_of(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["", "s3", "s3://", "s3:///prefix", "http://bucket", "S3://bucket", "s3://a", "s3://b c/d", "s3://bucket/../x",
     "s3://bucket/a//b", "s3://user:pass@bucket/x", "s3://bucket/x?y=1", "/data", "Local", "s3://-bucket"],
)  # fmt: skip
def test_what_is_no_place_is_refused_by_its_key(text: str) -> None:
    """With what to write instead."""
    with pytest.raises(ConfigError, match="s3://bucket/prefix") as caught:
        parse({"store": {"blobs": text}})
    assert caught.value.key == "store.blobs"


@given(st.text(max_size=80))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    """A prefix never leaves the bucket, and what is read is what is spelled."""
    try:
        address = address_of(f"s3://bucket/{text}")
    except ConfigError:
        return
    assert address is not None
    assert not {"", ".", ".."} & set(address.prefix.split("/")[:-1])
    assert address_of(str(address)) == address


@pytest.mark.parametrize(
    ("objects", "key"),
    [
        ({"endpoint": "minio:9000"}, "objects.endpoint"),
        ({"endpoint": "https://key:secret@minio"}, "objects.endpoint"),
        ({"endpoint": "https://minio/?x=1"}, "objects.endpoint"),
        ({"endpoint": "ftp://minio"}, "objects.endpoint"),
        ({"endpoint": "https://minio:99999"}, "objects.endpoint"),
        ({"access_key_id": "a"}, "objects.secret_access_key"),
        ({"secret_access_key": "a"}, "objects.access_key_id"),
        ({"serve": "both"}, "objects.serve"),
        ({"link_s": 5}, "objects.link_s"),
        ({"cache_bytes": -1}, "objects.cache_bytes"),
        ({"timeout_s": 0}, "objects.timeout_s"),
        ({"endpont": "x"}, "objects.endpont"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_key(objects: dict[str, Any], key: str) -> None:
    """Before anything is opened."""
    with pytest.raises(ConfigError) as caught:
        parse({"store": {"blobs": "s3://images"}, "objects": objects})
    assert caught.value.key == key
    assert "secret@" not in str(caught.value)


def test_googles_buckets_take_no_key_pair() -> None:
    """They take a service account, which the machine names."""
    with pytest.raises(ConfigError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        check_objects("gs://images", ObjectSettings(access_key_id="a", secret_access_key="b"))


def test_without_a_bucket_nothing_is_asked_of_how_it_is_reached() -> None:
    """Somebody tries a bucket out, and goes back."""
    check_objects("local", ObjectSettings(endpoint="minio:9000"))


def test_a_credential_is_read_from_environment_or_file(tmp_path: Path) -> None:
    """As service managers hand them over."""
    file = tmp_path / "secret"
    file.write_text("from-file\n", "utf-8")
    objects = ObjectSettings(access_key_id="env:ID", secret_access_key=f"file:{file}")
    assert object_keys(objects, {"ID": " from-env "}) == ObjectKeys(id="from-env", secret="from-file")
    assert object_keys(ObjectSettings(), {"AWS_ACCESS_KEY_ID": "x"}) is None


def test_a_variable_that_is_not_set_is_named() -> None:
    """And so is the setting."""
    objects = ObjectSettings(access_key_id="env:ID", secret_access_key="env:SECRET")
    with pytest.raises(ConfigError, match="SECRET is not set") as caught:
        object_keys(objects, {"ID": "a"})
    assert caught.value.key == "objects.secret_access_key"


def test_a_secret_is_in_no_repr() -> None:
    """Neither of the settings nor of what they are resolved to."""
    objects = ObjectSettings(access_key_id="a", secret_access_key="Jw4Ru")
    assert "Jw4Ru" not in repr(objects)
    assert "Jw4Ru" not in repr(object_keys(objects, {}))


def test_another_bucket_waits_for_the_next_start() -> None:
    """What is kept where is bound to what is made once."""
    now, read = parse({}), parse({"store": {"blobs": "s3://images"}, "objects": {"link_s": 60}})
    settings, waiting = renewed(now, read)
    assert settings == now
    assert waiting == ("store.blobs", "objects.link_s")
