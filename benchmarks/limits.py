"""What limits the accuracy of a linear model on these labels: the number of paths, or the form of the model?

    python benchmarks/limits.py REFERENCE_DIRECTORY FEATURES --cache DIR [--parts part00 ...] [--out DIR]

Two studies. Errors on the paths that were trained on and on held-out ones, against the number of training
paths, with our features (stores in FEATURES/stores, as for reproduce.py). And POD, whose derivatives LAMMPS
has, fitted to energies and to all components of the forces, some 350,000 numbers for 472 weights: the error
that is left there is no lack of data. DIR keeps the sums over the forces, and features as for peers.py. Needs
`pip install '.[benchmark]'`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms
from common import RESULTS, machine, machine_line, read_frames, table, write_atomically, write_results
from error_tables import error_table, errors, held_out_table, property_table
from peer_features import pod, pod_forces
from peer_fits import PENALTIES, Ridge, Sets, Sums, linear
from peers import FILES, STEPS, Peer, read_sets

from atomscatter.resampling import path_folds
from service.demo_data import LABELS_NOTE, PARENTS_NOTE
from service.feature_store import FeatureStore
from service.path_steps import rows_of_steps
from service.training import FitSettings, TrainingData, training_data
from workers.train import sort_by_path

LEADING = {"weight of forces": "weight"}
POD = (5.0, (8, 6, 4), (5, 3))
WITH_FORCES = (0, 4, 10, 19)  # of the STEPS of each path: from hot to relaxed
WEIGHTS = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0)
N_PATHS = (74, 148, 222, 296)
COLUMNS = ("n_paths", "train_rmse", "test_rmse", "train_std", "test_std", "penalty")  # of their table


# --------------------------------------------------------------------------- number of paths


def paths_study(data: TrainingData) -> list[list[float]]:
    """Rows: number of training paths; RMSE on the structures trained on and on held-out paths, eV/atom, and
    the standard deviations of both over the folds; the penalty, that with the lowest error on held-out paths.
    """
    order, offsets, compositions = sort_by_path(data, 0)
    fold_of_path = path_folds(compositions, FitSettings.folds, FitSettings.seed)
    path = np.repeat(np.arange(len(compositions)), np.diff(offsets))
    X, y = data.features[order], data.energies[order]
    spread = X.std(axis=0)
    X = X[:, spread > 1e-10 * np.abs(X).max(axis=0)]
    U, Z = np.ones((len(X), 1)), (X - X.mean(axis=0)) / X.std(axis=0)
    found = []
    for n_paths in N_PATHS:
        of_folds = []  # by fold, the errors on both for each penalty
        for fold in range(FitSettings.folds):
            others = np.random.default_rng(fold).permutation(np.flatnonzero(fold_of_path != fold))
            train, test = np.isin(path, others[:n_paths]), fold_of_path[path] == fold
            u, w = Sums.of(U[train], Z[train], y[train]).solve(PENALTIES)
            error = U @ u + Z @ w - y[:, None]
            of_folds.append([np.sqrt(np.mean(error[rows] ** 2, axis=0)) for rows in (train, test)])
        mean, std = np.mean(of_folds, axis=0), np.std(of_folds, axis=0)
        best = np.nanargmin(mean[1])
        found.append([n_paths, *mean[:, best], *std[:, best], PENALTIES[best]])
        print(*found[-1], flush=True)
    return found


# --------------------------------------------------------------------------- all forces


@dataclass(frozen=True)
class Forces:
    """Sums over the force components of each path and step, for F = D w; rows for :class:`peer_fits.Ridge`.

    Attributes:
        DD, DF, FF, n: D^T D, D^T F, F^T F and the number of components, by path and step.
        fold: test fold of each path.
        weight: an error of 1 eV/Angstrom counts as one of ``weight`` eV/atom, both as root mean squares.
    """

    DD: np.ndarray
    DF: np.ndarray
    FF: np.ndarray
    n: np.ndarray
    fold: np.ndarray
    weight: float = 0.0

    def sums(
        self, columns: np.ndarray, scale: np.ndarray, fold: int, n_energies: int, n_unpenalised: int
    ) -> Sums:
        """Of a fold; what is not penalised depends on composition and has no forces."""
        rows = self.fold == fold
        part = self.weight**2 * n_energies / self.n[rows].sum()
        ZZ = self.DD[rows].sum(axis=(0, 1), dtype=np.float64)[np.ix_(columns, columns)]
        ZF = self.DF[rows].sum(axis=(0, 1))[columns]
        return Sums(
            0,
            np.zeros((n_unpenalised, n_unpenalised)),
            np.zeros((n_unpenalised, len(columns))),
            ZZ * np.outer(scale, scale) * part,
            np.zeros(n_unpenalised),
            ZF * scale * part,
        )

    def rmse(self, weights: np.ndarray, *, held_out: bool) -> np.ndarray:
        """Of the components at each step, eV/Angstrom, on the paths that a fold tests or on the others.

        ``weights`` are those of each fold, shape (n_folds, d).
        """
        squares, n = np.zeros(self.n.shape[1]), np.zeros(self.n.shape[1])
        for fold, w in enumerate(weights):
            rows = (self.fold == fold) == held_out
            DD = self.DD[rows].sum(axis=0, dtype=np.float64)
            squares += w @ DD @ w - 2 * self.DF[rows].sum(axis=0) @ w + self.FF[rows].sum(axis=0)
            n += self.n[rows].sum(axis=0)
        return np.sqrt(squares / n)

    @property
    def size(self) -> np.ndarray:
        """Root mean square of the components at each step, eV/Angstrom."""
        return np.sqrt(self.FF.sum(axis=0) / self.n.sum(axis=0))


def forces_of(frames: list[Atoms], cache: Path) -> dict[str, np.ndarray]:
    """Sums for :class:`Forces`, computed once."""
    file = cache / f"{pod(*POD).name}--forces-{'.'.join(map(str, WITH_FORCES))}.npz"
    if not file.exists():
        matrix, found = pod_forces(*POD), []
        for first in range(0, len(frames), STEPS):
            for step in WITH_FORCES:
                atoms = frames[first + step]
                D, F = matrix(atoms), atoms.get_forces().ravel()
                found.append(((D.T @ D).astype(np.float32), D.T @ F, F @ F, len(F)))
            if first % (37 * STEPS) == 0:
                print(f"forces of path {first // STEPS}", flush=True)
        sums = {
            name: np.stack(part).reshape(-1, len(WITH_FORCES), *np.shape(part[0]))
            for name, part in zip(("DD", "DF", "FF", "n"), zip(*found, strict=True), strict=True)
        }
        write_atomically(file, partial(np.savez, **sums))
    with np.load(file, allow_pickle=False) as stored:
        return dict(stored)


def forces_study(reference: Path, steps: int, cache: Path) -> tuple[list[dict], Forces]:
    """A row of errors for each weight of the forces."""
    sets = read_sets(reference)
    rows = rows_of_steps([s.path_id for s in sets["paths"]], steps)
    features = Peer(pod(*POD), "ridge").features(sets, rows, cache)
    chosen = Sets.deal(
        {**sets, "paths": [sets["paths"][i] for i in rows]}, FitSettings.folds, FitSettings.seed
    )
    fold = np.array([chosen.fold_of_path[s.path_id] for s in sets["paths"][::STEPS]])
    sums, found = forces_of(read_frames(reference / FILES["paths"]), cache), []
    y = chosen.energies("paths")
    for weight in WEIGHTS:
        forces = Forces(**sums, fold=fold, weight=weight)
        ridge = Ridge(others=forces if weight else None)
        weights, intercepts, _ = ridge.fit(chosen, features["paths"])
        predicted = linear(chosen, features, weights, intercepts)
        train = chosen.fold != np.arange(FitSettings.folds)[:, None]
        error = (predicted["paths"] - y)[train]
        found.append(
            {
                "weight": weight,
                "train_rmse": float(np.sqrt(np.mean(error**2))),
                "force_rmse": forces.rmse(weights, held_out=True).tolist(),
                "train_force_rmse": forces.rmse(weights, held_out=False).tolist(),
                **errors(chosen, predicted),
            }
        )
        print(weight, found[-1]["train_rmse"], found[-1]["force_rmse"], flush=True)
    return found, forces


# --------------------------------------------------------------------------- page


def page(curve, rows, sizes, about, n_structures: int, steps: int) -> str:
    of_paths = table(
        ["training paths", "trained on", "held out", "penalty"],
        [
            [n, *(f"{1000 * rmse:.1f} ± {1000 * std:.1f}" for rmse, std in ((a, c), (b, d))), penalty]
            for n, a, b, c, d, penalty in curve
        ],
    )
    stages = [f"step {step}: {size:.3f}" for step, size in zip(WITH_FORCES, sizes, strict=True)]
    of_forces = table(
        ["weight", "energies (meV/atom)", *stages],
        [
            [
                row["weight"],
                f"{1000 * row['train_rmse']:.1f} / {row['energies'][0]['rmse_mean']:.1f}",
                *(
                    f"{a:.3f} / {b:.3f}"
                    for a, b in zip(row["train_force_rmse"], row["force_rmse"], strict=True)
                ),
            ]
            for row in rows
        ],
    )
    return f"""# What limits the accuracy

{machine_line(about)}
{PARENTS_NOTE} {LABELS_NOTE}

## The number of paths

Ridge regression with our features, {n_structures} structures of the relaxation paths; mean over the folds.
RMSE, meV/atom, ± standard deviation over the folds. The penalty (of columns with unit variance, per
structure) is the one of {len(PENALTIES)} with the lowest error on held-out paths: a smaller one follows the
structures trained on better, and held-out ones worse.

{of_paths}

## The form of the model

POD with ridge regression, energies of {steps} steps of each path and all force components of steps
{", ".join(map(str, WITH_FORCES))} of its {STEPS}. Weight: an error of 1 eV/Å counts as that many eV/atom; the
penalty is the best for energies. RMSE on paths trained on / held out: of energies, meV/atom, and of forces at
each step, eV/Å, whose own root mean square is in the header.

{of_forces}

Errors of forces are the same on both: data do not limit them. With any weight, the forces on relaxed
structures (the last step) come out many times as large as they are, and weights that make them smaller make
energies worse, on the structures trained on, too: a sum of such descriptors cannot follow these labels, a
neural network's, in both.

RMSE, meV/atom

{error_table(rows, "rmse", LEADING)}

RMSE with parents held out, meV/atom

{held_out_table(rows, LEADING)}

Properties

{property_table(rows, LEADING)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reference", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--parts", nargs="+", default=["part00", "part08", "part16", "part24"])
    parser.add_argument("--steps", type=int, default=4, help="of each path, for energies")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    given.cache.mkdir(parents=True, exist_ok=True)
    stores = [given.features / "stores" / part for part in given.parts]
    data = training_data([FeatureStore.open(store, check=False) for store in stores])
    curve = paths_study(data)
    rows, forces = forces_study(given.reference, given.steps, given.cache)
    about = machine("lammps", "numba")
    results = {
        "machine": about,
        "parts": given.parts,
        "paths": [dict(zip(COLUMNS, row, strict=True)) for row in curve],
        "force_size": forces.size.tolist(),
        "forces": rows,
    }
    text = page(curve, rows, forces.size, about, len(data.energies), given.steps)
    write_results("limits", text, results, given.out)


if __name__ == "__main__":
    main()
