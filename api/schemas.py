"""Bodies of requests and answers; names follow OPTIMADE, units are in the descriptions."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from ase import Atoms
from fastapi import File, UploadFile
from pydantic import BaseModel, Field, FiniteFloat

from api import examples
from atomscatter.channels import atomic_number
from atomscatter.ensemble import Prediction
from atomscatter.errors import ConfigError
from service.job_parameters import Element
from service.strict import Strict as Body

# The first bad entry of a list ends its check: a request could have millions of them.
Vector = Annotated[list[FiniteFloat], Field(min_length=3, max_length=3, fail_fast=True)]

LARGEST_SCORE = 1e9
"""Infinity is no JSON number: larger extrapolation scores are given as this."""


class Structure(Body):
    """A structure, periodic in three directions."""

    lattice_vectors: Annotated[list[Vector], Field(min_length=3, max_length=3)] = Field(
        description="Three cell vectors, Angstrom.", fail_fast=True
    )
    cartesian_site_positions: list[Vector] = Field(
        min_length=1, description="Position of each atom, Angstrom, inside the cell or not.", fail_fast=True
    )
    species_at_sites: list[Annotated[str, Field(max_length=3)]] = Field(
        min_length=1, description="Chemical symbol of each atom.", fail_fast=True
    )

    def problem(self) -> tuple[str, str] | None:
        """What keeps it from being made into Atoms: pointer to the field below it, and the reason.

        Not a validator: one structure that cannot be used should not keep the others from being looked at.
        """
        for i, symbol in enumerate(self.species_at_sites):
            try:
                atomic_number(symbol)
            except ConfigError:
                return "/species_at_sites", f"site {i}: {symbol!r} is no chemical element"
        sites, species = len(self.cartesian_site_positions), len(self.species_at_sites)
        if sites != species:
            return "", f"{sites} positions and {species} species; there must be one for each site"
        return None

    @classmethod
    def of(cls, atoms: Atoms) -> Structure:
        """From ASE Atoms."""
        return cls(
            lattice_vectors=atoms.cell.array.tolist(),
            cartesian_site_positions=atoms.positions.tolist(),
            species_at_sites=atoms.get_chemical_symbols(),
        )

    def atoms(self) -> Atoms:
        """As ASE Atoms; only where there is no :meth:`problem`."""
        return Atoms(
            [atomic_number(s) for s in self.species_at_sites],
            positions=np.array(self.cartesian_site_positions, dtype=float),
            cell=np.array(self.lattice_vectors, dtype=float),
            pbc=True,
        )


StructureFile = Annotated[
    UploadFile,
    File(description="Extended XYZ (any number of frames), CIF or POSCAR.", examples=[examples.FILE]),
]
Structures = Annotated[
    list[Structure], Field(min_length=1, max_length=10_000, description="Answered in this order.")
]
ModelId = Annotated[
    str | None,
    Field(pattern="^[0-9a-f]{16}$", description="Id of a stored model. Default: the active one."),
]


class PredictionsRequest(Body):
    """Structures to predict."""

    structures: Structures
    model: ModelId = None


class PredictionOut(BaseModel):
    """Energy of one structure."""

    n_atoms: int
    energy: float = Field(description="Total energy of the cell, eV.")
    energy_per_atom: float = Field(description="eV/atom.")
    formation_energy_per_atom: float | None = Field(
        description="Relative to the elements, eV/atom; null when the model has no reference energies."
    )
    uncertainty: float = Field(description="Standard deviation over the models, eV/atom.")
    extrapolating: bool = Field(description="Whether the structure is unlike the training data (score > 1).")
    extrapolation_score: float = Field(
        description="Distance from the training data, dimensionless; 1e9: any more."
    )
    energy_per_atom_by_fold: list[float] = Field(
        description="By the averaged model of each fold, eV/atom; their spread is that of properties."
    )

    @classmethod
    def of(cls, prediction: Prediction) -> PredictionOut:
        """From the library's prediction."""
        values = {name: getattr(prediction, name) for name in cls.model_fields}
        return cls(**values | {"extrapolation_score": min(prediction.extrapolation_score, LARGEST_SCORE)})


class PredictionsResponse(BaseModel):
    """Predictions in the order of the structures."""

    model: str = Field(description="Id of the model.")
    data_hash: str = Field(description="Hash of the data that the model was trained on.")
    predictions: list[PredictionOut]


class BulkModulusRequest(Body):
    """One structure, which the service strains, or a strain series of one structure."""

    structures: Structures
    strains: list[Annotated[float, Field(ge=-0.3, le=0.3)]] | None = Field(
        None,
        min_length=5,
        max_length=101,
        description="Side-length strains for one structure. Default: -0.05 to 0.05 in steps of 0.01.",
        fail_fast=True,
    )
    model: ModelId = None


class BarrierRequest(Body):
    """Ordered images of one migration path."""

    structures: Structures
    model: ModelId = None


class VoltageRequest(Body):
    """Structures with different contents of the working ion."""

    structures: Structures
    ion: Element = Field("Li", description="Chemical symbol of the working ion.")
    model: ModelId = None


class PointOut(BaseModel):
    """One structure of a series."""

    energy: float = Field(description="Total energy of the cell, eV.")
    uncertainty: float = Field(description="Standard deviation over the models, eV/atom.")
    extrapolating: bool
    extrapolation_score: float


class BulkModulusResponse(BaseModel):
    """Birch-Murnaghan equation of state; spreads are standard deviations over the folds of the ensemble."""

    bulk_modulus: float | None = Field(description="GPa; null where the energies have no minimum.")
    bulk_modulus_spread: float | None = Field(description="GPa.")
    volume: float | None = Field(description="Equilibrium volume of the cell, Angstrom^3.")
    energy: float | None = Field(description="Energy at that volume, eV.")
    reason: str | None = Field(description="Why there is no modulus.")
    volumes: list[float] = Field(description="Angstrom^3, in the order of the curve.")
    curve: list[PointOut]
    model: str


class BarrierResponse(BaseModel):
    """Energies along one migration path."""

    barrier: float = Field(description="Highest minus lowest energy, eV.")
    barrier_spread: float = Field(description="Standard deviation over the folds of the ensemble, eV.")
    forward_barrier: float = Field(description="Highest energy minus that of the first image, eV.")
    forward_barrier_spread: float = Field(description="Standard deviation over the folds, eV.")
    backward_barrier: float = Field(description="Highest energy minus that of the last image, eV.")
    backward_barrier_spread: float = Field(description="Standard deviation over the folds, eV.")
    warning: str | None = Field(
        description="Why the highest image is no saddle point; null where it lies between the ends."
    )
    relative_energies: list[float] = Field(description="Of each image, relative to the first, eV.")
    profile: list[PointOut]
    model: str


class VoltageResponse(BaseModel):
    """Voltage against the metal along the lower convex hull of the formation energies."""

    ion: str
    x: list[float] = Field(description="Working ions per host atom at the corners of the hull.")
    voltage: list[float] = Field(description="Between neighbouring corners, V.")
    voltage_spread: list[float] = Field(description="Standard deviation over the folds, V.")
    structure_x: list[float] = Field(description="Working ions per host atom of each structure.")
    formation_energies: list[float] = Field(description="Of each structure, eV/atom.")
    on_hull: list[bool]
    extrapolating: list[bool]
    model: str


class RadialRequest(Body):
    """One structure and how far to look."""

    structure: Structure
    cutoff: float = Field(8.0, gt=0.5, le=20, description="Largest distance, Angstrom.")
    width: float = Field(0.1, ge=0.01, le=1, description="Width of a bin, Angstrom.")


class RadialPair(BaseModel):
    """g(r) of one pair of elements."""

    elements: list[str] = Field(min_length=2, max_length=2)
    g: list[float] = Field(description="Dimensionless; 1 for an ideal gas.")


class RadialResponse(BaseModel):
    """Radial distribution functions."""

    r: list[float] = Field(description="Centres of the bins, Angstrom.")
    pairs: list[RadialPair]


class Problem(BaseModel):
    """RFC 9457 problem document."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] = Field(
        default_factory=list, description="Fields (JSON pointers) and structures (indices) at fault."
    )
