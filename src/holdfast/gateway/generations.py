"""`GET /v1/generations/{id}` and the images themselves."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

import msgspec

from holdfast.clock import Clock
from holdfast.config import Settings
from holdfast.config.objects import Serving
from holdfast.engine.core import InLine
from holdfast.engine.engine import Engine
from holdfast.engine.erasing import Eraser
from holdfast.engine.latencies import Latencies
from holdfast.errors import RequestError, StorageError
from holdfast.gateway.answer import FilePieces
from holdfast.gateway.asked import Routes
from holdfast.gateway.auth import Authenticator, presented_key
from holdfast.gateway.beats import BeatWheel
from holdfast.gateway.bodies import expired
from holdfast.gateway.call import Call, Headers
from holdfast.gateway.delivery import finish_and_confirm
from holdfast.gateway.events import EventStreams
from holdfast.gateway.heads import served_name
from holdfast.gateway.images import Images
from holdfast.gateway.links import LinkMaker, Links, image_path
from holdfast.gateway.progress import progress_of
from holdfast.gateway.waits import Waits
from holdfast.generation import State
from holdfast.log import emit
from holdfast.policy.admission import storage_low
from holdfast.policy.prefer import parse_prefer
from holdfast.store.erasing import Erased, Erasing, ask_erase
from holdfast.store.listing import Wanted
from holdfast.store.records import AttemptRow, BlobRow, Record
from holdfast.types import Charge, worst_charge
from holdfast.wire.failures import is_retryable
from holdfast.wire.generations import (
    AttemptResource,
    Cost,
    ErrorResource,
    GenerationList,
    GenerationResource,
    ImageResource,
    Status,
    render_generation,
    render_list,
)
from holdfast.wire.generations_query import decode_list_query

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
Paid = Literal["no", "yes", "unknown"]


class Generations:
    """Serves records and images."""

    def __init__(
        self,
        *,
        engine: Engine,
        auth: Authenticator,
        settings: Settings,
        latencies: Latencies,
        links: LinkMaker,
        clock: Clock,
        images: Images,
        routes: Routes,
        wheel: BeatWheel,
        eraser: Eraser,
    ) -> None:
        self.waits = Waits(engine, waiting_max=settings.server.held_max)
        self._streams = EventStreams(
            engine=engine,
            auth=auth,
            settings=settings,
            latencies=latencies,
            waits=self.waits,
            wheel=wheel,
            clock=clock,
        )
        self._engine = engine
        self._eraser = eraser
        self._routes = routes
        self._auth = auth
        self._settings = settings
        self._latencies = latencies
        self._links = links
        self._clock = clock
        self._images = images

    async def get(self, call: Call, names: dict[str, str]) -> None:
        """Tell how a generation stands; with `Prefer: wait=N`, when it has ended or after N seconds."""
        key = await self._auth.authenticate(call)
        record = await self._record(names["id"], key_id=key.id)
        wait_s = parse_prefer(call.headers.get("prefer")).wait_s
        applied: Headers = []
        if wait_s is not None:
            applied.append((b"preference-applied", b"wait=%g" % wait_s))
            record = await self._awaited(call, record, wait_s)
            if call.has_left:
                return
        await call.json(200, render_generation(self._resource(record, self._links.for_call(call))), applied)

    def _resource(self, record: Record, links: Links) -> GenerationResource:
        in_line = self._engine.in_line(record.generation.id)
        return resource_of(record, links, self._latencies, self._clock, in_line=in_line)

    async def _awaited(self, call: Call, record: Record, wait_s: float) -> Record:
        """Wait for the end of a generation; a wish, so where too many wait already it is told as it stands."""
        until = call.received_at + wait_s
        id_ = record.generation.id
        if State(record.generation.state).is_final or self.waits.is_full:
            return record
        with self.waits.following(call, id_) as wait:
            while True:
                # Read after following: an end in between would be told to nobody.
                record = await self._record(id_, key_id=None)
                if State(record.generation.state).is_final or wait.is_over or not await wait.sleep(until):
                    return record

    async def list_own(self, call: Call, _: dict[str, str]) -> None:
        """List the key's own generations, newest first."""
        key = await self._auth.authenticate(call)
        query = decode_list_query(call.query)
        model = None if query.model is None else self._routes.model_of(query.model)
        wanted = Wanted(
            limit=query.limit,
            state=query.status,
            model=model,
            is_collected=query.collected,
            idempotency_key=query.idempotency_key,
            after=query.after,
        )
        page = await self._engine.page(key.id, wanted)
        if page is None:
            raise RequestError("after names no generation of this key.", param="after")
        links = self._links.for_call(call)
        data = tuple(self._resource(record, links) for record in page.records)
        told = GenerationList(
            data=data, has_more=page.has_more, first_id=data[0].id if data else None, last_id=page.last_id
        )
        await call.json(200, render_list(told))

    async def _record(self, generation_id: str, *, key_id: str | None) -> Record:
        record = await self._engine.record(generation_id)
        # Another key's generation is not found, as one that never was: ids are no secrets, their owners are.
        if record is None or (key_id is not None and record.generation.key_id != key_id):
            raise RequestError("There is no such generation.", code="generation_not_found", status=404)
        return record

    async def events(self, call: Call, names: dict[str, str]) -> None:
        """Stream what happens to a generation."""
        await self._streams.serve(call, names)

    async def cancel(self, call: Call, names: dict[str, str]) -> None:
        """Cancel a generation; where an attempt is in flight, buy nothing more. Asked twice, it is as asked once."""
        key = await self._auth.authenticate(call)
        id_ = names["id"]
        await self._record(id_, key_id=key.id)
        try:
            await self._engine.cancel(id_)
        except (StorageError, OSError) as exc:
            emit("storage.failed", level="error", generation_id=id_, message=str(exc))
            raise storage_low("does not take this request") from exc
        record = await self._record(id_, key_id=key.id)
        await call.json(200, render_generation(self._resource(record, self._links.for_call(call))))

    async def delete(self, call: Call, names: dict[str, str]) -> None:
        """Delete the images and the prompt of a generation now; the record stays. Asked twice, it is as asked once."""
        key = await self._auth.authenticate(call)
        await self._record(names["id"], key_id=key.id)
        await self.erase(names["id"])
        await call.start(204, [(b"cache-control", b"no-store, no-transform")])
        await call.finish()

    async def erase(self, generation_id: str, *, ask: Erasing = ask_erase) -> Erased | None:
        """Delete a generation's images and prompt, whoever's it is; None: there is no such one.

        Raises:
            RequestError: 409 `generation_open`, 503 `storage_low`.
        """
        try:
            return await self._eraser.erase(generation_id, ask=ask)
        except (StorageError, OSError) as exc:
            emit("storage.failed", level="error", generation_id=generation_id, message=str(exc))
            raise storage_low("does not take this request") from exc

    async def own_image(self, key_id: str, generation_id: str, index: int, *, where: str) -> BlobRow:
        """Find an image that a key's own generation made, to start another one from.

        Raises:
            RequestError: 404 `generation_not_found`, or 410 `image_expired`; `param` is `where`.
        """
        record = await self._engine.record(generation_id)
        if record is None or record.generation.key_id != key_id:
            raise RequestError(
                f"{where}: there is no such generation.", code="generation_not_found", status=404, param=where
            )
        images = shown_images(record)
        if index >= len(images):
            raise RequestError(
                f"{where}: this generation has {len(images)} images, numbered from 0.",
                code="generation_not_found",
                status=404,
                param=where,
            )
        if images[index].state != "stored":
            raise expired(where)
        return images[index]

    async def image(self, call: Call, names: dict[str, str]) -> None:
        """Send an image: signed link or key, Range and ETag honoured."""
        path = _path_of(names)
        signed = self._links.signer.is_valid(path, call.query, now_unix_s=self._clock.now().timestamp())
        key_id = None if signed else await self._key_of(call)
        redirects = self._settings.objects.serve is Serving.REDIRECT
        blob, sent = await self._show(call, names, key_id, redirects=redirects)
        if sent is None or not await finish_and_confirm(call, within_s=self._settings.server.body_stall_s):
            return
        if not sent.is_part and blob.kind != "draft":
            await self._engine.answered(names["id"], with_image=True, image_id=blob.id, images=1)

    async def look(self, call: Call, names: Mapping[str, str]) -> None:
        """Send an image of any key's to somebody who only looks: it is not collected by that."""
        _, sent = await self._show(call, names, None)
        if sent is not None:
            await call.finish()

    async def _show(
        self, call: Call, names: Mapping[str, str], key_id: str | None, *, redirects: bool = False
    ) -> tuple[BlobRow, Span | None]:
        generation_id, index = names["id"], names["index"]
        record = await self._record(generation_id, key_id=key_id)
        images = shown_images(record)
        if not _path_of(names) or int(index) >= len(images):
            raise RequestError(
                f"This generation has {len(images)} images, numbered from 0.", code="generation_not_found", status=404
            )
        blob = images[int(index)]
        if redirects and blob.state == "stored" and call.method != "HEAD":
            address = await self._images.address_of(blob, self._settings.objects.link_s)
            if address is not None:
                await _redirect(call, address)
                return blob, None
        suffix = blob.store_key.rpartition("/")[2].rpartition(".")[2]
        with await self._opened(blob, record.generation.deleted_at) as pieces:
            return blob, await self._send(call, pieces, blob, f"{generation_id}-{index}.{suffix}")

    async def _opened(self, blob: BlobRow, deleted_at: str | None) -> FilePieces:
        """Open an image before its head is sent: once that is said, one that is deleted meanwhile still arrives.

        Raises:
            RequestError: 410, it is gone; 503, what keeps it does not answer.
        """
        # Where the file is gone and the record not told of it, the answer is the same.
        with contextlib.suppress(FileNotFoundError):
            if blob.state == "stored":
                return await self._images.open(blob)
        why = "its retention ended." + ("" if blob.delete_after is None else f" It was kept until {blob.delete_after}.")
        if deleted_at is not None:
            why = f"that was asked for at {deleted_at}."
        raise RequestError(
            f"The image has been deleted: {why} The generation's record stays.",
            code="image_expired",
            status=410,
        )

    async def _key_of(self, call: Call) -> str:
        if "sig" in call.query and presented_key(call) is None:
            raise RequestError(
                "The link is not valid or has expired. Get a fresh one from the generation.",
                code="invalid_api_key",
                status=401,
            )
        return (await self._auth.authenticate(call)).id

    async def _send(self, call: Call, pieces: FilePieces, blob: BlobRow, name: str) -> Span | None:
        """Send what was asked for; give the bytes of the image whose end is still to be sent, None when all is said."""
        etag = f'"{blob.sha256}"'
        headers: Headers = [
            (b"content-type", blob.mime.encode()),
            (b"etag", etag.encode()),
            (b"accept-ranges", b"bytes"),
            (b"cache-control", b"private, immutable, max-age=86400"),
            (b"x-content-type-options", b"nosniff"),
            (b"content-security-policy", b"sandbox; default-src 'none'"),
            (b"content-disposition", f'inline; filename="{name}"'.encode()),
        ]
        if _matches(call.headers.get("if-none-match"), etag):
            await call.start(304, headers)
            await call.finish()
            return None
        # Range is defined for GET only (RFC 9110 §14.2): HEAD tells of the whole.
        span = wanted_range({} if call.method == "HEAD" else call.headers, blob.bytes, etag)
        if span is None:
            headers.append((b"content-range", b"bytes */%d" % blob.bytes))
            await call.respond(416, b"", b"text/plain", headers[1:])
            return None
        if span.is_part:
            headers.append((b"content-range", b"bytes %d-%d/%d" % (span.first, span.last, blob.bytes)))
        headers.append((b"content-length", b"%d" % span.length))
        await call.start(206 if span.is_part else 200, headers)
        if call.method == "HEAD":
            await call.finish()
            return None
        call.protocol.set_user_timeout(self._settings.server.body_stall_s)
        await _write_span(call, pieces, span)
        return None if call.has_left else span


def _path_of(names: Mapping[str, str]) -> str:
    """The path of an image that a call names, which a signature covers; empty where that is no number."""
    index = names["index"]
    is_number = index.isascii() and index.isdigit() and len(index) < 4
    return image_path(names["id"], int(index)) if is_number else ""


async def _redirect(call: Call, address: str) -> None:
    """Send somebody to where the image lies; it counts as not collected, since nobody here sees it arrive."""
    headers: Headers = [
        (b"location", address.encode()),
        (b"content-length", b"0"),
        # The address is as good as a key for a while: no cache on the way is to give it to others.
        (b"cache-control", b"private, no-store"),
        (b"referrer-policy", b"no-referrer"),
    ]
    await call.start(307, headers)
    await call.finish()


async def _write_span(call: Call, pieces: FilePieces, span: Span) -> None:
    left = span.length
    pieces.seek(span.first)
    while left and (piece := await pieces.read(left)):
        left -= len(piece)
        await call.write(bytes(piece))
        if call.has_left:
            return


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The bytes of a file that are sent."""

    first: int
    last: int
    is_part: bool

    @property
    def length(self) -> int:
        """How many they are."""
        return self.last - self.first + 1


def wanted_range(headers: dict[str, str], size: int, etag: str) -> Span | None:
    """Read `Range` and `If-Range`; None when it cannot be satisfied.

    Several ranges are answered whole, as RFC 9110 §14.2 allows.
    """
    whole = Span(first=0, last=size - 1, is_part=False)
    match = _RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    if match is None or headers.get("if-range", etag) != etag:
        return whole
    first, last = match.groups()
    if len(first) > 18 or len(last) > 18 or (not first and not last):
        return whole
    if not first:
        length = min(int(last), size)
        return Span(first=size - length, last=size - 1, is_part=True) if length else None
    start, end = int(first), min(int(last), size - 1) if last else size - 1
    if start >= size:
        return None
    return whole if end < start else Span(first=start, last=end, is_part=True)


def _matches(header: str | None, etag: str) -> bool:
    if header is None:
        return False
    return header.strip() == "*" or etag in {each.strip().removeprefix("W/") for each in header.split(",")}


def shown_images(record: Record) -> tuple[BlobRow, ...]:
    """Results first, as `data[]` numbers them, then drafts and late ones."""
    return (*record.results, *record.drafts())


def resource_of(
    record: Record, links: Links, latencies: Latencies, clock: Clock, *, in_line: InLine | None = None
) -> GenerationResource:
    """Make the status resource; `in_line` is of a part that waits for its place, whatever the others do."""
    row = record.generation
    stands = in_line if row.state == State.QUEUED else None
    told = row.told
    results = record.results
    images = [_image(record, links, index, blob) for index, blob in enumerate(shown_images(record))]
    return GenerationResource(
        id=row.id,
        status=cast(Status, row.state),
        sequence_number=row.sequence_number,
        model=row.model,
        size=row.tier,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        queue_position=None if stands is None else stands.position,
        estimated_start_s=None if stands is None else round(stands.estimate_s, 1),
        progress=None if row.finished_at else progress_of(row, latencies, clock.now(), in_line=stands),
        paid=worst_charge(Charge(attempt.charge) for attempt in record.attempts).value,
        cost=Cost(
            held_micros=0 if row.finished_at else row.held_micros,
            charged_micros=row.charged_micros,
            compensated_micros=row.compensated_micros,
            currency=row.currency,
        ),
        attempts=tuple(_attempt(attempt) for attempt in record.attempts),
        images=tuple(images[: len(results)]),
        drafts=tuple(images[len(results) :]),
        error=None
        if told is None
        else ErrorResource(
            code=told.code,
            message=told.message,
            paid=told.charge.value,
            retryable=is_retryable(told.code, told.charge),
        ),
        partial_result=bool(row.partial_result),
        served_by=served_name(record),
        late=bool(row.late),
        cancel_requested=bool(row.cancel_requested),
        metadata=None if row.metadata is None else msgspec.json.decode(row.metadata),
        deleted_at=row.deleted_at,
    )


def _attempt(row: AttemptRow) -> AttemptResource:
    return AttemptResource(
        number=row.number,
        upstream=row.upstream,
        model=row.model,
        status=row.state,
        charge=cast(Paid, row.charge),
        started_at=row.sent_at,
        ended_at=row.ended_at,
        part=row.part,
    )


def _image(record: Record, links: Links, index: int, blob: BlobRow) -> ImageResource:
    url = links.of(record.generation.id, index, blob)
    return ImageResource(
        index=index,
        url=url,
        mime=blob.mime,
        bytes=blob.bytes,
        sha256=blob.sha256,
        width=blob.width_px,
        height=blob.height_px,
        expires_at=None if url is None else blob.delete_after,
        size_differs=f"{blob.width_px}x{blob.height_px}" != record.generation.size,
    )
