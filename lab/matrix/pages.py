"""The page of the matrix, made of a run's results. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cells import CLIENTS, IMAGE_S, MEANT, SPEED, Scenario
from fronts import FRONTS, IDLE_S, PROGRAMS
from reasons import REASONS
from results import CLIENT_TITLES, FRONT_TITLES, anchor_of

EXCHANGES = "../../lab/matrix/results/exchanges"
BY_REASON = {reason.name: reason for reason in REASONS}
Row = Mapping[str, Any]
Record = Mapping[str, Any]

_HEAD = """# The matrix: clients through proxies

Written by `make matrix` from what was measured ([how](../../lab/matrix/README.md)); a test keeps it true to the
[results](../../lab/matrix/results/matrix.json). Every client is unmodified, with its default settings: it is told
where, who and what, and nothing else. Every proxy is the package's, with an idle limit of {idle} s. Every time of life
is divided by {speed:g}: the limit stands for {life:g} s, and the image that comes after {wait:g} s for one that takes
{image:g} s. What a library waits by itself (httpx gives up after 5 s of silence) is not divided.

✓ is right, ✗ **RED** is not. Each sign leads to the exchange: what went over the wire, with times. *Shows* is what the
client gives its program, and what the upstream charged; a cell says so itself where it differs. A letter leads to the
reason.
"""


def problems_of(record: Record) -> list[str]:
    """List what must not be: a red cell that nothing explains, a success that is red and should not be."""
    found = []
    for row in record["cells"]:
        name = f"{row['front']} {anchor_of(row)}"
        if row["green"]:
            continue
        if row["reason"] is None:
            found.append(f"{name} is red without a reason: {row['told']}, {', '.join(row['wrong'])}: {row['message']}")
        elif row["scenario"] == Scenario.SUCCESS and not row["direct"] and not BY_REASON[row["reason"]].is_known_limit:
            found.append(f"{name} is a success that is red: {row['told']}")
    return found


def summary_of(record: Record) -> str:
    """Say how a run went, in a few lines."""
    held = [row for row in record["cells"] if not row["direct"]]
    lines = [f"{len(held)} cells, {sum(row['green'] for row in held)} green, {record['took_s']} s"]
    reds = Counter(str(row["reason"]) for row in held if not row["green"])
    lines += [f"  {count} red: {reason}" for reason, count in reds.most_common()]
    lines += [f"PROBLEM: {problem}" for problem in problems_of(record)]
    return "\n".join(lines)


def page_of(record: Record) -> str:
    """Write the page."""
    held = [row for row in record["cells"] if not row["direct"]]
    direct = [row for row in record["cells"] if row["direct"]]
    letters = _letters(record["cells"])
    head = _HEAD.format(idle=IDLE_S, speed=SPEED, life=IDLE_S * SPEED, wait=IMAGE_S / SPEED, image=IMAGE_S)
    parts = [head, _ran(record, held)]
    for scenario in Scenario:
        rows = [row for row in held if row["scenario"] == scenario]
        if rows:
            parts.append(f"## {scenario.title.capitalize()}\n\n{MEANT[scenario]}\n\n{_table(rows, letters)}")
    parts.append(_reasons(letters))
    if direct:
        parts.append(_direct(direct, record["direct_charges"], letters))
    parts += [_fronts(record), _clients(record, held)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _ran(record: Record, held: Sequence[Row]) -> str:
    machine = record["machine"]
    changed = " with changes" if machine["is_modified"] else ""
    greens = Counter(row["scenario"] for row in held if row["green"])
    totals = Counter(row["scenario"] for row in held)
    shares = ", ".join(
        f"{scenario.title} {greens[scenario]} of {totals[scenario]}" for scenario in Scenario if totals[scenario]
    )
    return (
        f"{record['at'][:10]}, commit {machine['commit']}{changed}, {machine['cores']} cores, {record['took_s']} s. "
        f"Green: {shares}.{_again(held)}"
    )


def _again(held: Sequence[Row]) -> str:
    again = [row for row in held if row["before"]]
    if not again:
        return ""
    count = "1 cell was" if len(again) == 1 else f"{len(again)} cells were"
    return (
        f" {count} played more than once: red at first, without a reason, on a machine that was busy with other things "
        "too; how each had ended stands in the results."
    )


def _letters(rows: Iterable[Row]) -> dict[str, str]:
    """Give each reason that is needed a letter, in the order of the table of reasons."""
    needed = {row["reason"] for row in rows if row["reason"] is not None}
    return {reason.name: chr(ord("a") + n) for n, reason in enumerate(each for each in REASONS if each.name in needed)}


def _usual(rows: Sequence[Row]) -> str:
    """What a client shows in most of its green cells, or in most of all where none is green."""
    told = Counter(row["told"] for row in rows if row["green"]) or Counter(row["told"] for row in rows)
    return told.most_common(1)[0][0]


def _table(rows: Sequence[Row], letters: Mapping[str, str]) -> str:
    fronts = [front.name for front in FRONTS if any(row["front"] == front.name for row in rows)]
    lines = [["client", "shows", *(FRONT_TITLES[name] for name in fronts)]]
    for client in CLIENTS:
        own = {row["front"]: row for row in rows if row["client"] == client.name}
        if own:
            usual = _usual(list(own.values()))
            cells = [_cell(own[name], usual, letters) if name in own else "-" for name in fronts]
            lines.append([client.title, usual, *cells])
    return _lined(lines)


def _cell(row: Row, usual: str, letters: Mapping[str, str]) -> str:
    link = f"{EXCHANGES}/{row['front']}.md#{anchor_of(row)}"
    differs = "" if row["told"] == usual else f" {row['told']}"
    if row["green"]:
        return f"[✓]({link}){differs}"
    letter = letters.get(row["reason"], "?")
    return f"[✗ **RED**]({link}) [{letter}](#reasons) {row['told']}"


def _lined(lines: Sequence[Sequence[str]]) -> str:
    head, *rest = lines
    rows = [head, ["---"] * len(head), *rest]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _reasons(letters: Mapping[str, str]) -> str:
    if not letters:
        return "## Reasons\n\nNo cell is red."
    lines = [["", "why", "what helps"]]
    lines += [[letter, BY_REASON[name].why, BY_REASON[name].helps] for name, letter in letters.items()]
    return f"## Reasons\n\n{_lined(lines)}"


def _direct(rows: Sequence[Row], charges: Mapping[str, int], letters: Mapping[str, str]) -> str:
    text = (
        "## The same without holdfast\n\nThe scenario *success*, with the proxies directly in front of the "
        "upstream. *Charged* is how many images the upstream charged for all clients of a column together, *in hand* "
        "how many of them arrived."
    )
    in_hand = Counter(row["front"] for row in rows if row["green"])
    fronts = [front.name for front in FRONTS if any(row["front"] == front.name for row in rows)]
    table = _table(rows, letters).split("\n")
    for title, count_of in (("**charged**", charges), ("**in hand**", in_hand)):
        table.append("| " + " | ".join([title, "", *(str(count_of.get(name, 0)) for name in fronts)]) + " |")
    return f"{text}\n\n" + "\n".join(table)


def _fronts(record: Record) -> str:
    played = {row["front"] for row in record["cells"]}
    lines = [["proxy", "set besides the idle limit"]]
    lines += [[front.title, front.said or "nothing"] for front in FRONTS if front.name in played and front.hops]
    versions = ", ".join(f"{name} {record['versions'][name]}" for name in PROGRAMS if name in record["versions"])
    return f"## Proxies\n\n{versions}, as Debian has them.\n\n{_lined(lines)}"


def _clients(record: Record, held: Sequence[Row]) -> str:
    lines = [["client", "version", "given", "behind TLS and HTTP/2"]]
    for client in CLIENTS:
        if client.name in record["versions"]:
            protocols = {
                row["protocol"] for row in held if row["client"] == client.name and row["front"] == "nginx-h2"
            } - {""}
            spoken = (
                "HTTP/2" if any("2" in name.partition("/")[2] or name == "HTTP_2" for name in protocols) else "HTTP/1.1"
            )
            lines.append([CLIENT_TITLES[client.name], record["versions"][client.name], client.given, spoken])
    text = (
        "Only what nobody can avoid is given. For TLS the home-made certificate is made known by the environment "
        "(`SSL_CERT_FILE`, `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE`, `NODE_EXTRA_CA_CERTS`; a trust store for Java)."
    )
    return f"## Clients\n\n{text}\n\n{_lined(lines)}"
