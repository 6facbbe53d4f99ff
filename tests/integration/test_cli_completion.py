"""The completion scripts in the shells they are written for: what is offered, and what one Tab makes of a line."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.cli.completion_scripts import SCRIPTS
from holdfast.cli.grammar import grammar_of
from holdfast.cli.main import COMMANDS, build_parser

SHELLS = ("bash", "zsh", "fish")
WITHIN_S = 20.0
PROMPT = "ready>"


def program(shell: str) -> str:
    """Find a shell."""
    found = shutil.which(shell)
    assert found is not None, f"{shell} is missing: apt-get install {shell} (scripts/test does it as root)"
    return found


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the scripts into a folder, as `holdfast completion` prints them."""
    folder = tmp_path_factory.mktemp("scripts")
    grammar = grammar_of(build_parser())
    for shell, write in SCRIPTS.items():
        (folder / shell).write_text(write(grammar), "utf-8")
    return folder


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with something to complete in it."""
    (tmp_path / "my picture.png").touch()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "notes.txt").touch()
    return tmp_path


def environment(home: Path) -> dict[str, str]:
    """Give a shell nothing of this machine's habits."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "dumb", "LC_ALL": "C.UTF-8", "PS1": PROMPT}


def asked_of_bash(scripts: Path, here: Path, *words: str) -> list[str]:
    """Ask as readline does: words broken at `=`, the last one under the cursor."""
    ask = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _holdfast; printf "%s\\n" "${COMPREPLY[@]}"'
    command = [program("bash"), "--norc", "--noprofile", "-c", ask, "bash", str(scripts / "bash"), "holdfast", *words]
    done = subprocess.run(
        command, cwd=here, env=environment(here), capture_output=True, text=True, timeout=WITHIN_S, check=True
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def asked_of_fish(scripts: Path, here: Path, *words: str) -> list[str]:
    """Ask fish what it would offer."""
    ask = 'source $argv[1]; complete -C "$argv[2]"'
    # Readline's words are put together again: fish takes the line as it stands.
    line = "holdfast " + " ".join(words).replace(" = ", "=")
    command = [program("fish"), "--no-config", "-c", ask, str(scripts / "fish"), line]
    done = subprocess.run(
        command, cwd=here, env=environment(here), capture_output=True, text=True, timeout=WITHIN_S, check=True
    )
    assert done.stderr == ""
    offered = [each.partition("\t")[0] for each in done.stdout.splitlines()]
    # Of `--size=4` it gives the whole word.
    return [each.rpartition("=")[2].removesuffix("/") for each in offered]


ASKED = {"bash": asked_of_bash, "fish": asked_of_fish}

CASES: list[tuple[tuple[str, ...], set[str]]] = [
    (("gen",), {"generate"}),
    (("--config", "notes.txt", "led"), {"ledger"}),
    # The value of an option is no command.
    (("--data", "serve", "led"), {"ledger"}),
    (("ledger", ""), {"check", "show"}),
    (("completion", "z"), {"zsh"}),
    (("completion", ""), set(SHELLS)),
    (("generate", "--size", ""), {"1K", "2K", "4K", "auto"}),
    (("generate", "--size", "=", "4"), {"4K"}),
    (("timeouts", "--network", "in"), {"intranet", "international"}),
    (("timeouts", "--size", "4K", "--network", "p"), {"peak"}),
    (("generate", "--model", ""), set()),
    (("generate", "a", "serve", "--tls-c"), set()),
    (("serve", "--tls-c"), {"--tls-cert"}),
    (("generate", "--from", "my"), {"my picture.png"}),
    (("serve", "--data", "pi"), {"pictures"}),
    (("serve", "--data", "no"), set()),
]


def named(case: tuple[str, ...] | set[str]) -> str:
    """Name a case; a set has another order in each process."""
    return " ".join(sorted(case) if isinstance(case, set) else case)


@pytest.mark.parametrize("shell", sorted(ASKED))
@pytest.mark.parametrize(
    ("words", "offered"), CASES, ids=lambda case: " ".join(sorted(case) if isinstance(case, set) else case)
)
def test_what_fits_is_offered_and_nothing_else(
    shell: str, words: tuple[str, ...], offered: set[str], scripts: Path, here: Path
) -> None:
    """Commands, options, values, files and folders, each in its place."""
    got = {each.replace("\\ ", " ").strip("'") for each in ASKED[shell](scripts, here, *words)}
    assert got == offered


@pytest.mark.parametrize("shell", sorted(ASKED))
def test_every_command_is_offered(shell: str, scripts: Path, here: Path) -> None:
    """The script is that of the program as it is today."""
    assert set(ASKED[shell](scripts, here, "")) == set(COMMANDS)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_takes_the_script(shell: str, scripts: Path, here: Path) -> None:
    """It is well formed."""
    command = [program(shell), "-n", str(scripts / shell)]
    done = subprocess.run(command, env=environment(here), capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")


class Terminal:
    """An interactive shell that somebody types into."""

    def __init__(self, command: list[str], folder: Path) -> None:
        pid, self._fd = pty.fork()
        if pid == 0:
            os.chdir(folder)
            os.execve(command[0], command, environment(folder))
        self._pid = pid
        self.screen = ""

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._fd, text.encode())

    def shows(self, text: str) -> None:
        """Wait until a text stands on the screen, behind what was found there last."""
        until = time.monotonic() + WITHIN_S
        while text not in self.screen:
            ready, _, _ = select.select([self._fd], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"{text!r} did not come; shown: {self.screen!r}"
            self.screen += os.read(self._fd, 65536).decode("utf-8", "replace")
        self.screen = self.screen.partition(text)[2]

    def close(self) -> None:
        """Hang up."""
        os.close(self._fd)
        os.waitpid(self._pid, 0)


@pytest.fixture(params=["bash", "zsh"])
def terminal(request: pytest.FixtureRequest, scripts: Path, here: Path) -> Iterator[Terminal]:
    """Start a shell, and give it the script as its page tells."""
    shell = request.param
    bare = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[shell]
    made = Terminal([program(shell), *bare], here)
    made.shows(PROMPT)
    if shell == "zsh":
        made.type("autoload -Uz compinit && compinit -u -d ./dump; unsetopt automenu\n")
        made.shows(PROMPT)
    made.type(f"source '{scripts / shell}'; PS1='done:'\n")
    made.shows("done:")
    made.shows("done:")
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize(
    ("typed", "written"),
    [
        ("holdfast gener\t", "generate "),
        ("holdfast timeouts --netw\t", "--network"),
        ("holdfast timeouts --network pe\t", "peak"),
        ("holdfast ledger ch\t", "check "),
        ("holdfast generate --from my\t", "my\\ picture.png "),
        ("holdfast serve --data pict\t", "pictures/"),
    ],
)
def test_a_tab_writes_the_rest(terminal: Terminal, typed: str, written: str) -> None:
    """What a person sees when pressing it."""
    terminal.type(typed)
    begun = typed.rstrip("\t").rpartition(" ")[2]
    terminal.shows(typed.rstrip("\t"))
    terminal.shows(written.removeprefix(begun))


def test_zsh_offers_what_bash_offers(scripts: Path, here: Path) -> None:
    """Every command has a function of its own there, and all of them load as one function of `fpath`."""
    folder = here / "functions"
    folder.mkdir()
    shutil.copyfile(scripts / "zsh", folder / "_holdfast")
    ask = "fpath=($1 $fpath); autoload -Uz compinit && compinit -u -d ./dump; print -r -- $_comps[holdfast]"
    command = [program("zsh"), "-f", "-c", ask, "zsh", str(folder)]
    done = subprocess.run(
        command, cwd=here, env=environment(here), capture_output=True, text=True, timeout=WITHIN_S, check=True
    )
    assert done.stdout.strip() == "_holdfast"
    text = (scripts / "zsh").read_text("utf-8")
    assert [name for name in COMMANDS if f"_holdfast_{name}() {{" not in text] == []
