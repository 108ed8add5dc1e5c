"""A Ray cluster of nodes that are processes of their own and can be killed one by one."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.ports import unused_port, wait_for_port
from tests.repository import ROOT

RAY = str(Path(sys.executable).with_name("ray"))
ATTEMPTS = 4
# Daemons of a head that these tests do not need, and that take a second of a processor for each start.
WITHOUT_IDLE_DAEMONS = ("--no-monitor", "--include-log-monitor=false")

# Nodes that do not answer are given up sooner than in production (5 x 10 s), so that tests are shorter.
IMPATIENT = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "8",
}


class RayNode:
    """``ray start --block``: a raylet, and at the head the GCS. ``prefix`` runs it, such as ip netns exec.

    It is up when this returns. Ray gives its daemons half a minute, so on a busy machine it is tried again.
    """

    def __init__(self, log, environment, arguments, *, cpus=1, prefix=()):
        command = [
            *(*prefix, RAY, "start", "--block", f"--num-cpus={cpus}", "--object-store-memory=80000000"),
            *("--disable-usage-stats", "--min-worker-port=0", "--max-worker-port=0"),
            *(*WITHOUT_IDLE_DAEMONS, *arguments),
        ]
        for _ in range(ATTEMPTS):
            self.log = Path(f"{log}-{secrets.token_hex(3)}.log")
            with self.log.open("w") as stream:
                self.process = subprocess.Popen(
                    command,
                    env=os.environ | environment,
                    stdout=stream,
                    stderr=stream,
                    cwd=ROOT,
                    start_new_session=True,
                )
            if self._comes_up():
                return
            self.kill()
        raise AssertionError(f"after {ATTEMPTS} attempts: {self.log.read_text()}")

    def _comes_up(self, seconds=180):
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            if "Ray runtime started" in self.log.read_text():
                return True
            time.sleep(0.1)
        return False

    def processes(self, name):
        """Processes of this node of a name, such as raylet or gcs_server."""
        with contextlib.suppress(psutil.NoSuchProcess):
            below = psutil.Process(self.process.pid).children(recursive=True)
            return [process for process in below if process.name() == name]
        return []

    def wait_for(self, name, seconds=180):
        deadline = time.monotonic() + seconds
        while not (found := self.processes(name)):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)
        return found[0]

    def kill(self):
        """SIGKILL to everything of this node."""
        everything = [self.process.pid]
        with contextlib.suppress(psutil.NoSuchProcess):
            everything += [p.pid for p in psutil.Process(self.process.pid).children(recursive=True)]
        for pid in everything:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class RayNodes:
    """A head, and nodes that are added with :meth:`add`; a client's environment needs ``credentials``.

    Args:
        folder: for the logs.
        settings: environment of all nodes and drivers, beside what they need.
        host: address of the head.
        prefix: command that runs it.
        dashboard: whether the head offers the Jobs API.
        cpus: of the head.
    """

    def __init__(self, folder, *, settings=None, host="127.0.0.1", prefix=(), dashboard=False, cpus=1):
        self.log = Path(folder) / "ray"
        self.host = host
        self.port, self.dashboard_port = unused_port(), unused_port()
        self.directory = tempfile.mkdtemp(prefix="rayf-", dir="/tmp")
        self.credentials = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        # The nodes of a cluster have the package and its Python; here they find them so.
        self.environment = {
            **self.credentials,
            "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        } | (settings or {})
        self._cpus = cpus
        self._prefix = prefix
        self._shown = ["--include-dashboard=false"]
        if dashboard:
            self._shown = [
                "--include-dashboard=true",
                f"--dashboard-port={self.dashboard_port}",
                # Its default is taken when another Ray runs on this machine, and no job starts without it.
                f"--dashboard-agent-listen-port={unused_port()}",
            ]
        self._wait_port = self.dashboard_port if dashboard else self.port
        self.nodes, self.head = [], None
        try:
            self.start_head()
        except BaseException:
            self.end()
            raise

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    @property
    def jobs_address(self):
        return f"http://{self.host}:{self.dashboard_port}"

    def start_head(self):
        """Start the head, or another one in its place. A dashboard that does not come up is tried again."""
        arguments = [
            *("--head", f"--port={self.port}", f"--node-ip-address={self.host}", *self._shown),
            f"--temp-dir={self.directory}",
        ]
        for _ in range(2):
            self.head = RayNode(self.log, self.environment, arguments, cpus=self._cpus, prefix=self._prefix)
            if self._prefix:
                return
            with contextlib.suppress(TimeoutError):
                wait_for_port(self._wait_port, seconds=120, process=self.head.process)
                return
            self.head.kill()
        raise AssertionError(self.head.log.read_text())

    def add(self, *, host=None, prefix=(), cpus=1):
        """Start a node and return it when its raylet runs."""
        node = RayNode(
            self.log,
            self.environment,
            [f"--address={self.address}", f"--node-ip-address={host or self.host}"],
            cpus=cpus,
            prefix=prefix,
        )
        self.nodes.append(node)
        return node

    def end(self):
        for node in filter(None, [*self.nodes, self.head]):
            node.kill()
        self.nodes, self.head = [], None
        shutil.rmtree(self.directory, ignore_errors=True)


@contextlib.contextmanager
def ray_nodes(folder, **options):
    nodes = RayNodes(folder, **options)
    try:
        yield nodes
    finally:
        nodes.end()
