"""deploy/slurm on a real SLURM of two nodes: killed or out of time in mid-work, and submitted again.

Needs Debian's slurm-wlm and munge.
"""

import contextlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from atomscatter import Ensemble
from service.feature_store import FeatureStore
from tests.api.test_jobs import training_set
from tests.cli.conftest import run
from tests.ports import unused_port
from tests.repository import ROOT
from tests.slurm import slurm
from tests.stores import content_hash
from workers.cluster import connect

BIN = Path(sys.executable).parent
SCRIPT = ROOT / "deploy" / "slurm" / "campaign.sbatch"
N_PATHS = 60
FEATURIZE = ("--path-key", "path_id", "--config", "transform.toml", "--chunk-rows", "2")
TRAIN = ("--folds", "2", "--bootstraps", "10", "--max-features", "40")
CONFIG = f"""
training_data=(paths.extxyz)
featurize_options=({" ".join(FEATURIZE)})
train_options=({" ".join(TRAIN)})
evaluation_data=("others and more.extxyz")
evaluate_options=()
object_store_bytes=100000000
max_requeues=3
"""

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(os.geteuid() != 0, reason="SLURM's daemons have to be started by root"),
]


@pytest.fixture(scope="module")
def cluster():
    with slurm([unused_port() for _ in range(3)]) as found:
        yield found


@dataclass(frozen=True)
class Outcome:
    """What two runs of a campaign must have in common."""

    store: str
    model: str
    weights: bytes
    evaluation: dict

    @classmethod
    def of(cls, directory):
        return cls(
            content_hash(FeatureStore.open(directory / "features")),
            Ensemble.load(directory / "model").model_id,
            (directory / "model" / "weights.npz").read_bytes(),
            json.loads((directory / "evaluation.json").read_text()),
        )


def prepared(directory):
    directory.mkdir()
    (directory / "paths.extxyz").write_bytes(training_set(N_PATHS)[0])
    (directory / "others and more.extxyz").write_bytes(training_set(2)[0])
    (directory / "transform.toml").write_text("beta = 1.0\nscales = 2\nn = 2\npowers = [1, 2]\n")
    (directory / "campaign.conf").write_text(CONFIG)
    return directory


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The campaign's commands, in this process and without SLURM."""
    directory = prepared(tmp_path_factory.mktemp("undisturbed") / "run")
    with contextlib.chdir(directory), connect(workers=2):
        ok("featurize", "paths.extxyz", *FEATURIZE, "--store", "features")
        ok("train", "--store", "features", "--model", "model", *TRAIN)
        evaluation = ok("evaluate", "others and more.extxyz", "--model", "model", "--json")
        Path("evaluation.json").write_text(evaluation)
    return Outcome.of(directory)


def ok(*arguments):
    """Standard output of a command that succeeds."""
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


class Campaign:
    """A run directory and the job that works on it."""

    def __init__(self, cluster, directory):
        self.cluster, self.directory = cluster, prepared(directory)
        self.lock = directory / "campaign.lock"
        self.job = None

    def submit(self):
        environment = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "RAY_PORT": str(unused_port())}
        options = ("--parsable", "--cpus-per-task=1", f"--output={self.directory}/job-%j.log")
        command = ("sbatch", *options, str(SCRIPT), str(self.directory))
        self.job = self.cluster.command(*command, environment=environment).strip()

    @property
    def log(self):
        path = self.directory / f"job-{self.job}.log"
        return path.read_text() if path.exists() else ""

    def show(self, name):
        text = self.cluster.command("scontrol", "show", "job", self.job)
        return text.split(f"{name}=")[1].split()[0]

    def until(self, reached, seconds=400):
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline, self.log
            assert self.show("JobState") in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING"), self.log
            time.sleep(0.1)

    def until_state(self, state, seconds=400):
        deadline = time.monotonic() + seconds
        while self.show("JobState") != state:
            assert time.monotonic() < deadline, (self.show("JobState"), self.log)
            time.sleep(0.2)

    def units(self):
        """Complete units of the store, and all of them."""
        if not (self.directory / "features").exists():
            return 0, 1
        store = FeatureStore.open(self.directory / "features", check=False)
        return len(store.completed_units()), store.n_units

    def featurizing(self):
        return 2 <= self.units()[0] < self.units()[1]


def test_killed_in_mid_work_and_submitted_again(cluster, undisturbed, tmp_path):
    campaign = Campaign(cluster, tmp_path / "a run")
    campaign.submit()
    campaign.until(campaign.featurizing)
    assert Path(f"/tmp/ray-{campaign.job}").stat().st_mode & 0o777 == 0o700
    refused_beside(campaign)
    cluster.command("scancel", "--full", "--signal=KILL", campaign.job)
    campaign.until_state("CANCELLED")
    done, n_units = campaign.units()
    assert done < n_units, "it was killed in mid-work"
    assert not (campaign.directory / "featurize.done").exists()

    first = campaign.job
    campaign.lock.write_text(f"{first}\n")  # as after an end at which it could do nothing any more
    campaign.submit()
    campaign.until_state("COMPLETED")
    assert f"job {first} has ended and left campaign.lock" in campaign.log
    assert not campaign.lock.exists()
    assert "of 2 nodes have joined" in campaign.log
    assert Outcome.of(campaign.directory) == undisturbed
    assert not Path(f"/tmp/ray-{campaign.job}").exists()

    campaign.lock.write_text("999\n")  # no job that SLURM has ever had
    campaign.submit()
    campaign.until_state("COMPLETED")
    assert campaign.log.count("was finished before") == 3
    assert "joined" not in campaign.log, "nothing to do, no Ray"

    (campaign.directory / "evaluation.json").unlink()
    campaign.submit()
    campaign.until_state("COMPLETED")
    assert campaign.log.count("was finished before") == 2
    assert Outcome.of(campaign.directory) == undisturbed


def refused_beside(campaign):
    """A second job in the same run directory ends at once, and the first one's lock stays."""
    first = campaign.job
    campaign.submit()
    campaign.until_state("FAILED")
    assert f"job {first} works in {campaign.directory}" in campaign.log
    assert campaign.lock.read_text().strip() == first
    campaign.job = first


def test_out_of_time_while_training_and_asked_to_end(cluster, undisturbed, tmp_path):
    """What SLURM sends before the time limit, then what it sends to a job that has to give way."""
    campaign = Campaign(cluster, tmp_path / "run")
    campaign.submit()
    campaign.until(lambda: (campaign.directory / "featurize.done").exists())
    cluster.command("scancel", "--batch", "--signal=USR1", campaign.job)
    campaign.until(lambda: campaign.show("Restarts") == "1")
    assert "the time limit is near" in campaign.log
    assert "queued again" in campaign.log
    assert campaign.lock.read_text().strip() == campaign.job
    assert not (campaign.directory / "train.done").exists()
    cluster.command("scontrol", "update", f"jobid={campaign.job}", "StartTime=now")  # SLURM waits two minutes
    campaign.until(lambda: campaign.log.count("nodes have joined") > 3)
    cluster.command("scancel", campaign.job)
    campaign.until_state("CANCELLED")
    assert "asked to end" in campaign.log
    assert not campaign.lock.exists()
    campaign.submit()
    campaign.until_state("COMPLETED")
    assert "featurize was finished before" in campaign.log
    assert Outcome.of(campaign.directory) == undisturbed
