"""Base URLs as people write them, and keys as files hold them."""

from __future__ import annotations

import pytest

from holdfast.client.address import DEFAULT_BASE_URL, Server, address_of, checked_key
from holdfast.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://h:16888", "http://h:16888/v1"),
        ("http://h:16888/", "http://h:16888/v1"),
        ("http://h:16888/v1", "http://h:16888/v1"),
        ("http://h:16888/v1/", "http://h:16888/v1"),
        ("  https://h/v1\n", "https://h/v1"),
        ("https://h/v1/images/generations", "https://h/v1"),
        ("https://h/v1/images/edits/", "https://h/v1"),
        ("https://h/v1/chat/completions", "https://h/v1"),
        ("https://h/api/v3", "https://h/api/v3"),
        ("HTTPS://h/proxy/openai/v1", "https://h/proxy/openai/v1"),
        ("https://generativelanguage.googleapis.com", "https://generativelanguage.googleapis.com/v1beta"),
    ],
)
def test_a_base_url_is_put_right(written: str, meant: str) -> None:
    """A missing version, a slash or an endpoint too many: one thing only can be meant."""
    assert address_of(written).base_url == meant


def test_nothing_written_is_the_gateway_on_this_machine() -> None:
    """The port of `holdfast serve`."""
    address = address_of(None)
    assert address.base_url == DEFAULT_BASE_URL
    assert address.is_loopback
    assert not address_of("http://images.example/v1").is_loopback
    assert address_of("http://[::1]:16888").is_loopback


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("localhost:16888", "http://localhost:16888"),
        ("ftp://h/v1", "http:// or https://"),
        ("https:///v1", "names no host"),
        ("https://h:port/v1", "cannot be read"),
        ("https://[::1/v1", "cannot be read"),
        ("https://user:secret@h/v1", "api_key"),
        ("https://h/v1?key=secret", "leave that part out"),
        ("https://h /v1", "blank"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_write(written: str, told: str) -> None:
    """A sentence that helps, and that repeats no secret."""
    with pytest.raises(ConfigError, match=told) as caught:
        address_of(written)
    assert "secret" not in str(caught.value)
    assert caught.value.key == "base_url"


@pytest.mark.parametrize(
    ("written", "server", "speaks_gemini"),
    [
        ("https://generativelanguage.googleapis.com/v1beta", Server.GEMINI, True),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", Server.OPENAI, False),
        ("https://api.openai.com/v1", Server.OPENAI, False),
        ("https://relay.example/v1beta", None, True),
        ("https://relay.example/v1", None, False),
        ("http://127.0.0.1:16888/v1beta", None, True),
    ],
)
def test_only_the_vendors_are_known_by_their_names(written: str, server: Server | None, speaks_gemini: bool) -> None:
    """Anybody else may be holdfast, and says so in the first answer."""
    address = address_of(written)
    assert (address.server, address.speaks_gemini) == (server, speaks_gemini)


def test_a_server_that_is_named_is_not_looked_for() -> None:
    """By argument; a name that is none is refused."""
    assert address_of("http://h/v1", "openai").server is Server.OPENAI
    assert address_of("http://h", "gemini").base_url == "http://h/v1beta"
    with pytest.raises(ConfigError, match="auto, holdfast, openai, gemini"):
        address_of("http://h/v1", "google")


def test_holdfasts_own_endpoints_are_beside_the_surface() -> None:
    """Whichever dialect is spoken, generations are at /v1."""
    assert address_of("http://h:1/v1beta").control_url == "http://h:1/v1"
    assert address_of("http://h:1/images/v1").control_url == "http://h:1/images/v1"
    assert address_of("https://h/v1beta/openai").control_url == "https://h/v1"
    assert address_of("http://h:1/v1").origin == "http://h:1"


@pytest.mark.parametrize("written", ["hf-k", " hf-k", "hf-k\n", "\thf-k\r\n"])
def test_white_space_around_a_key_is_no_part_of_it(written: str) -> None:
    """Files end in a line feed."""
    assert checked_key(written) == "hf-k"


@pytest.mark.parametrize("written", ["", " \n", "hf-a\nhf-b", "hf a", "hf-ü", "hf-\x00"])
def test_a_key_that_no_header_takes_is_refused_unquoted(written: str) -> None:
    """Two lines, a blank, a letter beyond ASCII: said before anything is sent."""
    with pytest.raises(ConfigError) as caught:
        checked_key(written)
    assert "hf" not in str(caught.value)
    assert checked_key(None) is None
