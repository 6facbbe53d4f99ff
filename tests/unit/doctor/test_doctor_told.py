"""What the doctor says: every measurement in a line, the verdict in words, and what to set."""

from __future__ import annotations

import json
from typing import Any

import pytest

from holdfast.doctor.findings import BodyLimit, Connected, Named, Probe, Secured
from holdfast.doctor.http1 import End, Exchange
from holdfast.doctor.told import WIDTH, advice, document_of, lines_of, sentences
from holdfast.doctor.verdict import judge
from holdfast.wire.probe import EchoBeats


def text_of(findings: Any) -> str:
    """All that is printed, on one line."""
    lines = lines_of(findings, judge(findings))
    assert max(map(len, lines)) <= WIDTH
    return " ".join(" ".join(lines).split())


def words_of(findings: Any) -> str:
    """The conclusions."""
    return " ".join(sentences(findings, judge(findings)))


def settings_of(findings: Any) -> str:
    """The advice."""
    return "\n".join(advice(findings, judge(findings)))


def test_the_way_is_told_step_by_step(seen: Any) -> None:
    """Name, connection, TLS and certificate, proxies, clock, sender."""
    text = text_of(
        seen.findings(
            named=Named(addresses=("192.0.2.1", "192.0.2.2"), took_s=0.012),
            connected=Connected(address="192.0.2.1", port=443, took_s=0.024),
            secured=Secured(
                took_s=0.051, version="TLSv1.3", chooses="h2", subject="a.example", issuer="R11", days_left=61.4
            ),
            first=seen.answer(200, "{}", server="nginx", via="1.1 varnish (Varnish/7.1)", cf_ray="8f-FRA"),
            echo=seen.echo(("x-forwarded-for", "a, b"), ("via", "1.1 varnish"), ("host", "a.example")),
            ahead_s=0.01,
            ahead_error_s=0.02,
        )
    )
    for words in (
        "192.0.2.1 and 1 more, 12 ms",
        "port 443 of 192.0.2.1, 24 ms",
        "TLSv1.3, 51 ms, HTTP/2 where it is offered; certificate of a.example by R11, 61 days left",
        "holdfast 0.1.0, asked in HTTP/1.1 by 10.0.0.7",
        "nginx, Varnish, Cloudflare",
        "cf-ray: 8f-FRA",
        "the gateway is told of 2 addresses",
        "together, to 20 ms",
        "bbr: the gateway's congestion control",
    ):
        assert words in text


def test_proxy_variables_are_told(seen: Any) -> None:
    """They send other programs another way than the one that was measured."""
    text = text_of(seen.findings(proxies_set=(("HTTPS_PROXY", "proxy.example:3128"),)))
    assert "HTTPS_PROXY=proxy.example:3128" in text
    assert "bypassed here" in text


def test_who_cuts_and_what_to_set(seen: Any) -> None:
    """In one sentence; then the beats, the proxy's setting, and clients' timeouts."""
    findings = seen.findings(
        seen.held(50.0), seen.ended(70.0, seen.page("nginx-gives_up", 60.0)), beats=seen.beats(1.0, 2.0, 3.0, end_s=3.5)
    )
    assert words_of(findings) == (
        "nginx cuts silent calls after 60.0 s: 504 with its own page, after its default time."
    )
    told = settings_of(findings)
    assert "holdfast: its beats are short enough for this path (now 20 and 10)." in told
    assert (
        "nginx: nothing has to be changed while beats pass; for clients that get none, `proxy_read_timeout 300s;`"
        in told
    )
    assert "clients: connect 10 s, write 30 s, 60 s between bytes; the whole call 1K 300 s, 2K 300 s, 4K 600 s." in told
    text = text_of(findings)
    assert "silence cut after 60.0 s" in text
    assert "beats pass, one each 1 s for 4 s; the first after 1.0 s, none more than 0.0 s late" in text


def test_shorter_beats_are_advised_where_the_limit_is_short(seen: Any) -> None:
    """With what is set now."""
    cut = seen.ended(70.0, seen.answer(503, "herokucdn.com/error-pages", at_s=30.0))
    told = settings_of(seen.findings(cut))
    assert "`heartbeat.first_beat_s = 10` and `heartbeat.beat_s = 5` (now 20 and 10)" in told
    short = seen.echo(heartbeat=EchoBeats(first_beat_s=4.0, beat_s=4.0))
    assert "short enough for this path (now 4 and 4)" in settings_of(seen.findings(cut, echo=short))


def test_a_guess_is_told_as_one(seen: Any) -> None:
    """A page of an operator's own, with nginx in its headers."""
    findings = seen.findings(seen.ended(70.0, seen.answer(504, "<h1>Sorry</h1>", server="nginx")))
    assert words_of(findings).startswith("Probably it is nginx that cuts silent calls after 60.0 s")


def test_one_that_forgets_is_told_with_its_uncertainty(seen: Any) -> None:
    """The limit lies between two."""
    lost = seen.ended(20.0, Exchange(end=End.SILENT, end_s=22.0), ended="answered", acknowledged=True)
    words = words_of(seen.findings(seen.held(19.2), lost))
    assert words.startswith("A hop between you and the gateway that does not say so (a NAT, a firewall) forgets")
    assert "after 19.6 s (to 0.4 s)" in words


def test_beats_that_do_not_help_lead_elsewhere(seen: Any) -> None:
    """To answers that nobody waits for."""
    cut = seen.ended(70.0, seen.answer(504, '{"message":"Endpoint request timed out"}', at_s=29.0))
    findings = seen.findings(cut, beats=seen.beats(1.0, 2.0, end=End.FIN, end_s=29.0))
    assert "cut too, after 29.0 s: something counts the whole call" in words_of(findings)
    told = settings_of(findings)
    assert "respond-async" in told
    assert "the whole call's time between bytes" in told


def test_beats_that_are_held_are_the_proxys_fault(seen: Any) -> None:
    """With what to set there: the compressor, the old protocol, or the buffer."""
    findings = seen.findings(seen.held(132.0), beats=seen.beats(18.0, 18.0, end=End.WHOLE, end_s=18.1))
    assert "Beats are held on the way" in words_of(findings)
    assert "no buffering of answers (" in settings_of(findings)
    old = seen.findings(seen.held(132.0), beats=findings.beats, echo=seen.echo(http_version="1.0"))
    assert "proxy_http_version 1.1" in settings_of(old)
    zipped = Probe(seconds=3.5, exchange=seen.answer(200, "x", content_encoding="gzip", at_s=3.5), beat_s=0.5)
    by_gzip = seen.findings(seen.held(132.0), beats=seen.beats(1.0, 2.0, 3.0, end_s=3.2), zipped=zipped)
    assert "no gzip for `application/json`" in settings_of(by_gzip)
    assert "compressed on the way, and beats are held by it" in text_of(by_gzip)


@pytest.mark.parametrize(
    ("ahead_s", "words"),
    [(3600.0, "60 min behind the one there"), (-3600.0, "60 min ahead of the one there"), (90_000.0, "25.0 h behind")],
)
def test_a_clock_that_is_off_is_told(seen: Any, ahead_s: float, words: str) -> None:
    """By how much, and in which direction, and what fails by it."""
    findings = seen.findings(ahead_s=ahead_s, ahead_error_s=0.02)
    assert words in text_of(findings)
    assert "set the clock that is wrong" in words_of(findings)


def test_a_clock_that_is_off_by_little_is_no_matter(seen: Any) -> None:
    """It is told, and nothing follows."""
    findings = seen.findings(seen.held(132.0), ahead_s=1.5, ahead_error_s=0.1)
    assert "this machine's is 1.5 s behind the one there" in text_of(findings)
    assert "NTP" not in words_of(findings)


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (BodyLimit(passed_bytes=1_000_000, sent_bytes=65_536, refused_bytes=1_048_577), "up to 1.0 MB; 413 at 1.0 MB"),
        (
            BodyLimit(passed_bytes=105_906_176, sent_bytes=4_300_000, refused_bytes=None),
            "no limit found up to 105.9 MB (4.3 MB sent whole)",
        ),
        (
            BodyLimit(passed_bytes=105_906_176, sent_bytes=4_300_000, refused_bytes=(128 << 20) + 1),
            "up to the gateway's own limit, 134.2 MB",
        ),
    ],
)
def test_the_bodys_limit_is_told(seen: Any, limit: BodyLimit, words: str) -> None:
    """Whose it is: somebody's on the way, the gateway's own, or none that was found."""
    findings = seen.findings(body=limit)
    assert words in text_of(findings)
    on_the_way = limit.refused_bytes is not None and limit.refused_bytes < 128 << 20
    assert ("client_max_body_size 128m" in settings_of(findings)) is on_the_way


def test_a_certificate_that_ends_soon_is_told(seen: Any) -> None:
    """While there is still time."""
    soon = Secured(took_s=0.1, version="TLSv1.3", chooses=None, subject="a", issuer="b", days_left=3.2)
    findings = seen.findings(secured=soon)
    assert "The certificate ends in 3.2 days." in words_of(findings)
    assert "says nothing of HTTP versions" in text_of(findings)


def test_a_sender_that_suffers_from_loss_is_told(seen: Any) -> None:
    """With what to use; BBR needs no advice."""
    assert "BBR" in settings_of(seen.findings(echo=seen.echo(congestion="cubic")))
    assert "BBR" not in settings_of(seen.findings())
    assert "sender" not in text_of(seen.findings(echo=seen.echo(congestion=None)))


def test_idle_connections_are_not_reused_for_long(seen: Any) -> None:
    """Where they are closed, clients keep them for less."""
    findings = seen.findings(kept_s=60.0)
    assert "kept idle 60.0 s" in text_of(findings)
    assert "no connection reused that was idle for 45 s" in settings_of(findings)


def test_a_stranger_is_told_of_as_far_as_it_goes(seen: Any) -> None:
    """Without advice that would need the probe."""
    findings = seen.findings(
        echo=None, first=seen.answer(404, "", content_type="text/html"), kept_s=5.0, notes=("It is a web page.",)
    )
    text = text_of(findings)
    assert "answers 404, text/html, HTTP/1.1" in text
    assert "kept idle 5.0 s" in text
    assert "It is a web page." in text
    assert "What to set" not in text


def test_half_an_examination_says_so(seen: Any) -> None:
    """Interrupted: what is known is told, what is not is not guessed."""
    findings = seen.findings(is_complete=False)
    assert "not measured to the end" in words_of(findings)
    assert "kept idle" not in text_of(findings)


def test_repeats_are_told(seen: Any) -> None:
    """They cost money where nobody joins them."""
    probe = seen.ended(70.0, seen.page("haproxy-gives_up"), ended="left")
    report = type(probe.report)(id="prb_12345", seconds=70.0, visits=probe.report.visits * 2)
    assert "arrived at the gateway more than once" in words_of(
        seen.findings(Probe(seconds=70.0, exchange=probe.exchange, report=report))
    )


def test_the_document_is_json_with_the_verdict_in_it(seen: Any) -> None:
    """For scripts: names, numbers, the words as well; nothing that no JSON knows, and no secret."""
    cut = seen.ended(70.0, seen.page("nginx-gives_up", 60.0), ended="left", elapsed_s=60.0)
    findings = seen.findings(
        seen.held(50.0),
        cut,
        proxies_set=(("HTTP_PROXY", "proxy.example"),),
        body=BodyLimit(passed_bytes=1, sent_bytes=1, refused_bytes=2, refusal=seen.answer(413)),
    )
    document = json.loads(json.dumps(document_of(findings, judge(findings))))
    verdict = document["verdict"]
    assert verdict["culprit"]["name"] == "nginx"
    assert verdict["culprit"]["place"] == "proxy"
    assert verdict["silence"] == {"kind": "cut", "limit_s": 60.0, "is_steady": True}
    assert verdict["advice"] == {"first_beat_s": 20.0, "beat_s": 10.0}
    assert document["silences"][1]["gateway"][0]["ended"] == "left"
    assert document["body"] == {"passed_bytes": 1, "sent_bytes": 1, "refused_bytes": 2}
    assert document["proxies_set"] == ["HTTP_PROXY"]
    assert document["words"]
    assert document["settings"]
    nothing = seen.findings(first=None, echo=None, is_complete=False)
    assert json.dumps(document_of(nothing, judge(nothing)))
