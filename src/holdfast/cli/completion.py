"""`holdfast completion`: a script that teaches a shell to complete holdfast's commands, options and values."""

from __future__ import annotations

import argparse

SHELLS = ("bash", "zsh", "fish")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("completion", help="print a script that completes commands for a shell")
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=f"{', '.join(SHELLS[:-1])} or {SHELLS[-1]}")


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    from holdfast.cli.completion_scripts import SCRIPTS
    from holdfast.cli.grammar import grammar_of
    from holdfast.cli.main import build_parser

    print(SCRIPTS[args.shell](grammar_of(build_parser())), end="")
    return 0
