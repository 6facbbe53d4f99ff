"""Webhooks on real sockets: a receiver that fails twice, one that is gone, one that hangs, and a restart between."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from holdfast.engine import webhooks as engine
from holdfast.errors import StorageError
from holdfast.policy import webhooks as policy
from holdfast.policy.webhooks import ENDPOINTS_MAX
from holdfast.transport import guarded

Start = Callable[..., Awaitable[Any]]
HANGS = 0
"""As a status: no answer comes."""


class Receiver:
    """Answers with the next status of `statuses`, the last one for ever, and keeps what it was sent."""

    def __init__(self) -> None:
        self.statuses = [204]
        self.more = ""
        """Further lines of the head."""
        self.got: list[tuple[dict[str, str], bytes]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it listens; its query is nobody's business."""
        return f"http://127.0.0.1:{self.port}/hooks?sig=s3cret"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Hang up everywhere."""
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            lines = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
            headers = {name.lower(): value for name, _, value in lines}
            body = await reader.readexactly(int(headers["content-length"]))
            self.got.append((headers, body))
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            if status == HANGS:
                await reader.read()
            else:
                writer.write(f"HTTP/1.1 {status} X\r\n{self.more}Content-Length: 2\r\n\r\nok".encode())
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self._tasks.discard(task)
            writer.close()

    async def has(self, count: int) -> list[tuple[dict[str, str], bytes]]:
        """Wait until it has been sent so many."""
        async with asyncio.timeout(10):
            while len(self.got) < count:
                await asyncio.sleep(0.005)
        return self.got


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Somebody who wants to be told."""
    made = Receiver()
    await made.start()
    yield made
    await made.close()


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedule and a try's time, short enough for a test; their true values have tests of their own."""
    monkeypatch.setattr(policy, "SCHEDULE_S", (0.0, *[0.05] * 6))
    monkeypatch.setattr(engine, "TRY_S", 0.5)


@pytest.fixture
async def gateway(start: Start) -> Any:
    """One that may send to this machine."""
    return await start(webhooks={"allow_private": True, "allow_http": True})


async def register(gateway: Any, url: str) -> dict[str, Any]:
    """Make a webhook."""
    answer = await gateway.ask("POST", "/v1/webhooks", json={"url": url})
    assert answer.status == 201, answer
    assert answer.headers["location"] == f"/v1/webhooks/{answer.json['id']}"
    return dict(answer.json)


async def deliveries(gateway: Any, id_: str) -> list[dict[str, Any]]:
    """Read a webhook's log."""
    answer = await gateway.ask("GET", f"/v1/webhooks/{id_}/deliveries")
    assert answer.status == 200, answer
    return list(answer.json["data"])


async def settled(gateway: Any, id_: str, state: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait until so many deliveries stand so."""
    async with asyncio.timeout(10):
        while True:
            found = await deliveries(gateway, id_)
            if len(found) == count and all(each["state"] == state for each in found):
                return found
            await asyncio.sleep(0.01)


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    """Look at a refusal."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json["code"] == code
    assert answer.json["paid"] == "no"
    return dict(answer.json)


async def test_the_standard_library_of_receivers_takes_what_is_sent(gateway: Any, receiver: Receiver) -> None:
    """From the key's own answer alone: the secret that was shown once verifies the end of its generation."""
    made = await register(gateway, receiver.url)
    answer = await gateway.images()
    ((headers, body),) = await receiver.has(1)
    told = Webhook(made["secret"]).verify(body, headers)
    record = await gateway.resource(answer.json["generation_id"])
    assert told == {
        "type": "generation.succeeded",
        "timestamp": record["finished_at"],
        "data": {"id": record["id"], "status": "succeeded", "drive": 0},
    }
    (row,) = await settled(gateway, made["id"], "delivered")
    assert row["id"] == headers["webhook-id"]
    assert (row["generation_id"], row["tries"], row["last_status"]) == (record["id"], 1, 204)
    with pytest.raises(WebhookVerificationError):
        Webhook(made["secret"]).verify(body + b" ", headers)


async def test_a_receiver_that_fails_twice_gets_it_the_third_time(
    gateway: Any, receiver: Receiver, journal: Any
) -> None:
    """The same message each time, signed anew; the log tells all three."""
    receiver.statuses = [500, 302, 200]
    receiver.more = f"Location: http://127.0.0.1:{receiver.port}/elsewhere\r\n"
    made = await register(gateway, receiver.url)
    await gateway.images()
    (row,) = await settled(gateway, made["id"], "delivered")
    assert [entry["status"] for entry in row["log"]] == [500, 302, 200]
    assert len({(headers["webhook-id"], body) for headers, body in receiver.got}) == 1
    for headers, body in receiver.got:
        Webhook(made["secret"]).verify(body, headers)
    assert [line["status"] for line in journal.of("webhook.failed")] == [500, 302]
    (line,) = journal.of("webhook.delivered")
    assert (line["webhook_id"], line["tries"]) == (made["id"], 3)
    assert not [line for line in journal.lines if "s3cret" in line]


async def test_a_receiver_that_says_410_is_told_nothing_more(gateway: Any, receiver: Receiver) -> None:
    """Its webhook says so, and cannot be made to send again; a new one can."""
    receiver.statuses = [410, 200]
    made = await register(gateway, receiver.url)
    await gateway.images()
    (row,) = await settled(gateway, made["id"], "dead")
    listed = (await gateway.ask("GET", "/v1/webhooks")).json["data"]
    assert [(each["id"], each["disabled_reason"]) for each in listed] == [(made["id"], "the receiver answered 410")]
    assert listed[0]["disabled_at"] == row["ended_at"]
    again = await gateway.ask("POST", f"/v1/webhooks/deliveries/{row['id']}/redeliver")
    assert "410" in problem(again, 400, "invalid_request")["detail"]
    await gateway.images()
    new = await register(gateway, receiver.url)
    await gateway.images()
    await settled(gateway, new["id"], "delivered")
    assert len(receiver.got) == 2


async def test_a_receiver_that_hangs_is_tried_again_and_holds_up_nobody(gateway: Any, receiver: Receiver) -> None:
    """Neither the caller, nor another receiver."""
    receiver.statuses = [HANGS, 200]
    other = Receiver()
    await other.start()
    made = await register(gateway, receiver.url)
    await register(gateway, other.url)
    assert (await gateway.images()).status == 200
    await other.has(1)
    (row,) = await settled(gateway, made["id"], "delivered")
    first, second = row["log"]
    assert (first["status"], second["status"]) == (None, 200)
    assert "in time" in first["error"]
    assert first["took_ms"] >= 400
    await other.close()


async def test_a_receiver_that_is_not_there_is_given_up_on(gateway: Any, receiver: Receiver) -> None:
    """After the last try; asked for again, it comes when the receiver is back."""
    await receiver.close()
    made = await register(gateway, receiver.url)
    await gateway.images()
    (row,) = await settled(gateway, made["id"], "failed")
    assert row["tries"] == len(policy.SCHEDULE_S)
    assert row["last_error"] == "cannot connect (ECONNREFUSED)"
    await receiver.start()
    again = await gateway.ask("POST", f"/v1/webhooks/deliveries/{row['id']}/redeliver")
    assert again.status == 202
    assert (again.json["state"], again.json["tries"]) == ("pending", 0)
    ((headers, _),) = await receiver.has(1)
    assert headers["webhook-id"] == row["id"]
    (row,) = await settled(gateway, made["id"], "delivered")
    assert len(row["log"]) == len(policy.SCHEDULE_S) + 1


async def test_a_restart_between_loses_no_message(start: Start, receiver: Receiver, tmp_path: Path) -> None:
    """A gateway that stops in the midst of a try leaves it to the next one, which signs with the same secret."""
    sections = {"data": tmp_path / "kept", "webhooks": {"allow_private": True, "allow_http": True}}
    first = await start(**sections)
    receiver.statuses = [HANGS, 204]
    made = await register(first, receiver.url)
    answer = await first.images()
    await receiver.has(1)
    began = asyncio.get_running_loop().time()
    assert await first.stop() == 0
    assert asyncio.get_running_loop().time() - began < 5.0, "a receiver that hangs does not keep a gateway"
    second = await start(**sections, key=first.key)
    (_, _), (headers, body) = await receiver.has(2)
    told = Webhook(made["secret"]).verify(body, headers)
    assert told["data"]["id"] == answer.json["generation_id"]
    assert receiver.got[0][0]["webhook-id"] == headers["webhook-id"]
    await settled(second, made["id"], "delivered")


async def test_a_failed_generation_is_told_as_failed(gateway: Any, receiver: Receiver, upstream: Any) -> None:
    """What no image came of is an end like any other."""
    upstream.answers({"error": {"code": 400, "message": "no", "status": "INVALID_ARGUMENT"}}, status=400)
    made = await register(gateway, receiver.url)
    assert (await gateway.images()).status == 400
    ((_, body),) = await receiver.has(1)
    assert json.loads(body)["type"] == "generation.failed"
    await settled(gateway, made["id"], "delivered")


async def test_many_ends_at_once_are_each_told(gateway: Any, receiver: Receiver) -> None:
    """Each once, under an id of its own."""
    made = await register(gateway, receiver.url)
    answers = await asyncio.gather(*(gateway.images() for _ in range(20)))
    await settled(gateway, made["id"], "delivered", count=20)
    told = [json.loads(body)["data"]["id"] for _, body in receiver.got]
    assert sorted(told) == sorted(answer.json["generation_id"] for answer in answers)
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 20


async def ask_to_be_told(gateway: Any, url: str, **headers: str) -> Any:
    """Ask natively, with a webhook of the request's own."""
    sent = {"Authorization": f"Bearer {gateway.key}", **headers}
    return await gateway.ask("POST", "/v1/generations", headers=sent, json={"prompt": "x", "webhook": {"url": url}})


async def test_a_url_of_a_request_signs_with_the_key_s_default_secret(gateway: Any, receiver: Receiver) -> None:
    """Which `default` in place of an id shows and rotates, and whose log it gives; other requests tell it nothing."""
    shown = await gateway.ask("POST", "/v1/webhooks/default/rotate")
    assert shown.status == 200
    assert shown.json["url"] is None
    assert "previous_secret_until" not in shown.json
    asked = await ask_to_be_told(gateway, receiver.url)
    assert asked.status == 202
    await gateway.images()
    (told,) = await settled(gateway, "default", "delivered")
    ((headers, body),) = receiver.got
    document = Webhook(shown.json["secret"]).verify(body, headers)
    assert document["data"] == {"id": asked.json["id"], "status": "succeeded", "drive": 0}
    assert (headers["webhook-id"], told["generation_id"]) == (told["id"], asked.json["id"])
    listed = await gateway.ask("GET", "/v1/webhooks")
    assert listed.json == {"object": "list", "data": []}


async def test_the_first_of_a_key_needs_nothing_registered(gateway: Any, receiver: Receiver, upstream: Any) -> None:
    """The default is made with it; a secret that is shown afterwards verifies what is sent from then on."""
    asked = await ask_to_be_told(gateway, receiver.url)
    ((headers, body),) = await receiver.has(1)
    await settled(gateway, "default", "delivered")
    shown = await gateway.ask("POST", "/v1/webhooks/default/rotate")
    with pytest.raises(WebhookVerificationError):
        # It is the one after the one that signed: the first was never shown.
        Webhook(shown.json["secret"]).verify(body, headers)
    again = await ask_to_be_told(gateway, receiver.url)
    (_, (headers, body)) = await receiver.has(2)
    assert Webhook(shown.json["secret"]).verify(body, headers)["data"]["id"] == again.json["id"] != asked.json["id"]
    await settled(gateway, "default", "delivered", count=2)
    assert len(upstream.asked) == 2


async def test_a_repeat_is_told_once(gateway: Any, receiver: Receiver, upstream: Any) -> None:
    """Whoever joins, or is given the same again, has asked for the same telling; another URL is another request."""
    upstream.gate.clear()
    key = {"Idempotency-Key": "told-once"}
    first = await ask_to_be_told(gateway, receiver.url, **key)
    joined = await ask_to_be_told(gateway, receiver.url, **key)
    other = await ask_to_be_told(gateway, receiver.url + "2", **key)
    upstream.gate.set()
    await settled(gateway, "default", "delivered")
    replayed = await ask_to_be_told(gateway, receiver.url, **key)
    assert first.generation_id == joined.generation_id == replayed.generation_id
    assert (other.status, other.json["code"]) == (422, "idempotency_key_reused")
    assert gateway.count("webhook_inline") == 1
    assert len(receiver.got) == len(upstream.asked) == 1


async def test_a_url_of_a_request_is_looked_at_when_it_is_told(
    start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name may lead to this machine, whatever it looked like when it was taken: nothing is sent there."""
    gateway = await start(webhooks={"allow_http": True})
    here = [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", receiver.port))]
    monkeypatch.setattr(guarded.socket, "getaddrinfo", lambda *_, **__: here)
    asked = await ask_to_be_told(gateway, f"http://hooks.example.com:{receiver.port}/")
    assert asked.status == 202
    (told,) = await settled(gateway, "default", "failed")
    assert (told["tries"], told["last_status"]) == (len(policy.SCHEDULE_S), None)
    assert told["last_error"] == "the host leads to an address that is loopback"
    assert receiver.got == []


async def test_a_url_that_a_dead_process_was_asked_to_tell_is_told_by_the_next(
    start: Start, receiver: Receiver, tmp_path: Path, upstream: Any
) -> None:
    """It was written with the generation, in one commit."""
    receiver.statuses = [HANGS]
    sections = {"webhooks": {"allow_private": True, "allow_http": True}, "data": tmp_path / "kept"}
    first = await start(**sections)
    asked = await ask_to_be_told(first, receiver.url)
    await receiver.has(1)
    assert await first.stop() == 0
    receiver.statuses = [204]
    second = await start(key=first.key, **sections)
    (told,) = await settled(second, "default", "delivered")
    assert told["generation_id"] == asked.json["id"]
    assert len(upstream.asked) == 1


async def test_rotation_gives_receivers_a_day(gateway: Any, receiver: Receiver) -> None:
    """Both secrets verify what is sent now; the one before the old one no longer does."""
    made = await register(gateway, receiver.url)
    secrets = [made["secret"]]
    for _ in range(2):
        rotated = await gateway.ask("POST", f"/v1/webhooks/{made['id']}/rotate")
        assert rotated.status == 200
        assert rotated.json["previous_secret_until"] > made["created_at"]
        secrets.append(rotated.json["secret"])
    assert len(set(secrets)) == 3
    await gateway.images()
    ((headers, body),) = await receiver.has(1)
    for secret in secrets[1:]:
        Webhook(secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secrets[0]).verify(body, headers)


async def test_a_secret_is_shown_once(gateway: Any, receiver: Receiver, journal: Any) -> None:
    """In no list, in no log, and not in the data folder's database."""
    made = await register(gateway, receiver.url)
    listed = await gateway.ask("GET", "/v1/webhooks")
    assert b"whsec_" not in listed.body
    assert not [line for line in journal.lines if "whsec_" in line or made["secret"][6:] in line]
    for file in gateway.data.glob("holdfast.sqlite3*"):
        assert made["secret"][6:].encode() not in file.read_bytes()


async def test_a_key_sees_its_own_only(gateway: Any, receiver: Receiver) -> None:
    """Another key's webhooks and deliveries are not found; its generations are not told to this one."""
    made = await register(gateway, receiver.url)
    await gateway.images()
    (row,) = await settled(gateway, made["id"], "delivered")
    other = {"Authorization": f"Bearer {await gateway.another_key()}"}
    for method, path in (
        ("DELETE", f"/v1/webhooks/{made['id']}"),
        ("POST", f"/v1/webhooks/{made['id']}/rotate"),
        ("GET", f"/v1/webhooks/{made['id']}/deliveries"),
        ("POST", f"/v1/webhooks/deliveries/{row['id']}/redeliver"),
    ):
        problem(await gateway.ask(method, path, headers=other), 404, "webhook_not_found")
        problem(await gateway.ask(method, path, headers={}), 401, "invalid_api_key")
    assert (await gateway.ask("GET", "/v1/webhooks", headers=other)).json["data"] == []
    await gateway.images(headers=other)
    await gateway.images()
    await settled(gateway, made["id"], "delivered", count=2)
    assert len(receiver.got) == 2


async def test_a_deleted_webhook_is_gone(gateway: Any, receiver: Receiver) -> None:
    """At once for whoever looks; nothing more is sent to it."""
    made = await register(gateway, receiver.url)
    answer = await gateway.ask("DELETE", f"/v1/webhooks/{made['id']}")
    assert (answer.status, answer.body) == (204, b"")
    problem(await gateway.ask("DELETE", f"/v1/webhooks/{made['id']}"), 404, "webhook_not_found")
    problem(await gateway.ask("GET", f"/v1/webhooks/{made['id']}/deliveries"), 404, "webhook_not_found")
    await gateway.images()
    assert (await gateway.ask("GET", "/v1/webhooks")).json["data"] == []
    assert receiver.got == []


async def test_the_log_is_read_page_by_page(gateway: Any, receiver: Receiver) -> None:
    """Newest first, `after` the last id of the page before."""
    made = await register(gateway, receiver.url)
    for _ in range(3):
        await gateway.images()
    await settled(gateway, made["id"], "delivered", count=3)
    path = f"/v1/webhooks/{made['id']}/deliveries"
    first = (await gateway.ask("GET", f"{path}?limit=2")).json
    rest = (await gateway.ask("GET", f"{path}?limit=2&after={first['data'][-1]['id']}")).json
    assert (first["has_more"], rest["has_more"]) == (True, False)
    ids = [each["id"] for each in first["data"] + rest["data"]]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == 3
    for limit in ("0", "101", "x", "-1", "", "1e1"):
        assert problem(await gateway.ask("GET", f"{path}?limit={limit}"), 400, "invalid_request")["param"] == "limit"


async def test_a_key_has_a_bounded_number_of_webhooks(gateway: Any) -> None:
    """One more is refused, with what to do."""
    for number in range(ENDPOINTS_MAX):
        await register(gateway, f"https://hooks.example.com/{number}")
    more = await gateway.ask("POST", "/v1/webhooks", json={"url": "https://hooks.example.com/more"})
    assert str(ENDPOINTS_MAX) in problem(more, 400, "invalid_request")["detail"]


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({"url": "http://hooks.example.com/"}, "url", "https://"),
        ({"url": "https://127.0.0.1/"}, "url", "loopback"),
        ({"url": "https://169.254.169.254/latest/meta-data"}, "url", "metadata"),
        ({"url": "https://[::ffff:10.0.0.1]/"}, "url", "inside"),
        ({"url": "https://localhost/"}, "url", "allow_private"),
        ({"url": "https://user:word@hooks.example.com/"}, "url", "password"),
        ({"uri": "https://hooks.example.com/"}, "uri", "Did you mean 'url'?"),
        ({}, "url", "missing"),
    ],
)
async def test_as_shipped_only_public_https_is_taken(
    start: Start, body: Mapping[str, Any], param: str, said: str
) -> None:
    """Whoever has a key does not reach into the gateway's network; he is told what to write instead."""
    gateway = await start()
    told = problem(await gateway.ask("POST", "/v1/webhooks", json=body), 400, "invalid_request")
    assert told["param"] == param
    assert said in told["detail"]
    assert (await gateway.ask("GET", "/v1/webhooks")).json["data"] == []


async def test_a_name_that_leads_inside_is_found_out_when_it_is_sent_to(
    start: Start, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked public when it was registered; no connection is made, and the log says why."""
    gateway = await start(webhooks={"allow_http": True})
    transport = gateway.made.deliverer._transport

    async def inside(_: str, port: int) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(transport._names, "_resolve", inside)
    made = await register(gateway, f"http://hooks.example.com:{receiver.port}/")
    await gateway.images()
    (row,) = await settled(gateway, made["id"], "failed")
    assert row["last_error"] == "the host leads to an address that is loopback"
    assert receiver.got == []


async def test_a_disk_that_takes_nothing_is_told(
    gateway: Any, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for every other request that has to be written down; the webhook is not there, nor half of it."""
    made = await register(gateway, receiver.url)

    async def full(*_: Any, **__: Any) -> None:
        raise StorageError("The database could not be used: disk full.", reason="full")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.core.store, "write", full)
        for method, path, options in (
            ("POST", "/v1/webhooks", {"json": {"url": receiver.url}}),
            ("POST", f"/v1/webhooks/{made['id']}/rotate", {}),
            ("DELETE", f"/v1/webhooks/{made['id']}", {}),
            ("POST", "/v1/webhooks/deliveries/msg_1/redeliver", {}),
        ):
            problem(await gateway.ask(method, path, **options), 503, "storage_low")
    listed = (await gateway.ask("GET", "/v1/webhooks")).json["data"]
    assert [each["id"] for each in listed] == [made["id"]]
