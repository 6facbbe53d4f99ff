"""A link between two network namespaces that delays and loses packets, as a path across a continent does.

    python link.py --loss 0.01 --seed 7 --server NAME --client NAME

The kernel here has no netem: two TUN devices, one in each namespace, are joined by this program. Each packet waits
in a drop-tail queue for its turn at the link's rate, then travels for half a round trip. Loss is independent, in each
direction. Prints `ready`, and its counts when it ends.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import random
import select
import signal
import struct
import subprocess
import time
from collections import deque
from dataclasses import dataclass, field

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI, IFF_NAPI = 0x0001, 0x1000, 0x0010
"""With NAPI the device has a receive queue of its own: the host's shared one drops packets when the machine is busy."""
MTU = 1500
SERVER_IP, CLIENT_IP = "10.213.0.1", "10.213.0.2"
RATE_BITS_S = 100e6
DELAY_S = 0.025
QUEUE_S = 0.05
BURST = 64


@dataclass(slots=True)
class Direction:
    """Packets on their way to one side."""

    to: int
    """File descriptor of the device they leave by."""
    chance: random.Random
    loss: float
    flying: deque[tuple[float, bytes]] = field(default_factory=deque)
    free_at: float = 0.0
    """When the link has sent everything that stands in line."""
    passed: int = 0
    lost: int = 0
    overflowed: int = 0

    def take(self, packet: bytes, now: float) -> None:
        """Put one in line, unless it is lost or the line is full."""
        if self.loss and self.chance.random() < self.loss:
            self.lost += 1
            return
        starts_at = max(now, self.free_at)
        if starts_at - now > QUEUE_S:
            self.overflowed += 1
            return
        self.free_at = starts_at + len(packet) * 8 / RATE_BITS_S
        self.flying.append((self.free_at + DELAY_S, packet))

    def deliver(self, now: float) -> None:
        """Hand over what has arrived."""
        while self.flying and self.flying[0][0] <= now:
            os.write(self.to, self.flying.popleft()[1])
            self.passed += 1


def open_device(namespace: str, ip: str, congestion: str) -> int:
    """Make a TUN device within a namespace; connections over it send with this congestion control.

    The device belongs to the namespace in which it is made, and its descriptor works from everywhere.
    """
    back = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        _setns(there)
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", b"link0", IFF_TUN | IFF_NO_PI | IFF_NAPI))
        for words in (
            f"link set link0 mtu {MTU} txqueuelen 10000 up",
            f"addr add {ip}/24 dev link0",
            # A default of the namespace may be refused; of a route it is not.
            f"route change 10.213.0.0/24 dev link0 congctl lock {congestion}",
            "link set lo up",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        return device
    finally:
        _setns(back)
        os.close(there)
        os.close(back)


def _setns(descriptor: int) -> None:
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(descriptor, 0x40000000) != 0:
        raise OSError(ctypes.get_errno(), "setns: root is needed")


def run(to_client: Direction, to_server: Direction) -> None:
    """Carry packets until told to stop."""
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
    poll = select.epoll()
    # What is read at one side flies to the other.
    flights = {to_server.to: to_client, to_client.to: to_server}
    for device in flights:
        poll.register(device, select.EPOLLIN)
    print("ready", flush=True)
    while not stop:
        now = time.monotonic()
        due = min((flight.flying[0][0] for flight in flights.values() if flight.flying), default=now + 0.2)
        for device, _ in poll.poll(max(0.0, due - now)):
            _read(device, flights[device])
        now = time.monotonic()
        for flight in flights.values():
            flight.deliver(now)


def _read(device: int, flight: Direction) -> None:
    for _ in range(BURST):
        try:
            packet = os.read(device, MTU + 100)
        except BlockingIOError:
            return
        flight.take(packet, time.monotonic())


def main() -> None:
    """Join two namespaces that there are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="namespace of the sender")
    parser.add_argument("--client", required=True, help="namespace of the receiver")
    parser.add_argument("--loss", type=float, default=0.0, help="share of packets lost, each way")
    parser.add_argument("--congestion", default="cubic", help="the sender's congestion control")
    parser.add_argument("--seed", type=int, default=0, help="of the losses")
    args = parser.parse_args()
    server = open_device(args.server, SERVER_IP, args.congestion)
    client = open_device(args.client, CLIENT_IP, args.congestion)
    to_client = Direction(to=client, chance=random.Random(f"{args.seed} down"), loss=args.loss)
    to_server = Direction(to=server, chance=random.Random(f"{args.seed} up"), loss=args.loss)
    run(to_client, to_server)
    counts = {
        name: {"passed": each.passed, "lost": each.lost, "overflowed": each.overflowed}
        for name, each in (("down", to_client), ("up", to_server))
    }
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
