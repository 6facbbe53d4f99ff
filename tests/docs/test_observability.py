"""Dashboard and alert rules ask for metrics that exist, in words that Prometheus understands.

The grammar is that of `promql-parser`, which follows Prometheus's own; where promtool is installed it has its say too.
It is no package of the suites: with Prometheus around it, it weighs 96 MB.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from holdfast.telemetry.catalog import CATALOG, Kind

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "observability"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))["groups"] for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
FOREIGN = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}
DURATION = re.compile(r"([0-9]+(ms|s|m|h|d|w|y))+")
BY_THE_SCRAPE = {"job", "instance"}


def samples() -> dict[str, set[str]]:
    """Each name that a query may ask for, with its labels."""
    found: dict[str, set[str]] = {name: set(BY_THE_SCRAPE) for name in FOREIGN}
    for metric in CATALOG:
        labels = {*metric.labels, *BY_THE_SCRAPE}
        if metric.kind is Kind.HISTOGRAM:
            found |= {
                f"{metric.name}_bucket": labels | {"le"},
                f"{metric.name}_sum": labels,
                f"{metric.name}_count": labels,
            }
        else:
            found[metric.name] = labels
    return found


def plain(expression: str) -> str:
    """Put something in the place of Grafana's variables."""
    return expression.replace("$__rate_interval", "5m").replace("$job", "holdfast")


def expressions() -> list[tuple[str, str]]:
    """Everything that is asked, with who asks."""
    asked = [(rule["alert"], rule["expr"]) for rule in RULES]
    return asked + [(panel["title"], plain(target["expr"])) for panel in PANELS for target in panel["targets"]]


def selectors(node: Any) -> Iterator[Any]:
    """Walk through an expression to whatever it selects."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(node, name, None)
        if inner is not None and not isinstance(inner, str):
            yield from selectors(inner)
    for argument in getattr(node, "args", ()):
        yield from selectors(argument)


@pytest.mark.parametrize(("asker", "expression"), expressions())
def test_every_query_is_one_and_asks_for_what_there_is(asker: str, expression: str) -> None:
    """A name that was changed in the catalog alone would be an alert that never rings."""
    known, found = samples(), list(selectors(promql_parser.parse(expression)))
    assert found, asker
    for selector in found:
        assert selector.name in known, f"{asker}: there is no {selector.name}"
        named = {matcher.name for matcher in selector.matchers.matchers}
        assert named <= known[selector.name], f"{asker}: {selector.name} has no label {named - known[selector.name]}"


@pytest.mark.parametrize(("asker", "expression"), expressions())
def test_what_is_grouped_by_is_a_label_of_what_is_asked_for(asker: str, expression: str) -> None:
    """Grouping by what is not there gives one line without a name."""
    known = samples()
    names = {selector.name for selector in selectors(promql_parser.parse(expression))}
    labels = set.union(*(known[name] for name in names))
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {label.strip() for label in group.split(",")} <= labels, asker


@pytest.mark.parametrize(("asker", "expression"), expressions())
def test_counters_are_rated_and_never_read_as_they_stand(asker: str, expression: str) -> None:
    """A counter begins anew with each start: its own value says nothing."""
    for name in re.findall(r"\bholdfast_\w+_(?:total|bucket|sum|count)\b", expression):
        assert re.search(rf"(?:rate|increase)\({name}\b", expression), f"{asker}: {name}"


def test_the_walk_finds_what_is_deep_inside() -> None:
    """The tests above would pass on an expression that they cannot look into."""
    deep = 'histogram_quantile(0.9, sum by (le) (rate(a_bucket{x="1"}[5m]))) > 2 and -b offset 1h >= (c + 1)'
    assert {selector.name for selector in selectors(promql_parser.parse(deep))} == {"a_bucket", "b", "c"}
    with pytest.raises(ValueError, match=r"unexpected|parse|invalid"):
        promql_parser.parse("sum by model rate(x[5m])")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_is_whole(rule: dict[str, Any]) -> None:
    """Somebody is woken by it: it says how bad it is, what it is, and what to do; and the page tells of it."""
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Holdfast[A-Z]\w+", rule["alert"])
    assert DURATION.fullmatch(rule.get("for", "1m"))
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description"}
    for text in rule["annotations"].values():
        assert text.count("{{") == text.count("}}")
    page = (ROOT / "docs" / "how-to" / "watch-a-gateway.md").read_text("utf-8")
    assert f"| `{rule['alert']}` |" in page


def test_each_alert_is_there_once() -> None:
    """And no page tells of one that is not."""
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names)) >= 15
    page = (ROOT / "docs" / "how-to" / "watch-a-gateway.md").read_text("utf-8")
    assert set(re.findall(r"`(Holdfast\w+)`", page)) == set(names)


def test_panels_are_whole_and_do_not_lie_on_one_another() -> None:
    """Each says what it shows, asks the data source that was chosen, and has its place."""
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel["targets"]:
            used = set(re.findall(r"\$(\w+)", target["expr"]))
            assert used <= {"job", "model", "upstream", "__rate_interval"}
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = " ".join(re.findall(r"by \(([^)]*)\)", target["expr"])) or "instance"
            assert named <= set(re.findall(r"\w+", grouped)), panel["title"]


def test_its_variables_are_asked_of_what_there_is() -> None:
    """A choice without entries would empty every panel."""
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert set(variables) == {"datasource", "job", "model", "upstream"}
    for name in ("job", "model", "upstream"):
        (metric,) = re.findall(r"label_values\((\w+), ", variables[name]["definition"])
        assert name in samples()[metric]


def test_the_scrape_is_named_as_the_rules_have_it() -> None:
    """`up{job="holdfast"}` would never be 0 otherwise."""
    settings = yaml.safe_load((FOLDER / "prometheus.yml").read_text("utf-8"))
    assert [job["job_name"] for job in settings["scrape_configs"]] == ["holdfast"]
    assert settings["rule_files"] == ["alerts.yml"]
    played = yaml.safe_load((FOLDER / "alerts.test.yml").read_text("utf-8"))
    names = {rule["alert"] for rule in RULES}
    assert {test["alertname"] for each in played["tests"] for test in each["alert_rule_test"]} <= names


def test_promtool_agrees_where_it_is() -> None:
    """Grammar, settings, and the played rules."""
    promtool = shutil.which("promtool")
    if promtool is None:
        # Not skipped: everything above has been looked at without it.
        return
    for command in (
        ["check", "rules", "alerts.yml"],
        ["check", "config", "prometheus.yml"],
        ["test", "rules", "alerts.test.yml"],
    ):
        done = subprocess.run([promtool, *command], cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_is_documented() -> None:
    """What is shown can be looked up."""
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text("utf-8")
    assert all(f"| `{metric.name}` | {metric.kind} |" in page for metric in CATALOG)
