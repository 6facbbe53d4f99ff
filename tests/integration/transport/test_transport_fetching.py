"""A GET from an address that a caller named: all of a body or nothing of it, bounded, and never from inside."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from holdfast.policy.addresses import AddressRules
from holdfast.providers.http import Head
from holdfast.transport.guarded import REDIRECTS_MAX, GuardedTransport, NotAnswered

OPEN = AddressRules(allow_private=True, allow_http=True, section="inputs")
PUBLIC = AddressRules(allow_http=True, section="inputs")
BYTES_MAX = 1_000_000
Make = Callable[..., GuardedTransport]


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


class Taken:
    """Keeps what it is given; as slow as the disk of a test."""

    def __init__(self, *, pause_s: float = 0.0) -> None:
        self.pieces: list[bytes] = []
        self._pause_s = pause_s

    async def __call__(self, piece: bytes) -> None:
        await asyncio.sleep(self._pause_s)
        self.pieces.append(piece)

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(self.pieces)


async def get(transport: GuardedTransport, url: str, taken: Taken | None = None, **limits: Any) -> Head | NotAnswered:
    """Fetch."""
    usual: dict[str, Any] = {"bytes_max": BYTES_MAX, "timeout_s": 5.0, **limits}
    return await transport.get(url, take=taken or Taken(), **usual)


def reason(answer: Head | NotAnswered) -> str:
    """Why there was nothing."""
    assert isinstance(answer, NotAnswered), answer
    return answer.reason


def answer(body: bytes, *headers: str, status: int = 200) -> bytes:
    """Write an answer with a length."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def redirect(to: str, status: int = 302) -> bytes:
    """Write an answer that sends on."""
    return answer(b"not this", f"Location: {to}", status=status)


async def test_a_request_carries_nothing_of_ours(lab: Any, make: Make) -> None:
    """A GET of path and query; no credential, no cookie, no coding."""
    peer = await lab.answering(answer(b"picture"))
    taken = Taken()
    got = await get(make(), f"http://127.0.0.1:{peer.port}/a/b.png?token=1", taken)
    assert isinstance(got, Head)
    assert (got.status, taken.body) == (200, b"picture")
    line, *headers = peer.requests[0].partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert line == "GET /a/b.png?token=1 HTTP/1.1"
    named = {name.lower(): value for name, _, value in (each.partition(": ") for each in headers)}
    assert named.keys() == {"host", "user-agent", "accept", "accept-encoding", "connection"}
    assert (named["host"], named["accept-encoding"]) == (f"127.0.0.1:{peer.port}", "identity")


@pytest.mark.parametrize("pause_s", [0.0, 0.005])
@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_a_long_body_comes_whole_and_in_order(lab: Any, make: Make, framing: str, pause_s: float) -> None:
    """However its end is told, and however slow it is taken: in pieces, none of them large."""
    body = bytes(range(256)) * 3000
    pieces = [body[at : at + 50_001] for at in range(0, len(body), 50_001)]
    if framing == "length":
        said = [answer(body)]
    elif framing == "chunked":
        chunks = [f"{len(each):x}\r\n".encode() + each + b"\r\n" for each in pieces]
        said = [b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n"]
    else:
        said = [b"HTTP/1.1 200 X\r\n\r\n", *pieces]
    peer = await lab.answering(*said)
    taken = Taken(pause_s=pause_s)
    assert isinstance(await get(make(), f"http://127.0.0.1:{peer.port}/", taken), Head)
    assert taken.body == body
    assert max(map(len, taken.pieces)) <= 512 * 1024


async def test_over_tls_to_whom_we_trust(lab: Any, make: Make) -> None:
    """Anybody else is refused before a byte of the request."""
    server, authorities = lab.tls()
    body = b"p" * 300_000
    taken = Taken()

    async def script(_: Any, writer: asyncio.StreamWriter, __: Any) -> None:
        writer.write(answer(body))
        await writer.drain()

    peer = await lab.peer(script, context=server)
    trusting = make(context=ssl.create_default_context(cafile=authorities))
    url = f"https://127.0.0.1:{peer.port}/"
    assert isinstance(await get(trusting, url, taken), Head)
    assert taken.body == body
    assert reason(await get(make(), url)) == "the certificate is not trusted"
    assert len(peer.requests) == 1


@pytest.mark.parametrize("status", [201, 204, 206, 304, 400, 403, 404, 500])
async def test_anything_but_200_is_nothing(lab: Any, make: Make, status: int) -> None:
    """Part of an image is none."""
    peer = await lab.answering(answer(b"" if status in (204, 304) else b"x", status=status))
    taken = Taken()
    assert reason(await get(make(), f"http://127.0.0.1:{peer.port}/", taken)) == f"the answer was {status}"
    assert taken.pieces == []


@pytest.mark.parametrize("announced", [True, False])
async def test_what_is_too_long_is_not_read_to_its_end(lab: Any, make: Make, announced: bool) -> None:
    """Told by its length before a byte of it, else by what comes; the connection is cut."""
    body = b"x" * 60_000
    head = answer(body) if announced else b"HTTP/1.1 200 X\r\n\r\n" + body
    peer = await lab.answering(head, *[body] * 50, pause_s=0.001)
    taken = Taken()
    said = await get(make(), f"http://127.0.0.1:{peer.port}/", taken, bytes_max=50_000)
    assert (reason(said), said.is_too_long) == ("it is longer than 50,000 bytes", True)
    assert sum(map(len, taken.pieces)) <= 50_000
    assert taken.pieces == [] if announced else True


async def test_a_body_that_breaks_off_is_nothing(lab: Any, make: Make) -> None:
    """However much of it had come."""
    peer = await lab.answering(answer(b"x" * 1000)[:-1])
    assert reason(await get(make(), f"http://127.0.0.1:{peer.port}/")) == "fewer bytes came than were announced"
    peer = await lab.answering(answer(b"x" * 1000)[:-1], then="reset")
    assert "ECONNRESET" in reason(await get(make(), f"http://127.0.0.1:{peer.port}/"))
    peer = await lab.answering(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert reason(await get(make(), f"http://127.0.0.1:{peer.port}/")) == "a chunk is broken"
    peer = await lab.answering(b"SSH-2.0-OpenSSH_9.6\r\n")
    assert reason(await get(make(), f"http://127.0.0.1:{peer.port}/")) == "not HTTP"


async def test_what_is_encoded_is_not_taken(lab: Any, make: Make) -> None:
    """A few bytes may become many."""
    peer = await lab.answering(answer(b"\x1f\x8b", "Content-Encoding: gzip"))
    assert "was encoded" in reason(await get(make(), f"http://127.0.0.1:{peer.port}/"))
    peer = await lab.answering(answer(b"x", "Content-Encoding: identity"))
    assert isinstance(await get(make(), f"http://127.0.0.1:{peer.port}/"), Head)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nx"])
async def test_all_of_it_has_one_time(lab: Any, make: Make, said: bytes) -> None:
    """Silence before the head or inside the body."""
    peer = await lab.answering(said, then="stall")
    began = time.monotonic()
    assert reason(await get(make(), f"http://127.0.0.1:{peer.port}/", timeout_s=0.3)) == "no answer in time"
    assert 0.25 <= time.monotonic() - began <= 2.0


async def test_a_taker_that_fails_ends_it(lab: Any, make: Make) -> None:
    """A full disk is not the other side's fault: it is told as it is."""
    peer = await lab.answering(answer(b"x"), then="stall")

    async def full(_: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        await make().get(f"http://127.0.0.1:{peer.port}/", take=full, bytes_max=9, timeout_s=5.0)


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(lab: Any, make: Make, status: int) -> None:
    """Relative or absolute, a fragment left behind; nothing of its body is taken."""
    there = await lab.answering(answer(b"picture"))
    here = await lab.answering(redirect(f"http://127.0.0.1:{there.port}/c.png?x=1#part", status))
    taken = Taken()
    assert isinstance(await get(make(), f"http://127.0.0.1:{here.port}/", taken), Head)
    assert taken.body == b"picture"
    assert there.requests[0].startswith(b"GET /c.png?x=1 HTTP/1.1\r\n")


async def test_only_a_few_are_followed(lab: Any, make: Make) -> None:
    """A circle ends."""
    peer = await lab.answering(redirect("/again"))
    said = reason(await get(make(), f"http://127.0.0.1:{peer.port}/"))
    assert said == f"it redirects more than {REDIRECTS_MAX} times"
    assert [each.split(b" ")[1] for each in peer.requests] == [b"/", *[b"/again"] * REDIRECTS_MAX]


@pytest.mark.parametrize(
    ("location", "told"),
    [
        ("http://169.254.169.254/latest/meta-data/", "a metadata service"),
        ("http://[fd00:ec2::254]/", "a metadata service"),
        ("http://[::ffff:127.0.0.1]/", "an IPv4 address inside an IPv6 one"),
        ("http://0x7f.1/", "four decimal numbers"),
        ("file:///etc/passwd", "https://"),
        ("gopher://x.example/", "https://"),
        ("http://user:secret@x.example/", "a user name"),
        ("http://x.example/ü", "visible ASCII"),
        ("http://[broken", "what is no URL"),
    ],
)
async def test_a_redirect_is_looked_at_like_the_first(lab: Any, make: Make, location: str, told: str) -> None:
    """Whatever is allowed here, the address of a metadata service never is."""
    peer = await lab.answering(redirect(location).decode("latin-1").encode("utf-8", "surrogatepass"))
    said = reason(await get(make(), f"http://127.0.0.1:{peer.port}/"))
    assert told in said
    assert "secret" not in said


async def test_a_redirect_to_inside_gains_nothing(lab: Any, make: Make) -> None:
    """The first address is let through and answers; the second is private, and nobody connects to it."""
    inside = await lab.answering(answer(b"secret"))
    front = await lab.answering(redirect(f"http://127.0.0.1:{inside.port}/"))
    rules = {"allow": OPEN, "refuse": PUBLIC}
    transport = make(rules["allow"])
    assert isinstance(await get(transport, f"http://127.0.0.1:{front.port}/"), Head)
    assert inside.connections == 1
    # The rules of a gateway as shipped, from the second request on: the first has been let through.
    looked = 0

    async def resolve(host: str, port: int) -> list[Any]:
        nonlocal looked
        looked += 1
        transport._rules = rules["refuse"]
        return [(2, 1, 6, "", ("127.0.0.1", front.port))]

    transport = make(rules["allow"], resolve=resolve)
    said = reason(await get(transport, f"http://images.example.com:{front.port}/"))
    assert said == "the URL leads to an address that is loopback"
    assert (looked, inside.connections) == (1, 1)


async def test_the_setting_that_would_allow_it_is_named(make: Make) -> None:
    """Of images, not of webhooks."""
    assert "(inputs.allow_private)" in reason(await get(make(PUBLIC), "http://intranet/"))
