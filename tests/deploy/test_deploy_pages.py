"""The pages on deployment: what they have one type is what the files are made for."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml

from holdfast.cli.main import build_parser
from holdfast.config import parse

ROOT = Path(__file__).resolve().parents[2]
HOW_TO = ROOT / "docs" / "how-to"
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
CHART = ROOT / "deploy" / "helm" / "holdfast"


def page(name: str) -> str:
    """Read a page."""
    return (HOW_TO / f"{name}.md").read_text("utf-8")


def commands(name: str) -> list[list[str]]:
    """List the commands of a page, word by word."""
    blocks = re.findall(r"^```bash\n(.*?)^```$", page(name), re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines]


def test_the_container_is_run_as_it_was_made() -> None:
    """Its volume, its port, its patience and its name are those of the file; nothing is given that it does not need."""
    build, run, first_key = commands("run-in-a-container")
    (volume,) = re.findall(r"^VOLUME (\S+)$", DOCKERFILE, re.MULTILINE)
    (version,) = re.findall(r"^ARG VERSION=(\S+)$", DOCKERFILE, re.MULTILINE)
    settings = parse({})
    assert build == ["docker", "build", "--tag", f"holdfast:{version}", "."]
    assert run[-1] == f"holdfast:{version}"
    options = dict(itertools.pairwise(run))
    assert options["--volume"] == f"holdfast:{volume}"
    assert options["--publish"] == f"127.0.0.1:{settings.server.port}:{settings.server.port}"
    assert float(options["--stop-timeout"]) == settings.drain.grace_s + 30
    assert options["--cap-drop"] == "ALL"
    assert "--read-only" in run
    assert first_key == ["docker", "exec", "holdfast", "cat", f"{volume}/first.key"]
    (user,) = re.findall(r"^USER (\d+):", DOCKERFILE, re.MULTILINE)
    assert f"| a user | {user}," in page("run-in-a-container")


def test_two_commands_start_the_cluster(composition: Any) -> None:
    """They and the others name files, services and ports that are there."""
    prepare, up, key, ask = commands("run-with-compose")
    read = composition.Composition(ROOT / "deploy/compose/compose.yaml", {})
    assert prepare == ["GEMINI_API_KEY=…", "deploy/compose/prepare"]
    assert up[:4] == ["docker", "compose", "--file", "deploy/compose/compose.yaml"]
    assert up[4:] == ["up", "--detach", "--wait"]
    assert "exec serve-1 cat /var/lib/holdfast/first.key" in " ".join(key)
    (published,) = read.services["nginx"].raw["ports"]
    assert ask[2].startswith(f"http://{published.removesuffix(':80')}/v1/")
    text = page("run-with-compose")
    assert {"serve-1", "serve-2", "work-1", "work-2", "migrate", "watcher"} <= set(read.services)
    assert all(f"`{name}`" in text for name in ("work-1", "work-2", "serve-1", "serve-2"))
    header = (ROOT / "deploy/compose/compose.yaml").read_text("utf-8")
    assert all(" ".join(words) in header for words in (prepare, up))


def test_the_chart_takes_what_the_page_has() -> None:
    """The values as a file, and those of the command; both make what the page speaks of."""
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", page("run-on-kubernetes"), re.DOTALL | re.MULTILINE)
    install, first_key, create, list_ = commands("run-on-kubernetes")
    assert install[:4] == ["helm", "install", "holdfast", "deploy/helm/holdfast"]
    given: dict[str, Any] = {}
    for word in (after for before, after in itertools.pairwise(install) if before == "--set"):
        given |= helm.parse_set_string(word)
    with helm.Chart.load(CHART) as chart:
        for values, deployments in ((yaml.safe_load(text), {"serve", "work"}), (given, {"all"})):
            rendered = chart.render(values, name="holdfast", namespace="images")
            documents = [each for each in yaml.safe_load_all(rendered["holdfast/templates/deployments.yaml"]) if each]
            assert {each["metadata"]["name"] for each in documents} == {f"holdfast-{role}" for role in deployments}
    assert "deploy/holdfast-all" in first_key
    for words in (create, list_):
        _, _, serving, _, program, *rest = words
        assert (serving, program) == ("deploy/holdfast-serve", "holdfast")
        assert callable(build_parser(rest).parse_args(rest).run)


@pytest.mark.parametrize("line", ["terminationGracePeriodSeconds", "enableServiceLinks", "preStop", "maxUnavailable"])
def test_what_the_page_explains_is_in_the_chart(line: str) -> None:
    """A reason for what is not there would be read in vain."""
    templates = "".join(path.read_text("utf-8") for path in (CHART / "templates").iterdir())
    assert line in templates
    assert f"`{line}" in page("run-on-kubernetes")


@pytest.mark.parametrize("name", ["many-replicas", "run-on-kubernetes"])
def test_connections_are_those_of_the_settings(name: str) -> None:
    """A pool for each process, beside it its ear, and a worker's jobs: as the page on PostgreSQL has them."""
    pool = parse({}).store.database_connections
    text = page(name)
    assert f"{pool + 1} " in text
    assert f"{pool + 5} for" in text
    assert 3 * (pool + 1 + pool + 5) < 100 < 4 * (pool + 1 + pool + 5)
    assert "up to five more" in page("keep-rows-in-postgresql")
