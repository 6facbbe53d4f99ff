"""Several servers behind one host: a client for SDKs knows them apart."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

import holdfast

ULID = "01J9Z3NDEKTSV4RRFFQ69G5FAV"
MADE = {
    "content-type": "application/json",
    "generation-id": f"gen_{ULID}",
    "x-request-id": f"req_{ULID}",
}
IMAGE = b'{"created": 1, "data": [{"b64_json": "aW1hZ2U="}]}'


@pytest.fixture(params=["httpx2", "httpx"])
def http(request: pytest.FixtureRequest) -> Any:
    """Give either library."""
    return importlib.import_module(request.param)


def test_two_servers_behind_one_host_are_two(http: Any) -> None:
    """A proxy leads one path to holdfast and another to a relay: what is known of the one says nothing of the other."""
    posts: list[str] = []

    def answer(request: Any) -> Any:
        if request.method == "GET":
            return http.Response(404)
        posts.append(request.url.path)
        if request.url.path.startswith("/relay"):
            raise http.ReadError("cut")
        return http.Response(200, headers=MADE, content=IMAGE)

    with holdfast.httpx_client(library=http.__name__, transport=http.MockTransport(answer), trust_env=False) as client:
        client.post("http://there/gateway/v1/images/generations", json={}).raise_for_status()
        with pytest.raises(http.ReadError):
            client.post("http://there/relay/v1/images/generations", json={})
    assert posts == ["/gateway/v1/images/generations", "/relay/v1/images/generations"]
