"""Accuracy against latency of pruned models.

    python benchmarks/pruning.py MODEL FEATURES [--stores part00 ...]

MODEL is an ensemble, FEATURES/stores holds the stores that it was trained on and those of the other sets
(benchmarks/reproduce.py). For each number of features: RMSE on held-out paths and on the other sets, and the
processor time of a prediction of 64 atoms. Labels are those of an ANN potential (PBE-trained), not DFT.
"""

import argparse
import time
from pathlib import Path

import common
import numpy as np
from common import amorphous_li_si, machine, machine_line, table, write_results
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from threadpoolctl import threadpool_limits

from atomscatter.ensemble import Ensemble
from service.feature_store import FeatureStore
from service.plots import BLUE, GREEN, GREY, VERMILION, save
from service.pruning import Pruning
from service.training import training_data

SETS = {"diffusion": VERMILION, "large": GREEN, "bulk": GREY}
LIMIT = 0.02


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("features", type=Path)
    parser.add_argument("--stores", nargs="+", help="default: all part* in FEATURES/stores")
    parser.add_argument("--points", type=int, default=12, help="sizes to measure")
    parser.add_argument("--results", type=Path, default=common.RESULTS)
    given = parser.parse_args()
    stores = given.features / "stores"
    names = given.stores or sorted(path.name for path in stores.glob("part*"))
    ensemble = Ensemble.load(given.model)
    pruning = Pruning(ensemble, training_data([FeatureStore.open(stores / n, check=False) for n in names]))
    others = {name: labelled(stores / name) for name in SETS}
    with threadpool_limits(1):
        models, rows = [ensemble], [row_of(ensemble, pruning.whole[0], others) | {"rise": 0.0}]
        spaced = np.geomspace(1, pruning.n_blocks, given.points).round().astype(int)
        for size in pruning.curve(np.unique(spaced).tolist()):
            models.append(pruning.model(size))
            rows.append(row_of(models[-1], size.rmse, others) | {"rise": size.rise})
        for row, time_of_one in zip(rows, milliseconds(models), strict=True):
            row["milliseconds"] = time_of_one
    about = f"Model {ensemble.model_id} of {len(pruning.folds)} structures, stores {', '.join(names)}."
    write(rows, about, given.results)


def labelled(store):
    """Features and energies (eV/atom) of a store."""
    found = FeatureStore.open(store, check=False)
    return np.asarray(found.features[:]), found.energies / found.n_atoms


def row_of(model, held_out, others):
    """Numbers of one model; errors in meV/atom."""
    row = {"features": int(model.weights.any(axis=0).sum()), "paths": float(1000 * held_out.mean())}
    for name, (features, energies) in others.items():
        error = model.predict_features(features)[0] - energies
        row[name] = float(1000 * np.sqrt(np.mean(error**2)))
    return row


def milliseconds(models, rounds=9):
    """Processor time of a prediction of 64 atoms by each model, best of several.

    In turns, so that all have the same share of a machine's slow moments.
    """
    atoms, times = amorphous_li_si(), []
    for _ in range(rounds + 1):
        times.append([])
        for model in models:
            began = time.process_time()
            model.predict(atoms)
            times[-1].append(time.process_time() - began)
    return 1000 * np.min(times[1:], axis=0)  # without the first round, which makes plans


def write(rows, trained_on, results):
    header = ["features", "ms", "paths", "rise (%)", *SETS]
    cells = [
        [r["features"], r["milliseconds"], r["paths"], 100 * r["rise"], *(r[name] for name in SETS)]
        for r in rows
    ]
    fitting = [r for r in rows[1:] if r["rise"] <= LIMIT]
    whole, about = rows[0], machine()
    best = min(fitting, key=lambda r: r["milliseconds"], default=None)
    said = "No pruned model is within 2 % of the error of the whole one."
    if best is not None:
        said = (
            f"Within 2 % of the error of the whole model: {best['features']} features, "
            f"{best['milliseconds']:.0f} ms instead of {whole['milliseconds']:.0f} ms."
        )
    markdown = "\n\n".join(
        [
            "# Accuracy and latency of pruned models",
            "RMSE in meV/atom (held-out paths: mean over the folds; others: averaged model), processor time "
            "of a prediction of 64 atoms. First row: the whole model. What is kept is chosen by the mean of "
            "all models, so that held-out paths have a part in it. Labels: ANN potential (PBE-trained), not "
            f"DFT. {trained_on}",
            table(header, cells),
            said,
            "![RMSE against time](pruning.png)",
            machine_line(about),
        ]
    )
    write_results("pruning", markdown, {"rows": rows, "machine": about}, results)
    plot(rows, results / "pruning.png")


def plot(rows, file):
    figure = Figure(figsize=(7, 4.8), layout="constrained")
    axes = figure.add_subplot()
    pruned = rows[1:]
    for name, colour in {"paths": BLUE, **SETS}.items():
        label = "held-out paths" if name == "paths" else name
        axes.plot(
            [r["milliseconds"] for r in pruned],
            [r[name] for r in pruned],
            "o-",
            ms=4,
            color=colour,
            label=label,
        )
        axes.plot(rows[0]["milliseconds"], rows[0][name], "*", ms=12, color=colour)
    apart = [r for r in pruned if r["features"] >= 100]  # with fewer, the points lie too close
    for r in apart:
        axes.annotate(
            f"{r['features']}",
            (r["milliseconds"], r["paths"]),
            xytext=(0, 7),
            ha="center",
            textcoords="offset points",
            fontsize=8,
            color=BLUE,
        )
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("processor time of a prediction of 64 atoms (ms)")
    axes.set_ylabel("RMSE (meV/atom)")
    axes.set_title("Numbers: features kept; stars: the whole model", loc="left", fontsize=10)
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    save(figure, file)


if __name__ == "__main__":
    main()
