"""The scripts that a stranger meets first say what is missing, in one line, and stop."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("sh", "dirname", "rm", "touch", "env")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Make a checkout that holds the scripts and nothing to install."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "constraints.txt", folder)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Make a folder for PATH that holds the few programs that the scripts may count on."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    return folder


def a_python(folder: Path, name: str, script: str) -> None:
    """Put a Python of our own making on the PATH."""
    path = folder / name
    path.write_text(f"#!{shutil.which('sh')}\n{script}\n", "utf-8")
    path.chmod(0o755)


def run(checkout: Path, tools: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a script with nothing but those tools."""
    return subprocess.run(
        [str(checkout / command[0]), *command[1:]],
        cwd=checkout,
        env={"PATH": str(tools), "HOME": str(checkout)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_no_python_is_told_with_the_packages(checkout: Path, tools: Path) -> None:
    """A machine without Python is told what to install."""
    done = run(checkout, tools, "scripts/venv", "demo")
    assert done.returncode == 1
    assert "apt-get install python3 python3-venv" in done.stderr


def test_an_old_python_is_no_python(checkout: Path, tools: Path) -> None:
    """3.10 does not do."""
    a_python(tools, "python3", "exit 1")
    done = run(checkout, tools, "scripts/venv", "demo")
    assert done.returncode == 1
    assert "3.11 or newer" in done.stderr


def test_a_python_without_venv_is_told_the_exact_package(checkout: Path, tools: Path) -> None:
    """Debian keeps ensurepip in a package named after the version."""
    script = 'case "$2" in *ensurepip*) exit 1;; *print*) echo 3.11;; esac'
    a_python(tools, "python3", script)
    done = run(checkout, tools, "scripts/venv", "demo")
    assert done.returncode == 1
    assert done.stderr.strip().endswith("apt-get install python3.11-venv")
    assert not (checkout / ".venv").exists()


def test_a_newer_python_beside_an_old_one_is_found(checkout: Path, tools: Path) -> None:
    """`python3` may be old while `python3.12` is there."""
    a_python(tools, "python3", "exit 1")
    a_python(tools, "python3.12", 'case "$2" in *ensurepip*) exit 1;; *print*) echo 3.12;; esac')
    done = run(checkout, tools, "scripts/venv", "demo")
    assert done.stderr.strip().endswith("apt-get install python3.12-venv")


def load_test_script() -> dict[str, object]:
    """Read `scripts/test` as a module."""
    import runpy

    return runpy.run_path(str(ROOT / "scripts" / "test"), run_name="scripts_test")


def test_a_missing_program_is_told_in_one_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An ordinary user is told what to run, and nothing is run for them."""
    script = load_test_script()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    install = script["install"]
    assert callable(install)
    assert install(["nginx"]) is False
    said = capsys.readouterr().out
    assert "sudo apt-get install --yes --no-install-recommends nginx" in said
    assert said.count("\n") == 1


def test_servers_that_are_installed_are_not_started(tmp_path: Path) -> None:
    """Debian's packages start theirs; whoever has a policy of their own keeps it."""
    script = load_test_script()
    no_services = script["no_services"]
    assert callable(no_services)
    policy = tmp_path / "policy-rc.d"
    no_services.__wrapped__.__globals__["POLICY"] = policy  # type: ignore[attr-defined]
    with no_services():
        assert subprocess.run([str(policy)], check=False).returncode == 101
    assert not policy.exists()
    policy.write_text("theirs", "ascii")
    with no_services():
        assert policy.read_text("ascii") == "theirs"
    assert policy.read_text("ascii") == "theirs"


def test_an_unknown_suite_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A slip of the finger does not pass for a green run."""
    main = load_test_script()["main"]
    assert callable(main)
    assert main(["units"]) == 2
    assert "unit+property" in capsys.readouterr().out


def test_a_suite_without_tests_has_failed(checkout: Path) -> None:
    """A folder that was emptied or renamed is noticed."""
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (checkout / "tests" / "docs").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "scripts/test", "docs"], cwd=checkout, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "tests/docs holds no test" in done.stdout
    assert "FAILED" in done.stdout


LANES = """
import runpy, sys
script = runpy.run_path("scripts/test", run_name="scripts_test")
main, suite = script["main"], script["Suite"]
def of(name, does, **more):
    return suite(name, 1, command=("sh", "-c", does), **more)
main.__globals__["LANES"] = lanes = {lanes}
main.__globals__["SUITES"] = tuple(each for lane in lanes for each in lane)
main.__globals__["PROGRAMS"] = {{}}
sys.exit(main(sys.argv[1:]))
"""


def lanes(checkout: Path, written: str, *names: str) -> subprocess.Popen[str]:
    """Start `scripts/test` with suites of our own."""
    command = [sys.executable, "-c", LANES.format(lanes=written), *names]
    return subprocess.Popen(command, cwd=checkout, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    """Wait for its end."""
    printed, _ = process.communicate(timeout=60)
    return printed


def test_lanes_run_beside_each_other_and_what_each_suite_says_stays_together(checkout: Path) -> None:
    """Each of two waits for the other, while both speak; a third comes after the one before it."""
    meet = "echo {0} one; touch {0}; while ! test -e {1}; do sleep 0.01; done; echo {0} two >&2"
    first, second = meet.format("a", "b"), meet.format("b", "a")
    written = f"((of('left', {first!r}), of('after', 'test -e b && echo c')), (of('right', {second!r}, is_work=True),))"
    process = lanes(checkout, written)
    printed = said(process)
    assert process.returncode == 0
    assert "--- left\na one\na two\nleft " in printed
    assert "--- right\nb one\nb two\nright " in printed
    assert "--- after\nc\nafter " in printed
    told = printed[printed.rindex("---\n") :].splitlines()
    assert [line.split()[0] for line in told[1:]] == ["left", "after", "right", "all"]
    assert all("passed" in line and "s of CPU" in line for line in told[1:4])


def test_what_works_gives_way_to_what_waits(checkout: Path) -> None:
    """It runs nice, so that no test's waiting depends on it."""
    process = lanes(checkout, "((of('works', 'nice', is_work=True),), (of('waits', 'nice'),))")
    printed = said(process)
    of_works, of_waits = (int(printed.split(f"--- {name}\n")[1].split()[0]) for name in ("works", "waits"))
    assert of_works - of_waits == 10 or of_works == 19


def test_one_failing_suite_fails_all_and_stops_none(checkout: Path) -> None:
    """In its lane, and in the others."""
    process = lanes(checkout, "((of('bad', 'echo why; exit 3'), of('next', 'echo went')), (of('beside', 'true'),))")
    printed = said(process)
    assert process.returncode == 1
    assert "why" in printed
    assert "went" in printed
    ends = [line.split()[-1] for line in printed[printed.rindex("---\n") :].splitlines()[1:4]]
    assert ends == ["FAILED", "passed", "passed"]


FAILS_ONCE = """
from pathlib import Path
def test_steady():
    assert not Path("steady").exists() or not Path("once").exists(), "run again without need"
    Path("steady").touch()
def test_once():
    held = Path("once").exists()
    Path("once").touch()
    assert held
"""


def docs_suite(checkout: Path, source: str) -> subprocess.CompletedProcess[str]:
    """Run `scripts/test docs` over one file of tests."""
    python = checkout / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', "ascii")
    python.chmod(0o755)
    (checkout / "tests" / "docs").mkdir(parents=True)
    (checkout / "tests" / "docs" / "test_one.py").write_text(source, "ascii")
    command = [sys.executable, "-c", LANES.format(lanes="(script['LANES'][1],)"), "docs"]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=60, check=False)


def test_what_fails_once_is_run_again_alone_and_named(checkout: Path) -> None:
    """A moment of the machine fails nobody's change, and is told."""
    done = docs_suite(checkout, FAILS_ONCE)
    assert done.returncode == 0, done.stdout
    told = done.stdout[done.stdout.rindex("---\n") :].splitlines()
    assert told[1].endswith("passed")
    assert told[2] == "  run again: tests/docs/test_one.py::test_once"


@pytest.mark.parametrize(("source", "seen"), [
    ("def test_one():\n    assert False\n", 2),
    ("import pytest\n@pytest.mark.parametrize('n', range(9))\ndef test_many(n):\n    assert False\n", 1),
    ("import nothing_like_it\n", 1),
])  # fmt: skip
def test_what_fails_again_or_in_number_has_failed(checkout: Path, source: str, seen: int) -> None:
    """And what could not be collected is not tried again."""
    done = docs_suite(checkout, source)
    assert done.returncode == 1, done.stdout
    assert done.stdout.count("started docs") == seen
    assert "FAILED" in done.stdout[done.stdout.rindex("---\n") :]


def test_a_suite_alone_says_it_as_it_goes(checkout: Path) -> None:
    """It is not kept until the end."""
    process = lanes(checkout, "((of('one', 'echo now; read _ < held'), of('two', 'false')),)", "one")
    os.mkfifo(checkout / "held")
    assert process.stdout is not None
    assert {process.stdout.readline(), process.stdout.readline()} == {"started one\n", "now\n"}
    (checkout / "held").write_text("go on\n", "ascii")
    assert "one " in said(process)
    assert process.returncode == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_what_it_started_and_tells_what_that_had_said(
    checkout: Path, how: signal.Signals
) -> None:
    """Also a grandchild that would have gone on for an hour."""
    os.mkfifo(checkout / "told")
    process = lanes(
        checkout, "((of('long', 'echo so far; sleep 3600 & echo $! > told; wait'),), (of('short', 'true'),))"
    )
    grandchild = int((checkout / "told").read_text("ascii"))
    assert process.stdout is not None
    assert process.stdout.readline() == "started long\n"
    process.send_signal(how)
    printed = said(process)
    assert process.returncode == 1
    assert "--- long\nso far\n" in printed
    assert printed.endswith("interrupted\n")
    # Killed it is already; the kernel may take a moment, and whoever has adopted it need not have noticed.
    while is_running(grandchild):
        time.sleep(0.01)


def test_a_suite_that_had_ended_when_the_interrupt_came_is_told_as_interrupted() -> None:
    """It was waited for already, and how it ended is lost."""
    collected = load_test_script()["collected"]
    assert callable(collected)
    process = subprocess.Popen(["true"])
    process.wait()
    assert collected(process.pid, 0.0) == (signal.SIGINT, 0.0)


def is_running(process_id: int) -> bool:
    """Say whether a process is there, and not only what is left of one."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text("ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_what_the_suites_start_finds_what_was_compiled_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of processes would each compile every module anew."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    environment = load_test_script()["environment"]
    assert callable(environment)
    assert "PYTHONDONTWRITEBYTECODE" not in environment()


def test_every_suite_folder_is_run() -> None:
    """A new folder under tests/ is in the script, or it is not run."""
    suites = load_test_script()["SUITES"]
    assert isinstance(suites, tuple)
    listed = {folder for suite in suites for folder in suite.folders}
    there = {path.name for path in (ROOT / "tests").iterdir() if any(path.rglob("test_*.py"))}
    assert there <= listed


def test_what_a_suite_leaves_out_another_one_runs() -> None:
    """The house rules belong to the checks, and are not run twice."""
    suites = load_test_script()["SUITES"]
    assert isinstance(suites, tuple)
    (left_out,) = [option for suite in suites for option in suite.options if option.startswith("--ignore=")]
    file = left_out.removeprefix("--ignore=")
    assert (ROOT / file).is_file()
    assert file in (ROOT / "scripts" / "check").read_text("utf-8")
    assert "check" in [suite.name for suite in suites]


def test_the_suites_get_no_key_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test can spend money or leave loopback by way of the environment."""
    monkeypatch.setenv("GEMINI_API_KEY", "real")
    monkeypatch.setenv("https_proxy", "http://10.0.0.1:3128")
    monkeypatch.setenv("HOLDFAST_PORT", "1")
    environment = load_test_script()["environment"]
    assert callable(environment)
    kept = environment()
    assert not {"GEMINI_API_KEY", "https_proxy", "HOLDFAST_PORT"} & set(kept)


def test_make_help_lists_the_targets() -> None:
    """`make` alone shows what there is."""
    done = subprocess.run(["make", "--silent"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    named = {line.split(" - ")[0] for line in done.stdout.splitlines()}
    assert {"run", "test", "check", "fix", "bench", "constraints", "clean"} <= named


@pytest.mark.parametrize(
    ("variables", "command"),
    [
        ((), "holdfast demo"),
        (("ONCE=1",), "holdfast demo --once"),
        (("ONCE=0",), "holdfast demo"),
        (("ONCE=1", "HOLDFAST_PORT=8080"), "holdfast demo --once --port 8080"),
    ],
)
def test_make_run_passes_its_variables_on(checkout: Path, variables: tuple[str, ...], command: str) -> None:
    """ONCE and HOLDFAST_PORT become options."""
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / ".installed-demo").touch()
    # `make test` may run this: its own flags and level would reach the make below.
    inherited = ("HOLDFAST_PORT", "ONCE", "MAKEFLAGS", "MAKELEVEL")
    environ = {name: value for name, value in os.environ.items() if name not in inherited}
    done = subprocess.run(
        ["make", "--dry-run", "run", *variables],
        cwd=checkout,
        env=environ,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert " ".join(done.stdout.splitlines()[-1].split()).endswith(command)


def test_ci_is_make_test() -> None:
    """One way to check, for people and for machines."""
    assert "exec make test" in (ROOT / ".ci" / "run").read_text("utf-8")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
