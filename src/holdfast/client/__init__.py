"""The library: one pure call object that decides, and two thin shells, one for threads and one for asyncio.

`defaults`, `address`, `asking`, `judging` and `call` are pure: values in, values out. `spool` and `reading` write what
arrives; `sync` and `async_` send what the call object says and report what came of it.
"""
