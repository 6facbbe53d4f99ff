"""What may be asked of a probe, what an echo tells of a request, and that both are read as they are written."""

from __future__ import annotations

import re

import msgspec
import pytest

from holdfast.errors import RequestError
from holdfast.wire.probe import (
    BEAT_S_MIN,
    HEADERS_TOLD_MAX,
    INTERIMS,
    NUMBER,
    PROBE_ID,
    SECONDS_MAX,
    SECONDS_MIN,
    VALUE_CHARS_MAX,
    Echo,
    EchoBeats,
    HoldQuery,
    ProbeAnswer,
    ProbeReport,
    ProbeVisit,
    check_echo_query,
    decode_echo,
    decode_hold_query,
    decode_report,
    render,
    told_headers,
)

AN_ECHO = Echo(
    at="2026-11-28T01:00:00.000Z",
    version="0.1.0",
    request_id="req_1",
    method="GET",
    http_version="1.0",
    scheme="http",
    peer="127.0.0.1",
    headers=told_headers([("host", "a"), ("x-api-key", "secret")]),
    body_bytes=0,
    congestion="bbr",
    heartbeat=EchoBeats(first_beat_s=20.0, beat_s=10.0),
    request_bytes_max=1024,
    probe_seconds_max=SECONDS_MAX,
    probes_max=40,
)


@pytest.mark.parametrize(
    ("query", "read"),
    [
        ({"seconds": "60"}, HoldQuery(seconds=60.0)),
        ({"seconds": "0.1", "key": "hf-…"}, HoldQuery(seconds=0.1)),
        ({"seconds": "150", "beat": "10"}, HoldQuery(seconds=150.0, beat_s=10.0)),
        (
            {"seconds": "2.5", "beat": "0.5", "interim": "102", "id": "prb_12345"},
            HoldQuery(seconds=2.5, beat_s=0.5, interim=102, id="prb_12345"),
        ),
    ],
)
def test_a_probe_is_read(query: dict[str, str], read: HoldQuery) -> None:
    """Seconds and beats are numbers, the interim status is one that servers may send."""
    assert decode_hold_query(query) == read


@pytest.mark.parametrize(
    ("query", "param", "says"),
    [
        ({}, "seconds", "0.1 to 150"),
        ({"seconds": ""}, "seconds", "''"),
        ({"seconds": "151"}, "seconds", "from 0.1 to 150"),
        ({"seconds": "0"}, "seconds", "from 0.1 to 150"),
        ({"seconds": "-1"}, "seconds", "'-1'"),
        ({"seconds": "1e2"}, "seconds", "'1e2'"),
        ({"seconds": "nan"}, "seconds", "'nan'"),
        ({"seconds": "٣"}, "seconds", "from"),
        ({"seconds": "9" * 500}, "seconds", "9'"),
        ({"seconds": "5", "beat": "0"}, "beat", "from 0.1"),
        ({"seconds": "5", "beat": "often"}, "beat", "'often'"),
        ({"seconds": "5", "interim": "102"}, "beat", "how far apart"),
        ({"seconds": "5", "beat": "1", "interim": "101"}, "interim", "100, 102, 103"),
        ({"seconds": "5", "beat": "1", "interim": ""}, "interim", "100, 102, 103"),
        ({"seconds": "5", "id": "short"}, "id", "8 to 64"),
        ({"seconds": "5", "id": "a b c d e f"}, "id", "8 to 64"),
        ({"seconds": "5", "id": "a" * 65}, "id", "8 to 64"),
        ({"second": "5"}, "second", "'seconds'"),
    ],
)
def test_what_makes_no_probe_is_refused_by_name(query: dict[str, str], param: str, says: str) -> None:
    """With the parameter, and what it takes; what was sent is quoted only in part."""
    with pytest.raises(RequestError, match=re.escape(says)) as raised:
        decode_hold_query(query)
    assert raised.value.param == param
    assert raised.value.status == 400
    assert len(raised.value.message) < 200


def test_an_echo_takes_nothing_but_a_key() -> None:
    """A parameter that has no effect is a mistake."""
    check_echo_query({})
    check_echo_query({"key": "hf-…"})
    with pytest.raises(RequestError, match="'seconds' neither") as raised:
        check_echo_query({"seconds": "1"})
    assert raised.value.param == "seconds"


def test_the_schemas_say_what_is_taken() -> None:
    """The patterns of the document and the decoder are the same."""
    assert all(re.fullmatch(NUMBER, text) for text in ("0.1", "150", "12.5", "0.000001"))
    assert not any(re.fullmatch(NUMBER, text) for text in ("", ".5", "1.", "1e3", "+1", "12345", "1.0000001"))
    assert re.fullmatch(PROBE_ID, "prb_01KAAAAAAAAAAAAAAAAAAAAAAA")
    assert SECONDS_MIN == BEAT_S_MIN
    assert all(100 <= int(each) < 200 and each != "101" for each in INTERIMS)


@pytest.mark.parametrize(
    "name",
    ["via", "x-forwarded-for", "x-forwarded-proto", "forwarded", "host", "connection", "cf-ray", "x-amzn-trace-id"],
)
def test_what_proxies_write_is_told_in_full(name: str) -> None:
    """It says who stands on the way."""
    (told,) = told_headers([(name, "v")])
    assert told.value == "v"


@pytest.mark.parametrize(
    "name", ["authorization", "cookie", "x-goog-api-key", "x-api-key", "proxy-authorization", "prompt", "x-viadotcom"]
)
def test_of_all_else_only_the_name_is_told(name: str) -> None:
    """Nobody's secret comes back in an answer."""
    (told,) = told_headers([(name, "secret")])
    assert (told.name, told.value) == (name, None)


def test_an_echo_is_bounded() -> None:
    """However many headers there are, and however long."""
    told = told_headers([("via", "v" * 10_000)] * 500)
    assert len(told) == HEADERS_TOLD_MAX
    assert {len(each.value or "") for each in told} == {VALUE_CHARS_MAX}


def test_an_echo_is_read_as_it_is_written() -> None:
    """By a doctor of a later version as well: what it does not know is passed over."""
    assert decode_echo(render(AN_ECHO)) == AN_ECHO
    more = msgspec.json.decode(render(AN_ECHO)) | {"news": 1}
    assert decode_echo(msgspec.json.encode(more)) == AN_ECHO
    assert b"secret" not in render(AN_ECHO)


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b'{"object":"probe.echo"}', b'{"object":"list"}'])
def test_what_is_no_echo_is_not_taken_for_one(body: bytes) -> None:
    """A web page answers 200 as well."""
    with pytest.raises(msgspec.DecodeError):
        decode_echo(body)


def test_a_report_is_read_as_it_is_written() -> None:
    """With every visit."""
    visit = ProbeVisit(began_at="2026-11-28T01:00:00.000Z", elapsed_s=60.0, ended="left", acknowledged=None, beats=0)
    report = ProbeReport(id="prb_12345", seconds=70.0, visits=(visit, visit))
    assert decode_report(render(report)) == report
    with pytest.raises(msgspec.DecodeError):
        decode_report(b'{"object":"probe"}')


def test_an_answer_says_how_long_was_held() -> None:
    """As asked, and as it came to be."""
    answer = msgspec.json.decode(render(ProbeAnswer(id=None, seconds=1.0, held_s=1.003, beats=3)))
    assert answer == {"object": "probe.held", "id": None, "seconds": 1.0, "held_s": 1.003, "beats": 3}
