"""Errors of features and of predicted energies against the grids of the scales.

    python benchmarks/grid_convergence.py DATA... [--model DIR] [--structures 6] [--translations 8]
        [--beta 0.5 --scales 4] [--grids FILE.json] [--out DIR]

For every grid: the relative error of the features against a much finer grid (largest, 99th percentile and
median over all features of an order and power and all structures), the time of one structure, and, with a
model, by how much the predicted energy moves when the grids are moved against the structure at random, and
how far it lies from the energy on the fine grid. The wavelets are those of the model; without one, of --beta
and --scales. Features of scales that are too large for a cell (2^j beta times its lowest frequency is 3 or
more: only the tail of the filter is left, and the cutoff may make them zero) are counted and left out.

FILE.json: {"name": {"cutoff": 5.0, "first": [[2.0, ...], ...], "second": [[1.0], ...], "growth": 1.3}, ...};
settings that a name leaves out are those of the package.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from common import RESULTS, machine, machine_line, read_frames, table, write_results

from atomscatter.ensemble import Ensemble
from atomscatter.grids import Grid
from atomscatter.scattering import Scattering
from service.spacing import evenly

# Without a least length: small cells have fine grids here, too.
FINE = Grid(cutoff=7.0, first=((4.0, 3.0, 2.5),), second=((3.0, 2.5, 2.0),), growth=1.4, least_length=0.0)
DEFAULT = Grid()


def finer(factors, by, scale=None):
    """Oversampling of all scales, or of one, multiplied by a number; any grid holds its band."""
    return tuple(
        tuple(max(0.5, by * f) if scale in (None, j) else f for f in row) for j, row in enumerate(factors)
    )


GRIDS = {
    "package default": DEFAULT,
    "bands only": Grid(first=((0.5,),), second=((0.5,),), growth=1.0),
    "cutoff 4": Grid(cutoff=4.0),
    "cutoff 4.5": Grid(cutoff=4.5),
    "first x 0.7": Grid(first=finer(DEFAULT.first, 0.7)),
    **{f"first x 0.7, scale {j} only": Grid(first=finer(DEFAULT.first, 0.7, j)) for j in range(3)},
    "first x 1.5": Grid(first=finer(DEFAULT.first, 1.5)),
    "second x 0.7": Grid(second=finer(DEFAULT.second, 0.7)),
    **{f"second x 0.7, scale {j} only": Grid(second=finer(DEFAULT.second, 0.7, j)) for j in range(3)},
    "second x 1.5": Grid(second=finer(DEFAULT.second, 1.5)),
    "both x 1.5": Grid(first=finer(DEFAULT.first, 1.5), second=finer(DEFAULT.second, 1.5)),
}
WORKING_RANGE = 3.0
STATISTICS = ("largest", "99 %", "median")
NO_GRID = "products"


def scattering_like(scattering, grid):
    """In double precision: the error is to be the grid's."""
    return Scattering.from_config(scattering.config | {"grid": grid.to_dict(), "precision": "double"})


def chosen(files, count):
    """``count`` structures, evenly spaced over all files."""
    everything = [atoms for file in files for atoms in read_frames(file)]
    return [everything[i] for i in evenly(len(everything), count)]


def translated(atoms, count, seed):
    """Copies moved by random vectors, uniform in the cell."""
    rng = np.random.default_rng(seed)
    copies = []
    for shift in rng.random((count, 3)) @ atoms.cell.array:
        copies.append(atoms.copy())
        copies[-1].translate(shift)
    return copies


def too_large(scattering, atoms):
    """Which features have a scale whose filters lie below the lowest frequency of the cell, shape (F,)."""
    integers = np.array([h for h in np.ndindex(5, 5, 5) if h != (2, 2, 2)]) - 2
    frequencies = 2 * np.pi * integers @ np.linalg.inv(atoms.cell.array).T
    lowest = np.linalg.norm(frequencies, axis=1).min()
    largest = np.array(
        [-np.inf if label.center else max(label.j1 or 0, label.j2 or 0) for label in scattering.labels]
    )
    return 2.0**largest * scattering.beta * lowest >= WORKING_RANGE


def feature_errors(labels, features, exact, excluded):
    """{"order o, q": (largest, 99th percentile, median)} of |features / exact - 1|, shape (structures, F)."""
    relative = np.abs(features - exact) / np.where(exact > 0, exact, np.inf)
    keys = np.array(
        [NO_GRID if label.center else f"order {label.order}, q = {label.q:.3g}" for label in labels]
    )
    result = {}
    for key in dict.fromkeys(k for k in keys if k != NO_GRID and not k.startswith("order 0")):
        values = relative[:, keys == key][~excluded[:, keys == key]]
        result[key] = [float(np.max(values)), float(np.percentile(values, 99)), float(np.median(values))]
    return result


def timed_features(scattering, structures):
    scattering.features(structures[0])  # plans and compiled code
    rows, seconds = [], []
    for atoms in structures:
        begin = time.perf_counter()
        rows.append(scattering.features(atoms))
        seconds.append(time.perf_counter() - begin)
    return np.array(rows), float(np.median(seconds))


def energy_errors(model, scattering, structures, features, fine_features, translations):
    """Movement of energies with the grids, and distance from the fine grid, meV/atom."""
    energy, fine = (1000 * model.predict_features(x)[0] for x in (features, fine_features))
    moves = []
    for index, atoms in enumerate(structures):
        copies = translated(atoms, translations, seed=index)
        moved = [scattering.features(copy, origin="cell") for copy in copies]
        moves.append(1000 * model.predict_features(np.array(moved))[0] - energy[index])
    return {
        "largest move": float(np.abs(moves).max()),
        "rms move": float(np.sqrt(np.mean(np.square(moves)))),
        "largest distance": float(np.abs(energy - fine).max()),
    }


def spacings(scattering, atoms):
    """Distance of the points along the first axis, Angstrom, for each scale a list over l."""
    lengths = atoms.cell.lengths()
    grid, beta, numbers = scattering.grid, scattering.beta, range(scattering.n)
    return {
        name: [
            [round(float(lengths[0]) / of(lengths, beta, j, angular)[0], 3) for angular in numbers]
            for j in range(scattering.scales)
        ]
        for name, of in (("first", grid.first_points), ("second", grid.second_points))
    }


def study(options):
    model = Ensemble.load(options.model) if options.model else None
    given = model.scattering if model else Scattering(beta=options.beta, scales=options.scales, products=None)
    base = scattering_like(given, given.grid)
    structures = chosen(options.data, options.structures)
    grids = GRIDS
    if options.grids:
        grids = {k: Grid.from_dict(v) for k, v in json.loads(options.grids.read_text()).items()}
    exact, _ = timed_features(scattering_like(base, FINE), structures)
    excluded = np.array([too_large(base, atoms) for atoms in structures])
    print(f"{excluded.mean():.1%} of the features left out: their scale is too large for the cell")
    records = []
    for name, grid in grids.items():
        scattering = scattering_like(base, grid)
        features, seconds = timed_features(scattering, structures)
        record = {"name": name, "grid": grid.to_dict(), "seconds": seconds}
        record["spacing"] = spacings(scattering, structures[0])
        record["features"] = feature_errors(scattering.labels, features, exact, excluded)
        if model:
            record["energy"] = energy_errors(
                model, scattering, structures, features, exact, options.translations
            )
        records.append(record)
        print(name, f"{seconds:.3f} s", record.get("energy", ""), flush=True)
    return model, base, structures, float(excluded.mean()), records


def report(options, model, base, structures, excluded, records):
    about = machine("numba", "pyFFTW", "ducc0")
    cells = ", ".join(f"{a.get_chemical_formula()} {a.cell.lengths()[0]:.2f} A" for a in structures)
    grid_rows = []
    for r in records:
        columns = [
            r["name"],
            r["grid"]["cutoff"],
            r["spacing"]["first"],
            r["spacing"]["second"],
            r["seconds"],
        ]
        grid_rows.append([*columns, *r.get("energy", {}).values()])
    energy_header = [f"{k} (meV/atom)" for k in records[0].get("energy", {})]
    sections = []
    for index, statistic in enumerate(STATISTICS):
        keys = list(records[0]["features"])
        rows = [[r["name"], *(f"{r['features'][k][index]:.1e}" for k in keys)] for r in records]
        sections.append(f"## Relative error of the features, {statistic}\n\n{table(['grid', *keys], rows)}")
    energies = "No model was given, so no energies."
    if model:
        energies = f"""Energies: model {model.model_id} ({model.n_models} models); "move": |energy
with grids moved by a random vector - energy| over {options.translations} vectors for each structure;
"distance": from the fine grid."""
    newline = "\n\n"
    markdown = f"""# Convergence of the grids

{machine_line(about)}

beta {base.beta:g} A, {base.scales} scales, n = {base.n}, double precision. Structures: {cells}.
Exact values: grid `{FINE.to_dict()}`.
Spacing of the grid points: in the first of the cells, for each scale that of l = 0, 1, 2.
Seconds: median over the structures, one core, beside whatever else the machine did.
{energies}

{excluded:.1%} of the features are left out of the relative errors: 2^j beta times the lowest frequency of the
cell is at least {WORKING_RANGE:g}, so only the tail of the filter lies in the cell.

{table(["grid", "cutoff", "spacing, order 1 (A)", "spacing, order 2 (A)", "s", *energy_header], grid_rows)}

{newline.join(sections)}
"""
    data = {"machine": about, "scattering": base.config, "fine": FINE.to_dict(), "grids": records}
    write_results("grid_convergence", markdown, data, options.out)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", type=Path, help="structures, any format ASE reads")
    parser.add_argument("--model", type=Path, help="folder of a trained model")
    parser.add_argument("--structures", type=int, default=6)
    parser.add_argument("--translations", type=int, default=8)
    parser.add_argument("--beta", type=float, default=Scattering().beta, help="Angstrom; without a model")
    parser.add_argument("--scales", type=int, default=Scattering().scales, help="without a model")
    parser.add_argument("--grids", type=Path, help="JSON of the grids to try")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    report(options, *study(options))


if __name__ == "__main__":
    main()
