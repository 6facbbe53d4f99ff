"""C6: a TLS handshake costs 300-800 ms; plain HTTP avoids it."""

from __future__ import annotations

import asyncio
import ssl
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import servers
from judgement import Judgement, figures_table

from holdfast.simulator.path import Path as Way

CLAIM = "a TLS handshake costs 300-800 ms; plain HTTP avoids it"
METHOD = (
    "A server on loopback, behind a relay that delays every piece of data by half a round trip each way. What is "
    "timed: a "
    "plain connection with one small request, and the same with TLS (OpenSSL, P-256, TLS 1.3 and 1.2). The "
    "difference is the "
    "handshake; medians. The relay does not delay the TCP handshake, which both have."
)
LIMITS = "No loss. A certificate that is larger than ten packets, or is checked online, costs more."
RTTS_MS = (0, 20, 50, 100, 200, 300)
ROUNDS = 7
IMAGE_S = 120.0
REQUEST = b"GET /?s=0 HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def measure(wait_s: float) -> dict[str, Any]:
    """Time connections over several distances."""
    del wait_s
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="claims-c6-") as name:
        cert, key = servers.certificate(Path(name))
        offered = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        offered.load_cert_chain(cert, key)
        for rtt_ms in RTTS_MS:
            rows.append(
                {
                    "rtt_ms": rtt_ms,
                    "plain_ms": await _median_ms(rtt_ms, None, None),
                    "tls13_ms": await _median_ms(rtt_ms, offered, _context(cert, ssl.TLSVersion.TLSv1_3)),
                    "tls12_ms": await _median_ms(rtt_ms, offered, _context(cert, ssl.TLSVersion.TLSv1_2)),
                }
            )
    return {"rows": rows, "versions": {"openssl": ssl.OPENSSL_VERSION}}


def _context(cert: Path, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(cert))
    context.minimum_version = context.maximum_version = version
    return context


async def _median_ms(rtt_ms: int, offered: ssl.SSLContext | None, context: ssl.SSLContext | None) -> float:
    server = servers.Silent()
    await server.start(offered)
    way = Way(servers.HOST, server.port, delay_s=rtt_ms / 2000)
    port = await way.start(servers.HOST, 0)
    try:
        times = [await _once_ms(port, context) for _ in range(ROUNDS)]
    finally:
        await way.close()
        await server.close()
    return round(statistics.median(times), 1)


async def _once_ms(port: int, context: ssl.SSLContext | None) -> float:
    begun_at = time.perf_counter()
    reader, writer = await asyncio.open_connection(
        servers.HOST, port, ssl=context, server_hostname="localhost" if context else None
    )
    writer.write(REQUEST)
    await reader.readuntil(b"\r\n\r\n")
    took_ms = (time.perf_counter() - begun_at) * 1000
    writer.close()
    return took_ms


def handshake_ms(row: dict[str, Any], version: str) -> float:
    """What TLS added."""
    return float(row[version]) - float(row["plain_ms"])


def judge(figures: dict[str, Any]) -> Judgement:
    """Where in the table the claim would be true."""
    rows = figures["rows"]
    costs = {row["rtt_ms"]: handshake_ms(row, "tls13_ms") for row in rows}
    least, most = costs[min(costs)], costs[max(costs)]
    near = costs[50]
    reached = [rtt for rtt, cost in costs.items() if cost >= 300.0]
    where = f"from {min(reached)} ms of round trip on" if reached else "at no distance measured"
    return Judgement(
        word="partly",
        why=f"TLS 1.3 costs one round trip and the arithmetic: {least:.0f} ms at none, {near:.0f} ms at 50 ms, "
        f"{most:.0f} ms at "
        f"{max(costs)} ms; 300 ms {where}. Of an image of {IMAGE_S:.0f} s the handshake at 50 ms is "
        f"{near / IMAGE_S / 10:.2f} %.",
        advice="No reason for plain HTTP: keep the connection, and the handshake is paid once.",
    )


def table(figures: dict[str, Any]) -> str:
    """Write what was measured."""
    return figures_table(
        ("round trip", "plain", "TLS 1.3", "handshake", "TLS 1.2", "handshake"),
        [
            (
                f"{row['rtt_ms']} ms",
                f"{row['plain_ms']:.1f} ms",
                f"{row['tls13_ms']:.1f} ms",
                f"{handshake_ms(row, 'tls13_ms'):.1f} ms",
                f"{row['tls12_ms']:.1f} ms",
                f"{handshake_ms(row, 'tls12_ms'):.1f} ms",
            )
            for row in figures["rows"]
        ],
    )
