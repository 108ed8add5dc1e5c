"""Dashboard and alerts against real numbers: a Prometheus that watches the service answers each query."""

import json
import re
import shutil
import subprocess
import time
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from service.demo_data import load_sample
from service.settings import ServeSettings
from tests.api.conftest import as_json
from tests.deploy.compose_file import ROOT, compose

MONITORING = ROOT / "deploy" / "monitoring"
DASHBOARD = json.loads((MONITORING / "grafana" / "dashboards" / "atomscatter.json").read_text())
QUERIES = [t["expr"] for panel in DASHBOARD["panels"] for t in panel["targets"]]
RULES = yaml.safe_load((MONITORING / "rules.yml").read_text())["groups"][0]["rules"]
ALERTS = {rule["alert"]: rule["expr"] for rule in RULES}
EVENTS = "/v1/jobs/{job_id}/events"


@pytest.fixture(scope="module")
def used(client):
    """A service that has answered well and has refused."""
    structure = as_json(load_sample("paths")[0].atoms)
    assert client.post("/v1/predictions", json={"structures": [structure]}).status_code == 200
    assert client.post("/v1/predictions", json={"structures": []}).status_code == 422
    return client


def test_dashboard_and_alerts_use_names_and_labels_that_metrics_exports(used):
    families = text_string_to_metric_families(used.get("/metrics").text)
    labels = {}
    for sample in (sample for family in families for sample in family.samples):
        labels.setdefault(sample.name, set()).update(sample.labels)
    queries = [*QUERIES, *ALERTS.values()]
    wanted = {name for query in queries for name in re.findall(r"\batomscatter_\w+", query)}
    assert wanted <= labels.keys()
    assert len(wanted) >= 7
    for query in queries:
        known = set().union(*(labels[name] for name in re.findall(r"\batomscatter_\w+", query)))
        asked = set(re.findall(r"(\w+)!?=~?\"", query)) | set(re.findall(r"by \((\w+)", query))
        assert asked <= known | {"job", "instance", "le", "alertname", "alertstate"}, query


def test_requests_are_those_of_users_and_no_event_streams():
    """Probes are many and fast, streams last as long as their jobs: both would hide what is wrong."""
    counted = [
        s for q in [*QUERIES, *ALERTS.values()] for s in re.findall(r"atomscatter_request\w+_[tb]\w+\S*", q)
    ]
    assert len(counted) == 8
    assert all(f'{{route=~"/v1/.*",route!="{EVENTS}"' in series for series in counted)
    assert EVENTS in json.loads((ROOT / "docs" / "openapi.json").read_text())["paths"]


def test_the_limit_of_pending_structures():
    assert (
        ALERTS["AtomscatterNearlyFull"]
        == f"atomscatter_structures_pending > {ServeSettings().max_pending * 4 // 5}"
    )


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


def test_prometheus_evaluates_each_alert(stack, used):
    if shutil.which("prometheus") is None:
        pytest.skip("there is no prometheus on this machine")
    with httpx.Client(base_url=stack.reach("prometheus", 9090), timeout=30) as prometheus:
        deadline = time.monotonic() + 120
        while "unknown" in {rule["health"] for rule in loaded(prometheus)}:
            assert time.monotonic() < deadline
            time.sleep(1)
        found = {rule["name"]: rule for rule in loaded(prometheus)}
        assert list(found) == list(ALERTS)
        assert {rule["health"] for rule in found.values()} == {"ok"}, found
        assert found["AtomscatterDown"]["state"] == "inactive"


def loaded(prometheus):
    """The rules that Prometheus has read from its file."""
    answer = prometheus.get("/api/v1/rules").json()["data"]
    return [rule for group in answer["groups"] for rule in group["rules"]]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on this machine")
def test_when_alerts_fire():
    file = Path(__file__).with_name("alerts.yml")
    tested = {
        t["alertname"]
        for group in yaml.safe_load(file.read_text())["tests"]
        for t in group["alert_rule_test"]
    }
    assert tested == set(ALERTS)
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def has_numbers(prometheus, query):
    answer = prometheus.get("/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", answer
    return bool(answer["data"]["result"])
