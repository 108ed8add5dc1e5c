"""Who reaches what of the running services, and what hostile job parameters do: nothing."""

import json
import re
import secrets
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import assert_problem
from tests.api.test_jobs import ended, submit, training_set

KNOCK = str(Path(__file__).with_name("knock.py"))
# Ray's page with its form for the token, and whether the node is alive: anybody may see these.
PUBLIC_REQUESTS = {
    "GET /": {200},
    **{f"GET /api/{name}": {200, 404, 503} for name in ("gcs_healthz", "healthz", "local_raylet_healthz")},
}
PUBLIC_METHODS = {"/grpc.health.v1.Health/Check"}


def listening(machine):
    """TCP ports that others on its networks can try; not those of the loopback address alone."""
    found = set()
    for table in ("tcp", "tcp6"):
        lines = subprocess.check_output(machine.command("cat", f"/proc/net/{table}"), text=True).splitlines()
        for address, state in (line.split()[1:4:2] for line in lines[1:]):
            host, port = address.split(":")
            if state == "0A" and not host.endswith("0100007F"):
                found.add(int(port, 16))
    return sorted(found)


def knock(machine, host, ports, token=None, method=None):
    """What the ports of a host answer to somebody on a machine; by default to all methods of Ray."""
    command = machine.command(sys.executable, KNOCK, host, *map(str, ports))
    shown = {"KNOCK_TOKEN": token, "KNOCK_METHOD": method}
    environment = {name: value for name, value in shown.items() if value is not None}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return {int(port): found for port, found in json.loads(answer.stdout).items()}


def ray_containers(stack):
    return [*stack.of("head"), *stack.of("worker")]


@pytest.fixture(scope="class")
def job(stack, client):
    files, form = {"file": ("paths.extxyz", training_set(60)[0])}, {"path_key": "path_id"}
    dataset = client.post("/v1/datasets", files=files, data=form).json()["id"]
    job_id = submit(client, "featurize", {"dataset": dataset, "beta": 0.3, "scales": 5, "copies": 1.0})
    deadline = time.monotonic() + 120
    while not all("ray::Featurizer" in command_lines(c) for c in stack.of("worker")):
        assert time.monotonic() < deadline, client.get(f"/v1/jobs/{job_id}/log").text
        time.sleep(0.5)
    yield job_id
    client.delete(f"/v1/jobs/{job_id}")
    assert ended(client, job_id)["state"] == "cancelled", "it was to run for as long as the tests need it"


class TestWhileAJobRuns:
    """Ray's workers listen as well then."""

    def test_nothing_of_ray_is_reachable_from_outside_the_private_network(self, stack, job):
        gate = stack.containers["api"].machine
        # The worst neighbour: it sends everything for the private network to the API, which is on both.
        network = f"{stack.containers['head'].machine.networks[0].prefix}.0/24"
        route = ["ip", "route", "replace", network, "via", gate.addresses[1]]
        subprocess.run(stack.outside.command(*route), check=True)
        for container in ray_containers(stack):
            host, ports = container.machine.addresses[0], listening(container.machine)
            assert len(ports) >= 5, "Ray listens on more"
            assert set(knock(stack.outside, host, ports).values()) == {None}
            assert None not in knock(stack.intruder, host, ports).values(), "they are open inside"
        assert listening(gate) == [8000]
        assert knock(stack.outside, gate.addresses[1], [8000])[8000]["http"]["GET /"] == 200

    def test_every_port_of_ray_refuses_whoever_has_no_token(self, stack, job):
        seen = Counter()
        for container in ray_containers(stack):
            host, ports = container.machine.addresses[0], listening(container.machine)
            for token in (None, secrets.token_hex(32)):
                for port, answer in knock(stack.intruder, host, ports, token).items():
                    seen[refusal(f"{container.name}:{port}", answer)] += 1
        assert seen["http"] >= 2 * 3 * 2, "an agent and its helper on each node, the dashboard"
        assert seen["gRPC"] >= 2 * 3 * 3, "agent, node and object manager on each"

    def test_no_word_of_a_parameter_is_in_a_command_line(self, stack, job):
        """What Ray's shell is given are words of ours and two that we made: the state directory and an id."""
        commands = re.findall(r"workers\.job .*", command_lines(stack.containers["head"]))
        assert commands
        assert set(commands) == {f"workers.job /srv/atomscatter {job}"}


def test_the_token_is_what_lets_in(stack):
    head = stack.containers["head"].machine
    token = (stack.volume("token") / "token").read_text()
    method = "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"  # a harmless one
    answers = knock(stack.intruder, head.addresses[0], [6379, 8265], token, method)
    assert answers[8265]["http"]["GET /api/jobs/"] == 200
    assert answers[6379]["grpc"] == {method: "OK"}


def test_the_api_lets_in_only_those_who_have_a_key(client, api_key):
    """As deploy/docker/api-keys.yml says; Prometheus has no key, and reads the numbers all the same."""
    assert client.get("/v1/models").status_code == 200
    strangers = ({}, {"X-API-Key": f"{api_key[0]}x"}, {"X-API-Key": api_key[1].split(":")[1]})
    for headers in strangers:
        for route in ("/v1/models", "/v1/jobs", "/v1/datasets"):
            assert httpx.get(client.base_url.join(route), headers=headers).status_code == 401
    assert httpx.get(client.base_url.join("/metrics")).status_code == 200


def refusal(place, answer):
    """What the port speaks; AssertionError when it lets in."""
    if answer["http"] is not None:
        for request, status in answer["http"].items():
            assert status in PUBLIC_REQUESTS.get(request, ()) or status in (401, 403), (
                place,
                request,
                status,
            )
        return "http"
    assert answer["grpc"] is not None, f"{place} speaks neither HTTP nor gRPC"
    codes = {code for method, code in answer["grpc"].items() if method not in PUBLIC_METHODS}
    assert "UNAUTHENTICATED" in codes, f"{place}: no method of Ray's is known there"
    assert codes <= {"UNAUTHENTICATED", "UNIMPLEMENTED"}, (place, answer["grpc"])
    return "gRPC"


def command_lines(container):
    """Of all its processes, one a line."""
    script = "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; echo; done"
    return "\n".join(line.rstrip() for line in container.run("sh", "-c", script).stdout.splitlines())


def injections(mark, dataset, store):
    """Requests that put shell text wherever a job takes text: 20 of them."""
    texts = [f"$(touch {mark})", f"`touch {mark}`", f"; touch {mark} ;", f"x' ; touch {mark} ; '"]
    texts += [
        f'x" && touch {mark} && "',
        f"x\ntouch {mark}\n",
        f"| touch {mark}",
        f"${{IFS}}touch${{IFS}}{mark}",
    ]
    train = {"store": store, "folds": 2, "bootstraps": 1, "max_features": 3}
    jobs = [
        *({"type": "featurize", "parameters": {"dataset": t}} for t in texts),
        {"type": "train", "parameters": train | {"store": texts[0]}},
        {"type": "evaluate", "parameters": {"dataset": dataset, "model": texts[1]}},
        {"type": texts[2], "parameters": {}},
        {"type": "train", "parameters": train | {"selection": texts[3]}},
        {"type": "train", "parameters": train | {"seed": texts[0]}},
        {"type": "featurize", "parameters": {"dataset": dataset, "entrypoint": f"touch {mark}"}},
        {
            "type": "featurize",
            "parameters": {"dataset": dataset},
            "runtime_env": {"env_vars": {"X": texts[0]}},
        },
        {"type": "featurize", "parameters": {"dataset": dataset, texts[4]: 1}},
        *({"type": "train", "parameters": train | {"references": {t: -1.0, "Si": -5.4}}} for t in texts[:4]),
    ]
    assert len(jobs) == 20
    return jobs


def test_shell_text_in_job_parameters_does_nothing(stack, client):
    mark = f"mark-{secrets.token_hex(8)}"
    dataset, store = hostile_set(client, mark)
    for body in injections(mark, dataset, store):
        assert_problem(client.post("/v1/jobs", json=body), 422)
    # Names that may be any text went through a training as well.
    wanted = {"store": store, "folds": 2, "bootstraps": 1, "max_features": 3}
    job = ended(client, submit(client, "train", wanted))
    assert job["state"] == "succeeded", client.get(f"/v1/jobs/{job['id']}/log").text

    assert found_anywhere(stack, mark) == []
    assert stack.containers["head"].run("touch", f"/tmp/{mark}").returncode == 0
    assert len(found_anywhere(stack, mark)) == 1, "a file would have been seen"


def hostile_set(client, mark):
    """Ids of a data set with shell text in the names of file, paths and request, and of its features."""
    text = training_set(4)[0].decode()
    text = re.sub(
        r'path_id=("[^"]*"|\S+)', lambda m: f'path_id="$(touch {mark}) ; {m[1].strip(chr(34))}"', text
    )
    files, form = {"file": (f"$(touch {mark}).extxyz", text)}, {"path_key": "path_id"}
    uploaded = client.post("/v1/datasets", files=files, data=form)
    assert uploaded.status_code == 201, uploaded.text
    assert uploaded.json()["n_paths"] == 4
    parameters = {"dataset": uploaded.json()["id"], "beta": 0.9, "scales": 1, "copies": 0.0}
    headers = {"Idempotency-Key": f"$(touch${{IFS}}{mark})", "X-Request-ID": f"`touch {mark}`"}
    store = submit(client, "featurize", parameters, **headers)
    assert ended(client, store)["state"] == "succeeded"
    return parameters["dataset"], store


def found_anywhere(stack, mark):
    """Files with this name in all that the services can write to."""
    found = [p for p in stack.files() if mark in p.name]
    for container in (*ray_containers(stack), *stack.of("api")):
        found += [n for n in container.run("ls", "/dev/shm").stdout.split() if mark in n]
    return found
