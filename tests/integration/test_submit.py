"""atomscatter submit and atomscatter jobs: as processes on a Ray head with a token, and through a server."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from typer.testing import CliRunner

from cli.app import app
from service.api_keys import new_key
from tests.api.conftest import serving
from tests.api.test_jobs import training_set
from tests.ray_nodes import ray_nodes
from tests.repository import ROOT

SMALL = "folds = 2\nbootstraps = 2\nmax_features = 9\n"
AN_ID = "1" * 16


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    with ray_nodes(tmp_path_factory.mktemp("head"), dashboard=True, cpus=2) as found:
        yield found


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a training set, job files and the state directory."""
    folder = tmp_path_factory.mktemp("submit")
    (folder / "paths.extxyz").write_bytes(training_set()[0])
    (folder / "featurize.yaml").write_text("type: featurize\nparameters: {beta: 0.9, scales: 2}\n")
    (folder / "train.toml").write_text(f'type = "train"\n[parameters]\n{SMALL}')
    return folder


@pytest.fixture(scope="module")
def here(head, place):
    """Options that lead to the jobs."""
    return ["--address", head.jobs_address, "--state", str(place / "the state")]


def start(head, *arguments, environment=None, **streams):
    command = [sys.executable, "-m", "cli", *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    variables = os.environ | (head.credentials if environment is None else environment)
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=variables,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # as at a terminal
        **streams,
    )


def run(head, *arguments, code=0, environment=None):
    """Standard output and standard error of a command that ends with a code."""
    process = start(head, *arguments, environment=environment)
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, out + err
    return out, err


@pytest.fixture(scope="module")
def store(head, here, place):
    """Id of a featurize job that was watched on a terminal."""
    ours, theirs = pty.openpty()
    arguments = ("submit", "featurize", place / "paths.extxyz", "--path-key", "path_id")
    process = start(head, *arguments, "--file", place / "featurize.yaml", *here, stderr=theirs)
    os.close(theirs)
    seen = b""
    while part := read(ours):
        seen += part
    out = process.communicate()[0]
    assert process.returncode == 0, seen.decode()
    assert "featurize running" in seen.decode(), "a bar"
    assert "structures" in seen.decode()
    assert "job started" not in seen.decode(), "no log lines beside it"
    return out.strip()


def read(terminal):
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other side is closed
        return b""


def test_a_campaign(head, here, place, store):
    training = start(head, "submit", "train", "--store", store, "--file", place / "train.toml", *here)
    seen = until(training.stderr, "is running")
    training.send_signal(signal.SIGINT)
    out, err = training.communicate(timeout=60)
    assert training.returncode == 130, seen + err
    assert "Detached: job" in err
    job_id = out.strip()
    assert f"atomscatter jobs show {job_id} --follow --address" in err
    _, err = run(head, "jobs", "logs", job_id, "--follow", *here)
    assert "job started" in err, "the log, from its beginning"
    assert "Training" in err
    trained = json.loads(run(head, "jobs", "show", job_id, "--json", *here)[0])
    assert trained["state"] == "succeeded"
    assert trained["parameters"] | {"folds": 2, "bootstraps": 2} == trained["parameters"]

    model, data = trained["result"]["model"], place / "paths.extxyz"
    out, err = run(head, "submit", "evaluate", data, "--model", model, "--json", *here)
    evaluated = json.loads(out)
    assert evaluated["result"]["model"] == model
    assert evaluated["result"]["averaged_model"]["rmse"] > 0
    assert evaluated["done"] == evaluated["total"] > 0
    assert "job succeeded" in err, "log lines where there is no terminal"
    assert "job started" in run(head, "jobs", "logs", evaluated["id"], *here)[0]

    listed = json.loads(run(head, "jobs", "list", "--json", *here)[0])
    assert [j["id"] for j in listed if j["id"] in (evaluated["id"], job_id, store)] == [
        evaluated["id"], job_id, store,
    ]  # fmt: skip
    table = run(head, "jobs", "list", "--limit", 1, *here)[0]
    assert evaluated["id"] in table
    assert store not in table


def until(stream, text):
    seen = ""
    for line in stream:
        seen += line
        if text in line:
            return seen
    raise AssertionError(seen)


def test_jobs_that_fail_and_jobs_that_are_ended(head, here, store):
    out, err = run(head, "submit", "train", "--store", store, "--folds", 100, "--quiet", *here, code=1)
    assert "failed" in err
    assert "paths" in err, "says why"
    run(head, "jobs", "show", out.strip(), "--follow", "--quiet", *here, code=1)

    dataset = json.loads(run(head, "jobs", "show", store, "--json", *here)[0])["parameters"]["dataset"]
    out, _ = run(head, "submit", "featurize", "--dataset", dataset, "--detach", *here)
    job_id = out.strip()
    # Where it runs is remembered: no address is needed.
    assert "cancelled" in run(head, "jobs", "cancel", job_id, *here[2:])[1]
    run(head, "jobs", "show", job_id, "--follow", *here, code=3)


def test_without_the_token(head, here):
    nothing = {"RAY_AUTH_MODE": "disabled"}
    began = time.monotonic()
    _, err = run(head, "submit", "evaluate", "--dataset", AN_ID, *here, code=1, environment=nothing)
    assert "RAY_AUTH_MODE=token" in err
    assert time.monotonic() - began < 60


def test_without_a_directory_that_the_nodes_see(head, tmp_path):
    here = ("--address", head.jobs_address)
    _, err = run(head, "submit", "evaluate", "--dataset", AN_ID, *here, code=2)
    assert f"--address {head.jobs_address} is a Ray head: --state has to name" in err
    shared = head.credentials | {"ATOMSCATTER_STATE": str(tmp_path / "named")}
    _, err = run(head, "submit", "evaluate", "--dataset", AN_ID, *here, code=2, environment=shared)
    assert "no data set" in err


LAST_WORDS = """
import sys, time
from pathlib import Path
from service.state import StateDirectory
from workers.job_places import RayJobs

state = StateDirectory(Path(sys.argv[1]))
job, _ = state.ledger().submit("evaluate", {"dataset": sys.argv[3]})
jobs = RayJobs(state, sys.argv[2])
jobs.launch(job)
while jobs.alive(job):
    time.sleep(0.2)
print(f"{job.id}.request.json" in jobs.last_words(job))
"""


def test_what_a_process_says_that_finds_no_directory(head, tmp_path):
    """In a process of its own: Ray's client keeps the first token that a process ever used."""
    command = [sys.executable, "-c", LAST_WORDS, tmp_path / "unseen", head.jobs_address, AN_ID]
    done = subprocess.run(
        command, env=os.environ | head.credentials, stdout=subprocess.PIPE, text=True, check=True
    )
    assert done.stdout.split() == ["True"]


def test_through_a_server(place, tmp_path):
    key, line = new_key("tester", ["jobs"])
    (tmp_path / "keys").write_text(line + "\n")
    with serving(tmp_path / "state", api_keys=tmp_path / "keys") as (_, url):

        def ask(*words, code=0, key=key):
            arguments = [*map(str, words), "--address", url]
            done = CliRunner().invoke(app, arguments, env={"ATOMSCATTER_API_KEY": key})
            assert done.exit_code == code, done.output
            return done.stdout, done.stderr

        data = place / "paths.extxyz"
        assert "401" in ask("jobs", "list", code=2, key=None)[1]
        assert "--state" in ask("jobs", "list", "--state", tmp_path, code=2)[1]
        out, err = ask("submit", "evaluate", data)
        job_id = out.strip()
        assert "job started" in err
        assert "job succeeded" in err
        assert f"id: {job_id}" in ask("jobs", "show", job_id)[0]
        assert "job started" in ask("jobs", "logs", job_id)[0]
        assert [j["id"] for j in json.loads(ask("jobs", "list", "--json")[0])] == [job_id]
        other = ask("submit", "featurize", data, "--detach")[0].strip()
        assert "cancelled" in ask("jobs", "cancel", other)[1]
        assert "no job" in ask("jobs", "show", AN_ID, code=2)[1]
        assert "--lost" in ask("jobs", "cancel", other, "--lost", code=2)[1]
