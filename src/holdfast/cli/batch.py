"""`holdfast generate --prompts`: many images from one file, of which every one is paid once however often it is run."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from holdfast.batch.journal import Began
from holdfast.batch.names import TEMPLATE_DEFAULT, stems_of, strangers
from holdfast.batch.plan import Plan, Task, plan_of, refuse_strange_head
from holdfast.batch.prompts import Defaults, Line, parse_prompts
from holdfast.cli.api_key import ApiKey
from holdfast.cli.batch_asking import ClientAsker
from holdfast.cli.batch_files import (
    STANDARD_INPUT,
    Folder,
    JournalFile,
    journal_path,
    read_prompts,
    see_that_it_began,
)
from holdfast.cli.batch_run import CONCURRENCY_MAX, BatchRun
from holdfast.cli.batch_show import BatchShow
from holdfast.cli.batch_telling import exit_of, troubles_told
from holdfast.cli.exits import Exit, Stop
from holdfast.cli.files import Destination, read_input
from holdfast.clock import SystemClock
from holdfast.config import Settings
from holdfast.policy.latency import Latency, prior
from holdfast.policy.sizes import resolve
from holdfast.types import InputImage, Tier

CONCURRENCY = 4
CLASHES_TOLD_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A command line, understood, and everything that can be wrong before anything is sent found right."""

    lines: list[Line]
    stems: dict[int, str]
    inputs: tuple[InputImage, ...]
    folder: Folder
    journal: Path
    base_url: str
    key: ApiKey
    settings: Settings
    concurrency: int
    retry_failed: bool
    as_json: bool


def run_batch(args: argparse.Namespace, settings: Settings, base_url: str, key: ApiKey) -> int:
    """Make what is missing; Ctrl-C says how to go on."""
    batch = _batch_of(args, settings, base_url, key)
    with JournalFile(batch.journal) as journal:
        plan = _plan_of(batch, journal)
        if not plan.tasks:
            return _nothing_left(batch, plan)
        batch.folder.prepare()
        try:
            return _carry_out(batch, plan, journal)
        finally:
            batch.folder.close()


def _batch_of(args: argparse.Namespace, settings: Settings, base_url: str, key: ApiKey) -> Batch:
    concurrency = CONCURRENCY if args.concurrency is None else args.concurrency
    if not 1 <= concurrency <= CONCURRENCY_MAX:
        raise Stop(Exit.USAGE, f"--concurrency must be 1 to {CONCURRENCY_MAX}, not {concurrency}.")
    shown = "standard input" if args.prompts == STANDARD_INPUT else args.prompts
    defaults = Defaults(model=args.model, size=args.size, aspect_ratio=args.aspect_ratio, n=args.n)
    lines = parse_prompts(read_prompts(args.prompts), shown, defaults)
    inputs = tuple(read_input(path) for path in args.inputs)
    if inputs and any(line.n > 1 for line in lines):
        raise Stop(Exit.USAGE, "--from makes one image a call. Leave n out, or write the line several times.")
    stems = stems_of(lines, args.name or TEMPLATE_DEFAULT)
    path = Path(args.output or ".").expanduser()
    if path.exists() and not path.is_dir():
        raise Stop(Exit.USAGE, f"{path} is a file. The images of a batch go into a folder: name one with -o.")
    journal = journal_path(path, args.prompts)
    if args.resume:
        see_that_it_began(journal)
    # Before anything is paid: it takes files.
    Destination(f"{path}/").prepare()
    return Batch(
        lines=lines,
        stems=stems,
        inputs=inputs,
        folder=Folder(path, journal),
        journal=journal,
        base_url=base_url,
        key=key,
        settings=settings,
        concurrency=concurrency,
        retry_failed=args.retry_failed,
        as_json=args.json,
    )


def _plan_of(batch: Batch, journal: JournalFile) -> Plan:
    """Say what is left; a journal that is new gets its first line once nothing can be refused any more."""
    head, entries = journal.told.head, journal.told.entries
    if head is not None:
        refuse_strange_head(head, base_url=batch.base_url, account=batch.key.account, journal=str(batch.journal))
    clashes = strangers(batch.lines, batch.stems, entries.keys(), batch.folder.names())
    if clashes:
        more = f" and {len(clashes) - CLASHES_TOLD_MAX} more" if len(clashes) > CLASHES_TOLD_MAX else ""
        named = ", ".join(str(batch.folder.path / name) for name in clashes[:CLASHES_TOLD_MAX])
        raise Stop(
            Exit.USAGE,
            f"{named}{more}: there already, and not of this batch. Choose another folder (-o) or other names (--name).",
        )
    began = head or Began(id=SystemClock().new_id("bat"), base_url=batch.base_url, account=batch.key.account)
    plan = plan_of(
        batch.lines,
        entries,
        batch_id=began.id,
        has_file=batch.folder.has,
        retry_failed=batch.retry_failed,
        inputs=[image.sha256 for image in batch.inputs],
    )
    if head is None:
        journal.write(began)
    return plan


def _nothing_left(batch: Batch, plan: Plan) -> int:
    if batch.as_json:
        print(_summary(batch, done=len(plan.done), failed=0))
    else:
        print(f"All {len(plan.done)} lines have their images in {batch.folder.path} already.")
    return Exit.OK


def _carry_out(batch: Batch, plan: Plan, journal: JournalFile) -> int:
    run: BatchRun | None = None

    async def work() -> BatchRun:
        nonlocal run
        show = BatchShow(sys.stdout, sys.stderr, folder=batch.folder.path, as_json=batch.as_json)
        network = batch.settings.deadlines.network.value
        paths = [Path(image.store_key) for image in batch.inputs]
        async with ClientAsker(base_url=batch.base_url, key=batch.key, network=network, inputs=paths) as asker:
            run = BatchRun(
                plan,
                stems=batch.stems,
                journal=journal,
                folder=batch.folder,
                asker=asker,
                latency=lambda task: _expected(task, batch),
                heard=show.heard,
            )
            show.standing = run.standing
            async with show:
                await run.run(batch.concurrency)
            return run

    try:
        ended = asyncio.run(work())
    except KeyboardInterrupt:
        raise Stop(Exit.INTERRUPTED, _interrupted(batch, run)) from None
    return _told(batch, ended)


def _expected(task: Task, batch: Batch) -> Latency:
    last = batch.inputs[-1] if batch.inputs else None
    geometry = resolve(
        task.line.size,
        aspect_ratio=task.line.aspect_ratio,
        last_input_px=(last.width_px, last.height_px) if last is not None else None,
        size_default=Tier.K1,
    )
    return prior(geometry.tier, scale=batch.settings.latency.scale)


def _interrupted(batch: Batch, run: BatchRun | None) -> str:
    done, running = (run.done, run.running) if run is not None else (0, 0)
    made = f"; {running} were being made, and are kept at the gateway" if running else ""
    return (
        f"Interrupted. {done} of {len(batch.lines)} lines have their images in {batch.folder.path}{made}. "
        "Run the same command again: it collects what was paid and asks only for what is missing."
    )


def _told(batch: Batch, run: BatchRun) -> int:
    """Print the end of it; the result is the exit code."""
    if batch.as_json:
        print(_summary(batch, done=run.done, failed=len(run.troubles)))
    else:
        lines = [f"{run.done} of {len(batch.lines)} lines have their images in {batch.folder.path}."]
        not_sent = len(batch.lines) - run.done - len(run.troubles)
        if not_sent:
            lines.append(f"{not_sent} were not sent: every one of them would have failed as well.")
        lines += troubles_told(run.troubles, str(batch.journal))
        print("\n".join(lines), file=sys.stderr)
    return run.stop.code if run.stop is not None else exit_of(run.done, run.troubles)


def _summary(batch: Batch, *, done: int, failed: int) -> str:
    counts = {"lines": len(batch.lines), "done": done, "failed": failed}
    return json.dumps({"batch": {**counts, "folder": str(batch.folder.path), "journal": str(batch.journal)}})
