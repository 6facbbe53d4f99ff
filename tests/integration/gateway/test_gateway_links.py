"""Links to images: absolute as the caller reached us, signed for a day, with ranges and validators."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

from holdfast.clock import from_rfc3339
from holdfast.store.signing import Signer

TRUSTED = {"trusted_proxies": ["127.0.0.0/8"], "port": 0}


async def a_link(gateway: Any, **headers: str) -> str:
    """Make an image and give its link."""
    answer = await gateway.images(headers=headers)
    return str(answer.json["data"][0]["url"])


async def test_the_link_is_followable_as_printed(gateway: Any, upstream: Any) -> None:
    """No key is needed while the signature lives, and the address is the one that the caller used."""
    link = await a_link(gateway)
    assert link.startswith(gateway.running.base_url + "/v1/generations/gen_")
    assert (await gateway.ask("GET", link, headers={})).body == upstream.pictures[0]


async def test_the_link_uses_the_host_that_the_caller_named(gateway: Any) -> None:
    """A container is reached by another name than it knows of itself."""
    link = await a_link(gateway, Host="images.example:8080")
    assert link.startswith("http://images.example:8080/v1/generations/")


async def test_forwarded_headers_of_a_stranger_prove_nothing(gateway: Any) -> None:
    """Anyone can send them."""
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
    assert (await a_link(gateway, **forwarded)).startswith(gateway.running.base_url)


async def test_forwarded_headers_of_a_trusted_proxy_are_believed(start: Any) -> None:
    """Behind it, the link is the public one; the nearest hop's word comes first in a list."""
    gateway = await start(server=TRUSTED)
    link = await a_link(gateway, **{"X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "images.example, inner"})
    assert link.startswith("https://images.example/v1/generations/")


async def test_public_url_wins_over_everything(start: Any) -> None:
    """The operator knows."""
    gateway = await start(server={**TRUSTED, "public_url": "https://cdn.example/holdfast/"})
    link = await a_link(gateway, **{"X-Forwarded-Host": "images.example"})
    assert link.startswith("https://cdn.example/holdfast/v1/generations/")


async def test_an_image_says_what_it_is_and_runs_nothing(gateway: Any, upstream: Any) -> None:
    """It shares an origin with a console: sniffing and scripts are off, and it never changes."""
    link = await a_link(gateway)
    answer = await gateway.ask("GET", link, headers={})
    (blob,) = gateway.record(link.split("/")[5]).results
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["etag"] == f'"{blob.sha256}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"].startswith("private, immutable")
    assert answer.headers["content-disposition"].startswith("inline; filename=")
    assert answer.headers["accept-ranges"] == "bytes"


async def test_the_type_is_sniffed_and_not_taken_on_trust(gateway: Any, upstream: Any, a_png: Any) -> None:
    """An upstream that calls a PNG a web page is not believed."""

    async def script(asked: Any, reply: Any) -> None:
        document = asked.document(a_png())
        document["candidates"][0]["content"]["parts"][1]["inlineData"]["mimeType"] = "text/html"
        await reply.answer(document)

    upstream.script = script
    answer = await gateway.ask("GET", await a_link(gateway), headers={})
    assert answer.headers["content-type"] == "image/png"


async def test_a_range_is_cut_out(gateway: Any, upstream: Any) -> None:
    """A download that broke off goes on where it was."""
    link = await a_link(gateway)
    (picture,) = upstream.pictures
    size = len(picture)
    cases = {"0-9": (0, 9), "10-": (10, size - 1), "-7": (size - 7, size - 1), "5-999999999": (5, size - 1)}
    for asked, (first, last) in cases.items():
        answer = await gateway.ask("GET", link, headers={"Range": f"bytes={asked}"})
        assert answer.status == 206
        assert answer.body == picture[first : last + 1]
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{size}"


async def test_a_range_that_is_not_served_gives_the_whole(gateway: Any, upstream: Any) -> None:
    """Several ranges, and what is no range: RFC 9110 §14.2 lets a server ignore them."""
    link = await a_link(gateway)
    for asked in ("bytes=0-1,4-5", "bytes=9-3", "bytes=-", "lines=1-2", "bytes=a-b", f"bytes={'9' * 30}-"):
        answer = await gateway.ask("GET", link, headers={"Range": asked})
        assert (answer.status, answer.body) == (200, upstream.pictures[0])


async def test_a_range_beyond_the_end_is_416(gateway: Any, upstream: Any) -> None:
    """And says how long the image is."""
    link = await a_link(gateway)
    for asked in ("bytes=999999999-", "bytes=-0"):
        answer = await gateway.ask("GET", link, headers={"Range": asked})
        assert answer.status == 416
        assert answer.headers["content-range"] == f"bytes */{len(upstream.pictures[0])}"


async def test_if_range_asks_for_the_part_of_the_same_image_only(gateway: Any, upstream: Any) -> None:
    """Another validator gets the whole."""
    link = await a_link(gateway)
    etag = (await gateway.ask("GET", link, headers={})).headers["etag"]
    same = await gateway.ask("GET", link, headers={"Range": "bytes=0-3", "If-Range": etag})
    other = await gateway.ask("GET", link, headers={"Range": "bytes=0-3", "If-Range": '"other"'})
    assert (same.status, same.body) == (206, upstream.pictures[0][:4])
    assert (other.status, other.body) == (200, upstream.pictures[0])


async def test_an_image_that_the_caller_has_is_304(gateway: Any) -> None:
    """Without a body, and with the validator."""
    link = await a_link(gateway)
    etag = (await gateway.ask("GET", link, headers={})).headers["etag"]
    for condition in (etag, f'"x", W/{etag}', "*"):
        answer = await gateway.ask("GET", link, headers={"If-None-Match": condition})
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["etag"] == etag
    assert (await gateway.ask("GET", link, headers={"If-None-Match": '"x"'})).status == 200


async def test_head_tells_of_the_whole_and_sends_nothing(gateway: Any, upstream: Any) -> None:
    """A range is defined for GET only; the connection goes on."""
    link = urlsplit(await a_link(gateway))
    target = f"{link.path}?{link.query}"
    wire = await gateway.dial()
    for _ in range(2):
        await wire.send(f"HEAD {target} HTTP/1.1\r\nHost: x\r\nRange: bytes=0-3\r\n\r\n".encode())
        answer = await wire.head()
        assert answer.status == 200
        assert answer.headers["content-length"] == str(len(upstream.pictures[0]))
    await wire.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert (await wire.answer()).body == upstream.pictures[0]


async def test_collecting_is_noted_when_the_whole_has_arrived(gateway: Any) -> None:
    """Looking at the head, a part, or "not changed" is no collection."""
    answer = await gateway.images(response_format="url")
    link, id_ = answer.json["data"][0]["url"], answer.generation_id
    for method, headers in (("HEAD", {}), ("GET", {"Range": "bytes=0-3"}), ("GET", {"If-None-Match": "*"})):
        await gateway.ask(method, link, headers=headers)
    async with asyncio.timeout(5):
        # Notes are written a moment's worth at a time: the last one here would be in the same batch, or the one before.
        while gateway.record(id_).generation.answered_at is None:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    assert gateway.record(id_).generation.collected_at is None
    await gateway.ask("GET", link, headers={})
    async with asyncio.timeout(5):
        while gateway.record(id_).generation.collected_at is None:
            await asyncio.sleep(0.01)


async def test_each_image_is_collected_by_itself(gateway: Any) -> None:
    """Who fetched one of two has not had the other: both are kept until that is had too."""
    answer = await gateway.images(n=2, response_format="url")
    id_ = answer.generation_id
    first, second = (image["url"] for image in answer.json["data"])
    kept = gateway.record(id_).generation.purge_after
    await gateway.ask("GET", first, headers={})
    await gateway.idle()
    assert gateway.record(id_).generation.collected_at is not None
    assert gateway.record(id_).generation.purge_after == kept
    await gateway.ask("GET", second, headers={})
    await gateway.idle()
    row = gateway.record(id_).generation
    assert row.purge_after is not None
    assert (from_rfc3339(row.purge_after) - from_rfc3339(row.finished_at)).total_seconds() == 86400
    (resource,) = {image["expires_at"] for image in (await gateway.resource(id_))["images"]}
    assert resource == row.purge_after


def changed(link: str, **values: str) -> str:
    """Change the query of a link."""
    query = {name: each[0] for name, each in parse_qs(urlsplit(link).query).items()}
    return link.partition("?")[0] + "?" + "&".join(f"{name}={value}" for name, value in {**query, **values}.items())


async def test_a_link_that_was_tampered_with_opens_nothing(gateway: Any) -> None:
    """The signature covers path, end and secret."""
    link = await a_link(gateway)
    other = await a_link(gateway)
    query = urlsplit(link).query
    forged = [
        changed(link, exp="99999999999"),
        changed(link, sig="A" * 43),
        changed(link, kid="2"),
        changed(link, sig=""),
        f"{other.partition('?')[0]}?{query}",
        f"{link.partition('?')[0]}",
    ]
    for each in forged:
        answer = await gateway.ask("GET", each, headers={})
        assert answer.status == 401, each
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["code"] == "invalid_api_key"


async def test_a_link_ends(gateway: Any) -> None:
    """After its time it opens nothing, whoever signed it."""
    path = urlsplit(await a_link(gateway)).path
    signer = Signer(secrets=(("1", gateway.folder.secret),))
    now = int(gateway.core.clock.now().timestamp())
    assert (await gateway.ask("GET", signer.sign(path, expires_unix_s=now + 60), headers={})).status == 200
    assert (await gateway.ask("GET", signer.sign(path, expires_unix_s=now - 1), headers={})).status == 401


async def test_the_key_opens_its_own_images_without_a_signature(gateway: Any, upstream: Any) -> None:
    """`/images/{n}` is an endpoint as any other."""
    path = urlsplit(await a_link(gateway)).path
    assert (await gateway.ask("GET", path)).body == upstream.pictures[0]
    refused = await gateway.ask("GET", path, headers={})
    assert refused.status == 401
    assert refused.headers["www-authenticate"].startswith("Bearer")


async def test_another_keys_generation_is_not_found(gateway: Any) -> None:
    """Record and image alike: ids are no secrets, their owners are."""
    answer = await gateway.images()
    stranger = {"Authorization": f"Bearer {await gateway.another_key()}"}
    path = f"/v1/generations/{answer.generation_id}"
    unknown = "/v1/generations/gen_00000000000000000000000000"
    for theirs, nobodys in ((path, unknown), (f"{path}/images/0", f"{unknown}/images/0")):
        refused = await gateway.ask("GET", theirs, headers=stranger)
        same = await gateway.ask("GET", nobodys, headers=stranger)
        assert (refused.status, refused.json["code"]) == (404, "generation_not_found")
        assert refused.json == same.json


async def test_an_image_that_is_not_there_is_404(gateway: Any) -> None:
    """Whatever stands in place of its number."""
    answer = await gateway.images()
    for index in ("1", "-1", "x", "0x0", "99999", "%31", "٠"):
        missing = await gateway.ask("GET", f"/v1/generations/{answer.generation_id}/images/{index}")
        assert (missing.status, missing.json["code"]) == (404, "generation_not_found")


async def test_an_image_that_was_deleted_is_gone(gateway: Any, upstream: Any) -> None:
    """410, and nothing is bought to replace it."""
    answer = await gateway.images()
    (blob,) = gateway.record(answer.generation_id).results
    (gateway.data / blob.store_key).unlink()
    gone = await gateway.ask("GET", answer.json["data"][0]["url"], headers={})
    assert (gone.status, gone.json["code"]) == (410, "image_expired")
    assert len(upstream.asked) == 1
