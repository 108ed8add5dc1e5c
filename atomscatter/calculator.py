"""ASE calculator: energies for scripts that are written for any other calculator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from atomscatter.client import Client
from atomscatter.ensemble import Ensemble, Prediction
from atomscatter.errors import ConfigError


class ScatteringCalculator(Calculator):
    """Energies of a trained ensemble, on this machine or of a running service, as an ASE calculator.

    The energy (eV, of the cell) is also the free energy. What else belongs to it, above all its uncertainty,
    is :attr:`prediction`. There are no forces and no stress: asking for them raises
    ``ase.calculators.calculator.PropertyNotImplementedError``;
    ``ase.calculators.fd.FiniteDifferenceCalculator`` makes them from energies, with ``eps_disp=0.01``
    (Angstrom) and ``eps_strain=0.001``: fields of single precision make the quotients of much smaller steps
    noise.

    Args:
        model: directory of a model, or an ensemble.
        url: of a service, in place of a model; or a :class:`atomscatter.client.Client`, which can hold a key.
        kwargs: those of ASE's Calculator.

    Attributes:
        prediction: the last prediction (:class:`atomscatter.ensemble.Prediction`); None before the first.

    Raises:
        ConfigError: there is not exactly one of model and url.
        ServiceError: (by get_potential_energy) the service refused or cannot be reached.
        ModelError: there is no valid model in the directory.
        StructureError: (by get_potential_energy) the structure cannot be featurized.
    """

    implemented_properties = ["energy", "free_energy"]  # noqa: RUF012 - as ASE declares it

    def __init__(
        self, model: str | Path | Ensemble | None = None, *, url: str | Client | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.prediction: Prediction | None = None
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
        self.prediction = self._predictor.predict(self.atoms)
        self.results = dict.fromkeys(self.implemented_properties, self.prediction.energy)
