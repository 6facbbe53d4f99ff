"""Absolute, signed links to images, for whoever a caller says it reached us as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network

from holdfast.clock import Clock, from_rfc3339
from holdfast.config import Settings
from holdfast.gateway.call import Call, effective_scheme, is_trusted
from holdfast.store.records import BlobRow
from holdfast.store.signing import Signer

LINK_LIFE = timedelta(hours=24)


HOP_LINK_LIFE = timedelta(minutes=2)
"""A redirect is followed at once; a proxy that repeats a GET may do so while it is held."""


def image_path(generation_id: str, index: int) -> str:
    """The path of an image; its signature covers it."""
    return f"/v1/generations/{generation_id}/images/{index}"


def result_path(generation_id: str) -> str:
    """The path at which a caller goes on waiting who was sent on from its POST."""
    return f"/v1/generations/{generation_id}/result"


@dataclass(frozen=True, slots=True, kw_only=True)
class Onward:
    """Where a caller is sent on to, and what is not to be forgotten on the way."""

    generation_id: str
    hop: int
    until: int | None = None
    """It outlasts whom it joined: up to this millisecond of the Unix clock. None: the generation's time is its own."""

    @property
    def signed(self) -> str:
        """What the signature covers."""
        until = "" if self.until is None else f"&until={self.until}"
        return f"{result_path(self.generation_id)}?hop={self.hop}{until}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Makes links for one call."""

    base_url: str
    signer: Signer
    now: datetime

    def of(self, generation_id: str, index: int, blob: BlobRow) -> str | None:
        """Give the link of an image; None once it has been deleted."""
        if blob.state != "stored":
            return None
        return self.base_url + self.signer.sign(
            image_path(generation_id, index), expires_unix_s=int(self.expires_at(blob).timestamp())
        )

    def expires_at(self, blob: BlobRow) -> datetime:
        """When the link ends: with the image, or after a day."""
        limit = self.now + LINK_LIFE
        return limit if blob.delete_after is None else min(limit, from_rfc3339(blob.delete_after))


class LinkMaker:
    """Knows the signer and the public address."""

    def __init__(self, settings: Settings, signer: Signer, clock: Clock) -> None:
        self.signer = signer
        self.trusted: tuple[IPv4Network | IPv6Network, ...] = tuple(
            ip_network(each) for each in settings.server.trusted_proxies
        )
        self._public_url = settings.server.public_url.rstrip("/")
        self._clock = clock

    def for_call(self, call: Call) -> Links:
        """Links as this caller can follow them."""
        return self.at(self.base_of(call))

    def at(self, base_url: str) -> Links:
        """Links under an address that `base_of` gave."""
        return Links(base_url=base_url, signer=self.signer, now=self._clock.now())

    def onward(self, onward: Onward, *, from_path: str) -> str:
        """Give the next redirect as a reference from where the caller is: whatever a proxy put before our paths stays.

        It carries a permission of its own: what stood in the query of the POST, as Google's callers have their key, is
        not carried along.
        """
        signature = self.signer.query(
            onward.signed, expires_unix_s=int((self._clock.now() + HOP_LINK_LIFE).timestamp())
        )
        return "../" * (from_path.count("/") - 1) + f"{onward.signed.removeprefix('/')}&{signature}"

    def is_onward(self, onward: Onward, query: Mapping[str, str]) -> bool:
        """Whether this is a redirect of ours, and still holds."""
        return self.signer.is_valid(onward.signed, query, now_unix_s=self._clock.now().timestamp())

    def base_of(self, call: Call) -> str:
        """Where this caller can reach us: `server.public_url`, else the Host it used. Needs the call's headers."""
        if self._public_url:
            return self._public_url
        host = call.headers.get("host", "localhost")
        if is_trusted(call.client, self.trusted):
            host = call.headers.get("x-forwarded-host", host).partition(",")[0].strip()
        return f"{effective_scheme(call, self.trusted)}://{host}"
