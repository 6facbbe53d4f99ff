"""What is done to each subject. A cell is one scenario, one subject, one round: everything in it is started afresh."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import machine
from subjects import HERE, Subject, SubjectError, end, free_port, spawn

START_TIMEOUT_S = 90.0
FREE_BYTES_MIN = 30 << 30
STORM_BUFFER_KB = 64
"""Socket buffers of mock and callers in a storm: in the world those stand on other machines, not in this memory."""


@dataclass(kw_only=True)
class Bench:
    """What all cells share."""

    work: Path
    gateway_core: int | None
    other_core: int | None
    seconds: float
    hold_s: float
    serials: Iterator[int] = field(default_factory=lambda: count(1, 1_000_000))

    def leave(self, folder: Path) -> None:
        """Let a cell's folder be until the end of the run, as long as the disk has room for it.

        ext4 without a journal avoids inode numbers that were freed in the last five minutes, and searches past them one
        by one: files that one cell deletes would slow the next one's creates.
        """
        if shutil.disk_usage(self.work).free < FREE_BYTES_MIN:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def pictures(self) -> Path:
        """Where the prepared pictures are."""
        return self.work / "pictures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A running subject with an upstream behind it."""

    bench: Bench
    subject: Subject
    upstream_port: int
    key: str
    buffer_kb: int = 0

    @property
    def pid(self) -> int | None:
        """The subject's first process; None when there is nothing in between."""
        return self.subject.process.pid if self.subject.process else None

    def cpu_s(self) -> float:
        """CPU time used so far."""
        return machine.cpu_s(self.pid) if self.pid else 0.0

    def rss_bytes(self) -> int:
        """Memory held now."""
        return machine.rss_bytes(self.pid) if self.pid else 0

    def control(self, method: str, path: str) -> Any:
        """Speak to the mock upstream itself."""
        return ask(self.upstream_port, method, f"/_bench/{path}")

    def target(self) -> dict[str, Any]:
        """Whom the callers ask."""
        known = {"port": self.subject.port, "key": self.key, "model": self.subject.model}
        return known | {"pictures": str(self.bench.pictures), "receive_buffer_kb": self.buffer_kb}

    def callers(self, job: dict[str, Any]) -> subprocess.Popen[str]:
        """Start the callers' process with a job."""
        bench, target = self.bench, self.target()
        pin = [] if bench.other_core is None else ["taskset", "-c", str(bench.other_core)]
        command = [*pin, sys.executable, str(HERE / "caller.py")]
        # Unbuffered, Python drops what a full pipe does not take of a line, and tells nobody.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        assert process.stdin is not None
        process.stdin.write(json.dumps({"serial": next(bench.serials), **job, "target": target}))
        process.stdin.close()
        return process

    def warm(self, picture: str, times: int) -> None:
        """Ask a few times and see that the answers are right."""
        result = finish(self.callers({"kind": "load", "picture": picture, "callers": 1, "each": times}))
        if result["faults"]:
            raise SubjectError(f"{self.subject.name} answers wrongly: {result['faults']}")


def ask(port: int, method: str, path: str) -> Any:
    """One small request, one JSON answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def finish(process: subprocess.Popen[str], timeout_s: float = 600.0) -> dict[str, Any]:
    """Read what the callers print until they end; all the lines make one result.

    Read first, wait then: 9,800 answers are more than a pipe holds.
    """
    assert process.stdout is not None
    watchdog = threading.Timer(timeout_s, process.kill)
    watchdog.start()
    try:
        lines = [json.loads(line) for line in process.stdout]
        code = process.wait()
    finally:
        watchdog.cancel()
    if code == -signal.SIGKILL:
        raise SubjectError(f"the callers did not end within {timeout_s:g} s")
    if code != 0:
        raise SubjectError("the callers failed; see above")
    return {name: value for line in lines for name, value in line.items()}


@contextlib.contextmanager
def running(bench: Bench, subject: Subject, *, buffer_kb: int = 0) -> Iterator[Cell]:
    """Start an upstream and a subject in front of it; stop both, and leave nothing on the disk."""
    folder = Path(tempfile.mkdtemp(prefix=f"{subject.name}-", dir=bench.work))
    os.sync()
    upstream_port = free_port()
    command = [sys.executable, str(HERE / "upstream.py"), "--port", str(upstream_port)]
    command += ["--pictures", str(bench.pictures), "--send-buffer-kb", str(buffer_kb)]
    upstream = spawn(command, core=bench.other_core, log=folder / "upstream.log")
    try:
        _wait_for(upstream, upstream_port, folder / "upstream.log")
        subject.launch(folder, upstream_port, bench.gateway_core)
        if subject.process is not None:
            _wait_for(subject.process, subject.port, folder / "subject.log")
        yield Cell(bench=bench, subject=subject, upstream_port=upstream_port, key=_key_of(subject), buffer_kb=buffer_kb)
    except BaseException:
        _show(folder / "subject.log")
        raise
    finally:
        subject.stop()
        end(upstream)
        bench.leave(folder)


def _key_of(subject: Subject) -> str:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        key = subject.ready_key()
        if key:
            return key
        time.sleep(0.01)
    raise SubjectError(f"{subject.name} did not tell its first key")


def _wait_for(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SubjectError(f"{log.stem} ended at once with {process.returncode}: {log.read_text()[-800:]}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            return
        except OSError:
            time.sleep(0.02)
        finally:
            connection.close()
    raise SubjectError(f"{log.stem} does not answer after {START_TIMEOUT_S:g} s: {log.read_text()[-800:]}")


def _show(log: Path) -> None:
    if log.exists():
        print(f"--- the end of {log.name} ---\n{log.read_text(errors='replace')[-1500:]}", file=sys.stderr)


def quantile(values: list[float], share: float) -> float | None:
    """The nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def throughput(bench: Bench, subject: Subject, callers: int) -> dict[str, Any]:
    """4K pictures as fast as they come, with so many callers."""
    with running(bench, subject) as cell:
        cell.warm("4k", 3)
        busy = machine.busy_cores(0.5)
        cpu_before = cell.cpu_s()
        process = cell.callers({"kind": "load", "picture": "4k", "callers": callers, "seconds": bench.seconds})
        assert process.stdout is not None
        measured = json.loads(process.stdout.readline())
        cpu_s = cell.cpu_s() - cpu_before
        faults = finish(process)["faults"]
    latencies = measured["latencies_s"]
    return {
        "images": len(latencies),
        "images_per_s": len(latencies) / (measured["ended_at"] - measured["begun_at"]),
        "p50_ms": _ms(quantile(latencies, 0.5)),
        "p99_ms": _ms(quantile(latencies, 0.99)),
        "cpu_ms_per_image": 1000 * cpu_s / max(1, len(latencies)),
        "busy_cores_before": busy,
        "faults": faults,
    }


def memory(bench: Bench, subject: Subject) -> dict[str, Any]:
    """32 callers get a 4K picture each, all at once."""
    with running(bench, subject) as cell:
        cell.warm("tiny", 3)
        time.sleep(1.0)
        idle = cell.rss_bytes()
        if cell.pid:
            machine.forget_peak(cell.pid)
        faults = finish(cell.callers({"kind": "load", "picture": "4k", "callers": 32, "each": 1}))["faults"]
        peak = machine.peak_rss_bytes(cell.pid) if cell.pid else 0
        return {"idle_bytes": idle, "above_idle_bytes": max(0, peak - idle), "faults": faults}


def storm(bench: Bench, subject: Subject, held: int, picture: str = "1k") -> dict[str, Any]:
    """Hold so many requests, then let all their answers fall due at once."""
    with running(bench, subject, buffer_kb=STORM_BUFFER_KB) as cell:
        cell.warm("tiny", 3)
        time.sleep(1.0)
        idle = cell.rss_bytes()
        job = {"kind": "storm", "picture": picture, "count": held, "rate": 500, "timeout_s": 900}
        process = cell.callers(job)
        begun_at = time.monotonic()
        arrived = until_held(cell, held)
        ramp_s = time.monotonic() - begun_at
        time.sleep(max(0.0, bench.hold_s - 5))
        cpu_before = cell.cpu_s()
        time.sleep(min(5.0, bench.hold_s))
        cpu_share = (cell.cpu_s() - cpu_before) / min(5.0, bench.hold_s)
        rss = cell.rss_bytes()
        if cell.pid:
            machine.forget_peak(cell.pid)
        due = time.monotonic() + 0.5
        lost_while_held = cell.control("GET", "state")["held_lost"]
        cell.control("POST", f"release?due={due}")
        result = finish(process, 420.0)
        peak = machine.peak_rss_bytes(cell.pid) if cell.pid else 0
    lateness = [at - due for at in result["ended_at"]]
    return {
        "asked": held,
        "arrived": arrived,
        "ramp_s": ramp_s,
        "lost_while_held": lost_while_held,
        "answered": len(lateness),
        "lost": held - len(lateness),
        "rss_per_held_bytes": (rss - idle) / held,
        "cpu_share_holding": cpu_share,
        "late_p50_s": quantile(lateness, 0.5),
        "late_p99_s": quantile(lateness, 0.99),
        "idle_bytes": idle,
        "held_bytes": rss,
        "peak_above_held_bytes": max(0, peak - rss),
        "faults": result["faults"],
    }


def until_held(cell: Cell, wanted: int) -> int:
    """Wait until the upstream holds them all, or no more come."""
    arrived, moved_at = 0, time.monotonic()
    while arrived < wanted and time.monotonic() - moved_at < 20:
        time.sleep(0.2)
        now = cell.control("GET", "state")["held"]
        if now != arrived:
            arrived, moved_at = now, time.monotonic()
    return arrived


def overhead(bench: Bench, subject: Subject, seconds: float) -> dict[str, Any]:
    """From the caller's send to the request's arrival at the upstream, at 20 requests a second."""
    with running(bench, subject) as cell:
        cell.warm("tiny", 20)
        job = {"kind": "paced", "picture": "tiny", "rate": 20, "seconds": seconds, "delay_s": 0.2}
        result = finish(cell.callers(job))
        arrivals = cell.control("GET", "arrivals")
    taken = [arrivals[serial] - sent for serial, sent in result["sent_at"].items() if serial in arrivals]
    return {
        "requests": len(taken),
        "p50_ms": _ms(quantile(taken, 0.5)),
        "p99_ms": _ms(quantile(taken, 0.99)),
        "faults": result["faults"],
    }


def start(bench: Bench, subject: Subject) -> dict[str, Any]:
    """From the command to the first complete answer, in an empty folder; then once more in the same folder."""
    folder = Path(tempfile.mkdtemp(prefix=f"{subject.name}-", dir=bench.work))
    upstream_port = free_port()
    command = [
        sys.executable,
        str(HERE / "upstream.py"),
        "--port",
        str(upstream_port),
        "--pictures",
        str(bench.pictures),
    ]
    upstream = spawn(command, core=bench.other_core, log=folder / "upstream.log")
    try:
        _wait_for(upstream, upstream_port, folder / "upstream.log")
        taken = [_first_answer_s(bench, subject, folder, upstream_port) for _ in range(2)]
        return {"first_s": taken[0], "again_s": taken[1]}
    except BaseException:
        _show(folder / "subject.log")
        raise
    finally:
        subject.stop()
        end(upstream)
        bench.leave(folder)


def _first_answer_s(bench: Bench, subject: Subject, folder: Path, upstream_port: int) -> float:
    begun_at = time.monotonic()
    subject.launch(folder, upstream_port, bench.gateway_core)
    prompt = f"[bench id={next(bench.serials)} picture=tiny]"
    body = json.dumps({"model": subject.model, "prompt": prompt, "size": "1024x1024"})
    while time.monotonic() - begun_at < START_TIMEOUT_S:
        key = subject.ready_key()
        if key and _is_answered(subject.port, key, body):
            taken_s = time.monotonic() - begun_at
            subject.stop()
            return taken_s
        time.sleep(0.005)
    raise SubjectError(f"{subject.name} gave no answer within {START_TIMEOUT_S:g} s")


def _is_answered(port: int, key: str, body: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    try:
        connection.request("POST", "/v1/images/generations", body, headers)
        response = connection.getresponse()
        return b"b64_json" in response.read() and response.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
