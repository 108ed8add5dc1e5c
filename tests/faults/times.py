"""How often a fault is injected: a few times in the ordinary suite, as often as the table says by name."""

import pytest


def times(short, full, minutes=30):
    """Parameter ``times`` of a test; ``full`` runs with ``pytest -m chaos`` only, and without a short
    version (0) the whole test does."""
    marks = (pytest.mark.chaos, pytest.mark.timeout(60 * minutes))
    cases = [pytest.param(short, id="short")] if short else []
    return pytest.mark.parametrize("times", [*cases, pytest.param(full, id="full", marks=marks)])
