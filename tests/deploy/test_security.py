"""Who reaches what of the running services, and what hostile job parameters do: nothing."""

import json
import re
import secrets
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.api.conftest import assert_problem
from tests.api.test_jobs import ended, training_set
from tests.deploy.compose_file import compose

KNOCK = str(Path(__file__).with_name("knock.py"))
# Ray's page with its form for the token, and whether the node is alive: anybody may see these.
PUBLIC_PATHS = {"/": 200}
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


def knock(machine, host, ports, token=None):
    """What the ports of a host answer to somebody on a machine."""
    command = machine.command(sys.executable, KNOCK, host, *map(str, ports))
    environment = {} if token is None else {"KNOCK_TOKEN": token}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return {int(port): found for port, found in json.loads(answer.stdout).items()}


def ray_containers(stack):
    return [*stack.of("head"), *stack.of("worker")]


@pytest.fixture(scope="module")
def working(client):
    """While a job runs, so that Ray's workers are there as well."""
    files, form = {"file": ("paths.extxyz", training_set(60)[0])}, {"path_key": "path_id"}
    dataset = client.post("/v1/datasets", files=files, data=form).json()["id"]
    parameters = {"dataset": dataset, "beta": 0.3, "scales": 5}
    job = client.post("/v1/jobs", json={"type": "featurize", "parameters": parameters}).json()["id"]
    deadline = time.monotonic() + 120
    while client.get(f"/v1/jobs/{job}").json()["total"] is None and time.monotonic() < deadline:
        time.sleep(0.2)
    yield job
    client.delete(f"/v1/jobs/{job}")
    assert ended(client, job)["state"] == "cancelled", "it was to run for as long as the tests need it"


def test_nothing_of_ray_is_reachable_from_outside_the_private_network(stack, working):
    gate = stack.containers["api"].machine
    # The worst neighbour: it sends everything for the private network to the API, which is on both.
    network = f"{stack.containers['head'].machine.networks[0].prefix}.0/24"
    route = ["ip", "route", "replace", network, "via", gate.addresses[1]]
    subprocess.run(stack.outside.command(*route), check=True)
    for container in ray_containers(stack):
        host, ports = container.machine.addresses[0], listening(container.machine)
        assert len(ports) >= 5, "Ray listens on more"
        assert set(knock(stack.outside, host, ports).values()) == {None}
        assert None not in knock(stack.intruder, host, ports).values(), "they are open to the private network"
    assert listening(gate) == [8000]
    assert subprocess.run(stack.outside.command("ping", "-c1", "-W2", gate.addresses[1]), check=False).args


def test_every_port_of_ray_refuses_whoever_has_no_token(stack, working):
    seen = Counter()
    for container in ray_containers(stack):
        host, ports = container.machine.addresses[0], listening(container.machine)
        for token in (None, secrets.token_hex(32)):
            for port, answer in knock(stack.intruder, host, ports, token).items():
                place = f"{container.name}:{port}"
                if answer["http"] is not None:
                    seen["http"] += 1
                    open_to_all = {p: s for p, s in answer["http"].items() if s not in (401, 403)}
                    assert open_to_all.items() <= PUBLIC_PATHS.items(), place
                else:
                    assert answer["grpc"] is not None, f"{place} speaks neither HTTP nor gRPC"
                    seen["grpc"] += 1
                    codes = {c for m, c in answer["grpc"].items() if m not in PUBLIC_METHODS}
                    assert codes <= {"UNAUTHENTICATED", "UNIMPLEMENTED"}, (place, answer["grpc"])
                    assert "UNAUTHENTICATED" in codes, f"{place}: no method of Ray's is known there"
    assert seen["http"] >= 8
    assert seen["grpc"] >= 20


def test_the_token_is_what_lets_in(stack):
    head = stack.containers["head"].machine
    token = (stack.volume("token") / "token").read_text()
    answers = knock(stack.intruder, head.addresses[0], [6379, 8265], token)
    assert answers[8265]["http"]["/api/jobs/"] == 200
    assert answers[6379]["grpc"]["/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"] == "OK"


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
        # Names of elements are free text until the training has looked at its data.
        *({"type": "train", "parameters": train | {"references": {t: -1.0, "Si": -5.4}}} for t in texts[:4]),
    ]
    assert len(jobs) == 20
    return jobs


def test_shell_text_in_job_parameters_does_nothing(stack, client):
    mark = f"mark-{secrets.token_hex(8)}"
    files, form = {"file": (f"$(touch {mark}).extxyz", training_set(4)[0])}, {"path_key": "path_id"}
    dataset = client.post("/v1/datasets", files=files, data=form).json()["id"]
    store = client.post(
        "/v1/jobs",
        json={
            "type": "featurize",
            "parameters": {"dataset": dataset, "beta": 0.9, "scales": 1, "copies": 0.0},
        },
        headers={"Idempotency-Key": f"$(touch {mark})", "X-Request-ID": f"`touch {mark}`"},
    ).json()["id"]
    assert ended(client, store)["state"] == "succeeded"

    outcomes = Counter()
    for body in injections(mark, dataset, store):
        answer = client.post("/v1/jobs", json=body)
        if answer.status_code == 202:
            job = ended(client, answer.json()["id"])
            outcomes[job["state"]] += 1
        else:
            assert_problem(answer, 422)
            outcomes[422] += 1
    assert outcomes == {422: 16, "failed": 4}
    assert found_anywhere(stack, mark) == []
    assert stack.containers["head"].run("touch", f"/tmp/{mark}").returncode == 0
    assert len(found_anywhere(stack, mark)) == 1, "a file would have been seen"


def found_anywhere(stack, mark):
    """Files with this name in all that the services can write to."""
    found = [p for p in stack.directory.rglob("*") if mark in p.name]
    for container in (*ray_containers(stack), *stack.of("api")):
        found += [n for n in container.run("ls", "/dev/shm").stdout.split() if mark in n]
    return found


def test_no_word_of_a_parameter_is_in_a_command_line(stack, client, working):
    """What Ray's shell is given are words of ours and two that we made: the state directory and an id."""
    head = stack.containers["head"]
    lines = head.run("sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
    commands = re.findall(r"python -m workers\.job .*? [0-9a-f]{16} ", lines)
    assert commands
    state = compose()["services"]["api"]["command"][-2].removeprefix("--state=")
    assert set(commands) == {f"python -m workers.job {state} {working} "}
