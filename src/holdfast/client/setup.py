"""What both clients are made of, besides the sending: settings read and checked, calls begun, results put together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, Literal

from holdfast.client import defaults as d
from holdfast.client.address import Address, Server, address_of, checked_key
from holdfast.client.asking import INPUT_BYTES_MAX, Asker, Picture, Wish, checked_idempotency_key
from holdfast.client.call import Call
from holdfast.client.defaults import Defaults, Mode
from holdfast.client.reading import Catch
from holdfast.client.results import Image, Images
from holdfast.client.spool import Target
from holdfast.client.steps import Finished, Options, Standing
from holdfast.clock import Clock, SystemClock
from holdfast.errors import RequestError

if TYPE_CHECKING:
    import ssl

ServerName = Literal["auto", "holdfast", "openai", "gemini"]
Source = bytes | str | PathLike[str] | IO[bytes] | Image
"""An image to start from: its bytes, a path, an open file, or a result of an earlier call."""
OnProgress = Callable[[Standing], None]
SavePath = str | PathLike[str]


class Setup:
    """One client's settings; nothing here opens a connection."""

    mode: Mode

    def __init__(
        self,
        base_url: str | None,
        api_key: str | None,
        *,
        server: ServerName,
        network: str,
        timeout_s: float | None,
        proxy: str | None,
        verify: bool | ssl.SSLContext,
        headers: Mapping[str, str] | None,
        clock: Clock | None,
        environ: Mapping[str, str] | None,
    ) -> None:
        from holdfast import __version__

        self._environ = os.environ if environ is None else environ
        self.address: Address = address_of(base_url or self._environ.get("HOLDFAST_BASE_URL"), server)
        key = checked_key(api_key if api_key is not None else self._environ.get("HOLDFAST_API_KEY") or None)
        self.asker = Asker(address=self.address, api_key=key, user_agent=d.user_agent(__version__))
        d.network_of(network)
        self.network = network
        self.timeout_s = timeout_s
        # Checks what was given, before the first call.
        d.call_timeouts(None, network, timeout_s=timeout_s)
        self.server: Server | None = self.address.server
        """What answers there; None until it is known."""
        self.clock: Clock = clock or SystemClock()
        self._proxy = proxy
        self._verify = verify
        self._headers = MappingProxyType(dict(headers or {}))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address.base_url} server={self.server or 'unknown'}>"

    @property
    def base_url(self) -> str:
        """Where calls go, put right."""
        return self.address.base_url

    @property
    def defaults(self) -> Defaults:
        """Every default with its unit and its reason; `print` it."""
        return d.defaults(self.network, mode=self.mode, timeout_s=self.timeout_s)

    def begin(
        self,
        wish: Wish,
        *,
        idempotency_key: str | None,
        timeout_s: float | None,
        on_progress: OnProgress | None,
        fallback_models: Sequence[str] = (),
        degrade: bool = False,
        save_to: SavePath | None = None,
    ) -> tuple[Call, Catch]:
        """Make a call, once everything that can be checked without sending was found right.

        Raises:
            RequestError: Something was not; nothing was sent.
        """
        wish.check(speaks_gemini=self.address.speaks_gemini)
        budget_s = timeout_s if timeout_s is not None else self.timeout_s
        body_bytes = sum(len(picture.data) for picture in wish.pictures)
        timeouts = d.call_timeouts(wish.size, self.network, body_bytes=body_bytes, timeout_s=budget_s)
        key = self.new_key() if idempotency_key is None else checked_idempotency_key(idempotency_key)
        target = None if save_to is None else Target(Path(save_to), tag=key[-32:].replace("/", "_"))
        options = Options(
            timeouts=timeouts,
            idempotency_key=key,
            budget_s=budget_s,
            fallback_models=tuple(fallback_models),
            degrade=degrade,
            wait_s=d.WAIT_S if on_progress is None else d.PROGRESS_S,
        )
        return Call(asker=self.asker, wish=wish, options=options, server=self.server), Catch(target)

    def collecting(
        self, *, timeout_s: float | None, on_progress: OnProgress | None = None, save_to: SavePath | None = None
    ) -> tuple[Call, Catch]:
        """Make a call that only collects; `Call.resume` begins it."""
        key = self.new_key()
        target = None if save_to is None else Target(Path(save_to), tag=key)
        timeouts = d.call_timeouts("4K", self.network, timeout_s=timeout_s if timeout_s is not None else self.timeout_s)
        wait_s = d.WAIT_S if on_progress is None else d.PROGRESS_S
        options = Options(timeouts=timeouts, idempotency_key=key, wait_s=wait_s)
        wish = Wish(prompt="collected")
        return Call(asker=self.asker, wish=wish, options=options, server=Server.HOLDFAST), Catch(target)

    def creation(self, idempotency_key: str | None, **fields: Any) -> tuple[str, dict[str, Any]]:
        """Give the key and the body of a native request; what was not said is left out.

        Raises:
            RequestError: The key cannot name a call.
        """
        key = self.new_key() if idempotency_key is None else checked_idempotency_key(idempotency_key)
        return key, {name: value for name, value in fields.items() if value is not None}

    def new_key(self) -> str:
        """Make a key for a logical call: unique, and sorted by its time of making."""
        return self.clock.new_id("call")

    def wish(
        self,
        prompt: str,
        *,
        model: str | None,
        size: str | None,
        aspect_ratio: str | None,
        n: int,
        fields: Mapping[str, Any],
        images: Source | Sequence[Source] = (),
        mask: Source | None = None,
    ) -> Wish:
        """Understand what is asked for.

        Raises:
            RequestError: An image to start from cannot be read, or is none.
        """
        sources = [images] if isinstance(images, bytes | str | PathLike | Image) or hasattr(images, "read") else images
        return Wish(
            prompt=prompt,
            model=model,
            size=size,
            aspect_ratio=aspect_ratio,
            n=n,
            pictures=tuple(picture_of(each, f"image[{at}]") for at, each in enumerate(sources)),  # type: ignore[arg-type]
            mask=None if mask is None else picture_of(mask, "mask"),
            fields=MappingProxyType(dict(fields)),
            headers=self._headers,
        )

    def images_of(self, done: Finished, catch: Catch) -> Images:
        """Put a result together; what was named as its place is where it then lies.

        Raises:
            OSError: An image cannot be given its name; all of them are closed.
        """
        self.server = done.server
        name = done.generation_id or done.idempotency_key
        images: list[Image] = []
        try:
            for rank, index in enumerate(done.results):
                spool, info = catch.image(index)
                prompts = done.revised_prompts
                prompt = prompts[rank] if rank < len(prompts) else None
                ending = f"-{rank}" if rank else ""
                images.append(Image(spool, info, name=name + ending, revised_prompt=prompt))
                catch.keep(spool, rank, info, name=name)
        except OSError:
            for image in images:
                image.close()
            raise
        finally:
            catch.close()
        return Images(
            tuple(images),
            paid=done.paid,
            idempotency_key=done.idempotency_key,
            generation_id=done.generation_id,
            server=done.server,
            model=done.model,
            served_by=done.served_by,
            generation=done.generation,
            sends=done.sends,
        )


def picture_of(source: Source, where: str) -> Picture:
    """Read an image to start from.

    Raises:
        RequestError: It cannot be read, is too large, or is no image.
    """
    from holdfast.wire.image import ImageMeter

    data = _data_of(source, where)
    if len(data) > INPUT_BYTES_MAX:
        raise RequestError(f"{where} is larger than {INPUT_BYTES_MAX >> 20} MiB.", code="input_too_large", param=where)
    meter = ImageMeter()
    meter.feed(data)
    info, is_whole = meter.finish()
    if info is None or not is_whole:
        what = "is no image of a kind that is known" if info is None else "ends early: it is not whole"
        raise RequestError(f"{where} {what}; nothing was sent.", param=where)
    return Picture(data=data, mime=info.mime, sha256=info.sha256, width_px=info.width_px, height_px=info.height_px)


def _data_of(source: Source, where: str) -> bytes:
    if isinstance(source, bytes):
        return source
    if isinstance(source, Image):
        return source.bytes
    if isinstance(source, str | PathLike):
        try:
            with Path(source).open("rb") as file:
                return file.read(INPUT_BYTES_MAX + 1)
        except OSError as exc:
            raise RequestError(f"{where} cannot be read: {exc.strerror or exc}.", param=where) from exc
    return source.read(INPUT_BYTES_MAX + 1)
