"""Builders of what the doctor may have seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from holdfast.doctor.findings import Findings, Probe
from holdfast.doctor.http1 import End, Exchange, Head, Piece, Reading
from holdfast.wire.probe import Echo, EchoBeats, ProbeReport, ProbeVisit, told_headers

RECORDED = Path(__file__).resolve().parents[2] / "recorded" / "doctor"


@dataclass(frozen=True)
class Seen:
    """Makes values."""

    def page(self, name: str, at_s: float = 60.0) -> Exchange:
        """An error page as a real server wrote it, as it came through at a moment."""
        reading = Reading()
        reading.feed((RECORDED / f"{name}.http").read_bytes(), at_s)
        return reading.result(End.SILENT, at_s)

    def answer(self, status: int, text: str = "", *, at_s: float = 60.0, **headers: str) -> Exchange:
        """An answer."""
        named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
        head = Head(status=status, version="1.1", headers=named)
        return Exchange(end=End.WHOLE, end_s=at_s, head=head, head_s=at_s, body=text.encode(), body_bytes=len(text))

    def held(self, seconds: float) -> Probe:
        """A silence that was borne."""
        return Probe(seconds=seconds, exchange=self.answer(200, "{}", at_s=seconds))

    def ended(self, seconds: float, exchange: Exchange, **visit: Any) -> Probe:
        """A silence that was not; with a visit, the gateway tells of its side."""
        report = None
        if visit:
            usual = {"began_at": "2026-11-28T01:00:00.000Z", "elapsed_s": seconds, "ended": "left"}
            made = ProbeVisit(**{**usual, "acknowledged": None, "beats": 0, **visit})
            report = ProbeReport(id="prb_12345", seconds=seconds, visits=(made,))
        return Probe(seconds=seconds, exchange=exchange, report=report)

    def beats(self, *at_s: float, end: End = End.SILENT, end_s: float = 20.0, beat_s: float = 1.0) -> Probe:
        """Beats that came at these moments."""
        head = Head(status=200, version="1.1", headers=()) if at_s else None
        pieces = tuple(Piece(at_s=each, bytes=1) for each in at_s)
        seen = Exchange(end=end, end_s=end_s, head=head, head_s=at_s[0] if at_s else None, pieces=pieces)
        return Probe(seconds=20.0, exchange=seen, beat_s=beat_s)

    def echo(self, *headers: tuple[str, str], http_version: str = "1.1", **changed: Any) -> Echo:
        """What a gateway says of a request."""
        usual: dict[str, Any] = {
            "at": "2026-11-28T01:00:00.000Z",
            "version": "0.1.0",
            "request_id": "req_1",
            "method": "GET",
            "http_version": http_version,
            "scheme": "http",
            "peer": "10.0.0.7",
            "headers": told_headers(headers),
            "body_bytes": 0,
            "congestion": "bbr",
            "heartbeat": EchoBeats(first_beat_s=20.0, beat_s=10.0),
            "request_bytes_max": 128 << 20,
            "probe_seconds_max": 150.0,
            "probes_max": 40,
        }
        return Echo(**{**usual, **changed})

    def findings(self, *silences: Probe, **changed: Any) -> Findings:
        """Everything, measured to the end."""
        usual: dict[str, Any] = {
            "url": "http://a/v1",
            "first": self.answer(200, "{}", at_s=0.1),
            "echo": self.echo(),
            "silences": silences,
            "until_s": 132.0,
            "is_complete": True,
        }
        return Findings(**{**usual, **changed})


@pytest.fixture
def seen() -> Seen:
    """Make values."""
    return Seen()


@pytest.fixture
def fin() -> Callable[..., Exchange]:
    """A connection that ends without a word."""

    def made(at_s: float = 60.0, end: End = End.FIN) -> Exchange:
        return Exchange(end=end, end_s=at_s)

    return made
