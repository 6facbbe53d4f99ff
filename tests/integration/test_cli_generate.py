"""`holdfast generate` against a peer on a real socket that answers as a gateway does."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import progress
from holdfast.cli.exits import Exit
from holdfast.cli.main import main
from holdfast.store.lock import DataFolder
from holdfast.types import Charge, Surface
from holdfast.wire.failures import render_error
from holdfast.wire.generations import Cost, GenerationResource, Progress, render_generation

GENERATION = "gen_01J00000000000000000000000"
Script = Callable[[BaseHTTPRequestHandler], None]


class Gateway(ThreadingHTTPServer):
    """Answers every POST by the script of the test, and remembers what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: Script = answer_with(200, images())
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[Any] = []
        self.expected_s: float | None = None
        """What it says of a generation that is asked after; None: it knows of no such thing."""
        self.asked_after: list[tuple[str, str | None]] = []

    @property
    def base_url(self) -> str:
        """What `--base-url` is given."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Gateway

    def do_POST(self) -> None:
        self.server.paths.append(self.path)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.server.bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.server.script(self)

    def do_GET(self) -> None:
        self.server.asked_after.append((self.path, self.headers["authorization"]))
        expected_s = self.server.expected_s
        known = b"" if expected_s is None else a_resource(expected_s)
        answer_with(404 if expected_s is None else 200, known)(self)

    def log_message(self, format: str, *args: object) -> None:
        """Stay quiet."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """Run a peer."""
    server = Gateway()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, with nothing in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOLDFAST_API_KEY", "HOLDFAST_BASE_URL", "HOLDFAST_PORT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def a_png(width_px: int = 64, height_px: int = 64) -> bytes:
    """Draw a picture of noise, so that its size is that of its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + os.urandom(width_px) for _ in range(height_px))
    header = struct.pack(">IIBBBBB", width_px, height_px, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")


PICTURE = a_png()


def images(*pictures: bytes) -> bytes:
    """Write an OpenAI answer."""
    data = [{"b64_json": base64.b64encode(each).decode(), "url": "/x"} for each in pictures or (PICTURE,)]
    return json.dumps({"created": 1, "model": "nano-banana-pro", "data": data}).encode()


def error(message: str, code: str) -> bytes:
    """Write an OpenAI error."""
    return json.dumps({"error": {"message": message, "type": "x", "param": None, "code": code}}).encode()


def answer_with(status: int, body: bytes) -> Script:
    """Answer at once, with a length."""

    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Generation-Id", GENERATION)
        handler.end_headers()
        handler.wfile.write(body)

    return script


def a_resource(expected_s: float) -> bytes:
    """Write how a generation stands."""
    cost = Cost(held_micros=1, charged_micros=0, compensated_micros=0, currency="USD")
    told = Progress(elapsed_s=0.1, expected_s=expected_s, p95_s=2 * expected_s, fraction=0.0)
    return render_generation(
        GenerationResource(
            id=GENERATION,
            status="running",
            sequence_number=1,
            model="m",
            size="4K",
            created_at="2026-01-01T00:00:00.000Z",
            paid="unknown",
            cost=cost,
            progress=told,
        )
    )


def beat_then(body: bytes, *, beats: int = 3, gap_s: float = 0.05, ends: bool = True) -> Script:
    """Commit 200 early, beat, then send the rest."""

    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.send_header("Generation-Id", GENERATION)
        handler.end_headers()
        for _ in range(beats):
            handler.wfile.write(b"1\r\n\n\r\n")
            handler.wfile.flush()
            time.sleep(gap_s)
        handler.wfile.write(b"%x\r\n%b\r\n" % (len(body), body))
        if ends:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.close_connection = True

    return script


def generate(gateway: Gateway, *words: str) -> int:
    """Run the command against the peer."""
    return main(["generate", "a cat", "--base-url", gateway.base_url, "--api-key", "hf-test", *words])


def test_an_image_arrives_under_the_name_asked(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """The file holds the bytes that were sent, and the command says what they are."""
    assert generate(gateway, "-o", "cat.png", "--size", "1K") == Exit.OK
    assert Path("cat.png").read_bytes() == PICTURE
    assert "cat.png  64x64 image/png" in capsys.readouterr().out
    assert list(Path().iterdir()) == [Path("cat.png")]
    assert gateway.paths == ["/v1/images/generations"]
    assert gateway.headers[0]["authorization"] == "Bearer hf-test"
    assert gateway.bodies[0] == {"prompt": "a cat", "n": 1, "size": "1K"}


def test_a_suffix_that_promises_another_format_is_told(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """The file has the name that was asked for, and the person knows what is in it."""
    assert generate(gateway, "-o", "cat.jpg") == Exit.OK
    assert Path("cat.jpg").read_bytes() == PICTURE
    assert "(kept as named, but .jpg is not what it is)" in capsys.readouterr().out


def test_words_without_quotes_are_one_prompt(gateway: Gateway) -> None:
    """`holdfast generate a cat on a mat` does what it looks like."""
    assert main(["generate", "a", "cat", "on", "a", "mat", "--base-url", gateway.base_url]) == Exit.OK
    assert gateway.bodies[0]["prompt"] == "a cat on a mat"


def test_heartbeats_do_not_disturb(gateway: Gateway) -> None:
    """White space before the answer is waited through."""
    gateway.script = beat_then(images())
    assert generate(gateway, "-o", "cat.png") == Exit.OK
    assert Path("cat.png").read_bytes() == PICTURE


def test_without_a_name_the_generation_names_the_file(gateway: Gateway) -> None:
    """It can be found again at the gateway."""
    assert generate(gateway) == Exit.OK
    assert Path(f"{GENERATION}.png").read_bytes() == PICTURE


def test_several_images_become_several_files(gateway: Gateway) -> None:
    """One call, one file an image."""
    pictures = [a_png(8, 8), a_png(16, 16)]
    gateway.script = answer_with(200, images(*pictures))
    assert generate(gateway, "--n", "2", "-o", "out/") == Exit.OK
    assert [Path(f"out/{GENERATION}-{index}.png").read_bytes() for index in (0, 1)] == pictures


def test_fewer_images_than_asked_are_told(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """What exists is kept; what is missing is said."""
    assert generate(gateway, "--n", "3", "-o", "cat.png") == Exit.OK
    assert Path("cat-0.png").exists()
    assert "1 of 3 images came." in capsys.readouterr().out


def test_json_tells_a_program_everything(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """One object on standard output, nothing else there."""
    assert generate(gateway, "-o", "cat.png", "--json") == Exit.OK
    told = json.loads(capsys.readouterr().out)
    assert told["generation_id"] == GENERATION
    image = told["images"][0]
    assert (image["path"], image["size"], image["bytes"]) == ("cat.png", "64x64", len(PICTURE))
    assert image["complete"] is True


def test_a_log_sees_progress_as_lines(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Away from a terminal there are no control characters."""
    monkeypatch.setattr(progress, "PLAIN_FIRST_S", 0.02)
    gateway.script = beat_then(images())
    assert generate(gateway, "--size", "4K", "-o", "cat.png") == Exit.OK
    said = capsys.readouterr().err
    assert said.startswith("4K  0 s: ")
    assert "\x1b" not in said


def test_the_gateways_own_estimate_is_told(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulated upstream is faster than life, and only its gateway knows."""
    monkeypatch.setattr(progress, "PLAIN_FIRST_S", 0.4)
    gateway.expected_s = 15.0
    gateway.script = beat_then(images(), beats=16)
    assert generate(gateway, "--size", "4K", "-o", "cat.png") == Exit.OK
    assert "half take 15 s" in capsys.readouterr().err
    assert gateway.asked_after == [(f"/v1/generations/{GENERATION}", "Bearer hf-test")]


def test_what_fails_at_once_is_told_in_one_line(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """No estimate stands before a wrong key."""
    gateway.script = answer_with(401, error("The API key is not known here.", "invalid_api_key"))
    assert generate(gateway) == Exit.KEY_WRONG
    told = capsys.readouterr().err
    # The stand-in's own server may tell there of a connection that was reset.
    assert [line.split(":")[0] for line in told.splitlines() if line.startswith("holdfast")] == ["holdfast"], told
    assert "half take" not in told


def test_a_program_is_shown_no_progress(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --json standard error is empty, or one error."""
    monkeypatch.setattr(progress, "PLAIN_FIRST_S", 0.02)
    gateway.script = beat_then(images())
    assert generate(gateway, "--json", "-o", "cat.png") == Exit.OK
    assert capsys.readouterr().err == ""


def test_a_reference_image_travels_as_gemini_inline_data(gateway: Gateway) -> None:
    """The surface that carries pictures gets them, streamed from the file."""
    Path("in.png").write_bytes(a_png(16, 9))
    parts = [{"inlineData": {"mimeType": "image/png", "data": base64.b64encode(PICTURE).decode()}}]
    answer = {"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP"}]}
    gateway.script = answer_with(200, json.dumps(answer).encode())
    assert generate(gateway, "--from", "in.png", "-o", "cat.png") == Exit.OK
    assert Path("cat.png").read_bytes() == PICTURE
    assert gateway.paths == ["/v1/models/nano-banana-pro:generateContent"]
    assert gateway.headers[0]["x-goog-api-key"] == "hf-test"
    sent = gateway.bodies[0]["contents"][0]["parts"]
    assert sent[0] == {"text": "a cat"}
    assert base64.b64decode(sent[1]["inlineData"]["data"]) == Path("in.png").read_bytes()


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, "invalid_api_key", Exit.KEY_WRONG),
        (404, "model_not_found", Exit.NO_SUCH_MODEL),
        (400, "moderation_blocked", Exit.REFUSED),
        (400, "unsupported_size", Exit.USAGE),
        (502, "upstream_failed", Exit.GENERATION_FAILED),
        (503, "storage_low", Exit.DISK_FULL),
    ],
)
def test_errors_end_with_their_codes(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], status: int, code: str, expected: Exit
) -> None:
    """The gateway's own sentence is passed on, in one line."""
    gateway.script = answer_with(status, error("What went wrong.", code))
    assert generate(gateway, "--json", "-o", "cat.png") == expected
    told = json.loads(capsys.readouterr().err.splitlines()[-1])["error"]
    assert told["message"].startswith("What went wrong.")
    assert told["generation_id"] == GENERATION
    assert list(Path().iterdir()) == []


def test_a_late_error_is_an_error(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """A 200 that beat for a while may still end without an image."""
    gateway.script = beat_then(error("The upstream failed.", "upstream_failed"))
    assert generate(gateway) == Exit.GENERATION_FAILED
    assert "The upstream failed." in capsys.readouterr().err


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("paid", "told"), [("no", "Nothing was charged."), ("unknown", "It may have been"), ("yes", "It was charged for.")]
)
def test_what_a_failure_cost_is_told(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], late: bool, paid: str, told: str
) -> None:
    """To a person as a sentence, to a program beside the gateway's own code."""
    body = render_error(Surface.OPENAI, code="empty_result", message="u made no image", paid=Charge(paid))
    gateway.script = beat_then(body) if late else answer_with(502, body)
    assert generate(gateway, "--json") == Exit.GENERATION_FAILED
    error_ = json.loads(capsys.readouterr().err.splitlines()[-1])["error"]
    assert (error_["code"], error_["holdfast_code"], error_["paid"]) == ("generation_failed", "empty_result", paid)
    assert f"u made no image. {told}" in error_["message"]


def test_a_gemini_answer_without_a_picture_is_no_refusal(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """NO_IMAGE is a failure of the upstream, which nobody declined, and which may have cost."""
    Path("in.png").write_bytes(PICTURE)
    gateway.script = answer_with(200, json.dumps({"candidates": [{"finishReason": "NO_IMAGE"}]}).encode())
    assert generate(gateway, "--from", "in.png") == Exit.GENERATION_FAILED
    assert "The answer holds no image. It may have been charged for." in capsys.readouterr().err


def test_a_late_line_of_text_is_an_error(gateway: Gateway) -> None:
    """What is not JSON is never taken for an empty success."""
    gateway.script = beat_then(b"holdfast: generation gen_1 failed: upstream_failed: no\n")
    assert generate(gateway) == Exit.GENERATION_FAILED


def test_a_gemini_refusal_is_a_refusal(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """A 200 with a finishReason and no picture has declined."""
    Path("in.png").write_bytes(PICTURE)
    answer = {"candidates": [{"finishReason": "IMAGE_SAFETY", "finishMessage": "Not this."}]}
    gateway.script = answer_with(200, json.dumps(answer).encode())
    assert generate(gateway, "--from", "in.png") == Exit.REFUSED
    assert "IMAGE_SAFETY" in capsys.readouterr().err


def test_an_empty_answer_is_a_failure(gateway: Gateway) -> None:
    """200 and no image is no success."""
    gateway.script = answer_with(200, b'{"created": 1, "data": []}')
    assert generate(gateway) == Exit.GENERATION_FAILED


def test_a_page_of_html_is_not_shown(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """A proxy's page says nothing that a person needs."""
    gateway.script = answer_with(502, b"<html><h1>Bad gateway</h1></html>")
    assert generate(gateway) == Exit.GENERATION_FAILED
    said = capsys.readouterr().err
    assert "HTTP 502" in said
    assert "<h1>" not in said


def test_a_body_that_breaks_off_leaves_no_file_and_says_how_to_collect(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a picture is none; the whole one is at the gateway."""
    body = images(a_png(600, 600))
    gateway.script = beat_then(body[: len(body) // 2], ends=False)
    assert generate(gateway, "-o", "cat.png") == Exit.GENERATION_FAILED
    assert f"/v1/generations/{GENERATION}" in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_nobody_listening_is_code_8(capsys: pytest.CaptureFixture[str]) -> None:
    """The message says what to start."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert main(["generate", "a cat", "--base-url", f"http://127.0.0.1:{port}"]) == Exit.UNREACHABLE
    said = capsys.readouterr().err
    assert "holdfast serve" in said
    assert said.count("127.0.0.1") == 1


def test_the_environment_names_gateway_and_key(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell is set up once."""
    monkeypatch.setenv("HOLDFAST_BASE_URL", gateway.base_url)
    monkeypatch.setenv("HOLDFAST_API_KEY", "hf-environment")
    assert main(["generate", "a cat"]) == Exit.OK
    assert gateway.headers[0]["authorization"] == "Bearer hf-environment"


def test_the_demos_key_is_found(gateway: Gateway) -> None:
    """After `make run` the next command just works."""
    Path(".holdfast").mkdir()
    Path(".holdfast/demo.key").write_text("hf-demo\n", "ascii")
    assert main(["generate", "a cat", "--base-url", gateway.base_url]) == Exit.OK
    assert gateway.headers[0]["authorization"] == "Bearer hf-demo"


def test_a_gateway_that_runs_is_given_the_key_it_wrote(gateway: Gateway) -> None:
    """Of two keys on this machine that of the gateway which runs is the likelier one."""
    for folder, file, key in ((".holdfast/data", ".holdfast/demo.key", "demo"), ("mine", "mine/first.key", "first")):
        Path(folder).mkdir(parents=True)
        Path(file).write_text(f"hf-{key}\n", "ascii")
    with DataFolder(Path("mine")):
        assert main(["generate", "a cat", "--base-url", gateway.base_url, "--data", "mine"]) == Exit.OK
    assert main(["generate", "a cat", "--base-url", gateway.base_url, "--data", "empty"]) == Exit.OK
    assert [headers["authorization"] for headers in gateway.headers] == ["Bearer hf-first", "Bearer hf-demo"]


def test_a_refused_key_is_told_with_its_origin(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that was found and not given is the first thing to doubt; its secret is not shown."""
    Path(".holdfast").mkdir()
    Path(".holdfast/demo.key").write_text("hf-01ABC-s3cret\n", "ascii")
    gateway.script = answer_with(401, error("The API key is not known here.", "invalid_api_key"))
    assert main(["generate", "a cat", "--base-url", gateway.base_url]) == Exit.KEY_WRONG
    said = capsys.readouterr().err
    assert "not known here. Tried was hf-01ABC-…, from .holdfast/demo.key." in said
    assert "HOLDFAST_API_KEY" in said
    assert "s3cret" not in said


def test_a_missing_key_is_told_once(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """The gateway speaks of headers; whoever types a command is told of its options alone."""
    gateway.script = answer_with(401, error("No API key was given. Send it as `Authorization`.", "invalid_api_key"))
    assert main(["generate", "a cat", "--base-url", gateway.base_url, "--json"]) == Exit.KEY_WRONG
    told = json.loads(capsys.readouterr().err.splitlines()[-1])["error"]
    assert told["message"].startswith("No API key was given. Give the gateway's with --api-key or HOLDFAST_API_KEY;")
    assert "Authorization" not in told["message"]


def test_the_line_to_collect_with_can_be_pasted(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """It reads the key from where the command had it."""
    body = images(a_png(600, 600))
    gateway.script = beat_then(body[: len(body) // 2], ends=False)
    Path(".holdfast").mkdir()
    Path(".holdfast/demo.key").write_text("hf-demo\n", "ascii")
    assert main(["generate", "a cat", "--base-url", gateway.base_url]) == Exit.GENERATION_FAILED
    said = capsys.readouterr().err
    assert 'curl -sS -H "Authorization: Bearer $(cat .holdfast/demo.key)" http://127.0.0.1:' in said


@pytest.mark.parametrize(
    "words",
    [
        [" "],
        ["a cat", "--n", "0"],
        ["a cat", "--n", "11"],
        ["a cat", "--size", "9K"],
        ["a cat", "--size", "4K", "--aspect-ratio", "7:5"],
        ["a cat", "--from", "missing.png"],
        ["a cat", "--base-url", "ftp://x"],
    ],
)
def test_what_cannot_be_asked_is_not_sent(gateway: Gateway, words: list[str]) -> None:
    """A mistake costs nothing."""
    given = [] if "--base-url" in words else ["--base-url", gateway.base_url]
    assert main(["generate", *words, *given]) == Exit.USAGE
    assert gateway.paths == []


def test_ctrl_c_tells_where_the_image_will_be(gateway: Gateway, tmp_path: Path) -> None:
    """130, the generation's id, and no half of a file."""
    left = threading.Event()

    gateway.script = beat_and_hold(left)
    command = [sys.executable, "-m", "holdfast.cli.main", "generate", "a cat", "--base-url", gateway.base_url]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert waited_for(lambda: bool(gateway.paths))
        time.sleep(0.5)  # the head is on its way to the command
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        left.set()
        process.kill()
        process.wait()
    assert process.returncode == Exit.INTERRUPTED
    assert out == ""
    assert f"/v1/generations/{GENERATION}" in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def beat_and_hold(left: threading.Event) -> Script:
    """Commit 200, beat once, then say nothing until the test is over."""

    def script(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.send_header("Generation-Id", GENERATION)
        handler.end_headers()
        handler.wfile.write(b"1\r\n\n\r\n")
        handler.wfile.flush()
        left.wait(20)
        handler.close_connection = True

    return script


def waited_for(condition: Callable[[], bool]) -> bool:
    """Wait until something is so, ten seconds at most."""
    until = time.monotonic() + 10.0
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
def test_memory_does_not_grow_with_the_image(gateway: Gateway, tmp_path: Path) -> None:
    """A picture of 40 MB is written with a few megabytes of memory."""
    small, large = a_png(64, 64), a_png(6400, 6400)

    def peak_kib(picture: bytes) -> int:
        gateway.script = answer_with(200, images(picture))
        code = (
            "import resource, sys\n"
            "from holdfast.cli.main import main\n"
            f"assert main(['generate', 'a cat', '--base-url', {gateway.base_url!r}, '-o', 'cat.png']) == 0\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        )
        return int(done.stdout.splitlines()[-1])

    grown_kib = peak_kib(large) - peak_kib(small)
    assert (tmp_path / "cat.png").exists()
    assert grown_kib < 16 * 1024
