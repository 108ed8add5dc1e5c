"""What docker-compose.yml and the image promise, as far as the files can show it."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from service.settings import ServeSettings
from tests.deploy.compose_file import (
    API_KEYS,
    COMPOSE,
    DOCKERFILE,
    PUBLISH,
    ROOT,
    compose,
    image_environment,
    n_bytes,
    ours,
    published,
    seconds,
)

TOOLS = Path(sys.executable).parent
DOCKER = DOCKERFILE.parent
MONITORING = DOCKER.parent / "monitoring"


@pytest.fixture(scope="module")
def file():
    return compose()


def run(tool, *arguments):
    return subprocess.run([TOOLS / tool, *arguments], capture_output=True, text=True, check=False)


def test_the_file_follows_the_compose_specification(tmp_path):
    checked = run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)
    assert checked.returncode == 0, checked.stdout
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(COMPOSE.read_text().replace("shm_size:", "shm_bytes:"))
    assert run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", wrong).returncode == 1
    for beside in (PUBLISH, API_KEYS):
        assert run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", beside).returncode == 0


def test_only_the_api_is_published_and_only_here(file):
    published = {name: s["ports"] for name, s in file["services"].items() if "ports" in s}
    assert published == {"api": ["127.0.0.1:8000:8000"]}
    assert not any({"network_mode", "expose"} & s.keys() for n, s in file["services"].items() if n != "token")


def test_ray_is_on_a_network_that_ends_here(file):
    assert file["networks"]["private"] == {"internal": True}
    for name in ("head", "worker"):
        assert file["services"][name]["networks"] == ["private"]
    assert file["services"]["token"]["network_mode"] == "none"


def test_what_is_on_both_networks_is_no_way_from_one_to_the_other():
    services = published()["services"]
    both = {n: s for n, s in services.items() if {"private", "front"} <= {*s.get("networks", ())}}
    assert both.keys() == {"api", "grafana"}
    for name, service in both.items():
        assert service["sysctls"] == {"net.ipv4.ip_forward": 0}, name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_whatever_keeps_running_has_a_health_check_and_starts_after_what_it_needs(file):
    for name, service in file["services"].items():
        if "restart" in service:
            assert service["healthcheck"]["test"][0] == "CMD", name
        for needed, how in service.get("depends_on", {}).items():
            lasting = "restart" in file["services"][needed]
            wanted = "service_healthy" if lasting else "service_completed_successfully"
            assert how == {"condition": wanted}, (name, needed)
    assert {n for n, s in file["services"].items() if "restart" not in s} == {"token"}
    assert file["services"]["worker"]["depends_on"].keys() == {"head"}


def test_shared_memory_is_larger_than_the_object_store(file):
    for name in ("head", "worker"):
        service = file["services"][name]
        store = next(c for c in service["command"] if c.startswith("--object-store-memory="))
        assert n_bytes(service["shm_size"]) > 1.2 * int(store.partition("=")[2])


def test_memory_and_processes_are_limited(file):
    for service in ours(file["services"]).values():
        assert service["pids_limit"] == 8192
    for name in ("head", "worker", "api"):
        service = file["services"][name]
        assert n_bytes(service["mem_limit"]) >= 4 * n_bytes(service.get("shm_size", "64mb"))
        changed = compose(**{f"{name.upper()}_MEMORY": "3gb"})["services"]
        assert {n for n, s in changed.items() if s.get("mem_limit") == "3gb"} == {name}
    for name in ("prometheus", "grafana"):
        assert n_bytes(file["services"][name]["mem_limit"]) <= 2**30
        assert file["services"][name]["pids_limit"] == 512


def test_what_is_kept_is_limited(file):
    for service in file["services"].values():
        assert service["logging"] == {
            "driver": "json-file",
            "options": {"max-size": "20m", "max-file": "5"},
        }
    assert "--storage.tsdb.retention.size=2GB" in file["services"]["prometheus"]["command"]


def test_the_api_may_end_what_it_has_begun(file):
    settings = ServeSettings()
    needed = settings.shutdown_drain + settings.shutdown_grace
    assert seconds(file["services"]["api"]["stop_grace_period"]) >= needed + 30


def test_the_api_writes_to_volumes_only(file):
    """As on Kubernetes; what else it writes, it writes below its home (HOME), which is /tmp."""
    service = file["services"]["api"]
    assert service["read_only"] is True
    assert "scratch:/tmp" in service["volumes"]
    assert image_environment()["HOME"] == "/tmp"
    assert set(file["services"]["head"]["volumes"]) < set(service["volumes"]), "the same state"


def test_stores_models_and_ledger_are_on_named_volumes_that_all_nodes_share(file):
    assert {"state", "models", "stores"} <= file["volumes"].keys()
    state = next(c for c in file["services"]["api"]["command"] if c.startswith("--state=")).partition("=")[2]
    for name in ("head", "worker", "api"):
        mounts = dict(v.split(":", 1) for v in file["services"][name]["volumes"])
        assert mounts["state"] == state
        assert mounts["models"] == f"{state}/models"
        assert mounts["stores"] == f"{state}/stores"


def test_no_service_is_root_or_has_rights_that_it_does_not_need(file):
    for name, service in ours(file["services"]).items():
        assert int(service["user"].split(":")[0]) > 0, name
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "cap_add", "devices", "pid", "ipc"} & service.keys()


def test_ray_asks_for_a_token_from_a_file_and_no_secret_is_written_down(file):
    for name in ("head", "worker", "api"):
        service = file["services"][name]
        assert service["environment"]["RAY_AUTH_MODE"] == "token"
        assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/ray-token/token"
        assert "token:/run/ray-token:ro" in service["volumes"]
    written = [p for d in (DOCKER, MONITORING) for p in d.rglob("*") if p.is_file() and p.suffix != ".lock"]
    for path in [COMPOSE, *written]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"RAY_AUTH_TOKEN\b", text), path
        assert not re.search(r"[0-9a-f]{32}", text), path
        assert not re.search(r"(?i)(password|secret|api_key)\w*[\"']?[ \t]*[:=][ \t]*[\"']?\w", text), path


def test_all_roles_run_one_image(file):
    services = ours(file["services"])
    assert {"head", "worker", "api", "token"} == services.keys()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {s["image"] for s in services.values()} == {f"atomscatter:{version}"}
    another = ours(compose(ATOMSCATTER_VERSION="0.0.9")["services"])
    assert {s["image"] for s in another.values()} == {"atomscatter:0.0.9"}
    assert {(s["build"]["context"], s["build"]["dockerfile"]) for s in services.values()} == {
        (".", str(DOCKERFILE.relative_to(ROOT)))
    }


def test_the_dockerfile_is_clean_has_two_stages_and_ends_as_another_user_than_root():
    checked = run("hadolint", DOCKERFILE)
    assert checked.returncode == 0, checked.stdout
    text = DOCKERFILE.read_text()
    assert text.count("\nFROM ") + text.startswith("FROM ") == 2
    last = text[text.rindex("\nFROM ") :]
    user = re.findall(r"^USER (\S+)$", last, re.MULTILINE)[-1]
    assert user == compose()["services"]["api"]["user"]
    assert "COPY . " not in last


def test_the_scripts_are_clean():
    scripts = [*DOCKER.glob("*.sh"), ROOT / ".ci" / "run", *Path(__file__).parent.glob("*.sh")]
    checked = run("shellcheck", *scripts)
    assert checked.returncode == 0, checked.stdout


def test_the_lock_pins_what_the_project_needs():
    lock = (DOCKER / "requirements.lock").read_text()
    pinned = dict(re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==(\S+)", lock, re.MULTILINE))
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=\w)", lock)[1:])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    for line in project["project"]["dependencies"] + project["build-system"]["requires"]:
        needed = Requirement(line)
        assert needed.specifier.contains(pinned[needed.name.lower()]), line


def test_little_is_sent_to_the_builder():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    assert {".git", ".venv", "tests", "docs"}.isdisjoint(line.removeprefix("!") for line in lines)
