"""C8: TCP keep-alive alone does not keep an HTTP-level idle timer from firing."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

import servers
from judgement import Judgement, figures_table

CLAIM = "TCP keep-alive alone does not keep an HTTP-level idle timer from firing"
METHOD = (
    "A client with kernel probes every second (`SO_KEEPALIVE`, `TCP_KEEPIDLE` 1, `TCP_KEEPINTVL` 1) asks through "
    "nginx with "
    "`proxy_read_timeout 5s`, with keep-alive on both of its sides too; the server says nothing for 15 s. Beside "
    "it the same "
    "call where the server sends a byte of white space every 2 s."
)
LIMITS = "One proxy; balancers that count packets instead of bytes would behave otherwise."
LIMIT_S, SILENCE_S, BEAT_S = 5.0, 15.0, 2.0


async def measure(wait_s: float) -> dict[str, Any]:
    """Ask with kernel probes, and with bytes."""
    del wait_s
    lines = f"proxy_read_timeout {LIMIT_S:g}s; proxy_socket_keepalive on; proxy_buffering off;"
    beating = await asyncio.start_server(_beat, servers.HOST, 0)
    beats_port = beating.sockets[0].getsockname()[1]
    async with (
        servers.silent() as server,
        servers.nginx(server.port, lines=lines, listen="so_keepalive=1s:1s:9") as quiet_port,
        servers.nginx(beats_port, lines=lines) as beating_port,
    ):
        probes, beats = await asyncio.gather(
            asyncio.to_thread(_ask, quiet_port, probes=True), asyncio.to_thread(_ask, beating_port, probes=False)
        )
    beating.close()
    return {
        "rows": [{"what": "kernel probes every second", **probes}, {"what": "a byte every 2 s", **beats}],
        "versions": {"nginx": servers.nginx_version()},
    }


async def _beat(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n")
    for _ in range(int(SILENCE_S / BEAT_S)):
        writer.write(b" ")
        await asyncio.sleep(BEAT_S)
    writer.write(servers.BODY)
    writer.close()


def _ask(port: int, *, probes: bool) -> dict[str, Any]:
    begun_at = time.monotonic()
    with socket.create_connection((servers.HOST, port), timeout=60.0) as connection:
        if probes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        connection.sendall(b"GET /?s=%d HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n" % int(SILENCE_S))
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    status = int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else None
    return {"status": status, "is_whole": servers.BODY in answer, "seconds": round(time.monotonic() - begun_at, 1)}


def judge(figures: dict[str, Any]) -> Judgement:
    """True if the probes did not help and bytes did."""
    probes, beats = figures["rows"]
    is_true = not probes["is_whole"] and beats["is_whole"]
    return Judgement(
        word="true" if is_true else "false",
        why=f"With kernel probes: {probes['status']} after {probes['seconds']:.0f} s; with a byte every {BEAT_S:g} s: "
        f"{'the answer' if beats['is_whole'] else 'no answer'} after {beats['seconds']:.0f} s.",
        advice="Keep-alive keeps a NAT's entry and finds dead peers; for HTTP's timers bytes of the answer must flow.",
    )


def table(figures: dict[str, Any]) -> str:
    """Write what was measured."""
    return figures_table(
        ("meanwhile", "status", "answer whole", "after"),
        [
            (row["what"], str(row["status"]), "yes" if row["is_whole"] else "no", f"{row['seconds']:.1f} s")
            for row in figures["rows"]
        ],
    )
