"""The end of the server: kill -9 loses no acknowledged job, SIGTERM drops no accepted request."""

import os
import re
import signal
import threading
import time

import httpx
import pytest

from service.demo_data import load_sample
from tests.api.conftest import as_json, serving
from tests.api.test_jobs import ended, submit, training_set
from tests.faults.times import times
from tests.ports import unused_port

FULL = 10
SECONDS = 10  # to be back in
# Seconds between SIGTERM and the closing of the socket: clients that share two cores with other tests may
# take longer than the default of half a second to send what they have connected for.
PATIENT = {"shutdown_drain": 3}


@times(1, FULL)
@pytest.mark.fault("kill -9 of the server while jobs are accepted and run")
def test_no_job_is_lost_when_the_server_is_killed(times, tmp_path, injected):
    state, port, accepted, back = tmp_path / "state", unused_port(), [], []
    for round_ in range(times + 1):
        began = time.monotonic()
        with serving(state, port=port) as (process, url), httpx.Client(base_url=url, timeout=60) as client:
            back.append(time.monotonic() - began)
            if round_ == 0:
                files, form = {"file": ("a.extxyz", training_set()[0])}, {"path_key": "path_id"}
                dataset = client.post("/v1/datasets", files=files, data=form).json()["id"]
            known = {j["id"] for j in client.get("/v1/jobs").json()["jobs"]}
            assert set(accepted) <= known
            if round_ < times:
                accepted.append(submit(client, "evaluate", {"dataset": dataset}))
                time.sleep(0.1 * round_)
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            else:
                assert {ended(client, job_id)["state"] for job_id in accepted} == {"succeeded"}
    assert len(accepted) == times
    if times == FULL:  # by name, so on a machine that does nothing else
        assert max(back) < SECONDS
    injected(times, f"no acknowledged job lost, all succeeded, back within {max(back):.1f} s")


@times(1, FULL)
@pytest.mark.fault("SIGTERM to the server under load")
def test_sigterm_under_load_drops_no_accepted_request(times, tmp_path, injected):
    settings = {} if times == FULL else PATIENT  # by name, on a machine that does nothing else
    body, n_answers = {"structures": [as_json(s.atoms) for s in load_sample("paths")[:2]]}, 0
    for round_ in range(times):
        with serving(tmp_path / str(round_), **settings) as (process, url):
            answers, failures, together = [], [], threading.Barrier(8)

            def ask(url=url, answers=answers, failures=failures, together=together):
                with httpx.Client(base_url=url, timeout=60) as client:
                    together.wait()  # to make a client takes longer than to ask
                    try:
                        answers.append(client.post("/v1/predictions", json=body).status_code)
                    except httpx.ConnectError:
                        failures.append("not accepted")  # after the socket was closed: no promise was made

            threads = [threading.Thread(target=ask) for _ in range(8)]
            for thread in threads:
                thread.start()
            wait_for_requests_in_flight(url)
            process.send_signal(signal.SIGTERM)
            for thread in threads:
                thread.join()
            assert process.wait(60) == 0
        assert answers
        assert set(answers) == {200}
        assert len(answers) + len(failures) == 8
        n_answers += len(answers)
    injected(times, f"all {n_answers} accepted requests answered with 200")


def wait_for_requests_in_flight(url, seconds=60):
    """Until there is one beside that for the metrics, which counts itself."""
    deadline = time.monotonic() + seconds
    with httpx.Client(base_url=url, timeout=60) as client:
        while True:
            found = re.search(r"requests_in_flight ([0-9.]+)", client.get("/metrics").text)
            if float(found[1]) >= 2:
                return
            assert time.monotonic() < deadline, "the clients' requests were never seen"
