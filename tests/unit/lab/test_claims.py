"""The rules by which claims are judged, the page that is made from what is kept, and the link that loses packets."""

from __future__ import annotations

import asyncio
import importlib
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "lab" / "claims"
NAMES = ("c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12", "c13")


@pytest.fixture(scope="module")
def runner() -> Iterator[ModuleType]:
    """`lab/claims/run.py`, with what stands beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "lab" / "bench")
        patch.syspath_prepend(FOLDER)
        for path in FOLDER.glob("*.py"):
            # Another experiment may have a script of this name.
            patch.delitem(sys.modules, path.stem, raising=False)
        loaded = importlib.util.spec_from_file_location("claims_run", FOLDER / "run.py")
        assert loaded is not None
        assert loaded.loader is not None
        module = importlib.util.module_from_spec(loaded)
        loaded.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def claims(runner: ModuleType) -> dict[str, ModuleType]:
    """Every experiment."""
    return {name: runner.experiment(name) for name in NAMES}


def told(client: str, silence_s: float, seconds: float, status: int | None = 200, error: str = "") -> dict[str, Any]:
    """What a call came to."""
    return {"client": client, "silence_s": silence_s, "seconds": seconds, "status": status, "error": error}


def test_every_claim_has_its_folder(runner: ModuleType, claims: dict[str, ModuleType]) -> None:
    """None is left out, and each says what it claims, how it is tested and what that does not show."""
    assert runner.NAMES == NAMES
    assert sorted(path.parent.name for path in FOLDER.glob("c*/run.py")) == sorted(NAMES)
    for name, module in claims.items():
        assert module.__doc__ is not None
        assert module.__doc__.startswith(f"{name.upper()}: ")
        assert len(module.METHOD) > 40
        assert module.LIMITS.endswith(".")


def test_the_page_is_what_the_results_say(runner: ModuleType, claims: dict[str, ModuleType]) -> None:
    """Nobody edits it; `python lab/claims/run.py --page` writes it anew."""
    page = runner.page
    assert (ROOT / page.PAGE).read_text("utf-8") == page.text(page.kept(ROOT, list(NAMES)), claims)


def test_a_claim_that_was_not_run_is_not_judged(runner: ModuleType, claims: dict[str, ModuleType]) -> None:
    """No result, no verdict."""
    text = runner.page.text({}, claims)
    assert text.count("**not run**") == len(NAMES)
    assert "**true**" not in text


def test_c1_an_end_within_the_time_claimed_would_make_it_true(claims: dict[str, ModuleType]) -> None:
    """A system that does cut is believed."""
    judge = claims["c1"].judge
    assert judge({"tells": [told("requests", 330.0, 330.2)]}).word == "partly"
    assert judge({"tells": [told("requests", 330.0, 90.0, None, "ConnectionError")]}).word == "true"
    assert judge({"tells": [told("requests", 330.0, 5.0, None, "ReadTimeout")]}).word == "false"


def test_c2_each_part_is_judged_by_itself(claims: dict[str, ModuleType]) -> None:
    """All four right: true; none: false."""
    module = claims["c2"]
    ends = dict.fromkeys(module.CLIENTS, (330.0, 200))
    right = ends | {"httpx": (5.1, None), "java": (30.2, None), "go": (31.0, None)}
    wrong = ends | {"axios": (10.0, None)}
    some = ends | {"httpx": (5.1, None)}
    for given, word in ((right, "true"), (wrong, "false"), (some, "partly")):
        tells = [told(client, 330.0, seconds, status) for client, (seconds, status) in given.items()]
        assert module.judge({"tells": tells}).word == word


def test_c3_one_number_that_cuts_a_silence_is_a_read_timeout(claims: dict[str, ModuleType]) -> None:
    """What ends at the number was cut by it; what ends with the silence was not."""
    judge = claims["c3"].judge
    assert judge({"tells": [told("requests", 10.0, 3.1, None, "ReadTimeout")]}).word == "false"
    assert judge({"tells": [told("requests", 10.0, 10.1)]}).word == "true"


def c4_rows(**of_http2: float | None) -> dict[str, Any]:
    """Figures in which everything arrives after 10 s but what is said of nginx's HTTP/2."""
    rows = []
    for server, versions in (("nginx", ("1.1", "2")), ("holdfast", ("1.1",))):
        for sender in ("cubic", "reno", "bbr"):
            for loss in (0.0, 0.01, 0.03):
                for version in versions:
                    seconds = of_http2.get(f"{sender}_{loss:.0%}"[:-1], 10.0) if version == "2" else 10.0
                    row = {"server": server, "sender": sender, "loss": loss, "version": version}
                    rows.append(row | {"seconds": [seconds] * 3})
    return {"rows": rows}


def test_c4_names_shares_and_medians(claims: dict[str, ModuleType]) -> None:
    """A fetch that was not whole counts as failed, and has no time."""
    module = claims["c4"]
    figures = c4_rows(cubic_1=None, bbr_3=12.0)
    judged = module.judge(figures)
    assert "brings 0% within 180 s, three of HTTP/1.1 100%" in judged.why
    assert "HTTP/2 brings 100% even at 3%" in judged.why
    slow = next(row for row in figures["rows"] if row["seconds"][0] is None)
    assert module.share(slow) == 0.0
    assert module.median_s(slow) is None
    assert module.median_s({"seconds": [1.0, 2.0, None]}) == 2.0
    assert module.share({"seconds": [1.0, 70.0, None]}, 60.0) == pytest.approx(1 / 3)
    assert "| cubic | 1% | nginx, HTTP/2 | - | 0% | 0% | 3 |" in module.table(figures)


def test_c5_and_c6_name_their_figures(claims: dict[str, ModuleType]) -> None:
    """The sentence is made of what was measured."""
    figures = {"ids": 2**30, "codec_refuses": "X", "years_at_an_image_a_second": 34.0, "requests": 1200}
    assert "1,200 requests took 2 connections" in claims["c5"].judge(figures | {"connections_used": 2}).why
    row = {"plain_ms": 50.0, "tls13_ms": 101.0, "tls12_ms": 152.0}
    rows = [row | {"rtt_ms": rtt, "tls13_ms": 51.0 + rtt} for rtt in claims["c6"].RTTS_MS]
    judged = claims["c6"].judge({"rows": rows})
    assert "300 ms from 300 ms of round trip on" in judged.why
    assert "51 ms at 50 ms" in judged.why


@pytest.mark.parametrize(("behind", "word"), [((62.0, 504), "true"), ((70.2, 200), "false")])
def test_c7_is_true_if_the_proxy_gave_up_first(
    claims: dict[str, ModuleType], behind: tuple[float, int], word: str
) -> None:
    """The direct call shows that it was not the client."""
    tells = [told("direct", 70.0, 70.1), told("behind nginx", 70.0, *behind)]
    assert claims["c7"].judge({"tells": tells}).word == word


def test_c8_needs_both_halves(claims: dict[str, ModuleType]) -> None:
    """Probes that did not help prove nothing where bytes did not either."""
    judge = claims["c8"].judge
    cut = {"status": 504, "is_whole": False, "seconds": 5.0}
    whole = {"status": 200, "is_whole": True, "seconds": 14.0}
    assert judge({"rows": [cut, whole]}).word == "true"
    assert judge({"rows": [cut, cut]}).word == "false"
    assert judge({"rows": [whole, whole]}).word == "false"


def test_c9_and_c10(claims: dict[str, ModuleType]) -> None:
    """A line that raises does not work; a limit counts where it was claimed."""
    row = {"library": "httpx", "line": claims["c9"].LINES[0]}
    assert claims["c9"].judge({"rows": [row | {"raised": "ValueError: a"}]}).word == "false"
    assert claims["c9"].judge({"rows": [row | {"raised": ""}]}).word == "true"
    assert claims["c10"].judge({"tells": [told("nginx", 80.0, 60.1, 504)]}).word == "partly"
    assert claims["c10"].judge({"tells": [told("nginx", 80.0, 80.1, 200)]}).word == "false"


# The link


@pytest.fixture
def link(runner: ModuleType) -> ModuleType:
    """`lab/claims/link.py`."""
    return importlib.import_module("link")


def flight(link: ModuleType, to: int, loss: float = 0.0) -> Any:
    """One direction of it."""
    return link.Direction(to=to, chance=random.Random(1), loss=loss)


def test_a_packet_takes_half_a_round_trip_and_its_time_on_the_wire(link: ModuleType) -> None:
    """1,500 bytes at 100 Mbit/s are 0.12 ms."""
    read, write = os.pipe()
    one = flight(link, write)
    one.take(bytes(1500), 10.0)
    one.deliver(10.0 + link.DELAY_S)
    assert one.passed == 0
    one.deliver(10.0 + link.DELAY_S + 0.00013)
    assert one.passed == 1
    assert len(os.read(read, 2000)) == 1500
    os.close(read)
    os.close(write)


def test_packets_leave_at_the_rate_of_the_link_and_a_full_line_drops(link: ModuleType) -> None:
    """50 ms of line are 416 full packets; the rest of a burst is gone."""
    one = flight(link, -1)
    for _ in range(1000):
        one.take(bytes(1500), 1.0)
    assert len(one.flying) == pytest.approx(417, abs=1)
    assert one.overflowed == 1000 - len(one.flying)
    times = [due for due, _ in one.flying]
    assert times[1] - times[0] == pytest.approx(0.00012)


def test_loss_is_the_share_that_was_asked_for(link: ModuleType) -> None:
    """Drawn from the seed."""
    one = flight(link, -1, loss=0.03)
    for at in range(20_000):
        one.take(b"x", float(at))
    assert one.lost == pytest.approx(600, rel=0.15)
    assert one.lost + len(one.flying) == 20_000


def test_c11_must_hold_in_the_peak_too(claims: dict[str, ModuleType]) -> None:
    """The published percentiles leave one in a thousand on a usual day, and many in the peak."""
    module = claims["c11"]
    row = {"size": "1K", "timeout_s": 300.0, "share_of_load": 1.0}
    for (usual, day, peak), word in (
        ((1.0, 1.0, 1.0), "true"),
        ((1.0, 0.9, 0.8), "partly"),
        ((0.9, 0.9, 0.9), "false"),
    ):
        figures = {"rows": [row | {"usual": usual, "day": day, "peak": peak}]}
        assert module.judge(figures).word == word
    assert "1K 80.0% within 300 s" in module.judge({"rows": [row | {"usual": 1.0, "day": 0.9, "peak": 0.8}]}).why
    assert module.covered(module.Tier.K4, 1.0) > 0.999 > module.covered(module.Tier.K4, 4.5)


def test_c12_names_what_went_wrong(claims: dict[str, ModuleType]) -> None:
    """One that loses a call is named, and all of them must for the claim to be true."""
    module = claims["c12"]
    good = {"proxy": "nginx", "test": "GOAWAY", "holds": True, "what": "the call was answered, GOAWAY"}
    bad = good | {"proxy": "other", "holds": False, "what": "the call was lost, no GOAWAY"}
    assert module.judge({"rows": [good, good]}).word == "false"
    assert module.judge({"rows": [bad, bad]}).word == "true"
    judged = module.judge({"rows": [good, bad]})
    assert judged.word == "partly"
    assert "other, GOAWAY: the call was lost, no GOAWAY" in judged.why
    assert "| other | GOAWAY | **no** |" in module.table({"rows": [good, bad]})


async def test_c12_reads_on_behind_a_goodbye(claims: dict[str, ModuleType]) -> None:
    """A GOAWAY ends no call that is under way; what is read through a small window is counted."""
    import h2.config
    import h2.connection

    frames = claims["c12"].frames

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        codec = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        codec.initiate_connection()
        while 1 not in codec.streams:
            codec.receive_data(await reader.read(65_536))
        writer.write(codec.data_to_send())
        writer.write(bytes([0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]))
        codec.send_headers(1, [(":status", "200")])
        codec.send_data(1, b"x" * 100, end_stream=True)
        writer.write(codec.data_to_send())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, frames.connected("127.0.0.1", server.sockets[0].getsockname()[1]) as client:
        stream = client.streams[client.get("/")]
        await asyncio.wait_for(stream.done.wait(), 10.0)
    assert (client.goaway_last, stream.status, stream.body_bytes, stream.is_whole) == (1, 200, 100, True)


def test_c13_lists_who_changes(claims: dict[str, ModuleType]) -> None:
    """Some change: partly; all of them: true; none: false."""
    judge = claims["c13"].judge
    stays = {"client": "requests", "http": "HTTP/1.1", "https": "HTTP/1.1"}
    changes = {"client": "go", "http": "HTTP/1.1", "https": "HTTP/2"}
    assert judge({"rows": [changes]}).word == "true"
    assert judge({"rows": [stays]}).word == "false"
    judged = judge({"rows": [stays, changes]})
    assert judged.word == "partly"
    assert judged.why == "By https go changed to HTTP/2 without being told; requests stayed with HTTP/1.1."
