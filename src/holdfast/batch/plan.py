"""What is left of a batch: from what is asked now and what was written down before. Values in, values out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from holdfast.batch.journal import AskedOf, Began, Done, Entry, Failed
from holdfast.batch.prompts import Line
from holdfast.errors import RequestError

TOLD_MAX = 5
"""Lines named in a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One line to be sent."""

    line: Line
    asked: AskedOf
    is_unwritten: bool
    """`asked` has to be written down before it is sent: it never was, or the line has ended since."""
    is_repeat: bool
    """It was sent before and may have been paid: right only where the server remembers keys, so that it is not bought
    again but collected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What there is to do."""

    tasks: tuple[Task, ...]
    """In the order of the file."""
    done: tuple[Line, ...]
    """Lines whose images are on disk already."""


def plan_of(
    lines: Sequence[Line],
    entries: Mapping[int, Entry],
    *,
    batch_id: str,
    has_file: Callable[[str], bool],
    retry_failed: bool = False,
    inputs: Sequence[str] = (),
) -> Plan:
    """Say what is left.

    A line that has its files is done. One that was sent is asked again with the key that it was sent with: that gives
    what was paid. One that failed is too, which costs nothing where nothing is to be had; after `retry_failed`, or once
    its prompt was changed, it is bought anew.

    Args:
        lines: What is asked now.
        entries: What the journal says, by line number.
        batch_id: Of the journal.
        has_file: Whether the output folder has a file of that name.
        retry_failed: Buy again what failed.
        inputs: SHA-256 of the reference images.

    Raises:
        RequestError: A line whose image was paid, or may have been, is not there any more as it was sent.
    """
    prints = {line.number: line.fingerprint(inputs) for line in lines}
    _refuse_changes(prints, entries)
    tasks: list[Task] = []
    done: list[Line] = []
    for line in lines:
        entry = entries.get(line.number)
        if entry is not None and isinstance(entry.end, Done) and all(map(has_file, entry.end.files)):
            done.append(line)
        else:
            tasks.append(_task(line, entry, prints[line.number], batch_id, retry_failed=retry_failed))
    return Plan(tasks=tuple(tasks), done=tuple(done))


def _task(line: Line, entry: Entry | None, fingerprint: str, batch_id: str, *, retry_failed: bool) -> Task:
    if entry is None:
        return _purchase(line, fingerprint, batch_id, 1)
    has_failed = isinstance(entry.end, Failed)
    if has_failed and (retry_failed or entry.asked.fingerprint != fingerprint):
        return _purchase(line, fingerprint, batch_id, entry.asked.purchase + 1)
    unpaid = isinstance(entry.end, Failed) and entry.end.paid == "no"
    return Task(line=line, asked=entry.asked, is_unwritten=entry.end is not None, is_repeat=not unpaid)


def _purchase(line: Line, fingerprint: str, batch_id: str, purchase: int) -> Task:
    key = f"{batch_id}.{line.number}.{purchase}.{fingerprint[:16]}"
    asked = AskedOf(line=line.number, key=key, fingerprint=fingerprint, purchase=purchase)
    return Task(line=line, asked=asked, is_unwritten=True, is_repeat=False)


def _refuse_changes(prints: Mapping[int, str], entries: Mapping[int, Entry]) -> None:
    changed = [
        number
        for number, entry in entries.items()
        # A failed line may be changed: that is what one does about it. A finished one may be gone, being finished.
        if not isinstance(entry.end, Failed)
        and (number in prints or entry.end is None)
        and prints.get(number) != entry.asked.fingerprint
    ]
    if changed:
        raise RequestError(
            f"{_listed(changed)} of the prompts changed since being sent (prompt, model, size, ratio, n or a "
            "reference image): what was paid would not be found. Put it back as it was and add new prompts at the end, "
            "or begin another batch in another folder (-o)."
        )


def _listed(numbers: Sequence[int]) -> str:
    named = ", ".join(map(str, sorted(numbers)[:TOLD_MAX]))
    more = f" and {len(numbers) - TOLD_MAX} more" if len(numbers) > TOLD_MAX else ""
    return f"Line{'' if len(numbers) == 1 else 's'} {named}{more}"


def refuse_strange_head(head: Began, *, base_url: str, account: str, journal: str) -> None:
    """See to it that what was paid is looked for where it is.

    Args:
        head: Of the journal.
        base_url: Whom the command asks now.
        account: Public part of the key that it asks with; empty where unknown.
        journal: What the journal is called in messages.

    Raises:
        RequestError: It was begun elsewhere, or with another account.
    """
    if head.base_url != base_url:
        raise RequestError(
            f"This batch was begun at {head.base_url}, and what it paid for is there. Give that with --base-url; "
            f"if the same gateway has moved to {base_url}, write so into the first line of {journal}."
        )
    if head.account and account and head.account != account:
        raise RequestError(
            f"This batch was begun with the API key hf-{head.account}-…, and another key is not given what that one "
            "paid for. Give that one, or begin another batch in another folder (-o)."
        )
