"""How the cost of the fit grows, and what a model costs with scikit-learn's matching pursuit instead.

    python benchmarks/fit_growth.py [--rows 84000] [--name fit_growth]

Processor seconds per model of every part of the fit: for more structures, columns, features in the model, and
models that share the products of single paths. Then the same fit as a user would write it: for each model the
Gram matrix of its weighted rows (NumPy), the columns by ``sklearn.linear_model.orthogonal_mp_gram``, and the
out-of-bag errors of all sizes from its path of coefficients; alone, and in two processes at once. Few models
of each are measured; each process has one thread. Features are synthetic, those of ``fit_500.py``.
"""

import argparse
import contextlib
import dataclasses
import multiprocessing
import time
from dataclasses import dataclass

import numpy as np
from common import machine, machine_line, table, write_results
from fit_500 import synthetic
from sklearn.linear_model import orthogonal_mp_gram

from atomscatter.gram import weighted_grams, weighted_products
from atomscatter.greedy import greedy_gram
from atomscatter.learning_curves import curve_sizes
from atomscatter.least_squares import seminormal_weights
from atomscatter.resampling import bootstrap_weights, model_rng, path_folds
from atomscatter.selection import SparseModel, number_drawn, squared_errors
from service.training import FitSettings
from workers.train import design_matrix, sort_by_path

PATHS, COLUMNS, COPIES, MAX_FEATURES, BATCH = 370, 3740, 0.1, 1000, 50
PARTS = ("Gram matrix", "choice", "out-of-bag errors", "weights", "test errors")


@dataclass
class Fit:
    """What all models of a fold share: rows sorted by path."""

    X: np.ndarray
    y: np.ndarray
    path_of_row: np.ndarray
    path_fold: np.ndarray
    is_structure: np.ndarray

    @property
    def offsets(self):
        return np.searchsorted(self.path_of_row, np.arange(len(self.path_fold) + 1))

    def every(self, step):
        """Every ``step``-th row."""
        return Fit(
            np.asfortranarray(self.X[::step]),
            self.y[::step],
            self.path_of_row[::step],
            self.path_fold,
            self.is_structure[::step],
        )

    def with_columns(self, n):
        """The last ``n`` columns."""
        return dataclasses.replace(self, X=self.X[:, -n:])

    def rows_of(self, weights):
        """Training rows, out-of-bag and test structures of a model of fold 0."""
        out_of_bag = ((self.path_fold != 0) & (weights == 0))[self.path_of_row] & self.is_structure
        test = (self.path_fold == 0)[self.path_of_row] & self.is_structure
        return [np.flatnonzero(rows) for rows in (weights[self.path_of_row], out_of_bag, test)]


def made(n_rows):
    data = synthetic(n_rows, PATHS, COLUMNS, COPIES)
    order, offsets, compositions = sort_by_path(data, len(data.differences))
    X, _ = design_matrix(data, FitSettings.invariance, order, np.arange(COLUMNS))
    return Fit(
        X,
        np.concatenate([data.energies, np.zeros(len(data.differences))])[order],
        np.repeat(np.arange(len(compositions)), np.diff(offsets)),
        path_folds(compositions, 5, 0),
        order < len(data.features),
    )


class Clock(dict):
    """Processor seconds of each part."""

    @contextlib.contextmanager
    def __call__(self, part):
        began = time.process_time()
        yield
        self[part] = self.get(part, 0.0) + time.process_time() - began

    def per_model(self, n_models):
        return {part: seconds / n_models for part, seconds in self.items()}


def ours(fit, *, max_features=MAX_FEATURES, batch=BATCH, models=2):
    """Seconds per model of each part: what ``workers.fit_worker`` and ``fit_model`` do, one by one."""
    X, y = fit.X, fit.y
    rngs = [model_rng(0, 0, i) for i in range(batch)]
    training = np.flatnonzero(fit.path_fold != 0)
    draws = np.stack([bootstrap_weights(training, len(fit.path_fold), rng) for rng in rngs])
    of_batch, clock = Clock(), Clock()
    with of_batch("Gram matrix"):
        products = weighted_products(X, y, fit.offsets, draws)
        grams = weighted_grams(X, fit.offsets, draws)
    sizes = curve_sizes(min(max_features, X.shape[1]))
    options = {"max_features": max_features, "n_draw": number_drawn(X.shape[1])}
    for i in range(min(models, batch)):
        weights = draws[i][fit.path_of_row].astype(float)
        _, out_of_bag, test = fit.rows_of(draws[i])
        with clock("unpacking"):
            gram = grams[i]
        with clock("choice"):
            total, weight = float(weights @ y**2), float(weights.sum())
            path = greedy_gram(gram, products[i], total, weight=weight, rng=rngs[i], **options)
        with clock("out-of-bag errors"):
            errors = squared_errors(path, X, y, out_of_bag)
        size = int(np.argmin(errors)) + 1
        with clock("weights"):
            corrected = seminormal_weights(path, size, X, y, weights, out_of_bag)
        assert corrected is not None, "the Gram matrix was not accurate enough"
        with clock("test errors"):
            SparseModel(path.order[:size], corrected, errors, False, path).rmse_at(sizes, X, y, test)
    per_model = clock.per_model(min(models, batch))
    return {
        "Gram matrix": of_batch["Gram matrix"] / batch + per_model.pop("unpacking"),
        **per_model,
    }


def yardstick(fit, *, models=1):
    """Seconds per model of each part of the fit as a user would write it."""
    training, clock = np.flatnonzero(fit.path_fold != 0), Clock()
    X = np.ascontiguousarray(fit.X)  # whose rows are copied fast
    for i in range(models):
        draws = bootstrap_weights(training, len(fit.path_fold), model_rng(0, 0, i))
        train, out_of_bag, _ = fit.rows_of(draws)
        with clock("Gram matrix"):
            root = np.sqrt(draws[fit.path_of_row[train]])
            Xw = X[train]
            Xw *= root[:, None]
            gram, products = Xw.T @ Xw, Xw.T @ (root * fit.y[train])
            del Xw
        with clock("choice"):
            norms = np.sqrt(np.diagonal(gram))  # the pursuit expects columns of length one
            gram /= norms
            gram /= norms[:, None]
            path = orthogonal_mp_gram(
                gram, products / norms, n_nonzero_coefs=MAX_FEATURES, return_path=True, copy_Gram=False
            )
        with clock("out-of-bag errors"):
            chosen = np.flatnonzero(path[:, -1])
            predicted = X[np.ix_(out_of_bag, chosen)] @ (path[chosen] / norms[chosen, None])
            np.mean((predicted - fit.y[out_of_bag, None]) ** 2, axis=0)
        print(f"orthogonal_mp_gram: {path.shape[1]} steps", flush=True)
    return clock.per_model(models)


def in_two_processes(run, fit):
    """The mean of what two processes find that work at the same time, so that both share the memory."""
    context = multiprocessing.get_context("fork")
    with context.Pool(2, initializer=_keep, initargs=(fit,)) as pool:
        found = pool.map(_run_kept, [run, run], chunksize=1)
    return {part: float(np.mean([f[part] for f in found])) for part in found[0]}


def _keep(fit):
    global _kept
    _kept = fit


def _run_kept(run):
    return run(_kept)


def growth(fit, whole):
    """Rows of the table: what varies, structures, columns, features, models in a batch, seconds. ``whole``:
    the seconds with everything at its largest."""
    rows = []

    def add(what, fit, max_features=MAX_FEATURES, batch=BATCH, seconds=None):
        seconds = seconds or ours(fit, max_features=max_features, batch=batch)
        n_structures = int(np.count_nonzero(fit.is_structure))
        rows.append([what, n_structures, fit.X.shape[1], max_features, batch, seconds])
        print(*rows[-1], flush=True)

    add("nothing", fit, seconds=whole)
    for step in (2, 4, 8):
        add("structures", fit.every(step))
    for features in (500, 250):
        add("features", fit, max_features=features)
    for columns in (1870, 935):
        add("columns (500 features)", fit.with_columns(columns), max_features=500)
    for batch in (25, 5):
        add("models in a batch", fit, batch=batch)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=84000)
    parser.add_argument("--name", default="fit_growth")
    given = parser.parse_args()
    fit = made(given.rows)
    ours(fit.every(8), batch=1, models=1)  # compiles
    alone = {"yardstick": yardstick(fit), "ours": ours(fit)}
    both = {"yardstick": in_two_processes(yardstick, fit), "ours": in_two_processes(ours, fit)}
    rows = growth(fit, alone["ours"])
    write(given, fit, rows, alone, both)


def write(given, fit, rows, alone, both):
    shown = [[*row[:5], *(row[5][part] for part in PARTS), sum(row[5].values())] for row in rows]
    compared = [
        [where, who, seconds["Gram matrix"], sum(seconds.values()) - seconds["Gram matrix"], total(seconds)]
        for where, found in (("alone", alone), ("two at once", both))
        for who, seconds in found.items()
    ]
    ratios = {
        where: {
            "Gram matrix": found["yardstick"]["Gram matrix"] / found["ours"]["Gram matrix"],
            "model": total(found["yardstick"]) / total(found["ours"]),
        }
        for where, found in (("alone", alone), ("two at once", both))
    }
    about = machine("scikit-learn", "numba")
    n_structures = int(np.count_nonzero(fit.is_structure))
    markdown = "\n\n".join(
        [
            "# How the cost of the fit grows",
            f"Processor seconds per model; {n_structures} structures, {len(fit.y) - n_structures} translated "
            f"copies, {PATHS} paths, {fit.X.shape[1]} columns, {MAX_FEATURES} features, {BATCH} models in a "
            "batch, except for what varies. Every process has one thread. Synthetic features.",
            table(["varied", "structures", "columns", "M_max", "batch", *PARTS, "all"], shown),
            "Gram matrix: the products of single paths, divided by the models of a batch, and their weighted "
            "sum for each model. Weights: the semi-normal equations with the rows.",
            "## Against a Gram matrix for each model and orthogonal_mp_gram",
            table(["", "", "Gram matrix", "choice, errors, weights", "model"], compared),
            "Ratio: "
            + "; ".join(
                f"{where} {r['model']:.1f} for the model, {r['Gram matrix']:.1f} for its Gram matrix"
                for where, r in ratios.items()
            )
            + f". 500 models on 2 cores would take {250 * total(both['yardstick']) / 60:.0f} min, with this "
            f"package {250 * total(both['ours']) / 60:.1f} min (start and report not counted).",
            machine_line(about),
        ]
    )
    data = {
        "growth": [
            dict(
                zip(("varied", "structures", "columns", "max_features", "batch", "seconds"), row, strict=True)
            )
            for row in rows
        ],
        "alone": alone,
        "two_at_once": both,
        "ratios": ratios,
        "machine": about,
    }
    write_results(given.name, markdown, data)
    print(markdown)


def total(seconds):
    return sum(seconds.values())


if __name__ == "__main__":
    main()
