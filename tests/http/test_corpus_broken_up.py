"""The corpus in other shapes: cut into segments anywhere, and damaged at random. The same seed every time.

A parser that is fed by segments keeps its state between them, and a check that looks at one segment sees half a line.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

AT_ONCE = 40
CUTS = 6
WRONG_KEY = b"hf-wrong-key"
SPLICES = (
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"0",
    b"9",
    b"-",
    b"\xff",
    b"\r\n\r\n",
    b"%",
    b"/",
)
SERVED_BEFORE = {
    "body-too-long",
    "body-without-length",
    "pipelined",
    "pipelined-garbage",
    "te-underscore",
    "te-tab",
    "te-capital",
    "upgrade-chunked",
    "upgrade-behind",
}
"""What comes first is a request like any other; once it has been answered, what is behind it is the next one."""


def whole(item: Any) -> bytes:
    """Join what an item sends."""
    return b"".join(each for each in item.pieces if isinstance(each, bytes))


def cut(pieces: tuple[bytes | float, ...], chance: random.Random) -> Iterator[bytes | float]:
    """Cut anywhere; the pauses let each piece travel by itself."""
    data = b"".join(each for each in pieces if isinstance(each, bytes))
    places = sorted(chance.randrange(len(data) + 1) for _ in range(CUTS))
    for start, end in zip([0, *places], [*places, len(data)], strict=True):
        yield data[start:end]
        yield 0.003


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Flip, drop, insert, double or swap something; one to three times."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(data))
        match chance.randrange(5):
            case 0:
                data = data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
            case 1:
                data = data[:at] + data[at + 1 :] or b"x"
            case 2:
                data = data[:at] + chance.choice(SPLICES) + data[at:]
            case 3:
                lines = data.split(b"\r\n")
                line = chance.randrange(len(lines))
                data = b"\r\n".join([*lines[: line + 1], *lines[line:]])
            case _:
                lines = data.split(b"\r\n")
                chance.shuffle(lines)
                data = b"\r\n".join(lines)
    return data


async def played(stage: Any, sent: list[list[bytes | float]]) -> list[Any]:
    """Send all of it, so many at once."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(pieces: list[bytes | float]) -> Any:
        async with places:
            return await stage.send(*pieces)

    return await asyncio.gather(*(one(pieces) for pieces in sent))


async def test_cut_into_segments_it_means_the_same(stage: Any, corpus: Any) -> None:
    """Three ways to cut each; the answer is the one of the table, and whoever is refused is answered nothing more."""
    items = [
        item for item in corpus.ITEMS if not item.is_patient and not item.half_closes and len(whole(item)) < 10_000
    ] * 3
    assert len(items) > 500
    chance = random.Random(16888)
    bought = stage.bought()
    seen = await played(stage, [list(cut(stage.spelled(item.pieces), chance)) for item in items])
    for item, each in zip(items, seen, strict=True):
        assert each.is_over, item.name
        status = each.answers[0].status if each.answers else 0
        assert status in item.statuses, (item.name, each.raw)
        most = 2 if item.name in SERVED_BEFORE else 1
        assert len(each.answers) <= most, (item.name, each.raw)
    assert stage.bought() == bought
    await stage.is_well()
    tasks, descriptors = await stage.settled()
    assert tasks <= stage.tasks
    assert descriptors <= stage.descriptors


async def test_damaged_at_random_it_is_never_a_fault(stage: Any, corpus: Any) -> None:
    """A thousand of them, with a key that nobody has: an answer that HTTP allows, or the end of the connection."""
    small = [whole(item).replace(corpus.KEY, WRONG_KEY) for item in corpus.ITEMS if len(whole(item)) < 3000]
    small = [data for data in small if data]
    chance = random.Random(16889)
    bought = stage.bought()
    seen = await played(stage, [[damaged(chance.choice(small), chance)] for _ in range(1000)])
    statuses: dict[int, int] = {}
    for each in seen:
        assert each.is_over, each.raw
        for answer in each.answers:
            statuses[answer.status] = statuses.get(answer.status, 0) + 1
            assert answer.status < 500 or answer.status == 501, answer
    # All kinds of it: damage that is noticed and damage that is none.
    assert {200, 400, 401, 404} <= set(statuses), statuses
    assert stage.bought() == bought
    await stage.is_well()
    tasks, descriptors = await stage.settled()
    assert tasks <= stage.tasks
    assert descriptors <= stage.descriptors
