"""Every way in which an exchange breaks, on real sockets: its kind, its phase, and what may have been charged."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import socket
import time
from typing import Any

import pytest

from holdfast.errors import ConfigError
from holdfast.transport import aio
from holdfast.transport.exchange import Exchange, NotSent
from holdfast.types import Charge, Failure, FailureKind, Phase
from holdfast.wire.scan import WireError
from holdfast.wire.template import Slot

UNREACHABLE, LOST, MALFORMED = FailureKind.UNREACHABLE, FailureKind.LOST_REPLY, FailureKind.MALFORMED
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


def verdict(outcome: Exchange | Failure) -> tuple[FailureKind, Phase, Charge]:
    """What the engine decides by."""
    assert isinstance(outcome, Failure), outcome
    return outcome.kind, outcome.phase, outcome.charge


async def test_refused_connection_is_unreachable_and_not_charged(lab: Any) -> None:
    """Nobody listens: nothing was sent, the next upstream may be asked at once."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        # Bound until it has been asked: let go of, it could be anybody's who listens.
        outcome = await lab.ask(f"http://127.0.0.1:{sock.getsockname()[1]}/")
    assert verdict(outcome) == (UNREACHABLE, Phase.CONNECT, Charge.NO)
    assert outcome.detail == "cannot connect (ECONNREFUSED); nothing was sent", "where, says who asked"


async def test_full_backlog_times_out_while_connecting(lab: Any) -> None:
    """A host that answers no SYN any more is given up after connect_s, uncharged."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        await asyncio.sleep(0.1)
        outcome = await lab.ask(f"http://127.0.0.1:{listener.getsockname()[1]}/", connect_s=0.3)
    assert verdict(outcome) == (UNREACHABLE, Phase.CONNECT, Charge.NO)
    assert "connect_s" in outcome.detail


async def test_mute_tls_server_times_out_while_connecting(lab: Any) -> None:
    """The handshake belongs to connecting: a server that never answers it has seen no request, and is hung up on."""
    hung_up = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Any) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        hung_up.set()

    peer = await lab.peer(script, reads_request=False)
    outcome = await lab.ask(peer.url.replace("http:", "https:"), connect_s=0.3)
    assert verdict(outcome) == (UNREACHABLE, Phase.CONNECT, Charge.NO)
    async with asyncio.timeout(10):
        await hung_up.wait()


async def test_total_time_spent_on_connecting_is_not_charged(lab: Any) -> None:
    """The exchange's own deadline, too, knows that nothing was sent yet."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Any) -> None:
        await asyncio.sleep(60)

    peer = await lab.peer(script, reads_request=False)
    outcome = await lab.ask(peer.url.replace("http:", "https:"), total_s=0.3)
    assert verdict(outcome) == (UNREACHABLE, Phase.CONNECT, Charge.NO)


async def test_close_at_accept_is_never_called_paid(lab: Any) -> None:
    """A peer that hangs up at once: `no` only if it saw not a single byte of the request."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Any) -> None:
        lab.reset(writer)

    peer = await lab.peer(script, reads_request=False)
    kind, _, charge = verdict(await lab.ask(peer.url))
    assert (kind, charge) in {(UNREACHABLE, Charge.NO), (LOST, Charge.UNKNOWN)}


@pytest.mark.parametrize("then", ["reset", "close"])
async def test_lost_before_the_head_is_unknown(lab: Any, then: str) -> None:
    """The request had been read whole: it may be paid for."""
    peer = await lab.answering(then=then)
    assert verdict(await lab.ask(peer.url)) == (LOST, Phase.WAIT, Charge.UNKNOWN)
    assert len(peer.requests) == 1, "a paid POST is never repeated by the transport itself"


async def test_silence_before_the_head_is_unknown(lab: Any) -> None:
    """read_idle_s counts silence."""
    peer = await lab.answering(then="stall")
    outcome = await lab.ask(peer.url, read_idle_s=0.2)
    assert verdict(outcome) == (LOST, Phase.WAIT, Charge.UNKNOWN)
    assert "read_idle_s" in outcome.detail


async def test_total_time_without_a_head_is_unknown(lab: Any) -> None:
    """Interim answers keep silence away, not the deadline."""
    peer = await lab.answering(*[b"HTTP/1.1 102 Processing\r\n\r\n"] * 40, pause_s=0.05)
    outcome = await lab.ask(peer.url, total_s=0.4)
    assert verdict(outcome) == (LOST, Phase.WAIT, Charge.UNKNOWN)


LIMITS = [{"total_s": 0.4}, {"read_idle_s": 0.4}]


@pytest.mark.parametrize("limit", LIMITS, ids=["total", "idle"])
async def test_an_answer_that_came_while_the_loop_stood_still_is_read(lab: Any, limit: dict[str, float]) -> None:
    """It lay with the kernel in time; that a timer of ours is looked at first is no loss of the upstream's."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Any) -> None:
        os.write(writer.get_extra_info("socket").fileno(), b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        time.sleep(1.0)  # noqa: ASYNC251 - this is the fault

    peer = await lab.peer(script)
    outcome = await lab.ask(peer.url, **limit)
    assert isinstance(outcome, Exchange)
    assert outcome.timings.body_bytes == 2


@pytest.mark.parametrize("limit", LIMITS, ids=["total", "idle"])
async def test_a_loop_that_stood_still_for_nothing_ends_the_exchange_all_the_same(
    lab: Any, limit: dict[str, float]
) -> None:
    """Half a second more, once, and no longer."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Any) -> None:
        time.sleep(1.0)  # noqa: ASYNC251 - this is the fault
        await asyncio.sleep(30)

    peer = await lab.peer(script)
    began_at = time.monotonic()
    assert verdict(await lab.ask(peer.url, **limit)) == (LOST, Phase.WAIT, Charge.UNKNOWN)
    assert time.monotonic() - began_at < 10.0


async def test_request_that_is_not_taken_is_given_up_while_sending(lab: Any) -> None:
    """A peer that reads nothing would hold the call for ever."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Any) -> None:
        writer.transport.pause_reading()
        await asyncio.sleep(60)

    peer = await lab.peer(script, reads_request=False)
    outcome = await lab.ask(peer.url, body=(b"x" * 20_000_000,), write_s=0.4)
    assert verdict(outcome) == (LOST, Phase.SEND, Charge.UNKNOWN)
    assert "write_s" in outcome.detail


async def test_reset_while_sending_is_unknown(lab: Any) -> None:
    """Half a request is probably worth nothing to the upstream, and probably is not certainly."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Any) -> None:
        await reader.readexactly(100_000)
        lab.reset(writer)

    peer = await lab.peer(script, reads_request=False)
    outcome = await lab.ask(peer.url, body=(b"x" * 20_000_000,))
    assert verdict(outcome) == (LOST, Phase.SEND, Charge.UNKNOWN)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 2OO OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 40_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: 1\r\n" % i for i in range(400)) + b"\r\n{}",
    ],
    ids=["ssh", "status", "two-lengths", "long-line", "many-headers"],
)
async def test_garbage_for_a_head_is_malformed_and_paid(lab: Any, answer: bytes) -> None:
    """Something was answered, so it may have been made; it has no status of its own."""
    peer = await lab.answering(answer)
    outcome = await lab.ask(peer.url)
    assert verdict(outcome) == (MALFORMED, Phase.DECODE, Charge.YES)
    assert outcome.status is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
async def test_redirect_is_not_followed(lab: Any, status: int) -> None:
    """A credential and a prompt do not go where a stranger points."""
    target = await lab.answering(OK + b"Content-Length: 2\r\n\r\n{}")
    peer = await lab.answering(
        f"HTTP/1.1 {status} Moved\r\nLocation: {target.url}\r\nContent-Length: 0\r\n\r\n".encode()
    )
    outcome = await lab.ask(peer.url)
    assert verdict(outcome) == (MALFORMED, Phase.RECEIVE, Charge.YES)
    assert outcome.status == status
    assert target.connections == 0


@pytest.mark.parametrize(
    ("answer", "then"),
    [
        (OK + b'Content-Length: 1000\r\n\r\n{"data":', "close"),
        (OK + b'Content-Length: 1000\r\n\r\n{"data":', "reset"),
        (OK + b'Content-Length: 1000\r\n\r\n{"data":', "stall"),
        (OK + b"Content-Length: 1000\r\n\r\n", "stall"),
        (CHUNKED + b'8\r\n{"data":\r\n', "close"),
        (CHUNKED + b'8\r\n{"data":\r\n', "reset"),
        (CHUNKED + b'8\r\n{"data":\r\n', "stall"),
        (CHUNKED + b'ff\r\n{"data":', "close"),
    ],
    ids=["short", "short-reset", "short-stall", "announced-stall", "no-end", "reset", "stall", "short-chunk"],
)
async def test_body_that_breaks_off_is_malformed_and_paid(lab: Any, answer: bytes, then: str) -> None:
    """The document of a 200 had begun: the image was made, buying another one on top is never automatic."""
    peer = await lab.answering(answer, then=then)
    sink = lab.Collector()
    outcome = await lab.ask(peer.url, sink=sink, read_idle_s=0.3)
    assert verdict(outcome) == (MALFORMED, Phase.RECEIVE, Charge.YES)
    assert outcome.status == 200
    assert sink.is_closed


async def test_bad_chunk_in_a_later_read_is_malformed_and_paid(lab: Any) -> None:
    """Chunks that lie are a broken body."""
    peer = await lab.answering(CHUNKED + b'8\r\n{"data":\r\n', b"zz\r\nboo\r\n", pause_s=0.1, then="stall")
    assert verdict(await lab.ask(peer.url)) == (MALFORMED, Phase.RECEIVE, Charge.YES)


@pytest.mark.parametrize("then", ["close", "reset", "stall"])
async def test_loss_after_heartbeats_alone_is_unknown(lab: Any, then: str) -> None:
    """A relay that sends its 200 and white space early has not shown that there is an image."""
    peer = await lab.answering(CHUNKED + b"1\r\n \r\n", b"1\r\n\n\r\n", pause_s=0.05, then=then)
    assert verdict(await lab.ask(peer.url, read_idle_s=0.3)) == (LOST, Phase.WAIT, Charge.UNKNOWN)


@pytest.mark.parametrize("then", ["close", "reset", "stall"])
async def test_loss_inside_an_event_stream_is_unknown(lab: Any, then: str) -> None:
    """A stream's head and first events come long before its image."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    peer = await lab.answering(head + b"8\r\ndata: {\n\r\n", then=then)
    assert verdict(await lab.ask(peer.url, read_idle_s=0.3)) == (LOST, Phase.RECEIVE, Charge.UNKNOWN)


async def test_drip_past_its_time_is_cut(lab: Any) -> None:
    """Bytes that trickle for ever keep silence away, not the end of body_s."""
    peer = await lab.answering(CHUNKED + b"1\r\n{\r\n", *[b"1\r\n1\r\n"] * 100, pause_s=0.05)
    outcome = await lab.ask(peer.url, total_s=0.2, body_s=0.5)
    assert verdict(outcome) == (MALFORMED, Phase.RECEIVE, Charge.YES)


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_error_answer_that_breaks_off_still_tells_its_status(lab: Any, then: str) -> None:
    """A 503 is a 503, however its body ends: taking it for a lost reply would forbid the repeat."""
    answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 500\r\n\r\n<html>"
    peer = await lab.answering(answer, then=then)
    sink = lab.Collector()
    outcome = await lab.ask(peer.url, sink=sink)
    assert isinstance(outcome, Exchange)
    assert outcome.head.status == 503
    assert outcome.cut is not None
    assert sink.body == b"<html>"
    assert not sink.is_closed


async def test_error_answer_that_stalls_is_not_waited_for(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The silence of an error body gets seconds, not the minutes that an image gets."""
    monkeypatch.setattr("holdfast.transport.aio.ERROR_BODY_S", 0.2)
    peer = await lab.answering(b"HTTP/1.1 503 No\r\nContent-Length: 500\r\n\r\n{}", then="stall")
    outcome = await lab.ask(peer.url)
    assert isinstance(outcome, Exchange)
    assert outcome.cut is not None


async def test_error_page_without_end_is_read_one_megabyte_far(lab: Any) -> None:
    """An error body is evidence, not cargo."""
    peer = await lab.answering(b"HTTP/1.1 500 No\r\n\r\n", *[b"x" * 100_000] * 30)
    sink = lab.Collector()
    outcome = await lab.ask(peer.url, sink=sink)
    assert isinstance(outcome, Exchange)
    assert outcome.cut is None
    assert len(sink.body) <= 1 << 20


async def test_answer_beyond_the_bound_is_malformed(lab: Any) -> None:
    """Announced or found out on the way, an endless answer ends."""
    transport = lab.transport(response_bytes_max=100_000)
    announced = await lab.answering(OK + b"Content-Length: 100001\r\n\r\n", then="stall")
    assert verdict(await lab.ask(announced.url, transport=transport)) == (MALFORMED, Phase.RECEIVE, Charge.YES)
    endless = await lab.answering(OK + b"\r\n", b"x" * 300_000, then="stall")
    assert verdict(await lab.ask(endless.url, transport=transport)) == (MALFORMED, Phase.RECEIVE, Charge.YES)


async def test_body_that_the_sink_cannot_read_is_malformed(lab: Any) -> None:
    """HTML with 200, bad base64: the sink says what, the transport says where."""
    peer = await lab.answering(OK + b"Content-Length: 6\r\n\r\n<html>", then="stall")
    sink = lab.Collector(error=WireError("json", "the body is not JSON"))
    outcome = await lab.ask(peer.url, sink=sink)
    assert verdict(outcome) == (MALFORMED, Phase.DECODE, Charge.YES)
    assert (outcome.status, outcome.reason) == (200, "json")
    assert sink.is_closed


async def test_error_of_our_own_in_the_sink_comes_out_unchanged(lab: Any) -> None:
    """A full disk is no fault of the upstream."""
    peer = await lab.answering(CHUNKED + b'6\r\n{"a":1\r\n', then="stall")
    sink = lab.Collector(error=OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        await lab.ask(peer.url, sink=sink)
    assert sink.is_closed


async def test_missing_input_file_is_ours_and_nothing_is_sent(lab: Any) -> None:
    """An input that vanished must not look like a broken connection."""
    peer = await lab.answering(OK + b"Content-Length: 2\r\n\r\n{}")
    with pytest.raises(NotSent) as told:
        await lab.ask(peer.url, body=(b'"', Slot(0), b'"'), inputs=(lab.tmp_path / "gone.png",))
    assert isinstance(told.value.cause, FileNotFoundError)
    assert peer.connections == 0


async def test_an_input_that_cannot_be_read_tells_whether_anything_had_left(lab: Any) -> None:
    """A directory has a size and no content: before the first byte that is free, after it nobody knows."""
    peer = await lab.answering(OK + b"Content-Length: 2\r\n\r\n{}")
    with pytest.raises(NotSent) as told:
        await lab.ask(peer.url, body=(Slot(0), b'"'), inputs=(lab.tmp_path,))
    assert isinstance(told.value.cause, IsADirectoryError)
    with pytest.raises(IsADirectoryError):
        await lab.ask(peer.url, body=(b'"', Slot(0)), inputs=(lab.tmp_path,))


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("http://b\u4e66.example/", UnicodeEncodeError),
        ("http://127.0.0.1:99999/", ValueError),
        ("ftp://127.0.0.1/", KeyError),
    ],
)
async def test_an_address_that_nobody_can_be_asked_at_is_not_charged(
    lab: Any, url: str, cause: type[Exception]
) -> None:
    """Settings are checked at the start; what slips through costs nothing all the same."""
    transport = lab.transport()
    with pytest.raises(NotSent) as told:
        await lab.ask(url, transport=transport)
    assert isinstance(told.value.cause, cause)
    assert "0 exchanges open" in repr(transport)


async def test_a_mistake_between_connecting_and_sending_is_not_charged(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection stands, and not one byte of the request has gone over it."""

    def broken(_: object) -> None:
        raise OSError(errno.ENOPROTOOPT, "Protocol not available")

    monkeypatch.setattr(aio, "narrow", broken)
    peer = await lab.peer(_says_hello, reads_request=False)
    with pytest.raises(NotSent, match="OSError"):
        await lab.ask(peer.url)


async def test_cancellation_passes_through_and_closes_the_sink(lab: Any) -> None:
    """A cancelled exchange leaves no sink open and no connection behind."""
    peer = await lab.answering(OK + b'Content-Length: 1000\r\n\r\n{"data":', then="stall")
    sink, transport = lab.Collector(), lab.transport()
    task = asyncio.create_task(lab.ask(peer.url, sink=sink, transport=transport))
    async with asyncio.timeout(10):
        while not sink.body:
            await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sink.is_closed
    assert "0 exchanges open, <ByteBudget 0 of" in repr(transport)


async def test_details_name_neither_credential_nor_prompt(lab: Any) -> None:
    """A failure is shown to operators and callers."""
    peer = await lab.answering(then="close")
    outcome = await lab.ask(peer.url)
    assert isinstance(outcome, Failure)
    assert "sk-secret" not in repr(outcome)
    assert "lighthouse" not in repr(outcome)


async def tls_peer(lab: Any) -> tuple[Any, str]:
    """Start a TLS peer; give it and the path of its certificate."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Any) -> None:
        writer.write(OK + b"Content-Length: 2\r\n\r\n{}")
        await writer.drain()

    context, ca_file = lab.tls()
    return await lab.peer(script, context=context), ca_file


async def test_tls_with_a_private_authority(lab: Any) -> None:
    """ca_file makes a self-signed upstream trusted."""
    peer, certificate = await tls_peer(lab)
    sink = lab.Collector()
    outcome = await lab.ask(peer.url, sink=sink, ca_file=certificate)
    assert isinstance(outcome, Exchange), outcome
    assert sink.body == b"{}"


async def test_untrusted_certificate_is_unreachable_and_not_charged(lab: Any) -> None:
    """No request goes to a peer that cannot prove who it is."""
    peer, _ = await tls_peer(lab)
    outcome = await lab.ask(peer.url)
    assert verdict(outcome) == (UNREACHABLE, Phase.CONNECT, Charge.NO)
    assert "ca_file" in outcome.detail
    assert peer.bytes_received == 0


async def test_plain_http_on_a_tls_port_is_unreachable(lab: Any) -> None:
    """A handshake that makes no sense ends before the request."""
    peer = await lab.peer(_says_hello, reads_request=False)
    outcome = await lab.ask(peer.url.replace("http:", "https:"))
    assert verdict(outcome) == (UNREACHABLE, Phase.CONNECT, Charge.NO)


async def _says_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: Any) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    await writer.drain()
    await reader.read()


@pytest.mark.parametrize("content", [None, b"no certificate"])
async def test_unusable_ca_file_is_a_setting_to_mend(lab: Any, content: bytes | None) -> None:
    """The message names the setting and says what to give."""
    ca_file = lab.tmp_path / "ca.pem"
    if content is not None:
        ca_file.write_bytes(content)
    with pytest.raises(NotSent) as told:
        await lab.ask("https://127.0.0.1:1/", ca_file=str(ca_file))
    assert isinstance(told.value.cause, ConfigError)
    assert re.search(r"ca_file.*PEM", str(told.value.cause))
