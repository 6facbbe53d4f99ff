"""Whoever listens to everything hears of each generation, and of nothing any more once he is deaf."""

from __future__ import annotations

from holdfast.engine.followers import Followers


def test_a_listener_hears_of_every_generation() -> None:
    """Followed or not."""
    followers, heard, followed = Followers(), list[str](), list[int]()
    followers.listen(heard.append)
    followers.add("gen_1", lambda: followed.append(1))
    followers.notify("gen_1")
    followers.notify("gen_2")
    assert heard == ["gen_1", "gen_2"]
    assert followed == [1]


def test_a_listener_that_is_deaf_hears_nothing() -> None:
    """Others go on hearing."""
    followers, first, second = Followers(), list[str](), list[str]()
    hears_first, hears_second = first.append, second.append
    followers.listen(hears_first)
    followers.listen(hears_second)
    followers.deaf(hears_first)
    followers.notify("gen_1")
    assert (first, second) == ([], ["gen_1"])


def test_a_listener_may_stop_while_it_is_told() -> None:
    """A page that closes at that moment takes nobody's turn."""
    followers, heard = Followers(), list[str]()

    def once(generation_id: str) -> None:
        heard.append(generation_id)
        followers.deaf(once)

    followers.listen(once)
    followers.listen(heard.append)
    followers.notify("gen_1")
    followers.notify("gen_2")
    assert heard == ["gen_1", "gen_1", "gen_2"]


def test_listeners_are_no_followers() -> None:
    """Nobody waits for a generation because a page looks on: one that nobody waits for is still dropped."""
    followers = Followers()
    followers.listen(lambda _: None)
    assert len(followers) == 0
    assert "gen_1" not in followers
