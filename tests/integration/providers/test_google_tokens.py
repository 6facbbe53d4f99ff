"""Google's tokens from a token service on loopback: signed for, kept, shared, and what goes wrong told as it is."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from holdfast.clock import SystemClock
from holdfast.config import Provider, Upstream
from holdfast.errors import ConfigError
from holdfast.transport import google_tokens
from holdfast.transport.auth_request import AuthRequest
from holdfast.transport.google_tokens import MARGIN_S, SCOPES, GoogleTokens
from holdfast.types import Charge, Failure, FailureKind, Phase

service_module = pytest.importorskip("provider_token_service")
VERTEX = Upstream(name="vertex", provider=Provider.VERTEX, project="my-project")
EXPRESS = Upstream(name="express", provider=Provider.VERTEX)
GEMINI = Upstream(name="google", provider=Provider.GEMINI, base_url="https://g.test")
LIFE_S: int = service_module.LIFE_S


class LaterClock(SystemClock):
    """The machine's, some seconds on."""

    passed_s = 0.0

    def monotonic(self) -> float:
        """Moved by hand; the wall clock is not."""
        return super().monotonic() + self.passed_s


@pytest.fixture
def clock() -> LaterClock:
    """It runs, and jumps when told."""
    return LaterClock()


@pytest.fixture
async def service() -> AsyncIterator[Any]:
    """Gives tokens."""
    made = service_module.TokenService()
    await made.start()
    yield made
    await made.close()


@pytest.fixture
def key(service: Any, tmp_path: Path) -> str:
    """The file of a service account."""
    file = tmp_path / "account.json"
    file.write_text(json.dumps(service.account))
    return f"file:{file}"


@pytest.fixture
async def tokens(key: str, clock: LaterClock) -> AsyncIterator[GoogleTokens]:
    """Of one upstream with that file."""
    made = google_tokens.google_tokens([(VERTEX, key)], clock)
    yield made
    made.close()


async def refused(tokens: GoogleTokens, key: str) -> Failure:
    """It must be a failure that cost nothing and tells no secret."""
    failure = await tokens.fresh(VERTEX, key)
    assert isinstance(failure, Failure)
    assert (failure.charge, failure.phase) == (Charge.NO, Phase.CONNECT)
    assert "vertex" in failure.detail
    for secret in ("PRIVATE", "ya29", "drawer@", "iam.gserviceaccount"):
        assert secret not in failure.detail
    return failure


async def test_a_token_is_signed_for(tokens: GoogleTokens, key: str, service: Any) -> None:
    """With the account's own key, for the scope of the cloud; it is fetched when it is first needed."""
    assert repr(tokens) == "<GoogleTokens [<token of vertex: none>]>"
    assert service.claims == []
    assert await tokens.fresh(VERTEX, key) == "ya29.1"
    (claims,) = service.claims
    assert claims["iss"] == "drawer@my-project.iam.gserviceaccount.com"
    assert claims["scope"] == " ".join(SCOPES)
    assert "s left>" in repr(tokens)
    assert "ya29" not in repr(tokens)


async def test_a_token_may_come_from_the_contents_of_such_a_file(service: Any, clock: LaterClock) -> None:
    """As a variable often holds them."""
    key = json.dumps(service.account, indent=2)
    tokens = google_tokens.google_tokens([(VERTEX, key)], clock)
    assert await tokens.fresh(VERTEX, key) == "ya29.1"
    assert "PRIVATE" not in repr(tokens)
    tokens.close()


async def test_a_token_is_kept_until_shortly_before_its_end(
    tokens: GoogleTokens, key: str, service: Any, clock: LaterClock
) -> None:
    """One that an attempt is sent with holds for the time that Google takes to look at it."""
    assert await tokens.fresh(VERTEX, key) == "ya29.1"
    clock.passed_s = LIFE_S - MARGIN_S - 30.0
    assert await tokens.fresh(VERTEX, key) == "ya29.1"
    clock.passed_s = LIFE_S - MARGIN_S + 1.0
    assert await tokens.fresh(VERTEX, key) == "ya29.2"
    assert await tokens.fresh(VERTEX, key) == "ya29.2"
    assert len(service.claims) == 2


async def test_all_who_come_meanwhile_wait_for_the_same(tokens: GoogleTokens, key: str, service: Any) -> None:
    """One request, whoever of them leaves."""
    service.gate.clear()
    waiting = [asyncio.create_task(tokens.fresh(VERTEX, key)) for _ in range(20)]
    while not service.claims:
        await asyncio.sleep(0.005)
    waiting[0].cancel()
    await asyncio.sleep(0)
    service.gate.set()
    assert {await each for each in waiting[1:]} == {"ya29.1"}
    assert waiting[0].cancelled()
    assert len(service.claims) == 1


async def test_a_service_that_hangs_keeps_no_other_from_its_token(key: str, service: Any, clock: LaterClock) -> None:
    """Two credentials, two services: the one that is well is served while the other is waited for."""
    other = service_module.TokenService()
    await other.start()
    second = json.dumps(other.account)
    tokens = google_tokens.google_tokens([(VERTEX, key), (VERTEX, second)], clock)
    service.gate.clear()
    waiting = asyncio.create_task(tokens.fresh(VERTEX, key))
    while not service.claims:
        await asyncio.sleep(0.001)
    try:
        async with asyncio.timeout(5.0):
            assert await tokens.fresh(VERTEX, second) == "ya29.1"
    finally:
        service.gate.set()
        await waiting
        tokens.close()
        await other.close()


async def test_the_loop_goes_on_meanwhile(tokens: GoogleTokens, key: str, service: Any) -> None:
    """The service is on this very loop: a refresh that blocked it would never end."""
    async with asyncio.timeout(5):
        assert await tokens.fresh(VERTEX, key) == "ya29.1"


async def test_an_account_that_is_refused_is_a_matter_of_the_credential(
    tokens: GoogleTokens, key: str, service: Any
) -> None:
    """Its word is told, and not the sentence behind it, which may quote what was sent; the next attempt asks again."""
    service.next.append((400, {"error": "invalid_grant", "error_description": "drawer@my-project is unknown"}))
    failure = await refused(tokens, key)
    assert failure.kind is FailureKind.CREDENTIAL
    assert "invalid_grant" in failure.detail
    assert "`keys`" in failure.detail
    assert await tokens.fresh(VERTEX, key) == "ya29.2"


async def test_a_service_with_a_bad_minute_is_not(
    tokens: GoogleTokens, key: str, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """google-auth tries three times; then another attempt may."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    service.next.extend([(503, {"error": "internal_failure"})] * 3)
    failure = await refused(tokens, key)
    assert failure.kind is FailureKind.UNREACHABLE
    assert len(service.claims) == 3


async def test_nobody_there_is_unreachable(tokens: GoogleTokens, key: str, service: Any) -> None:
    """Nothing was sent to anybody."""
    await service.close()
    failure = await refused(tokens, key)
    assert failure.kind is FailureKind.UNREACHABLE


async def test_an_old_token_is_used_while_it_holds(
    tokens: GoogleTokens, key: str, service: Any, clock: LaterClock
) -> None:
    """Its service may be away for the last minutes of it."""
    assert await tokens.fresh(VERTEX, key) == "ya29.1"
    await service.close()
    clock.passed_s = LIFE_S - 120.0
    assert await tokens.fresh(VERTEX, key) == "ya29.1"
    clock.passed_s = LIFE_S - 10.0
    assert (await refused(tokens, key)).kind is FailureKind.UNREACHABLE


async def test_a_token_that_was_refused_is_not_used_again(tokens: GoogleTokens, key: str, service: Any) -> None:
    """A role may have been granted since."""
    assert await tokens.fresh(VERTEX, key) == "ya29.1"
    tokens.forget(VERTEX, key)
    tokens.forget(GEMINI, "k")
    assert await tokens.fresh(VERTEX, key) == "ya29.2"


async def test_who_waits_too_long_is_told_and_what_comes_is_kept(
    tokens: GoogleTokens, key: str, service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt's caller waits as well."""
    monkeypatch.setattr(google_tokens, "WAIT_S", 0.05)
    service.gate.clear()
    assert (await refused(tokens, key)).kind is FailureKind.UNREACHABLE
    service.gate.set()
    monkeypatch.setattr(google_tokens, "WAIT_S", 5.0)
    assert await tokens.fresh(VERTEX, key) == "ya29.1"
    assert len(service.claims) == 1


async def test_what_is_no_token_goes_as_it_is(clock: LaterClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """API keys, and every other provider's: google-auth is not even looked for."""
    monkeypatch.setitem(sys.modules, "google.auth", None)
    tokens = google_tokens.google_tokens([(EXPRESS, "AIza-x"), (GEMINI, "adc")], clock)
    assert await tokens.fresh(EXPRESS, "AIza-x") == "AIza-x"
    assert await tokens.fresh(GEMINI, "adc") == "adc"
    tokens.close()


def test_a_missing_extra_is_told_at_the_start(clock: LaterClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install, and the way without."""
    monkeypatch.setitem(sys.modules, "google.auth", None)
    with pytest.raises(ConfigError, match=r"holdfast\[vertex\]") as told:
        google_tokens.google_tokens([(VERTEX, "adc")], clock)
    assert told.value.key == "upstreams.vertex.keys"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read"),
        ("", "no key of a service account"),
        ("[]", "no key of a service account"),
        ("{}", "no key of a service account"),
        ('{"type": "authorized_user", "refresh_token": "1//secret"}', "GOOGLE_APPLICATION_CREDENTIALS"),
        ('{"client_email": "x", "token_uri": "https://x", "private_key": "secret"}', "no key of a service account"),
    ],
)
def test_a_file_that_is_none_is_told_at_the_start(
    text: str | None, told: str, clock: LaterClock, tmp_path: Path
) -> None:
    """Without a word of what is in it."""
    file = tmp_path / "account.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=told) as refused:
        google_tokens.google_tokens([(VERTEX, f"file:{file}")], clock)
    assert refused.value.key == "upstreams.vertex.keys"
    assert "secret" not in str(refused.value)


async def test_application_default_credentials_are_looked_for_when_needed(
    service: Any, key: str, clock: LaterClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Google's own tools look; not there is a matter of the credential."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/at/all.json")
    tokens = google_tokens.google_tokens([(VERTEX, "adc")], clock)
    failure = await refused(tokens, "adc")
    assert failure.kind is FailureKind.CREDENTIAL
    assert "application default credentials" in failure.detail
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", key.removeprefix("file:"))
    assert await tokens.fresh(VERTEX, "adc") == "ya29.1"
    tokens.close()


async def test_closing_lets_go_of_what_is_under_way(tokens: GoogleTokens, key: str, service: Any) -> None:
    """A process that ends waits for no token."""
    service.gate.clear()
    waiting = asyncio.create_task(tokens.fresh(VERTEX, key))
    while not service.claims:
        await asyncio.sleep(0.005)
    tokens.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    service.gate.set()


async def test_a_redirect_is_not_followed(tokens: GoogleTokens, key: str, service: Any) -> None:
    """A signed assertion goes to whoever the file names, and to nobody else."""
    service.next.append((307, {}))
    assert (await refused(tokens, key)).kind is FailureKind.CREDENTIAL
    assert len(service.claims) == 1


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_nothing_but_http_is_spoken(url: str) -> None:
    """Whatever a file names as its token service."""
    from google.auth.exceptions import TransportError

    with pytest.raises(TransportError):
        AuthRequest()(url)


class Metadata:
    """What answers on a machine of Google's."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.host = ""
        self.asked: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and hang up."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split()[1].decode())
        writer.write(self.answers.pop(0))
        writer.close()


@pytest.fixture
async def metadata(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Metadata]:
    """It stands where google-auth looks for it."""
    made = Metadata()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", made.host)
    yield made
    server.close()


def documented(document: dict[str, Any]) -> bytes:
    """As the metadata server writes it."""
    body = json.dumps(document).encode()
    head = "HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


async def test_a_machine_of_google_s_gives_its_own(
    metadata: Metadata, clock: LaterClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The credentials that `adc` finds there."""
    from google.auth import compute_engine

    monkeypatch.setattr("google.auth.default", lambda scopes: (compute_engine.Credentials(scopes=scopes), "my-project"))
    metadata.answers = [
        documented({"aliases": ["default"], "email": "default", "scopes": list(SCOPES)}),
        documented({"access_token": "ya29.machine", "expires_in": 3599, "token_type": "Bearer"}),
    ]
    tokens = google_tokens.google_tokens([(VERTEX, "adc")], clock)
    assert await tokens.fresh(VERTEX, "adc") == "ya29.machine"
    assert len(metadata.asked) == 2
    tokens.close()


@pytest.mark.parametrize(
    ("status", "kind"), [("503 Busy", FailureKind.UNREACHABLE), ("404 Not Found", FailureKind.CREDENTIAL)]
)
async def test_a_machine_that_gives_none_for_now_keeps_its_credential(
    metadata: Metadata, clock: LaterClock, monkeypatch: pytest.MonkeyPatch, status: str, kind: FailureKind
) -> None:
    """A metadata server that restarts says nothing of the account; one that knows of none does."""
    from google.auth import compute_engine

    monkeypatch.setattr("google.auth.default", lambda scopes: (compute_engine.Credentials(scopes=scopes), "my-project"))
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda _: None)
    metadata.answers = [f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()] * 10
    tokens = google_tokens.google_tokens([(VERTEX, "adc")], clock)
    assert (await refused(tokens, "adc")).kind is kind
    tokens.close()


@pytest.mark.parametrize("status", ["200 OK", "503 Busy"])
async def test_an_answer_that_breaks_off_is_none(metadata: Metadata, status: str) -> None:
    """Neither a token, nor a disk of ours that fails."""
    from google.auth.exceptions import TransportError

    metadata.answers = [f"HTTP/1.1 {status}\r\nContent-Length: 99\r\n\r\n{{".encode()]
    with pytest.raises(TransportError):
        await asyncio.to_thread(AuthRequest(), f"http://{metadata.host}/x")
