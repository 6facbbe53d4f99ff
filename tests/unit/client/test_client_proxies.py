"""The environment's proxies, as httpx reads them where it makes its transports itself."""

from __future__ import annotations

import httpx2
import pytest
from httpx2 import _utils

from holdfast.client.proxies import proxies_of

HOSTS = [
    "example.com",
    ".example.com",
    "*.example.com",
    "localhost",
    "LOCALHOST",
    "127.0.0.1",
    "10.0.0.0/8",
    "::1",
    "fd00::/8",
    "[::1]",
    "http://one.example",
    "example.com/path",
    " padded.example ",
    "a.example,b.example, ,::1",
    "",
    "*",
    "a.example,*",
]


@pytest.mark.parametrize("no", HOSTS)
def test_it_is_read_as_httpx_reads_it(no: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pattern for pattern: handing a client to an SDK changes nobody's way."""
    named = {"http": "proxy.example:3128", "https": "http://user:word@proxy.example", "all": "socks5://s", "no": no}
    monkeypatch.setattr(_utils, "getproxies", lambda: named)
    assert proxies_of(named) == _utils.get_environment_proxies()


def test_nothing_named_is_nothing_mounted() -> None:
    """An empty word is none, and what is no proxy for HTTP is passed over."""
    assert proxies_of({}) == {}
    assert proxies_of({"http": "", "ftp": "http://proxy.example"}) == {}


def test_its_patterns_can_be_mounted() -> None:
    """Every one of them is a pattern that httpx takes."""
    named = {"https": "proxy.example", "no": ",".join(HOSTS[:13])}
    with httpx2.Client(mounts=dict.fromkeys(proxies_of(named))) as client:
        assert client is not None
