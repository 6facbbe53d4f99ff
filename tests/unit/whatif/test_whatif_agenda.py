"""Virtual time passes from appointment to appointment, in order."""

from __future__ import annotations

from holdfast.whatif.agenda import Agenda


def test_appointments_are_kept_in_the_order_of_time() -> None:
    """Whatever the order in which they were made; those of one moment as they were made."""
    agenda, seen = Agenda(), []
    for moment, name in ((3.0, "c"), (1.0, "a"), (3.0, "d"), (2.0, "b")):
        agenda.at(moment, lambda name: seen.append((agenda.now, name)), name)
    agenda.run()
    assert seen == [(1.0, "a"), (2.0, "b"), (3.0, "c"), (3.0, "d")]


def test_running_until_a_moment_leaves_the_rest() -> None:
    """And the clock stands at that moment."""
    agenda, seen = Agenda(), []
    agenda.at(1.0, seen.append, 1)
    agenda.at(2.0, seen.append, 2)
    agenda.run(1.5)
    assert (seen, agenda.now) == ([1], 1.5)
    assert "1 to come" in repr(agenda)
    agenda.run()
    assert (seen, agenda.now) == ([1, 2], 2.0)


def test_what_is_due_is_now() -> None:
    """Time never runs backwards."""
    agenda, seen = Agenda(), []
    agenda.run(10.0)
    agenda.at(4.0, lambda: seen.append(agenda.now))
    agenda.run()
    assert seen == [10.0]


def test_an_appointment_may_make_another() -> None:
    """Also for the same moment."""
    agenda, seen = Agenda(), []

    def first() -> None:
        seen.append(agenda.now)
        if len(seen) < 3:
            agenda.at(agenda.now, first)

    agenda.at(1.0, first)
    agenda.run()
    assert seen == [1.0, 1.0, 1.0]
