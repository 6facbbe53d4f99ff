"""The Dockerfile: what a linter says, what each of its steps does when it is carried out, and what runs from it."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import httpx2
import pytest
import tomli_w
from PIL import Image as Picture

from holdfast.config import parse

# The image is built before the first of them.
pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "Dockerfile").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")
)


def test_a_linter_finds_nothing() -> None:
    """hadolint, with every rule it has and the shell inside the steps."""
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [program, "--failure-threshold", "style", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_the_linter_would_find_something(tmp_path: Path) -> None:
    """The test above would pass on a linter that reads nothing."""
    bad = tmp_path / "Dockerfile"
    bad.write_text(TEXT.replace("WORKDIR /", "WORKDIR ").replace("FROM python:${PYTHON}\n", "FROM python\n"), "utf-8")
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, bad], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert {"DL3000", "DL3006"} <= set(re.findall(r"DL\d+", done.stdout))


# The image as it lies there


def test_what_is_sent_is_what_is_copied(builder: Any) -> None:
    """No key, database or history of whoever builds it: the list says what goes along, not what stays out."""
    sent = list(builder.sent())
    assert {path.parts[0] for path in sent} == {"constraints.txt", "pyproject.toml", "README.md", "LICENSE", "src"}
    assert not [path for path in sent if "__pycache__" in path.parts]
    assert PurePosixPath("src/holdfast/store/sql/schema.sql") in sent


def test_versions_are_the_pinned_ones(image: Any) -> None:
    """What runs there is what every check ran with, and nothing of what only the checks need."""
    (packages,) = (image.root / "opt/holdfast/lib").glob("python*/site-packages")
    found = dict(re.match(r"(.+)-([^-]+)\.dist-info$", each.name).groups() for each in packages.glob("*.dist-info"))  # type: ignore[union-attr]
    assert found.pop("holdfast") == PROJECT["version"]
    pins = {name.lower().replace("-", "_"): version for name, version in PINS.items()}
    assert {name: version for name, version in found.items() if pins.get(name.lower()) != version} == {}
    assert {"uvicorn", "pillow", "asyncpg", "pgqueuer", "obstore"} <= {name.lower() for name in found}
    assert not {"pip", "pytest", "hatchling", "mypy"} & {name.lower() for name in found}


def test_nothing_in_it_can_be_changed_by_whom_it_runs_as(image: Any) -> None:
    """Programs are root's; the volume alone is its own, and nobody else's."""
    uid, gid = image.ids
    assert uid >= 1000
    for path in (image.root / "opt").rglob("*"):
        status = path.lstat()
        assert status.st_uid == 0, path
        assert path.is_symlink() or not status.st_mode & 0o6022, path
    (volume,) = image.volumes
    status = (image.root / volume.lstrip("/")).stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (uid, gid, 0o700)


def test_programs_start_with_their_own_python(image: Any) -> None:
    """A first line that names the place where it was built starts nothing where it runs."""
    first = (image.root / "opt/holdfast/bin/holdfast").read_text("utf-8").splitlines()[0]
    assert first == "#!/opt/holdfast/bin/python"


def test_a_change_of_the_program_leaves_the_great_layer_alone(builder: Any) -> None:
    """Whoever brings a new version out sends a few megabytes: what it needs does not hold a line of it."""
    great, small = (builder.stages[name].root for name in ("dependencies", "program"))
    assert not list((great / "opt/holdfast").rglob("holdfast*.dist-info"))
    assert not list((great / "opt/holdfast/lib").rglob("holdfast/**/*.py"))
    assert list((small / "program").rglob("holdfast/cli/main.py"))
    steps = TEXT.split("FROM dependencies AS program")[0]
    assert not re.search(r"^COPY.*\bsrc\b", steps, re.MULTILINE)


def test_what_is_said_of_the_image(image: Any) -> None:
    """Labels of the Open Container Initiative, with the version of the package."""
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in image.labels.items()}
    assert labels == {
        "title": PROJECT["name"],
        "description": PROJECT["description"],
        "licenses": PROJECT["license"],
        "version": PROJECT["version"],
        "revision": "a-commit",
    }
    server = parse({}).server
    assert image.ports == [str(server.port), str(server.tls_port)]
    assert image.health_options["start-period"] == "120s"


# What runs from it


@pytest.fixture(scope="module")
def running(
    sandbox: Any, boxed: Any, image: Any, simulator: Any, processes: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A gateway from the image."""
    (port,) = processes.free_ports(1)
    settings = tomli_w.dumps(processes.settings_for(simulator.base_url))
    started = boxed.Boxed(sandbox, image, tmp_path_factory.mktemp("running"), port=port, settings=settings)
    try:
        started.wait()
        yield started
    finally:
        started.kill()


def drawn(base_url: str, key: str, prompt: str, size: str = "1K") -> bytes:
    """Ask for an image as any program does."""
    with httpx2.Client(timeout=60.0, trust_env=False) as client:
        body = {"model": "nano-banana-pro", "prompt": prompt, "size": size}
        headers = {"Authorization": f"Bearer {key}"}
        answer = client.post(f"{base_url}/v1/images/generations", json=body, headers=headers).raise_for_status()
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


def test_a_4k_image_is_drawn_through_it(running: Any) -> None:
    """By whom it runs as, from a root file system that takes nothing."""
    with Picture.open(BytesIO(drawn(running.base_url, running.key, "a lighthouse", "4K"))) as picture:
        assert picture.size == (4096, 4096)


def test_it_is_process_1_and_can_do_nothing_else(running: Any, image: Any) -> None:
    """Not root, no capability, none to be had, and signals reach it without a shell between."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{running.pid}/status").read_text().splitlines())
    uid, gid = (str(number) for number in image.ids)
    assert set(status["Uid"].split()) == {uid}
    assert set(status["Gid"].split()) == {gid}
    assert status["NSpid"].split()[-1] == "1"
    assert status["NoNewPrivs"] == "1"
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
    assert Path(f"/proc/{running.pid}/cmdline").read_bytes().split(b"\0")[1:3] == [
        b"/opt/holdfast/bin/holdfast",
        b"serve",
    ]


def test_it_writes_to_its_volume_alone(running: Any) -> None:
    """Everything else is read-only, and it runs all the same: /tmp is not needed."""
    done = running.box.run(["sh", "-c", "touch /tmp/a || touch /etc/holdfast/a || touch /opt/holdfast/a || echo none"])
    assert done.stdout == "none\n"
    assert {path.name for path in running.data.iterdir()} >= {"holdfast.sqlite3", "blobs", "spool", "lock", "first.key"}


def test_the_check_says_whether_it_lives(running: Any, processes: Any) -> None:
    """0 while it answers, 1 where nobody does: what an engine goes by."""
    assert running.health() == 0
    (nobody,) = processes.free_ports(1)
    assert running.health_elsewhere(nobody) == 1


def test_it_needs_no_settings_file(image: Any, sandbox: Any) -> None:
    """A vendor's key in the environment is enough for a first try."""
    uid, gid = image.ids
    environment = image.environment | {"GEMINI_API_KEY": "a-key"}
    box = sandbox.Box(
        root=image.root, uid=uid, gid=gid, workdir=image.workdir, is_read_only=True, environment=environment
    )
    done = box.run([*image.entrypoint, "prices", "check"])
    assert done.returncode == 0, done.stdout + done.stderr


def test_stopped_it_brings_what_is_held_home(
    sandbox: Any, boxed: Any, image: Any, simulator: Any, processes: Any, tmp_path: Path
) -> None:
    """The signal that the image names: the call under way gets its image, and the end is 0."""
    (port,) = processes.free_ports(1)
    settings = tomli_w.dumps(processes.settings_for(simulator.base_url))
    stopped = boxed.Boxed(sandbox, image, tmp_path / "stopped", port=port, settings=settings)
    try:
        stopped.wait()
        got: list[bytes] = []
        prompt = "stopped [sim delay=2]"
        key = stopped.key
        caller = threading.Thread(target=lambda: got.append(drawn(stopped.base_url, key, prompt)))
        caller.start()
        with httpx2.Client(trust_env=False, headers={"Authorization": f"Bearer {key}"}) as client:
            while not client.get(f"{stopped.base_url}/v1/generations").raise_for_status().json()["data"]:
                pass
        stopped.ask_to_end()
        caller.join(30.0)
        assert got and got[0].startswith(b"\x89PNG")
        assert stopped.ended() == 0, stopped.logged()[-2000:]
        assert "server.draining" in stopped.logged()
    finally:
        stopped.kill()
