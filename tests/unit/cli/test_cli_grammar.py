"""What can be typed is read off the real parser; the scripts made of it say it in three languages."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from holdfast.cli.completion_scripts import SCRIPTS, bash, fish, zsh
from holdfast.cli.grammar import SUGGESTED, Grammar, Kind, Option, grammar_of
from holdfast.cli.main import COMMANDS, build_parser, main, named_path


def a_parser() -> argparse.ArgumentParser:
    """Declare a little of everything."""
    parser = argparse.ArgumentParser(prog="holdfast")
    parser.add_argument("--config", type=named_path, help="it's [a] file: yours")
    parser.add_argument("--deep", action="store_true", help="100 %% of %(default)s")
    commands = parser.add_subparsers()
    keys = commands.add_parser("keys", help="keys of callers").add_subparsers()
    create = keys.add_parser("create", help="make one")
    create.add_argument("--scope", choices=["all", "some"], action="append")
    create.add_argument("-o", "--output", metavar="FILE|DIR")
    create.add_argument("--into", metavar="DIR", type=Path)
    create.add_argument("--rate", type=int)
    create.add_argument("name")
    draw = commands.add_parser("draw", help="draw")
    draw.add_argument("--size")
    draw.add_argument("file", type=Path, nargs="+")
    return parser


GRAMMAR = grammar_of(a_parser())


def at(path: str, grammar: Grammar = GRAMMAR) -> Grammar:
    """Find a command."""
    return dict(grammar.walk())[path]


def option(name: str, path: str, grammar: Grammar = GRAMMAR) -> Option:
    """Find an option."""
    return next(each for each in at(path, grammar).options if name in each.names)


def test_commands_below_commands_are_found() -> None:
    """However deep they lie."""
    assert [path for path, _ in GRAMMAR.walk()] == ["", "keys", "keys create", "draw"]
    assert at("keys").means == "keys of callers"


@pytest.mark.parametrize(
    ("name", "path", "kind", "choices"),
    [
        ("--deep", "", Kind.NOTHING, ()),
        ("--config", "", Kind.FILE, ()),
        ("--scope", "keys create", Kind.WORD, ("all", "some")),
        ("-o", "keys create", Kind.FILE, ()),
        ("--output", "keys create", Kind.FILE, ()),
        ("--into", "keys create", Kind.FOLDER, ()),
        ("--rate", "keys create", Kind.WORD, ()),
        ("--size", "draw", Kind.WORD, ("1K", "2K", "4K", "auto")),
    ],
)
def test_what_goes_behind_an_option_is_known(name: str, path: str, kind: Kind, choices: tuple[str, ...]) -> None:
    """A switch, a file, a folder, one of a few words, or something that nobody can list."""
    value = option(name, path).value
    assert (value.kind, value.choices) == (kind, choices)


def test_places_are_known_as_options_are() -> None:
    """By position, once or as often as one likes."""
    assert [(place.kind, place.repeats) for place in at("draw").places] == [(Kind.FILE, True)]
    assert [(place.kind, place.repeats) for place in at("keys create").places] == [(Kind.WORD, False)]


def test_help_is_told_as_help_tells_it() -> None:
    """Its placeholders are filled in."""
    assert option("--deep", "").means == "100 % of False"


def test_the_real_parser_is_read_whole() -> None:
    """Every command is there, with every option that it takes."""
    grammar = grammar_of(build_parser())
    assert tuple(own.name for own in grammar.commands) == COMMANDS
    assert all(own.means for own in grammar.commands)
    for own in grammar.commands:
        assert {"--config", "--data", "--json", "--help"} <= {name for each in own.options for name in each.names}
    assert option("--network", "timeouts", grammar).value.choices == ("intranet", "home", "international", "peak")
    assert option("--data", "serve", grammar).value.kind is Kind.FOLDER
    assert option("--from", "generate", grammar).value.kind is Kind.FILE


def test_what_is_suggested_belongs_to_an_option() -> None:
    """A name that no command has any more would be dead."""
    grammar = grammar_of(build_parser())
    names = {name for _, own in grammar.walk() for each in own.options for name in each.names}
    assert set(SUGGESTED) <= names


@pytest.mark.parametrize("write", [bash, zsh, fish])
def test_nothing_is_left_to_fill_in(write: object) -> None:
    """A template whose braces were not closed would show here, and the same parser gives the same script."""
    assert callable(write)
    script = write(GRAMMAR)
    assert "{{" not in script
    assert "{takes}" not in script
    assert script == write(GRAMMAR)
    assert script.endswith("\n")
    assert "keys" in script


def test_a_quote_in_a_help_text_stays_text() -> None:
    """`it's` ends no string of a shell, and brackets and colons end no description of zsh."""
    assert r"'--config=[it'\''s \[a\] file\: yours]:value:_files'" in zsh(GRAMMAR)
    assert r"-d 'it'\''s [a] file: yours'" in fish(GRAMMAR)


@pytest.mark.parametrize("shell", sorted(SCRIPTS))
def test_the_command_prints_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As it is sourced: nothing else on standard output."""
    assert main(["completion", shell]) == 0
    told = capsys.readouterr()
    assert told.out == SCRIPTS[shell](grammar_of(build_parser()))
    assert told.err == ""


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With the shells that there are."""
    assert main(["completion", "tcsh"]) == 2
    said = capsys.readouterr().err
    assert all(shell in said for shell in SCRIPTS)
