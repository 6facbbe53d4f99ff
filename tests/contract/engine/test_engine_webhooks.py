"""The deliverer: what is due is sent, what fails is sent again at its time, what ends here goes on after a restart."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from types import MappingProxyType
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from holdfast.engine import webhooks
from holdfast.engine.webhooks import (
    AT_ONCE,
    AT_ONCE_OF_A_KEY,
    AT_ONCE_OF_AN_ENDPOINT,
    KEPT_DAYS,
    LOOK_S,
    SWEEP_S,
    TRY_S,
    Deliverer,
)
from holdfast.errors import StorageError
from holdfast.policy.webhooks import SCHEDULE_S, secret_of, spell_secret
from holdfast.providers.http import Head
from holdfast.store.webhooks import (
    DeliveryRow,
    delete_endpoint,
    deliveries_of,
    insert_endpoint,
    redeliver,
    rotate_endpoint,
    tell_end,
    tell_inline,
)
from holdfast.transport.guarded import NotAnswered

SECRET = b"\x09" * 32
URL = "https://hooks.example.com/in?token=s3cret"
Outcome = Head | NotAnswered | Exception
Log = Callable[..., list[dict[str, Any]]]


def status(code: int, **headers: str) -> Head:
    """An answer."""
    return Head(status=code, headers=MappingProxyType({name: (value,) for name, value in headers.items()}))


class Receiver:
    """Takes what is sent, and answers what a test says: the next of `outcomes`, the last one for ever."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = [status(204)]
        self.by_url: dict[str, Outcome] = {}
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.waiting = 0
        self.most = 0
        self.closed = 0

    async def post(
        self, url: str, *, headers: Iterable[tuple[str, str]], body: bytes, timeout_s: float
    ) -> Head | NotAnswered:
        """Take one."""
        assert timeout_s == TRY_S
        self.got.append((url, dict(headers), body))
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        try:
            await self.gate.wait()
        finally:
            self.waiting -= 1
        outcome = self.by_url.get(url) or (self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def close(self) -> None:
        """Count."""
        self.closed += 1

    @property
    def ids(self) -> list[str]:
        """What was told, by `webhook-id`."""
        return [headers["webhook-id"] for _, headers, _ in self.got]


class Post:
    """A bench, a receiver, and the deliverer between them."""

    def __init__(self, bench: Any) -> None:
        self.bench = bench
        self.receiver = Receiver()
        self.deliverer = Deliverer(bench.core, self.receiver, SECRET)

    async def register(self, id_: str = "whk_1", url: str = URL, key_id: str = "key_1") -> None:
        """Make an endpoint, as the route does."""
        now = self.bench.core.now_text()
        assert await self.bench.store.write(insert_endpoint, endpoint_id=id_, key_id=key_id, url=url, created_at=now)
        self.deliverer.expect()

    async def made(self, count: int = 1) -> list[str]:
        """Make generations that succeed."""
        return [(await self.bench.made()).generation.id for _ in range(count)]

    async def got(self, count: int) -> None:
        """Wait until so many requests have been sent."""
        async with asyncio.timeout(10):
            while len(self.receiver.got) < count:
                await asyncio.sleep(0.001)

    async def rows(self, endpoint_id: str = "whk_1") -> list[DeliveryRow]:
        """Read an endpoint's deliveries, oldest first."""
        found = await self.bench.store.read(deliveries_of, endpoint_id, before=None, most=1000)
        return list(reversed(found))

    async def settled(self, state: str, *, tries: int | None = None, endpoint_id: str = "whk_1") -> list[DeliveryRow]:
        """Wait until every delivery stands so."""
        async with asyncio.timeout(10):
            while True:
                rows = await self.rows(endpoint_id)
                if rows and all(row.state == state and tries in (None, row.tries) for row in rows):
                    return rows
                await asyncio.sleep(0.001)

    async def pass_time_until_delivered(self) -> None:
        """Let a second pass again and again; a timeout would pass with it, so looks are counted."""
        for _ in range(2000):
            if all(row.state == "delivered" for row in await self.rows()):
                return
            self.bench.clock.jump(1)
            await asyncio.sleep(0.001)
        raise AssertionError(await self.rows())

    def jump(self, seconds: float) -> None:
        """Let time pass, and the deliverer notice."""
        self.bench.clock.jump(seconds)
        self.deliverer.poke()

    async def restart(self) -> None:
        """A new process on the same folder."""
        await self.deliverer.stop()
        await self.bench.restart()
        self.deliverer = Deliverer(self.bench.core, self.receiver, SECRET)
        await self.deliverer.start()


@pytest.fixture
async def post(bench: Any) -> AsyncIterator[Post]:
    """A deliverer that has been started."""
    made = Post(bench)
    await made.deliverer.start()
    yield made
    await made.deliverer.stop()
    assert made.receiver.waiting == 0


async def test_an_end_is_told_signed_and_once(post: Post) -> None:
    """With what the key was given a receiver can trust it, and read on with the id."""
    await post.register()
    (id_,) = await post.made()
    (row,) = await post.settled("delivered", tries=1)
    ((url, headers, body),) = post.receiver.got
    assert url == URL
    assert headers["webhook-id"] == row.id
    assert json.loads(body) == {
        "type": "generation.succeeded",
        "timestamp": row.created_at,
        "data": {"id": id_, "status": "succeeded", "drive": 0},
    }
    assert int(headers["webhook-timestamp"]) == int(post.bench.clock.now().timestamp())
    # The library compares with the machine's clock, ours stands still: signed again by the library, it is the same.
    library = Webhook(spell_secret(secret_of(SECRET, "whk_1", 1)))
    assert headers["webhook-signature"] == library.sign(row.id, post.bench.clock.now(), body.decode())
    assert row.logged == [{"at": row.ended_at, "status": 204, "error": None, "took_ms": 0}]


async def test_where_nobody_asked_nothing_is_read(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway without webhooks pays for them with nothing but one lookup by index at each end."""

    async def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is to be looked for")

    monkeypatch.setattr(post.deliverer, "_look", forbidden)
    await post.made(3)
    await post.bench.turn()
    assert repr(post.deliverer) == "<Deliverer 0 tries, nobody asked>"


async def test_what_fails_is_sent_again_at_its_times_and_given_up_in_the_end(post: Post, log: Log) -> None:
    """The schedule, one try at each of its moments and none before; the same id and body throughout."""
    post.receiver.outcomes = [NotAnswered(reason="no answer in time")]
    await post.register()
    await post.made()
    for tries, pause_s in enumerate(SCHEDULE_S[1:], start=1):
        await post.settled("pending", tries=tries)
        post.jump(pause_s * 0.99)
        await post.bench.turn()
        assert len(post.receiver.got) == tries
        post.jump(pause_s * 0.12)
    (row,) = await post.settled("failed", tries=len(SCHEDULE_S))
    assert len(post.receiver.got) == len(SCHEDULE_S)
    assert len({(headers["webhook-id"], body) for _, headers, body in post.receiver.got}) == 1
    assert len({headers["webhook-timestamp"] for _, headers, _ in post.receiver.got}) == len(SCHEDULE_S)
    assert (row.next_at, row.last_status, row.last_error) == (None, None, "no answer in time")
    lines = log("webhook.failed")
    assert [line["state"] for line in lines] == ["pending"] * 6 + ["failed"]
    assert lines[0].keys() >= {"message_id", "webhook_id", "generation_id", "key_id", "type", "tries", "reason"}
    assert "s3cret" not in str(log())


async def test_a_receiver_that_recovers_gets_it(post: Post, log: Log) -> None:
    """Twice not, then taken; the log tells each."""
    post.receiver.outcomes = [status(500), status(302), status(200)]
    await post.register()
    await post.made()
    await post.settled("pending", tries=1)
    post.jump(6)
    await post.settled("pending", tries=2)
    post.jump(400)
    (row,) = await post.settled("delivered", tries=3)
    assert [entry["status"] for entry in row.logged] == [500, 302, 200]
    assert len(log("webhook.failed")) == 2
    (line,) = log("webhook.delivered")
    assert (line["status"], line["tries"]) == (200, 3)


async def test_410_disables_the_endpoint(post: Post) -> None:
    """Nothing more is sent to it, and others are told on."""
    post.receiver.by_url = {URL: status(410)}
    await post.register()
    await post.register("whk_2", url="https://other.example.com/")
    await post.made()
    await post.settled("dead")
    await post.settled("delivered", endpoint_id="whk_2")
    await post.made()
    await post.got(3)
    assert [url for url, _, _ in post.receiver.got].count(URL) == 1


async def test_retry_after_is_waited_for(post: Post) -> None:
    """503 with a minute: not after five seconds."""
    post.receiver.outcomes = [status(503, **{"retry-after": "60"}), status(200)]
    await post.register()
    await post.made()
    await post.settled("pending", tries=1)
    post.jump(30)
    await post.bench.turn()
    assert len(post.receiver.got) == 1
    post.jump(37)
    await post.settled("delivered", tries=2)


async def test_the_timer_rings_without_anybody_s_poke(post: Post) -> None:
    """A retry falls due in a quiet gateway too."""
    post.receiver.outcomes = [status(500), status(200)]
    await post.register()
    await post.made()
    await post.settled("pending", tries=1)
    post.bench.clock.jump(6)
    await post.settled("delivered", tries=2)


async def test_a_restart_goes_on_where_the_last_process_was(post: Post) -> None:
    """What was in the midst of a try is tried again, what waited waits on; under the same ids."""
    post.receiver.gate.clear()
    await post.register()
    await post.made(2)
    await post.got(2)
    assert len(await post.rows()) == 2
    post.receiver.gate = asyncio.Event()
    post.receiver.gate.set()
    await post.restart()
    rows = await post.settled("delivered", tries=1)
    assert sorted(post.receiver.ids) == sorted([row.id for row in rows] * 2)


async def test_what_ended_while_nobody_delivered_is_told_at_the_start(bench: Any) -> None:
    """The end and its delivery are one commit: a process that dies right behind it has said enough."""
    post = Post(bench)
    await post.register()
    await post.made()
    assert post.receiver.got == []
    await post.deliverer.start()
    await post.settled("delivered", tries=1)
    await post.deliverer.stop()


async def test_recovery_tells_its_ends(post: Post) -> None:
    """An attempt that the last process lost ends as unknown at the start; receivers learn of it."""
    await post.register()
    _, live = await post.bench.accepted()
    await post.bench.sent(live)
    await post.restart()
    (row,) = await post.settled("delivered")
    assert (row.generation_id, row.type) == (live.id, "generation.failed")


async def test_so_many_at_once_and_no_more(post: Post) -> None:
    """Over all endpoints together, of one key, and of one endpoint."""
    post.receiver.gate.clear()
    for key in range(3):
        for number in range(4):
            await post.register(f"whk_{key}{number}", url=f"https://{key}.example.com/{number}", key_id=f"key_{key}")
    record = await post.bench.made()
    for key in range(3):
        for number in range(6):
            row = record.generation.but(id=f"gen_{key}{number}", key_id=f"key_{key}")
            await post.bench.store.write(tell_end, row, post.bench.core.now_text())
    post.deliverer.poke()
    await post.got(AT_ONCE)
    await post.bench.turn()
    assert post.receiver.waiting == AT_ONCE
    by_key = Counter(url.partition(".")[0] for url, _, _ in post.receiver.got)
    by_url = Counter(url for url, _, _ in post.receiver.got)
    assert max(by_key.values()) <= AT_ONCE_OF_A_KEY
    assert max(by_url.values()) <= AT_ONCE_OF_AN_ENDPOINT
    post.receiver.gate.set()
    # The generation that was made is of the second key, and told to its four endpoints too.
    await post.got(3 * 4 * 6 + 4)
    assert post.receiver.most == AT_ONCE
    assert len(set(post.receiver.ids)) == 3 * 4 * 6 + 4


async def test_somebody_who_asks_behind_our_back_is_told_within_half_a_minute(post: Post) -> None:
    """A row that no route of this process wrote is found by the clock."""
    now = post.bench.core.now_text()
    await post.bench.store.write(insert_endpoint, endpoint_id="whk_1", key_id="key_1", url=URL, created_at=now)
    await post.made()
    await post.bench.turn()
    assert post.receiver.got == []
    post.bench.clock.jump(LOOK_S + 1)
    await post.settled("delivered", tries=1)


async def test_an_endpoint_that_hangs_does_not_stop_the_others(post: Post) -> None:
    """It has its places, with any number waiting behind; all the others are told at once."""
    hanging, never = "https://hangs.example.com/", asyncio.Event()
    usual = post.receiver.post

    async def hang(url: str, **options: Any) -> Head | NotAnswered:
        if url == hanging:
            post.receiver.got.append((url, dict(options["headers"]), options["body"]))
            await never.wait()
        return await usual(url, **options)

    post.receiver.post = hang  # type: ignore[method-assign]
    await post.register("whk_1", url=hanging)
    await post.made(20)
    await post.register("whk_2")
    await post.made(5)
    await post.settled("delivered", endpoint_id="whk_2")
    assert [url for url, _, _ in post.receiver.got].count(hanging) == AT_ONCE_OF_AN_ENDPOINT
    assert len(await post.rows("whk_1")) == 25


async def test_while_two_secrets_are_valid_both_sign(post: Post) -> None:
    """And a day later the new one alone."""
    await post.register()
    clock = post.bench.clock
    until = "2026-11-25T12:00:00.000Z"
    await post.bench.store.write(
        rotate_endpoint, "key_1", "whk_1", new_id="-", at=post.bench.core.now_text(), previous_until=until
    )
    await post.made()
    await post.settled("delivered")
    clock.jump(86_401)
    await post.made()
    await post.got(2)
    (_, first, body), (_, second, _) = post.receiver.got
    assert [headers["webhook-signature"].count("v1,") for headers in (first, second)] == [2, 1]
    for number in (1, 2):
        library = Webhook(spell_secret(secret_of(SECRET, "whk_1", number)))
        at = clock.now().replace(year=2026, month=11, day=24, hour=12, minute=0, second=0)
        assert library.sign(first["webhook-id"], at, body.decode()) in first["webhook-signature"].split(" ")


async def test_redelivery_sends_the_same_again(post: Post) -> None:
    """Same id, so that a receiver that has it knows; a new time, so that it believes it."""
    await post.register()
    await post.made()
    (row,) = await post.settled("delivered")
    post.bench.clock.jump(3600)
    await post.bench.store.write(redeliver, "key_1", row.id, post.bench.core.now_text())
    post.deliverer.poke()
    await post.got(2)
    (again,) = await post.settled("delivered")
    first, second = post.receiver.got
    assert (first[1]["webhook-id"], first[2]) == (second[1]["webhook-id"], second[2])
    assert int(second[1]["webhook-timestamp"]) - int(first[1]["webhook-timestamp"]) == 3600
    assert len(again.logged) == 2


async def test_a_url_of_a_request_is_told_as_well(post: Post) -> None:
    """Signed with the key's default secret."""
    new, live = await post.bench.accepted()
    inline = {"generation_id": new.id, "key_id": "key_1", "url": URL, "default_id": "whk_d"}
    await post.bench.store.write(tell_inline, **inline, created_at=new.created_at)
    post.deliverer.expect()
    post.bench.engine.drive(live)
    await post.settled("delivered", endpoint_id="whk_d")
    ((url, headers, body),) = post.receiver.got
    assert url == URL
    library = Webhook(spell_secret(secret_of(SECRET, "whk_d", 1)))
    assert headers["webhook-signature"] == library.sign(headers["webhook-id"], post.bench.clock.now(), body.decode())


async def test_an_endpoint_deleted_in_the_midst_of_a_try_is_no_mistake(post: Post, log: Log) -> None:
    """The answer comes to nothing, and nothing is logged as internal."""
    post.receiver.gate.clear()
    await post.register()
    await post.made()
    await post.got(1)
    await post.bench.store.write(delete_endpoint, "key_1", "whk_1", post.bench.core.now_text())
    post.deliverer.expect(leftovers=True)
    async with asyncio.timeout(10):
        while await post.rows():
            await asyncio.sleep(0.001)
    post.receiver.gate.set()
    async with asyncio.timeout(10):
        while "0 tries" not in repr(post.deliverer):
            await asyncio.sleep(0.001)
    assert log("fault.internal") == []


async def test_a_disk_that_refuses_is_waited_for(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent is written down, later; it is not sent again for that."""
    failures = 2
    usual = type(post.bench.store).write

    async def write(self: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal failures
        if function is webhooks.end_try and failures:
            failures -= 1
            post.bench.clock.jump(5)
            raise StorageError("full", reason="full")
        return await usual(self, function, *args, **kwargs)

    monkeypatch.setattr(type(post.bench.store), "write", write)
    await post.register()
    await post.made()
    await post.pass_time_until_delivered()
    assert failures == 0
    assert len(post.receiver.got) == 1


async def test_a_look_that_fails_is_made_again(post: Post, monkeypatch: pytest.MonkeyPatch, log: Log) -> None:
    """The task goes on, whatever went wrong; it says so."""
    failures: list[Exception] = [StorageError("broken", reason="broken"), ZeroDivisionError()]
    usual = post.deliverer._look

    async def look() -> float:
        if failures:
            raise failures.pop(0)
        return await usual()

    monkeypatch.setattr(post.deliverer, "_look", look)
    await post.register()
    await post.made()
    await post.pass_time_until_delivered()
    assert log("storage.failed")
    assert log("fault.internal")


async def test_a_mistake_in_sending_is_counted_as_a_try(post: Post, log: Log) -> None:
    """So that it comes to an end like everything else."""
    post.receiver.outcomes = [ZeroDivisionError("a mistake"), status(200)]
    await post.register()
    await post.made()
    (row,) = await post.settled("pending", tries=1)
    assert row.last_error == "the gateway failed; see its log"
    assert log("fault.internal")
    post.jump(6)
    await post.settled("delivered", tries=2)


async def test_a_mistake_behind_the_answer_does_not_send_without_pause(
    post: Post, arm: Callable[[str], None], log: Log
) -> None:
    """It stays pending; the next try comes after a pause, and other deliveries go on."""
    arm("webhook.before_commit:error:1")
    await post.register()
    await post.made()
    async with asyncio.timeout(10):
        while not log("fault.internal"):
            await asyncio.sleep(0.001)
    await post.bench.turn()
    assert len(post.receiver.got) == 1
    post.jump(31)
    await post.settled("delivered", tries=1)
    assert len(set(post.receiver.ids)) == 1


async def test_old_deliveries_are_swept(post: Post) -> None:
    """Once an hour; a month after their end."""
    await post.register()
    await post.made()
    await post.settled("delivered")
    post.jump(KEPT_DAYS * 86_400 + SWEEP_S)
    async with asyncio.timeout(10):
        while await post.rows():
            await asyncio.sleep(0.001)


async def test_stopping_is_prompt_and_lets_go(post: Post) -> None:
    """However long a receiver takes: what it was told stays pending for the next start."""
    post.receiver.gate.clear()
    await post.register()
    await post.made()
    await post.got(1)
    await asyncio.wait_for(post.deliverer.stop(), 2.0)
    assert post.receiver.closed == 1
    assert post.bench.core.watchers.on_end is None
    (row,) = await post.rows()
    assert (row.state, row.tries) == ("pending", 0)
