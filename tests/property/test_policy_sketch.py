"""A sketch against the exact thing: whatever was counted, within 1 %; in whatever order it is added up, the same."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from holdfast.policy.latency import prior
from holdfast.policy.learning import Learned
from holdfast.policy.sketch import GAMMA, SECONDS_MAX, SECONDS_MIN, Sketch, upper_s
from holdfast.types import Tier

anything = st.floats(SECONDS_MIN, SECONDS_MAX)
lognormal = st.tuples(st.floats(0.5, 300.0), st.floats(0.01, 2.0), st.lists(st.floats(-3.0, 3.0), min_size=1)).map(
    lambda drawn: [min(SECONDS_MAX, max(SECONDS_MIN, drawn[0] * 2.718281828 ** (drawn[1] * z))) for z in drawn[2]]
)
two_humps = st.tuples(st.integers(1, 60), st.integers(1, 60)).map(lambda drawn: [0.5] * drawn[0] + [900.0] * drawn[1])
edges = st.lists(st.sampled_from([GAMMA**power for power in range(-5, 6)]), min_size=1)
one_outlier = st.lists(st.floats(50.0, 60.0), min_size=1).map(lambda usual: [*usual, SECONDS_MAX])
times = st.one_of(st.lists(anything, min_size=1), lognormal, two_humps, edges, one_outlier)
levels = st.floats(0.0001, 0.9999)


def a_sketch(times_s: Sequence[float]) -> Sketch:
    """A sketch of these times."""
    made = Sketch()
    for seconds in times_s:
        made.add(seconds)
    return made


def samples_alone(sketch: Sketch) -> Learned:
    """What is expected where nothing published counts."""
    return Learned(prior=prior(Tier.K1), prior_weight=0.0, counts=sketch.counts)


@given(times, levels)
def test_a_quantile_is_within_one_per_cent_of_the_exact_one(times_s: list[float], level: float) -> None:
    """The exact one is the smallest time that so many took at most, however wildly they are spread."""
    exact_s = sorted(times_s)[max(0, ceil(level * len(times_s) - 1e-9) - 1)]
    found_s = samples_alone(a_sketch(times_s)).quantile(level)
    assert abs(found_s - exact_s) <= exact_s * (GAMMA - 1.0) * (1 + 1e-9)


@given(times, anything)
def test_the_share_that_is_there_is_within_one_bucket_of_the_exact_one(times_s: list[float], elapsed_s: float) -> None:
    """What took clearly less is there, what took clearly more is not."""
    done = samples_alone(a_sketch(times_s)).fraction_done(elapsed_s)
    at_least = sum(each <= elapsed_s / GAMMA * (1 - 1e-9) for each in times_s) / len(times_s)
    at_most = sum(each <= elapsed_s * GAMMA * (1 + 1e-9) for each in times_s) / len(times_s)
    assert at_least - 1e-9 <= done <= at_most + 1e-9


@given(st.lists(anything), st.lists(anything), st.lists(anything))
def test_sketches_are_added_in_any_order_and_grouping(one: list[float], two: list[float], three: list[float]) -> None:
    """Hours into days and upstreams into models: the same as if all had been counted in one."""
    a, b, c = a_sketch(one), a_sketch(two), a_sketch(three)
    assert a.merged(b).merged(c) == a.merged(b.merged(c)) == c.merged(a).merged(b) == a_sketch([*one, *two, *three])
    assert a.merged(Sketch()) == a


@given(st.lists(st.tuples(anything, st.booleans())))
def test_what_is_written_is_read_again(counted: list[tuple[float, bool]]) -> None:
    """Whatever was counted, a restart keeps it."""
    made = Sketch()
    for seconds, timed_out in counted:
        made.add(seconds, timed_out=timed_out)
    assert Sketch.decoded(made.encoded(), timed_out=made.timed_out) == made


@given(st.text(max_size=40) | st.dictionaries(st.integers(), st.integers()).map(lambda each: str(each)))
def test_reading_anything_gives_a_sketch_or_says_that_it_is_none(document: str) -> None:
    """No other exception, and nothing that cannot be."""
    try:
        made = Sketch.decoded(document)
    except ValueError:
        return
    assert made.total == sum(made.counts.values())
    assert all(SECONDS_MIN / GAMMA <= upper_s(bucket) <= SECONDS_MAX * GAMMA for bucket in made.counts)
