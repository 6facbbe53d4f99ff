"""Our attempts against a provider's list: what agrees, what differs, and what turns out about the unknown."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.reconcile import Found, Ours, Resolution, reconcile, resolutions
from holdfast.types import Charge, ListedCharge

NOON = datetime(2026, 1, 17, 12, tzinfo=UTC)


def ours(name: str, charge: Charge, *, sent: int = 0, took: int = 30, booked: int = 100, model: str = "m") -> Ours:
    """An attempt, sent so many seconds after noon."""
    sent_at = NOON + timedelta(seconds=sent)
    return Ours(
        attempt_id=f"att_{name}",
        generation_id=f"gen_{name}",
        charge=charge,
        model=model,
        sent_at=sent_at,
        ended_at=sent_at + timedelta(seconds=took),
        booked_micros=booked,
        names=frozenset({f"att_{name}", f"gen_{name}.0.0"}),
    )


def line(
    number: int,
    *,
    reference: str | None = None,
    at: int | None = None,
    micros: int | None = 100,
    model: str | None = "m",
) -> ListedCharge:
    """A line, at so many seconds after noon."""
    moment = None if at is None else NOON + timedelta(seconds=at)
    return ListedCharge(number=number, reference=reference, at=moment, model=model, micros=micros)


@pytest.mark.parametrize(
    ("charge", "micros", "found"),
    [
        (Charge.YES, 100, Found.AGREES),
        (Charge.YES, None, Found.AGREES),
        (Charge.YES, 90, Found.AMOUNT_DIFFERS),
        (Charge.UNKNOWN, 100, Found.UNKNOWN_CHARGED),
        (Charge.UNKNOWN, None, Found.UNKNOWN_CHARGED),
        (Charge.UNKNOWN, 0, Found.UNKNOWN_FREE),
        (Charge.NO, 100, Found.CHARGED_AFTER_ALL),
        (Charge.NO, 0, Found.AGREES),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_line_and_its_attempt_are_compared(charge: Charge, micros: int | None, found: Found, named: bool) -> None:
    """Whether the line names it, or its time does."""
    listed = line(2, reference="gen_a.0.0" if named else None, at=None if named else 10, micros=micros)
    (finding,) = reconcile([listed], [ours("a", charge)])
    assert (finding.found, finding.by_reference) == (found, named)
    assert (finding.ours, finding.line) == (ours("a", charge), listed)


def test_what_stands_on_one_side_only_is_told() -> None:
    """Of ours: what we count as charged, and what nobody knew; of theirs: what is nobody's."""
    attempts = [ours("a", Charge.YES), ours("b", Charge.UNKNOWN), ours("c", Charge.NO)]
    findings = reconcile([line(2, reference="somebody else's")], attempts)
    told = [(each.found, each.ours and each.ours.attempt_id, each.line and each.line.number) for each in findings]
    assert told == [(Found.NOT_LISTED, "att_a", None), (Found.UNKNOWN_FREE, "att_b", None), (Found.NOT_OURS, None, 2)]


def test_a_name_counts_more_than_a_time_and_the_known_more_than_the_unknown() -> None:
    """Two attempts at one time, one of them named by a line; the other line is the known one's, not the unknown's."""
    attempts = [ours("lost", Charge.UNKNOWN), ours("paid", Charge.YES), ours("named", Charge.YES)]
    findings = reconcile([line(2, at=10), line(3, reference="att_named", at=10)], attempts)
    assert {each.ours.attempt_id: each.found for each in findings if each.ours} == {
        "att_named": Found.AGREES,
        "att_paid": Found.AGREES,
        "att_lost": Found.UNKNOWN_FREE,
    }


@pytest.mark.parametrize(
    ("at", "model", "is_paired"),
    [(-119, "m", True), (-121, "m", False), (149, "m", True), (151, "m", False), (10, "n", False), (10, None, True)],
)
def test_a_time_pairs_what_was_under_way_of_the_same_model(at: int, model: str | None, is_paired: bool) -> None:
    """Two minutes before its begin to two minutes after its end."""
    findings = reconcile([line(2, at=at, model=model)], [ours("a", Charge.YES)])
    assert ([each.found for each in findings] == [Found.AGREES]) is is_paired


def test_the_same_reference_twice_is_one_charge_too_many() -> None:
    """The second line is nobody's, unless another attempt was under way."""
    findings = reconcile([line(2, reference="att_a"), line(3, reference="att_a")], [ours("a", Charge.YES)])
    assert [each.found for each in findings] == [Found.AGREES, Found.NOT_OURS]


def test_what_turns_out_can_be_written_down() -> None:
    """At the listed amount, else at what it was exposed with; by name only, where that is wanted."""
    attempts = [ours(name, Charge.UNKNOWN, sent=at) for name, at in (("a", 0), ("b", 900), ("c", 1800), ("d", 2700))]
    lines = [line(2, reference="att_a", micros=70), line(3, reference="att_b", micros=None), line(4, at=1810)]
    findings = reconcile(lines, attempts)
    named = (Resolution(attempt_id="att_a", micros=70), Resolution(attempt_id="att_b", micros=100))
    assert resolutions(findings, only_named=True) == named
    rest = (Resolution(attempt_id="att_c", micros=100), Resolution(attempt_id="att_d", micros=None))
    assert resolutions(findings, only_named=False) == (*named, *rest)


def test_thousands_at_one_moment_are_paired_in_no_time() -> None:
    """Those that are taken are stepped over at once: ten thousand lines, ten thousand attempts."""
    attempts = [ours(str(number), Charge.YES) for number in range(10_000)]
    findings = reconcile([line(number, at=10) for number in range(10_000)], attempts)
    assert Counter(each.found for each in findings) == {Found.AGREES: 10_000}


attempts = st.lists(
    st.builds(
        ours,
        st.integers(0, 10**6).map(str),
        st.sampled_from(Charge),
        sent=st.integers(0, 600),
        took=st.integers(0, 300),
        model=st.sampled_from(["m", "n"]),
    ),
    max_size=8,
    unique_by=lambda each: each.attempt_id,
)
lines = st.lists(
    st.builds(
        line,
        st.just(2),
        reference=st.none() | st.integers(0, 10**6).map(lambda number: f"att_{number}"),
        at=st.none() | st.integers(0, 900),
        micros=st.sampled_from([None, 0, 50, 100]),
        model=st.sampled_from(["m", "n", None]),
    ),
    max_size=8,
)


@given(lines, attempts)
def test_every_line_and_every_attempt_is_told_of_at_most_once(listed: list[ListedCharge], tried: list[Ours]) -> None:
    """Each line exactly once; each attempt once, but for those that we take for free and nobody lists."""
    findings = reconcile(listed, tried)
    assert sum(each.line is not None for each in findings) == len(listed)
    told = [each.ours.attempt_id for each in findings if each.ours is not None]
    assert len(set(told)) == len(told)
    assert {each.attempt_id for each in tried if each.charge is not Charge.NO} <= set(told)
    unknown = {each.attempt_id for each in tried if each.charge is Charge.UNKNOWN}
    assert {each.attempt_id for each in resolutions(findings, only_named=False)} == unknown
