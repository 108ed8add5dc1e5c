#!/bin/sh
# Makes the Python environment of the image in a new directory: the locked packages, and this one.
set -eu
environment=$1
source=$(cd "$(dirname "$0")/../.." && pwd)

python3 -m venv "$environment"
pip="$environment/bin/python -m pip --disable-pip-version-check"
$pip install --quiet --require-hashes --only-binary :all: --requirement "$source/deploy/docker/requirements.lock"
$pip install --quiet --no-deps --no-build-isolation "$source"
$pip check
# What only building needed.
$pip uninstall --quiet --yes setuptools pip
