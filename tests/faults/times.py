"""How often a fault is injected: a few times in the ordinary suite, as often as the table says by name."""

import pytest


def times(short, full, minutes=30):
    """Parameter ``times`` of a test; ``full`` runs with ``pytest -m chaos`` only."""
    marks = (pytest.mark.chaos, pytest.mark.timeout(60 * minutes))
    return pytest.mark.parametrize(
        "times", [pytest.param(short, id="short"), pytest.param(full, id="full", marks=marks)]
    )
