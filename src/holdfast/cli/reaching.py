"""One small question to a gateway, and its answer in memory: what commands that show something ask."""

from __future__ import annotations

from holdfast.cli.exits import Exit, Stop
from holdfast.cli.files import ErrorText
from holdfast.providers.http import Head, HttpRequest
from holdfast.transport.aio import AioTransport
from holdfast.transport.exchange import Timeouts
from holdfast.types import Failure

ANSWER_BYTES_MAX = 16 << 20
"""A thousand keys with all their secrets take 1 MB."""
LIMITS = Timeouts(connect_s=5.0, write_s=5.0, read_idle_s=20.0, total_s=30.0)


async def reach(base_url: str, request: HttpRequest) -> tuple[int, bytes]:
    """Send it; give the status and the body.

    Args:
        base_url: How the gateway is called where it cannot be reached.
        request: To it.

    Raises:
        Stop: It cannot be reached.
    """
    answer, heads = ErrorText(), list[Head]()

    def on_head(head: Head) -> ErrorText:
        heads.append(head)
        return answer

    transport = AioTransport(response_bytes_max=ANSWER_BYTES_MAX)
    try:
        outcome = await transport.exchange(request, timeouts=LIMITS, on_head=on_head)
    finally:
        await transport.close()
    if isinstance(outcome, Failure):
        raise Stop(
            Exit.UNREACHABLE, f"{base_url} cannot be reached: {outcome.detail}. Is holdfast serve running there?"
        )
    return heads[-1].status, answer.body
