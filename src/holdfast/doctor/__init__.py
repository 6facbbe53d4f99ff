"""The doctor: measures a path to a gateway, and says who cuts slow calls on it, after how long, and what to set.

`http1`, `certificate`, `findings`, `schedule`, `signatures`, `verdict` and `told` are pure: no I/O, clock or chance.
`probing` and `examine` perform: they open connections, and put what they saw into values.
"""
