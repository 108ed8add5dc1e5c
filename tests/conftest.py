"""What all tests share: which of them stay together when pytest-xdist spreads them (``pytest -n 2``)."""

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """A module's tests share servers and clusters; those of the compose file share its running services."""
    for item in items:
        place = item.path.relative_to(HERE)
        name = "deploy" if place.parts[0] == "deploy" else str(place)
        item.add_marker(pytest.mark.xdist_group(name))
