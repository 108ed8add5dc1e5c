"""deploy/kubernetes without a cluster: schemas, references, who may reach whom, and what pods may do.

Kinds of Kubernetes are checked against its own JSON schemas. KubeRay's kinds have no schema in any package:
their fields are checked against KUBERAY, written after the reference of version 1.6, and the pod templates in
them as Pods.
"""

import importlib.metadata
import itertools
import re
import shutil
import subprocess
import tomllib
from ipaddress import ip_address, ip_network

import jsonschema
import kubernetes_validate
import pytest
import yaml

from service.settings import ServeSettings, read_settings
from tests.deploy.kustomized import kustomized
from tests.repository import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
DIRECTORIES = ("base", "overlays/example", "campaign", "overlays/example-campaign")
VERSIONS = ("1.30", "1.37")
STATE = "/srv/atomscatter"

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


def _object(required=(), **properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_GROUP = {"rayStartParams": _TEXTS, "template": {"type": "object", "required": ["metadata", "spec"]}}
_COUNT = {"type": "integer", "minimum": 0}
_CLUSTER = _object(
    ["rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"],
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=_object(["mode", "secretName"], mode={"const": "token"}, secretName={"type": "string"}),
    headGroupSpec=_object(["rayStartParams", "template"], **_GROUP),
    workerGroupSpecs={
        "type": "array",
        "items": _object(
            ["groupName", "replicas", "minReplicas", "maxReplicas", "template"],
            groupName={"type": "string"},
            replicas=_COUNT,
            minReplicas=_COUNT,
            maxReplicas=_COUNT,
            **_GROUP,
        ),
    },
)
# Refused in the cluster of a RayJob.
_UPGRADE = _object(["type"], type={"enum": ["Recreate", "None"]})
KUBERAY = {
    "RayCluster": _CLUSTER | {"properties": _CLUSTER["properties"] | {"upgradeStrategy": _UPGRADE}},
    "RayJob": _object(
        ["entrypoint", "rayClusterSpec"],
        submissionMode={"const": "HTTPMode"},
        entrypoint={"type": "string"},
        backoffLimit=_COUNT,
        shutdownAfterJobFinishes={"type": "boolean"},
        ttlSecondsAfterFinished=_COUNT,
        rayClusterSpec=_CLUSTER,
    ),
}


@pytest.fixture(scope="module", params=DIRECTORIES)
def documents(request):
    return kustomized(FOLDER / request.param)


def ray_clusters(documents):
    for document in documents:
        if document["kind"] == "RayCluster":
            yield document["spec"]
        elif document["kind"] == "RayJob":
            yield document["spec"]["rayClusterSpec"]


def pods(documents):
    """Name, labels and specification of every kind of pod."""
    for document in documents:
        if document["kind"] == "Deployment":
            yield "api", document["spec"]["template"]
    for cluster in ray_clusters(documents):
        yield "head", cluster["headGroupSpec"]["template"]
        yield from (("worker", group["template"]) for group in cluster["workerGroupSpecs"])


def one(documents, kind):
    found = [d for d in documents if d["kind"] == kind]
    assert len(found) == 1
    return found[0]


# ---------------------------------------------------------------- schemas


@pytest.mark.parametrize("version", VERSIONS)
def test_schemas(documents, version):
    assert documents
    for document in documents:
        if document["apiVersion"].startswith("ray.io/"):
            assert document["apiVersion"] == "ray.io/v1"
            jsonschema.validate(document["spec"], KUBERAY[document["kind"]])
        else:
            kubernetes_validate.validate(document, version, strict=True)
    for name, template in pods(documents):
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        pod["metadata"] = template["metadata"] | {"name": name}
        kubernetes_validate.validate(pod, version, strict=True)


def test_the_schemas_find_mistakes():
    cluster = next(ray_clusters(kustomized(FOLDER / "base")))
    cluster["workerGroupSpecs"][0]["replica"] = 2
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        jsonschema.validate(cluster, KUBERAY["RayCluster"])
    for part, wrong in ((("strategy",), {"kind": "Recreate"}), (("replicas",), "one")):
        deployment = one(kustomized(FOLDER / "base"), "Deployment")
        deployment["spec"][part[0]] = wrong
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl to compare with")
@pytest.mark.parametrize("directory", DIRECTORIES)
def test_kustomize_makes_the_same(directory):
    made = subprocess.run(
        ["kubectl", "kustomize", FOLDER / directory], capture_output=True, text=True, check=True
    )

    def ordered(documents):
        return sorted(documents, key=lambda d: (d["kind"], d["metadata"]["name"]))

    assert ordered(yaml.safe_load_all(made.stdout)) == ordered(kustomized(FOLDER / directory))


def test_the_example_changes_what_it_should():
    documents = kustomized(FOLDER / "overlays" / "example")
    assert next(ray_clusters(documents))["workerGroupSpecs"][0]["replicas"] == 8
    assert one(documents, "PersistentVolumeClaim")["spec"]["storageClassName"] == "shared-files"
    environment = one(documents, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "ATOMSCATTER_API_KEYS", "value": "/run/api-keys/keys"} in environment


def test_what_the_readme_applies_can_be_pulled():
    applied = re.findall(r"kubectl apply -k deploy/kubernetes/(\S+)", (FOLDER / "README.md").read_text())
    assert set(applied) == {"overlays/example", "overlays/example-campaign"}
    for directory in applied:
        found = list(pods(kustomized(FOLDER / directory)))
        images = {c["image"] for _, template in found for c in template["spec"]["containers"]}
        version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
        assert images == {f"registry.example.org/atomscatter:{version}"}


def test_the_readme_makes_what_pods_need_before_they_start():
    readme = (FOLDER / "README.md").read_text()
    applied = readme.index("kubectl apply -k deploy/kubernetes/overlays/example ")
    needed = [
        volume["secret"]["secretName"]
        for _, template in pods(kustomized(FOLDER / "overlays" / "example"))
        for volume in template["spec"]["volumes"]
        if "secret" in volume and not volume["secret"].get("optional")
    ]
    assert set(needed) == {"atomscatter-ray-token", "atomscatter-api-keys"}
    assert all(readme.index(f"secret generic {name} ") < applied for name in needed)


def test_the_readme_reaches_the_api_and_its_pod():
    """The address is one of another namespace: within that of the API no pod of ours reaches it."""
    readme = (FOLDER / "README.md").read_text()
    documents = kustomized(FOLDER / "base")
    service, labels = one(documents, "Service"), dict(pods(documents))["api"]["metadata"]["labels"]
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    addresses = re.findall(r"--address\s(http://atom\S+)", readme)
    assert addresses == [f"http://{name}.{namespace}:{service['spec']['ports'][0]['port']}"]
    selector, place = re.search(r"get pods -l (\S+) .*:(\S+)\n", readme).groups()
    assert dict([selector.split("=")]).items() <= labels.items()
    assert place == STATE


def test_what_is_deleted_with_a_campaign():
    """It is applied again after it was deleted: the volume and what is on it must stay."""
    documents = kustomized(FOLDER / "overlays" / "example-campaign")
    assert [d["kind"] for d in documents] == ["RayJob"]


def test_the_readme_deletes_no_data():
    readme = (FOLDER / "README.md").read_text()
    directories = re.findall(r"kubectl delete -k deploy/kubernetes/(\S+)", readme)
    assert directories == ["overlays/example-campaign"]
    named = re.search(r"kubectl -n atomscatter delete (\S+/\S+) (\S+/\S+)\n", readme).groups()
    runs = {"Deployment", "RayCluster"}
    documents = kustomized(FOLDER / "overlays" / "example")
    assert set(named) == {
        f"{d['kind'].lower()}/{d['metadata']['name']}" for d in documents if d["kind"] in runs
    }


def test_an_upgrade_replaces_the_pods_of_ray_and_of_the_api():
    documents = kustomized(FOLDER / "base")
    assert one(documents, "RayCluster")["spec"]["upgradeStrategy"] == {"type": "Recreate"}
    assert one(documents, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_a_campaign_runs_on_a_cluster_like_that_of_the_service():
    cluster = one(kustomized(FOLDER / "base"), "RayCluster")["spec"]
    del cluster["upgradeStrategy"]
    assert one(kustomized(FOLDER / "campaign"), "RayJob")["spec"]["rayClusterSpec"] == cluster


# ---------------------------------------------------------------- references


def test_what_is_referred_to_is_there(documents):
    readme = (FOLDER / "README.md").read_text()
    claims = {
        d["metadata"]["name"] for d in kustomized(FOLDER / "base") if d["kind"] == "PersistentVolumeClaim"
    }
    secrets = {cluster["authOptions"]["secretName"] for cluster in ray_clusters(documents)}
    for _, template in pods(documents):
        volumes = {v["name"]: v for v in template["spec"]["volumes"]}
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            if "secret" in volume:
                secrets.add(volume["secret"]["secretName"])
        for container in template["spec"]["containers"]:
            secrets |= {source["secretRef"]["name"] for source in container.get("envFrom", ())}
            assert {m["name"] for m in container["volumeMounts"]} == set(volumes)
            mounted = {m["mountPath"]: volumes[m["name"]] for m in container["volumeMounts"]}
            assert "persistentVolumeClaim" in mounted[STATE], "all see the state under the same path"
    assert secrets
    assert all(f"secret generic {name} " in readme for name in secrets), "the README says how to make them"
    assert not [d for d in documents if d["kind"] == "Secret"]


def test_the_api():
    documents = kustomized(FOLDER / "base")
    template = one(documents, "Deployment")["spec"]["template"]
    service = one(documents, "Service")["spec"]
    container = template["spec"]["containers"][0]
    environment = {v["name"]: v["value"] for v in container["env"]}
    assert service["selector"].items() <= template["metadata"]["labels"].items()
    assert [p["targetPort"] for p in service["ports"]] == [p["name"] for p in container["ports"]]
    port = container["ports"][0]["containerPort"]
    cluster = one(documents, "RayCluster")["metadata"]["name"]
    assert container["command"] == [
        "atomscatter",
        "serve",
        "--host=0.0.0.0",
        f"--port={port}",
        f"--state={STATE}",
        f"--address=http://{cluster}-head-svc:8265",  # KubeRay names its Service so
    ]
    for probe, path in {"startup": "ready", "readiness": "ready", "liveness": "live"}.items():
        assert container[f"{probe}Probe"]["httpGet"] == {"path": f"/health/{path}", "port": "http"}
    settings = read_settings(ServeSettings, shutdown_drain=environment["ATOMSCATTER_SHUTDOWN_DRAIN"])
    assert settings.shutdown_drain == 5
    needed = settings.shutdown_drain + settings.shutdown_grace
    assert template["spec"]["terminationGracePeriodSeconds"] >= needed + 30
    one_token = {v["name"]: v for v in template["spec"]["volumes"]}["token"]["secret"]
    assert one_token["secretName"] == next(ray_clusters(documents))["authOptions"]["secretName"]
    assert one_token["items"] == [{"key": "auth_token", "path": "token"}]  # the key that KubeRay reads


def test_rays_version_is_that_of_the_package(documents):
    version = importlib.metadata.version("ray")
    assert all(cluster["rayVersion"] == version for cluster in ray_clusters(documents))


# ---------------------------------------------------------------- what pods may do


def test_pods_are_restricted(documents):
    for name, template in pods(documents):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} == set(container["resources"]["requests"]), name
            assert {"cpu", "memory"} == set(container["resources"]["limits"]), name
            assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)


def test_the_object_store_has_room(documents):
    for cluster in ray_clusters(documents):
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
            size = int(group["rayStartParams"]["object-store-memory"])
            volume = {v["name"]: v for v in group["template"]["spec"]["volumes"]}["shared-memory"]
            assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}
            assert size < 2**30


# ---------------------------------------------------------------- who may reach whom

OURS = "atomscatter"
STORAGE = ("198.51.100.7", None)  # an address: no pod
OUTSIDE = ("elsewhere", {"app.kubernetes.io/name": "browser"})
# By its Helm chart, and by its own manifests (config/manager/manager.yaml of KubeRay 1.6).
OPERATORS = [
    ("kuberay", {"app.kubernetes.io/name": name, "app.kubernetes.io/component": "kuberay-operator"})
    for name in ("kuberay-operator", "kuberay")
]
NODE_CACHE = ("169.254.20.10", None)  # of names
PORTS = (8000, 6379, 8265, 10001, 52365, 22, 53)


def allowed(policies, source, target, port):
    """Whether a connection gets through, by the rules of NetworkPolicy.

    Pods are (namespace, labels), other hosts (address, None).
    """
    return _passes(policies, "Egress", source, target, port) and _passes(
        policies, "Ingress", target, source, port
    )


def _passes(policies, direction, pod, peer, port):
    mine = [
        p["spec"]
        for p in policies
        if pod[0] == OURS
        and direction in p["spec"]["policyTypes"]
        and _selects(p["spec"]["podSelector"], pod[1])
    ]
    rules = itertools.chain.from_iterable(spec.get(direction.lower(), ()) for spec in mine)
    return not mine or any(_matches(rule, direction, peer, port) for rule in rules)


def _matches(rule, direction, peer, port):
    if "ports" in rule and port not in [p["port"] for p in rule["ports"]]:
        return False
    peers = rule.get("to" if direction == "Egress" else "from")
    return peers is None or any(_is_peer(wanted, peer) for wanted in peers)


def _is_peer(wanted, peer):
    namespace, labels = peer
    if "ipBlock" in wanted:
        return labels is None and ip_address(namespace) in ip_network(wanted["ipBlock"]["cidr"])
    if labels is None:
        return False
    if "namespaceSelector" in wanted:
        here = _selects(wanted["namespaceSelector"], {"kubernetes.io/metadata.name": namespace})
    else:
        here = namespace == OURS
    return here and _selects(wanted["podSelector"], labels)


def _selects(selector, labels):
    assert set(selector) <= {"matchLabels"}
    return selector.get("matchLabels", {}).items() <= labels.items()


@pytest.fixture(scope="module", params=["base", "overlays/example"])
def network(request):
    """The policies, and a pod of each kind."""
    documents = kustomized(FOLDER / request.param) + kustomized(FOLDER / "campaign")
    found = {name: (OURS, template["metadata"]["labels"]) for name, template in pods(documents)}
    return [d for d in documents if d["kind"] == "NetworkPolicy"], found


def test_only_the_api_is_reachable_from_outside(network):
    policies, found = network
    reached = {
        (name, port) for name, pod in found.items() for port in PORTS if allowed(policies, OUTSIDE, pod, port)
    }
    assert reached == {("api", 8000)}
    assert not [p for p in found.values() if allowed(policies, p, OUTSIDE, 443)], "and none reaches out"


def test_who_reaches_an_object_storage():
    documents = kustomized(FOLDER / "overlays" / "example") + kustomized(FOLDER / "campaign")
    policies = [d for d in documents if d["kind"] == "NetworkPolicy"]
    for name, template in pods(documents):
        pod = (OURS, template["metadata"]["labels"])
        reached = [port for port in (443, *PORTS) if allowed(policies, pod, STORAGE, port)]
        assert reached == ([] if name == "api" else [443])
        assert not allowed(policies, pod, ("203.0.113.7", None), 443), "no other address"


def test_who_reaches_ray(network):
    policies, found = network
    for source, target in itertools.product(("head", "worker"), repeat=2):
        assert all(allowed(policies, found[source], found[target], port) for port in PORTS)
    assert [p for p in PORTS if allowed(policies, found["api"], found["head"], p)] == [8265]
    for operator in OPERATORS:
        assert [p for p in PORTS if allowed(policies, operator, found["head"], p)] == [8265]
    assert [p for p in PORTS if allowed(policies, found["worker"], found["api"], p)] == []


def test_who_answers_for_names(network):
    policies, found = network
    for pod in found.values():
        for names in (("kube-system", {"k8s-app": "kube-dns"}), NODE_CACHE):
            assert [p for p in (80, *PORTS) if allowed(policies, pod, names, p)] == [53]


# ---------------------------------------------------------------- the same as under docker compose

COMPOSE = ROOT / "docker-compose.yml"


def image_name(image):
    """Without registry and tag."""
    return image.rpartition("/")[2].partition(":")[0]


def test_as_under_docker_compose(documents):
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    ours = {name: template["spec"]["containers"][0] for name, template in pods(documents)}
    if "api" in ours:
        named_here = {"http://head:8265": "http://atomscatter-head-svc:8265"}
        theirs = services["api"]["command"]
        assert ours["api"]["command"] == [
            option.replace(there, here) for option in theirs for there, here in named_here.items()
        ]
    environment = services["head"]["environment"]
    for name, container in ours.items():
        assert image_name(container["image"]) == image_name(services["head"]["image"])
        for variable in container["env"]:
            if not variable["name"].startswith("ATOMSCATTER_"):
                assert environment[variable["name"]] == variable["value"]
        if name != "api":
            assert set(environment) - {v["name"] for v in container["env"]} == {
                "RAY_AUTH_MODE",
                "RAY_AUTH_TOKEN_PATH",
            }, "the token is KubeRay's business"
            probe = services[name]["healthcheck"]["test"]
            assert ["CMD", *container["livenessProbe"]["exec"]["command"]] == probe
    for cluster in ray_clusters(documents):
        head = cluster["headGroupSpec"]["rayStartParams"]
        assert {f"--{k}={v}" for k, v in head.items()} <= set(services["head"]["command"])
        for group in cluster["workerGroupSpecs"]:
            given = {f"--{k}={v}" for k, v in group["rayStartParams"].items()}
            assert given <= set(services["worker"]["command"])
