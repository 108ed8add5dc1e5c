"""The end of a job on a real cluster, when the calls that ask for it go wrong."""

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from atomscatter.errors import WorkerError
from service.demo_data import load_sample
from service.result_files import write_extxyz
from service.state import StateDirectory
from tests.ray_nodes import ray_nodes
from workers import job_runner
from workers.job_desk import JobDesk
from workers.job_runner import JobRunner

SLOW = {"precision": "double", "beta": 0.3}  # a job that is still running when it is asked to end


class Between:
    """What stands between a runner and the Jobs API of a cluster, and adds the token.

    ``fates`` of the next calls that ask a job to end: "refused", "lost" (answered, but not passed on); those
    after them reach the cluster. ``asked``: paths of all of them. ``submissions``: the same for these, where
    of one that is "lost" only the answer is.
    """

    def __init__(self, head):
        self.fates, self.asked, self.submissions, self.away = [], [], [], False
        between = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, content = between.answer(self.command, self.path, body)
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def do_POST(self):
                self.do_GET()

            def log_message(self, *_):
                pass

        self._client = httpx.Client(
            base_url=head.jobs_address,
            headers={
                "Authorization": f"Bearer {head.credentials['RAY_AUTH_TOKEN']}",
                "Content-Type": "application/json",
            },
            timeout=120,
        )
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, method, path, body):
        if self.away:
            return 503, b"{}"
        if path.endswith("/stop"):
            self.asked.append(path)
            fate = self.fates.pop(0) if self.fates else None
            if fate is not None:
                return (503, b"{}") if fate == "refused" else (200, b'{"stopped": true}')
        submission = method == "POST" and path == "/api/jobs/" and self.submissions
        fate = self.submissions.pop(0) if submission else None
        if fate == "refused":
            return 503, b"{}"
        found = self._client.request(method, path, content=body)
        return (504, b"{}") if fate == "lost" else (found.status_code, found.content)

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._client.close()


@pytest.fixture(scope="module")
def between(tmp_path_factory):
    folder = tmp_path_factory.mktemp("head")
    with ray_nodes(folder, dashboard=True, cpus=2) as head, contextlib.closing(Between(head)) as found:
        yield found


@pytest.fixture
def state(tmp_path):
    return StateDirectory(tmp_path / "state")


@pytest.fixture
def job(state, between, tmp_path):
    """A job that runs on the cluster."""
    sample, data = load_sample("paths"), tmp_path / "data.extxyz"
    write_extxyz(data, [s.atoms for s in sample], [s.energy for s in sample], [{} for _ in sample])
    with contextlib.closing(JobDesk(state, between.address)) as desk:
        job = desk.submit("featurize", {"dataset": desk.add_dataset(data, None, None), **SLOW})
    between.asked.clear()
    return job


def look_until(runner, true, seconds=120):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        with contextlib.suppress(WorkerError):
            runner.look_or_give_up()
        time.sleep(0.1)


def runs(state, job):
    """Whether this attempt's process has begun."""
    return state.job_files().status(job.id, state.ledger().get(job.id).attempts) is not None


def test_a_job_is_asked_to_end_until_it_does(between, state, job, monkeypatch):
    monkeypatch.setattr(job_runner, "_SECONDS_TO_END", 1.0)  # until it is asked again
    ledger, runner = state.ledger(), JobRunner(state, between.address)
    between.submissions = ["refused", "lost"]
    with pytest.raises(WorkerError):
        runner.look()
    assert ledger.get(job.id).state == "running", "the cluster may have it, whatever its answer was"
    runner.look()
    assert ledger.get(job.id).state == "queued", "it has not"
    with pytest.raises(WorkerError):
        runner.look()
    look_until(runner, lambda: runs(state, job))
    assert (ledger.get(job.id).state, ledger.get(job.id).attempts) == ("running", 1), "one try, and no other"
    between.fates = ["refused", "lost"]
    ledger.cancel(job.id)
    look_until(runner, lambda: ledger.get(job.id).has_ended)
    assert ledger.get(job.id).state == "cancelled"
    assert len(between.asked) >= 3
    runner.leave()


def test_a_job_that_was_given_up_can_be_cancelled_again(between, state, job, monkeypatch):
    ledger, runner = state.ledger(), JobRunner(state, between.address, patience=1.0)
    look_until(runner, lambda: runs(state, job))
    between.fates = ["lost"]
    ledger.cancel(job.id)
    look_until(runner, lambda: between.asked)
    monkeypatch.setattr(between, "away", True)
    look_until(runner, lambda: ledger.get(job.id).has_ended)
    told = "its cluster could not be used for 1 s; the log says why. Resume the job when it can be"
    assert ledger.get(job.id).error == told, "and not where the cluster is"
    monkeypatch.setattr(between, "away", False)
    ledger.resume(job.id)
    look_until(runner, lambda: ledger.get(job.id).state == "running")
    ledger.cancel(job.id)
    look_until(runner, lambda: ledger.get(job.id).has_ended)
    attempts = [path.rsplit("/", 2)[-2] for path in between.asked]  # each is asked once or more often
    assert list(dict.fromkeys(attempts)) == [f"atomscatter-{job.id}-1", f"atomscatter-{job.id}-2"]
    runner.leave()
    between.answer("POST", between.asked[0], b"")  # the first attempt is still there
