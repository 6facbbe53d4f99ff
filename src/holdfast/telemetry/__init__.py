"""What is going on, for machines that watch: metrics and traces.

Both are made of the events that the log is made of (`holdfast.log.emit`): nothing on a call's way knows that it is
counted. `catalog`, `spans` and `departures` are pure; `counting`, `standing`, `lag` and `tracing` perform.
"""
