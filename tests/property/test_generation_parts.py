"""How a generation of several images is divided into parts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.generation import images_of_part, parts_for

counts = st.integers(1, 50)


@given(counts, counts)
def test_parts_ask_for_exactly_what_was_asked(n: int, per_call: int) -> None:
    """No image is bought twice or left out, and no call is asked for more than it makes, or for nothing."""
    parts = parts_for(n, per_call=per_call)
    images = [images_of_part(part, n=n, parts=parts) for part in range(parts)]
    assert sum(images) == n
    assert all(1 <= each <= per_call for each in images)


@given(counts, counts)
def test_no_call_is_made_that_could_be_spared(n: int, per_call: int) -> None:
    """One part fewer could not make them all: each call is paid for by itself."""
    assert (parts_for(n, per_call=per_call) - 1) * per_call < n


@given(st.data(), counts)
def test_any_division_of_a_record_adds_up(data: st.DataObject, n: int) -> None:
    """A record's parts may come from other settings than today's: they still sum to its images, and stay as even."""
    parts = data.draw(st.integers(1, n))
    images = [images_of_part(part, n=n, parts=parts) for part in range(parts)]
    assert sum(images) == n
    assert max(images) - min(images) <= 1
