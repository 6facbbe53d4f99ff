"""HTTP and JSON codecs. Pure: no I/O, clock or randomness."""
