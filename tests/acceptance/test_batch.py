"""`holdfast generate --prompts` as a process: killed, interrupted and run again, it pays every image once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

WITHIN_S = 40.0
MARKER = "marker-Qx7Zt"
"""Part of every prompt: it must stand in no log."""


class Batch:
    """One command line, run as often as a test likes."""

    def __init__(self, stage: Any, folder: Path, *, base_url: str = "", key: str = "") -> None:
        self._stage = stage
        self.folder = folder
        self.prompts = folder / "prompts.txt"
        self._server = ["--base-url", base_url or f"{stage.gateway.base_url}/v1", "--api-key", key or stage.gateway.key]
        self._running: list[subprocess.Popen[str]] = []

    def write(self, *prompts: str) -> None:
        """Write the file of prompts."""
        self.prompts.write_text("".join(f"{prompt} {MARKER}\n" for prompt in prompts), "utf-8")

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Run it."""
        command = [sys.executable, "-m", "holdfast.cli.main", "generate", "--prompts", str(self.prompts), "-o", "out"]
        process = subprocess.Popen(
            [*command, *self._server, *words],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._running.append(process)
        return process

    def run(self, *words: str) -> tuple[int, str, str]:
        """Run it to its end: exit code and what it wrote."""
        process = self.start(*words)
        out, err = process.communicate(timeout=WITHIN_S)
        assert "Traceback" not in err, err
        return process.returncode, out, err

    def files(self) -> list[str]:
        """List the images."""
        return sorted(path.name for path in (self.folder / "out").glob("*.png"))

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something."""
        until = time.monotonic() + WITHIN_S
        while not is_so():
            assert time.monotonic() < until
            time.sleep(0.02)

    def journal(self) -> list[dict[str, Any]]:
        """Read what was written down."""
        path = self.folder / "out" / "prompts.txt.journal"
        return [json.loads(row) for row in path.read_text("utf-8").splitlines()] if path.exists() else []

    def bought(self, prompt: str) -> tuple[int, int]:
        """Count what a prompt led to: generations at the gateway, and charges of the upstream."""
        ids = self._stage.gateway.generations(f"{prompt} {MARKER}")
        for id_ in ids:
            self._stage.gateway.ended(id_)
        return len(ids), sum(len(self._stage.simulator.purchases(id_)) for id_ in ids)

    def close(self) -> None:
        """End what still runs."""
        for process in self._running:
            process.kill()
            process.communicate()


@pytest.fixture
def batch(stage: Any, tmp_path: Path) -> Iterator[Batch]:
    """Begin in an empty folder."""
    made = Batch(stage, tmp_path)
    yield made
    made.close()


def named(test: str, count: int, how: str) -> list[str]:
    """Write prompts that no other test has."""
    return [f"{test} number {number:02} [sim {how}]" for number in range(1, count + 1)]


def test_killed_in_the_middle_and_run_again_pays_once(batch: Batch, as_drawn: Any, serial: Any) -> None:
    """What was made meanwhile is collected, what was not sent is asked for, and nothing is bought twice."""
    prompts = named("killed", 8, "delay=1.2")
    batch.write(*prompts)
    first = batch.start("--concurrency", "3")
    batch.until(lambda: sum(row["is"] == "done" for row in batch.journal()) >= 2)
    batch.until(lambda: sum(row["is"] == "asked" for row in batch.journal()) >= 5)
    first.kill()
    first.wait()
    asked = [row["line"] for row in batch.journal() if row["is"] == "asked"]
    assert 5 <= len(asked) < 8
    done = sum(row["is"] == "done" for row in batch.journal())
    code, out, err = batch.run("--concurrency", "3")
    assert code == 0, err
    assert out.count("out/") == 8 - done
    assert batch.files() == [f"{number}.png" for number in range(1, 9)]
    images = [(batch.folder / "out" / name).read_bytes() for name in batch.files()]
    assert all(map(as_drawn, images))
    assert len(set(map(serial, images))) == 8
    assert [batch.bought(prompt) for prompt in prompts] == [(1, 1)] * 8
    left = {path.name for path in (batch.folder / "out").iterdir()} - set(batch.files())
    assert left == {"prompts.txt.journal"}


def test_killed_again_and_again_it_ends_with_every_image_paid_once(batch: Batch) -> None:
    """At whatever moment: before the first line, while asking, while saving."""
    prompts = named("again", 6, "delay=0.6")
    batch.write(*prompts)
    for after_s in (0.4, 0.8, 1.2, 1.6):
        process = batch.start("--concurrency", "2")
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
    code, _, err = batch.run()
    assert code == 0, err
    assert len(batch.files()) == 6
    assert [batch.bought(prompt) for prompt in prompts] == [(1, 1)] * 6


def test_ctrl_c_says_how_to_go_on(batch: Batch) -> None:
    """130, in one line, with nothing half-written left; and then it is as it says."""
    # The first is soon done; the next two hold both places for long enough, however busy the machine is.
    prompts = [
        *named("interrupted", 1, "delay=0.3"),
        *named("interrupted for long", 2, "delay=8"),
        *named("interrupted later", 2, "delay=0.3"),
    ]
    batch.write(*prompts)
    first = batch.start("--concurrency", "2")
    batch.until(lambda: any(row["is"] == "done" for row in batch.journal()))
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=WITHIN_S)
    assert first.returncode == 130
    assert "Traceback" not in err
    assert "Run the same command again: it collects what was paid" in err
    assert "of 5 lines have their images in out" in err
    assert not [path for path in (batch.folder / "out").iterdir() if path.name.startswith(".")]
    code, _, err = batch.run("--resume")
    assert code == 0, err
    assert [batch.bought(prompt) for prompt in prompts] == [(1, 1)] * 5


def test_two_at_once_do_not_share_a_batch(batch: Batch) -> None:
    """The second is told, and touches nothing; somebody typed it in another window."""
    # As long as the second takes to start, however busy the machine is.
    batch.write(*named("twice", 1, "delay=15"))
    batch.start()
    batch.until(lambda: any(row["is"] == "asked" for row in batch.journal()))
    code, _, err = batch.run()
    assert code == 5
    assert "Another holdfast is at work on this batch" in err


def test_a_line_that_is_refused_does_not_stop_the_others(batch: Batch) -> None:
    """It is listed with what to do, the code says partly, and once it is written otherwise the batch is whole."""
    good = named("mixed", 2, "delay=0.1")
    bad = "mixed number 03 [sim fault=refused_output]"
    batch.write(*good, bad)
    code, out, err = batch.run("--json")
    rows = [json.loads(row) for row in out.splitlines()]
    assert code == 11, err
    assert rows[-1]["batch"]["done"] == 2
    (failed,) = [row for row in rows if "error" in row]
    assert (failed["line"], failed["error"]["code"]) == (3, "refused")
    assert failed["error"]["what_to_do"] == "Change this prompt, then run the same command again."
    code, _, err = batch.run()
    assert code == 11
    assert "line 3: " in err
    assert "Change this prompt" in err
    assert batch.bought(bad)[0] == 1
    batch.write(*good, "mixed number 03, milder [sim delay=0.1]")
    assert batch.run()[0] == 0
    assert len(batch.files()) == 3
    assert [batch.bought(prompt) for prompt in good] == [(1, 1)] * 2


def test_a_prompt_that_changed_after_it_was_paid_is_refused(batch: Batch) -> None:
    """Nothing is sent, and the line is named."""
    prompts = named("changed", 2, "delay=0.1")
    batch.write(*prompts)
    assert batch.run()[0] == 0
    batch.write(prompts[0], "changed into something else [sim delay=0.1]")
    code, _, err = batch.run()
    assert code == 2
    assert "Line 2 of the prompts changed" in err
    assert batch.bought("changed into something else [sim delay=0.1]") == (0, 0)
    code, _, err = batch.run("--size", "2K")
    assert code == 2


def test_an_image_that_was_deleted_is_collected_again(batch: Batch) -> None:
    """It is paid, and kept at the gateway for a while."""
    (prompt,) = named("deleted", 1, "delay=0.1")
    batch.write(prompt)
    assert batch.run()[0] == 0
    before = (batch.folder / "out" / "1.png").read_bytes()
    (batch.folder / "out" / "1.png").unlink()
    assert batch.run()[0] == 0
    assert (batch.folder / "out" / "1.png").read_bytes() == before
    assert batch.bought(prompt) == (1, 1)


def test_lines_of_json_ask_for_themselves(batch: Batch) -> None:
    """Size, number and name of the file, a line each."""
    batch.prompts = batch.folder / "prompts.jsonl"
    rows = [
        {"prompt": f"json one [sim delay=0.1] {MARKER}", "size": "1536x1024", "output": "wide.png"},
        {"prompt": f"json two [sim delay=0.1] {MARKER}", "n": 2, "output": "pair"},
    ]
    batch.prompts.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    code, out, err = batch.run()
    assert code == 0, err
    assert batch.files() == ["pair-0.png", "pair-1.png", "wide.png"]
    assert "2528x1696" in out


@pytest.mark.parametrize("words", [["-o", "taken"], ["-o", "/proc/none"], ["--concurrency", "0"], ["--name", "{lien}"]])
def test_what_cannot_be_kept_is_not_paid_for(batch: Batch, words: list[str]) -> None:
    """A folder that takes no files, a name that is none: found out first."""
    (prompt,) = named(f"unpaid {words[1].strip('{}/')}", 1, "delay=0.1")
    batch.write(prompt)
    (batch.folder / "taken").write_text("a file", "utf-8")
    code, _, err = batch.run(*words)
    assert code == 2
    assert err.startswith("holdfast: ")
    assert batch.bought(prompt) == (0, 0)


def mount(*words: str) -> None:
    """Mount something; these tests run as root, and say so where they do not."""
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"this test mounts a disk of its own, which needs root (CAP_SYS_ADMIN): {done.stderr.strip()}")


def test_a_disk_that_fills_loses_nothing(batch: Batch) -> None:
    """Half an image does not stay; with more room the same command collects what was paid."""
    prompts = named("disk", 3, "delay=0.1")
    batch.write(*prompts)
    out = batch.folder / "out"
    out.mkdir()
    mount("-t", "tmpfs", "-o", "size=3m", "tmpfs", str(out))
    try:
        code, _, err = batch.run("--concurrency", "1")
        assert code == 9, err
        assert "The disk is full; the image is kept at the gateway" in err
        assert "The same command again collects it." in err
        assert batch.files() == ["1.png"]
        assert {path.name for path in out.iterdir()} == {"1.png", "prompts.txt.journal"}
        mount("-o", "remount,size=20m", str(out))
        code, _, err = batch.run()
        assert code == 0, err
        assert len(batch.files()) == 3
        assert [batch.bought(prompt) for prompt in prompts] == [(1, 1)] * 3
    finally:
        subprocess.run(["umount", "--lazy", str(out)], check=True)


def test_files_of_somebody_else_are_not_replaced(batch: Batch) -> None:
    """A folder of other pictures is found out before anything is paid."""
    (prompt,) = named("stranger", 1, "delay=0.1")
    batch.write(prompt)
    (batch.folder / "out").mkdir()
    (batch.folder / "out" / "1.png").write_bytes(b"mine")
    code, _, err = batch.run()
    assert code == 2
    assert "out/1.png: there already" in err
    assert batch.bought(prompt) == (0, 0)
    assert [path.name for path in (batch.folder / "out").iterdir()] == ["1.png"]


def test_resume_of_what_never_began_is_a_mistake(batch: Batch) -> None:
    """A slip in the folder's name would pay for everything."""
    (prompt,) = named("never", 1, "delay=0.1")
    batch.write(prompt)
    code, _, err = batch.run("--resume")
    assert code == 2
    assert "There is no batch to go on with" in err
    assert not (batch.folder / "out").exists()
    assert batch.bought(prompt) == (0, 0)


def test_a_wrong_key_ends_the_batch_at_once(stage: Any, tmp_path: Path) -> None:
    """One line is told of it, not a hundred, and nothing counts as paid."""
    batch = Batch(stage, tmp_path, key="hf-01ABC-wrong")
    batch.write(*named("wrong key", 30, "delay=0.1"))
    code, _, err = batch.run()
    assert code == 6
    assert "hf-01ABC-…" in err
    assert "wrong" not in err.replace("prompts", "")
    batch.close()


def sold(stage: Any) -> int:
    """Count what the upstream sold to somebody else than the gateway."""
    charges = stage.simulator.charges()
    return sum(row["micros"] > 0 and not str(row["idempotency_key"]).startswith("gen_") for row in charges)


def test_a_server_that_keeps_nothing_is_not_paid_twice(stage: Any, tmp_path: Path) -> None:
    """A plain relay sells a repeat; so what may have been paid there is told, and left alone."""
    batch = Batch(stage, tmp_path, base_url=f"{stage.simulator.base_url}/v1", key="k")
    batch.write(*named("plain", 3, "delay=1.2"))
    first = batch.start("--concurrency", "1", "--model", "gpt-image-2")
    batch.until(lambda: any(row["is"] == "done" for row in batch.journal()))
    batch.until(lambda: sum(row["is"] == "asked" for row in batch.journal()) == 2)
    first.kill()
    first.communicate()
    before = sold(stage)
    code, _, err = batch.run("--model", "gpt-image-2")
    assert code == 11
    assert "line 2: It was sent before, and may be paid" in err
    assert len(batch.files()) == 2
    # The third line, and what was under way when the process was killed.
    assert sold(stage) - before <= 2
    batch.close()
