"""What an earlier process has sent is counted by this one: an upstream does not know that we have started again.

Nothing is written for that as calls are sent: every attempt is in the store with its key and its time, before it is
sent.
"""

from __future__ import annotations

from datetime import timedelta

from holdfast.clock import from_rfc3339
from holdfast.engine.core import Core
from holdfast.engine.queue import Queue
from holdfast.policy.rates import MINUTE_S, share_of
from holdfast.store.sent import Sent, sent_by

NOTHING = Sent()


async def remember(core: Core, queue: Queue) -> None:
    """Tell the lines what was sent in the last minute, and on this UTC day.

    An earlier version did not write down with which key. Each is then taken to have sent all of the last minute, which
    costs a minute at most, and its share of the day, as calls are spread over them.
    """
    now = core.clock.now()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    sent = await core.store.read(sent_by, now - timedelta(seconds=MINUTE_S), midnight)
    upstreams = {target.upstream.name: len(target.keys) for route in core.targets.values() for target in route}
    for name, keys in upstreams.items():
        unnamed = sent.get((name, None), NOTHING)
        for key in range(keys):
            its = sent.get((name, key + 1), NOTHING)
            queue.remember(
                name,
                key,
                sent_at=[core.monotonic_of(from_rfc3339(at)) for at in sorted((*its.lately, *unnamed.lately))],
                sent_today=its.today + share_of(unnamed.today, key, keys),
            )
