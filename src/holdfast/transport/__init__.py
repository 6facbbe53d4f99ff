"""One HTTP exchange at a time: phases, timeouts, errors as values."""
