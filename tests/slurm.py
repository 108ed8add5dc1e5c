"""A SLURM cluster of its own for a test: munged, slurmctld and two slurmd on this machine, as root."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
AuthInfo=socket={directory}/munge.socket
CommunicationParameters=NoInAddrAny
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool-%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd-%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=5
MinJobAge=3600
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2
PartitionName=all Nodes=n1,n2 Default=YES State=UP MaxTime=INFINITE
"""


class Slurm:
    """Two nodes, n1 and n2, of two CPUs each, as it believes; ``environment`` is what its commands need."""

    def __init__(self, ports):
        # A short name: munge's socket is in it.
        self.directory = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self.directory.chmod(0o755)
        self.environment = {"SLURM_CONF": str(self.directory / "slurm.conf")}
        self._processes = []
        try:
            self._start(ports)
        except BaseException:
            self.end()
            raise

    def _start(self, ports):
        (self.directory / "state").mkdir()
        text = CONFIG.format(
            host=socket.gethostname(),
            directory=self.directory,
            ports=ports,
        )
        (self.directory / "slurm.conf").write_text(text)
        key = self.directory / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        places = {
            "key-file": key,
            "socket": self.directory / "munge.socket",
            "pid-file": self.directory / "munge.pid",
            "log-file": self.directory / "munge.log",
            "seed-file": self.directory / "munge.seed",
        }
        self._run("munged", "--foreground", "--force", *(f"--{k}={v}" for k, v in places.items()))
        self._wait(lambda: places["socket"].exists())
        self._run("slurmctld", "-D")
        for node in ("n1", "n2"):
            self._run("slurmd", "-D", "-N", node)
        self._wait(self._idle)

    def _idle(self):
        with contextlib.suppress(RuntimeError):  # the controller does not answer yet
            return self.command("sinfo", "-h", "-o", "%T %D").split() == ["idle", "2"]
        return False

    def _run(self, *command):
        with (self.directory / "daemons.log").open("a") as log:
            self._processes.append(
                subprocess.Popen(
                    command, env=os.environ | self.environment, stdout=log, stderr=log, start_new_session=True
                )
            )

    def _wait(self, ready, seconds=60):
        deadline = time.monotonic() + seconds
        while not ready():
            ended = [p.args for p in self._processes if p.poll() is not None]
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"{ended}\n{(self.directory / 'daemons.log').read_text()}")
            time.sleep(0.2)

    def command(self, *command, environment=None):
        """Standard output of one of SLURM's commands."""
        variables = os.environ | self.environment | (environment or {})
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr}")
        return done.stdout

    def end(self):
        with contextlib.suppress(RuntimeError):  # the controller may be what did not start
            self.command("scancel", "--state=RUNNING")
            self.command("scancel", "--state=PENDING")
            self._wait(lambda: not self.command("squeue", "-h"), 30)
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


@contextlib.contextmanager
def slurm(ports):
    """``ports``: three that nobody uses."""
    cluster = Slurm(ports)
    try:
        yield cluster
    finally:
        cluster.end()
