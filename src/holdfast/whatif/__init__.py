"""What another policy would have done: the same seeded load, played in virtual time, without a socket or a clock.

A *scenario* says how upstreams feel by the hour, what their keys allow and who comes (`scenario`). A *policy* says what
is done about it (`policies`): the gateway by a `holdfast.toml`, driven by the functions that the gateway itself ships
(`gateway`), or a client that repeats on a timer (`client_loop`). Both face one world (`world`): the same order meets
the same luck at its first call, its second and so on, whoever sends it, so that differences are the policies' alone.

Pure, save `files`, which reads scenario and policy files: no sockets, clock or randomness but the seed's.
"""
