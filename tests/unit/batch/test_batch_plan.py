"""What is left of a batch after it was interrupted anywhere, and that nothing of it is ever bought twice."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.batch.journal import AskedOf, Began, Done, Entry, Failed, Record, Told, read, spell
from holdfast.batch.plan import Plan, Task, plan_of, refuse_strange_head
from holdfast.batch.prompts import Line
from holdfast.errors import RequestError

BATCH = "batch_01"
HEAD = Began(id=BATCH, base_url="http://127.0.0.1:16888/v1", account="01ABC")
LINES = [Line(number=number, prompt=f"prompt {number}") for number in (1, 2, 4)]


def planned(lines: list[Line], entries: dict[int, Entry], files: frozenset[str] = frozenset(), **rest: bool) -> Plan:
    """Plan a batch whose folder holds these files."""
    return plan_of(lines, entries, batch_id=BATCH, has_file=files.__contains__, **rest)


def first_task(line: Line) -> Task:
    """Give the task of a line that was never sent."""
    return planned([line], {}).tasks[0]


def failed(task: Task, paid: str = "no") -> Entry:
    """Say that a line failed."""
    return Entry(task.asked, Failed(line=task.line.number, key=task.asked.key, code="refused", paid=paid))


def done(task: Task, *files: str) -> Entry:
    """Say that a line has its files."""
    return Entry(task.asked, Done(line=task.line.number, key=task.asked.key, files=files))


def test_a_new_batch_is_all_to_do() -> None:
    """Every line has a key of its own, to be written down first."""
    plan = planned(LINES, {})
    assert [task.line for task in plan.tasks] == LINES
    assert len({task.asked.key for task in plan.tasks}) == 3
    assert all(task.is_unwritten and not task.is_repeat for task in plan.tasks)
    assert all(1 <= len(task.asked.key) <= 255 and task.asked.key.isascii() for task in plan.tasks)


def test_the_same_line_of_another_batch_has_another_key() -> None:
    """Whoever wants the same pictures again begins another batch."""
    other = plan_of(LINES, {}, batch_id="batch_02", has_file=lambda _: False)
    assert {task.asked.key for task in other.tasks}.isdisjoint(task.asked.key for task in planned(LINES, {}).tasks)


def test_what_was_sent_is_asked_for_with_its_own_key() -> None:
    """Nobody knows what came of it: the gateway does."""
    sent = first_task(LINES[0])
    task = planned(LINES, {1: Entry(sent.asked)}).tasks[0]
    assert task.asked == sent.asked
    assert task.is_repeat
    assert not task.is_unwritten


def test_what_has_its_files_is_done() -> None:
    """It is not asked for at all."""
    plan = planned(LINES, {1: done(first_task(LINES[0]), "1.png")}, frozenset({"1.png"}))
    assert [line.number for line in plan.done] == [1]
    assert [task.line.number for task in plan.tasks] == [2, 4]


def test_what_lost_its_files_is_collected_again() -> None:
    """With the key that it was paid under; one of two files is not enough."""
    entry = done(first_task(LINES[0]), "1-0.png", "1-1.png")
    task = planned(LINES, {1: entry}, frozenset({"1-0.png"})).tasks[0]
    assert task.asked.key == entry.asked.key
    assert task.is_repeat


@pytest.mark.parametrize(("paid", "is_repeat"), [("no", False), ("unknown", True), ("yes", True)])
def test_what_failed_is_asked_for_again_under_its_key(paid: str, is_repeat: bool) -> None:
    """A server that forgets keys may be asked again only where nothing was charged; and then it is open once more."""
    task = planned(LINES, {1: failed(first_task(LINES[0]), paid)}).tasks[0]
    assert (task.is_repeat, task.is_unwritten) == (is_repeat, True)


def test_what_failed_is_bought_again_on_request() -> None:
    """Under a new key, again and again a new one."""
    entry = failed(first_task(LINES[0]), "yes")
    keys = [entry.asked.key]
    for purchase in (2, 3):
        task = planned(LINES, {1: entry}, retry_failed=True).tasks[0]
        assert (task.asked.purchase, task.is_unwritten, task.is_repeat) == (purchase, True, False)
        keys.append(task.asked.key)
        entry = failed(task)
    assert len(set(keys)) == 3


def test_what_is_not_known_to_have_failed_is_never_bought_again() -> None:
    """Not on request either: it may be there to collect."""
    sent = first_task(LINES[0])
    assert planned(LINES, {1: Entry(sent.asked)}, retry_failed=True).tasks[0].asked == sent.asked


def test_a_failed_line_may_be_changed() -> None:
    """A prompt that was refused is written otherwise, and is another wish."""
    entry = failed(first_task(LINES[0]))
    changed = [Line(number=1, prompt="something milder"), *LINES[1:]]
    task = planned(changed, {1: entry}).tasks[0]
    assert task.is_unwritten
    assert task.asked.key != entry.asked.key


@pytest.mark.parametrize("with_end", [False, True])
def test_a_line_that_was_sent_may_not_be_changed(with_end: bool) -> None:
    """Its image would not be found; the line is named, and what to do."""
    sent = first_task(LINES[1])
    entry = done(sent, "2.png") if with_end else Entry(sent.asked)
    changed = [LINES[0], Line(number=2, prompt="another"), LINES[2]]
    with pytest.raises(RequestError) as caught:
        planned(changed, {2: entry}, frozenset({"2.png"}))
    assert caught.value.message.startswith("Line 2 of the prompts changed since being sent")
    assert "another folder (-o)" in caught.value.message


def test_another_size_for_all_is_a_change_of_all() -> None:
    """The command's options are part of every line's wish; the first few are named."""
    lines = [Line(number=number, prompt="p", size="1K") for number in range(1, 9)]
    entries = {line.number: Entry(first_task(line).asked) for line in lines}
    larger = [Line(number=line.number, prompt="p", size="4K") for line in lines]
    with pytest.raises(RequestError, match=r"^Lines 1, 2, 3, 4, 5 and 3 more of the prompts changed"):
        planned(larger, entries)


def test_another_reference_image_is_a_change() -> None:
    """It is part of the wish, though no part of the file of prompts."""
    with pytest.raises(RequestError, match="reference image"):
        plan_of(LINES, {1: Entry(first_task(LINES[0]).asked)}, batch_id=BATCH, has_file=lambda _: False, inputs=["ab"])


def test_lines_that_were_not_sent_may_change_and_be_added() -> None:
    """Nothing was paid for them."""
    entries = {1: Entry(first_task(LINES[0]).asked)}
    plan = planned([LINES[0], Line(number=2, prompt="new"), Line(number=9, prompt="more")], entries)
    assert [task.line.number for task in plan.tasks] == [1, 2, 9]


def test_a_line_that_is_gone_matters_only_while_it_is_open() -> None:
    """A finished one has its files; an open one may be paid and wait."""
    sent = first_task(LINES[2])
    assert len(planned(LINES[:2], {4: done(sent, "4.png")}).tasks) == 2
    with pytest.raises(RequestError, match="Line 4"):
        planned(LINES[:2], {4: Entry(sent.asked)})


def test_another_gateway_is_refused() -> None:
    """It would be paid a second time for what the first one keeps."""
    with pytest.raises(RequestError, match=r"begun at http://127\.0\.0\.1:16888/v1") as caught:
        refuse_strange_head(HEAD, base_url="http://other/v1", account="01ABC", journal="p.journal")
    assert "first line of p.journal" in caught.value.message


def test_another_account_is_refused() -> None:
    """Another key's generations are not given; where an account is unknown, nothing is said."""
    with pytest.raises(RequestError, match="hf-01ABC-…"):
        refuse_strange_head(HEAD, base_url=HEAD.base_url, account="01XYZ", journal="j")
    refuse_strange_head(HEAD, base_url=HEAD.base_url, account="", journal="j")
    refuse_strange_head(HEAD, base_url=HEAD.base_url, account="01ABC", journal="j")


def records() -> list[Record]:
    """Write a short history."""
    one, two = first_task(LINES[0]), first_task(LINES[1])
    again = planned(LINES, {2: failed(two)}, retry_failed=True).tasks[1]
    return [
        HEAD,
        one.asked,
        two.asked,
        Done(line=1, key=one.asked.key, files=("1.png",), generation_id="gen_1"),
        Failed(line=2, key=two.asked.key, code="refused", paid="no"),
        again.asked,
    ]


def test_a_journal_is_read_back() -> None:
    """Of a line that was bought again, the last purchase counts."""
    told = read(map(spell, records()), "j")
    assert told.head == HEAD
    assert told.entries[1].end == Done(line=1, key=told.entries[1].asked.key, files=("1.png",), generation_id="gen_1")
    assert (told.entries[2].asked.purchase, told.entries[2].end) == (2, None)
    assert told.whole_bytes == sum(len(spell(record)) for record in records())


def test_a_journal_holds_no_prompt() -> None:
    """It lies beside the images, and is copied with them."""
    assert all(b"prompt " not in spell(record) for record in records())


def lines_of(data: bytes) -> list[bytes]:
    """Split as a file is read."""
    return data.splitlines(keepends=True)


@given(st.integers(min_value=0))
def test_a_journal_may_end_at_any_byte(cut: int) -> None:
    """What was being written counts as not written; everything before it counts."""
    whole = b"".join(map(spell, records()))
    data = whole[: cut % (len(whole) + 1)]
    told = read(lines_of(data), "j")
    assert told.whole_bytes == data.rfind(b"\n") + 1
    expected = [record for record, end in zip(records(), ends(), strict=True) if end <= len(data)]
    assert told == read(map(spell, expected), "j")
    # What may have been sent is never given another key.
    for number, entry in told.entries.items():
        if entry.end is None:
            task = next(task for task in planned(LINES, told.entries).tasks if task.line.number == number)
            assert task.asked == entry.asked


def ends() -> list[int]:
    """Say where each record of the history ends."""
    return list(itertools.accumulate(len(spell(record)) for record in records()))


@pytest.mark.parametrize(
    "rows",
    [
        [b"a cat\n"],
        [b"{}\n"],
        [spell(records()[1])],
        [spell(HEAD), spell(HEAD)],
        [spell(HEAD), b'{"is": "asked"}\n'],
        [spell(HEAD), spell(records()[3])],
        [spell(HEAD), spell(records()[1]), spell(Done(line=1, key="other", files=()))],
        [spell(HEAD), b"\xff\n"],
        [spell(HEAD), b" " * 70_000 + b"\n"],
    ],
)
def test_what_is_no_journal_is_refused(rows: list[bytes]) -> None:
    """What was paid cannot be known from it, so nothing is sent."""
    with pytest.raises(RequestError, match=r"^j, line \d+: this is no line of a batch's journal"):
        read(rows, "j")


def test_a_later_versions_journal_is_refused() -> None:
    """It may say what is not understood here."""
    with pytest.raises(RequestError, match="version 2"):
        read([spell(Began(id=BATCH, base_url="x", version=2))], "j")


def test_an_empty_journal_says_nothing() -> None:
    """The process ended before its first line was whole."""
    assert read([], "j") == Told()
    assert read([b'{"is": "ba'], "j") == Told()


def test_a_key_is_that_of_its_line() -> None:
    """Whoever reads the gateway's record finds the line."""
    asked = first_task(LINES[2]).asked
    assert isinstance(asked, AskedOf)
    assert asked.key.startswith(f"{BATCH}.4.1.")
