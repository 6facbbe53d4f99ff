"""Who follows a generation is called after each change of it, and nobody else is."""

from __future__ import annotations

from holdfast.engine.followers import Followers


def test_followers_of_one_generation_are_called_each_time() -> None:
    """Unlike those who wait for an end, which comes once."""
    followers, seen = Followers(), []
    followers.add("gen_1", lambda: seen.append("a"))
    followers.add("gen_1", lambda: seen.append("b"))
    followers.add("gen_2", lambda: seen.append("c"))
    followers.notify("gen_1")
    followers.notify("gen_1")
    followers.notify("gen_3")
    assert seen == ["a", "b", "a", "b"]
    assert repr(followers) == "<Followers 3 of 2 generations>"


def test_one_that_was_removed_is_called_no_more() -> None:
    """And nothing of it is kept; removing what is not there is no error."""
    followers, seen = Followers(), []

    def follow() -> None:
        seen.append(1)

    followers.remove("gen_1", follow)
    followers.add("gen_1", follow)
    followers.remove("gen_1", follow)
    followers.notify("gen_1")
    assert (seen, len(followers), repr(followers)) == ([], 0, "<Followers 0 of 0 generations>")


def test_one_may_leave_while_it_is_called() -> None:
    """The others are called all the same."""
    followers, seen = Followers(), []

    def leave() -> None:
        followers.remove("gen_1", leave)
        seen.append("left")

    followers.add("gen_1", leave)
    followers.add("gen_1", lambda: seen.append("stayed"))
    followers.notify("gen_1")
    followers.notify("gen_1")
    assert seen == ["left", "stayed", "stayed"]
