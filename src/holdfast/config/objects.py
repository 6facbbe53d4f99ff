"""Where images are kept besides the data folder: a bucket of an object store, its address and how it is reached."""

# ruff: noqa: RUF009 - `key` gives a dataclass field, not a shared value.
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from holdfast.config.key_files import PREFIX, read_key_file
from holdfast.config.keys import key
from holdfast.errors import ConfigError

LOCAL = "local"
_BUCKET = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{1,61}[A-Za-z0-9])")
"""As wide as the three of them take: S3 wants lower case, Azure no dots or underscores, and each says so itself."""
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*")
"""The characters that S3 calls safe in keys."""


class Scheme(StrEnum):
    """Whose API a bucket speaks."""

    S3 = "s3"
    GCS = "gs"
    AZURE = "az"


class Serving(StrEnum):
    """How the bytes of an image come from a bucket to who asks for it by its address."""

    PROXY = "proxy"
    REDIRECT = "redirect"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectSettings:
    """How the bucket that `store.blobs` names is reached; needs the extra `s3`."""

    endpoint: str = key(
        "",
        "Address of the server, where it is not the provider's own: `https://minio.example.com`. Plain HTTP is taken "
        "where it is written so",
        source="AWS, Google and Azure are known by the scheme of `store.blobs`",
    )
    region: str = key(
        "",
        "Region of an S3 bucket; empty: `AWS_REGION`, else us-east-1, which servers of one's own seldom look at",
        source="signatures of S3 name it",
    )
    access_key_id: str = key(
        "",
        "Access key of S3, or the account of Azure; `env:NAME` reads the environment, `file:PATH` a file. Empty: what "
        "the machine offers (`AWS_*`, web identity, instance role; `GOOGLE_APPLICATION_CREDENTIALS`; `AZURE_*`)",
        source="a role that a machine has is a key that nobody can lose",
    )
    secret_access_key: str = key(
        "", "What belongs to `access_key_id`, written in the same ways", source="beside `access_key_id`", secret=True
    )
    serve: Serving = key(
        Serving.PROXY,
        "How images are given to who asks for them by their address: `proxy`, through this gateway, which then knows "
        "that they arrived; or `redirect` to an address of the bucket that is signed for `link_s`. An image that was "
        "redirected counts as not collected, and is kept for `store.retention_s_max`",
        source="a bucket is seldom to be reached by those who ask; what was not seen to arrive is not deleted early",
    )
    link_s: float = key(
        300.0,
        "How long an address of the bucket is valid",
        unit="seconds",
        source="a 4K image at 1 Mbit/s takes 180 s, and only its beginning must fall into that time",
        at_least=10,
        at_most=604800,
    )
    cache_bytes: int = key(
        1 << 30,
        "Most bytes of images kept on the local disk, in `cache/`, beside those in the bucket; the one that was used "
        "longest ago goes first",
        unit="bytes",
        source="50 images of 4K: an answer is written minutes after its image came, and mostly once",
        at_least=0,
    )
    overflow_bytes: int = key(
        4 << 30,
        "Most bytes of images kept in the database, of all replicas together, while the store does not take them: each "
        "gives them from there, and no disk has to last. One of them moves them when the store is back. What does not "
        "fit stays on the disk of whoever has it. With PostgreSQL only; embedded, rows are on that disk too. 0: none",
        unit="bytes",
        source="200 images of 4K: ten minutes without the store at one image in three seconds",
        at_least=0,
    )
    timeout_s: float = key(
        30.0,
        "How long one request to the store may take, from connecting to the last byte. While the store does not take "
        "an image it stays in the database or the data folder, is given to its caller from there, and is moved when "
        "the store is back",
        unit="seconds",
        source="64 MiB at 20 Mbit/s",
        at_least=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectAddress:
    """A bucket, or a container, and the folder in it."""

    scheme: Scheme
    bucket: str
    prefix: str
    """Without slashes around it; empty: all of the bucket."""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectKeys:
    """A credential, resolved. Its secret is never shown."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"ObjectKeys(id={self.id!r})"


def address_of(blobs: str) -> ObjectAddress | None:
    """Read `store.blobs`; None for the data folder.

    Raises:
        ConfigError: It is neither `local` nor the address of a bucket.
    """
    if blobs == LOCAL:
        return None
    scheme, _, rest = blobs.partition("://")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    is_ours = scheme in tuple(Scheme) and _BUCKET.fullmatch(bucket) is not None
    if not is_ours or (prefix and _PREFIX.fullmatch(prefix) is None) or {"..", "."} & set(prefix.split("/")):
        raise ConfigError(
            f'store.blobs = {blobs[:200]!r} is no place for images: write "local" for the data folder, or '
            '"s3://bucket/prefix", "gs://bucket/prefix", "az://container/prefix" (letters, digits, "-", "_" and ".").',
            key="store.blobs",
        )
    return ObjectAddress(scheme=Scheme(scheme), bucket=bucket, prefix=prefix)


def check_objects(blobs: str, objects: ObjectSettings) -> None:
    """See that `store.blobs` and what it is reached by fit together.

    Raises:
        ConfigError: With the key to change.
    """
    address = address_of(blobs)
    if address is None:
        return
    if objects.endpoint:
        _check_endpoint(objects.endpoint)
    if bool(objects.access_key_id) != bool(objects.secret_access_key):
        missing = "secret_access_key" if objects.access_key_id else "access_key_id"
        raise ConfigError(
            f"objects.{missing} is missing: a credential has both, or leave both away for what the machine offers.",
            key=f"objects.{missing}",
        )
    if address.scheme is Scheme.GCS and objects.access_key_id:
        raise ConfigError(
            "objects.access_key_id: Google's buckets take a service account, whose file "
            "GOOGLE_APPLICATION_CREDENTIALS names; leave it away here.",
            key="objects.access_key_id",
        )


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urlsplit(endpoint)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole or parts.username is not None or parts.query or parts.fragment:
        raise ConfigError(
            "objects.endpoint is no address of a server: write it whole, as https://s3.example.com:9000, without "
            "credentials (they go into objects.access_key_id and objects.secret_access_key).",
            key="objects.endpoint",
        )


def object_keys(objects: ObjectSettings, environ: Mapping[str, str]) -> ObjectKeys | None:
    """Resolve the credential; None where the machine offers its own.

    Raises:
        ConfigError: A variable is not set, or a file cannot be read.
    """
    if not objects.access_key_id:
        return None
    return ObjectKeys(
        id=_resolved(objects.access_key_id, environ, "objects.access_key_id"),
        secret=_resolved(objects.secret_access_key, environ, "objects.secret_access_key"),
    )


def _resolved(reference: str, environ: Mapping[str, str], path: str) -> str:
    if reference.startswith(PREFIX):
        return read_key_file(reference, path)
    if not reference.startswith("env:"):
        return reference
    variable = reference.removeprefix("env:")
    value = environ.get(variable, "").strip()
    if not value:
        raise ConfigError(
            f"{path}: the environment variable {variable} is not set; export it, then start again.", key=path
        )
    return value
