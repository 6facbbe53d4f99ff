"""What counts as saved: an image collected after somebody who waited for it was gone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.telemetry.departures import Departures


def test_what_nobody_was_cut_off_from_is_not_saved() -> None:
    """Most images are simply delivered."""
    assert Departures().saved_by("gen_1", images=1) == 0


def test_a_whole_answer_after_a_cut_saves_all_of_it_once() -> None:
    """A second repeat is given what was saved before."""
    departures = Departures()
    departures.left("gen_1")
    departures.left("gen_1")
    assert departures.saved_by("gen_1", images=4) == 4
    assert departures.saved_by("gen_1", images=4) == 0


def test_images_that_are_fetched_one_by_one_count_each_once() -> None:
    """And the whole answer that follows only what was left."""
    departures = Departures()
    departures.left("gen_1")
    assert departures.saved_by("gen_1", images=1, image_id="img_1") == 1
    assert departures.saved_by("gen_1", images=1, image_id="img_1") == 0
    assert departures.saved_by("gen_1", images=1, image_id="img_2") == 1
    assert departures.saved_by("gen_1", images=4) == 2


def test_a_second_cut_forgets_nothing_that_was_counted() -> None:
    """Who comes a third time for the same image saves nothing."""
    departures = Departures()
    departures.left("gen_1")
    assert departures.saved_by("gen_1", images=1, image_id="img_1") == 1
    departures.left("gen_1")
    assert departures.saved_by("gen_1", images=1, image_id="img_1") == 0


def test_the_oldest_are_forgotten() -> None:
    """Memory has an end; whoever was cut again is young."""
    departures = Departures(generations_max=2)
    for id_ in ("gen_1", "gen_2", "gen_1", "gen_3"):
        departures.left(id_)
    assert repr(departures) == "<Departures of 2 generations>"
    assert departures.saved_by("gen_2", images=1) == 0
    assert departures.saved_by("gen_1", images=1) == 1


@given(
    st.lists(
        st.tuples(st.sampled_from(["left", "whole", "one", "two"]), st.sampled_from(["gen_1", "gen_2", "gen_3"])),
        max_size=40,
    )
)
def test_no_more_is_saved_than_there_are_cuts_and_images(steps: list[tuple[str, str]]) -> None:
    """Two images each: between two cuts of a generation at most both are saved, and nothing before the first."""
    departures, cuts = Departures(), dict.fromkeys(("gen_1", "gen_2", "gen_3"), 0)
    saved = dict(cuts)
    for what, id_ in steps:
        if what == "left":
            departures.left(id_)
            cuts[id_] += 1
        else:
            image_id = None if what == "whole" else f"img_{what}"
            saved[id_] += departures.saved_by(id_, images=2 if image_id is None else 1, image_id=image_id)
        assert saved[id_] <= 2 * cuts[id_]
