"""`holdfast`: reads the command line, runs one command, and tells every failure in one line.

A command is a module with `register(subparsers)` and `run(args) -> int`. What it needs is imported inside `run`:
`holdfast --help` does not load a gateway.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn, Protocol

from holdfast import __version__
from holdfast.cli.exits import Exit, Stop, told

COMMANDS = (
    "serve",
    "generate",
    "simulate",
    "demo",
    "timeouts",
    "doctor",
    "keys",
    "ledger",
    "backup",
    "restore",
    "migrate",
    "prices",
    "explain",
    "latency",
    "usage",
    "compensation",
    "whatif",
    "completion",
)

Subparsers = argparse._SubParsersAction  # the only name argparse has for it
Run = Callable[[argparse.Namespace], int]


class Command(Protocol):
    """What a command's module offers."""

    def register(self, subparsers: Subparsers[argparse.ArgumentParser]) -> None:
        """Declare the command and its options."""

    def run(self, args: argparse.Namespace) -> int:
        """Perform it; the result is the exit code."""


class Parser(argparse.ArgumentParser):
    """Tells a mistake in one line instead of printing the whole usage."""

    def error(self, message: str) -> NoReturn:
        """End with `Exit.USAGE`."""
        raise Stop(Exit.USAGE, f"{message[:1].upper()}{message[1:]}. See {self.prog} --help.")


def named_path(text: str) -> Path:
    """Read a path.

    Raises:
        ArgumentTypeError: It is empty, as an unset variable of a shell leaves it; that would be this folder.
    """
    if not text:
        raise argparse.ArgumentTypeError("the path is empty; name one, or leave the option out")
    return Path(text)


def add_globals(parser: argparse.ArgumentParser, *, default: object) -> None:
    """Add the options that every command takes, before or after its name."""
    group = parser.add_argument_group("everywhere")
    group.add_argument(
        "--config", metavar="FILE", type=named_path, default=default, help="settings file (holdfast.toml)"
    )
    group.add_argument("--data", metavar="DIR", type=named_path, default=default, help="data folder")
    group.add_argument(
        "--json",
        action="store_true",
        default=False if default is None else default,
        help="print results and errors as JSON",
    )


def build_parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Make the parser of a command line.

    Args:
        words: The command line. Only the commands that occur in it are declared: the others' modules need not load.
            Where none does, as for `holdfast --help`, all are.
    """
    parser: argparse.ArgumentParser = Parser(
        prog="holdfast",
        description="The gateway that never drops a slow image.",
        epilog="Exit codes: " + "; ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in Exit) + ".",
    )
    parser.add_argument("--version", action="version", version=f"holdfast {__version__}")
    add_globals(parser, default=None)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in [name for name in COMMANDS if name in words] or COMMANDS:
        module: Command = importlib.import_module(f"holdfast.cli.{name}")
        module.register(subparsers)
        own = subparsers.choices[name]
        # SUPPRESS: what stands before the command's name is not undone by the absence after it.
        add_globals(own, default=argparse.SUPPRESS)
        own.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the result is the exit code."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show an arrow or a bar is no reason to fail.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    words = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in words
    try:
        args = build_parser(words).parse_args(words)
        if not as_json:
            _warn_of_slips()
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # `holdfast timeouts | head`: the reader has what it wanted. Python flushes once more at exit, to nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except (Exception, KeyboardInterrupt) as error:
        ending = told(error)
        if ending is None:
            raise
        details = error.details if isinstance(error, Stop) else {}
        complain(ending.code, ending.message, as_json=as_json, details=details)
        return ending.code


def _warn_of_slips() -> None:
    from holdfast.config import slips

    for slip in slips(os.environ):
        print(f"holdfast: {slip}", file=sys.stderr)


def complain(code: Exit, message: str, *, as_json: bool, details: dict[str, object]) -> None:
    """Write why a command failed to standard error."""
    if as_json:
        known = {name: value for name, value in details.items() if value is not None}
        error = {"code": code.name.lower(), "exit": code.value, "message": message, **known}
        print(json.dumps({"error": error}), file=sys.stderr)
    else:
        print(f"holdfast: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
