"""Which pages elsewhere may call: what is refused at start, with the entry to change."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.config import parse
from holdfast.errors import ConfigError


def refused(**cors: Any) -> ConfigError:
    """Give what is said of settings that cannot be."""
    with pytest.raises(ConfigError) as told:
        parse({"cors": cors})
    return told.value


def test_by_itself_nobody_may() -> None:
    """And no cookies."""
    cors = parse({}).cors
    assert (cors.origins, cors.credentials) == ((), False)


@pytest.mark.parametrize(
    "origin",
    ["https://app.example.com", "http://localhost:5173", "http://127.0.0.1:8080", "https://[2001:db8::1]:8443", "*"],
)
def test_origins_are_taken_as_browsers_send_them(origin: str) -> None:
    """With a port where it is not the usual one."""
    assert parse({"cors": {"origins": [origin]}}).cors.origins == (origin,)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("https://app.example.com/", "https://app.example.com"),
        ("https://App.Example.com", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:80/page?x#y", "http://app.example.com"),
    ],
)
def test_what_no_browser_sends_is_refused_with_what_it_would(written: str, meant: str) -> None:
    """It would never be equal to anything."""
    error = refused(origins=["http://localhost:5173", written])
    assert error.key == "cors.origins[1]"
    assert f'write "{meant}"' in str(error)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "app.example.com",
        "null",
        "file:///home",
        "https://",
        "https://*.example.com",
        "https://u@app.example.com",
        "https://app.example.com:x",
        "https://app .example.com",
        "https://[",
        "ftp://app.example.com",
    ],
)
def test_what_is_no_origin_is_refused(written: str) -> None:
    """A pattern neither: whoever can have a name below it would be let in."""
    error = refused(origins=[written])
    assert error.key == "cors.origins[0]"
    assert "is no origin" in str(error)


@pytest.mark.parametrize(
    ("cors", "key", "words"),
    [
        ({"origins": ["*", "https://app.example.com"]}, "cors.origins", "stands for all"),
        ({"origins": ["*"], "credentials": True}, "cors.credentials", "Name the origins"),
        ({"credentials": True}, "cors.credentials", "no page may call"),
    ],
)
def test_contradictions_are_refused(cors: dict[str, Any], key: str, words: str) -> None:
    """At start, not when somebody calls."""
    error = refused(**cors)
    assert error.key == key
    assert words in str(error)
