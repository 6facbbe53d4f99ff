"""Relays that draw through chat completions: one call makes one image, in whatever shape its answer has it.

Pure: no I/O, clock or randomness. `wire/chat_answer.py` lists the shapes. A link is fetched, so that the image is kept
here. How ratio and size are told differs between relays: OpenRouter by its address, all others as new-api takes them,
unless the operator says which.

Source: openrouter.ai/docs, image generation, errors (2026); QuantumNous/new-api; statements of one reseller on what it
bills.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from holdfast.config import Flavor, Provider, Upstream, UpstreamApi, UpstreamChatForm
from holdfast.providers.conversation import Done, Failed, Send, Step, named
from holdfast.providers.error_answers import failure_of
from holdfast.providers.error_body import ErrorReader
from holdfast.providers.gemini import REFUSED_FINISHES
from holdfast.providers.http import Head, HttpRequest
from holdfast.providers.linked import LinkedImages
from holdfast.providers.mapping import ONE_BY_ONE, Mapping
from holdfast.types import Charge, Failure, FailureKind, Phase, Request
from holdfast.wire.answers import Answer, Reader, Role
from holdfast.wire.chat_answer import ChatReader, ChatStreamReader, links_of
from holdfast.wire.fields import document_of, mapping_of
from holdfast.wire.openai import decode_error
from holdfast.wire.relay_chat import ChatForm, encode_chat_request

if TYPE_CHECKING:
    from holdfast.wire.answers import UpstreamError

IMAGES_PER_CALL = 1
"""Nothing in a chat says how many are wished for."""
MAPPING = Mapping(
    provider=Provider.OPENAI,
    api=UpstreamApi.CHAT,
    title="Relays, chat completions",
    call="POST /v1/chat/completions",
    fields={
        "prompt": "`messages[].content`",
        "size": "`image_config.image_size` (OpenRouter) or `extra_body.google.image_config.image_size` (new-api); left "
        "out for gemini-2.5-flash-image, which refuses it",
        "aspect_ratio": "`aspect_ratio` beside it",
        "n": ONE_BY_ONE,
        "images": "`messages[].content[].image_url`, as data URLs",
        "stream": "`stream`",
        "user": "`user`",
    },
)
_OPENROUTER = "openrouter.ai"
_REFUSED_FINISHES = frozenset({"content_filter", *map(str.lower, REFUSED_FINISHES)})
"""In the relay's word or in that of the model behind it: some say `stop` to all that they do not know."""


@dataclass(slots=True, kw_only=True)
class ChatConversation:
    """One attempt: one POST, one answer; then the file that it names by a link, if it holds no image."""

    upstream: str
    """The operator's name for it."""
    base_url: str
    """With the version: `https://openrouter.ai/api/v1`."""
    model: str
    key: str
    request: Request
    idempotency_key: str
    form: ChatForm
    stream: bool = False
    is_relay: bool = False
    """It takes a fixed price a call, whatever it answers."""
    image_bytes_max: int = 64 << 20
    """Largest image taken; `store.image_bytes_max`."""
    _linked: LinkedImages | None = field(default=None, init=False)

    @classmethod
    def at(
        cls,
        upstream: Upstream,
        request: Request,
        *,
        model: str,
        key: str,
        idempotency_key: str,
        stream: bool,
        image_bytes_max: int,
    ) -> Self:
        """Make the one that the settings of an upstream describe."""
        return cls(
            upstream=upstream.name,
            base_url=upstream.base_url,
            model=model,
            key=key,
            request=request,
            idempotency_key=idempotency_key,
            form=form_of(upstream),
            stream=stream,
            is_relay=upstream.flavor is Flavor.RELAY,
            image_bytes_max=image_bytes_max,
        )

    def __repr__(self) -> str:
        return f"<ChatConversation {self.idempotency_key} with {self.upstream}, {self.model}>"

    def start(self) -> Step:
        """Ask for the image, or go on where a pause has ended."""
        if self._linked is not None:
            return self._linked.start()
        body = encode_chat_request(
            self.request,
            model=self.model,
            form=self.form,
            stream=self.stream,
            states_image_size="gemini-2.5-flash-image" not in self.model,
        )
        return Send(
            request=HttpRequest(
                method="POST",
                url=f"{self.base_url.rstrip('/')}/chat/completions",
                headers=(
                    ("Authorization", f"Bearer {self.key}"),
                    ("Content-Type", "application/json"),
                    ("Accept", "text/event-stream" if self.stream else "application/json"),
                    ("Idempotency-Key", self.idempotency_key),
                ),
                body=body,
            )
        )

    def head(self, head: Head) -> Reader:
        """Choose by what came, not by what was asked for: relays answer plainly when a stream was wished."""
        if not head.is_success:
            return ErrorReader()
        if self._linked is not None:
            return self._linked.reader()
        reader = ChatStreamReader if head.is_event_stream else ChatReader
        return reader(image_bytes_max=self.image_bytes_max)

    def received(self, head: Head, answer: Answer) -> Step:
        """Judge the answer."""
        if self._linked is not None:
            return self._linked.received(head)
        if not head.is_success:
            return Failed(failure=self._failure(head, decode_error(head.status, answer.document)))
        results = tuple(image.index for image in answer.images if image.role is Role.RESULT)
        if results:
            drafts = tuple(image.index for image in answer.images if image.role is not Role.RESULT)
            return Done(results=results, drafts=drafts, answer=answer)
        if answer.error is not None:
            return Failed(failure=self._failure(head, answer.error))
        if answer.url_only:
            # One was asked for: of several the last is meant, as of several that an answer holds.
            self._linked = LinkedImages(
                upstream=self.upstream,
                base_url=self.base_url,
                image_bytes_max=self.image_bytes_max,
                answer=answer,
                urls=links_of(mapping_of(document_of(answer.document)))[-1:],
            )
            return self._linked.start()
        return Failed(failure=self._without_image(head, answer))

    def failed(self, failure: Failure) -> Step:
        """A call that broke is over; whether another one is made is not decided here. A file is asked for again."""
        if self._linked is not None:
            return self._linked.failed(failure.detail)
        return Failed(failure=named(failure, upstream=self.upstream, base_url=self.base_url))

    def _failure(self, head: Head, error: UpstreamError) -> Failure:
        secrets = (self.key, self.request.prompt)
        return failure_of(head, error, upstream=self.upstream, is_relay=self.is_relay, secrets=secrets)

    def _without_image(self, head: Head, answer: Answer) -> Failure:
        """Tell why a 200 holds no image. Relays call every refusal of a picture `content_filter`."""
        reason = answer.finish_message or answer.finish_reason
        words = {(word or "").lower() for word in (answer.finish_reason, answer.finish_message)}
        if not words.isdisjoint(_REFUSED_FINISHES):
            charge = Charge.YES if self.is_relay else Charge.UNKNOWN
            kind, what = FailureKind.REFUSED_OUTPUT, "refused to show the image it made"
        elif answer.finish_reason is None and head.is_event_stream:
            kind, charge, what = FailureKind.LOST_REPLY, Charge.UNKNOWN, "ended its stream without a finish_reason"
        else:
            text = ", in its place text" if answer.text_chars else ""
            kind, charge, what = FailureKind.NO_IMAGE, Charge.UNKNOWN, f"made no image{text}"
        detail = f"{self.upstream} {what}" + (f" ({reason[:100]})" if reason else "")
        return Failure(
            kind=kind, phase=Phase.RECEIVE, charge=charge, detail=detail[:2000], status=head.status, reason=reason
        )


def form_of(upstream: Upstream) -> ChatForm:
    """Say how a relay is told ratio and size: as the settings say, else by its address."""
    if upstream.chat_form is not UpstreamChatForm.AUTO:
        return ChatForm(upstream.chat_form.value)
    host = (urlsplit(upstream.base_url).hostname or "").removesuffix(".")
    is_openrouter = host == _OPENROUTER or host.endswith(f".{_OPENROUTER}")
    return ChatForm.OPENROUTER if is_openrouter else ChatForm.NEW_API
