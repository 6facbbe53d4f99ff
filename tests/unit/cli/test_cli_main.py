"""The command line as a whole: what is understood, and how mistakes are told."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from holdfast.cli import main as main_module
from holdfast.cli import timeouts
from holdfast.cli.exits import Exit, Stop
from holdfast.cli.main import COMMANDS, build_parser, complain, main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` works for each, and names the options that work everywhere."""
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(option in said for option in ("--config", "--data", "--json"))


def test_help_lists_every_command_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """The first page shows what there is."""
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in COMMANDS)
    assert "130 interrupted" in " ".join(said.split())


def test_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names the program and its version."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("holdfast 0.")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["paint"],
        ["generate"],
        ["generate", "a cat", "--n", "two"],
        ["timeouts", "--size", "8K"],
        ["timeouts", "--network", "moon"],
        ["simulate", "--speed", "fast"],
        ["simulate", "--speed", "0"],
        ["demo", "--port", "many"],
        ["timeouts", "--data", ""],
        ["timeouts", "--config="],
    ],
)
def test_a_mistake_is_one_line_and_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """No usage page scrolls the sentence away."""
    assert main(words) == Exit.USAGE
    said = capsys.readouterr().err
    assert said.startswith("holdfast: ")
    assert said.count("\n") == 1


def test_global_options_stand_before_or_after_the_command() -> None:
    """People write them either way; neither place undoes the other."""
    parser = build_parser(["timeouts"])
    for words in (["--config", "a.toml", "--json", "timeouts"], ["timeouts", "--config", "a.toml", "--json"]):
        args = parser.parse_args(words)
        assert args.config == Path("a.toml")
        assert args.json is True
        assert args.data is None
    args = parser.parse_args(["--data", "d", "timeouts", "--config", "a.toml"])
    assert (args.data, args.config, args.json) == (Path("d"), Path("a.toml"), False)


def test_a_command_named_in_a_value_or_a_prompt_disturbs_nothing() -> None:
    """`serve` may be a folder, and `demo` a thing to draw."""
    words = ["--data", "timeouts", "generate", "a", "demo"]
    args = build_parser(words).parse_args(words)
    assert (args.command, args.data, args.prompt) == ("generate", Path("timeouts"), ["a", "demo"])


def test_an_error_as_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    """Programs read errors as they read results."""
    assert main(["timeouts", "--size", "8K", "--json"]) == Exit.USAGE
    said = json.loads(capsys.readouterr().err)["error"]
    assert said["code"] == "usage"
    assert said["exit"] == 2
    assert "8K" in said["message"]


def test_details_of_an_error_stand_in_its_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The generation's id survives to whoever collects."""
    complain(Exit.INTERRUPTED, "left", as_json=True, details={"generation_id": "gen_1"})
    assert json.loads(capsys.readouterr().err)["error"]["generation_id"] == "gen_1"


def test_an_unknown_setting_ends_with_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The near name is in the one line."""
    file = tmp_path / "holdfast.toml"
    file.write_text("[server]\nprot = 1\n", "utf-8")
    assert main(["timeouts", "--config", str(file)]) == Exit.SETTINGS
    said = capsys.readouterr().err
    assert "'port'" in said
    assert said.count("\n") == 1


def test_a_missing_settings_file_ends_with_code_3(tmp_path: Path) -> None:
    """A file that was named must be there."""
    assert main(["timeouts", "--config", str(tmp_path / "none.toml")]) == Exit.SETTINGS


def raising(error: BaseException) -> object:
    """Make a command that fails."""

    def run(_: argparse.Namespace) -> int:
        raise error

    return run


def test_an_interrupt_ends_with_code_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As the shell has it, and without a traceback."""
    monkeypatch.setattr(timeouts, "run", raising(KeyboardInterrupt()))
    assert main(["timeouts"]) == Exit.INTERRUPTED
    assert capsys.readouterr().err == "holdfast: Interrupted.\n"


def test_a_stop_ends_with_its_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Commands choose their own ending."""
    monkeypatch.setattr(timeouts, "run", raising(Stop(Exit.REFUSED, "Declined.")))
    assert main(["timeouts"]) == Exit.REFUSED
    assert capsys.readouterr().err == "holdfast: Declined.\n"


def test_a_fault_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug is not dressed up as the person's mistake."""
    monkeypatch.setattr(timeouts, "run", raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        main(["timeouts"])


def test_a_reader_that_has_enough_is_no_error() -> None:
    """`holdfast timeouts | head -1` ends quietly."""
    command = f"{sys.executable} -m holdfast.cli.main timeouts | head -c 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, timeout=30, check=False)
    assert done.returncode == 0
    assert done.stderr == b""


def test_help_loads_no_gateway() -> None:
    """The command line answers at once: what a command needs is imported when it runs."""
    code = (
        "import sys\n"
        "from holdfast.cli.main import build_parser\n"
        "build_parser()\n"
        "heavy = ('aiohappyeyeballs', 'uvicorn', 'sqlite3', 'msgspec', 'PIL')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


def test_commands_are_modules_of_one_shape() -> None:
    """A new command is a file and a name in the list."""
    folder = Path(main_module.__file__).parent
    assert all((folder / f"{name}.py").exists() for name in COMMANDS)


def test_a_variable_that_means_nothing_is_told_beside_the_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """To a person, in one line; a program that asked for JSON reads JSON."""
    monkeypatch.setenv("HOLDFAST_PROT", "1")
    assert main(["timeouts", "--size", "1K"]) == Exit.OK
    assert capsys.readouterr().err.startswith("holdfast: The variable HOLDFAST_PROT means nothing here")
    assert main(["timeouts", "--size", "1K", "--json"]) == Exit.OK
    assert capsys.readouterr().err == ""
