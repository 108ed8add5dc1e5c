"""The model that comes with the package: that of ``atomscatter demo``, for lithium and silicon."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def embedded_model() -> Path:
    """Directory of the embedded model, to be read with :meth:`atomscatter.Ensemble.load`."""
    return Path(str(files("service"))) / "data" / "model"
