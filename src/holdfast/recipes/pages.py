"""The pages of `docs/how-to/clients`: the recipes as they are printed, and what each client can and cannot do."""

from __future__ import annotations

from dataclasses import replace

from holdfast.config import Deadlines, Network
from holdfast.recipes.catalog import CLIENTS, FENCES, RUNS, Client, Language
from holdfast.recipes.numbers import numbers
from holdfast.recipes.render import render
from holdfast.types import Tier

SHOWN = Tier.K4
"""The size on the pages: the one that no default timeout fits."""
TITLES = {
    Language.PYTHON: "Python",
    Language.JAVASCRIPT: "JavaScript on Node",
    Language.SHELL: "The shell",
    Language.JAVA: "Java",
    Language.GO: "Go",
}
INSTALLS = {Language.PYTHON: "pip install", Language.JAVASCRIPT: "npm install"}
_WRITTEN = "Written by `scripts/docs-reference` from `holdfast.recipes`; the tests run every program as it stands here."
_HEAD = """# Clients: {title}

{written}

Each client has two programs: one that asks holdfast, and one that asks an API itself. Both are shown for a {size} image
from inside a data centre. For another size or network they are printed by

    {command}

**With holdfast** a repeat is free: it carries the key of the first call, and joins the image that is on its way. So a
short silence counts as a dead path, and what was cut is asked for again; what the gateway does not call `retryable` is
not.

**Without it** a repeat may buy a second image. So the silence is waited out, and only what certainly was not charged is
sent again: what never left, 429, and 503. Of everything else the program says that it may have been charged.

"""


def clients_of(language: Language) -> list[Client]:
    """List the clients of one page."""
    return [client for client in CLIENTS if client.language is language]


def client_pages() -> dict[str, str]:
    """Render every page, by file name."""
    pages = {f"{language.value}.md": _page(language) for language in Language}
    return {"README.md": _index(), **pages}


def _page(language: Language) -> str:
    clients = clients_of(language)
    command = f"holdfast timeouts --client {clients[0].name} --size {SHOWN.value}"
    head = _HEAD.format(
        title=TITLES[language],
        written=_WRITTEN,
        size=SHOWN.value,
        command=f"{command}\n    {command} --network home --without-holdfast",
    )
    return head + "\n".join(_section(client) for client in clients)


def _section(client: Client) -> str:
    lines = [f"## {client.title}", "", f"`--client {client.name}` · its timers: {client.timers}.", ""]
    if client.limits:
        lines += [*(f"- {limit}" for limit in client.limits), ""]
    installs = f"`{INSTALLS[client.language]} {client.package}`, then `" if client.package else "`"
    lines += [f'{installs}{RUNS[client.language]} "a lighthouse in a storm" lighthouse.png`', ""]
    lines += [*_block(client, through_holdfast=True), "", "<details><summary>Without holdfast</summary>", ""]
    lines += [*_block(client, through_holdfast=False), "", "</details>", ""]
    return "\n".join(lines)


def _block(client: Client, *, through_holdfast: bool) -> list[str]:
    table = numbers(SHOWN, Deadlines(), through_holdfast=through_holdfast)
    program = render(client, SHOWN, table, through_holdfast=through_holdfast)
    return [f"```{FENCES[client.language]}", program.rstrip("\n"), "```"]


def _index() -> str:
    lines = [
        "# Clients",
        "",
        _WRITTEN,
        "",
        "Any client works when its base URL is changed. These pages say what its timers have to be set to, and how it",
        "repeats without paying twice: a program to copy for each.",
        "",
        "| client | on | its timers | what it cannot do |",
        "|---|---|---|---|",
    ]
    for client in CLIENTS:
        page = f"[{TITLES[client.language]}]({client.language.value}.md)"
        limits = " ".join(client.limits) or "nothing that matters here"
        lines.append(f"| `{client.name}` | {page} | {client.timers} | {limits} |")
    lines += [
        "",
        "## The numbers",
        "",
        "Seconds of silence / for the whole call, by size and [network](../../reference/settings.md). What a client",
        "cannot count it leaves out.",
        "",
        "| size | network | with holdfast | without |",
        "|---|---|---|---|",
        *(_row(tier, network) for tier in Tier for network in Network),
    ]
    return "\n".join(lines) + "\n"


def _row(tier: Tier, network: Network) -> str:
    cells = [tier.value, network.value]
    for through_holdfast in (True, False):
        table = numbers(tier, replace(Deadlines(), network=network), through_holdfast=through_holdfast)
        cells.append(f"{table['silence_s'].value} / {table['total_s'].value}")
    return f"| {' | '.join(cells)} |"
