"""Who is answered as an admin, by the connection alone: before any key is looked at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest

from holdfast.errors import RequestError
from holdfast.gateway.admin.gate import Gate, has_local_name, is_here
from holdfast.store.records import KeyRow

PROXIED = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
ADMIN = KeyRow(id="key_1", label="first", created_at="2026", is_admin=1)


class Auth:
    """Knows one key, and notes that it was asked."""

    def __init__(self, row: KeyRow) -> None:
        self.row = row
        self.asked = 0

    async def authenticate(self, _: Any) -> KeyRow:
        """Give it."""
        self.asked += 1
        return self.row


def a_gate(row: KeyRow = ADMIN, *, trusted: tuple[str, ...] = (), anywhere: bool = False) -> tuple[Gate, Auth]:
    """Make one over an authenticator that knows everybody."""
    auth: Any = Auth(row)
    return Gate(auth=auth, trusted=tuple(ip_network(each) for each in trusted), anywhere=anywhere), auth


def admit(gate: Gate, caller: Any) -> Any:
    """Ask it."""

    async def asking() -> Any:
        return await gate.admit(caller.call())

    return asyncio.run(asking())


@pytest.mark.parametrize(
    ("how", "trusted", "is_let_in"),
    [
        ({"client": "127.0.0.1"}, (), True),
        ({"client": "::1"}, (), True),
        ({"client": "127.8.9.1"}, (), True),
        ({"client": "203.0.113.7"}, (), False),
        ({"client": "10.0.0.5"}, (), False),
        ({"client": "203.0.113.7", "scheme": "https"}, (), True),
        ({"client": "127.0.0.1", "headers": PROXIED}, (), False),
        ({"client": "127.0.0.1", "headers": PROXIED}, ("127.0.0.1/32",), True),
        ({"client": "127.0.0.1", "headers": {**PROXIED, "X-Forwarded-Proto": "http"}}, ("127.0.0.1/32",), False),
        ({"client": "10.0.0.5", "headers": PROXIED}, ("10.0.0.0/8",), True),
        ({"client": "10.0.0.5", "headers": PROXIED}, ("192.168.0.0/16",), False),
        ({"client": "127.0.0.1", "headers": {"Via": "1.1 somewhere"}}, (), False),
        ({"client": "127.0.0.1", "headers": {"Forwarded": "for=203.0.113.7"}}, (), False),
        ({"client": "127.0.0.1", "headers": {"X-Real-IP": "203.0.113.7"}}, (), False),
        ({"client": ""}, (), False),
        ({"client": "not an address"}, (), False),
    ],
)
def test_a_connection_that_others_may_read_is_refused(
    a_caller: Callable[..., Any], how: dict[str, Any], trusted: tuple[str, ...], is_let_in: bool
) -> None:
    """And no key is looked at there: who guesses learns nothing."""
    gate, auth = a_gate(trusted=trusted)
    if is_let_in:
        assert admit(gate, a_caller(**how)).id == "key_1"
        return
    with pytest.raises(RequestError) as caught:
        admit(gate, a_caller(**how))
    assert (caught.value.code, caught.value.status) == ("tls_required", 403)
    assert auth.asked == 0


def test_an_operator_may_lift_it(a_caller: Callable[..., Any]) -> None:
    """`server.admin_anywhere`."""
    gate, _ = a_gate(anywhere=True)
    assert admit(gate, a_caller(client="203.0.113.7")).id == "key_1"


def test_a_key_that_is_no_admins_is_told_so(a_caller: Callable[..., Any]) -> None:
    """However valid it is."""
    gate, _ = a_gate(KeyRow(id="key_2", label="other", created_at="2026"))
    with pytest.raises(RequestError) as caught:
        admit(gate, a_caller())
    assert (caught.value.code, caught.value.status) == ("admin_required", 403)


@pytest.mark.parametrize(("headers", "by"), [({"Authorization": "Bearer hf-x"}, "key"), ({}, "session")])
def test_it_is_known_how_somebody_proved_himself(
    a_caller: Callable[..., Any], headers: dict[str, str], by: str
) -> None:
    """A key in a header, or else a cookie."""
    gate, _ = a_gate()
    assert admit(gate, a_caller(headers=headers)).by == by


def test_a_proxy_on_this_machine_is_not_this_machine() -> None:
    """Whatever it says of whom it speaks for."""
    call: Any = SimpleNamespace(client="127.0.0.1", headers={"x-forwarded-for": "127.0.0.1"}, http_version="1.1")
    assert not is_here(call)


@pytest.mark.parametrize(("version", "is_of_here"), [("1.1", True), ("1.0", False)])
def test_a_proxy_that_says_nothing_is_known_by_its_version(version: str, is_of_here: bool) -> None:
    """nginx writes HTTP/1.0 to what stands behind it, unless it is told otherwise."""
    call: Any = SimpleNamespace(client="127.0.0.1", headers={}, http_version=version)
    assert is_here(call) is is_of_here


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("localhost:8080", True),
        ("LOCALHOST", True),
        ("holdfast.localhost:8080", True),
        ("gateway:8080", True),
        ("", True),
        ("203.0.113.7", False),
        ("[2001:db8::1]:80", False),
        ("evil.example:8080", False),
        ("evil.example.:8080", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
    ],
)
def test_a_name_that_a_stranger_can_give_is_not_local(host: str, is_local: bool) -> None:
    """His page would be of the same origin as what it reads here."""
    call: Any = SimpleNamespace(headers={"host": host} if host else {})
    assert has_local_name(call) is is_local
