"""Error of the default grid on small cells: the table from which the tests read their tolerances.

    python benchmarks/small_cell_errors.py [--structures 300] [--out DIR]

Small cells are the worst for a grid: few points to average over, and a species with one atom is a crystal in
its channel, whose symmetry repeats every point. Largest, 99th percentile and median relative error of the
features of the package's default grid against a much finer one, by order and power; kept apart are structures
with at least two atoms of each species ("random") and all others ("crystal": also rocksalt, diamond and
zincblende). tests/atomscatter/tolerances.py takes the largest errors of results/small_cell_errors.json.
"""

import argparse
from itertools import cycle
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk
from common import RESULTS, machine, machine_line, table, write_results
from grid_convergence import FINE, STATISTICS, feature_errors, scattering_like, too_large

from atomscatter.scattering import Scattering
from tests.atomscatter.test_scattering_reference import CASES, structure

WIDTHS = ((0.36, 3), (0.45, 2), (0.5, 2), (0.55, 2), (0.9, 1))  # beta in Angstrom, scales
LENGTHS = (4.2, 6.3)  # of the cell vectors, Angstrom
SKEW = 0.25
APART = 1.1  # least distance of two atoms, Angstrom
CASE_SEEDS = range(100, 110)  # of the structures in the cells of the tests, which have another seed
CRYSTALS = (
    (bulk("NaCl", "rocksalt", a=5.64), 0.4, 1),
    (bulk("NaCl", "rocksalt", a=5.64), 0.5, 2),
    (bulk("Si", "diamond", a=5.43), 0.5, 2),
    (bulk("LiAl", "zincblende", a=6.37), 0.5, 2),
)


def small_cell(rng):
    """Cubic, orthorhombic or triclinic, each as often."""
    lengths = rng.uniform(*LENGTHS, 3)
    skew = np.eye(3) + np.tril(rng.uniform(-SKEW, SKEW, (3, 3)), -1)
    return (np.diag(lengths[[0, 0, 0]]), np.diag(lengths), np.diag(lengths) @ skew)[rng.integers(3)]


def small_structure(rng):
    """Two to seven lithium and silicon atoms in a small cell, no two closer than APART."""
    n_atoms, cell = int(rng.integers(2, 8)), small_cell(rng)
    while True:
        atoms = Atoms(rng.choice(["Li", "Si"], n_atoms), cell=cell, pbc=True)
        atoms.set_scaled_positions(rng.random((n_atoms, 3)))
        if atoms.get_all_distances(mic=True)[np.triu_indices(n_atoms, 1)].min() > APART:
            return atoms


def kind(atoms):
    """One atom of a species, or a primitive cell, is a crystal."""
    counts = np.unique(atoms.numbers, return_counts=True)[1]
    return "random" if counts.min() >= 2 and len(atoms) > 2 else "crystal"


def cases(count):
    """(kind, atoms, beta, scales): crystals, cells of the tests, ``count`` random structures."""
    for atoms, beta, scales in CRYSTALS:
        yield "crystal", atoms, beta, scales
    for formula, cell, _, beta, scales in CASES.values():
        for seed in CASE_SEEDS:
            atoms = structure(formula, cell, seed)
            yield kind(atoms), atoms, beta, scales
    for seed, (beta, scales) in zip(range(count), cycle(WIDTHS), strict=False):
        atoms = small_structure(np.random.default_rng(seed))
        yield kind(atoms), atoms, beta, scales


def worst(records):
    """{order and power: [largest, largest 99th percentile, median of medians]} over the structures."""
    keys = records[0]
    pooled = {key: np.array([r[key] for r in records]) for key in keys}
    return {
        k: [float(v[:, 0].max()), float(v[:, 1].max()), float(np.median(v[:, 2]))] for k, v in pooled.items()
    }


def study(count):
    errors = {"random": [], "crystal": []}
    for name, atoms, beta, scales in cases(count):
        # Double: the errors are to be the grid's.
        scattering = Scattering.for_species(
            sorted(set(atoms.symbols)), beta=beta, scales=scales, precision="double", products=None
        )
        features = scattering.features(atoms)[None]
        exact = scattering_like(scattering, FINE).features(atoms)[None]
        excluded = too_large(scattering, atoms)[None]
        errors[name].append(feature_errors(scattering.labels, features, exact, excluded))
    return errors


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--structures", type=int, default=300)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    errors = study(options.structures)
    about = machine("numba", "pyFFTW", "ducc0")
    summary = {name: worst(records) for name, records in errors.items()}
    keys = list(summary["random"])
    sections = []
    for index, statistic in enumerate(STATISTICS):
        rows = [
            [f"{name} ({len(errors[name])})", *(f"{summary[name][k][index]:.1e}" for k in keys)]
            for name in summary
        ]
        sections.append(f"## {statistic}\n\n{table(['structures', *keys], rows)}")
    newline = "\n\n"
    markdown = f"""# Errors of the default grid in small cells

{machine_line(about)}

Cubic, orthorhombic and triclinic cells with vectors of {LENGTHS[0]} to {LENGTHS[1]} A, 2 to 7 atoms,
(beta in A, scales): {WIDTHS};
and those of tests/atomscatter/test_scattering_reference.py. Relative error of the features against the grid
`{FINE.to_dict()}`;
features whose scale is too large for the cell are left out, as in grid_convergence.md. Percentiles are over
the features of a structure and the largest over the structures; the median is the median structure's.

{newline.join(sections)}
"""
    write_results("small_cell_errors", markdown, {"machine": about, "errors": summary}, options.out)
    print(markdown)


if __name__ == "__main__":
    main()
