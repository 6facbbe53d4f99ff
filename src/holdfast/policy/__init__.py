"""Decisions as values. Pure: no I/O, clock or randomness."""
