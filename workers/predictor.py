"""What runs inside a prediction process: models by directory, and the functions that use them."""

from __future__ import annotations

import math
import os
import signal
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from atomscatter.arrays import FloatArray
from atomscatter.ensemble import Ensemble, Prediction
from atomscatter.errors import StructureError
from atomscatter.radial import radial_distribution
from atomscatter.structures import check_atoms
from service.reading import LabelledStructure
from service.uploads import read_upload

if TYPE_CHECKING:
    from atomscatter.scattering import Scattering

MAX_MODELS = 2  # kept in memory: the active one, and the one before or after it

PlainStructure = tuple[NDArray[np.int_], FloatArray, FloatArray]
"""Atomic numbers, positions (Angstrom), cell (Angstrom) of a periodic structure."""


class _Loaded(NamedTuple):
    ensemble: Ensemble
    scattering: Scattering  # the ensemble's, with smaller grids at most

    def predict(self, atoms: Atoms) -> Prediction:
        features = self.scattering.features(atoms, only=self.ensemble.needed)
        return self.ensemble.prediction(atoms, features)


_models: OrderedDict[tuple[str, int], _Loaded] = OrderedDict()


def start(parent: int) -> None:
    """To be called once in a new process: one thread, and no life after the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides when its processes end
    # Loaded here, because the limit holds only for libraries that are there already.
    import scipy.spatial  # noqa: F401

    import atomscatter.scattering  # noqa: F401

    threadpool_limits(1)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def plain(atoms: Atoms) -> PlainStructure:
    """What is sent to a prediction process: arrays only."""
    return atoms.numbers, atoms.positions, atoms.cell.array


def load(model: str, max_points: int) -> str:
    """Load a model and compile the kernels; its id."""
    loaded = _loaded(model, max_points)
    loaded.scattering.features(Atoms(loaded.scattering.species[0], cell=[3, 3, 3], pbc=True))
    return loaded.ensemble.model_id


def predict(
    model: str, max_points: int, structures: Sequence[PlainStructure]
) -> list[Prediction | StructureError]:
    """Predictions in the order of the structures; in place of one, why there is none.

    Args:
        model: directory of the model.
        max_points: largest grid, which bounds the memory of a structure.
        structures: as :func:`plain` makes them.
    """
    loaded = _loaded(model, max_points)
    answers: list[Prediction | StructureError] = []
    for numbers, positions, cell in structures:
        try:
            prediction = loaded.predict(Atoms(numbers, positions=positions, cell=cell, pbc=True))
            if not math.isfinite(prediction.energy + prediction.uncertainty):
                raise StructureError("is so unlike the training data that its energy is not a number")
            answers.append(prediction)
        except StructureError as error:
            answers.append(error)
        except MemoryError:
            answers.append(StructureError("needs more memory than there is"))
    return answers


def check(model: str, max_points: int, structures: Sequence[PlainStructure]) -> list[StructureError | None]:
    """What is wrong with each structure; arguments as of :func:`predict`."""
    species = _loaded(model, max_points).scattering.species
    answers: list[StructureError | None] = []
    for numbers, positions, cell in structures:
        try:
            check_atoms(Atoms(numbers, positions=positions, cell=cell, pbc=True), species=species)
            answers.append(None)
        except StructureError as error:
            answers.append(error)
    return answers


def read(
    name: str, content: bytes, directory: Path, max_structures: int, max_atoms: int
) -> list[LabelledStructure]:
    """:func:`service.uploads.read_upload`, here because a parser may hang or die.

    All temporary files are made in ``directory``. The caller removes it: a process that is killed does not.
    """
    tempfile.tempdir = str(directory)
    try:
        return read_upload(name, content, max_structures=max_structures, max_atoms=max_atoms)
    finally:
        tempfile.tempdir = None


def radial(
    structure: PlainStructure, cutoff: float, width: float
) -> tuple[FloatArray, dict[tuple[str, str], FloatArray]]:
    """:func:`atomscatter.radial.radial_distribution` of a structure that is checked here."""
    numbers, positions, cell = structure
    atoms = Atoms(numbers, positions=positions, cell=cell, pbc=True)
    check_atoms(atoms)
    return radial_distribution(atoms, cutoff=cutoff, width=width)


def _loaded(model: str, max_points: int) -> _Loaded:
    from atomscatter.scattering import Scattering  # as in start

    key = (model, max_points)
    if key not in _models:
        ensemble = Ensemble.load(model)
        config = ensemble.scattering.config
        config["grid"]["max_points"] = min(max_points, config["grid"]["max_points"])
        _models[key] = _Loaded(ensemble, Scattering.from_config(config))
        while len(_models) > MAX_MODELS:
            _models.popitem(last=False)
    _models.move_to_end(key)
    return _models[key]
