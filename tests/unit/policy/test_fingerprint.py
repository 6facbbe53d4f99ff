"""What makes two POSTs the same request, and what does not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.policy.fingerprint import fingerprint

PATH = "/v1/images/generations"
BODY = {"model": "nano-banana-pro", "prompt": "a lighthouse", "n": 1, "size": "1024x1024"}


def of(body: Any = BODY, **overrides: Any) -> bytes:
    """Fingerprint a request that a test changes at one place."""
    usual: dict[str, Any] = {"key_id": "key_1", "path": PATH, "inputs": (), "end_user": None}
    skeleton = body if isinstance(body, bytes) else json.dumps(body).encode()
    return fingerprint(skeleton=skeleton, **usual | overrides)


def test_libraries_spell_the_same_body_differently() -> None:
    """Order of keys, white space and escapes are theirs, not the caller's."""
    reordered = {"z": {"b": 1, "a": [1, 2]}, "prompt": "é/☃"}
    same = [
        json.dumps(reordered).encode(),
        json.dumps(reordered, indent=2).encode(),
        json.dumps(reordered, ensure_ascii=False, sort_keys=True).encode(),
        json.dumps(reordered).replace("/", "\\/").encode(),
    ]
    assert len({of(each) for each in same}) == 1
    assert len(of()) == 32


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": "a lighthouse "},
        {"n": 2},
        {"n": "1"},
        {"n": 1.5},
        {"user": "ann"},
        {"safety_identifier": "ann"},
        {"stream": False},
        {"unknown": None},
    ],
)
def test_whatever_was_written_counts(changed: dict[str, Any]) -> None:
    """No default is filled in: what an omitted field means may change with a deploy, what was sent does not."""
    assert of({**BODY, **changed}) != of()


@pytest.mark.parametrize(
    "overrides",
    [
        {"key_id": "key_2"},
        {"path": "/v1beta/models/nano-banana-pro:generateContent"},
        {"inputs": ["00" * 32]},
        {"end_user": "ann"},
        {"end_user": ""},
    ],
)
def test_whose_it_is_and_where_it_went_count(overrides: dict[str, Any]) -> None:
    """Another key, another operation, other images, another person behind a shared key."""
    assert of(**overrides) != of()


def test_images_count_by_their_bytes_and_their_places() -> None:
    """The same two the other way round make another picture."""
    one, two = "11" * 32, "22" * 32
    assert of(inputs=[one, two]) == of(inputs=[one, two])
    assert len({of(inputs=[one, two]), of(inputs=[two, one]), of(inputs=[one]), of(inputs=[one + two])}) == 4


def test_parts_cannot_run_into_one_another() -> None:
    """What ends one part is not what begins the next."""
    assert of(path="/a", inputs=["b"]) != of(path="/ab")
    assert of(inputs=["a", "b"]) != of(inputs=["ab"])
    assert of(inputs=["user:ann"]) != of(end_user="ann")


@pytest.mark.parametrize("body", [b'{"n":123456789012345678901234567890}', b'{"x":1e400}', b'{"p":"\\ud800"}', b"[]"])
def test_odd_documents_have_fingerprints_too(body: bytes) -> None:
    """What a surface takes, this takes: long numbers, infinite ones, half a surrogate pair."""
    assert of(body) == of(body)
    assert of(body) != of()
