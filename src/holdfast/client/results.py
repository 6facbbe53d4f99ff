"""What a caller gets: images as values that know their type and size, whose bytes stay where they were written."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from holdfast.wire.image import extension_of

if TYPE_CHECKING:
    from holdfast.client.address import Server
    from holdfast.client.preview import Shown
    from holdfast.client.spool import Spool
    from holdfast.types import Charge, ImageInfo
    from holdfast.wire.generations import GenerationResource


class Image:
    """One image, whole: its type and size are read from its own bytes, and its end mark was seen."""

    def __init__(self, spool: Spool, info: ImageInfo, *, name: str, revised_prompt: str | None = None) -> None:
        self._spool = spool
        self._info = info
        self._name = name
        self.revised_prompt = revised_prompt
        """What the model made of the prompt, where the server says so."""

    def __repr__(self) -> str:
        where = f" {self.path}" if self.path is not None else ""
        return f"<Image {self._info.size} {self.mime_type} {self.size_bytes} bytes{where}>"

    def _shown(self) -> Shown:
        from holdfast.client.preview import Shown

        info = self._info
        return Shown(
            mime=info.mime,
            width_px=info.width_px,
            height_px=info.height_px,
            size_bytes=info.bytes,
            read=self._spool.read,
        )

    def _repr_png_(self) -> bytes | None:
        """Show itself in a notebook: a preview of at most 1024 pixels; None without Pillow."""
        from holdfast.client.preview import png_of

        return png_of([self._shown()])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Show itself in a notebook: the preview, the image itself where it is small, or words."""
        from holdfast.client.preview import bundle_of

        return bundle_of([self._shown()], repr(self))

    @property
    def mime_type(self) -> str:
        """`image/png`, `image/jpeg`, `image/webp`, …"""
        return self._info.mime

    @property
    def width_px(self) -> int:
        """Pixels; 0 for a format whose header is not read (heic)."""
        return self._info.width_px

    @property
    def height_px(self) -> int:
        """Pixels; 0 for a format whose header is not read (heic)."""
        return self._info.height_px

    @property
    def size_bytes(self) -> int:
        """Length of the file."""
        return self._info.bytes

    @property
    def sha256(self) -> str:
        """Hex digest of the file."""
        return self._info.sha256

    @property
    def path(self) -> Path | None:
        """Where it lies, if `save_to` had named a place."""
        return self._spool.path

    @property
    def bytes(self) -> bytes:
        """All of it, in memory; `save` needs no such copy."""
        return self._spool.read()

    def save(self, path: str | PathLike[str]) -> Path:
        """Write it to a file, in constant memory; the file is whole or not there.

        Args:
            path: A file, or a folder, in which it gets the generation's name and the ending of its true type.

        Returns:
            The file.

        Raises:
            OSError: It cannot be written.
        """
        place = Path(path)
        if place.is_dir():
            place = place / f"{self._name}.{extension_of(self.mime_type)}"
        self._spool.save(place)
        return place

    def close(self) -> None:
        """Let go of the bytes; what was saved stays."""
        self._spool.close()


class Images:
    """The images of one call, and how they came about."""

    def __init__(
        self,
        images: tuple[Image, ...],
        *,
        paid: Charge,
        idempotency_key: str,
        generation_id: str | None,
        server: Server,
        model: str | None,
        served_by: str | None,
        generation: GenerationResource | None,
        sends: int,
    ) -> None:
        self.images = images
        """At least one, in order."""
        self.paid = paid
        """What an upstream may have charged: yes, as a rule."""
        self.idempotency_key = idempotency_key
        """Of the logical call; the same call with it gets the same images from holdfast."""
        self.generation_id = generation_id
        """holdfast's; None from a plain server."""
        self.server = server
        """What answered."""
        self.model = model
        """What was asked, or what the server says that it asked."""
        self.served_by = served_by
        """`google/gemini-3-pro-image`: which upstream made the first image; None from a plain server."""
        self.generation = generation
        """holdfast's record, where it was read: attempts, cost, times."""
        self.sends = sends
        """POSTs that were made for it, 1 as a rule."""

    def __repr__(self) -> str:
        return f"<Images {len(self.images)} of {self.generation_id or self.server}, paid={self.paid}>"

    def _repr_png_(self) -> bytes | None:
        """Show themselves in a notebook as one sheet; None without Pillow."""
        from holdfast.client.preview import png_of

        return png_of([image._shown() for image in self.images])

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """Show themselves in a notebook as one sheet, or as words."""
        from holdfast.client.preview import bundle_of

        return bundle_of([image._shown() for image in self.images], repr(self))

    def __iter__(self) -> Iterator[Image]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Image:
        return self.images[index]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the bytes; what was saved stays."""
        for image in self.images:
            image.close()
