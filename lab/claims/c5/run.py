"""C5: stream identifiers of HTTP/2 run out on long connections."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import servers
from judgement import Judgement, figures_table

CLAIM = "stream identifiers run out on long connections (HTTP/2)"
METHOD = (
    "(a) Arithmetic: a client's streams have odd 31-bit numbers (RFC 9113, 5.1.1). (b) The `h2` codec is set to "
    "the last "
    "numbers, and asked for streams until it refuses. (c) curl asks nginx 1,200 times over one HTTP/2 connection: "
    "whether "
    "something else ends the connection before."
)
LIMITS = "Two implementations. Others may end connections by age or by count too."
IDS = 2**30
REQUESTS = 1200


async def measure(wait_s: float) -> dict[str, Any]:
    """Count what is left, and what ends a connection before."""
    del wait_s
    with tempfile.TemporaryDirectory(prefix="claims-c5-") as name:
        cert, key = servers.certificate(Path(name))
        async with (
            servers.silent() as server,
            servers.nginx(
                server.port, listen="ssl http2", http=f"ssl_certificate {cert}; ssl_certificate_key {key};"
            ) as port,
        ):
            begun_at = time.monotonic()
            connects = await _curl(port)
            seconds = time.monotonic() - begun_at
    return {
        "ids": IDS,
        "years_at_an_image_a_second": round(IDS / 86400 / 365, 1),
        "codec_refuses": _codec_refuses(),
        "requests": REQUESTS,
        "connections_used": connects,
        "seconds": round(seconds, 1),
        "versions": {"nginx": servers.nginx_version()},
    }


def _codec_refuses() -> str:
    """Ask h2 for streams beyond the last number; return what it raises."""
    import h2.connection
    import h2.exceptions

    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    connection.highest_outbound_stream_id = 2**31 - 3
    assert connection.get_next_available_stream_id() == 2**31 - 1
    connection.highest_outbound_stream_id = 2**31 - 1
    try:
        connection.get_next_available_stream_id()
    except h2.exceptions.NoAvailableStreamIDError as exc:
        return type(exc).__name__
    return "nothing"


async def _curl(port: int) -> int:
    """Ask again and again over as few connections as curl needs; return how many those were."""
    url = f"https://localhost:{port}/?s=0&n=[1-{REQUESTS}]"
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--insecure", "--http2", "--resolve", f"localhost:{port}:{servers.HOST}"),
        *("--write-out", "%{num_connects} %{http_version} %{http_code}\n", "--output", "/dev/null", url),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    told = re.findall(r"^(\d+) 2 200$", out.decode(), re.MULTILINE)
    assert len(told) == REQUESTS, f"{len(told)} of {REQUESTS} answers over HTTP/2"
    return sum(map(int, told))


def judge(figures: dict[str, Any]) -> Judgement:
    """True in principle; of consequence only if it could happen."""
    return Judgement(
        word="partly",
        why=f"They do ({figures['codec_refuses']}), after {figures['ids']:,} requests: "
        f"{figures['years_at_an_image_a_second']:.0f} years at one a second. Long before, nginx ended its "
        f"connections itself: "
        f"{figures['requests']:,} requests took {figures['connections_used']} connections.",
        advice="No reason to avoid HTTP/2. A client must bear a connection that ends (GOAWAY) all the same.",
    )


def table(figures: dict[str, Any]) -> str:
    """Write what was measured."""
    return figures_table(
        ("figure", "value"),
        [
            ("numbers for a client's streams", f"{figures['ids']:,}"),
            ("years at one request a second", f"{figures['years_at_an_image_a_second']:g}"),
            ("what the codec says after the last", figures["codec_refuses"]),
            (f"connections for {figures['requests']:,} requests through nginx", str(figures["connections_used"])),
        ],
    )
