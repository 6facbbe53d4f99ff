"""What a caller wants drawn, and the HTTP requests that this becomes. Values in, values out.

Pure: no I/O, clock or randomness.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from holdfast.client.address import Address
from holdfast.errors import RequestError
from holdfast.types import InputImage

IMAGES_MAX = 14
INPUT_BYTES_MAX = 50 << 20
MODEL_DEFAULT = "nano-banana-pro"
_KEY = re.compile(r"[\x21\x23-\x7e]{1,255}")
# Deterministic, so that every repeat of a call is the same bytes; long enough to stand in no picture.
_BOUNDARY = b"holdfast-7c1f0e5b9a3d42e6b8d4c2a90f6e3b51"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image to start from."""

    data: bytes
    mime: str
    sha256: str
    width_px: int
    height_px: int

    def __repr__(self) -> str:
        return f"<Picture {self.mime} {len(self.data)} bytes>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One logical call: everything that makes its bytes, whatever server it goes to."""

    prompt: str
    model: str | None = None
    size: str | None = None
    aspect_ratio: str | None = None
    n: int = 1
    pictures: tuple[Picture, ...] = ()
    mask: Picture | None = None
    fields: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Further members of an OpenAI-shaped body, as given: `quality`, `output_format`, `user`."""
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Further headers, as given."""

    def __repr__(self) -> str:
        # The prompt belongs in no log and no traceback.
        return f"<Wish {self.model or 'default model'} {self.size or 'default size'} n={self.n}>"

    @property
    def is_edit(self) -> bool:
        """Whether there is an image to start from."""
        return bool(self.pictures)

    def check(self, *, speaks_gemini: bool) -> None:
        """See what can be seen before anything is sent or paid.

        Raises:
            RequestError: Something is missing, too large, or not to be had from this server.
        """
        if not self.prompt.strip():
            raise RequestError("prompt must be some text, not white space only.", param="prompt")
        if not 1 <= self.n <= 10:
            raise RequestError("n must be from 1 to 10.", param="n")
        if len(self.pictures) > IMAGES_MAX:
            raise RequestError(f"At most {IMAGES_MAX} images to start from.", param="image")
        if self.mask is not None and not self.pictures:
            raise RequestError("A mask goes with an image.", param="mask")
        if speaks_gemini and self.n > 1:
            raise RequestError("Gemini draws one image a call: leave n out, and call several times.", param="n")
        if speaks_gemini and self.mask is not None:
            raise RequestError(
                "Gemini takes no mask: leave it out, and say in the prompt what to change.", param="mask"
            )
        for name, value in self.headers.items():
            if not (name.isascii() and value.isascii() and value.isprintable()):
                raise RequestError("A header holds a line break or a character beyond ASCII.", param=name[:40])


def checked_idempotency_key(key: str) -> str:
    """See that a key can name a call.

    Raises:
        RequestError: It is empty, longer than 255 characters, or not visible ASCII.
    """
    if not _KEY.fullmatch(key):
        raise RequestError(
            "idempotency_key must be 1 to 255 visible ASCII characters without quotes, such as a UUID.",
            param="idempotency_key",
        )
    return key


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """Bytes in pieces, so that pictures are not copied into one more text; read as often as they are sent."""

    parts: tuple[bytes, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    async def slowly(self) -> AsyncIterator[bytes]:
        """Give the pieces to an asyncio client."""
        for part in self.parts:
            yield part

    def __repr__(self) -> str:
        return f"<Body {len(self)} bytes>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One HTTP request. `Host` and `Content-Length` are the shell's."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: Body | None = None

    def __repr__(self) -> str:
        # Headers hold the key, a query may hold a signature.
        return f"<Ask {self.method} {self.url.partition('?')[0]}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Makes every request to one server."""

    address: Address
    api_key: str | None
    user_agent: str

    def __repr__(self) -> str:
        return f"<Asker {self.address.base_url}>"

    def submit(
        self,
        wish: Wish,
        *,
        idempotency_key: str,
        wait_s: float | None,
        budget_s: float | None = None,
        degrade: bool = False,
        model: str | None = None,
        size: str | None = None,
    ) -> Ask:
        """Ask for the images.

        Args:
            wish: What is to be drawn.
            idempotency_key: Of the logical call; the same for every repeat.
            wait_s: holdfast answers by then, with the image or with how it stands; None: at once, with how it stands.
                Others do not know the wish.
            budget_s: `Holdfast-Timeout`, where the caller has named a budget.
            degrade: A smaller size may be served when nothing else can.
            model: Instead of the wish's own.
            size: The same.
        """
        model, size = model or wish.model, size or wish.size
        import msgspec

        headers = [
            ("Accept", "application/json"),
            ("Idempotency-Key", idempotency_key),
            ("Prefer", "respond-async" if wait_s is None else f"wait={wait_s:g}"),
        ]
        if budget_s is not None:
            headers.append(("Holdfast-Timeout", f"{min(budget_s, 3600.0):.3f}"))
        if degrade:
            headers.append(("Holdfast-Degrade", "size"))
        if self.address.speaks_gemini:
            name = quote(model or MODEL_DEFAULT, safe="")
            url, (kind, body) = f"/models/{name}:generateContent", _gemini_body(wish, model=model, size=size)
        elif wish.is_edit:
            url, (kind, body) = "/images/edits", _form(wish, _fields(wish, model, size))
        else:
            document = msgspec.json.encode(_fields(wish, model, size))
            url, (kind, body) = "/images/generations", ("application/json", Body(parts=(document,)))
        headers.append(("Content-Type", kind))
        return Ask(
            method="POST",
            url=self.address.base_url + url,
            headers=(*self._usual(gemini=self.address.speaks_gemini), *headers, *wish.headers.items()),
            body=body,
        )

    def find(self, idempotency_key: str) -> Ask:
        """Ask which generation a key belongs to."""
        return self.control("GET", f"/generations?idempotency_key={quote(idempotency_key, safe='')}&limit=1")

    def poll(self, generation_id: str, *, wait_s: float | None) -> Ask:
        """Ask how a generation stands, when it has ended or after `wait_s`."""
        extra = () if wait_s is None else (("Prefer", f"wait={wait_s:g}"),)
        return self.control("GET", f"/generations/{quote(generation_id, safe='')}", headers=extra)

    def cancel(self, generation_id: str) -> Ask:
        """Ask that nothing more is bought for a generation."""
        return self.control("POST", f"/generations/{quote(generation_id, safe='')}/cancel")

    def delete(self, generation_id: str) -> Ask:
        """Ask that a generation's images and prompt are deleted."""
        return self.control("DELETE", f"/generations/{quote(generation_id, safe='')}")

    def events(self, generation_id: str, *, after: int | None) -> Ask:
        """Follow a generation, behind the last number that was seen."""
        extra = [("Accept", "text/event-stream")] + ([] if after is None else [("Last-Event-ID", str(after))])
        return self.control("GET", f"/generations/{quote(generation_id, safe='')}/events", headers=tuple(extra))

    def is_own(self, url: str) -> bool:
        """Whether a file lies at the server itself."""
        return url.startswith(("/", self.address.origin + "/"))

    def control(
        self, method: str, path: str, *, headers: tuple[tuple[str, str], ...] = (), document: object = None
    ) -> Ask:
        """Ask one of holdfast's own endpoints."""
        import msgspec

        usual = self._usual(gemini=False)
        if not any(name == "Accept" for name, _ in headers):
            usual = (*usual, ("Accept", "application/json"))
        body = None if document is None else Body(parts=(msgspec.json.encode(document),))
        kind = () if body is None else (("Content-Type", "application/json"),)
        return Ask(method=method, url=self.address.control_url + path, headers=(*usual, *headers, *kind), body=body)

    def image(self, url: str, *, at: int = 0, etag: str | None = None) -> Ask:
        """Fetch an image as a file, from a byte on. Nobody but the server itself is shown the key."""
        url = self.address.origin + url if url.startswith("/") else url
        usual = self._usual(gemini=False) if self.is_own(url) else (("User-Agent", self.user_agent),)
        headers = [("Accept", "image/*"), ("Accept-Encoding", "identity")]
        if at:
            headers.append(("Range", f"bytes={at}-"))
            headers += [("If-Range", etag)] if etag is not None else []
        return Ask(method="GET", url=url, headers=(*(each for each in usual if each[0] != "Accept-Encoding"), *headers))

    def _usual(self, *, gemini: bool) -> tuple[tuple[str, str], ...]:
        key: tuple[tuple[str, str], ...] = ()
        if self.api_key is not None:
            key = (("x-goog-api-key", self.api_key),) if gemini else (("Authorization", f"Bearer {self.api_key}"),)
        # A compressed answer of base64 costs both sides time, and hides where it was cut.
        return (*key, ("User-Agent", self.user_agent), ("Accept-Encoding", "identity"))


def _fields(wish: Wish, model: str | None, size: str | None) -> dict[str, Any]:
    named = {"model": model, "size": size, "aspect_ratio": wish.aspect_ratio}
    # What was not said is the server's to choose. `response_format` is what GPT image models refuse.
    fields: dict[str, Any] = {"prompt": wish.prompt, "n": wish.n}
    fields.update({name: value for name, value in named.items() if value is not None})
    fields.update({name: value for name, value in wish.fields.items() if value is not None})
    return fields


def _form(wish: Wish, fields: Mapping[str, Any]) -> tuple[str, Body]:
    import msgspec

    parts: list[bytes] = []
    for name, value in fields.items():
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        parts.append(
            b"--%b\r\n" % _BOUNDARY + f'Content-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        )
    name = "image" if len(wish.pictures) == 1 else "image[]"
    files = [(name, picture) for picture in wish.pictures]
    files += [("mask", wish.mask)] if wish.mask is not None else []
    for at, (name, picture) in enumerate(files):
        ending = picture.mime.rpartition("/")[2]
        head = (
            f'Content-Disposition: form-data; name="{name}"; filename="{at}.{ending}"\r\n'
            f"Content-Type: {picture.mime}\r\n\r\n"
        )
        parts += [b"--%b\r\n" % _BOUNDARY + head.encode(), picture.data, b"\r\n"]
    parts.append(b"--%b--\r\n" % _BOUNDARY)
    return f"multipart/form-data; boundary={_BOUNDARY.decode()}", Body(parts=tuple(parts))


def _gemini_body(wish: Wish, *, model: str | None, size: str | None) -> tuple[str, Body]:
    import pybase64

    from holdfast.policy.sizes import resolve
    from holdfast.types import Request, Surface
    from holdfast.wire.gemini import encode_generate_request

    last = wish.pictures[-1] if wish.pictures else None
    request = Request(
        surface=Surface.GEMINI,
        model=model or MODEL_DEFAULT,
        prompt=wish.prompt,
        geometry=resolve(
            size,
            aspect_ratio=wish.aspect_ratio,
            last_input_px=None if last is None else (last.width_px, last.height_px),
        ),
        inputs=tuple(
            InputImage(
                sha256=each.sha256,
                mime=each.mime,
                bytes=len(each.data),
                store_key=str(at),
                width_px=each.width_px,
                height_px=each.height_px,
            )
            for at, each in enumerate(wish.pictures)
        ),
    )
    parts = tuple(
        part if isinstance(part, bytes) else pybase64.b64encode(wish.pictures[part.index].data)
        for part in encode_generate_request(request)
    )
    return "application/json", Body(parts=parts)
