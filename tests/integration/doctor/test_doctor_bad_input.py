"""Whatever stands at a URL, the doctor says what it is and what to do, and ends as every command does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli.exits import Exit
from holdfast.cli.main import main
from holdfast.clock import SystemClock
from holdfast.doctor import examine as examining
from holdfast.doctor.certificate import validity_of

HOST = "127.0.0.1"

pytestmark = pytest.mark.timeout(90)


async def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Run the command beside the test's servers; its exit code, and what it printed."""
    code = await asyncio.to_thread(main, ["doctor", *words])
    printed = capsys.readouterr()
    return code, " ".join(printed.out.split()), " ".join(printed.err.split())


@contextlib.asynccontextmanager
async def serving(answer: bytes | None, *, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Answer every request with the same bytes, or hang up; give the port."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await reader.readuntil(b"\r\n\r\n")
            if answer is not None:
                writer.write(answer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(one, HOST, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def an_answer(status: int, content_type: str, text: str, **headers: str) -> bytes:
    """Write one, which ends its connection."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Type: {content_type}", f"Content-Length: {len(text)}"]
    lines += [f"{name}: {value}" for name, value in {"Connection": "close", **headers}.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + text).encode()


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[..., tuple[Path, ssl.SSLContext]]:
    """Make certificates, as people do; a file of authorities, and a server's context."""

    def made(*, name: str = "localhost", days: int = 30) -> tuple[Path, ssl.SSLContext]:
        cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
        command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-days", str(abs(days))]
        subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
        if days < 0:
            # openssl makes none that has expired. Nobody verifies the signature of an authority that is trusted.
            der = ssl.PEM_cert_to_DER_cert(cert.read_text("ascii"))
            valid = validity_of(der)
            assert valid is not None
            for moment, moved in zip(valid, (timedelta(days=-9), timedelta(days=2 * days)), strict=True):
                der = der.replace(f"{moment:%y%m%d%H%M%SZ}".encode(), f"{moment + moved:%y%m%d%H%M%SZ}".encode())
            cert.write_text(ssl.DER_cert_to_PEM_cert(der), "ascii")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        return cert, context

    return made


async def test_a_wrong_key_is_refused_by_name(gateway: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With what was measured before; the key itself is not told."""
    url = f"http://{HOST}:{gateway.port}"
    code, out, err = await told(capsys, url, "--api-key", "hf-01KAAAAAAAAAAAAAAAAAAAAAAA-wrongsecret")
    assert code == Exit.KEY_WRONG
    assert "Tried was hf-01KAAAAAAAAAAAAAAAAAAAAAAA-…" in err
    assert "wrongsecret" not in out + err
    assert f"port {gateway.port}" in out


async def test_no_key_is_asked_for(
    gateway: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder where no gateway keeps one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOLDFAST_API_KEY", raising=False)
    code, _, err = await told(capsys, f"{HOST}:{gateway.port}")
    assert code == Exit.KEY_WRONG
    assert "No API key was given" in err


async def test_a_name_that_does_not_resolve(capsys: pytest.CaptureFixture[str]) -> None:
    """RFC 6761 keeps .invalid free of names."""
    code, out, err = await told(capsys, "https://images.invalid/v1")
    assert code == Exit.UNREACHABLE
    assert "images.invalid does not resolve" in err
    assert out == ""


async def test_a_port_where_nobody_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Refused, with the address that was tried."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port = sock.getsockname()[1]
        code, out, err = await told(capsys, f"http://{HOST}:{port}/v1")
    assert code == Exit.UNREACHABLE
    assert f"Port {port} of {HOST} cannot be connected to" in err
    assert "name 127.0.0.1" in out


async def test_a_web_page_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """What can be done without the probe is done: proxies, clock; and it is said that the rest was not."""
    page = an_answer(200, "text/html", "<title>Shop</title>", Server="nginx/1.22.1", Via="1.1 varnish (Varnish/7.1)")
    async with serving(page) as port:
        code, out, _ = await told(capsys, f"http://{HOST}:{port}", "--quick")
    assert code == Exit.OK
    assert "is a web page (200), not holdfast's API" in out
    assert "were not measured" in out
    assert "nginx, Varnish" in out
    assert "What to set" not in out


async def test_another_api_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A relay: it wants its own key, and has no probe."""
    async with serving(an_answer(401, "application/json", '{"error":{"message":"Invalid token"}}')) as port:
        code, out, _ = await told(capsys, f"http://{HOST}:{port}", "--json")
    assert code == Exit.OK
    assert "asks for another key and has no probe" in out
    document = json.loads(out)
    assert document["gateway"] is None
    assert document["verdict"]["culprit"] is None


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_clock_that_is_off_by_an_hour(capsys: pytest.CaptureFixture[str], hours: int) -> None:
    """Of whoever answers: the Date header is enough."""
    date = format_datetime(SystemClock().now() + timedelta(hours=hours), usegmt=True)
    async with serving(an_answer(404, "application/json", "{}", Date=date)) as port:
        code, out, _ = await told(capsys, f"http://{HOST}:{port}")
    assert code == Exit.OK
    assert f"60 min {'behind' if hours > 0 else 'ahead of'} the one there" in out
    assert "set the clock that is wrong" in out


async def test_https_on_the_plain_port(gateway: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """With the URL that works."""
    code, _, err = await told(capsys, f"https://{HOST}:{gateway.port}/v1")
    assert code == Exit.UNREACHABLE
    assert f"speaks plain HTTP, not TLS. Write http://{HOST}:{gateway.port}/v1." in err


async def test_plain_http_on_the_tls_port(
    capsys: pytest.CaptureFixture[str], certificate: Callable[..., tuple[Path, ssl.SSLContext]]
) -> None:
    """The reverse; nothing is sent there in clear but a request for an echo, without a key when there is none."""
    _, context = certificate()
    async with serving(b"", context=context) as port:
        code, _, err = await told(capsys, f"http://localhost:{port}")
    assert code == Exit.USAGE
    assert f"Port {port} speaks TLS. Write https://localhost:{port}/v1." in err


async def test_nginx_says_it_in_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    """Its 400 is read."""
    page = "<center>The plain HTTP request was sent to HTTPS port</center>"
    async with serving(an_answer(400, "text/html", page)) as port:
        code, _, err = await told(capsys, f"http://{HOST}:{port}")
    assert code == Exit.USAGE
    assert "speaks TLS" in err


async def test_a_port_that_speaks_something_else(capsys: pytest.CaptureFixture[str]) -> None:
    """SSH, say."""
    async with serving(b"SSH-2.0-OpenSSH_9.2p1\r\n") as port:
        code, _, err = await told(capsys, f"http://{HOST}:{port}")
    assert code == Exit.USAGE
    assert "not in HTTP/1" in err


async def test_a_port_that_hangs_up(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a word, in either protocol."""
    async with serving(None) as port:
        code, _, err = await told(capsys, f"http://{HOST}:{port}")
    assert code == Exit.UNREACHABLE
    assert "The first request was closed." in err


async def test_an_error_of_a_proxy_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The gateway behind it is down."""
    async with serving(an_answer(502, "text/html", "<h1>502 Bad Gateway</h1>", Server="nginx")) as port:
        code, out, err = await told(capsys, f"http://{HOST}:{port}")
    assert code == Exit.UNREACHABLE
    assert "answered 502" in err
    assert "nginx" in out


async def test_an_expired_certificate(
    capsys: pytest.CaptureFixture[str],
    certificate: Callable[..., tuple[Path, ssl.SSLContext]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Since when; and no key was sent."""
    authorities, context = certificate(days=-2)
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
    async with serving(an_answer(200, "application/json", "{}"), context=context) as port:
        code, _, err = await told(capsys, f"https://localhost:{port}", "--api-key", "hf-key-0")
    assert code == Exit.UNREACHABLE
    since = SystemClock().now() - timedelta(days=2)
    assert f"The certificate of localhost has expired since {since:%Y-%m-%d}" in err


async def test_a_certificate_of_another_name(
    capsys: pytest.CaptureFixture[str],
    certificate: Callable[..., tuple[Path, ssl.SSLContext]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Use the name that it is for."""
    authorities, context = certificate(name="images.example.com")
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
    async with serving(b"", context=context) as port:
        code, _, err = await told(capsys, f"https://localhost:{port}")
    assert code == Exit.UNREACHABLE
    assert "The certificate is not for localhost" in err


async def test_a_certificate_of_nobody_known(
    capsys: pytest.CaptureFixture[str], certificate: Callable[..., tuple[Path, ssl.SSLContext]]
) -> None:
    """A private authority is named in a variable."""
    _, context = certificate()
    async with serving(b"", context=context) as port:
        code, _, err = await told(capsys, f"https://localhost:{port}")
    assert code == Exit.UNREACHABLE
    assert "SSL_CERT_FILE" in err


async def test_a_good_certificate_is_told_of(
    capsys: pytest.CaptureFixture[str],
    certificate: Callable[..., tuple[Path, ssl.SSLContext]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With its days; a stranger behind it is examined as far as it goes."""
    authorities, context = certificate(days=9)
    monkeypatch.setenv("SSL_CERT_FILE", str(authorities))
    async with serving(an_answer(404, "application/json", "{}"), context=context) as port:
        code, out, _ = await told(capsys, f"https://localhost:{port}")
    assert code == Exit.OK
    assert "TLSv1.3" in out
    assert "certificate of localhost by localhost, 9 days left" in out
    assert "The certificate ends in 9.0 days." in out


async def test_proxy_variables_are_bypassed_and_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that they name does not even exist."""
    monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@{HOST}:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with serving(an_answer(404, "application/json", "{}")) as port:
        code, out, err = await told(capsys, f"http://{HOST}:{port}")
    assert code == Exit.OK
    assert f"HTTP_PROXY={HOST}:9" in out
    assert "bypassed" in out
    assert "secret" not in out + err


async def test_a_hop_that_takes_the_key_out_is_told(ground: Any, hops: Any, gateway: Any, tmp_path: Path) -> None:
    """Squid does, unless told otherwise; the other header passes, and the examination goes on with it."""
    plan = examining.Plan(until_s=2.0, probes=4, beats_s=2.0, beat_s=0.5, grace_s=1.0)
    path = (hops.Hop(kind="squid", limit_s=300.0),)
    async with hops.standing(path, gateway.port, tmp_path / "path") as port:
        findings = await ground.examined(port, gateway.keys[0], plan)
    assert findings.echo is not None
    assert "takes the Authorization header out" in findings.notes[0]
    assert findings.is_complete


async def test_ctrl_c_prints_what_is_known(gateway: Any, tmp_path: Path) -> None:
    """In mid-silence: name, connection, gateway, clock; and what was not measured is not guessed."""
    environ = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    words = ["-m", "holdfast.cli.main", "doctor", f"{HOST}:{gateway.port}", "--quick"]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        env={**environ, "HOLDFAST_API_KEY": gateway.keys[0]},
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    # The shortest of its silences is 4 s: once the gateway holds it, the examination is in the middle.
    async with asyncio.timeout(30):
        while connections(gateway.port) < 10:
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == Exit.INTERRUPTED
    assert b"Interrupted; this is what is known by now." in err
    assert b"holdfast 0." in out
    assert b"not measured to the end" in out
    assert b"Traceback" not in err


def connections(port: int) -> int:
    """Count what is connected to a port of this machine."""
    lines = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
    return sum(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "01" for line in lines)


async def test_a_whole_examination_from_the_command_line(
    gateway: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a path that nothing cuts: everything is measured, and the shipped beats do."""
    monkeypatch.setattr("holdfast.doctor.schedule.QUICK_S", 3.0)
    url = f"http://{HOST}:{gateway.port}/v1/images/generations"
    code, out, err = await told(capsys, url, "--quick", "--api-key", gateway.keys[0], "--json")
    assert code == Exit.OK, err
    document = json.loads(out)
    assert document["url"] == f"http://{HOST}:{gateway.port}/v1"
    assert document["is_complete"]
    assert document["verdict"]["silence"]["kind"] == "uncut"
    assert document["verdict"]["beats"] == "pass"
    assert document["verdict"]["interims"] == "pass"
    assert document["verdict"]["is_zipped"] is False
    assert abs(document["ahead_s"]) < 5.0
    assert document["gateway"]["congestion"]
    assert gateway.keys[0] not in out
