"""`/admin/v1/generations/{id}/images/{index}/thumbnail`: what lists of images are made of, a few KB each."""

from __future__ import annotations

from collections.abc import Mapping

from holdfast.engine.core import Core
from holdfast.engine.engine import Engine
from holdfast.engine.thumbnails import MIME, WIDTHS, NoThumbnail
from holdfast.errors import RequestError
from holdfast.gateway.admin.framework import SECURITY, AdminCall, Parameter, Served, Spec
from holdfast.gateway.call import CallerLeft, Headers
from holdfast.gateway.generations import shown_images
from holdfast.store.records import BlobRow

RETRY_AFTER_S = 5.0
_WIDTHS = tuple(map(str, WIDTHS))
_INDEX_CHARS_MAX = 3

GET_THUMBNAIL = Spec(
    "GET",
    "/admin/v1/generations/{id}/images/{index}/thumbnail",
    "getThumbnail",
    "One of its images made small, as WebP; looking collects nothing. ETag is honoured",
    media="image/webp",
    parameters=(
        Parameter(
            name="width",
            means="Pixels that it has at most, and twice as many in height; by itself, the least.",
            schema={"type": "integer", "enum": list(WIDTHS), "default": WIDTHS[0]},
        ),
    ),
    codes=("generation_not_found", "not_found", "image_expired", "overloaded"),
)
SPECS = (GET_THUMBNAIL,)


class ThumbnailsPage:
    """Serves them."""

    def __init__(self, core: Core, engine: Engine) -> None:
        self._core = core
        self._engine = engine

    def served(self) -> tuple[Served, ...]:
        """The endpoint."""
        return (GET_THUMBNAIL.by(self._thumbnail),)

    async def _thumbnail(self, asked: AdminCall) -> None:
        call = asked.call
        width = int(asked.word("width", _WIDTHS) or WIDTHS[0])
        blob = await self._blob(asked.names)
        # The image never changes, and so neither does what is made of it.
        etag = f'"{blob.sha256}-{width}"'.encode()
        headers: Headers = [(b"etag", etag), (b"cache-control", b"private, immutable, max-age=86400"), *SECURITY]
        if call.headers.get("if-none-match", "").encode("latin-1") == etag:
            await call.start(304, headers)
            await call.finish()
            return
        try:
            picture = await self._core.thumbnails.of(
                blob.store_key, width, sha256=blob.sha256, is_wanted=lambda: not call.has_left
            )
        except NoThumbnail as exc:
            if call.has_left:
                raise CallerLeft from exc
            raise _told(exc) from exc
        await call.respond(200, picture, MIME, headers)

    async def _blob(self, names: Mapping[str, str]) -> BlobRow:
        record, index = await self._engine.record(names["id"]), names["index"]
        if record is None:
            raise RequestError("There is no such generation.", code="generation_not_found", status=404)
        images = shown_images(record)
        is_number = index.isascii() and index.isdigit() and len(index) <= _INDEX_CHARS_MAX
        if not is_number or int(index) >= len(images):
            raise RequestError(
                f"This generation has {len(images)} images, numbered from 0.", code="generation_not_found", status=404
            )
        blob = images[int(index)]
        if blob.state != "stored":
            raise RequestError(
                "The image has been deleted: its retention ended. The generation's record stays.",
                code="image_expired",
                status=410,
            )
        return blob


def _told(exc: NoThumbnail) -> RequestError:
    match exc.why:
        case "crowded":
            message = "Too many images are being made small at this moment."
            return RequestError(message, code="overloaded", status=503, retry_after_s=RETRY_AFTER_S)
        case "unavailable":
            message = "No image is made small here: install Pillow (pip install 'holdfast[convert]'). Ask for it whole."
        case "impossible":
            message = "This image could not be made small; ask for it whole."
    return RequestError(message, code="not_found", status=404)
