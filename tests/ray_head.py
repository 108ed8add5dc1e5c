"""A Ray cluster of its own for a test: one node that asks for a token."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.ports import unused_port

RAY = str(Path(sys.executable).with_name("ray"))
ROOT = Path(__file__).parents[1]
ATTEMPTS = 4
# Daemons of a head that these tests do not need, and that take a second of a processor for each start.
WITHOUT_IDLE_DAEMONS = ("--no-monitor", "--include-log-monitor=false")


def wait_for_port(port, seconds=60, process=None):
    """Until somebody listens; TimeoutError when nobody does in time, or the process has ended before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (process is None or process.poll() is None):
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError(f"nothing listens on port {port}")


class RayHead:
    """``ray start --head``; ``environment`` is what a client needs.

    It is up when this returns. Ray gives its daemons half a minute, so on a busy machine it is tried again.
    """

    def __init__(self, log, *, dashboard):
        self.port, self.dashboard_port = unused_port(), unused_port()
        self.log = log
        self.directory = tempfile.mkdtemp(prefix="rayt-", dir="/tmp")
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        # The nodes of a cluster have the package and its Python; here they find them so.
        place = {
            "PYTHONPATH": str(ROOT),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        shown = ["--include-dashboard=false"]
        if dashboard:
            shown = ["--include-dashboard=true", f"--dashboard-port={self.dashboard_port}"]
            # Its default is taken when another Ray runs on this machine, and no job starts without it.
            shown += [f"--dashboard-agent-listen-port={unused_port()}"]
        command = [
            *(RAY, "start", "--head", "--block", "--num-cpus=2", f"--port={self.port}", *shown),
            *(f"--temp-dir={self.directory}", "--object-store-memory=100000000", "--disable-usage-stats"),
            *WITHOUT_IDLE_DAEMONS,
        ]
        try:
            for _ in range(ATTEMPTS):
                self._start(command, os.environ | place | self.environment)
                with contextlib.suppress(TimeoutError):
                    wait_for_port(self.dashboard_port if dashboard else self.port, process=self.process)
                    return
                self._end_processes()
            raise AssertionError(f"after {ATTEMPTS} attempts: {log.read_text()}")
        except BaseException:
            self.end()
            raise

    @property
    def jobs_address(self):
        return f"http://127.0.0.1:{self.dashboard_port}"

    def end(self):
        self._end_processes()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _start(self, command, environment):
        with self.log.open("w") as stream:
            self.process = subprocess.Popen(
                command, env=environment, stdout=stream, stderr=stream, cwd=ROOT, start_new_session=True
            )

    def _end_processes(self):
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()


@contextlib.contextmanager
def ray_head(log, *, dashboard=False):
    head = RayHead(log, dashboard=dashboard)
    try:
        yield head
    finally:
        head.end()
