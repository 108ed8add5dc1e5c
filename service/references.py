"""Energies of the elements in their reference states, from which formation energies are counted."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from atomscatter.errors import ConfigError


def require_references(references: Collection[str], elements: Iterable[str]) -> None:
    """Raise ConfigError unless every element has one: no structure with another gets a formation energy."""
    if missing := set(elements) - set(references):
        raise ConfigError(
            f"the references (energies of the elements, eV/atom) lack {', '.join(sorted(missing))}"
        )
