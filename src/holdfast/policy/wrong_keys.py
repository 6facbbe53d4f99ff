"""How long whoever shows a wrong key waits for being told so.

Only wrong keys wait: whoever shows a good one is served at once, whatever else comes from his address, so nobody can
lock out those behind the same proxy. A few mistakes cost nothing; then an address is told one answer each `EVERY_S`,
and no answer later than `DELAY_S_MAX`. Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address, ip_network

FREE = 5
"""Wrong keys of an address that are answered at once: somebody copies a key, and tries again."""
EVERY_S = 1.0
"""Between two answers after that. 256 bits are not guessed at any rate: this saves logs and the disk."""
DELAY_S_MAX = 5.0
WAITING_MAX = 256
"""Answers that wait at once, of all addresses: each has a connection."""
OF_AN_ADDRESS_MAX = 16
ADDRESSES_MAX = 10_000
"""Remembered; then the one that was heard of least recently is forgotten."""

_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+")


def neighbourhood(address: str) -> str:
    """Say whose an address is: of IPv6 whoever has one has 2**64 of them. Source: RFC 6177.

    Some proxies write the port behind it (`192.0.2.7:4711`, `[2001:db8::1]:4711`), another one for each connection.
    """
    found = _WITH_PORT.fullmatch(address)
    bare = address if found is None else found[1] or found[2]
    try:
        parsed = ip_address(bare)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return bare
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed.packed[:8] + bytes(8), 64)))


class WrongKeys:
    """Remembers from where wrong keys came; see the module's docstring."""

    def __init__(self) -> None:
        self._due: OrderedDict[str, float] = OrderedDict()
        """By address: when the next answer would be due if they came evenly."""
        self._waiting: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<WrongKeys of {len(self._due)} addresses, {self._waiting.total()} answers wait>"

    def delay_s(self, address: str, now_s: float) -> float:
        """Note a wrong key, and say in how many seconds it is answered.

        Args:
            address: Where it came from, as `neighbourhood` gives it.
            now_s: Monotonic seconds.
        """
        due = max(self._due.get(address, 0.0), now_s)
        # What a long storm adds up to is forgotten as soon as a short one.
        self._due[address] = min(due + EVERY_S, now_s + FREE * EVERY_S + DELAY_S_MAX)
        self._due.move_to_end(address)
        while len(self._due) > ADDRESSES_MAX:
            self._due.popitem(last=False)
        return min(DELAY_S_MAX, max(0.0, due - now_s - (FREE - 1) * EVERY_S))

    def may_wait(self, address: str) -> bool:
        """Whether another answer may be kept waiting; else it is sent away unheard."""
        return self._waiting[address] < OF_AN_ADDRESS_MAX and self._waiting.total() < WAITING_MAX

    @contextmanager
    def waiting(self, address: str) -> Iterator[None]:
        """Count an answer while it waits."""
        self._waiting[address] += 1
        try:
            yield
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]
