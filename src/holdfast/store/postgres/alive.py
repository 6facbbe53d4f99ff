"""How the server finds out that a process is gone together with its machine or its network: nothing tells it.

Its connections hold locks, the leader's above all. By default the server asks after two hours whether anybody is there,
and takes a quarter of one to give up on what it has sent.
"""

from __future__ import annotations

SILENT_S = 25
"""A connection whose other end says nothing for so long is closed, and its locks are let go of."""
KEEPALIVE = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # Where something was sent that nobody acknowledges, nobody is asked; milliseconds.
    "tcp_user_timeout": f"{SILENT_S}000",
}
"""Settings of a connection; one over a socket of this machine ends with its process, and has no use for them."""
