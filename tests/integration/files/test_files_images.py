"""`GET /v1/generations/{id}/images/{n}` from real files: who may, what comes, and what is noted of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from holdfast.config import Settings
from holdfast.engine.latencies import Latencies
from holdfast.errors import RequestError
from holdfast.gateway.app import App, endpoint
from holdfast.gateway.asked import Routes
from holdfast.gateway.auth import presented_key
from holdfast.gateway.call import Call
from holdfast.gateway.generations import Generations
from holdfast.gateway.images import Images
from holdfast.gateway.links import LinkMaker, image_path
from holdfast.store.blobs import LocalBlobs
from holdfast.store.records import KeyRow, Record
from holdfast.store.signing import Signer
from holdfast.types import Surface

DATA = bytes(range(256)) * 2000
SIGNER = Signer(secrets=(("k1", b"secret"),))
MINE, THEIRS = {"authorization": "Bearer key_1"}, {"authorization": "Bearer key_2"}


class FakeEngine:
    """Has one record, and notes what was collected."""

    def __init__(self, record: Record) -> None:
        self.kept = record
        self.collected: list[tuple[str, bool, str | None]] = []

    async def record(self, generation_id: str) -> Record | None:
        """Look up."""
        return self.kept if generation_id == self.kept.generation.id else None

    def in_line(self, generation_id: str) -> None:
        """Nowhere: it has ended."""

    async def answered(
        self, generation_id: str, *, with_image: bool, image_id: str | None = None, images: int = 0
    ) -> None:
        """Note."""
        assert images == int(with_image)
        self.collected.append((generation_id, with_image, image_id))


class FakeAuth:
    """Takes every key, whose id is its text."""

    async def authenticate(self, call: Call, _: object = None) -> KeyRow:
        """Let in."""
        key = presented_key(call)
        if key is None:
            raise RequestError("No API key was given.", code="invalid_api_key", status=401)
        return KeyRow(id=key, label="", created_at="")


@pytest.fixture
def gate(
    tmp_path: Path, a_record: Any, a_blob: Any, a_caller: Any, a_clock: Any, settings_of: Callable[..., Settings]
) -> Any:
    """An application with one generation of two images, the second one a draft."""
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/one.png").write_bytes(DATA)
    (tmp_path / "blobs/two.jpg").write_bytes(b"draft")
    blobs = [
        a_blob(id="img_d", kind="draft", store_key="blobs/two.jpg", bytes=5, mime="image/jpeg", sha256="d" * 64),
        a_blob(position=1, bytes=len(DATA)),
    ]
    engine = FakeEngine(a_record(blobs=blobs))
    settings = settings_of()
    generations = Generations(
        engine=cast(Any, engine),
        auth=cast(Any, FakeAuth()),
        settings=settings,
        links=LinkMaker(settings, SIGNER, a_clock),
        clock=a_clock,
        images=Images(cast(Any, SimpleNamespace(blobs=LocalBlobs(tmp_path)))),
        routes=Routes(settings),
        wheel=cast(Any, None),
        latencies=Latencies(settings.latency, a_clock),
        eraser=cast(Any, None),
    )
    app = App(
        [
            endpoint("GET", "/v1/generations/{id}", Surface.GENERATIONS, generations.get),
            endpoint("GET", "/v1/generations/{id}/images/{index}", Surface.GENERATIONS, generations.image),
        ],
        clock=a_clock,
        body_bytes_max=0,
    )

    async def ask(path: str = image_path("gen_1", 0), *, method: str = "GET", **more: Any) -> Any:
        caller = a_caller(method, path, **more)
        await app(caller.scope, caller.receive, caller.send)
        return caller

    def signed(index: int = 0, life_s: int = 60) -> dict[str, str]:
        expires = int(a_clock.at.timestamp()) + life_s
        query = SIGNER.sign(image_path("gen_1", index), expires_unix_s=expires).partition("?")[2]
        return dict(part.split("=", 1) for part in query.split("&"))

    return SimpleNamespace(
        ask=ask, engine=engine, signed=signed, clock=a_clock, root=tmp_path, caller=a_caller, app=app
    )


@pytest.mark.parametrize("way", ["key", "link"])
async def test_an_image_comes_whole_by_key_or_by_link(gate: Any, way: str) -> None:
    """Byte for byte, with its hash as ETag; its end was acknowledged, so it counts as collected."""
    caller = await gate.ask(**({"headers": MINE} if way == "key" else {"query": gate.signed()}))
    assert (caller.status, caller.body, caller.is_answered) == (200, DATA, True)
    assert caller.headers["content-type"] == "image/png"
    assert caller.headers["etag"] == '"' + "5" * 64 + '"'
    assert int(caller.headers["content-length"]) == len(DATA)
    assert caller.headers["accept-ranges"] == "bytes"
    assert gate.engine.collected == [("gen_1", True, "img_1")]


async def test_an_image_is_served_so_that_it_can_do_nothing(gate: Any) -> None:
    """It shares its origin with pages: its type is not guessed at, and it may run and load nothing."""
    headers = (await gate.ask(headers=MINE)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert headers["content-disposition"] == 'inline; filename="gen_1-0.png"'
    assert headers["cache-control"].startswith("private, immutable")


async def test_drafts_have_the_numbers_after_the_results(gate: Any) -> None:
    """As the status resource lists them; whoever looks at one has not collected what was asked for."""
    caller = await gate.ask(image_path("gen_1", 1), headers=MINE)
    assert (caller.body, caller.headers["content-type"]) == (b"draft", "image/jpeg")
    assert caller.headers["content-disposition"] == 'inline; filename="gen_1-1.jpg"'
    assert gate.engine.collected == []


@pytest.mark.parametrize(
    ("header", "status", "first", "last"),
    [("bytes=0-9", 206, 0, 9), ("bytes=-5", 206, len(DATA) - 5, len(DATA) - 1), ("bytes=100000-", 206, 100_000, None)],
)
async def test_a_part_comes_as_asked_and_is_not_the_collecting(
    gate: Any, header: str, status: int, first: int, last: int | None
) -> None:
    """A cut download goes on where it stopped; half an image is not had."""
    end = len(DATA) - 1 if last is None else last
    caller = await gate.ask(headers={**MINE, "range": header})
    assert (caller.status, caller.body) == (status, DATA[first : end + 1])
    assert caller.headers["content-range"] == f"bytes {first}-{end}/{len(DATA)}"
    assert int(caller.headers["content-length"]) == end - first + 1
    assert caller.is_answered
    assert gate.engine.collected == []


async def test_a_range_behind_the_end_is_416(gate: Any) -> None:
    """With the true length, and no image type on an empty body."""
    caller = await gate.ask(headers={**MINE, "range": f"bytes={len(DATA)}-"})
    assert (caller.status, caller.body) == (416, b"")
    assert caller.headers["content-range"] == f"bytes */{len(DATA)}"
    assert [name for name, _ in caller.sent[0]["headers"]].count(b"content-type") == 1


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ('"' + "5" * 64 + '"', 304),
        ('W/"' + "5" * 64 + '"', 304),
        ('"other", "' + "5" * 64 + '"', 304),
        ("*", 304),
        ('"other"', 200),
    ],
)
async def test_what_the_caller_has_is_not_sent_again(gate: Any, header: str, status: int) -> None:
    """The name of an image is its hash: it never changes."""
    caller = await gate.ask(headers={**MINE, "if-none-match": header})
    assert caller.status == status
    assert (caller.body == b"") is (status == 304)
    assert caller.is_answered


@pytest.mark.parametrize("extra", [{}, {"range": "bytes=0-9"}])
async def test_head_tells_of_the_whole_and_sends_nothing(gate: Any, extra: dict[str, str]) -> None:
    """Range is defined for GET only, RFC 9110 §14.2; nothing was collected."""
    caller = await gate.ask(method="HEAD", headers={**MINE, **extra})
    assert (caller.status, caller.body) == (200, b"")
    assert int(caller.headers["content-length"]) == len(DATA)
    assert "content-range" not in caller.headers
    assert gate.engine.collected == []


@pytest.mark.parametrize(
    "index", ["2", "99", "999", "1000", "-1", "x", "\u00b2", "\u0660", "0x0", "", "1e0", "9" * 5000]
)
async def test_an_image_that_is_not_there_is_404(gate: Any, index: str) -> None:
    """Whatever counts as a digit somewhere: the path decides, and never raises."""
    caller = await gate.ask(f"/v1/generations/gen_1/images/{index}", headers=MINE)
    assert caller.status == 404
    assert json.loads(caller.body)["paid"] == "no"


async def test_another_keys_generation_is_not_found(gate: Any) -> None:
    """Told exactly as one that never was: ids are no secrets, their owners are."""
    other = await gate.ask(headers=THEIRS)
    nobody = await gate.ask(image_path("gen_2", 0), headers=MINE)
    assert (other.status, nobody.status) == (404, 404)
    assert json.loads(other.body)["detail"] == json.loads(nobody.body)["detail"]
    for path in ("/v1/generations/gen_1", "/v1/generations/gen_2"):
        caller = await gate.ask(path, headers=THEIRS)
        assert (caller.status, json.loads(caller.body)["code"]) == (404, "generation_not_found")


@pytest.mark.parametrize("broken", ["exp", "kid", "sig", "late", "other image"])
async def test_a_link_that_is_not_ours_is_401_with_advice(gate: Any, broken: str) -> None:
    """Expired, tampered with, or of another image; the advice is to get a fresh one."""
    query = gate.signed()
    path = image_path("gen_1", 0)
    match broken:
        case "late":
            gate.clock.at += timedelta(seconds=61)
        case "other image":
            path = image_path("gen_1", 1)
        case _:
            query[broken] = query[broken][:-2] + ("11" if query[broken][-2:] != "11" else "22")
    caller = await gate.ask(path, query=query)
    assert (caller.status, caller.headers["content-type"]) == (401, "application/problem+json")
    assert "fresh one" in json.loads(caller.body)["detail"]


async def test_a_key_helps_where_the_link_has_expired(gate: Any) -> None:
    """Whoever owns the image gets it."""
    query = gate.signed(life_s=-1)
    assert (await gate.ask(query=query)).status == 401
    assert (await gate.ask(query=query, headers=MINE)).status == 200


@pytest.mark.parametrize("gone", ["row", "file"])
async def test_a_deleted_image_is_410(gate: Any, a_record: Any, a_blob: Any, gone: str) -> None:
    """Not 404: it was there, and nothing will bring it back."""
    if gone == "row":
        gate.engine.kept = a_record(blobs=[a_blob(state="deleted")])
    else:
        (gate.root / "blobs/one.png").unlink()
    caller = await gate.ask(headers=MINE)
    assert (caller.status, json.loads(caller.body)["code"]) == (410, "image_expired")
    assert gate.engine.collected == []


@pytest.mark.parametrize("state", ["deleting", "deleted"])
async def test_a_deleted_image_says_until_when_it_was_kept(gate: Any, a_record: Any, a_blob: Any, state: str) -> None:
    """By signed link and by key alike; from the moment it was marked, whether its file is still there or not."""
    gate.engine.kept = a_record(blobs=[a_blob(state=state, delete_after="2026-11-24T11:00:00.000Z")])
    for how in ({"headers": MINE}, {"query": gate.signed()}):
        caller = await gate.ask(**how)
        assert (caller.status, caller.headers["content-type"]) == (410, "application/problem+json")
        assert "until 2026-11-24T11:00:00.000Z" in json.loads(caller.body)["detail"]


async def test_an_image_that_is_deleted_while_it_is_sent_arrives_whole(gate: Any) -> None:
    """It was open before its head was said; the sweeper takes only its name."""
    caller = gate.caller("GET", image_path("gen_1", 0), headers=MINE)
    caller.on_write = lambda: (gate.root / "blobs/one.png").unlink(missing_ok=True)
    await gate.app(caller.scope, caller.receive, caller.send)
    assert (caller.status, caller.body, caller.is_answered) == (200, DATA, True)
    assert not (gate.root / "blobs/one.png").exists()


async def test_a_late_image_is_collected_like_a_result(gate: Any, a_record: Any, a_blob: Any) -> None:
    """It was paid for, and nobody had it before."""
    gate.engine.kept = a_record(state="cancelled", blobs=[a_blob(id="img_l", kind="late", bytes=len(DATA))])
    assert (await gate.ask(headers=MINE)).body == DATA
    assert gate.engine.collected == [("gen_1", True, "img_l")]


async def test_a_caller_that_leaves_in_mid_image_did_not_collect_it(gate: Any) -> None:
    """It may come back for the rest; the image is kept as long as one that nobody had."""
    caller = gate.caller("GET", image_path("gen_1", 0), headers=MINE)
    caller.on_write = caller.protocol.transport.close
    await gate.app(caller.scope, caller.receive, caller.send)
    assert len(caller.writes) == 1
    assert gate.engine.collected == []


async def test_bytes_that_were_never_acknowledged_are_not_collected(gate: Any) -> None:
    """Sent is not had."""
    caller = gate.caller("GET", image_path("gen_1", 0), headers=MINE)
    caller.protocol.unacknowledged = [100, None]
    await gate.app(caller.scope, caller.receive, caller.send)
    assert caller.is_answered
    assert gate.engine.collected == []


@pytest.mark.parametrize("extra", [{}, {"range": "bytes=0-9"}])
async def test_a_reader_that_pauses_is_given_the_time_of_a_body(
    gate: Any, settings_of: Any, extra: dict[str, str]
) -> None:
    """The short timeout for beats would cut a phone in a tunnel."""
    caller = await gate.ask(headers={**MINE, **extra})
    settings = settings_of()
    assert caller.protocol.user_timeouts_s == [settings.server.body_stall_s]


async def test_the_status_resource_links_to_what_is_served(gate: Any) -> None:
    """Its links are followed as they are."""
    caller = await gate.ask("/v1/generations/gen_1", headers={**MINE, "host": "gw:16888"})
    resource = json.loads(caller.body)
    url = resource["images"][0]["url"]
    assert url.startswith("http://gw:16888/v1/generations/gen_1/images/0?")
    query = dict(part.split("=", 1) for part in url.partition("?")[2].split("&"))
    assert (await gate.ask(query=query)).body == DATA
    assert caller.headers["cache-control"] == "no-store, no-transform"
