#!/bin/sh
# Writes requirements.lock anew: the newest versions that pyproject.toml allows. Needs uv.
set -eu
cd "$(dirname "$0")/../.."
exec uv pip compile pyproject.toml deploy/docker/build.in --extra s3 --upgrade --generate-hashes --only-binary :all: \
  --python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-config --quiet \
  --custom-compile-command deploy/docker/lock.sh --output-file deploy/docker/requirements.lock
