"""docker-compose.yml and the Dockerfile as the tests read them."""

import functools
import re
from pathlib import Path

import yaml
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
PUBLISH = ROOT / "deploy" / "monitoring" / "publish.yml"
API_KEYS = ROOT / "deploy" / "docker" / "api-keys.yml"
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
_SIZES = {"kb": 2**10, "mb": 2**20, "gb": 2**30}


def compose(**variables):
    """The compose file as it is with these environment variables."""
    text = re.sub(
        r"\$\{(\w+):-([^}]*)\}", lambda m: str(variables.get(m[1], m[2])), COMPOSE.read_text(encoding="utf-8")
    )
    assert "$" not in text, "a variable without a default"
    return yaml.safe_load(text)


def published():
    """The compose file together with the one that publishes Grafana."""
    found = compose()
    _merge(found, yaml.safe_load(PUBLISH.read_text(encoding="utf-8")))
    return found


def with_keys(file):
    """The compose file together with the one that asks for API keys, of this file."""
    found = compose()
    text = API_KEYS.read_text(encoding="utf-8")
    _merge(found, yaml.safe_load(re.sub(r"\$\{API_KEYS:\?[^}]+\}", str(file), text)))
    return found


def _merge(found, changed):
    """As Compose does: what ``changed`` says is added to mappings and lists of networks, or goes before."""
    for key, value in changed.items():
        if isinstance(value, dict):
            _merge(found.setdefault(key, {}), value)
        elif key == "networks":
            found[key] = list(dict.fromkeys([*found.get(key, []), *value]))
        else:
            found[key] = value


@functools.cache
def image_environment():
    """What the Dockerfile's ENV lines set in the last stage."""
    with DOCKERFILE.open("rb") as file:
        return dict(DockerfileParser(fileobj=file).envs)


def n_bytes(size):
    """Bytes of a size like 1gb."""
    return int(size[:-2]) * _SIZES[size[-2:]]


def seconds(duration):
    """Seconds of a duration like 10s."""
    return int(duration.removesuffix("s"))


def ours(services):
    """Services that run this project's image."""
    return {name: s for name, s in services.items() if "build" in s}
