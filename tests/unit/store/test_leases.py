"""How long a job is ours: never longer than the database says, and written no more often than must be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.store.postgres.leases import LEASE_S, Leases, lease_s


class Clock:
    """Stands where a test puts it."""

    now = 100.0

    def __call__(self) -> float:
        """Monotonic seconds."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Give a clock."""
    return Clock()


@pytest.mark.parametrize(
    ("jobs", "seconds"), [(0, 10.0), (2_000, 10.0), (2_001, 20.0), (5_000, 20.0), (5_001, 30.0), (50_000, 30.0)]
)
def test_leases_grow_with_the_jobs_of_a_process(jobs: int, seconds: float) -> None:
    """Ten seconds, so that take-over takes at most fifteen; two and three times that where beats cost too much."""
    assert lease_s(jobs) == seconds
    assert lease_s(jobs, 1.0) == seconds / LEASE_S


def test_a_lease_begins_when_it_was_asked_for(clock: Clock) -> None:
    """The database begins it later, so ours ends first, and a tenth before that it is not trusted any more."""
    leases = Leases(clock)
    leases.taken(1, "gen_a", asked_at=100.0)
    clock.now = 108.9
    assert leases.holds("gen_a")
    clock.now = 109.0
    assert not leases.holds("gen_a")
    assert not leases.holds("gen_other")


def test_a_beat_is_written_when_half_of_the_lease_has_passed(clock: Clock) -> None:
    """Beats come every five seconds; of those that come early, none is written."""
    leases = Leases(clock)
    leases.taken(1, "gen_a", asked_at=100.0)
    clock.now = 102.0
    assert leases.due([1, 1]) == []
    clock.now = 105.0
    assert leases.due([1, 1]) == [1]
    leases.renewed([1], {1}, asked_at=105.0, lease_s=10.0)
    assert leases.due([1]) == []
    assert leases.holds("gen_a")


def test_with_many_jobs_a_beat_is_written_half_as_often(clock: Clock) -> None:
    """A lease of 20 s is written every 10 s, once it is that long."""
    leases = Leases(clock)
    for job in range(2_001):
        leases.taken(job, f"gen_{job}", asked_at=100.0)
    assert leases.length_s == 20.0
    leases.renewed(range(2_001), set(range(2_001)), asked_at=100.0, lease_s=20.0)
    clock.now = 105.0
    assert leases.due([7]) == []
    clock.now = 110.0
    assert leases.due([7]) == [7]
    assert leases.holds("gen_7")


def test_what_could_not_be_renewed_is_not_ours(clock: Clock) -> None:
    """Somebody else has it: nothing more is sent for it, and its beats are not written again."""
    leases = Leases(clock)
    leases.taken(1, "gen_a", asked_at=100.0)
    leases.taken(2, "gen_b", asked_at=100.0)
    leases.renewed([1, 2], {2}, asked_at=101.0, lease_s=10.0)
    assert not leases.holds("gen_a")
    assert leases.holds("gen_b")


def test_a_job_that_is_given_up_is_forgotten(clock: Clock) -> None:
    """And a beat of it that was on its way renews nothing; its generation may be another job's by then."""
    leases = Leases(clock)
    leases.taken(1, "gen_a", asked_at=100.0)
    leases.taken(2, "gen_a", asked_at=101.0)
    leases.given_up(1, "gen_a")
    assert leases.holds("gen_a")
    leases.renewed([1], {1}, asked_at=101.0, lease_s=10.0)
    leases.given_up(2, "gen_a")
    assert not leases.holds("gen_a")
    assert len(leases) == 0
    assert repr(leases) == "<Leases of 0 jobs, 10 s>"


@given(
    st.lists(st.tuples(st.sampled_from(["take", "beat", "give"]), st.integers(0, 3), st.floats(0.0, 8.0)), max_size=60)
)
def test_ours_ends_before_the_databases(history: list[tuple[str, int, float]]) -> None:
    """Whatever the order of takes, beats and ends: who holds a job by his own clock holds it by the database's."""
    clock = Clock()
    leases = Leases(clock)
    until: dict[int, float] = {}
    for what, job, passed_s in history:
        asked_at, clock.now = clock.now, clock.now + passed_s
        # The database does it at some moment between the question and its answer.
        done_at = asked_at + passed_s / 2
        if what == "take" and until.get(job, 0.0) <= done_at:
            leases.taken(job, f"gen_{job}", asked_at=asked_at)
            until[job] = done_at + LEASE_S
        elif what == "beat":
            written = {job} if until.get(job, 0.0) > done_at else set()
            leases.renewed([job], written, asked_at=asked_at, lease_s=LEASE_S)
            if written:
                until[job] = done_at + LEASE_S
        elif what == "give":
            leases.given_up(job, f"gen_{job}")
            until.pop(job, None)
        for each in range(4):
            assert not leases.holds(f"gen_{each}") or until[each] > clock.now
