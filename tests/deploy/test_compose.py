"""The compose file: what its schema says, that its parts agree, and what comes of it when it is carried out by hand."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from PIL import Image as Picture

from holdfast.config import parse
from holdfast.config.environment import from_environment
from holdfast.config.secret import secret_of

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "compose"
FILE = FOLDER / "compose.yaml"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
UPSTREAM = "https://generativelanguage.googleapis.com"


@pytest.fixture
def read(composition: Any) -> Any:
    """The file as it is."""
    return composition.Composition(FILE, {})


def ours(read: Any) -> list[Any]:
    """List the services of our image."""
    return [each for each in read.services.values() if each.image.startswith("holdfast:")]


def stay(read: Any) -> list[Any]:
    """List those of them that go on running."""
    return [each for each in ours(read) if each.raw["restart"] != "no"]


# What it says


def checked(file: Path) -> subprocess.CompletedProcess[str]:
    """Hold a file against the schema that the Compose Specification publishes."""
    program = Path(sys.executable).with_name("check-jsonschema")
    words = [program, "--builtin-schema", "vendor.compose-spec", file]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_the_schema_takes_it() -> None:
    """Every key is one, and every value of its kind."""
    done = checked(FILE)
    assert done.returncode == 0, done.stdout


def test_the_schema_would_find_something(tmp_path: Path) -> None:
    """The test above would pass on a schema that takes all."""
    bad = tmp_path / "compose.yaml"
    bad.write_text(FILE.read_text("utf-8").replace("stop_grace_period: 330s", "stop_grace: 330s"), "utf-8")
    done = checked(bad)
    assert done.returncode == 1
    assert "stop_grace" in done.stdout


def test_it_is_what_it_says_it_is(read: Any) -> None:
    """Two that serve, two that work, on one machine, of the version that is built."""
    roles = [each.command[-1] for each in stay(read)]
    assert sorted(roles) == ["serve", "serve", "work", "work"]
    assert {each.image for each in ours(read)} == {f"holdfast:{VERSION}"}
    assert {(read.folder / each.raw["build"]).resolve() for each in ours(read)} == {ROOT}
    names = [each.name for each in read.order()]
    assert all(names.index(first) < names.index("serve-1") for first in ("database", "objects", "bucket"))
    assert all(names.index("serve-1") < names.index(later) for later in ("serve-2", "work-1", "work-2", "nginx"))


def test_held_calls_are_waited_for(read: Any) -> None:
    """By the gateways, and by nginx, which is ended before them since it needs them."""
    grace_s = parse({}).drain.grace_s + 30
    for each in (*stay(read), read.services["nginx"]):
        assert each.stop_grace_s == grace_s, each.name
    assert {"serve-1", "serve-2"} <= set(read.services["nginx"].after)
    assert all({"database", "bucket"} <= set(each.after) for each in stay(read))


def test_nothing_is_taken_from_older_ones_by_itself(read: Any) -> None:
    """A deploy goes on beside them; what they need is taken away when somebody says so."""
    asked = {name: each.raw["profiles"] for name, each in read.services.items() if "profiles" in each.raw}
    assert asked == {"migrate": ["migrate"]}
    assert read.services["migrate"].command == ("migrate", "up")
    assert not [name for name, each in read.services.items() if "migrate" in each.after]


def test_gateways_are_confined(read: Any) -> None:
    """A root file system that takes nothing, and no capability; a folder each, which nobody else writes to."""
    for each in stay(read):
        assert each.is_read_only
        assert each.raw["cap_drop"] == ["ALL"]
        assert each.raw["security_opt"] == ["no-new-privileges:true"]
        assert each.raw["ulimits"]["nofile"] > 2 * parse({}).server.held_max
        assert [mount.source for mount in each.mounts if mount.is_writable] == [each.name]


def test_variables_are_settings(read: Any) -> None:
    """The gateway understands them as they are."""
    for each in ours(read):
        settings = parse(from_environment(each.environment))
        server = settings.server
        assert settings.store.blobs == "s3://images"
        assert settings.objects.endpoint == "http://objects:8333"
        assert server.trusted_proxies == (f"{read.services['nginx'].address}/32",)
        assert server.admin_anywhere
    parse(tomllib.loads((FOLDER / "holdfast.toml").read_text("utf-8")))


def test_addresses_stay_what_they_are(read: Any) -> None:
    """Fixed ones lie in the network, are one service's each, and are given to nobody who has none."""
    (config,) = read.raw["networks"]["inside"]["ipam"]["config"]
    fixed = [ipaddress.ip_address(each.address) for each in read.services.values() if each.address]
    assert len(fixed) == len(set(fixed)) >= 5
    assert all(address in ipaddress.ip_network(config["subnet"]) for address in fixed)
    assert not [address for address in fixed if address in ipaddress.ip_network(config["ip_range"])]


def test_one_door_is_open_and_only_to_this_machine(read: Any, composition: Any) -> None:
    """Unless it is said; the database and the images have none."""
    open_ = {name: each.raw["ports"] for name, each in read.services.items() if "ports" in each.raw}
    assert open_ == {"nginx": ["127.0.0.1:16888:80"], "grafana": ["127.0.0.1:3000:3000"]}
    wider = composition.Composition(FILE, {"HOLDFAST_PUBLISH": "0.0.0.0:443"})
    assert wider.services["nginx"].raw["ports"] == ["0.0.0.0:443:80"]


def directives(text: str) -> list[str]:
    """List what stands in the first location of a file for nginx."""
    (block,) = re.findall(r"location / \{\n(.*?)^    \}", text, re.DOTALL | re.MULTILINE)
    return [line.strip() for line in block.splitlines() if not line.strip().startswith("#")]


def test_nginx_is_set_as_elsewhere() -> None:
    """As `deploy/proxies/nginx.conf`, which is run with its reasons beside each line; every gateway is behind it."""
    text = (FOLDER / "nginx.conf").read_text("utf-8")
    assert directives(text) == directives((ROOT / "deploy/proxies/nginx.conf").read_text("utf-8"))
    port = parse({}).server.port
    assert re.findall(r"^    server (\S+) max_fails=0;$", text, re.MULTILINE) == [f"serve-1:{port}", f"serve-2:{port}"]


def test_prometheus_asks_every_gateway(read: Any) -> None:
    """Under the job that the dashboard asks for, with a key and rules that are where it looks for them."""
    settings = yaml.safe_load((FOLDER / "prometheus.yml").read_text("utf-8"))
    (job,) = settings["scrape_configs"]
    (static,) = job["static_configs"]
    assert job["job_name"] == "holdfast"
    assert static["targets"] == [f"{each.name}:{parse({}).server.port}" for each in stay(read)]
    targets = {mount.target: mount for mount in read.services["prometheus"].mounts}
    key = Path(job["authorization"]["credentials_file"])
    assert targets[str(key.parent)].source == "watcher"
    assert [f"/etc/prometheus/{name}" for name in settings["rule_files"]] == ["/etc/prometheus/alerts.yml"]
    assert (FOLDER / targets["/etc/prometheus/alerts.yml"].source).resolve() == ROOT / "deploy/observability/alerts.yml"


def test_grafana_has_the_dashboard(read: Any) -> None:
    """Provisioned from where it looks, over the data source that Prometheus is."""
    targets = {mount.target: (FOLDER / mount.source).resolve() for mount in read.services["grafana"].mounts}
    (provider,) = yaml.safe_load((FOLDER / "grafana/dashboards.yml").read_text("utf-8"))["providers"]
    shown = [path for target, path in targets.items() if target.startswith(provider["options"]["path"])]
    assert shown == [ROOT / "deploy/observability/dashboard.json"]
    (source,) = yaml.safe_load((FOLDER / "grafana/datasources.yml").read_text("utf-8"))["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")


def test_what_is_mounted_is_there(read: Any) -> None:
    """An engine makes an empty folder of a file that is missing, and says nothing."""
    for each in read.services.values():
        for mount in each.mounts:
            if not mount.is_named and "secrets/" not in mount.source:
                assert (FOLDER / mount.source).exists(), mount


# Its secrets


def prepared(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `prepare` in a copy of the folder."""
    environment = {"PATH": os.environ["PATH"], **environ}
    command = [str(folder / "compose" / "prepare")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of `deploy`: what is made in it does not end up in the clone."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets"))
    return tmp_path / "deploy"


def test_secrets_are_made_once(copied: Path, composition: Any) -> None:
    """Nobody else can read them; a second time they stay, but for a new key of the upstream."""
    done = prepared(copied, GEMINI_API_KEY="first-key")
    assert done.returncode == 0, done.stderr
    secrets = copied / "compose" / "secrets"
    assert {path.stat().st_mode & 0o077 for path in (secrets, *secrets.iterdir())} == {0}
    before = {path.name: path.read_text("utf-8") for path in secrets.iterdir()}
    assert set(before) == {"database.env", "grafana.env", "holdfast.env", "objects.json"}
    assert prepared(copied).returncode == 0
    assert {path.name: path.read_text("utf-8") for path in secrets.iterdir()} == before
    assert prepared(copied, GEMINI_API_KEY="second-key").returncode == 0
    after = composition.Composition(copied / "compose/compose.yaml", {}).services["serve-1"].environment
    assert after["GEMINI_API_KEY"] == "second-key"
    assert f"HOLDFAST_SECRET={after['HOLDFAST_SECRET']}\n" in before["holdfast.env"]
    assert {path.stat().st_mode & 0o077 for path in secrets.iterdir()} == {0}


def test_secrets_fit_together(copied: Path, composition: Any) -> None:
    """The gateway has the password that the database has, and the keys that the object store has."""
    prepared(copied, GEMINI_API_KEY="a-key")
    services = composition.Composition(copied / "compose/compose.yaml", {}).services
    environment, database = services["serve-1"].environment, services["database"].environment
    address = (
        f"postgresql://{database['POSTGRES_USER']}:{database['POSTGRES_PASSWORD']}@database/{database['POSTGRES_DB']}"
    )
    assert environment["HOLDFAST_STORE__DATABASE"] == address
    assert secret_of(environment) is not None
    (identity,) = yaml.safe_load((copied / "compose/secrets/objects.json").read_text("utf-8"))["identities"]
    (credentials,) = identity["credentials"]
    assert credentials == {"accessKey": environment["OBJECTS_KEY"], "secretKey": environment["OBJECTS_SECRET"]}
    # An engine puts variables in the place of these.
    assert not [value for value in environment.values() if "$" in value]


def test_without_a_key_of_an_upstream_nothing_is_made(copied: Path) -> None:
    """Said at once, with what to type."""
    done = prepared(copied)
    assert done.returncode == 1
    assert "GEMINI_API_KEY=… " in done.stderr
    assert not (copied / "compose" / "secrets").exists()


def test_secrets_are_in_no_history_and_no_image() -> None:
    """Neither git nor the build takes them along."""
    assert "/deploy/compose/secrets/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
    assert (ROOT / ".dockerignore").read_text("utf-8").splitlines()[1] == "*"


# Carried out


@pytest.fixture
def engine(
    by_hand: Any, composition: Any, sandbox: Any, processes: Any, image: Any, simulator: Any, copied: Path
) -> Iterator[Any]:
    """Both commands: secrets are made, services are started. The upstream is a simulated one."""
    settings = copied / "compose/holdfast.toml"
    text = settings.read_text("utf-8")
    assert text.count(UPSTREAM) == 1
    settings.write_text(text.replace(UPSTREAM, simulator.base_url), "utf-8")
    for path in (copied.parent, copied, copied / "compose"):
        path.chmod(0o755)
    assert prepared(copied, GEMINI_API_KEY="a-key").returncode == 0
    read = composition.Composition(copied / "compose/compose.yaml", {})
    engine = by_hand.Engine(sandbox, processes, image, read, copied.parent / "engine")
    try:
        yield engine
    finally:
        engine.down()


@pytest.mark.timeout(600)
def test_two_commands_lead_to_a_4k_image(engine: Any) -> None:
    """Through nginx, from one that serves, made by one that works; and the other one hands it out too."""
    service = engine.services["serve-1"]
    engine.up()
    key = engine.execute("serve-1", ["cat", "/var/lib/holdfast/first.key"]).stdout.strip()
    base_url = f"http://{engine.address('nginx')}"
    body = {"model": "nano-banana-pro", "prompt": "a lighthouse in a storm", "size": "4096x4096"}
    with httpx2.Client(timeout=60.0, trust_env=False, headers={"Authorization": f"Bearer {key}"}) as client:
        answer = client.post(f"{base_url}/v1/images/generations", json=body).raise_for_status().json()
        with Picture.open(BytesIO(base64.b64decode(answer["data"][0]["b64_json"]))) as picture:
            assert picture.size == (4096, 4096)
        assert client.get(f"{base_url}/metrics").status_code == 404
        kept = f"/v1/generations/{answer['generation_id']}/images/0"
        addresses = [f"http://{engine.address(name)}:16888" for name in ("serve-1", "serve-2")]
        given = [client.get(f"{address}{kept}").raise_for_status().content for address in addresses]
        assert given[0] == given[1] == base64.b64decode(answer["data"][0]["b64_json"])
    secret = engine.execute("serve-1", ["base64", "--wrap=0", "/var/lib/holdfast/secret"]).stdout
    assert secret == service.environment["HOLDFAST_SECRET"]
    watcher = (engine.volume("watcher") / "key").read_text("ascii").strip()
    gateway = f"http://{engine.address('serve-1')}:16888"
    with httpx2.Client(trust_env=False) as prometheus:
        assert prometheus.get(f"{gateway}/admin/v1/overview").status_code == 401
        prometheus.headers["Authorization"] = f"Bearer {watcher}"
        prometheus.get(f"{gateway}/admin/v1/overview").raise_for_status()
        told = prometheus.get(f"{gateway}/metrics").raise_for_status().text
    assert "holdfast_images_stored_total" in told
    sql = ["psql", "--host=database", "--username=holdfast", "--no-align", "--tuples-only", "--command=SELECT 1 + 1"]
    asked = ["sh", "-ec", f"PGPASSWORD=$POSTGRES_PASSWORD exec {' '.join(repr(word) for word in sql)}"]
    assert engine.execute("database", asked).stdout == "2\n"
    listed = "echo fs.ls -l /buckets/images | weed shell -master=objects:9333"
    assert "/buckets/images/blobs" in engine.execute("bucket", ["sh", "-ec", listed]).stdout
    codes = engine.down()
    assert {"serve-1", "serve-2", "work-1", "work-2", "nginx", "database", "objects"} <= set(codes)
    assert set(codes.values()) == {0}
