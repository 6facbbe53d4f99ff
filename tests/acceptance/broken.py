"""A way to the gateway that breaks where a test says, and a gateway that is killed and comes again."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from holdfast.simulator.path import Fate, Path

HOST = "127.0.0.1"
SILENT_S = 0.4
_RST = b"\x01\x00\x00\x00\x00\x00\x00\x00"


class Way:
    """A path in a thread of its own; the connections that a test names suffer, all others are spared."""

    def __init__(self, to_url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="way")
        self._thread.start()
        self._fates: dict[int, Fate] = {}
        self._path = Path(HOST, 0, fate_of=self._fates.get)
        self.lead_to(to_url)
        self.port = asyncio.run_coroutine_threadsafe(self._path.start(HOST, 0), self._loop).result(10.0)

    @property
    def url(self) -> str:
        """Where it begins."""
        return f"http://{HOST}:{self.port}"

    @property
    def accepted(self) -> int:
        """Connections so far."""
        return self._path.accepted

    def lead_to(self, url: str) -> None:
        """Lead there from the next connection on."""
        self._path.to_port = urlsplit(url).port or 0

    def next(self, *fates: Fate | None) -> None:
        """Say what becomes of the next connections, in their order."""
        for number, fate in enumerate(fates, self._path.accepted + 1):
            if fate is not None:
                self._fates[number] = fate

    def forget(self) -> None:
        """Spare everybody from here on."""
        self._fates.clear()

    def is_empty(self, within_s: float = 5.0) -> bool:
        """Whether no connection is open, after a while at most."""
        until = time.monotonic() + within_s
        while self._path.open and time.monotonic() < until:
            time.sleep(0.01)
        return not self._path.open

    def stop(self) -> None:
        """End it, and all that is open."""
        asyncio.run_coroutine_threadsafe(self._path.close(), self._loop).result(10.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10.0)
        self._loop.close()


@contextlib.contextmanager
def all_but_the_last(to_url: str, held_back: int) -> Iterator[str]:
    """Pass all but the last bytes of the first connection's answer, then reset it; later ones are passed whole."""
    listener = socket.create_server((HOST, 0))
    threads: list[threading.Thread] = []
    over = threading.Event()

    def pass_on(near: socket.socket, number: int) -> None:
        with near, socket.create_connection((HOST, urlsplit(to_url).port or 0)) as far:
            kept = b""
            while not over.is_set():
                ready, _, _ = select.select([near, far], [], [], SILENT_S)
                if not ready and number == 1 and len(kept) == held_back:
                    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
                    return
                for side in ready:
                    data = side.recv(65_536)
                    if not data:
                        return
                    if side is near:
                        far.sendall(data)
                    elif number == 1:
                        kept += data
                        near.sendall(kept[:-held_back])
                        kept = kept[-held_back:]
                    else:
                        near.sendall(data)

    def accept() -> None:
        number = 0
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                number += 1
                threads.append(threading.Thread(target=pass_on, args=(near, number)))
                threads[-1].start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield f"http://{HOST}:{listener.getsockname()[1]}"
    finally:
        over.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (accepting, *threads):
            thread.join(10.0)
