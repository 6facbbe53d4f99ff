"""`holdfast generate` against a peer on a real socket that answers as a gateway does."""

from __future__ import annotations

import errno
import importlib.util
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from holdfast.cli import progress
from holdfast.cli.exits import Exit
from holdfast.cli.main import main
from holdfast.client.spool import Spool
from holdfast.store.lock import DataFolder
from holdfast.types import Charge

# Tests are no package, so that nothing imports them by accident; what is shared is loaded from its file.
_spec = importlib.util.spec_from_file_location("cli_gateway", Path(__file__).with_name("cli_gateway.py"))
assert _spec is not None
assert _spec.loader is not None
peer = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = peer
_spec.loader.exec_module(peer)
Gateway: Any = peer.Gateway
Script = Callable[[BaseHTTPRequestHandler], None]
GENERATION, PICTURE = peer.GENERATION, peer.PICTURE
a_png, images, error, answer_with = peer.a_png, peer.images, peer.error, peer.answer_with
a_resource, failed, succeeded, beat_then = peer.a_resource, peer.failed, peer.succeeded, peer.beat_then


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
    gateway.script = answer_with(202, a_resource(15.0))
    gateway.polls = [a_resource(15.0), a_resource(15.0), succeeded(gateway, PICTURE)]
    assert generate(gateway, "--size", "4K", "-o", "cat.png") == Exit.OK
    assert "half take 15 s" in capsys.readouterr().err
    assert Path("cat.png").read_bytes() == PICTURE
    assert set(gateway.asked_after) == {(f"/v1/generations/{GENERATION}", "Bearer hf-test")}


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


def test_a_reference_image_travels_as_a_file(gateway: Gateway) -> None:
    """As an edit, which every relay of images speaks."""
    Path("in.png").write_bytes(a_png(16, 9))
    assert generate(gateway, "--from", "in.png", "-o", "cat.png") == Exit.OK
    assert Path("cat.png").read_bytes() == PICTURE
    assert gateway.paths == ["/v1/images/edits"]
    assert gateway.headers[0]["authorization"] == "Bearer hf-test"
    assert Path("in.png").read_bytes() in gateway.bodies[0]
    assert b"a cat" in gateway.bodies[0]


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (401, "invalid_api_key", Exit.KEY_WRONG),
        (404, "model_not_found", Exit.NO_SUCH_MODEL),
        (400, "content_refused", Exit.REFUSED),
        (400, "unsupported_size", Exit.USAGE),
        (402, "budget_exhausted", Exit.GENERATION_FAILED),
        (502, "upstream_failed", Exit.GENERATION_FAILED),
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


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("paid", "told"), [("no", "Nothing was charged."), ("unknown", "It may have been"), ("yes", "It was charged for.")]
)
def test_what_a_failure_cost_is_told(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], late: bool, paid: str, told: str
) -> None:
    """To a person as a sentence, to a program beside the gateway's own code."""
    message = "u made no image"
    gateway.polls = [failed("empty_result", message, paid)]
    early = answer_with(502, error(message, "empty_result", Charge(paid)))
    gateway.script = answer_with(202, a_resource()) if late else early
    assert generate(gateway, "--json") == Exit.GENERATION_FAILED
    error_ = json.loads(capsys.readouterr().err.splitlines()[-1])["error"]
    assert (error_["code"], error_["holdfast_code"], error_["paid"]) == ("generation_failed", "empty_result", paid)
    assert f"u made no image. {told}" in error_["message"]


def test_what_is_no_answer_is_an_error(gateway: Gateway) -> None:
    """What is not JSON is never taken for an empty success."""
    gateway.script = beat_then(b"holdfast: generation gen_1 failed: upstream_failed: no\n")
    gateway.polls = [failed("upstream_failed", "It failed.", "unknown")]
    assert generate(gateway) == Exit.GENERATION_FAILED


def test_an_empty_answer_is_a_failure(gateway: Gateway) -> None:
    """200 and no image is no success."""
    gateway.script = answer_with(200, b'{"created": 1, "data": []}')
    gateway.polls = [failed("empty_result", "It is empty.", "unknown")]
    assert generate(gateway) == Exit.GENERATION_FAILED


def test_a_page_of_html_is_not_shown(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """A proxy's page says nothing that a person needs."""
    gateway.script = answer_with(404, b"<html><h1>Not here</h1></html>", "text/html")
    assert generate(gateway) == Exit.UNREACHABLE
    said = capsys.readouterr().err
    assert "404" in said
    assert "usually ends in /v1" in said
    assert "<h1>" not in said


def test_a_web_page_is_no_gateway(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """The address of a site, where that of its API was meant."""
    gateway.script = answer_with(200, b"<html>Welcome</html>", "text/html")
    gateway.polls = []
    assert generate(gateway) != Exit.OK
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert list(Path().iterdir()) == []


def test_https_on_the_plain_port_is_told(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """The scheme is a letter too long."""
    base_url = gateway.base_url.replace("http://", "https://")
    assert main(["generate", "a cat", "--base-url", base_url, "--api-key", "k"]) == Exit.UNREACHABLE
    assert "http://" in capsys.readouterr().err


def test_a_body_that_breaks_off_is_collected(gateway: Gateway) -> None:
    """Half a picture is none; the whole one is at the gateway, and is fetched from there without being bought again."""
    body = images(PICTURE)
    gateway.script = beat_then(body[: len(body) // 2], ends=False)
    gateway.polls = [succeeded(gateway, PICTURE)]
    assert generate(gateway, "-o", "cat.png") == Exit.OK
    assert Path("cat.png").read_bytes() == PICTURE
    assert gateway.paths == ["/v1/images/generations"]
    assert list(Path().iterdir()) == [Path("cat.png")]


def test_a_full_disk_leaves_no_part_and_says_where_the_image_is(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is paid and kept at the gateway; a part of it is of no use to anyone, and fetching it again neither."""

    def full(self: Spool, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Spool, "write", full)
    gateway.script = answer_with(202, a_resource())
    gateway.polls = [succeeded(gateway, PICTURE)]
    assert generate(gateway, "-o", "cat.png") == Exit.DISK_FULL
    said = capsys.readouterr().err
    assert "The disk is full" in said
    assert f"/v1/generations/{GENERATION}" in said
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
    assert "Tried was hf-01ABC-…, from .holdfast/demo.key." in said
    assert "HOLDFAST_API_KEY" in said
    assert "s3cret" not in said


def test_a_missing_key_is_told_once(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    """The gateway speaks of headers; whoever types a command is told of its options alone."""
    gateway.script = answer_with(401, error("No API key was given. Send it as `Authorization`.", "invalid_api_key"))
    assert main(["generate", "a cat", "--base-url", gateway.base_url, "--json"]) == Exit.KEY_WRONG
    told = json.loads(capsys.readouterr().err.splitlines()[-1])["error"]
    assert told["message"].startswith("No API key was given. Give the gateway's with --api-key or HOLDFAST_API_KEY;")
    assert "Authorization" not in told["message"]


def test_the_line_to_collect_with_can_be_pasted(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the key from where the command had it."""

    def full(self: Spool, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Spool, "write", full)
    gateway.script = answer_with(202, a_resource())
    gateway.polls = [succeeded(gateway, PICTURE)]
    Path(".holdfast").mkdir()
    Path(".holdfast/demo.key").write_text("hf-demo\n", "ascii")
    assert main(["generate", "a cat", "--base-url", gateway.base_url]) == Exit.DISK_FULL
    said = capsys.readouterr().err
    assert 'curl -sS -H "Authorization: Bearer $(cat .holdfast/demo.key)" http://127.0.0.1:' in said


def test_a_key_with_a_line_break_in_it_is_told_before_anything_is_sent(
    gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two lines of a file were copied; the key itself is not shown."""
    assert main(["generate", "a cat", "--base-url", gateway.base_url, "--api-key", "hf-a\nhf-b"]) == Exit.KEY_WRONG
    said = capsys.readouterr().err
    assert "--api-key" in said
    assert "hf-a" not in said
    assert gateway.paths == []


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


@pytest.mark.parametrize("is_told", [True, False])
def test_ctrl_c_tells_where_the_image_will_be(gateway: Gateway, tmp_path: Path, is_told: bool) -> None:
    """130, the generation's id, or the key to find it by, and no half of a file."""
    left = threading.Event()
    gateway.script = answer_with(202, a_resource()) if is_told else hold(left)
    gateway.polls = [a_resource()]
    command = [sys.executable, "-m", "holdfast.cli.main", "generate", "a cat", "--base-url", gateway.base_url]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert waited_for(lambda: bool(gateway.asked_after if is_told else gateway.paths))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        left.set()
        process.kill()
        process.wait()
    assert process.returncode == Exit.INTERRUPTED
    assert out == ""
    key = gateway.headers[0]["idempotency-key"]
    assert (f"/v1/generations/{GENERATION}" if is_told else f"/v1/generations?idempotency_key={key}") in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def hold(left: threading.Event) -> Script:
    """Say nothing until the test is over."""

    def script(handler: BaseHTTPRequestHandler) -> None:
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
