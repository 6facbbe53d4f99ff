"""Decisions as values. Pure: no I/O, clock or randomness.

`failures` what a failure means · `mishaps` what one of our own means · `retry` what follows it · `deadlines` how long
things may take · `latency` how long they usually take · `learning` what was measured of that, counted in a `sketch` ·
`heartbeats` when a waiting caller hears from us · `callers` who is calling · `prefer` what it asks for in headers ·
`sizes` which picture · `prices` at which price · `webhooks` when an end is told, and signed how · `addresses` where a
request to a caller's own address may go.
"""
