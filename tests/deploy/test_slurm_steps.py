"""Which steps of deploy/slurm/campaign.sbatch are done again, and what it refuses before it starts Ray.

tests/integration/test_slurm.py runs it all.
"""

import os
import re
import shutil
import subprocess

import pytest

from tests.repository import ROOT

CAMPAIGN_SBATCH = ROOT / "deploy" / "slurm" / "campaign.sbatch"
SCRIPT = CAMPAIGN_SBATCH.read_text()
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


# ---------------------------------------------------------------- before the steps

JOB = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1", "SLURM_JOB_NODELIST": "n1"}


@pytest.fixture
def run(tmp_path):
    """A run directory with data and an empty campaign.conf; beside it, programs, and none of SLURM's."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "paths.extxyz").write_text("1")
    (tmp_path / "run" / "campaign.conf").write_text("")
    (tmp_path / "bin").mkdir()
    for program in ("bash", "find", "rm", "sort"):
        (tmp_path / "bin" / program).symlink_to(shutil.which(program))
    return tmp_path / "run"


def said(run, **environment):
    """What the whole script says as job 7, which cannot ask SLURM: it gets as far as Ray's start."""
    environment |= JOB | {"PATH": str(run.parent / "bin")}
    command = ["bash", CAMPAIGN_SBATCH, run]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stderr


def test_settings_that_are_left_out(run):
    assert "training_data names no file" in said(run)
    (run / "campaign.conf").write_text("training_data=(paths.extxyz)")
    found = said(run)
    assert " featurize\n" in found
    assert "unbound" not in found


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("object_store_bytes=2GB", "object_store_bytes is not a whole number: 2GB"),
        ("max_requeues=", "max_requeues is not a whole number: \n"),
        ("node_directory=scratch", "node_directory is no short absolute path: scratch"),
        (f"node_directory=/{'long' * 9}", "node_directory is no short absolute path"),
    ],
)
def test_settings_that_cannot_be_used(run, setting, complaint):
    (run / "campaign.conf").write_text(f"training_data=(paths.extxyz)\n{setting}\n")
    found = said(run)
    assert complaint in found
    assert "featurize" not in found


def test_the_example_has_all_settings_with_their_defaults(run):
    settings = re.compile(r"^(\w+)=", re.MULTILINE)
    defaults = SCRIPT[SCRIPT.index("- settings\n") : SCRIPT.index("# shellcheck source")]
    named = settings.findall(defaults.replace(" ", "\n"))
    example = (CAMPAIGN_SBATCH.parent / "campaign.conf").read_text()
    assert sorted(named) == sorted(settings.findall(example))
    for name in ("object_store_bytes", "node_directory", "max_requeues"):
        assert re.search(rf"^{name}=.*$", defaults, re.MULTILINE)[0] in example


def test_an_array_of_jobs(run):
    (run / "campaign.conf").write_text("training_data=(paths.extxyz)")
    assert "not an array" in said(run, SLURM_ARRAY_JOB_ID="6")


def test_a_lock_of_this_job_and_one_of_another(run):
    (run / "campaign.conf").write_text("training_data=(paths.extxyz)")
    lock = run / "campaign.lock"
    for content in (None, "7\n"):
        if content is not None:
            lock.write_text(content)
        assert " featurize\n" in said(run)
        assert not lock.exists()
    lock.write_text("6\n")
    found = said(run)
    assert f"whether job 6 of campaign.lock still works in {run} is not known" in found
    assert lock.read_text() == "6\n"


def function(name):
    """The text of one function of the script."""
    return re.search(rf"(?ms)^{name}\(\) \{{\n.*?^\}}$", SCRIPT)[0]


def made_private(path):
    command = ["bash", "-c", f'{function("make_private")}\nmake_private "$1"', "bash", path]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_private_directory_of_a_node(tmp_path):
    path = tmp_path / "ray-7"
    for _ in range(2):
        assert made_private(path).returncode == 0
        assert path.stat().st_mode & 0o777 == 0o700
    path.chmod(0o770)
    assert "is no directory of this user alone" in made_private(path).stderr
    path.chmod(0o700)
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "nothing").symlink_to(tmp_path / "missing")
    (tmp_path / "file").touch()
    for name in ("link", "nothing", "file", "missing/below"):
        assert made_private(tmp_path / name).returncode == 1, name


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory of another user")
def test_a_private_directory_of_somebody_else(tmp_path):
    (tmp_path / "ray-7").mkdir(0o700)
    os.chown(tmp_path / "ray-7", 12345, 12345)
    assert made_private(tmp_path / "ray-7").returncode == 1


@pytest.mark.parametrize(
    ("name", "code", "found"),
    [
        ("localhost", 0, "127.0.0.1\n"),
        ("no-such-name.invalid", 1, "no-such-name.invalid has no IPv4 address"),
    ],
)
def test_the_address_of_a_node(name, code, found):
    scontrol = f'scontrol() {{ echo "NodeName=n1 Arch=x NodeAddr={name} NodeHostName=n1"; }}'
    script = "\n".join(
        ["set -euo pipefail", function("say"), function("fail"), scontrol, function("address_of")]
    )
    done = subprocess.run(
        ["bash", "-c", f"{script}\nip=$(address_of n1)\necho $ip"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert found in done.stdout + done.stderr
