"""The whole engine under seeded faults: one seed is one virtual hour, and the seed replays it.

Nothing in here reads a clock, starts a thread, opens a socket or goes by the order of a set: what happens follows from
the seed alone. `world.py` puts everything together, `checker.py` says what must hold.
"""
