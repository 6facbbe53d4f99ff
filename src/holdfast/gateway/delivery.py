"""Whether the last byte of an answer arrived: the send queue of the caller's socket tells.

A buffering proxy acknowledges for its client, so this is "received by the next hop"; see http-contract §3.
"""

from __future__ import annotations

import asyncio

from holdfast.gateway.call import Call

POLL_FIRST_S = 0.005
POLL_MAX_S = 0.25


async def last_byte_acknowledged(call: Call, *, within_s: float) -> bool:
    """Wait until everything written is acknowledged; False if the caller leaves first or the time ends.

    TLS transports keep a buffer of their own between theirs and the socket's, so an empty queue must be seen twice.
    """
    protocol = call.protocol
    loop = asyncio.get_running_loop()
    until = loop.time() + within_s
    pause_s = POLL_FIRST_S
    empty_seen = 0
    while True:
        left = protocol.unacknowledged_bytes()
        if left is None:
            return False
        empty_seen = empty_seen + 1 if left == 0 else 0
        if empty_seen >= (2 if call.scheme == "https" else 1):
            return True
        if loop.time() >= until:
            return False
        await asyncio.sleep(pause_s)
        pause_s = min(POLL_MAX_S, pause_s * 2)


async def finish_and_confirm(call: Call, *, within_s: float) -> bool:
    """Send the end of the body and tell whether it arrived; a closing connection is kept open until then.

    uvicorn closes the transport inside the last `send()` when the answer says `Connection: close`, and the descriptor
    is gone while megabytes are in flight. The header is on the wire already, so the cycle may be told otherwise.
    """
    cycle = call.protocol.cycle
    closes, cycle.keep_alive = not cycle.keep_alive, True
    call.protocol.stays_open = closes
    await call.finish()
    if closes and call.http_version == "1.0" and call.scheme == "http" and not call.has_left:
        # The end of a close-delimited body is the end of the stream: say it now, the socket stays for the question.
        call.protocol.transport.write_eof()
    call.protocol.is_awaited = True
    arrived = await last_byte_acknowledged(call, within_s=within_s)
    call.protocol.is_awaited = False
    if closes and not call.has_left:
        call.protocol.transport.close()
    return arrived
