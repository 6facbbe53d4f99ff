"""A POST to an address that a caller named: it goes where it was checked to go, or nowhere, and is bounded."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohappyeyeballs
import pytest

from holdfast.policy.addresses import AddressRules
from holdfast.providers.http import Head
from holdfast.transport import guarded
from holdfast.transport.guarded import BODY_BYTES_MAX, GuardedTransport, NotAnswered

OPEN = AddressRules(allow_private=True, allow_http=True)
PUBLIC = AddressRules(allow_http=True)
TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"
Make = Callable[..., GuardedTransport]


class Resolver:
    """Gives one answer after another; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[Any]:
        self.asked.append((host, port))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (each, port, 0, 0))
            if ":" in each
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in answer
        ]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Make transports that end with the test."""
    made: list[GuardedTransport] = []

    def maker(rules: AddressRules = OPEN, **options: Any) -> GuardedTransport:
        made.append(GuardedTransport(rules, **options))
        return made[-1]

    yield maker
    for each in made:
        each.close()


async def post(transport: GuardedTransport, url: str, *, timeout_s: float = 5.0, **options: Any) -> Head | NotAnswered:
    """Send a small body."""
    asked: dict[str, Any] = {"headers": [("webhook-id", "msg_1")], "body": b'{"a":1}', **options}
    return await transport.post(url, timeout_s=timeout_s, **asked)


def reason(answer: Head | NotAnswered) -> str:
    """Why there was none."""
    assert isinstance(answer, NotAnswered), answer
    return answer.reason


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Note where connections are made to, and make none."""
    made: list[list[str]] = []

    async def start(addresses: Any, **_: Any) -> socket.socket:
        made.append([each[4][0] for each in addresses])
        raise ConnectionRefusedError(111, "not in a test")

    monkeypatch.setattr(aiohappyeyeballs, "start_connection", start)
    return made


async def test_a_request_is_one_small_post(lab: Any, make: Make) -> None:
    """Host, length and our headers; the connection is for this one exchange."""
    peer = await lab.answering(TAKEN)
    answer = await post(make(), f"http://127.0.0.1:{peer.port}/hooks?token=1")
    assert isinstance(answer, Head)
    assert answer.status == 204
    head, _, body = peer.requests[0].partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    assert line == "POST /hooks?token=1 HTTP/1.1"
    named = {name.lower(): value for name, _, value in (each.partition(": ") for each in headers)}
    assert named["host"] == f"127.0.0.1:{peer.port}"
    assert (named["content-type"], named["content-length"], named["connection"]) == ("application/json", "7", "close")
    assert (named["webhook-id"], body) == ("msg_1", b'{"a":1}')
    assert not {"authorization", "cookie", "x-goog-api-key"} & set(named)


async def test_a_name_is_asked_for_once_and_connected_to_as_checked(lab: Any, make: Make) -> None:
    """The answer that was looked at is the one that is used; the second would have led elsewhere."""
    peer = await lab.answering(TAKEN)
    resolver = Resolver(["127.0.0.1"], ["169.254.169.254"])
    answer = await post(make(resolve=resolver), f"http://hooks.example.com:{peer.port}/")
    assert isinstance(answer, Head)
    assert resolver.asked == [("hooks.example.com", peer.port)]
    assert f"Host: hooks.example.com:{peer.port}".encode() in peer.requests[0]


async def test_dns_that_changes_between_check_and_connect_gains_nothing(
    make: Make, connections: list[list[str]]
) -> None:
    """Public when it is looked at, private a moment later: the connection goes to what was looked at."""
    resolver = Resolver(["8.8.8.8", "2606:4700::1111"], ["127.0.0.1"])
    transport = make(PUBLIC, resolve=resolver)
    assert "ECONNREFUSED" in reason(await post(transport, "https://hooks.example.com/"))
    assert connections == [["8.8.8.8", "2606:4700::1111"]]
    assert "loopback" in reason(await post(transport, "https://hooks.example.com/"))
    assert len(connections) == 1
    assert len(resolver.asked) == 2


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.1"],
        ["8.8.8.8", "10.0.0.1"],
        ["2606:4700::1111", "::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["169.254.169.254"],
        [],
    ],
)
async def test_nothing_is_connected_to_where_one_address_is_refused(
    make: Make, connections: list[list[str]], answer: list[str]
) -> None:
    """Not even to look whether somebody is there."""
    said = reason(await post(make(PUBLIC, resolve=Resolver(answer)), "https://hooks.example.com/x?s3cret"))
    assert said.startswith("the host leads")
    assert connections == []
    assert "hooks" not in said
    assert "s3cret" not in said


async def test_the_system_s_resolver_is_checked_as_well(
    make: Make, connections: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says is an address like any other; it is asked in a thread of its own."""
    asked: list[str] = []

    def inside(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(threading.current_thread().name)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(guarded.socket, "getaddrinfo", inside)
    assert "loopback" in reason(await post(make(PUBLIC), "https://hooks.example.com/"))
    assert connections == []
    assert [name.rpartition("-")[0] for name in asked] == ["holdfast-resolve"]


async def test_a_url_is_looked_at_anew_each_time(make: Make, connections: list[list[str]]) -> None:
    """What was registered under looser settings is not sent to under stricter ones."""
    resolver = Resolver(["8.8.8.8"])
    assert "https://" in reason(await post(make(AddressRules(), resolve=resolver), "http://hooks.example.com/"))
    assert resolver.asked == []
    assert connections == []


async def test_a_redirect_is_an_answer_and_not_followed(lab: Any, make: Make) -> None:
    """Where it leads has not been looked at."""
    other = await lab.answering(TAKEN)
    peer = await lab.answering(
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n" % other.port
    )
    answer = await post(make(), f"http://127.0.0.1:{peer.port}/")
    assert isinstance(answer, Head)
    assert answer.status == 302
    assert other.connections == 0


async def test_no_proxy_of_the_environment_is_used(lab: Any, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would resolve the name itself, behind the check."""
    proxy = await lab.answering(TAKEN)
    peer = await lab.answering(TAKEN)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert isinstance(await post(make(), f"http://127.0.0.1:{peer.port}/"), Head)
    assert (peer.connections, proxy.connections) == (1, 0)


@pytest.mark.parametrize(
    ("chunks", "then"),
    [
        ([], "stall"),
        ([b"HTTP/1.1 100 Continue\r\n\r\n"], "stall"),
        ([b"HTTP/1.1 200 OK\r\nX: "], "stall"),
    ],
)
async def test_a_receiver_that_hangs_is_left(lab: Any, make: Make, chunks: list[bytes], then: str) -> None:
    """After the time that a try is given, however much of a head has come."""
    peer = await lab.answering(*chunks, then=then)
    began = time.monotonic()
    assert "in time" in reason(await post(make(), f"http://127.0.0.1:{peer.port}/", timeout_s=0.2))
    assert time.monotonic() - began < 30.0


async def test_a_resolver_that_hangs_is_left(make: Make) -> None:
    """Name servers of strangers let us wait as they like."""

    async def never(_: str, __: int) -> list[Any]:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    assert "in time" in reason(await post(make(resolve=never), "https://hooks.example.com/", timeout_s=0.1))


@pytest.mark.parametrize(
    ("chunks", "then", "said"),
    [
        ([], "close", "without an answer"),
        ([], "reset", "the connection"),
        ([b"SSH-2.0-OpenSSH_9.9\r\n"], "close", "not HTTP"),
        ([b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000], "stall", "head"),
    ],
)
async def test_what_is_no_answer_is_told_as_such(
    lab: Any, make: Make, chunks: list[bytes], then: str, said: str
) -> None:
    """In few words, for the delivery log."""
    peer = await lab.answering(*chunks, then=then)
    assert said in reason(await post(make(), f"http://127.0.0.1:{peer.port}/"))


async def test_nobody_there_is_told_by_its_name(make: Make) -> None:
    """Refused; and a name that does not exist."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        assert "ECONNREFUSED" in reason(await post(make(), f"http://127.0.0.1:{port}/"))

    async def unknown(_: str, __: int) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    said = reason(await post(make(resolve=unknown), "https://hooks.example.com/"))
    assert said == "the name does not resolve"


async def test_a_small_body_is_taken_whole(lab: Any, make: Make) -> None:
    """Its sender sees an orderly end, not a reset."""
    ends: list[bytes] = []

    async def script(reader: Any, writer: Any, _: Any) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n")
        await writer.drain()
        for _ in range(3):
            await asyncio.sleep(0.01)
            writer.write(b"x" * 1000)
        await writer.drain()
        ends.append(await reader.read())

    peer = await lab.peer(script)
    assert isinstance(await post(make(), f"http://127.0.0.1:{peer.port}/"), Head)
    async with asyncio.timeout(5):
        while not ends:
            await asyncio.sleep(0.01)
    assert ends == [b""]


async def test_of_a_body_without_end_little_is_read(lab: Any, make: Make) -> None:
    """The status is all that counts; whoever sends a film is hung up on."""
    sent = 0

    async def script(_: Any, writer: Any, __: Any) -> None:
        nonlocal sent
        writer.transport.set_write_buffer_limits(high=1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        writer.write(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
        while sent < 500_000_000:
            writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
            await writer.drain()
            sent += 4096

    peer = await lab.peer(script)
    answer = await post(make(), f"http://127.0.0.1:{peer.port}/")
    assert isinstance(answer, Head)
    assert answer.status == 500
    assert sent < 20_000_000, "the kernel takes some megabytes on loopback, we do not"
    assert BODY_BYTES_MAX == 4096


async def test_a_body_that_stops_half_way_costs_a_moment(lab: Any, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """The status has been told; the rest is not waited for."""
    monkeypatch.setattr(guarded, "BODY_S", 0.05)
    peer = await lab.answering(b"HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\nhalf", then="stall")
    answer = await post(make(), f"http://127.0.0.1:{peer.port}/")
    assert isinstance(answer, Head)
    assert answer.status == 200


async def test_tls_goes_to_the_checked_address_under_the_name(lab: Any, make: Make, tmp_path: Any) -> None:
    """The certificate is checked against the host of the URL, whatever address it has."""
    context, certificate = lab.tls()

    async def script(_: Any, writer: Any, __: Any) -> None:
        writer.write(TAKEN)

    peer = await lab.peer(script, context=context)
    trusting = ssl.create_default_context(cafile=certificate)
    resolver = Resolver(["127.0.0.1"])
    transport = make(resolve=resolver, context=trusting)
    assert isinstance(await post(transport, f"https://127.0.0.1:{peer.port}/"), Head)
    said = reason(await post(transport, f"https://hooks.example.com:{peer.port}/"))
    assert said == "the certificate is not trusted"
    assert resolver.asked[-1] == ("hooks.example.com", peer.port)


async def test_a_stranger_s_certificate_is_not_trusted(lab: Any, make: Make) -> None:
    """By the system's authorities, which nobody has to name."""
    context, _ = lab.tls()

    async def script(_: Any, writer: Any, __: Any) -> None:
        writer.write(TAKEN)

    peer = await lab.peer(script, context=context)
    assert reason(await post(make(), f"https://127.0.0.1:{peer.port}/")) == "the certificate is not trusted"
    assert peer.requests == []


async def test_whoever_stops_waiting_leaves_no_connection(lab: Any, make: Make) -> None:
    """Cancellation hangs up at once."""
    ended = asyncio.Event()

    async def script(reader: Any, _: Any, __: Any) -> None:
        await reader.read()
        ended.set()

    peer = await lab.peer(script)
    task = asyncio.create_task(post(make(), f"http://127.0.0.1:{peer.port}/"))
    async with asyncio.timeout(5):
        while not peer.requests:
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(ended.wait(), 5)
