"""What is in the image's Python environment, as deploy/docker/install.sh makes it."""

import os
import re
import subprocess

import pytest

from tests.deploy.compose_file import DOCKERFILE
from tests.deploy.stack import IMAGE

pytestmark = pytest.mark.skipif(
    "ATOMSCATTER_IMAGE" not in os.environ,
    reason="deploy/docker/install.sh DIRECTORY, and ATOMSCATTER_IMAGE=DIRECTORY; CI does so",
)
_LIST = "import importlib.metadata as m; [print(d.name, d.version) for d in m.distributions()]"


def output(*command):
    environment = {"PATH": f"{IMAGE}/bin:/usr/bin:/bin"}
    return subprocess.run(
        command, env=environment, cwd="/", capture_output=True, text=True, check=True
    ).stdout


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_it_holds_the_locked_versions_and_nothing_else():
    lock = (DOCKERFILE.parent / "requirements.lock").read_text()
    locked = {
        normal(name): version
        for name, version in re.findall(r"^([\w.-]+)(?:\[[^]]*\])?==([^\s;]+)", lock, re.MULTILINE)
    }
    found = dict(line.split() for line in output("python", "-c", _LIST).splitlines())
    found = {normal(name): version for name, version in found.items()}
    del found["atomscatter"], locked["setuptools"]  # what was built, and what only built it
    assert found == locked


def test_its_commands_are_there():
    assert "serve" in output("atomscatter", "--help")
    assert output("ray", "--version").startswith("ray, version 2.")
    assert output("python", "-c", "import cli; print(cli.__file__)").startswith(str(IMAGE))


def test_it_reaches_object_storage():
    code = "import fsspec; print(fsspec.filesystem('s3', key='k', secret='s').protocol)"
    assert "s3" in output("python", "-c", code)
