"""The averaged linear model: many sparse models, their mean and their spread (section II C of the paper).

The prediction for a structure with features phi is the mean over the models of

    E(w) = w_0 + sum_j w_j phi_j        (eV/atom, equation (2))

and the standard deviation over the models is given as its uncertainty.

A stored model is a directory with its arrays (never pickled objects) and its card, see
:mod:`atomscatter.model_files`. The model id is a hash of the arrays, the scattering configuration, the
reference energies and the hash of the training data; it is checked when a model is loaded.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from atomscatter.arrays import FloatArray, IntArray
from atomscatter.errors import ConfigError, ModelError
from atomscatter.extrapolation import ExtrapolationModel
from atomscatter.model_files import (
    CARD_FILE,
    FORMAT_VERSION,
    WEIGHTS_FILE,
    read_arrays,
    read_card,
    write_model,
)
from atomscatter.needed import Needed, needed

if TYPE_CHECKING:
    from atomscatter.scattering import Scattering


_EXTRAPOLATION_PREFIX = "extrapolation_"
_MODEL_KINDS = {"weights": "f", "bias": "f", "fold": "i", "n_selected": "i"}


@dataclass(frozen=True)
class Prediction:
    """What the ensemble says about one structure."""

    n_atoms: int
    energy: float
    """Total energy of the cell, eV."""
    energy_per_atom: float
    """eV/atom."""
    formation_energy_per_atom: float | None
    """eV/atom relative to the elements; None when the model does not know the reference energy of each
    element."""
    uncertainty: float
    """Standard deviation over the models, eV/atom."""
    extrapolating: bool
    """Whether the structure lies outside the training data (score above 1)."""
    extrapolation_score: float
    """See :mod:`atomscatter.extrapolation`."""
    model: str
    """Id of the model."""
    energy_per_atom_by_fold: tuple[float, ...] = ()
    """Energy by the averaged model of each fold, eV/atom: what spreads of properties are made from."""


@dataclass(frozen=True, eq=False, repr=False)
class Ensemble:
    """Sparse linear models of the energy per atom, to be averaged.

    ``card`` holds what else is known about the training (seeds, errors, hardware ...), as JSON values; it
    does not enter the model id. Raises ModelError when shapes do not belong together or a number is not
    finite.
    """

    weights: FloatArray
    """Shape (n_models, n_features), eV/atom per unit of the feature; 0 where a model does not use a
    feature."""
    bias: FloatArray
    """Shape (n_models,), eV/atom."""
    fold: IntArray
    """Test fold of each model, shape (n_models,)."""
    n_selected: IntArray
    """Features of each model, bias included, shape (n_models,)."""
    scattering_config: dict[str, Any]
    """Configuration of the transform, as in ``Scattering.config``."""
    extrapolation: ExtrapolationModel
    data_hash: str
    """Hash of the training data."""
    reference_energies: dict[str, float] | None = None
    """Energy of each element in its reference state, eV/atom."""
    card: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.weights.ndim != 2 or len(self.weights) == 0:
            raise ModelError(f"weights must have shape (n_models, n_features), not {self.weights.shape}")
        for name in ("bias", "fold", "n_selected"):
            shape = getattr(self, name).shape
            if shape != self.weights.shape[:1]:
                raise ModelError(f"{name} has shape {shape} for {len(self.weights)} models")
        if not (np.isfinite(self.weights).all() and np.isfinite(self.bias).all()):
            raise ModelError("a weight is not finite")
        columns = self.extrapolation.columns
        if len(columns) and not 0 <= columns.min() <= columns.max() < self.n_features:
            raise ModelError("the extrapolation model uses a feature that the weights do not have")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.model_id}: {self.n_models} models, {self.n_features} features>"

    @property
    def n_models(self) -> int:
        """Number of models that are averaged."""
        return len(self.weights)

    @property
    def n_features(self) -> int:
        """Number of features of a structure."""
        return int(self.weights.shape[1])

    @cached_property
    def model_id(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of arrays, configuration, reference energies and data
        hash."""
        digest = hashlib.sha256()
        for name, array in sorted(self._arrays().items()):
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(_canonical(self._identity()).encode())
        return digest.hexdigest()[:16]

    @cached_property
    def scattering(self) -> Scattering:
        """The transform that made the features. Raises ModelError when its configuration is not
        understood."""
        # Only here: compiled kernels and FFTs take a second to load, and a model is often only looked at.
        from atomscatter.scattering import Scattering

        try:
            scattering = Scattering.from_config(self.scattering_config)
        except ConfigError as error:
            raise ModelError(f"model {self.model_id}: {error}") from error
        if scattering.n_features != self.n_features:
            raise ModelError(
                f"model {self.model_id} has weights for {self.n_features} features, its scattering "
                f"configuration gives {scattering.n_features}"
            )
        return scattering

    @cached_property
    def needed(self) -> Needed:
        """What the transform has to compute for a prediction: features to which a model gives a weight."""
        return needed(self.scattering.labels, np.flatnonzero(self.weights.any(axis=0)))

    def predict_features(self, features: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and standard deviation over the models, each shape (n,), eV/atom.

        ``features`` has shape (n, n_features). Raises ModelError for another number of features.
        """
        energies = self._model_energies(features)
        with np.errstate(over="ignore", invalid="ignore"):
            return energies.mean(axis=0), energies.std(axis=0)

    def fold_predictions(self, features: FloatArray) -> FloatArray:
        """Mean over the models of each fold, shape (n_folds, n), eV/atom, folds in ascending order."""
        energies = self._model_energies(features)
        return np.stack([energies[self.fold == f].mean(axis=0) for f in np.unique(self.fold)])

    def formation_energy(self, atoms: Atoms, energy_per_atom: float) -> float | None:
        """Energy relative to the elements, eV/atom; None without the reference energy of each element."""
        symbols = atoms.get_chemical_symbols()
        references = self.reference_energies
        if references is None or not set(symbols) <= set(references):
            return None
        return energy_per_atom - sum(references[s] for s in symbols) / len(symbols)

    def predict(self, atoms: Atoms) -> Prediction:
        """Predict one periodic structure.

        Raises StructureError when the structure cannot be featurized or holds an element that the model never
        saw.
        """
        return self.prediction(atoms, self.scattering.features(atoms, only=self.needed))

    def prediction(self, atoms: Atoms, features: FloatArray) -> Prediction:
        """The prediction for a structure whose features, shape (n_features,), are known."""
        rows = features[None]
        mean, spread = self.predict_features(rows)
        score = float(self.extrapolation.scores(rows)[0])
        per_atom = float(mean[0])
        return Prediction(
            n_atoms=len(atoms),
            energy=per_atom * len(atoms),
            energy_per_atom=per_atom,
            formation_energy_per_atom=self.formation_energy(atoms, per_atom),
            uncertainty=float(spread[0]),
            extrapolating=score > 1.0,
            extrapolation_score=score,
            model=self.model_id,
            energy_per_atom_by_fold=tuple(self.fold_predictions(rows)[:, 0].tolist()),
        )

    def save(self, directory: str | Path) -> None:
        """Write the model to a directory (:func:`atomscatter.model_files.write_model`).

        It is written as a whole or not at all, the same bytes for the same ensemble, in place of a model that
        is there. Raises ModelError when the directory holds something else.
        """
        card = {
            "model_id": self.model_id,
            **self._identity(),
            "scattering_hash": _hash(self.scattering_config),
            "training": self.card,
        }
        write_model(directory, self._arrays(), card)

    @classmethod
    def load(cls, directory: str | Path) -> Ensemble:
        """Read a stored model.

        Raises ModelError, naming the file, when one is missing, truncated or edited, or of an unknown format
        version.
        """
        folder = Path(directory)
        if not folder.is_dir():
            raise ModelError(f"{folder} is not a model directory")
        card = read_card(folder / CARD_FILE)
        arrays = read_arrays(folder / WEIGHTS_FILE)
        ensemble = _assemble(cls, arrays, card, folder)
        if ensemble.model_id != card["model_id"]:
            raise ModelError(
                f"{folder / WEIGHTS_FILE} does not belong to {folder / CARD_FILE}: the contents have the "
                f"model id {ensemble.model_id}, the card says {card['model_id']}; one of the two was changed"
            )
        return ensemble

    def _model_energies(self, features: FloatArray) -> FloatArray:
        """Energies of each model, shape (n_models, n), eV/atom."""
        features = np.asarray(features, dtype=np.float64)
        if features.ndim != 2 or features.shape[1] != self.n_features:
            raise ModelError(
                f"features of shape {features.shape} do not fit a model of {self.n_features} features"
            )
        # Features far outside the training set may overflow; such structures are flagged as extrapolating.
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(self.weights @ features.T + self.bias[:, None])

    def _arrays(self) -> dict[str, np.ndarray]:
        arrays = {name: getattr(self, name) for name in _MODEL_KINDS}
        return arrays | {_EXTRAPOLATION_PREFIX + k: v for k, v in self.extrapolation.arrays().items()}

    def _identity(self) -> dict[str, Any]:
        """The part of the card that enters the model id."""
        return {
            "format_version": FORMAT_VERSION,
            "data_hash": self.data_hash,
            "scattering": self.scattering_config,
            "reference_energies": self.reference_energies,
        }


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _hash(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(config).encode()).hexdigest()


def _assemble(
    kind: type[Ensemble], arrays: dict[str, np.ndarray], card: dict[str, Any], folder: Path
) -> Ensemble:
    weights_file = folder / WEIGHTS_FILE
    for name, letter in _MODEL_KINDS.items():
        if name not in arrays or arrays[name].dtype.kind != letter:
            raise ModelError(f"{weights_file}: array {name} is missing or of the wrong type")
    prefix = len(_EXTRAPOLATION_PREFIX)
    found = {k[prefix:]: v for k, v in arrays.items() if k.startswith(_EXTRAPOLATION_PREFIX)}
    try:
        return kind(
            **{name: arrays[name] for name in _MODEL_KINDS},
            scattering_config=card["scattering"],
            extrapolation=ExtrapolationModel.from_arrays(found),
            data_hash=card["data_hash"],
            reference_energies=_references(card.get("reference_energies"), folder / CARD_FILE),
            card=card["training"],
        )
    except KeyError as error:
        raise ModelError(
            f"{weights_file}: array {_EXTRAPOLATION_PREFIX}{error.args[0]} is missing"
        ) from error
    except ValueError as error:
        raise ModelError(f"{weights_file}: {error}") from error
    except ModelError as error:
        if str(folder) in str(error):
            raise
        raise ModelError(f"{weights_file}: {error}") from error


def _references(value: Any, path: Path) -> dict[str, float] | None:
    if value is None:
        return None
    if isinstance(value, dict):
        with contextlib.suppress(TypeError, ValueError):
            return {str(k): float(v) for k, v in value.items()}
    raise ModelError(f"{path}: reference_energies must map elements to energies in eV/atom")
