"""The services of the compose file, running in network namespaces."""

import httpx
import pytest

from tests.deploy.compose_file import compose
from tests.deploy.stack import running
from tests.netns import why_not


@pytest.fixture(scope="package")
def stack(tmp_path_factory):
    """Two workers, as by docker compose up --scale worker=2."""
    if reason := why_not():
        pytest.skip(reason)
    with running(compose(), tmp_path_factory.mktemp("stack"), workers=2) as found:
        yield found


@pytest.fixture(scope="package")
def client(stack):
    """The API at its published port."""
    with httpx.Client(base_url=stack.publish("api"), timeout=120) as found:
        yield found
