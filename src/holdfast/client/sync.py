"""The client for threads: performs what the call object says, and reports what came of it."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from holdfast.client import defaults as d
from holdfast.client.call import Call
from holdfast.client.control import (
    Answered,
    Control,
    ControlStep,
    EventLines,
    Following,
    create_ask,
    generation_of,
    list_ask,
    page_of,
)
from holdfast.client.defaults import Mode
from holdfast.client.reading import Catch
from holdfast.client.results import Image, Images
from holdfast.client.setup import OnProgress, SavePath, ServerName, Setup, Source
from holdfast.client.steps import Break, Finished, Raise, Send, Step, Wait
from holdfast.clock import Clock

if TYPE_CHECKING:
    import ssl

    import httpx2

    from holdfast.wire.generations import EventResource, GenerationList, GenerationResource


class Client(Setup):
    """Asks holdfast, any OpenAI-shaped server or the Gemini API for images, and brings them home.

    May be used from several threads. Close it, or use it in a `with`.
    """

    mode = Mode.SYNC

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        server: ServerName = "auto",
        network: str = d.NETWORK,
        timeout_s: float | None = None,
        proxy: str | None = None,
        verify: bool | ssl.SSLContext = True,
        headers: Mapping[str, str] | None = None,
        transport: httpx2.BaseTransport | None = None,
        clock: Clock | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare to call; no connection is opened.

        Args:
            base_url: `https://host/v1`; else `HOLDFAST_BASE_URL`, else a gateway on this machine.
            api_key: Else `HOLDFAST_API_KEY`.
            server: What answers there, if it is not to be found out: `holdfast`, `openai` or `gemini`.
            network: The path to it: `intranet`, `home`, `international` or `peak`; slower ones get more time.
            timeout_s: Budget of every call, seconds; None: by size and network.
            proxy: `http://host:port`; empty: none, whatever the environment says.
            verify: Whether a certificate is checked; or a context that says by which authorities.
            headers: Sent with every request for images.
            transport: Instead of connections of our own.
            clock: Time and randomness.
            environ: Instead of the process's own environment.

        Raises:
            ConfigError: One of them makes no sense; the message says what to write.
        """
        super().__init__(
            base_url,
            api_key,
            server=server,
            network=network,
            timeout_s=timeout_s,
            proxy=proxy,
            verify=verify,
            headers=headers,
            clock=clock,
            environ=environ,
        )
        # httpx2 is half of the time that importing takes: only who makes a client waits for it.
        import httpx2

        from holdfast.client.exchange import transport_options

        options = transport_options(
            self.address, self.mode, proxy=self._proxy, verify=self._verify, environ=self._environ
        )
        self._is_proxied = options["proxy"] is not None
        self._transport = transport or httpx2.HTTPTransport(**options)
        self.images = ImageCalls(self)
        self.generations = GenerationCalls(self)
        self.files = FileCalls(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._transport.close()

    # Performing

    def drive(self, call: Call, catch: Catch, step: Step, on_progress: OnProgress | None) -> Images:
        """Do what a call says, to its end.

        Raises:
            HoldfastError: There is no image; it carries the key, the generation, and what may have been paid.
        """
        told = None
        try:
            while True:
                if on_progress is not None and call.standing is not None and call.standing is not told:
                    told = call.standing
                    on_progress(told)
                match step:
                    case Send():
                        step = self._exchange(call, catch, step)
                    case Wait():
                        time.sleep(step.after_s)
                        step = call.woke(self.clock.monotonic())
                    case Finished():
                        return self.images_of(step, catch)
                    case Raise():
                        raise step.error
        except (KeyboardInterrupt, SystemExit, OSError) as exc:
            # A disk that is full is no reason to lose what is paid for.
            exc.add_note(call.interrupted())
            raise
        finally:
            self.server = call.server or self.server
            catch.close()

    def control(self, control: Control) -> Answered:
        """Make a small call.

        Raises:
            HoldfastError: It failed.
        """
        step: ControlStep = control.start(self.clock.monotonic())
        while True:
            match step:
                case Send():
                    came = self._read(step)
                    now_s, jitter = self.clock.monotonic(), self.clock.random()
                    if isinstance(came, Break):
                        step = control.broke(came, now_s=now_s, jitter=jitter)
                    else:
                        step = control.received(came.head, came.document, now_s=now_s, jitter=jitter)
                case Wait():
                    time.sleep(step.after_s)
                    step = control.woke(self.clock.monotonic())
                case Answered():
                    return step
                case Raise():
                    raise step.error

    def follow(self, following: Following) -> Generator[EventResource, None, None]:
        """Give the events of a generation as they come.

        Raises:
            HoldfastError: It cannot be followed any longer.
        """
        step: Send | Wait | Raise | None = following.start(self.clock.monotonic())
        while step is not None:
            match step:
                case Send():
                    step = yield from self._stream(following, step)
                case Wait():
                    time.sleep(step.after_s)
                    step = following.woke(self.clock.monotonic())
                case Raise():
                    raise step.error

    def _exchange(self, call: Call, catch: Catch, send: Send) -> Step:
        from holdfast.client.exchange import BREAKS, head_of, request_of

        has_head = False
        try:
            response = self._transport.handle_request(request_of(send, self.mode))
            try:
                catch.begin(call.head(head_of(response)))
                has_head = True
                for chunk in response.iter_bytes():
                    catch.feed(chunk)
                    if self.clock.monotonic() > send.until_s:
                        raise TimeoutError("the whole exchange took too long")
            finally:
                response.close()
        except BREAKS as exc:
            break_ = self._break(
                exc, send, has_head=has_head, received_bytes=catch.received_bytes if has_head else None
            )
            return call.broke(break_, now_s=self.clock.monotonic(), jitter=self.clock.random())
        return call.received(catch.finish(), now_s=self.clock.monotonic(), jitter=self.clock.random())

    def _read(self, send: Send) -> Answered | Break:
        from holdfast.client.exchange import BREAKS, head_of, request_of

        head = None
        document = bytearray()
        try:
            response = self._transport.handle_request(request_of(send, self.mode))
            try:
                head = head_of(response)
                for chunk in response.iter_bytes():
                    document += chunk[: d.ANSWER_BYTES_MAX - len(document)]
                    if self.clock.monotonic() > send.until_s:
                        raise TimeoutError("the whole exchange took too long")
            finally:
                response.close()
        except BREAKS as exc:
            return self._break(exc, send, has_head=head is not None)
        return Answered(head=head, document=bytes(document))

    def _stream(self, following: Following, send: Send) -> Generator[EventResource, None, Wait | Raise | None]:
        from holdfast.client.exchange import BREAKS, head_of, request_of

        head = None
        document = bytearray()
        try:
            response = self._transport.handle_request(request_of(send, self.mode))
            try:
                head, lines = head_of(response), EventLines()
                for chunk in response.iter_bytes():
                    if not head.is_event_stream:
                        document += chunk[: d.ANSWER_BYTES_MAX - len(document)]
                        continue
                    for event in lines.feed(chunk):
                        following.seen(event, self.clock.monotonic())
                        yield event
            finally:
                response.close()
        except BREAKS as exc:
            break_ = self._break(exc, send, has_head=head is not None)
            return following.broke(break_, now_s=self.clock.monotonic(), jitter=self.clock.random())
        now_s, jitter = self.clock.monotonic(), self.clock.random()
        if head.is_event_stream and head.is_success:
            return following.ended(now_s=now_s, jitter=jitter)
        return following.answered(head, bytes(document), now_s=now_s, jitter=jitter)

    def _break(self, exc: BaseException, send: Send, *, has_head: bool, received_bytes: int | None = None) -> Break:
        from holdfast.client.exchange import break_of

        return break_of(
            exc,
            has_head=has_head,
            address=self.address,
            proxied=self._is_proxied,
            received_bytes=received_bytes,
            url=send.ask.url,
        )


class ImageCalls:
    """`client.images`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def generate(
        self,
        prompt: str,
        *,
        model: str | None = None,
        size: str | None = None,
        aspect_ratio: str | None = None,
        n: int = 1,
        fallback_models: Sequence[str] = (),
        degrade: bool = False,
        save_to: SavePath | None = None,
        timeout_s: float | None = None,
        idempotency_key: str | None = None,
        on_progress: OnProgress | None = None,
        **fields: Any,
    ) -> Images:
        """Draw images from a prompt, and wait for them.

        Args:
            prompt: What to draw.
            model: Public name; None: the server's default.
            size: `1K`, `2K`, `4K`, or pixels such as `1024x1536`; None: the server's default.
            aspect_ratio: `16:9`, beside a size of `1K`, `2K` or `4K`.
            n: How many images, 1 to 10.
            fallback_models: Asked in this order when the one before cannot draw now and nothing was paid.
            degrade: Whether a smaller size is better than none.
            save_to: A file or a folder; seen to be writable before anything is sent, and written as the bytes come.
            timeout_s: Budget of the whole call, seconds; None: by size and network.
            idempotency_key: Of an earlier call that is to be collected; None: a new one.
            on_progress: Called with a `Standing` whenever how it stands becomes known.
            fields: Further members of the body: `quality`, `output_format`, `background`, `user`, ….

        Returns:
            The images, whole.

        Raises:
            RequestError: Something that was asked for is not possible; nothing is paid.
            HoldfastError: There is no image; the exception carries `idempotency_key`, `generation_id` and `paid`.
        """
        client = self._client
        wish = client.wish(prompt, model=model, size=size, aspect_ratio=aspect_ratio, n=n, fields=fields)
        call, catch = client.begin(
            wish,
            idempotency_key=idempotency_key,
            timeout_s=timeout_s,
            on_progress=on_progress,
            fallback_models=fallback_models,
            degrade=degrade,
            save_to=save_to,
        )
        return client.drive(call, catch, call.start(client.clock.monotonic()), on_progress)

    def edit(
        self,
        image: Source | Sequence[Source],
        prompt: str,
        *,
        mask: Source | None = None,
        model: str | None = None,
        size: str | None = None,
        aspect_ratio: str | None = None,
        n: int = 1,
        fallback_models: Sequence[str] = (),
        degrade: bool = False,
        save_to: SavePath | None = None,
        timeout_s: float | None = None,
        idempotency_key: str | None = None,
        on_progress: OnProgress | None = None,
        **fields: Any,
    ) -> Images:
        """Draw images that start from others, and wait for them.

        Args:
            image: One or several: bytes, a path, an open file, or a result of an earlier call.
            prompt: What to make of them.
            mask: What of the first is drawn anew, where the model takes one.
            model: As for `generate`, like all that follows.
            size: See there.
            aspect_ratio: See there.
            n: See there.
            fallback_models: See there.
            degrade: See there.
            save_to: See there.
            timeout_s: See there.
            idempotency_key: See there.
            on_progress: See there.
            fields: See there.

        Returns:
            The images, whole.

        Raises:
            RequestError: Something that was asked for is not possible; nothing is paid.
            HoldfastError: There is no image; the exception carries `idempotency_key`, `generation_id` and `paid`.
        """
        client = self._client
        wish = client.wish(
            prompt,
            model=model,
            size=size,
            aspect_ratio=aspect_ratio,
            n=n,
            fields=fields,
            images=image,
            mask=mask,
        )
        call, catch = client.begin(
            wish,
            idempotency_key=idempotency_key,
            timeout_s=timeout_s,
            on_progress=on_progress,
            fallback_models=fallback_models,
            degrade=degrade,
            save_to=save_to,
        )
        return client.drive(call, catch, call.start(client.clock.monotonic()), on_progress)


class GenerationCalls:
    """`client.generations`: holdfast's own, for images that nobody waits for on a connection."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(
        self,
        prompt: str,
        *,
        model: str | None = None,
        size: str | None = None,
        aspect_ratio: str | None = None,
        n: int | None = None,
        images: Sequence[Mapping[str, Any]] | None = None,
        webhook: str | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> GenerationResource:
        """Ask for images without waiting for them.

        Args:
            prompt: What to draw.
            model: Public name; None: the server's default.
            size: `1K`, `2K`, `4K`, or pixels.
            aspect_ratio: `16:9`.
            n: How many images.
            images: To start from, each `{"b64": …}`, `{"url": …}` or `{"generation_id": …, "index": …}`.
            webhook: Told of the end.
            metadata: Kept and given back.
            idempotency_key: Of the logical call; None: a new one.

        Returns:
            How it stands: queued, as a rule.

        Raises:
            HoldfastError: It was not taken, or nobody knows; made again with the key on it, it is not bought twice.
        """
        client = self._client
        key, document = client.creation(
            idempotency_key,
            prompt=prompt,
            model=model,
            size=size,
            aspect_ratio=aspect_ratio,
            n=n,
            images=images,
            webhook=None if webhook is None else {"url": webhook},
            metadata=metadata,
        )
        ask = create_ask(client.asker, document, idempotency_key=key)
        made = client.control(Control(asker=client.asker, ask=ask, idempotency_key=key, secrets=(prompt,)))
        return generation_of(made.document)

    def get(self, generation_id: str) -> GenerationResource:
        """Look up how a generation stands.

        Raises:
            RequestError: There is none of this name under this key.
            HoldfastError: It could not be looked up.
        """
        client = self._client
        ask = client.asker.poll(generation_id, wait_s=None)
        return generation_of(client.control(Control(asker=client.asker, ask=ask, generation_id=generation_id)).document)

    def wait(
        self,
        generation_id: str,
        *,
        save_to: SavePath | None = None,
        timeout_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> Images:
        """Wait for a generation's end and fetch its images; this is how an interrupted call is collected.

        Args:
            generation_id: As an exception, a result or `create` has told it.
            save_to: A file or a folder, as for `images.generate`.
            timeout_s: Seconds to wait; None: as long as a 4K image may take.
            on_progress: As for `images.generate`.

        Raises:
            HoldfastError: It ended without an image, or the time is over.
        """
        client = self._client
        call, catch = client.collecting(timeout_s=timeout_s, on_progress=on_progress, save_to=save_to)
        return client.drive(call, catch, call.resume(generation_id, client.clock.monotonic()), on_progress)

    def events(self, generation_id: str, *, after: int | None = None) -> Generator[EventResource, None, None]:
        """Follow a generation to its end, over as many connections as it takes.

        Args:
            generation_id: Whose.
            after: Number of the last event that was seen.

        Raises:
            HoldfastError: It cannot be followed, or not any longer.
        """
        client = self._client
        return client.follow(Following(asker=client.asker, generation_id=generation_id, after=after))

    def cancel(self, generation_id: str) -> GenerationResource:
        """Cancel a generation: free while it is queued; once it was sent, nothing more is bought.

        Raises:
            RequestError: There is none of this name under this key.
            HoldfastError: It could not be reached.
        """
        client = self._client
        ask = client.asker.cancel(generation_id)
        return generation_of(client.control(Control(asker=client.asker, ask=ask, generation_id=generation_id)).document)

    def delete(self, generation_id: str) -> None:
        """Delete a generation's images and its prompt at the gateway, now; its record and what it cost stay.

        Asked twice, it is as asked once.

        Raises:
            RequestError: There is none of this name under this key, or it has not ended: cancel it first.
            HoldfastError: It could not be reached.
        """
        client = self._client
        ask = client.asker.delete(generation_id)
        client.control(Control(asker=client.asker, ask=ask, generation_id=generation_id))

    def list(
        self,
        *,
        status: str | None = None,
        model: str | None = None,
        collected: bool | None = None,
        idempotency_key: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> GenerationList:
        """List generations of this key, newest first; the next page begins after `last_id`.

        Args:
            status: `queued`, `running`, `succeeded`, `failed` or `cancelled`.
            model: Public name.
            collected: Whether somebody has the images.
            idempotency_key: Of one logical call.
            after: Id of the last one that was seen.
            limit: Most on a page.

        Raises:
            HoldfastError: It could not be listed.
        """
        client = self._client
        ask = list_ask(
            client.asker,
            {
                "status": status,
                "model": model,
                "collected": collected,
                "idempotency_key": idempotency_key,
                "after": after,
                "limit": limit,
            },
        )
        return page_of(client.control(Control(asker=client.asker, ask=ask)).document)


class FileCalls:
    """`client.files`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def save(self, generation_id: str, path: SavePath, *, timeout_s: float | None = None) -> tuple[Image, ...]:
        """Fetch the images of a generation straight to disk, in constant memory.

        Args:
            generation_id: Whose; one that is still drawn is waited for.
            path: A file (the second image gets `-2` before its ending), or a folder.
            timeout_s: Seconds; None: as long as a 4K image may take.

        Raises:
            RequestError: The path cannot be written.
            HoldfastError: There is no image.
        """
        return self._client.generations.wait(generation_id, save_to=path, timeout_s=timeout_s).images
