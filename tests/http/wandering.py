"""What schemathesis loads before it asks: its connections come from all over loopback, 127.0.0.0/8.

Wrong keys make whoever shows them wait, by address (`policy/wrong_keys.py`), and schemathesis shows some of every
operation: from one address it would wait for minutes, and learn nothing by that. So each connection has an address of
its own, and one on which a key was refused is not used again. That wrong keys wait is tested in
tests/integration/gateway/test_gateway_keys.py, from one address.
"""

from __future__ import annotations

import itertools

from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.response import HTTPResponse

_numbers = itertools.count(1)


class Wandering(HTTPConnection):
    """A connection from an address that nobody has come from before."""

    _is_refused = False

    def connect(self) -> None:
        """Open it."""
        number = next(_numbers)
        self.source_address = (f"127.{1 + number // 62_500}.{number // 250 % 250}.{1 + number % 250}", 0)
        self._is_refused = False
        super().connect()

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # urllib3 gives more than http.client promises
        """Read the head of an answer, and note one that refuses a key."""
        answer = super().getresponse()
        self._is_refused = answer.status == 401
        return answer

    @property
    def is_connected(self) -> bool:
        """Whether the next request may go over it too."""
        return super().is_connected and not self._is_refused


HTTPConnectionPool.ConnectionCls = Wandering
