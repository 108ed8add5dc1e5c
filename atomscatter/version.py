"""The version of the package that is installed."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str | None:
    """Of atomscatter; None where it is not installed, but run from a checkout."""
    try:
        return version("atomscatter")
    except PackageNotFoundError:
        return None
