"""Times counted in buckets of one per cent."""

from __future__ import annotations

import json
import math

import pytest

from holdfast.policy.sketch import GAMMA, SECONDS_MAX, SECONDS_MIN, Sketch, bucket_of, upper_s, weighed


def a_sketch(*times_s: float, timed_out: int = 0) -> Sketch:
    """A sketch of these times; the first so many of them were given up."""
    made = Sketch()
    for at, seconds in enumerate(times_s):
        made.add(seconds, timed_out=at < timed_out)
    return made


@pytest.mark.parametrize("seconds", [0.001, 0.5, 1.0, 1.01, 45.0, 119.7, 3600.0, 86_400.0])
def test_a_time_lies_in_its_bucket_and_the_bucket_is_narrow(seconds: float) -> None:
    """Whatever stands for it within the bucket is at most 1 % away."""
    upper = upper_s(bucket_of(seconds))
    assert upper >= seconds * (1 - 1e-12)
    assert upper / GAMMA <= seconds * (1 + 1e-12)


def test_times_beyond_the_bounds_count_as_the_bounds() -> None:
    """A clock that stands still, or an answer after a week, is no reason for another bucket."""
    assert bucket_of(0.0) == bucket_of(-1.0) == bucket_of(SECONDS_MIN / 2) == bucket_of(SECONDS_MIN)
    assert bucket_of(1e9) == bucket_of(math.inf) == bucket_of(SECONDS_MAX)


def test_there_are_no_more_buckets_than_is_said() -> None:
    """So much memory a sketch may take, whatever is counted."""
    assert bucket_of(SECONDS_MAX) - bucket_of(SECONDS_MIN) + 1 == 1838


def test_counting() -> None:
    """Each time once, and those that were given up besides."""
    made = a_sketch(1.0, 1.0, 50.0, timed_out=1)
    assert (made.total, made.timed_out) == (3, 1)
    assert made.counts == {bucket_of(1.0): 2, bucket_of(50.0): 1}


def test_merging_changes_neither() -> None:
    """An hour is merged into a day, and stays an hour."""
    one, other = a_sketch(1.0, 2.0, timed_out=1), a_sketch(2.0, 3.0)
    both = one.merged(other)
    assert both == a_sketch(1.0, 2.0, 2.0, 3.0, timed_out=1)
    assert (one.total, other.total) == (2, 2)


def test_what_is_written_is_a_document_in_order() -> None:
    """Another program, or a person, can read it."""
    document = a_sketch(50.0, 1.0, 1.0).encoded()
    assert json.loads(document) == {str(bucket_of(1.0)): 2, str(bucket_of(50.0)): 1}
    assert list(json.loads(document)) == [str(bucket_of(1.0)), str(bucket_of(50.0))]


def test_what_was_written_is_read_again() -> None:
    """Nothing is lost at a restart."""
    made = a_sketch(0.001, 7.0, 45.0, 45.0, 86_400.0, timed_out=2)
    assert Sketch.decoded(made.encoded(), timed_out=2) == made


@pytest.mark.parametrize(
    ("document", "timed_out"),
    [
        ("", 0),
        ("[]", 0),
        ("{", 0),
        ('{"a": 1}', 0),
        ('{"1": "2"}', 0),
        ('{"1": 0}', 0),
        ('{"1": -1}', 0),
        ('{"1": 1.5}', 0),
        ('{"99999": 1}', 0),
        ('{"1": 1}', 2),
        ('{"1": 1}', -1),
    ],
)
def test_what_is_no_sketch_is_refused(document: str, timed_out: int) -> None:
    """One row that somebody has changed must not become an expectation."""
    with pytest.raises(ValueError, match=r"buckets|counted"):
        Sketch.decoded(document, timed_out=timed_out)


def test_weights_count_samples_in_part() -> None:
    """An hour half out of a window counts half."""
    sums = weighed([(a_sketch(1.0, 2.0), 1.0), (a_sketch(2.0), 0.5)])
    assert sums == {bucket_of(1.0): 1.0, bucket_of(2.0): 1.5}
    assert weighed([]) == {}
