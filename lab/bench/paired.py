"""CPU time of one call at two states of the sources, side by side: both gateways run, and are asked in turn.

    git worktree add DIR COMMIT
    python lab/bench/paired.py --before DIR [--picture tiny] [--calls 100] [--rounds 12] [--out FILE]

What else a machine does makes both slower, so it is the ratio within each round that counts; its median is the result.
CPU time is the kernel's, of the gateway's process tree. `PYTHONPATH` chooses the sources; the packages are the same.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import machine
import pictures
from subjects import HERE, Holdfast, end, free_port, spawn

PROJECT = HERE.parent.parent
START_S = 60.0


def program_of(sources: Path, folder: Path) -> Path:
    """Write a `holdfast` that runs these sources."""
    path = folder / "holdfast"
    words = f'PYTHONPATH={sources / "src"} exec {sys.executable} -m holdfast.cli.main "$@"'
    path.write_text(f"#!/bin/sh\n{words}\n")
    path.chmod(0o755)
    return path


class Side:
    """One state of the sources, as a gateway that runs."""

    def __init__(self, sources: Path, folder: Path, upstream_port: int) -> None:
        folder.mkdir()
        self.commit = subprocess.run(
            ("git", "rev-parse", "--short=12", "HEAD"), cwd=sources, capture_output=True, text=True, check=True
        ).stdout.strip()
        self.subject = Holdfast(program_of(sources, folder))
        self.subject.launch(folder, upstream_port, None)
        self._key = self._ready()
        self._connection = http.client.HTTPConnection("127.0.0.1", self.subject.port, timeout=60)

    def _ready(self) -> str:
        until = time.monotonic() + START_S
        while (key := self.subject.ready_key()) is None or not self.subject.is_told("/v1/models", key):
            assert time.monotonic() < until, self.subject.log.read_text()[-2000:]
            time.sleep(0.1)
        return key

    def call(self, serial: int, picture: str) -> None:
        """Ask for one image, and read all of it."""
        document = {"model": self.subject.model, "prompt": f"[bench id={serial} picture={picture}]"}
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        self._connection.request("POST", "/v1/images/generations", json.dumps(document), headers)
        answer = self._connection.getresponse()
        while answer.read(1 << 18):
            pass
        assert answer.status == 200, answer.status

    def cpu_ms(self, serials: range, picture: str) -> float:
        """Ask so many times; the CPU time of each, ms."""
        assert self.subject.process is not None
        before = machine.cpu_s(self.subject.process.pid)
        for serial in serials:
            self.call(serial, picture)
        return 1000 * (machine.cpu_s(self.subject.process.pid) - before) / len(serials)


def measured(before: Side, after: Side, *, picture: str, calls: int, rounds: int) -> list[tuple[float, float]]:
    """Ask both in turn, beginning with another one each time; ms a call of each, by round."""
    serial, told = 1, []
    for number in range(rounds + 1):
        figures: dict[Side, float] = {}
        for side in (before, after) if number % 2 else (after, before):
            figures[side] = side.cpu_ms(range(serial, serial + calls), picture)
            serial += calls
        # The first one warms up: modules, statements, connections.
        if number:
            told.append((figures[before], figures[after]))
            print(
                f"  {figures[before]:7.3f} {figures[after]:7.3f} ms  {figures[after] / figures[before]:.3f}", flush=True
            )
    return told


def main() -> int:
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the other state")
    parser.add_argument("--picture", choices=sorted(pictures.KINDS), default="tiny")
    parser.add_argument("--calls", type=int, default=100, help="of a side in a round (100)")
    parser.add_argument("--rounds", type=int, default=12, help="beside one that warms up (12)")
    parser.add_argument("--out", type=Path, help="the figures as JSON")
    args = parser.parse_args()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-paired-")))
        (work / "pictures").mkdir()
        pictures.make(work / "pictures", 0)
        port = free_port()
        command = [sys.executable, str(HERE / "upstream.py"), "--port", str(port), "--pictures", str(work / "pictures")]
        upstream = spawn(command, core=None, log=work / "upstream.log", env=dict(os.environ))
        stack.callback(end, upstream)
        sides = [Side(args.before.resolve(), work / "before", port), Side(PROJECT, work / "after", port)]
        for side in sides:
            stack.callback(end, side.subject.process)
        print(f"{args.picture}: {sides[0].commit} and {sides[1].commit}, CPU time of a call")
        told = measured(*sides, picture=args.picture, calls=args.calls, rounds=args.rounds)
    result: dict[str, Any] = {
        "picture": args.picture,
        "commits": [side.commit for side in sides],
        "ms": [[round(each, 4) for each in pair] for pair in told],
        "median_ratio": round(median(after / before for before, after in told), 4),
        "least_ms": [round(min(pair[at] for pair in told), 4) for at in (0, 1)],
    }
    print(f"after / before: {result['median_ratio']} in the median; least {result['least_ms']} ms")
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
