"""Ten paths of real proxies and of lines that close, reset or forget: the guilty hop is named, its limit within 10 %.

What stands where, which is guilty and after how long is drawn from a seed. The same with limits as people have them is
`lab/doctor`.
"""

from __future__ import annotations

import asyncio
import os
from types import ModuleType
from typing import Any

import pytest

from holdfast.doctor.examine import Plan
from holdfast.doctor.verdict import Flow

SEED = int(os.environ.get("HOLDFAST_DOCTOR_SEED", "16"))
LOW_S, HIGH_S, UNTIL_S = 3.0, 8.0, 10.0
PLAN = Plan(until_s=UNTIL_S, probes=8, beats_s=4.0)

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def found(ground: ModuleType, paths: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Examine all of them at once; what is wrong then, once more.

    Doctors, and lines that close or forget, share one loop here. On a machine that has other things to do it stands
    still for longer than 10 % of such a limit, and then the line itself cuts later than was drawn.
    """
    drawn = paths.draw(SEED, 10, low_s=LOW_S, high_s=HIGH_S)
    made: list[Any] = asyncio.run(ground.all_examined(drawn, tmp_path_factory.mktemp("paths"), PLAN))
    wrong = [at for at, each in enumerate(made) if each.faults()]
    if wrong:
        folder = tmp_path_factory.mktemp("again")
        again = asyncio.run(ground.all_examined([drawn[at] for at in wrong], folder, PLAN))
        for at, each in zip(wrong, again, strict=True):
            made[at] = each
    return made


@pytest.mark.parametrize("at", range(10))
def test_the_guilty_hop_is_named_within_10_percent(found: list[Any], at: int) -> None:
    """By kind and by place, of whatever was drawn."""
    assert found[at].faults() == [], f"seed {SEED}"


def test_what_was_drawn_is_worth_it(found: list[Any]) -> None:
    """Proxies and lines, alone and two in a chain, the outer one guilty and the inner one."""
    drawn = [each.drawn for each in found]
    assert {"nginx", "haproxy", "apache", "caddy", "varnish", "closer", "forgetter"} <= {each.name for each in drawn}
    chains = [each for each in drawn if len(each.hops) == 2]
    assert {each.guilty for each in chains} == {0, 1}
    assert len({each.limit_s for each in drawn}) == 10


def test_beats_pass_where_the_limit_allows_them(found: list[Any]) -> None:
    """Past the limit that cut silence: it is silence that is counted, by every one of these."""
    for each in found:
        assert each.verdict.beats is Flow.PASS, each.drawn.title
        seen = each.findings.beats.exchange
        assert seen.end_s >= min(each.drawn.limit_s * 1.2, UNTIL_S - 0.5), each.drawn.title


def test_beats_are_advised_that_the_path_bears(found: list[Any]) -> None:
    """Two of them fit into each limit at least."""
    for each in found:
        advice = each.verdict.advice
        assert advice.first_beat_s < each.drawn.limit_s / 2
        assert advice.beat_s < each.drawn.limit_s / 3


def test_the_smallest_body_of_a_path_is_found(found: list[Any]) -> None:
    """1 MB where nginx stands with its default; the gateway's own limit, or none that shows, elsewhere."""
    for each in found:
        limit = each.findings.body
        has_nginx = any(hop.kind == "nginx" for hop in each.drawn.hops)
        if has_nginx:
            assert limit.passed_bytes <= 1_048_576 < limit.refused_bytes <= 1_048_576 * 1.06
        else:
            assert limit.passed_bytes > 100 << 20


def test_the_gateway_saw_its_side_end(found: list[Any]) -> None:
    """At the same moment as the caller: the proxies that gave up had closed it."""
    for each in found:
        cut = [probe for probe in each.findings.silences if probe.report is not None]
        assert cut, each.drawn.title
        if each.drawn.name == "forgetter":
            continue
        ends = [visit for probe in cut for visit in probe.report.visits]
        near = [visit for visit in ends if abs(visit.elapsed_s - each.drawn.limit_s) <= 0.1 * each.drawn.limit_s + 0.2]
        assert near, (each.drawn.title, ends)
