"""The Helm chart: what Helm itself says of it, what Kubernetes would take, and what holdfast makes of what it is given.

Helm is its own library, bound to Python; schemas are those that Kubernetes publishes with each version.
"""

from __future__ import annotations

import functools
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
import yaml

from holdfast.cli.main import build_parser
from holdfast.config import parse
from holdfast.config.environment import from_environment, upstream_keys
from holdfast.config.parse import merged
from holdfast.errors import ConfigError
from holdfast.gateway import openapi
from holdfast.telemetry.catalog import CATALOG, Kind

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "holdfast"
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
OLDEST, NEWEST = "1.25", "1.33"
OF_A_CLUSTER = {
    "HOLDFAST_STORE__DATABASE": "postgresql://holdfast@database/holdfast",
    "HOLDFAST_STORE__BLOBS": "s3://images",
    "HOLDFAST_SECRET": "c2VjcmV0",
}
CLUSTER = {"shape": "cluster", "secrets": {"values": OF_A_CLUSTER | {"GEMINI_API_KEY": "a-key"}}}
EVERYTHING = CLUSTER | {
    "image": {"repository": "registry.example.com/holdfast", "tag": "2", "pullSecrets": ["pull"]},
    "trustedProxies": ["10.0.0.0/8", "fd00::/8"],
    "drainSeconds": 630,
    "serve": {"replicas": 3, "autoscaling": {"enabled": True}},
    "work": {"autoscaling": {"enabled": True, "min": 3}},
    "tls": {"secretName": "inside"},
    "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
    "ingress": {
        "enabled": True,
        "hosts": ["images.example.com", "pictures.example.com"],
        "tlsSecretName": "outside",
        "annotations": {"cert-manager.io/cluster-issuer": "letters"},
    },
    "serviceAccount": {"annotations": {"role": "bucket"}},
    "networkPolicy": {"from": [{"namespaceSelector": {}}], "egressPorts": [5432, 9000]},
    "serviceMonitor": {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "keySecret": {"name": "admin", "key": "key"},
    },
    "migrate": {"enabled": True},
    "podAnnotations": {"c": "d"},
    "nodeSelector": {"kubernetes.io/arch": "amd64"},
    "tolerations": [{"key": "images", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
}
VALUES: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "one process": {"secrets": {"values": {"GEMINI_API_KEY": "a-key"}}, "all": {"volume": {"storageClass": "fast"}}},
    "a volume of one's own": {"all": {"volume": {"existingClaim": "images"}}, "secrets": {"existing": "keys"}},
    "a cluster": CLUSTER,
    "a cluster with a secret": {"shape": "cluster", "secrets": {"existing": "keys"}},
    "watched in clear": CLUSTER | {"serviceMonitor": {"enabled": True, "keySecret": {"name": "admin", "key": "key"}}},
    "another ingress": {"ingress": {"enabled": True, "className": "traefik", "hosts": ["images.example.com"]}},
    "nothing around it": {"networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False}},
    "everything": EVERYTHING,
}


@functools.cache
def _rendered(name: str) -> tuple[dict[str, Any], ...]:
    with helm.Chart.load(CHART) as chart:
        files = chart.render(VALUES[name], name="pictures", namespace="images")
    documents = [each for file, text in files.items() if file.endswith(".yaml") for each in yaml.safe_load_all(text)]
    return tuple(each for each in documents if each is not None)


def found(name: str, kind: str, part: str = "") -> list[dict[str, Any]]:
    """List what a set of values makes of one kind, for one part of it."""
    component = "app.kubernetes.io/component"
    return [
        each
        for each in _rendered(name)
        if each["kind"] == kind and part in ("", each["metadata"]["labels"].get(component))
    ]


def pods(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """List the pods' specifications, each with its one container."""
    specs = [each["spec"]["template"]["spec"] for kind in ("Deployment", "Job") for each in found(name, kind)]
    return [(spec, container) for spec in specs for container in spec["containers"]]


def container_of(workload: dict[str, Any]) -> dict[str, Any]:
    """Give the one container of a Deployment's pods."""
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    return dict(container)


def variables(container: dict[str, Any]) -> dict[str, str]:
    """Give what stands in a container's environment by its value."""
    return {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}


# What others say of it


@pytest.mark.parametrize("name", VALUES)
def test_helm_finds_nothing(name: str) -> None:
    """As `helm lint --strict` does; that an icon is recommended is no finding."""
    report = helm.lint(CHART, VALUES[name], strict=True, namespace="images")
    assert report["errors"] == []
    assert [each["error"] for each in report["messages"] if each["severity"] > 1] == []
    assert report["total_charts_linted"] == 1


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", VALUES)
def test_kubernetes_takes_it(name: str, version: str) -> None:
    """The oldest version that the chart says it is for, and a late one; an unknown field is a mistake."""
    assert _rendered(name)
    for each in _rendered(name):
        if each["kind"] != "ServiceMonitor":
            kubernetes_validate.validate(each, version, strict=True)


def test_the_schemas_would_find_something() -> None:
    """The test above would pass on schemas that take all."""
    (deployment,) = found("as shipped", "Deployment")
    spec = deployment["spec"] | {"replica": 2}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(deployment | {"spec": spec}, NEWEST, strict=True)


def test_the_chart_says_what_it_is_for() -> None:
    """Its versions are those of the package; the oldest Kubernetes is the one that it was held against."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert chart["version"] == chart["appVersion"] == project["version"]
    assert chart["description"] == project["description"]
    assert chart["kubeVersion"] == f">={OLDEST}.0-0"


@pytest.mark.parametrize("name", VALUES)
def test_names_do_not_meet(name: str) -> None:
    """Two things of one kind with one name would be one."""
    names = [(each["kind"], each["metadata"]["name"]) for each in _rendered(name)]
    assert len(names) == len(set(names))
    assert all(each["metadata"]["name"].startswith("pictures-holdfast") for each in _rendered(name))


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"shap": "all"}, "shap"),
        ({"shape": "some"}, "shape"),
        ({"drainSeconds": "300"}, "drainSeconds"),
        ({"serve": {"replicas": 0}}, "replicas"),
        ({"publicUrl": "images.example.com"}, "publicUrl"),
        ({"secrets": {"values": {"gemini": "a-key"}}}, "gemini"),
        ({"trustedProxies": ["everybody"]}, "trustedProxies"),
        ({"ingress": {"enabled": True}}, "hosts"),
        ({"serviceMonitor": {"enabled": True}}, "keySecret"),
        *(
            ({"shape": "cluster", "secrets": {"values": {k: v for k, v in OF_A_CLUSTER.items() if k != name}}}, name)
            for name in OF_A_CLUSTER
        ),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_made(values: dict[str, Any], why: str) -> None:
    """With the value to blame in the message."""
    with helm.Chart.load(CHART) as chart, pytest.raises(helm.HelmError, match=why):
        chart.render(values, name="pictures", namespace="images")


def test_every_value_is_in_the_schema_and_the_other_way_round() -> None:
    """A value that the schema lacks would be refused; one that is only there would have no default."""
    with helm.Chart.load(CHART) as chart:
        values, schema = chart.values, chart.schema
    assert schema is not None

    def compared(value: Any, rule: dict[str, Any], at: str) -> None:
        if rule.get("type") != "object" or "properties" not in rule:
            return
        assert rule["additionalProperties"] is False, at
        assert set(value) == set(rule["properties"]) - ({"global"} if not at else set()), at
        for name in value:
            compared(value[name], rule["properties"][name], f"{at}.{name}")

    compared(values, schema, "")


# What holdfast makes of it


@pytest.mark.parametrize("name", VALUES)
def test_variables_are_settings(name: str) -> None:
    """Settings file and environment, as a pod sees them, make a whole tree; a cluster's store is in its secret."""
    (config,) = found(name, "ConfigMap")
    for spec, container in pods(name):
        if container["name"] == "migrate":
            continue
        mapping = tomllib.loads(config["data"]["holdfast.toml"])
        settings = parse(merged(mapping, from_environment(variables(container))))
        assert settings.drain.grace_s + 30 == spec["terminationGracePeriodSeconds"]
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        assert settings.server.port == ports["http"]
        if settings.server.tls_cert:
            assert settings.server.tls_port == ports["https"]
        assert upstream_keys(settings, {"GEMINI_API_KEY": "a-key"}) == {"google": ("a-key",)}


def test_values_become_the_settings_they_are_named_for() -> None:
    """Where callers come from, and where they are led back to."""
    every = {name: [parse(from_environment(variables(c))).server for _, c in pods(name)] for name in VALUES}
    front = every["everything"][0]
    assert front.public_url == "https://images.example.com"
    assert front.trusted_proxies == ("10.0.0.0/8", "fd00::/8")
    assert not front.admin_anywhere
    assert every["as shipped"][0].public_url == ""
    assert every["watched in clear"][0].admin_anywhere
    assert every["as shipped"][0].admin_anywhere is False


@pytest.mark.parametrize("name", VALUES)
def test_the_command_is_one(name: str) -> None:
    """What the container is started with is understood."""
    for _, container in pods(name):
        command = "migrate" if container["name"] == "migrate" else "serve"
        assert build_parser(container["args"]).parse_args(container["args"]).command == command


def test_a_cluster_s_secret_is_understood() -> None:
    """The names that the chart asks for are settings."""
    (secret,) = found("a cluster", "Secret")
    names = {name: value for name, value in secret["stringData"].items() if "__" in name}
    store = parse(from_environment(names)).store
    assert (store.database, store.blobs) == (names["HOLDFAST_STORE__DATABASE"], names["HOLDFAST_STORE__BLOBS"])


def test_roles_are_started_apart() -> None:
    """One Deployment each, and callers are led to those who serve."""
    args = {each["metadata"]["name"]: container_of(each)["args"] for each in found("a cluster", "Deployment")}
    assert args == {
        "pictures-holdfast-serve": ["serve", "--role", "serve"],
        "pictures-holdfast-work": ["serve", "--role", "work"],
    }
    (service,) = found("a cluster", "Service")
    assert service["spec"]["selector"]["app.kubernetes.io/component"] == "serve"


@pytest.mark.parametrize("name", VALUES)
def test_a_service_of_its_name_does_not_set_its_port(name: str) -> None:
    """Kubernetes tells every pod of every service, `HOLDFAST_PORT=tcp://…` among them, unless it is told not to."""
    with pytest.raises(ConfigError, match="HOLDFAST_PORT"):
        from_environment({"HOLDFAST_PORT": "tcp://10.0.0.1:80"})
    assert all(spec["enableServiceLinks"] is False for spec, _ in pods(name))


# How pods live


@pytest.mark.parametrize("name", VALUES)
def test_pods_are_confined(name: str) -> None:
    """Not root, as whom the image runs, nothing writable but the volume, nothing of Kubernetes' own to be had."""
    (uid,) = re.findall(r"^USER (\d+):\1$", DOCKERFILE, re.MULTILINE)
    (volume,) = re.findall(r"^VOLUME (\S+)$", DOCKERFILE, re.MULTILINE)
    assert pods(name)
    for spec, container in pods(name):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == int(uid)
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert spec["automountServiceAccountToken"] is False
        assert container["resources"]["limits"]["memory"]
        assert [m["mountPath"] for m in container["volumeMounts"] if not m.get("readOnly")] == [volume]


@pytest.mark.parametrize("name", VALUES)
def test_probes_ask_what_is_there(name: str) -> None:
    """Life and readiness are two questions: a full disk is no reason to kill what is under way."""
    paths = json.loads(openapi.document())["paths"]
    for each in found(name, "Deployment"):
        (container,) = each["spec"]["template"]["spec"]["containers"]
        asked = {probe: container[f"{probe}Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")}
        assert asked == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}
        assert set(asked.values()) <= set(paths)
        liveness = container["livenessProbe"]
        assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60


@pytest.mark.parametrize("name", VALUES)
def test_drains_are_waited_for(name: str) -> None:
    """Balancers first, then the longest image: the pod is there for all of it."""
    for each in found(name, "Deployment"):
        spec = each["spec"]["template"]["spec"]
        (wait,) = [int(c["lifecycle"]["preStop"]["exec"]["command"][1]) for c in spec["containers"]]
        grace_s = VALUES[name].get("drainSeconds", parse({}).drain.grace_s)
        assert spec["terminationGracePeriodSeconds"] == grace_s + 30 > grace_s + wait
        assert each["spec"]["progressDeadlineSeconds"] > spec["terminationGracePeriodSeconds"]


def test_one_process_has_its_folder_for_itself() -> None:
    """The next one starts when the one before is gone, on a volume of one node that an uninstall keeps."""
    (deployment,) = found("one process", "Deployment")
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    (claim,) = found("one process", "PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert claim["spec"]["storageClassName"] == "fast"
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert found("a volume of one's own", "PersistentVolumeClaim") == []
    (spec,) = [spec for spec, _ in pods("a volume of one's own")]
    assert spec["volumes"][0]["persistentVolumeClaim"] == {"claimName": "images"}


def test_a_cluster_is_renewed_without_a_gap() -> None:
    """One more before one less; a change of settings or secrets is a reason, another version's label is none."""
    for each in found("a cluster", "Deployment"):
        assert each["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
        meta = each["spec"]["template"]["metadata"]
        assert set(meta["labels"]) == set(each["spec"]["selector"]["matchLabels"])
        assert set(meta["annotations"]) == {"checksum/settings", "checksum/secrets"}


def test_what_older_pods_need_is_taken_away_when_it_is_said() -> None:
    """Behind an upgrade, with the release's own secret, and never by itself: an older pod may be at work still."""
    (job,) = found("everything", "Job")
    annotations = job["metadata"]["annotations"]
    assert annotations["helm.sh/hook"] == "post-upgrade"
    assert annotations["helm.sh/hook-delete-policy"] == "before-hook-creation,hook-succeeded"
    container = container_of(job)
    assert container["args"] == ["migrate", "up"]
    (secret,) = found("everything", "Secret")
    reference = {"name": secret["metadata"]["name"], "key": "HOLDFAST_STORE__DATABASE"}
    assert container["env"] == [{"name": reference["key"], "valueFrom": {"secretKeyRef": reference}}]
    assert [name for name in VALUES if found(name, "Job")] == ["everything"]


# What stands around them


def test_the_ingress_is_as_patient_as_it_need_be() -> None:
    """It counts silence: twice the time between beats, and more than the first; nothing is gathered on the way."""
    (ingress,) = found("everything", "Ingress")
    said = {name.rpartition("/")[2]: value for name, value in ingress["metadata"]["annotations"].items()}
    settings = parse({})
    assert int(said["proxy-read-timeout"]) >= 2 * max(settings.heartbeat.first_beat_s, settings.heartbeat.beat_s)
    assert (said["proxy-buffering"], said["proxy-request-buffering"]) == ("off", "off")
    assert said["proxy-body-size"] == f"{settings.server.request_bytes_max >> 20}m"
    assert said["cluster-issuer"] == "letters"
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == ["images.example.com", "pictures.example.com"]
    assert ingress["spec"]["tls"] == [
        {"hosts": ["images.example.com", "pictures.example.com"], "secretName": "outside"}
    ]
    (other,) = found("another ingress", "Ingress")
    assert other["metadata"]["annotations"] is None


@pytest.mark.parametrize("name", VALUES)
def test_services_and_budgets_find_their_pods(name: str) -> None:
    """What selects no pod guards nobody."""
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in found(name, "Deployment")]
    selectors = [each["spec"]["selector"] for each in found(name, "Service")]
    selectors += [each["spec"]["selector"]["matchLabels"] for each in found(name, "PodDisruptionBudget")]
    selectors += [each["spec"]["podSelector"]["matchLabels"] for each in found(name, "NetworkPolicy")]
    for selector in selectors:
        assert [pod for pod in labels if selector.items() <= pod.items()], selector
    budgets = found(name, "PodDisruptionBudget")
    assert len(budgets) == (0 if name == "nothing around it" else len(labels))
    # Never none at all: a node with the only pod could not be emptied.
    assert all(each["spec"]["maxUnavailable"] == 1 for each in budgets)
    ports = {p["name"] for _, container in pods(name) for p in container.get("ports", [])}
    assert {p["targetPort"] for each in found(name, "Service") for p in each["spec"]["ports"]} <= ports


def test_what_is_scaled_by_is_a_gauge_of_ours() -> None:
    """By what is in flight; and who is scaled has no number of his own, which each upgrade would set back."""
    gauges = {metric.name for metric in CATALOG if metric.kind is Kind.GAUGE}
    scalers = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"] for each in found("everything", "HorizontalPodAutoscaler")
    }
    assert set(scalers) == {each["metadata"]["name"] for each in found("everything", "Deployment")}
    for spec in scalers.values():
        (metric,) = spec["metrics"]
        assert metric["pods"]["metric"]["name"] in gauges
        # One that goes takes as long as it drains.
        assert spec["behavior"]["scaleDown"]["policies"][0]["periodSeconds"] == EVERYTHING["drainSeconds"] + 30
    assert scalers["pictures-holdfast-work"]["minReplicas"] == 3
    assert not [each for each in found("everything", "Deployment") if "replicas" in each["spec"]]
    assert {each["spec"]["replicas"] for each in found("a cluster", "Deployment")} == {2}
    assert found("a cluster", "HorizontalPodAutoscaler") == []


def test_the_network_lets_through_what_is_needed() -> None:
    """In: the listeners, from whom it is said. Out: names, upstreams, the database, the object store."""
    (policy,) = found("everything", "NetworkPolicy")
    (rule,) = policy["spec"]["ingress"]
    assert {each["port"] for each in rule["ports"]} == {parse({}).server.port, parse({}).server.tls_port}
    assert rule["from"] == [{"namespaceSelector": {}}]
    out = {each["port"] for allowed in policy["spec"]["egress"] for each in allowed["ports"]}
    assert out == {53, 443, 5432, 9000}
    (open_,) = found("as shipped", "NetworkPolicy")
    assert "from" not in open_["spec"]["ingress"][0]


def test_prometheus_finds_everybody_and_brings_a_key() -> None:
    """Both roles, under the job that the dashboard asks for, in the way that their listeners are open."""
    paths = json.loads(openapi.document())["paths"]
    for name, scheme in (("everything", "https"), ("watched in clear", None)):
        (monitor,) = found(name, "ServiceMonitor")
        assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
        (endpoint,) = monitor["spec"]["endpoints"]
        assert endpoint["path"] in paths
        assert endpoint.get("scheme") == scheme
        assert endpoint["authorization"] == {"credentials": {"name": "admin", "key": "key"}}
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        chosen = [each for each in found(name, "Service") if wanted <= each["metadata"]["labels"].items()]
        assert {each["spec"]["selector"]["app.kubernetes.io/component"] for each in chosen} == {"serve", "work"}
        for service in chosen:
            assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
            assert service["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "holdfast"
    assert found("a cluster", "ServiceMonitor") == []


def test_secrets_stay_where_they_are_said_to_be() -> None:
    """None in settings, arguments or variables; and where somebody has his own, the chart makes none."""
    for each in _rendered("everything"):
        if each["kind"] != "Secret":
            assert not [value for value in OF_A_CLUSTER.values() if value in yaml.safe_dump(each)], each["kind"]
    assert found("a cluster with a secret", "Secret") == []
    for _, container in pods("a cluster with a secret"):
        assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
