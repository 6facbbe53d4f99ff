"""The same corpus through a real nginx that keeps one connection to the gateway: nobody gets another one's answer.

nginx refuses much of it by itself. What it forwards travels on the connection that the next caller's request takes too;
if the two ends disagreed about where a request ends, that caller would be answered with somebody else's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import pytest_asyncio

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLERS = 3
"""How many others ask behind each item, one after another."""
FORWARDED_MIN = 100
"""Of the corpus; nginx 1.22 lets 142 pass. Without it this file would prove nothing."""
MENDED = {
    "chunk-space",
    "chunk-junk",
    "chunk-size-lf",
    "chunk-end-lf",
    "chunk-extension-lf",
    "chunk-extension-nul",
}
"""Chunks that nginx 1.22 reads as they were meant, and sends on well framed: its caller asked for an image and gets it.
The request behind them is nginx's to read, and it reads it where the gateway would, had it been asked."""
_PATIENCE = "1s"


def servers(gateway_port: int, port: int, log: Path) -> str:
    """Write one server, with one kept connection to the gateway, and with nginx's own patience as short as ours."""
    return f"""
log_format forwarded '$status $upstream_status';
upstream gateway {{ server 127.0.0.1:{gateway_port}; keepalive 1; keepalive_requests 100000; }}
server {{
    listen 127.0.0.1:{port};
    access_log {log} forwarded;
    client_header_timeout {_PATIENCE}; client_body_timeout {_PATIENCE};
    client_max_body_size 8m; large_client_header_buffers 8 64k; ignore_invalid_headers off; underscores_in_headers on;
    location / {{
        proxy_pass http://gateway; proxy_http_version 1.1; proxy_set_header Connection "";
        proxy_set_header Host $http_host; proxy_request_buffering off; proxy_buffering off;
        proxy_next_upstream off; proxy_read_timeout 5s;
    }}
}}"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front(
    stage: Any, processes: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[int, Path]]:
    """Put nginx in front; give its port and its log."""
    folder = tmp_path_factory.mktemp("nginx")
    (port,) = processes.free_ports(1)
    log = folder / "forwarded.log"
    nginx = await asyncio.to_thread(processes.Nginx, folder, servers(stage.port, port, log), [port])
    try:
        yield port, log
    finally:
        await asyncio.to_thread(nginx.stop)


async def others_are_answered(stage: Any, port: int, corpus: Any, name: str) -> None:
    """Ask as other callers, each for something of its own; the answer names what was asked for."""
    for number in range(CALLERS):
        own = f"{name}-{number}"
        sent = corpus.head(b"Connection: close", method=b"GET", target=f"/v1/models/{own}".encode())
        seen = await stage.send(sent, port=port)
        assert [each.status for each in seen.answers] == [404], (own, seen.raw)
        assert f"The model '{own}' is not served here".encode() in seen.answers[0].body, (own, seen.raw)


async def test_nobody_gets_the_answer_of_another(stage: Any, front: tuple[int, Path], corpus: Any) -> None:
    """Behind each item three others ask, on the connection that it came by; nothing was bought."""
    port, log = front
    bought = stage.bought()
    for item in corpus.ITEMS:
        # Those that only take time are nginx's to wait for.
        if item.is_patient:
            continue
        seen = await stage.send(*item.pieces, port=port, half_closes=item.half_closes)
        assert seen.is_over, item.name
        await others_are_answered(stage, port, corpus, item.name)
        now = stage.bought()
        assert now == bought or item.name in MENDED, item.name
        bought = now
    forwarded = [line for line in log.read_text("utf-8").splitlines() if not line.endswith(" -")]
    others = CALLERS * sum(not item.is_patient for item in corpus.ITEMS)
    assert len(forwarded) - others >= FORWARDED_MIN
    await stage.is_well()


async def test_others_share_the_connection(stage: Any, front: tuple[int, Path], corpus: Any) -> None:
    """What the test above rests on: request after request comes by one connection."""
    port, _ = front
    await others_are_answered(stage, port, corpus, "first")
    accepted = stage.accepted
    await others_are_answered(stage, port, corpus, "then")
    assert stage.accepted == accepted


async def test_slow_ones_hold_up_nobody(stage: Any, front: tuple[int, Path], corpus: Any) -> None:
    """All items that take their time, at once, while others are answered."""
    port, _ = front
    bought = stage.bought()
    slow = [item for item in corpus.ITEMS if item.is_patient]
    playing = [asyncio.create_task(stage.send(*item.pieces, port=port, half_closes=item.half_closes)) for item in slow]
    while not all(task.done() for task in playing):
        await others_are_answered(stage, port, corpus, "meanwhile")
    assert all(task.result().is_over for task in playing)
    assert stage.bought() == bought
