"""`holdfast generate`: one picture, or a few, from a prompt into files."""

from __future__ import annotations

import argparse
import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast.cli.api_key import FIRST_KEY, find_api_key
from holdfast.cli.demo import DATA, KEY_FILE
from holdfast.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from holdfast.cli.api_key import ApiKey
    from holdfast.cli.asked import Asked
    from holdfast.config import Settings

IMAGES_MAX = 10
PORT_DEFAULT = 16888


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = subparsers.add_parser("generate", help="make an image from a prompt")
    parser.add_argument("prompt", nargs="*", metavar="PROMPT", help="what to draw; several words need no quotes")
    parser.add_argument(
        "--from",
        dest="inputs",
        action="append",
        default=[],
        metavar="FILE",
        type=Path,
        help="a reference image; may be repeated",
    )
    parser.add_argument("--size", help="1K, 2K, 4K, auto, or pixels such as 1536x1024")
    parser.add_argument("--aspect-ratio", help="16:9, 3:2, …")
    parser.add_argument("--model", help="public model name; else the gateway's default")
    parser.add_argument("--n", type=int, default=1, help="how many images, 1 to 10")
    parser.add_argument(
        "-o", "--output", metavar="FILE|DIR", help="where to keep them, else this folder; an existing FILE is replaced"
    )
    many = parser.add_argument_group("many images")
    many.add_argument(
        "--prompts",
        metavar="FILE",
        help="instead of PROMPT: a prompt a line, or JSON Lines with prompt, model, size, aspect_ratio, n, output; "
        "- for standard input. The same command again goes on where it ended, and pays for nothing twice",
    )
    many.add_argument("--concurrency", type=int, metavar="N", help="lines at once, 1 to 16; else 4")
    many.add_argument(
        "--name", metavar="TEMPLATE", help="of the files, with {line}, {slug}, {model} and {size}; else {line}"
    )
    many.add_argument(
        "--resume", action="store_true", help="only go on with a batch; one that never began is a mistake"
    )
    many.add_argument("--retry-failed", action="store_true", help="buy again what failed, paid or not")
    parser.add_argument("--base-url", help="else HOLDFAST_BASE_URL, else the gateway of the settings, on this machine")
    parser.add_argument("--api-key", help="else HOLDFAST_API_KEY, else what a gateway on this machine wrote down")


def run(args: argparse.Namespace) -> int:
    """Make the images; Ctrl-C says how to collect them."""
    from holdfast.cli.asked import base_of
    from holdfast.config import load

    settings = load(args.config, os.environ)
    if args.data is not None:
        settings = replace(settings, store=replace(settings.store, data=args.data))
    base_url = base_of(args.base_url or os.environ.get("HOLDFAST_BASE_URL") or local_base_url(settings))
    key = find_api_key(args.api_key, os.environ, base_url, key_files(settings))
    if args.prompts is not None:
        from holdfast.cli.batch import run_batch

        if args.prompt:
            raise Stop(Exit.USAGE, "Give a PROMPT or --prompts, not both.")
        return run_batch(args, settings, base_url, key)
    return _one(args, settings, base_url, key)


def _one(args: argparse.Namespace, settings: Settings, base_url: str, key: ApiKey) -> int:
    from holdfast.cli.client_ends import how_to_collect
    from holdfast.cli.files import Destination
    from holdfast.cli.making import Calling, Job, make
    from holdfast.clock import SystemClock

    job = Job(
        asked=_asked_of(args),
        inputs=tuple(args.inputs),
        base_url=base_url,
        key=key,
        network=settings.deadlines.network.value,
        latency_scale=settings.latency.scale,
        as_json=args.json,
    )
    destination = Destination(args.output)
    destination.prepare()
    calling = Calling(idempotency_key=SystemClock().new_id("call"))
    try:
        lines = asyncio.run(make(job, destination, calling))
    except KeyboardInterrupt:
        collect = how_to_collect(base_url, calling.generation_id, calling.idempotency_key, key)
        raise Stop(Exit.INTERRUPTED, f"Interrupted. {collect}", generation_id=calling.generation_id) from None
    print("\n".join(lines))
    return Exit.OK


def _asked_of(args: argparse.Namespace) -> Asked:
    from holdfast.cli.asked import Asked
    from holdfast.cli.files import read_input

    prompt = " ".join(args.prompt).strip()
    if not prompt:
        raise Stop(Exit.USAGE, "The prompt is empty. Say what to draw, or give a file of prompts with --prompts.")
    if needless := batch_options(args):
        raise Stop(Exit.USAGE, f"{', '.join(needless)} goes with --prompts: one prompt is one call.")
    if not 1 <= args.n <= IMAGES_MAX:
        raise Stop(Exit.USAGE, f"--n must be 1 to {IMAGES_MAX}, not {args.n}.")
    if args.inputs and args.n > 1:
        raise Stop(Exit.USAGE, "--from makes one image a call. Leave --n out, or call several times.")
    inputs = tuple(read_input(path) for path in args.inputs)
    return Asked(
        prompt=prompt,
        model=args.model,
        size=args.size,
        aspect_ratio=args.aspect_ratio,
        n=args.n,
        inputs=inputs,
    )


def batch_options(args: argparse.Namespace) -> list[str]:
    """List options that were given and mean something for a batch alone."""
    given = {
        "--concurrency": args.concurrency is not None,
        "--name": args.name is not None,
        "--resume": args.resume,
        "--retry-failed": args.retry_failed,
    }
    return [name for name, is_given in given.items() if is_given]


def local_base_url(settings: Settings) -> str:
    """Give the address at which the gateway of these settings is reached from this machine."""
    host = settings.server.host
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{shown}:{settings.server.port or PORT_DEFAULT}/v1"


def key_files(settings: Settings) -> tuple[Path, ...]:
    """Give the files in which a gateway of this folder keeps a key; one that runs goes first."""
    from holdfast.cli.holder import holder_of

    own = settings.store.data
    folders = {DATA: KEY_FILE, own: own / FIRST_KEY}
    return tuple(folders[data] for data in sorted(folders, key=lambda data: holder_of(data) is None))
