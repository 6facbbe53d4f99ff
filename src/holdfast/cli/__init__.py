"""The `holdfast` command: parse, call one function, print."""
