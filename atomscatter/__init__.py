"""Energies of periodic structures from invariant wavelet scattering features and averaged sparse models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from atomscatter.calculator import ScatteringCalculator
    from atomscatter.ensemble import Ensemble, Prediction
    from atomscatter.scattering import Scattering

__all__ = ["Ensemble", "Prediction", "Scattering", "ScatteringCalculator"]

_HOMES = {
    "Ensemble": "atomscatter.ensemble",
    "Prediction": "atomscatter.ensemble",
    "Scattering": "atomscatter.scattering",
    "ScatteringCalculator": "atomscatter.calculator",
}


def __getattr__(name: str) -> Any:
    # Loaded on first use: the compiled kernels take seconds to import, which `--help` should not pay.
    if name == "__version__":
        from atomscatter.version import package_version

        return package_version() or "0"
    if name not in _HOMES:
        raise AttributeError(f"module 'atomscatter' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})
