"""From what was seen to who is guilty, where it stands, and which beats keep the path open."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.doctor.findings import Probe
from holdfast.doctor.http1 import End, Exchange, Interim
from holdfast.doctor.schedule import CutAfter, LostAfter, Uncut
from holdfast.doctor.verdict import Beats, Flow, Place, beats_for, flow_of, judge, limit_of

FORWARDED = ("x-forwarded-for", "192.0.2.1")


def silent(seconds: float) -> Exchange:
    """Nothing was said for as long as was waited."""
    return Exchange(end=End.SILENT, end_s=seconds + 2.0)


def test_who_gave_up_is_guilty(seen: Any) -> None:
    """nginx, by its own page, at its default."""
    verdict = judge(seen.findings(seen.held(50.0), seen.ended(70.0, seen.page("nginx-gives_up", 60.04))))
    culprit = verdict.culprit
    assert culprit is not None
    assert (culprit.name, culprit.place, culprit.is_sure) == ("nginx", Place.PROXY, True)
    assert culprit.limit_s == pytest.approx(60.04)
    assert "its default time" in culprit.how
    assert "proxy_read_timeout {seconds}s" in culprit.setting
    assert verdict.hops == ("nginx",)


def test_who_only_passes_the_end_on_is_not(seen: Any) -> None:
    """502 of nginx at 60 s: something closed its connection to the gateway, which saw that too."""
    cut = seen.ended(70.0, seen.page("nginx-passes_on", 60.0), ended="left", elapsed_s=60.0)
    culprit = judge(seen.findings(cut)).culprit
    assert culprit is not None
    assert (culprit.name, culprit.place, culprit.next_to) == ("closer", Place.BEHIND, "nginx")
    assert "closed after 60.0 s" in culprit.how


@pytest.mark.parametrize(("ended", "limit_s"), [("reset", 60.0), ("left", 60.0), ("answered", 60.9), ("open", 60.9)])
def test_the_moment_that_the_gateway_saw_counts(seen: Any, ended: str, limit_s: float) -> None:
    """HAProxy takes 0.9 s to tell of a reset behind it."""
    cut = seen.ended(70.0, seen.page("haproxy-passes_on", 60.9), ended=ended, elapsed_s=60.0)
    culprit = judge(seen.findings(cut)).culprit
    assert culprit is not None
    assert (culprit.place, culprit.limit_s) == (Place.BEHIND, limit_s)


def test_who_says_the_same_for_both_is_named_with_a_caveat(seen: Any) -> None:
    """Apache's 502 is its own impatience, or the end of what is behind it."""
    culprit = judge(seen.findings(seen.ended(70.0, seen.page("apache-gives_up")))).culprit
    assert culprit is not None
    assert culprit.name == "apache"
    assert "look there as well" in culprit.how


def test_an_unknown_page_is_an_unnamed_proxy(seen: Any) -> None:
    """Its time is known all the same."""
    culprit = judge(seen.findings(seen.ended(70.0, seen.answer(504, "no patience", at_s=42.0)))).culprit
    assert culprit is not None
    assert (culprit.name, culprit.limit_s, culprit.is_sure) == ("unnamed proxy", 42.0, False)


@pytest.mark.parametrize("end", [End.FIN, End.RST])
def test_an_end_without_a_word_is_of_one_that_speaks_no_http(seen: Any, fin: Any, end: End) -> None:
    """On a path without proxies, it lies anywhere on it."""
    culprit = judge(seen.findings(seen.ended(70.0, fin(60.0, end), ended="left", elapsed_s=60.0))).culprit
    assert culprit is not None
    assert (culprit.name, culprit.place) == ("closer", Place.PATH)
    assert ("reset" if end is End.RST else "closed") in culprit.how


def test_it_stands_before_the_first_proxy(seen: Any, fin: Any) -> None:
    """A proxy would have said something: named, or known by what it forwards."""
    first = seen.answer(200, "{}", server="nginx")
    culprit = judge(seen.findings(seen.ended(70.0, fin()), first=first)).culprit
    assert culprit is not None
    assert (culprit.place, culprit.next_to) == (Place.FRONT, "nginx")
    culprit = judge(seen.findings(seen.ended(70.0, fin()), echo=seen.echo(FORWARDED))).culprit
    assert culprit is not None
    assert (culprit.place, culprit.next_to) == (Place.FRONT, None)


def test_120_seconds_remind_of_node(seen: Any, fin: Any) -> None:
    """Whose old versions hang up so."""
    culprit = judge(seen.findings(seen.ended(130.0, fin(120.0)))).culprit
    assert culprit is not None
    assert "Node" in culprit.how


@pytest.mark.parametrize(
    ("acknowledged", "place", "next_to"),
    [(True, Place.FRONT, "nginx"), (False, Place.BEHIND, "nginx"), (None, Place.BEHIND, "nginx")],
)
def test_whether_the_answer_was_taken_tells_the_side(
    seen: Any, acknowledged: bool | None, place: Place, next_to: str
) -> None:
    """What nginx's kernel took was lost in front of nginx; what nobody took, behind it."""
    lost = seen.ended(20.0, silent(20.0), ended="answered", acknowledged=acknowledged)
    findings = seen.findings(seen.held(19.2), lost, first=seen.answer(200, "{}", server="nginx"))
    verdict = judge(findings)
    culprit = verdict.culprit
    assert culprit is not None
    assert (culprit.name, culprit.place, culprit.next_to) == ("forgetter", place, next_to)
    assert culprit.limit_s == pytest.approx(19.6)
    assert verdict.silence == LostAfter(answered_s=19.2, lost_s=20.0)


def test_one_that_forgets_on_a_bare_path(seen: Any) -> None:
    """There is only one side."""
    culprit = judge(seen.findings(seen.held(19.2), seen.ended(20.0, silent(20.0)))).culprit
    assert culprit is not None
    assert (culprit.name, culprit.place, culprit.is_sure) == ("forgetter", Place.PATH, False)


def test_what_is_late_is_lost(seen: Any) -> None:
    """An answer that comes minutes after its time helps nobody: a NAT that woke up, say."""
    late = Probe(seconds=20.0, exchange=seen.answer(200, "{}", at_s=25.0))
    assert judge(seen.findings(late)).silence == LostAfter(answered_s=0.0, lost_s=20.0)


def test_a_refusal_is_no_cut(seen: Any) -> None:
    """Too many probes, or an error at once, say nothing of silence."""
    refused = [seen.ended(20.0, seen.answer(429, "{}", at_s=0.5)), seen.ended(30.0, seen.answer(502, "", at_s=0.01))]
    verdict = judge(seen.findings(*refused, seen.ended(40.0, Exchange(end=End.UNCONNECTED, end_s=0.0))))
    assert (verdict.silence, verdict.culprit) == (None, None)


def test_nobody_is_guilty_where_nothing_is_cut(seen: Any) -> None:
    """And the shipped beats do."""
    verdict = judge(seen.findings(seen.held(66.0), seen.held(132.0)))
    assert (verdict.silence, verdict.culprit) == (Uncut(until_s=132.0), None)
    assert verdict.advice == Beats(first_beat_s=20.0, beat_s=10.0)


def test_nothing_measured_accuses_nobody(seen: Any) -> None:
    """Interrupted at once."""
    verdict = judge(seen.findings(first=None, echo=None, is_complete=False))
    assert (verdict.silence, verdict.culprit, verdict.hops, verdict.beats) == (None, None, (), None)


def test_the_outermost_proxy_comes_first(seen: Any) -> None:
    """Its Server header is the one that arrives."""
    first = seen.answer(200, "{}", server="Varnish", via="1.1 varnish")
    cut = seen.ended(70.0, seen.page("nginx-gives_up"))
    assert judge(seen.findings(cut, first=first)).hops == ("nginx", "Varnish")
    first = seen.answer(200, "{}", server="Caddy")
    assert judge(seen.findings(cut, first=first)).hops == ("Caddy", "nginx")


def test_repeats_are_counted(seen: Any) -> None:
    """A hop that asks again what it gave up would buy twice."""
    probe = seen.ended(70.0, seen.page("haproxy-gives_up"), ended="left")
    assert judge(seen.findings(probe)).repeats == 0
    report = probe.report
    twice = Probe(
        seconds=70.0,
        exchange=probe.exchange,
        report=type(report)(id=report.id, seconds=70.0, visits=(*report.visits, *report.visits)),
    )
    assert judge(seen.findings(twice)).repeats == 1


@pytest.mark.parametrize(
    ("at_s", "end", "end_s", "flow"),
    [
        ((1.0, 2.0, 3.0, 4.1), End.SILENT, 4.5, Flow.PASS),
        ((1.0, 2.0, 3.0), End.WHOLE, 3.5, Flow.PASS),
        ((1.0, 2.0, 3.0), End.FIN, 3.5, Flow.CUT),
        ((6.0, 6.0, 6.0), End.WHOLE, 6.1, Flow.HELD),
        ((1.0, 8.0), End.WHOLE, 8.0, Flow.HELD),
        ((), End.SILENT, 20.0, Flow.CUT),
        ((), End.FIN, 3.0, Flow.CUT),
    ],
)
def test_what_becomes_of_beats(seen: Any, at_s: tuple[float, ...], end: End, end_s: float, flow: Flow) -> None:
    """They come one by one, or together, or the call is cut in spite of them."""
    assert flow_of(seen.beats(*at_s, end=end, end_s=end_s)) is flow


def test_beats_that_were_refused_say_nothing(seen: Any) -> None:
    """Nor those that never were."""
    assert flow_of(None) is None
    assert flow_of(Probe(seconds=3.0, exchange=seen.answer(429, "{}"), beat_s=1.0)) is None
    assert flow_of(Probe(seconds=3.0, exchange=Exchange(end=End.UNCONNECTED, end_s=0.0), beat_s=1.0)) is None
    assert flow_of(Probe(seconds=3.0, exchange=seen.answer(504, ""), beat_s=1.0)) is Flow.CUT


def test_compression_is_seen(seen: Any) -> None:
    """By what is said of the coding; the gateway compresses nothing."""
    zipped = Probe(seconds=3.5, exchange=seen.answer(200, "x", content_encoding="gzip"), beat_s=1.0)
    verdict = judge(seen.findings(zipped=zipped))
    assert verdict.is_zipped
    assert not judge(seen.findings(zipped=seen.beats(1.0, 2.0))).is_zipped


@pytest.mark.parametrize(
    ("interims", "status", "text", "flow"),
    [
        (2, 200, '{"object":"probe.held"}', Flow.PASS),
        (0, 200, "{}", Flow.HELD),
        (0, 502, "", Flow.BROKEN),
        (0, 200, "HTTP/1.1 200 OK", Flow.BROKEN),
    ],
)
def test_what_becomes_of_interim_answers(seen: Any, interims: int, status: int, text: str, flow: Flow) -> None:
    """nginx 1.22 takes the first for the answer, and the answer for its body."""
    answer = seen.answer(status, text)
    made = Exchange(
        end=End.WHOLE,
        end_s=2.5,
        head=answer.head,
        body=answer.body,
        interims=tuple(Interim(at_s=0.5, status=102) for _ in range(interims)),
    )
    assert judge(seen.findings(interims=Probe(seconds=2.5, exchange=made, beat_s=0.5))).interims is flow


@pytest.mark.parametrize(
    ("limit_s", "first", "beat"),
    [
        (None, 20.0, 10.0),
        (60.0, 20.0, 10.0),
        (100.0, 20.0, 10.0),
        (30.0, 10.0, 5.0),
        (12.0, 4.0, 2.0),
        (3.0, 1.0, 0.5),
        (7.25, 2.0, 1.0),
        (0.5, 0.1, 0.08),
    ],
)
def test_beats_fit_the_limit(limit_s: float | None, first: float, beat: float) -> None:
    """A third and a sixth of it, rounded down; never longer than as shipped."""
    assert beats_for(limit_s) == Beats(first_beat_s=first, beat_s=beat)
    assert limit_s is None or first < limit_s / 2


def test_the_limit_to_count_on_is_the_lower_edge() -> None:
    """Of what is only known to lie between."""
    assert limit_of(CutAfter(limit_s=60.0, is_steady=True)) == 60.0
    assert limit_of(LostAfter(answered_s=19.0, lost_s=20.0)) == 19.0
    assert limit_of(LostAfter(answered_s=0.0, lost_s=8.0)) == 4.0
    assert limit_of(Uncut(until_s=132.0)) is None
    assert limit_of(None) is None
