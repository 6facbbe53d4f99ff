"""One file per upstream API, each a conversation. Pure: no I/O, clock or randomness."""
