"""The services of the compose file, running in network namespaces."""

import httpx
import pytest

from service.api_keys import new_key
from tests.deploy.compose_file import with_keys
from tests.deploy.stack import running
from tests.netns import why_not


@pytest.fixture(scope="package")
def api_key():
    """A key and its line for the file of keys, as atomscatter api-key makes them."""
    return new_key("alice", ["predict", "jobs"])


@pytest.fixture(scope="package")
def stack(tmp_path_factory, api_key):
    """Two workers, as by docker compose up --scale worker=2, and an API that asks for keys."""
    if reason := why_not():
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("stack")
    keys = directory / "keys"
    keys.write_text(f"{api_key[1]}\n")
    keys.chmod(0o644)
    with running(with_keys(keys), directory, workers=2) as found:
        yield found


@pytest.fixture(scope="package")
def client(stack, api_key):
    """The API at its published port, asked by somebody who has a key."""
    headers = {"X-API-Key": api_key[0]}
    with httpx.Client(base_url=stack.publish("api"), headers=headers, timeout=120) as found:
        yield found
