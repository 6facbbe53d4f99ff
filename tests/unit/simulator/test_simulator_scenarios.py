"""Scenarios: what is shipped, what a file may say, and what is drawn from them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import inf
from pathlib import Path
from statistics import quantiles

import pytest

from holdfast.errors import ConfigError
from holdfast.policy.latency import PUBLISHED
from holdfast.simulator.faults import Fault, Wish
from holdfast.simulator.scenarios import HINT_S, SHIPPED, Draw, Phase, Scenario, draw, load, parse
from holdfast.types import Tier

DRAWS = 4_000


def draws(scenario: Scenario, *, seed: int = 7, count: int = DRAWS, tier: Tier = Tier.K4) -> list[Draw]:
    """Draw many requests at the start."""
    return [draw(scenario, seed=seed, number=number, elapsed_s=0.0, tier=tier) for number in range(count)]


def share(found: list[Draw], **wanted: object) -> float:
    """Count the share of draws whose wish has these values."""
    hits = [each for each in found if all(getattr(each.wish, name) == value for name, value in wanted.items())]
    return len(hits) / len(found)


def test_the_shipped_names_are_those_of_the_documentation() -> None:
    """A name that is gone breaks somebody's script."""
    assert set(SHIPPED) == {"instant", "steady", "peak-2026-01-17", "overloaded", "refusals", "cuts"}
    assert all(SHIPPED[name].name == name for name in SHIPPED)


def test_the_same_seed_draws_the_same() -> None:
    """A failure that was seen once is seen again."""
    assert draws(SHIPPED["peak-2026-01-17"], count=50) == draws(SHIPPED["peak-2026-01-17"], count=50)
    assert draws(SHIPPED["steady"], count=50) != draws(SHIPPED["steady"], count=50, seed=8)


def test_a_share_does_not_move_the_latencies() -> None:
    """Two scenarios differ in what they say, so that they can be compared request by request."""
    steady = [each.wish.delay_s for each in draws(SHIPPED["steady"], count=50)]
    overloaded = [each.wish.delay_s for each in draws(SHIPPED["overloaded"], count=50)]
    assert steady == overloaded


@pytest.mark.parametrize("tier", list(Tier))
def test_latencies_are_those_that_were_published(tier: Tier) -> None:
    """P50 and P95 of many draws stand where the published figures do."""
    found = [each.wish.delay_s or 0.0 for each in draws(SHIPPED["steady"], tier=tier)]
    cuts = quantiles(found, n=100)
    assert cuts[49] == pytest.approx(PUBLISHED[tier].p50_s, rel=0.05)
    assert cuts[94] == pytest.approx(PUBLISHED[tier].p95_s, rel=0.08)


def test_a_peak_is_slower_by_its_factor() -> None:
    """Every latency, not just some."""
    steady, peak = draws(SHIPPED["steady"], count=200), draws(SHIPPED["peak-2026-01-17"], count=200)
    for one, other in zip(steady, peak, strict=True):
        assert one.wish.delay_s is not None
        assert other.wish.delay_s == pytest.approx(one.wish.delay_s * 4.5)


def test_instant_waits_for_nothing() -> None:
    """It is there for tests of other things."""
    assert all(each.wish.delay_s == 0.0 and each.is_instant for each in draws(SHIPPED["instant"], count=50))
    assert not any(each.is_instant for each in draws(SHIPPED["steady"], count=50))


@pytest.mark.parametrize(
    ("name", "wanted", "expected"),
    [
        ("overloaded", {"status": 503}, 0.45),
        ("peak-2026-01-17", {"status": 429}, 0.20),
        ("peak-2026-01-17", {"status": 503}, 0.15),
        ("refusals", {"fault": Fault.REFUSED_INPUT}, 0.125),
        ("refusals", {"fault": Fault.REFUSED_OUTPUT}, 0.125),
        ("steady", {"fault": None, "status": None}, 1.0),
        ("cuts", {"fault": None}, 0.90),
    ],
)
def test_shares_are_met(name: str, wanted: dict[str, object], expected: float) -> None:
    """What a scenario says is what it does."""
    assert share(draws(SHIPPED[name]), **wanted) == pytest.approx(expected, abs=0.025)


def test_cuts_are_of_every_kind() -> None:
    """After the request, by RST in the body, by FIN in the body: about as many of each."""
    kinds = Counter(each.wish.fault for each in draws(SHIPPED["cuts"]))
    for fault in (Fault.RESET_SENT, Fault.RESET_BODY, Fault.TRUNCATE):
        assert kinds[fault] / DRAWS == pytest.approx(0.10 / 3, abs=0.012)


def test_half_of_all_429_bring_a_hint() -> None:
    """Upstreams differ in this, and a caller must live with both."""
    hints = [each.wish.retry_after for each in draws(SHIPPED["peak-2026-01-17"]) if each.wish.status == 429]
    given = [int(hint) for hint in hints if hint is not None]
    assert len(given) / len(hints) == pytest.approx(0.5, abs=0.06)
    assert HINT_S[0] <= min(given) < max(given) <= HINT_S[1]
    assert all(each.wish.retry_after is None for each in draws(SHIPPED["overloaded"]))


def test_tokens_exceed_their_details_as_was_measured() -> None:
    """88 to 630, whatever else happens."""
    found = [each.surplus_tokens for each in draws(SHIPPED["steady"])]
    assert min(found) >= 88
    assert max(found) <= 630
    assert max(found) - min(found) > 400


def test_phases_follow_each_other_and_the_last_one_lasts() -> None:
    """The end of a phase belongs to the next one."""
    morning, noon = Phase(until_s=10.0), Phase(until_s=20.0, latency_factor=3.0)
    scenario = Scenario(name="day", phases=(morning, noon))
    assert scenario.phase_at(0.0) is morning
    assert scenario.phase_at(9.99) is morning
    assert scenario.phase_at(10.0) is noon
    assert scenario.phase_at(1e9) is noon


def test_a_draw_goes_by_its_phase() -> None:
    """The same request, later, meets other weather."""
    scenario = Scenario(name="day", phases=(Phase(until_s=10.0), replace(Phase(), statuses={503: 1.0})))
    early = draw(scenario, seed=1, number=1, elapsed_s=0.0, tier=Tier.K1)
    late = draw(scenario, seed=1, number=1, elapsed_s=10.0, tier=Tier.K1)
    assert early.wish == Wish(delay_s=early.wish.delay_s)
    assert late.wish.status == 503


A_FILE = """
[[phase]]
until_s = 600
latency_factor = 1.5
[phase.errors]
429 = 0.20
503 = 0.1
refused = 0.05
cut = 0.02

[[phase]]
"""


def test_a_file_is_read_as_documented(tmp_path: Path) -> None:
    """The format that is promised for every later version."""
    path = tmp_path / "afternoon.toml"
    path.write_text(A_FILE)
    scenario = load(str(path))
    first, last = scenario.phases
    assert scenario.name == "afternoon"
    assert (first.until_s, first.latency_factor, first.refused, first.cut) == (600.0, 1.5, 0.05, 0.02)
    assert dict(first.statuses) == {429: 0.2, 503: 0.1}
    assert last == Phase()
    assert last.until_s == inf
    assert (scenario.per_minute, parse(f"[limits]\nper_minute = 60\n{A_FILE}", name="narrow").per_minute) == (0, 60)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("phase = 3", "phase"),
        ("", "phase"),
        ("phase = []", "phase"),
        ("[[phase]]\nuntil = 3", "until_s"),
        ("[[phases]]", "phase"),
        ("[[phase]]\nlatency_factor = -1", "number"),
        ("[[phase]]\nlatency_factor = true", "number"),
        ("[[phase]]\nlatency_factor = 'slow'", "number"),
        ("[[phase]]\nlatency_factor = nan", "number"),
        ("[[phase]]\nuntil_s = 0", "number"),
        ("[[phase]]\nerrors = 3", "table"),
        ("[[phase]]\n[phase.errors]\nrefusd = 0.1", "refused"),
        ("[[phase]]\n[phase.errors]\n200 = 0.1", "Unknown"),
        ("[[phase]]\n[phase.errors]\n4290 = 0.1", "Unknown"),
        ("[[phase]]\n[phase.errors]\n429 = 1.5", "number"),
        ("[[phase]]\n[phase.errors]\n429 = 0.6\ncut = 0.5", "more than 1"),
        ("[[phase]]\nuntil_s = 9\n[[phase]]\nuntil_s = 9", "grow"),
        ("[[phase]]\n[[phase]]\nuntil_s = 9", "grow"),
        ("[[phase]]\n[limits]\nper_minut = 60", "per_minute"),
        ("[[phase]]\n[limits]\nper_minute = 0", "number"),
        ("limits = 60\n[[phase]]", "table"),
        ("[[phase", "TOML"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, said: str) -> None:
    """A scenario that is read otherwise than it was meant would make a measurement worthless."""
    with pytest.raises(ConfigError, match=said):
        parse(text, name="odd")


def test_an_unknown_name_is_told_with_all_that_are_known() -> None:
    """And with the near one."""
    with pytest.raises(ConfigError, match=r"Did you mean 'steady'.*overloaded"):
        load("stedy")


def test_a_file_is_named_as_it_was(tmp_path: Path) -> None:
    """`sc` is a name that nobody wrote; `sc.toml` can be opened."""
    file = tmp_path / "sc.toml"
    file.write_text("[[phase]]\nuntil = 1\n", "utf-8")
    with pytest.raises(ConfigError, match=r"sc\.toml: phase\[0\]\. Did you mean 'until_s'"):
        load(str(file))


def test_a_missing_file_is_told() -> None:
    """By its name."""
    with pytest.raises(ConfigError, match="nowhere"):
        load("nowhere.toml")


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    """An editor's mistake, not ours."""
    path = tmp_path / "odd.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(str(path))
