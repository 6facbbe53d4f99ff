"""Double-entry postings. Pure: no I/O, clock or randomness."""
