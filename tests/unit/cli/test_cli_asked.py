"""From a command line to an HTTP request."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.cli.asked import Asked, base_of, request_of
from holdfast.cli.exits import Exit, Stop
from holdfast.errors import RequestError
from holdfast.types import InputImage, Tier
from holdfast.wire.template import Slot, slots_of

CAT = InputImage(sha256="0" * 64, mime="image/png", bytes=9, store_key="cat.png", width_px=1600, height_px=900)


def an_asked(**overrides: Any) -> Asked:
    """Build what a person asked for."""
    usual: dict[str, Any] = {"prompt": "a cat", "model": None, "size": None, "aspect_ratio": None, "n": 1}
    return Asked(**{**usual, **overrides})


def headers_of(asked: Asked, *, api_key: str = "hf-secret") -> dict[str, str]:
    """Write the request and give its headers."""
    return dict(request_of(asked, base_url="http://127.0.0.1:1/v1", api_key=api_key).headers)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("http://127.0.0.1:16888/v1", "http://127.0.0.1:16888/v1"),
        ("http://127.0.0.1:16888/v1/", "http://127.0.0.1:16888/v1"),
        ("http://127.0.0.1:16888", "http://127.0.0.1:16888/v1"),
        ("127.0.0.1:16888", "http://127.0.0.1:16888/v1"),
        ("localhost:16888/v1", "http://localhost:16888/v1"),
        ("https://images.example/api/v1?x=1#y", "https://images.example/api/v1"),
        ("http://[::1]:16888", "http://[::1]:16888/v1"),
        ("http://localhost:16888/v1/images/generations", "http://localhost:16888/v1"),
        ("http://localhost:16888/v1/models/", "http://localhost:16888/v1"),
    ],
)
def test_base_urls_are_read_as_people_write_them(written: str, read: str) -> None:
    """With or without scheme, version and slash."""
    assert base_of(written) == read


@pytest.mark.parametrize(
    "written", ["", "http://", "ftp://127.0.0.1", "http://127.0.0.1:port", "http://[::1", "http://me:pw@127.0.0.1/v1"]
)
def test_what_is_no_url_is_a_usage_error(written: str) -> None:
    """Said before anything is sent."""
    with pytest.raises(Stop) as stopped:
        base_of(written)
    assert stopped.value.code is Exit.USAGE


def test_the_gemini_surface_gets_its_own_header() -> None:
    """As its SDK sends it; never in the URL."""
    asked = an_asked(inputs=(CAT,))
    request = request_of(asked, base_url="http://127.0.0.1:1/v1", api_key="hf-secret")
    assert ("x-goog-api-key", "hf-secret") in request.headers
    assert "secret" not in request.url


def test_without_a_key_no_credential_is_sent() -> None:
    """An empty one would be a malformed header."""
    names = {name.lower() for name in headers_of(an_asked(), api_key="")}
    assert not names & {"authorization", "x-goog-api-key"}


def test_early_beats_are_asked_for() -> None:
    """Before the path loses patience."""
    assert headers_of(an_asked())["Prefer"] == "heartbeat=5"


def test_reference_images_are_slots_and_not_bytes() -> None:
    """They are streamed from their files."""
    asked = an_asked(inputs=(CAT, CAT), size="2K")
    request = request_of(asked, base_url="http://127.0.0.1:1/v1", api_key="k")
    assert request.url == "http://127.0.0.1:1/v1/models/nano-banana-pro:generateContent"
    assert slots_of(request.body) == (0, 1)
    text = b"".join(part for part in request.body if not isinstance(part, Slot)).decode()
    assert '"imageSize":"2K"' in text
    assert '"aspectRatio":"16:9"' in text


def test_a_model_cannot_leave_its_segment_of_the_path() -> None:
    """A slash in a name is data."""
    asked = an_asked(model="../files?x")
    request = request_of(asked, base_url="http://127.0.0.1:1/v1", api_key="k")
    assert request.url.endswith("/models/..%2Ffiles%3Fx:generateContent")


def test_the_ratio_follows_the_last_reference_image() -> None:
    """An edit keeps the shape of what it edits."""
    assert an_asked(inputs=(CAT,)).geometry.aspect_ratio == "16:9"


def test_the_size_class_is_known_before_sending() -> None:
    """Timeouts and estimates go by it."""
    assert an_asked(size="3840x2160").geometry.tier is Tier.K4
    assert an_asked().geometry.tier is Tier.K1


def test_an_impossible_size_is_refused_before_sending() -> None:
    """Nothing is asked that cannot be drawn."""
    with pytest.raises(RequestError) as refused:
        _ = an_asked(size="5000x5000").geometry
    assert refused.value.code == "unsupported_size"
