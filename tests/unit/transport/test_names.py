"""Names: numbers are not asked for, a crowd asks once, and an answer is not kept for ever."""

from __future__ import annotations

import asyncio
import gc
import socket
from typing import Any

import pytest

from holdfast.transport.names import KEPT_S, Names

FOUND = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 443, 0, 0))]


class Resolver:
    """Stands in for the loop's: answers when told to, and counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self.asked: list[tuple[str, int]] = []
        self.answers: list[asyncio.Future[Any]] = []
        self.now = loop.time()
        monkeypatch.setattr(loop, "getaddrinfo", self._ask)
        monkeypatch.setattr(loop, "time", lambda: self.now)

    async def _ask(self, host: str, port: int, **options: int) -> Any:
        assert options == {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_TCP}
        self.asked.append((host, port))
        answer = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        return await answer


async def turn() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """A resolver in place of the system's."""
    return Resolver(monkeypatch)


@pytest.mark.parametrize(
    ("host", "family", "where"),
    [
        ("127.0.0.1", socket.AF_INET, ("127.0.0.1", 81)),
        ("::1", socket.AF_INET6, ("::1", 81, 0, 0)),
        ("2001:db8::7", socket.AF_INET6, ("2001:db8::7", 81, 0, 0)),
    ],
)
async def test_an_address_in_numbers_is_not_asked_for(
    resolver: Resolver, host: str, family: int, where: tuple[Any, ...]
) -> None:
    """No resolver, and no thread to ask one in."""
    assert await Names().addresses(host, 81) == [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)]
    assert resolver.asked == []


@pytest.mark.parametrize("host", ["fe80::1%eth0", "localhost", "127.1", "0x7f.1"])
async def test_whatever_else_is_the_systems_to_read(resolver: Resolver, host: str) -> None:
    """The number of an interface among it: with 0 for it, a link-local address leads nowhere."""
    task = asyncio.create_task(Names().addresses(host, 443))
    await turn()
    resolver.answers[0].set_result(FOUND)
    assert await task == FOUND
    assert resolver.asked == [(host, 443)]


async def test_a_crowd_asks_once(resolver: Resolver) -> None:
    """2,000 generations taken up at once would wait for the four threads of the loop. Each port is a question."""
    names = Names()
    tasks = [asyncio.create_task(names.addresses("up.example", 443)) for _ in range(100)]
    other = asyncio.create_task(names.addresses("up.example", 80))
    await turn()
    assert resolver.asked == [("up.example", 443), ("up.example", 80)]
    for answer in resolver.answers:
        answer.set_result(FOUND)
    found = await asyncio.gather(*tasks, other)
    assert found == [FOUND] * 101
    found[0].clear()
    assert await names.addresses("up.example", 443) == FOUND, "what one does with its list is not the others'"


async def test_an_answer_is_kept_for_a_moment(resolver: Resolver) -> None:
    """A host that moves is found again."""
    names = Names()
    for asked in (1, 2):
        task = asyncio.create_task(names.addresses("up.example", 443))
        await turn()
        assert len(resolver.asked) == asked
        resolver.answers[-1].set_result(FOUND)
        await task
        resolver.now += KEPT_S - 0.1
        assert await names.addresses("up.example", 443) == FOUND
        assert len(resolver.asked) == asked
        resolver.now += 0.2


async def test_a_question_that_takes_long_is_not_asked_twice(resolver: Resolver) -> None:
    """A resolver that is slow is not helped by more questions."""
    names = Names()
    first = asyncio.create_task(names.addresses("up.example", 443))
    await turn()
    resolver.now += 2 * KEPT_S
    second = asyncio.create_task(names.addresses("up.example", 443))
    await turn()
    assert len(resolver.asked) == 1
    resolver.answers[0].set_result(FOUND)
    assert await first == await second == FOUND


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
async def test_a_failure_reaches_all_who_asked_and_is_not_kept(resolver: Resolver, error: Exception) -> None:
    """The next one may be luckier."""
    names = Names()
    tasks = [asyncio.create_task(names.addresses("up.example", 443)) for _ in range(3)]
    await turn()
    resolver.answers[0].set_exception(error)
    assert await asyncio.gather(*tasks, return_exceptions=True) == [error] * 3
    again = asyncio.create_task(names.addresses("up.example", 443))
    await turn()
    resolver.answers[1].set_result(FOUND)
    assert await again == FOUND


async def test_whoever_gives_up_takes_the_answer_from_nobody(resolver: Resolver) -> None:
    """A deadline that passes while the name is asked for is that one's alone."""
    names = Names()
    first, second = (asyncio.create_task(names.addresses("up.example", 443)) for _ in range(2))
    await turn()
    first.cancel()
    await turn()
    assert first.cancelled()
    resolver.answers[0].set_result(FOUND)
    assert await second == FOUND


async def test_a_failure_that_nobody_waits_for_is_no_noise(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    """All gave up before the resolver did; the loop would report an error that was never looked at."""
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    names = Names()
    task = asyncio.create_task(names.addresses("up.example", 443))
    await turn()
    task.cancel()
    await turn()
    resolver.answers[0].set_exception(socket.gaierror(-3, "Temporary failure"))
    await turn()
    # Its frame still knows the question.
    del task
    gc.collect()
    assert reported == []


async def test_closing_stops_asking(resolver: Resolver) -> None:
    """A loop that ends must not find the question still open."""
    names = Names()
    task = asyncio.create_task(names.addresses("up.example", 443))
    await turn()
    names.close()
    await turn()
    assert task.cancelled()
    assert resolver.answers[0].cancelled()
