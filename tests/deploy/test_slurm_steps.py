"""Which steps of deploy/slurm/campaign.sbatch are done again; tests/integration/test_slurm.py runs it all."""

import os
import re
import subprocess

import pytest

from tests.ray_head import ROOT

SCRIPT = (ROOT / "deploy" / "slurm" / "campaign.sbatch").read_text()
CAMPAIGN = """
set -euo pipefail
say() { echo "$*"; }
work() { echo worked; touch result; }
options=(--path-key "path id" --config transform.toml --other=other.toml)
data=(paths.extxyz "more data")
%s
step name result work options data
"""


def steps():
    """The functions that decide, without those that work."""
    found = re.search(r"(?s)-- steps\n(.*?)\nfeaturize\(\) \{", SCRIPT)
    return found[1]


@pytest.fixture
def directory(tmp_path):
    for name in ("transform.toml", "other.toml", "paths.extxyz", "more data/deep/a.extxyz", "unrelated"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    return tmp_path


def step(directory, campaign=CAMPAIGN):
    """What the step says."""
    done = subprocess.run(
        ["bash", "-c", campaign % steps()], cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


AGAIN, SKIPPED = ["name", "worked"], ["name was finished before"]


@pytest.mark.parametrize(
    "name",
    ["transform.toml", "other.toml", "paths.extxyz", "more data/deep/a.extxyz", "more data/new.extxyz"],
)
def test_a_file_that_changed(directory, name):
    assert step(directory) == AGAIN
    assert step(directory) == SKIPPED
    (directory / name).write_text("more")
    assert step(directory) == AGAIN
    assert step(directory) == SKIPPED


def test_a_file_of_the_same_size_and_second(directory):
    file = directory / "transform.toml"
    os.utime(file, ns=(0, 10**9))
    assert step(directory) == AGAIN
    os.utime(file, ns=(0, 10**9 + 1000))
    assert step(directory) == AGAIN


def test_a_file_that_is_gone(directory):
    step(directory)
    (directory / "more data" / "deep" / "a.extxyz").unlink()
    assert step(directory) == AGAIN
    (directory / "paths.extxyz").unlink()
    with pytest.raises(AssertionError, match=r"paths\.extxyz"):
        step(directory)


def test_a_result_that_is_gone(directory):
    step(directory)
    (directory / "result").unlink()
    assert step(directory) == AGAIN
    assert step(directory) == SKIPPED


def test_an_option_that_changed(directory):
    step(directory)
    assert step(directory, CAMPAIGN.replace("path id", "path")) == AGAIN


def test_what_does_not_matter(directory):
    step(directory)
    (directory / "unrelated").write_text("2")
    (directory / "more data" / "empty").mkdir()
    assert step(directory) == SKIPPED


def test_a_step_that_failed_is_not_finished(directory):
    failing = CAMPAIGN.replace("echo worked; touch result", "false")
    with pytest.raises(AssertionError):
        step(directory, failing)
    assert step(directory) == AGAIN
