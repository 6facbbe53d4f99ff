"""Findings and verdict in words, and as JSON. Pure: no I/O, clock or randomness."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from enum import Enum
from itertools import pairwise
from typing import Any

from holdfast.config import Deadlines
from holdfast.doctor.findings import Findings, Probe
from holdfast.doctor.http1 import End
from holdfast.doctor.schedule import CutAfter, LostAfter, Uncut
from holdfast.doctor.verdict import SKEW_S, Beats, Culprit, Flow, Verdict
from holdfast.policy.deadlines import generation_s
from holdfast.types import Tier

WIDTH = 110
_LABEL = 13
GENEROUS_S = 300
"""To set at a proxy: what holds for 1K and 2K altogether, far above any beat."""
CERTIFICATE_DAYS = 14
CONNECT_S, WRITE_S = 10, 30
"""Per phase, as published for clients of slow images."""
KEPT_SHARE = 0.75


def lines_of(findings: Findings, verdict: Verdict) -> list[str]:
    """Tell everything, measurement by measurement, then what follows from it."""
    rows = [*_way(findings), *_gateway(findings, verdict), *_measured(findings, verdict)]
    lines = [f"holdfast doctor {findings.url}", ""]
    for label, text in rows:
        lines += _row(label, text)
    lines += [line for note in findings.notes for line in ("", *textwrap.wrap(note, WIDTH))]
    for sentence in sentences(findings, verdict):
        lines += ["", *textwrap.wrap(sentence, WIDTH)]
    settings = list(advice(findings, verdict))
    if settings:
        lines += ["", "What to set:"]
        lines += [
            line
            for each in settings
            for line in textwrap.wrap(each, WIDTH, initial_indent="  - ", subsequent_indent="    ")
        ]
    return lines


def _row(label: str, text: str) -> list[str]:
    first, *more = textwrap.wrap(text, WIDTH - _LABEL) or [""]
    return [f"{label:<{_LABEL}}{first}", *(" " * _LABEL + line for line in more)]


# Measurements


def _way(findings: Findings) -> Iterator[tuple[str, str]]:
    named, connected, secured = findings.named, findings.connected, findings.secured
    if findings.proxies_set:
        names = ", ".join(f"{name}={value}" for name, value in findings.proxies_set)
        yield (
            "environment",
            f"{names}: programs that obey it go through that proxy. It was bypassed here: this is the direct way.",
        )
    if named is not None:
        more = f" and {len(named.addresses) - 1} more" if len(named.addresses) > 1 else ""
        yield "name", f"{named.addresses[0]}{more}, {_ms(named.took_s)}"
    if connected is not None:
        yield "connect", f"port {connected.port} of {connected.address}, {_ms(connected.took_s)}"
    if secured is not None:
        chooses = {"h2": "HTTP/2 where it is offered", "http/1.1": "HTTP/1.1"}.get(
            secured.chooses or "", "says nothing of HTTP versions"
        )
        yield (
            "TLS",
            f"{secured.version}, {_ms(secured.took_s)}, {chooses}; certificate of {secured.subject} by "
            f"{secured.issuer}, {secured.days_left:.0f} days left",
        )


def _gateway(findings: Findings, verdict: Verdict) -> Iterator[tuple[str, str]]:
    echo = findings.echo
    if echo is not None:
        yield (
            "gateway",
            f"holdfast {echo.version}, asked in HTTP/{echo.http_version} by {echo.peer} ({echo.request_id})",
        )
    elif findings.first is not None and findings.first.head is not None:
        head = findings.first.head
        yield "answers", f"{head.status}, {head.get('content-type') or 'without a type'}, HTTP/{head.version}"
    if findings.first is not None and findings.first.head is not None:
        yield "on the way", _seen(findings, verdict)
    if findings.ahead_s is not None:
        yield "clock", _clock(findings)
    if echo is not None and echo.congestion is not None:
        yield (
            "sender",
            f"{echo.congestion}: the gateway's congestion control; a proxy in front of it sends with its own",
        )


def _seen(findings: Findings, verdict: Verdict) -> str:
    parts = [", ".join(verdict.hops) or "no proxy that gives its name"]
    head = findings.first.head if findings.first is not None else None
    if head is not None:
        parts.append(f"answers in HTTP/{head.version}")
        for name in ("server", "via", "x-cache", "cf-ray", "age"):
            if (value := head.get(name)) is not None:
                parts.append(f"{name}: {value[:60]}")
    if findings.echo is not None:
        told = {each.name: each.value for each in findings.echo.headers}
        forwarded = told.get("x-forwarded-for")
        if forwarded:
            count = len(forwarded.split(","))
            parts.append(f"the gateway is told of {count} address{'es' if count > 1 else ''} (X-Forwarded-For)")
        if told.get("via"):
            parts.append(f"and of Via {told['via']}")
        for name in ("host", "connection"):
            if told.get(name):
                parts.append(f"{name} there: {told[name]}")
    return "; ".join(parts)


def _clock(findings: Findings) -> str:
    assert findings.ahead_s is not None
    apart, error = abs(findings.ahead_s), findings.ahead_error_s
    if apart <= error:
        return f"together, to {_ms(error)}"
    side = "behind" if findings.ahead_s > 0 else "ahead of"
    return f"this machine's is {_span(apart)} {side} the one there (to {_ms(error)})"


def _measured(findings: Findings, verdict: Verdict) -> Iterator[tuple[str, str]]:
    if findings.echo is None:
        if findings.kept_s is not None:
            yield "kept idle", f"{findings.kept_s:.1f} s"
        return
    if findings.body is not None:
        yield "body", _body(findings)
    if verdict.silence is not None:
        yield "silence", _silence(verdict)
    if verdict.beats is not None and findings.beats is not None:
        yield "beats", _beats(verdict.beats, findings.beats)
    if verdict.zipped is not None and findings.zipped is not None:
        zipped = "compressed on the way" if verdict.is_zipped else "not compressed on the way"
        held = ", and beats are held by it" if verdict.zipped is Flow.HELD and verdict.beats is Flow.PASS else ""
        yield "gzip", zipped + held
    if verdict.interims is not None:
        words = {
            Flow.PASS: "interim answers (102) pass",
            Flow.HELD: "interim answers (102) are dropped on the way"
            if findings.echo.http_version != "1.0"
            else "none were sent: the hop before the gateway asks in HTTP/1.0",
            Flow.BROKEN: "interim answers (102) break the answer: never use them as heartbeats here",
        }
        yield "1xx", words[verdict.interims]
    kept = f"{findings.kept_s:.1f} s" if findings.kept_s is not None else "longer than was waited"
    if findings.is_complete:
        yield "kept idle", f"{kept}: how long a connection waits for a next request"


def _body(findings: Findings) -> str:
    body = findings.body
    assert body is not None
    if body.refused_bytes is None:
        return f"no limit found up to {_size(body.passed_bytes)} ({_size(body.sent_bytes)} sent whole)"
    own = findings.echo is not None and body.refused_bytes > findings.echo.request_bytes_max
    if own:
        return f"up to the gateway's own limit, {_size(body.refused_bytes - 1)} ({_size(body.sent_bytes)} sent whole)"
    return f"up to {_size(body.passed_bytes)}; 413 at {_size(body.refused_bytes)}"


def _silence(verdict: Verdict) -> str:
    match verdict.silence:
        case Uncut(until_s=until_s):
            return f"{until_s:g} s are borne; nothing cuts up to there"
        case CutAfter(limit_s=limit_s, is_steady=is_steady):
            return f"cut after {limit_s:.1f} s" + ("" if is_steady else ", though not always: the hops differ")
        case LostAfter(answered_s=answered_s, lost_s=lost_s):
            return f"forgotten after {answered_s:.1f} to {lost_s:.1f} s"
        case None:
            return ""


def _beats(flow: Flow, probe: Probe) -> str:
    pieces = probe.exchange.pieces
    assert probe.beat_s is not None
    if flow is Flow.PASS:
        late_s = max((b.at_s - a.at_s - probe.beat_s for a, b in pairwise(pieces)), default=0.0)
        return (
            f"pass, one each {probe.beat_s:g} s for {probe.exchange.end_s:.0f} s; the first after {pieces[0].at_s:.1f} "
            f"s, none more than {max(0.0, late_s):.1f} s late"
        )
    if flow is Flow.HELD:
        first = f"the first byte came after {pieces[0].at_s:.1f} s" if pieces else "none came before the end"
        return f"are held on the way and come together: {first}"
    return f"do not help: the call was cut after {probe.exchange.end_s:.1f} s all the same"


# Conclusions


def sentences(findings: Findings, verdict: Verdict) -> Iterator[str]:
    """Say what it all means, the most important first."""
    culprit = verdict.culprit
    if culprit is not None:
        yield _who(culprit, verdict)
    elif isinstance(verdict.silence, Uncut):
        yield f"Nothing cuts a silent call within {verdict.silence.until_s:g} s."
    elif not findings.is_complete and findings.echo is not None:
        yield "It was not measured to the end: who cuts silent calls is not known."
    if verdict.beats is Flow.CUT and verdict.silence is not None:
        assert findings.beats is not None
        yield (
            f"A call with beats was cut too, after {findings.beats.exchange.end_s:.1f} s: something counts the whole "
            "call, and no beat keeps it."
        )
    if verdict.beats is Flow.HELD:
        yield "Beats are held on the way: callers get nothing before the end, and their own timers are not fed."
    if verdict.repeats:
        yield (
            f"{verdict.repeats} of the silent calls arrived at the gateway more than once: a hop repeats what it gave "
            "up. The gateway joins such repeats; other servers would be paid twice."
        )
    if findings.ahead_s is not None and abs(findings.ahead_s) > SKEW_S + findings.ahead_error_s:
        yield (
            f"The clocks are {_span(abs(findings.ahead_s))} apart. Signed links, webhooks and tokens fail beyond "
            "minutes, certificates beyond days: set the clock that is wrong (NTP)."
        )
    if findings.secured is not None and findings.secured.days_left < CERTIFICATE_DAYS:
        yield f"The certificate ends in {findings.secured.days_left:.1f} days."


def _who(culprit: Culprit, verdict: Verdict) -> str:
    sure = "" if culprit.is_sure else "Probably it is "
    begins = not sure and culprit.title.startswith(("a ", "what ", "the "))
    title = culprit.title[:1].upper() + culprit.title[1:] if begins else culprit.title
    exact = f" (to {culprit.error_s:.1f} s)" if isinstance(verdict.silence, LostAfter) else ""
    verb = "forgets" if culprit.name == "forgetter" else "cuts"
    joined = " that" if sure else ""
    return f"{sure}{title}{joined} {verb} silent calls after {culprit.limit_s:.1f} s{exact}: {culprit.how}."


def advice(findings: Findings, verdict: Verdict) -> Iterator[str]:
    """Say what to set, where."""
    if findings.echo is None:
        return
    beats, culprit = verdict.advice, verdict.culprit
    set_ = findings.echo.heartbeat
    now = f"now {set_.first_beat_s:g} and {set_.beat_s:g}"
    wanted = f"`heartbeat.first_beat_s = {beats.first_beat_s:g}` and `heartbeat.beat_s = {beats.beat_s:g}`"
    if set_.first_beat_s <= beats.first_beat_s and set_.beat_s <= beats.beat_s:
        yield f"holdfast: its beats are short enough for this path ({now})."
    else:
        yield f"holdfast: {wanted} ({now})."
    if culprit is not None and verdict.beats is not Flow.PASS:
        yield f"{culprit.title}: {culprit.setting.format(seconds=GENEROUS_S)}."
    elif culprit is not None:
        yield (
            f"{culprit.title}: nothing has to be changed while beats pass; for clients that get none, "
            f"{culprit.setting.format(seconds=GENEROUS_S)}."
        )
    if verdict.beats is Flow.HELD or verdict.zipped is Flow.HELD:
        what = "no gzip for `application/json`" if verdict.is_zipped else "no buffering of answers"
        old = ", `proxy_http_version 1.1;`" if findings.echo.http_version == "1.0" else ""
        yield f"the proxy: {what}{old} (docs/how-to/behind-a-proxy.md)."
    if verdict.beats is Flow.CUT:
        yield "callers: `Prefer: respond-async`, and ask for the generation; or `Prefer: hold=redirects`."
    body = findings.body
    if body is not None and body.refused_bytes is not None and body.refused_bytes <= findings.echo.request_bytes_max:
        yield (
            f"whoever answers 413 at {_size(body.refused_bytes)}: reference images need more; in nginx "
            f"`client_max_body_size {findings.echo.request_bytes_max >> 20}m;`."
        )
    yield f"clients: {_timeouts(findings, beats, verdict)}."
    if findings.echo.congestion not in (None, "bbr"):
        yield "the gateway's machine: BBR (`tcp_bbr`), where lines lose packets; at 1 % loss it is 6 times faster."


def _timeouts(findings: Findings, beats: Beats, verdict: Verdict) -> str:
    whole = ", ".join(f"{tier.value} {generation_s(tier, Deadlines()):g} s" for tier in Tier)
    quiet_s = max(60.0, 3 * max(beats.first_beat_s, beats.beat_s))
    silence = f"{quiet_s:g} s between bytes" if verdict.beats is Flow.PASS else "the whole call's time between bytes"
    text = f"connect {CONNECT_S} s, write {WRITE_S} s, {silence}; the whole call {whole}"
    if findings.kept_s is not None and findings.kept_s > 1.0:
        text += f"; no connection reused that was idle for {findings.kept_s * KEPT_SHARE:.0f} s"
    return text


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1.0 else f"{seconds:.1f} s"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1_000_000 else f"{count / 1e3:.0f} kB"


# JSON


def document_of(findings: Findings, verdict: Verdict) -> dict[str, Any]:
    """Give everything as plain values; bodies and headers of single exchanges are left out."""
    found = {
        name: plain(getattr(findings, name))
        for name in ("url", "named", "connected", "secured", "ahead_s", "kept_s", "until_s", "is_complete", "notes")
    }
    body = findings.body
    return {
        "object": "doctor",
        **found,
        "proxies_set": [name for name, _ in findings.proxies_set],
        "gateway": None if findings.echo is None else _echo(findings),
        "body": None
        if body is None
        else {name: getattr(body, name) for name in ("passed_bytes", "sent_bytes", "refused_bytes")},
        "silences": [_probe(probe) for probe in findings.silences],
        "verdict": _verdict(verdict),
        "words": [*sentences(findings, verdict)],
        "settings": [*advice(findings, verdict)],
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    silence = verdict.silence
    kinds = {CutAfter: "cut", LostAfter: "lost", Uncut: "uncut", type(None): None}
    given = {} if silence is None else plain(silence)
    limit = {"limit_s": silence.limit_s} if isinstance(silence, CutAfter | LostAfter) else {}
    members = {name: plain(getattr(verdict, name)) for name in verdict.__slots__ if name != "silence"}
    return {**members, "silence": {"kind": kinds[type(silence)], **given, **limit}}


def _probe(probe: Probe) -> dict[str, Any]:
    seen = probe.exchange
    return {
        "seconds": probe.seconds,
        "end": seen.end.value,
        "end_s": round(seen.end_s, 3),
        "status": seen.status if seen.end is not End.SILENT else None,
        "gateway": None if probe.report is None else plain_struct(probe.report.visits),
    }


def _echo(findings: Findings) -> dict[str, Any]:
    echo = findings.echo
    assert echo is not None
    return {
        "version": echo.version,
        "http_version": echo.http_version,
        "scheme": echo.scheme,
        "peer": echo.peer,
        "congestion": echo.congestion,
        "headers": {each.name: each.value for each in echo.headers},
        "first_beat_s": echo.heartbeat.first_beat_s,
        "beat_s": echo.heartbeat.beat_s,
        "request_bytes_max": echo.request_bytes_max,
    }


def plain(value: Any) -> Any:
    """Make values of it that JSON knows."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value.value if isinstance(value, Enum) else value


def plain_struct(visits: Any) -> list[dict[str, Any]]:
    """The gateway's own words, member by member."""
    return [{name: getattr(visit, name) for name in visit.__struct_fields__} for visit in visits]
