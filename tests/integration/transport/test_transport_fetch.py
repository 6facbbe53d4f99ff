"""A file that an answer named: from allowed addresses only, without anything of ours, in pieces as it comes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import aiohappyeyeballs
import pytest

from holdfast.policy.addresses import AddressRules
from holdfast.transport.exchange import Exchange
from holdfast.types import Charge, Failure, FailureKind, Timeouts

OPEN = AddressRules(allow_private=True, allow_http=True)
PUBLIC = AddressRules()
FILE = bytes(range(256)) * 2000
FOUND = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: %d\r\n\r\n" % len(FILE)


async def fetch(lab: Any, url: str, *, rules: AddressRules = OPEN, sink: Any = None, **options: Any) -> Any:
    """Fetch a file, patient unless told otherwise."""
    chosen = sink if sink is not None else lab.Collector()
    timeouts = {"connect_s": 5.0, "write_s": 5.0, "read_idle_s": 5.0, "total_s": 5.0}
    timeouts |= {name: options.pop(name) for name in tuple(options) if name in (*timeouts, "body_s")}
    transport = options.pop("transport", None) or lab.transport()
    return await transport.fetch(url, rules=rules, timeouts=Timeouts(**timeouts), on_head=lambda _: chosen, **options)


def refusal(outcome: Exchange | Failure) -> str:
    """Why nothing was sent."""
    assert isinstance(outcome, Failure), outcome
    assert (outcome.kind, outcome.charge) == (FailureKind.UNREACHABLE, Charge.NO)
    return outcome.detail


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Note where connections are made to, and make none."""
    made: list[list[str]] = []

    async def start(addresses: Any, **_: Any) -> socket.socket:
        made.append([each[4][0] for each in addresses])
        raise ConnectionRefusedError(111, "not in a test")

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", start)
    return made


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Let names have these addresses, one answer after another; gives what was asked."""

    def resolves(*answers: str) -> list[str]:
        asked: list[str] = []
        left = list(answers)

        async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            asked.append(host)
            address = left.pop(0) if len(left) > 1 else left[0]
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        return asked

    return resolves


async def test_a_file_is_handed_on_as_it_comes(lab: Any) -> None:
    """A plain GET: no key, no body, the query as it was signed."""
    peer = await lab.answering(FOUND, FILE[:1000], FILE[1000:])
    sink = lab.Collector()
    outcome = await fetch(lab, f"http://127.0.0.1:{peer.port}/files/a%2Fb.png?X-Sig=a%2Bb&exp=1", sink=sink)
    assert isinstance(outcome, Exchange)
    assert sink.body == FILE
    assert not sink.is_closed
    line, *headers = peer.requests[0].decode().split("\r\n")
    assert line == "GET /files/a%2Fb.png?X-Sig=a%2Bb&exp=1 HTTP/1.1"
    named = {name.lower() for name, _, _ in (each.partition(": ") for each in headers) if name}
    assert named == {"host", "user-agent", "accept", "accept-encoding", "connection"}


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://files.example/x.png", "https://"),
        ("https://127.0.0.1/x.png", "loopback"),
        ("https://10.0.0.1/x.png", "private"),
        ("https://169.254.169.254/latest/meta-data", "metadata"),
        ("https://[::ffff:127.0.0.1]/x", "inside an IPv6 one"),
        ("https://user:secret@files.example/x", "user name"),
        ("https://localhost/x.png", "public internet"),
        ("https://files.example:25/x.png", "port"),
        ("ftp://files.example/x", "https://"),
        ("https://files.example/x\r\nX: y", "visible ASCII"),
        ("", "characters"),
        ("https://" + "x" * 3000, "characters"),
    ],
)
async def test_links_that_lead_inside_are_not_followed(
    lab: Any, connections: list[list[str]], url: str, word: str
) -> None:
    """Nothing is connected to, and nothing of the address is told."""
    detail = refusal(await fetch(lab, url, rules=PUBLIC))
    assert word in detail
    assert "webhooks" not in detail
    assert "secret" not in detail
    assert connections == []


@pytest.mark.parametrize("address", ["127.0.0.1", "192.168.1.1", "169.254.169.254", "::1", "64:ff9b::7f00:1"])
async def test_a_name_that_leads_inside_is_not_connected_to(
    lab: Any, connections: list[list[str]], resolves: Any, address: str
) -> None:
    """What its name resolves to counts, not what it looks like."""
    resolves(address)
    detail = refusal(await fetch(lab, "https://files.example/x.png", rules=PUBLIC))
    assert "leads to an address" in detail
    assert address not in detail
    assert connections == []


async def test_what_was_looked_at_is_connected_to(lab: Any, connections: list[list[str]], resolves: Any) -> None:
    """A name that changes its answer between the check and the connection gains nothing."""
    asked = resolves("93.184.216.34", "127.0.0.1")
    await fetch(lab, "https://files.example/x.png", rules=PUBLIC)
    assert (asked, connections) == (["files.example"], [["93.184.216.34"]])


async def test_other_exchanges_of_the_transport_are_not_guarded(lab: Any) -> None:
    """An operator's upstream may stand on a private address."""
    peer = await lab.answering(FOUND, FILE)
    assert isinstance(await lab.ask(f"http://127.0.0.1:{peer.port}/"), Exchange)


async def test_a_redirect_is_not_followed(lab: Any) -> None:
    """It might lead anywhere."""
    peer = await lab.answering(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")
    outcome = await fetch(lab, f"http://127.0.0.1:{peer.port}/")
    assert isinstance(outcome, Failure)
    assert "302" in outcome.detail


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_file_that_breaks_off_is_told_and_dropped(lab: Any, then: str) -> None:
    """The sink is closed: what it wrote is let go of."""
    peer = await lab.answering(FOUND, FILE[:5000], then=then)
    sink = lab.Collector()
    outcome = await fetch(lab, f"http://127.0.0.1:{peer.port}/", sink=sink)
    assert isinstance(outcome, Failure)
    assert sink.is_closed


async def test_an_error_is_an_answer_too(lab: Any) -> None:
    """An expired link: its status says so."""
    peer = await lab.answering(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\ngone")
    outcome = await fetch(lab, f"http://127.0.0.1:{peer.port}/")
    assert isinstance(outcome, Exchange)
    assert outcome.head.status == 403


async def test_a_file_server_that_says_nothing_is_left(lab: Any) -> None:
    """Within the time given."""
    peer = await lab.answering(then="stall")
    outcome = await fetch(lab, f"http://127.0.0.1:{peer.port}/", total_s=0.2)
    assert isinstance(outcome, Failure)
    assert outcome.kind is FailureKind.LOST_REPLY


async def test_files_are_bounded(lab: Any) -> None:
    """As every answer is."""
    peer = await lab.answering(FOUND, FILE)
    transport = lab.transport(response_bytes_max=1000)
    outcome = await fetch(lab, f"http://127.0.0.1:{peer.port}/", transport=transport)
    assert isinstance(outcome, Failure)
    assert "larger" in outcome.detail


async def test_files_come_over_tls(lab: Any) -> None:
    """From an operator's own network with his own authority."""
    context, ca_file = lab.tls()

    async def script(reader: Any, writer: Any, _: Any) -> None:
        writer.write(FOUND + FILE)
        await writer.drain()

    peer = await lab.peer(script, context=context)
    sink = lab.Collector()
    outcome = await fetch(lab, f"https://127.0.0.1:{peer.port}/x.png", sink=sink, ca_file=ca_file)
    assert isinstance(outcome, Exchange)
    assert sink.body == FILE
