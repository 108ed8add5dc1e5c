"""ASE calculator: energies for scripts that are written for any other calculator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from atomscatter.client import Client
from atomscatter.ensemble import Ensemble
from atomscatter.errors import ConfigError


class ScatteringCalculator(Calculator):
    """Energies of a trained ensemble, on this machine or of a running service, as an ASE calculator.

    ``results`` holds ``energy`` (eV, of the cell), and what belongs to it: ``uncertainty`` (eV/atom, standard
    deviation over the models), ``energies_by_fold`` (eV, of the cell, shape (n_folds,)),
    ``extrapolating`` and ``extrapolation_score``. There are no forces and no stress: asking for them raises
    ``ase.calculators.calculator.PropertyNotImplementedError``.

    Args:
        model: directory of a model, or an ensemble.
        url: of a service, in place of a model; or a :class:`atomscatter.client.Client`, which can hold a key.
        kwargs: those of ASE's Calculator.

    Raises:
        ConfigError: there is not exactly one of model and url.
        ServiceError: (by get_potential_energy) the service refused or cannot be reached.
        ModelError: there is no valid model in the directory.
        StructureError: (by get_potential_energy) the structure cannot be featurized.
    """

    implemented_properties = ["energy"]  # noqa: RUF012 - as ASE declares it

    def __init__(
        self, model: str | Path | Ensemble | None = None, *, url: str | Client | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self._predictor: Ensemble | Client
        if url is not None and model is None:
            self._predictor = Client(url) if isinstance(url, str) else url
        elif model is not None and url is None:
            self._predictor = model if isinstance(model, Ensemble) else Ensemble.load(model)
        else:
            raise ConfigError("a calculator needs a model or the url of a service, and not both")

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Predict; called by ASE when the structure has changed."""
        super().calculate(atoms, properties or ["energy"], system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None, "set by ASE"
        found = self._predictor.predict(self.atoms)
        self.results = {
            "energy": found.energy,
            "uncertainty": found.uncertainty,
            "energies_by_fold": [e * found.n_atoms for e in found.energy_per_atom_by_fold],
            "extrapolating": found.extrapolating,
            "extrapolation_score": found.extrapolation_score,
        }
