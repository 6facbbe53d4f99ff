"""Who cuts, and what to set: from measurements to a verdict. Pure: no I/O, clock or randomness.

How the guilty hop is found, in this order:

1. A silence that is ended by an HTTP answer: its author gave up, or (502 and the like) was told by a connection that
   was closed behind it. The words of the page name the author; they outlive the headers of the proxies before it.
2. One that is ended by FIN or RST without a byte: whoever speaks HTTP would have said something. So it is a hop that
   does not (a load balancer, a firewall), before the first proxy.
3. One that is never ended here, while the answer was due: something forgot the connection. Whether the gateway's answer
   was acknowledged at its side tells on which side of the last proxy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import floor, log10

from holdfast.doctor.findings import Findings, Probe
from holdfast.doctor.http1 import End, Head
from holdfast.doctor.schedule import CutAfter, LostAfter, Silence, Uncut, conclude
from holdfast.doctor.signatures import SIGNATURES, Author, Signature, author_of, hops_named

FIRST_BEAT_S = 20.0
BEAT_S = 10.0
"""As shipped (`heartbeat.*`): what is recommended where nothing on the path is shorter."""
FIRST_BEAT_SHARE = 1 / 3
BEAT_SHARE = 1 / 6
"""Of the limit: as 20 s and 10 s are of 60 s; one beat that is lost or late then does no harm."""
SKEW_S = 5.0
"""Clocks further apart than this break what is signed for minutes: webhooks allow five, links and tokens less."""
HELD_S = 1.0
"""A beat that is later than this by more than one beat was held on the way."""


class Place(StrEnum):
    """Where on the path a hop stands."""

    PROXY = "proxy"
    """It is the proxy that is named."""
    FRONT = "front"
    """Between the caller and the first hop that speaks HTTP."""
    BEHIND = "behind"
    """Between a proxy and the gateway."""
    PATH = "path"
    """Between the caller and the gateway; no proxy was seen."""


class Flow(StrEnum):
    """What becomes of beats."""

    PASS = "pass"
    HELD = "held"
    """They come together, at the end or in lumps."""
    CUT = "cut"
    """The call is ended in spite of them: something counts the whole call."""
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Culprit:
    """Who cuts."""

    name: str
    """Of `signatures.SIGNATURES`; `unnamed proxy`, `closer` (FIN or RST without a word) or `forgetter` (nothing)."""
    title: str
    place: Place
    limit_s: float
    error_s: float
    """How exactly the limit is known."""
    how: str
    """What was seen, in words."""
    setting: str
    is_sure: bool
    next_to: str | None = None
    """The proxy whose neighbour it is, for `FRONT` and `BEHIND`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beats:
    """What to set as `heartbeat.first_beat_s` and `heartbeat.beat_s`."""

    first_beat_s: float
    beat_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What follows from the findings."""

    silence: Silence | None
    culprit: Culprit | None
    hops: tuple[str, ...]
    """Titles of the proxies that were seen, in no order."""
    beats: Flow | None
    is_zipped: bool
    """Something on the way compresses."""
    zipped: Flow | None
    interims: Flow | None
    advice: Beats
    repeats: int
    """Silent probes that arrived at the gateway more than once: something repeats requests."""


def judge(findings: Findings) -> Verdict:
    """Draw the conclusions."""
    silence = conclude(findings.samples)
    zipped = findings.zipped
    head = None if zipped is None else zipped.exchange.head
    return Verdict(
        silence=silence,
        culprit=culprit_of(findings, silence),
        hops=tuple(each.title for each in hops_seen(findings)),
        beats=flow_of(findings.beats),
        is_zipped=head is not None and "gzip" in (head.get("content-encoding") or ""),
        zipped=flow_of(zipped),
        interims=_interims(findings.interims),
        advice=beats_for(limit_of(silence)),
        repeats=sum(1 for each in findings.silences if each.report is not None and len(each.report.visits) > 1),
    )


def limit_of(silence: Silence | None) -> float | None:
    """The longest silence that is safe to count on; None where none was cut."""
    match silence:
        case CutAfter(limit_s=limit_s):
            return limit_s
        case LostAfter(answered_s=answered_s, lost_s=lost_s):
            return answered_s or lost_s / 2
        case _:
            return None


def culprit_of(findings: Findings, silence: Silence | None) -> Culprit | None:
    """Name whoever ends silent calls; None: nobody does, or nothing is known."""
    match silence:
        case CutAfter(limit_s=limit_s):
            cut = _first_cut(findings.silences, limit_s)
            return _by_answer(findings, cut, limit_s) if cut.exchange.head else _closer(findings, cut, limit_s)
        case LostAfter():
            return _forgetter(findings, silence)
        case Uncut() | None:
            return None


def _first_cut(silences: tuple[Probe, ...], limit_s: float) -> Probe:
    def distance(probe: Probe) -> float:
        seen = probe.exchange
        at_s = seen.end_s if seen.head_s is None else seen.head_s
        is_cut = not (seen.end is End.WHOLE and seen.status == 200) and seen.end is not End.SILENT
        return abs(at_s - limit_s) if is_cut else float("inf")

    return min(silences, key=distance)


def _by_answer(findings: Findings, cut: Probe, limit_s: float) -> Culprit:
    answer = cut.exchange
    assert answer.head is not None
    status = answer.head.status
    author = author_of(answer)
    if author is None:
        return Culprit(
            name="unnamed proxy",
            title="a proxy that does not give its name",
            place=Place.PROXY,
            limit_s=limit_s,
            error_s=0.5,
            how=f"{status}, with a page that is none of the {len(SIGNATURES)} known here",
            setting="the time it waits for an answer",
            is_sure=False,
        )
    signature = author.signature
    if author.gave_up(status):
        return _gave_up(author, status, limit_s)
    return Culprit(
        name="closer",
        title=f"what lies between {signature.title} and the gateway",
        place=Place.BEHIND,
        limit_s=_closed_at_s(cut, limit_s),
        error_s=0.5,
        how=f"{status} by {signature.title}: the connection behind it was closed without an answer, and "
        f"{_told_by_gateway(cut)}",
        setting=f"the idle time of the load balancer or firewall between {signature.title} and the gateway",
        is_sure=author.is_sure,
        next_to=signature.name,
    )


def _gave_up(author: Author, status: int, limit_s: float) -> Culprit:
    signature = author.signature
    by = "its own page" if author.is_sure else "its name in the headers"
    usual = (
        ", after its default time"
        if signature.usual_s and abs(limit_s - signature.usual_s) <= 0.02 * signature.usual_s
        else ""
    )
    also = ""
    if status in signature.passes_on:
        also = "; it says the same when the connection behind it is closed, so look there as well"
    return Culprit(
        name=signature.name,
        title=signature.title,
        place=Place.PROXY,
        limit_s=limit_s,
        error_s=0.5,
        how=f"{status} with {by}{usual}{also}",
        setting=signature.setting,
        is_sure=author.is_sure,
    )


def _closed_at_s(cut: Probe, limit_s: float) -> float:
    """Give the moment at which the gateway saw its side closed: the proxy may tell it later.

    HAProxy 2.6.12 sends its 502 0.9 s after a reset (measured).
    """
    visits = () if cut.report is None else cut.report.visits
    ends = [visit.elapsed_s for visit in visits if visit.ended in ("left", "reset")]
    return min([limit_s, *ends])


def _told_by_gateway(cut: Probe) -> str:
    """Say what the gateway saw of it."""
    visits = () if cut.report is None else cut.report.visits
    if not visits:
        return "the gateway was not asked"
    last = visits[-1]
    words = {
        "left": f"the gateway saw its side closed after {last.elapsed_s:.1f} s",
        "reset": f"the gateway saw its side reset after {last.elapsed_s:.1f} s",
        "lost": f"the gateway's side went dark after {last.elapsed_s:.1f} s",
        "answered": "the gateway has answered it, to nobody",
        "open": "the gateway's side is still open",
    }
    return words[last.ended]


def _closer(findings: Findings, cut: Probe, limit_s: float) -> Culprit:
    how = "reset" if cut.exchange.end is End.RST else "closed"
    place, between, next_to = _in_front(findings)
    node = " (servers in Node before 13 did so after 120 s)" if abs(limit_s - 120.0) <= 2.0 else ""
    return Culprit(
        name="closer",
        title=f"a hop {between} that speaks no HTTP (a load balancer, a firewall)",
        place=place,
        limit_s=limit_s,
        error_s=0.5,
        how=f"{how} without a word{node}, and {_told_by_gateway(cut)}",
        setting="its idle time",
        is_sure=True,
        next_to=next_to,
    )


def _forgetter(findings: Findings, silence: LostAfter) -> Culprit:
    lost = [
        each
        for each in findings.silences
        if each.seconds == silence.lost_s and each.exchange.end is not End.WHOLE and each.report is not None
    ]
    visits = [visit for each in lost if each.report is not None for visit in each.report.visits]
    hops = hops_seen(findings)
    # Its answer was taken by whoever stands before the gateway, and did not come here.
    is_taken = any(visit.acknowledged for visit in visits)
    if not hops and not _is_proxied(findings):
        place, between, next_to = Place.PATH, "between you and the gateway", None
    elif is_taken or not visits:
        place, between, next_to = _in_front(findings)
    else:
        next_to = hops[-1].name if hops else None
        place, between = Place.BEHIND, f"between {hops[-1].title if hops else 'the proxy'} and the gateway"
    width_s = silence.lost_s - silence.answered_s
    told = "the gateway's answer was acknowledged at its side" if is_taken else "nobody took the gateway's answer"
    return Culprit(
        name="forgetter",
        title=f"a hop {between} that does not say so (a NAT, a firewall)",
        place=place,
        limit_s=silence.limit_s,
        error_s=width_s / 2,
        how=f"an answer due after {silence.answered_s:.1f} s came, one due after {silence.lost_s:.1f} s did not, and "
        f"no end was told{'; ' + told if visits else ''}",
        setting="its idle time for TCP connections",
        is_sure=bool(visits),
        next_to=next_to,
    )


def _in_front(findings: Findings) -> tuple[Place, str, str | None]:
    hops = hops_seen(findings)
    if hops:
        return Place.FRONT, f"between you and {hops[0].title}", hops[0].name
    if _is_proxied(findings):
        return Place.FRONT, "between you and the first proxy", None
    return Place.PATH, "between you and the gateway", None


def heads_of(findings: Findings) -> list[Head]:
    """Every head that was seen."""
    probes = [*findings.silences, findings.beats, findings.zipped, findings.interims]
    seen = [probe.exchange.head for probe in probes if probe is not None]
    first = None if findings.first is None else findings.first.head
    # What proxies add to the request names them as well.
    echo = () if findings.echo is None else findings.echo.headers
    added = Head(status=200, version="1.1", headers=tuple((each.name, each.value or "") for each in echo))
    return [head for head in (first, *seen, added) if head is not None]


def hops_seen(findings: Findings) -> tuple[Signature, ...]:
    """List the proxies that give their names, in headers or in the pages of their errors; the outermost first.

    Of several, the one whose name the Server header of an ordinary answer bears is the outermost that writes one.
    """
    heads = heads_of(findings)
    named = hops_named(heads)
    authors = [author for probe in findings.silences if (author := author_of(probe.exchange)) is not None]
    sure = {author.signature.name for author in authors if author.is_sure}
    seen = [each for each in SIGNATURES if each in named or each.name in sure]
    first = None if findings.first is None else findings.first.head
    return tuple(sorted(seen, key=lambda each: first is None or not _is_server(each, first)))


def _is_server(signature: Signature, head: Head) -> bool:
    server = Head(status=head.status, version=head.version, headers=(("server", head.get("server") or ""),))
    return bool(hops_named([server])) and hops_named([server])[0] is signature


def _is_proxied(findings: Findings) -> bool:
    """Whether the gateway sees signs of a proxy, named or not."""
    if findings.echo is None:
        return False
    names = {header.name for header in findings.echo.headers}
    signs = {"via", "forwarded", "x-forwarded-for", "x-forwarded-proto", "x-real-ip"}
    return bool(names & signs) or findings.echo.http_version == "1.0"


def flow_of(probe: Probe | None) -> Flow | None:
    """Say what became of beats; None: not measured."""
    if probe is None or probe.beat_s is None:
        return None
    seen = probe.exchange
    if seen.end in (End.UNCONNECTED, End.GARBLED) or seen.status in (401, 403, 429):
        return None
    due_s = probe.beat_s
    came = [piece.at_s for piece in seen.pieces]
    if not came or seen.status != 200:
        # The head comes with the first beat: nothing until the end means that it was held.
        return Flow.CUT if seen.end is not End.WHOLE or seen.status != 200 else Flow.HELD
    gaps = [later - earlier for earlier, later in zip([0.0, *came], came, strict=False)]
    if max(gaps) > 2 * due_s + HELD_S:
        return Flow.HELD
    if seen.end is End.WHOLE or seen.end is End.SILENT:
        return Flow.PASS
    return Flow.CUT


def _interims(probe: Probe | None) -> Flow | None:
    if probe is None or probe.exchange.end is End.UNCONNECTED:
        return None
    seen = probe.exchange
    if seen.end is not End.WHOLE or seen.status != 200 or not seen.body.lstrip().startswith(b"{"):
        return Flow.BROKEN
    return Flow.PASS if seen.interims else Flow.HELD


def beats_for(limit_s: float | None) -> Beats:
    """Give the beats that keep a path open whose limit this is; the shipped ones where it allows them."""
    if limit_s is None:
        return Beats(first_beat_s=FIRST_BEAT_S, beat_s=BEAT_S)
    return Beats(
        first_beat_s=min(FIRST_BEAT_S, _rounded(limit_s * FIRST_BEAT_SHARE)),
        beat_s=min(BEAT_S, _rounded(limit_s * BEAT_SHARE)),
    )


def _rounded(seconds: float) -> float:
    """Round down to a number that people would write: halves above 1, one digit below."""
    if seconds >= 1.0:
        return floor(seconds * 2) / 2
    digit = 10.0 ** floor(log10(seconds))
    return round(floor(seconds / digit + 1e-9) * digit, 6)
