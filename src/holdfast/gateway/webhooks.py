"""`/v1/webhooks`: who is told of ends, with which secret, and how the telling went. A key sees its own only."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypeVar, cast

from holdfast.clock import Clock, rfc3339
from holdfast.config import Settings
from holdfast.engine.webhooks import Deliverer
from holdfast.errors import RequestError, StorageError
from holdfast.gateway.app import Endpoint, endpoint
from holdfast.gateway.auth import Authenticator
from holdfast.gateway.bodies import BodyReader
from holdfast.gateway.call import Call
from holdfast.log import emit
from holdfast.policy.addresses import AddressRules, Refused, destination_of
from holdfast.policy.admission import storage_low
from holdfast.policy.webhooks import ENDPOINTS_MAX, ROTATION_S, secret_of, spell_secret
from holdfast.store import webhooks as rows
from holdfast.store.port import Conn, Store
from holdfast.store.webhooks import DeliveryRow, EndpointRow
from holdfast.types import Surface
from holdfast.wire.webhooks import (
    DeliveryList,
    DeliveryResource,
    TryResource,
    WebhookList,
    WebhookResource,
    decode_new_webhook,
    render,
)

T = TypeVar("T")

DEFAULT = "default"
"""Stands for the id of the key's default, which signs for URLs that requests bring along."""
PAGE_MAX = 100
PAGE_USUAL = 20
State = Literal["pending", "delivered", "failed", "dead"]


class Webhooks:
    """Serves the routes."""

    def __init__(
        self,
        *,
        store: Store,
        auth: Authenticator,
        bodies: BodyReader,
        deliverer: Deliverer,
        settings: Settings,
        clock: Clock,
        secret: bytes,
    ) -> None:
        self._store = store
        self._auth = auth
        self._bodies = bodies
        self._deliverer = deliverer
        self._rules = AddressRules.of(settings.webhooks)
        self._clock = clock
        self._secret = secret

    def endpoints(self) -> list[Endpoint]:
        """Everything that is served."""
        return [
            endpoint("GET", "/v1/webhooks", Surface.GENERATIONS, self._list),
            endpoint("POST", "/v1/webhooks", Surface.GENERATIONS, self._create),
            endpoint("DELETE", "/v1/webhooks/{id}", Surface.GENERATIONS, self._delete),
            endpoint("POST", "/v1/webhooks/{id}/rotate", Surface.GENERATIONS, self._rotate),
            endpoint("GET", "/v1/webhooks/{id}/deliveries", Surface.GENERATIONS, self._deliveries),
            endpoint("POST", "/v1/webhooks/deliveries/{id}/redeliver", Surface.GENERATIONS, self._redeliver),
        ]

    def checked_url(self, url: str, param: str) -> str:
        """Give a URL back that webhooks may go to, as far as it tells by itself; also for those of requests.

        Raises:
            RequestError: 400, saying why not; `param` names the field.
        """
        destination = destination_of(url, self._rules)
        if isinstance(destination, Refused):
            raise RequestError(f"{param} {destination.reason}.", param=param)
        return url

    def expect(self) -> None:
        """Look for what is to be told from now on: a request has brought a URL along."""
        self._deliverer.expect()

    async def _list(self, call: Call, _: dict[str, str]) -> None:
        key = await self._auth.authenticate(call)
        found = await self._store.read(rows.endpoints_of, key.id)
        await call.json(200, render(WebhookList(object="list", data=tuple(_webhook(row) for row in found))))

    async def _create(self, call: Call, _: dict[str, str]) -> None:
        key = await self._auth.authenticate(call)
        body = await self._bodies.read_json(call, lambda _path: False)
        new = decode_new_webhook(body.skeleton)
        row = EndpointRow(
            id=self._clock.new_id("whk"),
            key_id=key.id,
            url=self.checked_url(new.url, "url"),
            secret_number=1,
            previous_until=None,
            created_at=rfc3339(self._clock.now()),
            disabled_at=None,
            reason=None,
        )
        was_made = await self._write(
            partial(rows.insert_endpoint, endpoint_id=row.id, key_id=key.id, url=new.url, created_at=row.created_at)
        )
        if not was_made:
            raise RequestError(f"A key has at most {ENDPOINTS_MAX} webhooks. Delete one first.")
        self._deliverer.expect()
        location = (b"location", f"/v1/webhooks/{row.id}".encode())
        await call.json(201, render(self._with_secret(row)), (location,))

    async def _delete(self, call: Call, names: dict[str, str]) -> None:
        key = await self._auth.authenticate(call)
        at = rfc3339(self._clock.now())
        if not await self._write(lambda conn: rows.delete_endpoint(conn, key.id, names["id"], at)):
            raise _not_found()
        self._deliverer.expect(leftovers=True)
        await call.start(204, [(b"cache-control", b"no-store, no-transform")])
        await call.finish()

    async def _rotate(self, call: Call, names: dict[str, str]) -> None:
        key = await self._auth.authenticate(call)
        now = self._clock.now()
        row = await self._write(
            partial(
                rows.rotate_endpoint,
                key_id=key.id,
                endpoint_id=None if names["id"] == DEFAULT else names["id"],
                new_id=self._clock.new_id("whk"),
                at=rfc3339(now),
                previous_until=rfc3339(now + timedelta(seconds=ROTATION_S)),
            )
        )
        if row is None:
            raise _not_found()
        self._deliverer.expect()
        await call.json(200, render(self._with_secret(row)))

    async def _deliveries(self, call: Call, names: dict[str, str]) -> None:
        key = await self._auth.authenticate(call)
        limit = _limit(call)
        name = None if names["id"] == DEFAULT else names["id"]
        endpoint_row = await self._store.read(rows.get_endpoint, key.id, name)
        if endpoint_row is None:
            raise _not_found()
        found = await self._store.read(
            rows.deliveries_of, endpoint_row.id, before=call.query.get("after"), most=limit + 1
        )
        page = DeliveryList(
            object="list", data=tuple(_delivery(row) for row in found[:limit]), has_more=len(found) > limit
        )
        await call.json(200, render(page))

    async def _redeliver(self, call: Call, names: dict[str, str]) -> None:
        key = await self._auth.authenticate(call)
        at = rfc3339(self._clock.now())
        row = await self._write(lambda conn: rows.redeliver(conn, key.id, names["id"], at))
        if row is None:
            raise RequestError("There is no such delivery.", code="webhook_not_found", status=404)
        if row.state != "pending":
            raise RequestError("Its webhook is disabled: the receiver answered 410. Make a new webhook.")
        self._deliverer.expect()
        await call.json(202, render(_delivery(row)))

    async def _write(self, function: Callable[[Conn], T]) -> T:
        try:
            return await self._store.write(function)
        except StorageError as exc:
            emit("storage.failed", level="error", message=str(exc))
            raise storage_low("does not take this request") from exc

    def _with_secret(self, row: EndpointRow) -> WebhookResource:
        secret = spell_secret(secret_of(self._secret, row.id, row.secret_number))
        return _webhook(row, secret=secret, previous_secret_until=row.previous_until)


def _not_found() -> RequestError:
    # Another key's is not found, as one that never was.
    return RequestError("There is no such webhook.", code="webhook_not_found", status=404)


def _limit(call: Call) -> int:
    text = call.query.get("limit", str(PAGE_USUAL))
    if not (text.isascii() and text.isdigit() and len(text) < 4 and 1 <= int(text) <= PAGE_MAX):
        raise RequestError(f"limit must be a whole number from 1 to {PAGE_MAX}.", param="limit")
    return int(text)


def _webhook(row: EndpointRow, **secrets: Any) -> WebhookResource:
    return WebhookResource(
        id=row.id,
        object="webhook",
        url=row.url,
        created_at=row.created_at,
        disabled_at=row.disabled_at,
        disabled_reason=row.reason,
        **secrets,
    )


def _delivery(row: DeliveryRow) -> DeliveryResource:
    return DeliveryResource(
        id=row.id,
        object="webhook.delivery",
        webhook_id=row.endpoint_id,
        generation_id=row.generation_id,
        drive=row.drive,
        type=row.type,
        state=cast(State, row.state),
        tries=row.tries,
        next_at=row.next_at,
        last_status=row.last_status,
        last_error=row.last_error,
        created_at=row.created_at,
        ended_at=row.ended_at,
        log=tuple(TryResource(**entry) for entry in row.logged),
    )
