"""Files of results: JSON, CSV, extended XYZ; each is complete or not there."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from atomscatter.errors import DataError


def write_text(path: Path, text: str) -> None:
    """Write a file that is either complete or not there; to a pipe or device, simply write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON that any parser reads: numbers that are not finite become null."""
    write_text(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write columns of equal length; the headers carry the units.

    Raises:
        DataError: columns have different lengths.
    """
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise DataError(f"columns of {path.name} have different lengths: {sorted(lengths)}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    write_text(path, text.getvalue())


def write_extxyz(
    path: Path, frames: Iterable[Atoms], energies: Iterable[float], infos: Iterable[Mapping[str, Any]]
) -> None:
    """Write structures with total energies (eV) where ASE looks for them, and more values in their info."""
    import ase.io  # only here: it loads half of SciPy
    from ase.calculators.singlepoint import SinglePointCalculator

    labelled = []
    for atoms, energy, info in zip(frames, energies, infos, strict=True):
        copy = atoms.copy()
        copy.info.update(info)
        copy.calc = SinglePointCalculator(copy, energy=energy)
        labelled.append(copy)
    text = io.StringIO()
    ase.io.write(text, labelled, format="extxyz")
    write_text(path, text.getvalue())


def plain(value: Any) -> Any:
    """Values as JSON knows them; what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return _finite(value) if isinstance(value, float) else value


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
