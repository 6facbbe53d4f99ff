"""The page of all claims, made from the results that are kept: nothing on it is written by hand but the claims."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from judgement import Judgement

PAGE = Path("docs/discussions/claims.md")
HEAD = """# What is said of slow image calls, and what is so

Written by `lab/claims/run.py` from the results beside each experiment; a test keeps it true to them.

Much advice about image APIs that answer after minutes goes round unmeasured. Here each piece is a claim with an
experiment: what was run, what came out, and one word for it. `make claims` runs them all again, in about an hour.
"""


class Experiment(Protocol):
    """What a claim's `run.py` gives."""

    CLAIM: str
    METHOD: str
    LIMITS: str

    def judge(self, figures: dict[str, Any]) -> Judgement:
        """Judge."""
        ...

    def table(self, figures: dict[str, Any]) -> str:
        """Write the figures."""
        ...


def text(results: Mapping[str, dict[str, Any]], experiments: Mapping[str, Any]) -> str:
    """Write the page.

    Args:
        results: What is kept of each claim that was run.
        experiments: Every claim's module.
    """
    judged = {name: experiments[name].judge(result["figures"]) for name, result in results.items()}
    lines = [HEAD, "| | Claim | Verdict | What follows |", "|---|---|---|---|"]
    for name, experiment in experiments.items():
        word, advice = (judged[name].word, judged[name].advice) if name in judged else ("not run", "")
        lines.append(f"| [{name.upper()}](#{name}) | {experiment.CLAIM} | **{word}** | {advice} |")
    for name, experiment in experiments.items():
        lines += ["", f"## {name.upper()}", "", f"*{experiment.CLAIM}.*", ""]
        if name not in judged:
            lines.append("Not run.")
            continue
        result, machine = results[name], results[name]["machine"]
        versions = ", ".join(f"{what} {which}" for what, which in result["figures"]["versions"].items())
        lines += [
            f"**{judged[name].word.capitalize()}.** {judged[name].why} {judged[name].advice}",
            "",
            experiment.table(result["figures"]),
            "",
            f"Method: {experiment.METHOD} Limits: {experiment.LIMITS}",
            "",
            f"Run on {result['at'][:10]} at commit {machine['commit']}, {machine['cores']} cores of "
            f"{machine['cpu']}, kernel "
            f"{machine['kernel']}; {versions}. [Script and raw data](../../lab/claims/{name}/).",
        ]
    return "\n".join(lines) + "\n"


def kept(project: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """Read the results that there are."""
    found = {}
    for name in names:
        path = project / "lab/claims" / name / "results/result.json"
        if path.exists():
            found[name] = json.loads(path.read_text("utf-8"))
    return found


def write(project: Path, experiments: Mapping[str, Any]) -> None:
    """Write it where it belongs."""
    (project / PAGE).write_text(text(kept(project, list(experiments)), experiments), "utf-8")
    print(f"wrote {PAGE}")
