"""Why an exchange broke, by the kinds of exceptions; and which way it goes."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import Any

import httpx2
import pytest

from holdfast.client import defaults as d
from holdfast.client.address import address_of
from holdfast.client.defaults import Mode
from holdfast.client.exchange import break_of, head_of, proxy_of, request_of, transport_options
from holdfast.client.spool import DiskError
from holdfast.client.steps import Cause
from holdfast.errors import ConfigError
from holdfast.types import Phase

HERE = address_of("https://images.example/v1")


def caused(error: Exception, cause: Exception) -> Exception:
    """Chain them as httpcore does."""
    error.__cause__ = cause
    return error


def a_certificate_error(code: int) -> ssl.SSLCertVerificationError:
    """Make what OpenSSL raises."""
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "words"
    return error


def a_tls_error(reason: str) -> ssl.SSLError:
    """The same for a handshake."""
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "phase", "cause"),
    [
        (httpx2.ConnectError("x"), Phase.CONNECT, Cause.REFUSED),
        (httpx2.ConnectTimeout("x"), Phase.CONNECT, Cause.TIMEOUT),
        (httpx2.PoolTimeout("x"), Phase.CONNECT, Cause.POOL),
        (httpx2.ProxyError("x"), Phase.CONNECT, Cause.PROXY),
        (caused(httpx2.ConnectError("x"), socket.gaierror(-2, "y")), Phase.CONNECT, Cause.NAME),
        (caused(httpx2.ConnectError("x"), a_certificate_error(10)), Phase.CONNECT, Cause.CERTIFICATE),
        (caused(httpx2.ConnectError("x"), a_tls_error("WRONG_VERSION_NUMBER")), Phase.CONNECT, Cause.NOT_TLS),
        (caused(httpx2.ConnectError("x"), a_tls_error("NO_SHARED_CIPHER")), Phase.CONNECT, Cause.CERTIFICATE),
        (httpx2.WriteError("x"), Phase.SEND, Cause.LOST),
        (httpx2.WriteTimeout("x"), Phase.SEND, Cause.TIMEOUT),
        (httpx2.ReadError("x"), Phase.WAIT, Cause.LOST),
        (httpx2.ReadTimeout("x"), Phase.WAIT, Cause.TIMEOUT),
        (httpx2.RemoteProtocolError("x"), Phase.WAIT, Cause.LOST),
        (TimeoutError("x"), Phase.WAIT, Cause.TIMEOUT),
        (ConnectionResetError("x"), Phase.WAIT, Cause.LOST),
    ],
)
def test_every_exception_has_a_phase_and_a_cause(error: Exception, phase: Phase, cause: Cause) -> None:
    """Only what broke while connecting certainly cost nothing."""
    break_ = break_of(error, has_head=False, address=HERE, proxied=False)
    assert (break_.phase, break_.cause) == (phase, cause)
    assert break_.was_sent is (phase is not Phase.CONNECT)
    assert "images.example" in break_.detail or cause is Cause.POOL
    assert break_.failure.phase is phase


def test_a_full_disk_is_no_broken_line() -> None:
    """What came cannot be kept, and would not be if it came again."""
    with pytest.raises(OSError, match="full"):
        break_of(OSError(errno.ENOSPC, "full"), has_head=True, address=HERE, proxied=False)


def test_a_broken_disk_is_no_broken_line() -> None:
    """Only what the spool has said of it tells it from a connection's error, which has the same numbers."""
    with pytest.raises(DiskError, match="Input/output error"):
        break_of(DiskError(errno.EIO, "Input/output error"), has_head=True, address=HERE, proxied=False)
    assert break_of(OSError(errno.EIO, "x"), has_head=True, address=HERE, proxied=False).phase is Phase.RECEIVE


def test_behind_a_head_it_broke_in_the_answer() -> None:
    """With what is in hand of a file."""
    break_ = break_of(httpx2.ReadError("x"), has_head=True, address=HERE, proxied=False, received_bytes=7)
    assert (break_.phase, break_.received_bytes) == (Phase.RECEIVE, 7)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (9, "clock"),
        (10, "expired"),
        (18, "by itself"),
        (19, "cafile"),
        (20, "cafile"),
        (62, "another host"),
        (1, "words"),
    ],
)
def test_a_certificate_is_told_with_what_to_do(code: int, told: str) -> None:
    """Expired, not yet valid (a clock an hour off), unknown, of another host."""
    error = caused(httpx2.ConnectError("x"), a_certificate_error(code))
    assert told in break_of(error, has_head=False, address=HERE, proxied=False).detail


def test_https_on_a_plain_port_is_told_with_the_address_to_write() -> None:
    """The same with http."""
    error = caused(httpx2.ConnectError("x"), a_tls_error("WRONG_VERSION_NUMBER"))
    assert "http://images.example" in break_of(error, has_head=False, address=HERE, proxied=False).detail


def test_http_on_a_tls_port_is_told_with_the_address_to_write() -> None:
    """The other way round, where all that is seen is an answer that is no HTTP."""
    here = address_of("http://images.example:16889/v1")
    break_ = break_of(httpx2.RemoteProtocolError("x"), has_head=False, address=here, proxied=False)
    assert "https://images.example:16889" in break_.detail


def test_a_proxy_that_cannot_be_reached_is_not_taken_for_the_server() -> None:
    """The variables are named."""
    break_ = break_of(httpx2.ConnectError("x"), has_head=False, address=HERE, proxied=True)
    assert break_.cause is Cause.PROXY
    assert "NO_PROXY" in break_.detail


def test_a_link_elsewhere_is_told_by_its_own_host() -> None:
    """Without its path and its signature."""
    url = "https://cdn.example/a.png?sig=s"
    detail = break_of(httpx2.ReadError("x"), has_head=False, address=HERE, proxied=False, url=url).detail
    assert "https://cdn.example" in detail
    assert "sig" not in detail


@pytest.mark.parametrize(
    ("base_url", "environ", "given", "expected"),
    [
        ("https://h.example/v1", {}, None, None),
        ("https://h.example/v1", {"HTTPS_PROXY": "http://p:3128"}, None, "http://p:3128"),
        ("https://h.example/v1", {"https_proxy": "p:3128"}, None, "http://p:3128"),
        ("https://h.example/v1", {"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}, None, "http://low:1"),
        ("http://h.example/v1", {"HTTPS_PROXY": "http://p:3128"}, None, None),
        ("http://h.example/v1", {"ALL_PROXY": "http://p:3128"}, None, "http://p:3128"),
        ("https://h.example/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example"}, None, None),
        ("https://h.example/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "x, .h.example"}, None, None),
        ("https://h.example/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, None, None),
        ("https://h.example/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other.example"}, None, "http://p:1"),
        ("https://h.example:8443/v1", {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "h.example:8443"}, None, None),
        ("http://127.0.0.1:1/v1", {"HTTP_PROXY": "http://p:1"}, None, None),
        ("http://localhost:1/v1", {"HTTP_PROXY": "http://p:1"}, None, None),
        ("http://127.0.0.1:1/v1", {}, "http://p:1", "http://p:1"),
        ("https://h.example/v1", {"HTTPS_PROXY": "http://p:1"}, "", None),
    ],
)
def test_which_proxy_is_used(base_url: str, environ: dict[str, str], given: str | None, expected: str | None) -> None:
    """The one that was given, else the environment's; never for this machine itself."""
    found = proxy_of(address_of(base_url), proxy=given, environ=environ)
    assert (None if found is None else str(found.url)) == expected


@pytest.mark.parametrize("value", ["http://", "gopher://p:1", "http://p:port"])
def test_a_proxy_that_is_no_address_is_named_by_its_variable(value: str) -> None:
    """Before the first call."""
    with pytest.raises(ConfigError, match="HTTPS_PROXY"):
        proxy_of(HERE, proxy=None, environ={"HTTPS_PROXY": value})


@pytest.mark.parametrize("mode", list(Mode))
def test_connections_are_what_the_table_says(mode: Mode) -> None:
    """HTTP/1.1, pools by client, none used again after 45 s of rest."""
    options = transport_options(HERE, mode, proxy=None, verify=False, environ={})
    assert (options["http1"], options["http2"]) == (True, False)
    limits = options["limits"]
    pool = d.POOLS[mode]
    assert (limits.max_connections, limits.max_keepalive_connections) == (pool.connections_max, pool.kept_max)
    assert limits.keepalive_expiry == 45.0
    assert options["socket_options"] == d.socket_options()


def test_a_request_is_written_with_its_length_and_its_times(kit: Any) -> None:
    """Each phase of it; the body may be sent again."""
    drive = kit.a_drive()
    drive.run([kit.images()])
    send = drive.sent[0]
    for _ in range(2):
        request = request_of(send, Mode.SYNC)
        assert request.headers["content-length"] == str(len(send.ask.body))
        assert request.headers["host"] == "h:1"
        assert request.extensions["timeout"] == {"connect": 10.0, "read": 300.0, "write": 30.0, "pool": 10.0}
        assert request.read() == send.ask.body.parts[0]


def test_a_head_keeps_every_value() -> None:
    """Names in lower case."""
    head = head_of(httpx2.Response(202, headers=[("Generation-Id", "g"), ("X-A", "1"), ("x-a", "2")]))
    assert (head.status, head.header("generation-id"), head.headers["x-a"]) == (202, "g", ("1", "2"))
