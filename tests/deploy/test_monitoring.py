"""The dashboard against real numbers: a Prometheus that watches the service answers each of its queries."""

import json
import re
import shutil
import time

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.demo_data import load_sample
from tests.api.conftest import as_json
from tests.deploy.compose_file import ROOT, compose

MONITORING = ROOT / "deploy" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana" / "dashboards" / "atomscatter.json").read_text())
QUERIES = [t["expr"] for panel in DASHBOARD["panels"] for t in panel["targets"]]


@pytest.fixture(scope="module")
def used(client):
    """A service that has answered well and has refused."""
    structure = as_json(load_sample("paths")[0].atoms)
    assert client.post("/v1/predictions", json={"structures": [structure]}).status_code == 200
    assert client.post("/v1/predictions", json={"structures": []}).status_code == 422
    return client


def test_the_dashboard_uses_names_and_labels_that_metrics_exports(used):
    families = text_string_to_metric_families(used.get("/metrics").text)
    labels = {}
    for sample in (sample for family in families for sample in family.samples):
        labels.setdefault(sample.name, set()).update(sample.labels)
    wanted = {name for query in QUERIES for name in re.findall(r"\batomscatter_\w+", query)}
    assert wanted <= labels.keys()
    assert len(wanted) >= 7
    for query in QUERIES:
        known = set().union(*(labels[name] for name in re.findall(r"\batomscatter_\w+", query)))
        asked = set(re.findall(r"(\w+)=~?\"", query)) | set(re.findall(r"by \((\w+)", query))
        assert asked <= known | {"job", "le"}, query


def test_grafana_finds_its_dashboard_and_prometheus():
    services = compose()["services"]
    provisioning = MONITORING / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    assert source["url"] == "http://prometheus:9090"
    assert {t["datasource"]["uid"] for p in DASHBOARD["panels"] for t in p["targets"]} == {source["uid"]}
    provider = yaml.safe_load((provisioning / "dashboards" / "atomscatter.yml").read_text())["providers"][0]
    mounts = dict(reversed(v.removesuffix(":ro").split(":")) for v in services["grafana"]["volumes"])
    assert (ROOT / mounts[provider["options"]["path"]] / "atomscatter.json").is_file()
    assert services["grafana"]["profiles"] == services["prometheus"]["profiles"] == ["monitoring"]


def test_prometheus_answers_each_query_of_the_dashboard(stack, used):
    if shutil.which("prometheus") is None:
        pytest.skip("there is no prometheus on this machine")
    with httpx.Client(base_url=stack.reach("prometheus", 9090), timeout=30) as prometheus:
        deadline = time.monotonic() + 120
        while missing := [q for q in QUERIES if not has_numbers(prometheus, q)]:
            assert time.monotonic() < deadline, missing
            used.get("/v1/models")
            time.sleep(1)


def has_numbers(prometheus, query):
    answer = prometheus.get("/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", answer
    return bool(answer["data"]["result"])
