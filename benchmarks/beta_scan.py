"""Scan of the wavelet width beta and the number of scales: errors, extrapolation errors and cost.

Two stages that can be interrupted and started again with the same command:

    python benchmarks/beta_scan.py features --cache DIR --paths SAMPLE.extxyz.xz [--diffusion FILE]
                                            [--large FILE] [--bulk FILE] [--betas 0.36,0.5,0.9]
    python benchmarks/beta_scan.py fit --cache DIR [--betas 0.36,0.5,0.9] [--scales 3,4,5]

results/beta_scan_narrow.md has the narrowest wavelets, on coarser grids for their cost (--grid, --name).
Features are computed once for the largest number of scales: fewer scales are a subset of the columns. The
files are extended XYZ with the info keys path_id, step, kind, strain, mep and image, where they apply.
"""

import argparse
import csv
import hashlib
import io
import json
import multiprocessing
import time
from pathlib import Path

import ase
import numpy as np
from common import (
    RESULTS,
    machine,
    machine_line,
    read_frames,
    table,
    write_atomically,
    write_results,
)

from atomscatter.errors import DataError
from atomscatter.grids import Grid
from atomscatter.metrics import mae, rmse
from atomscatter.properties import barrier, bulk_modulus
from atomscatter.resampling import bootstrap_weights, model_rng, path_folds
from atomscatter.scattering import Scattering
from atomscatter.selection import column_scales, fit_model, number_drawn
from service.spacing import evenly

CHUNK = 16  # structures of one cached file
FIELDS = ("set", "kind", "path_id", "strain", "mep", "image", "n_atoms", "volume", "formula", "energy")


# --------------------------------------------------------------------------- structures


def some(items, count):
    """At most ``count`` items, evenly spaced, first and last included (0: all)."""
    return [items[i] for i in evenly(len(items), count or len(items))]


def grouped(structures, key):
    groups = {}
    for atoms in structures:
        groups.setdefault(atoms.info[key], []).append(atoms)
    return groups.values()


def read_sets(options):
    """Chosen structures of every set in a fixed order: list of (set name, Atoms with energy)."""
    chosen = [("paths", a) for path in grouped(read_frames(options.paths), "path_id")
              for a in some(path, options.steps_per_path)]  # fmt: skip
    if options.diffusion:
        chosen += [("diffusion", a) for a in read_frames(options.diffusion)]
    if options.large:
        for kind in grouped(read_frames(options.large), "kind"):
            chosen += [("large", a) for a in some(kind, options.large_per_kind)]
    if options.bulk:
        series = list(grouped(read_frames(options.bulk), "path_id"))
        chosen += [("bulk", a) for one in some(series, options.bulk_series) for a in one]
    return chosen


def row(name, atoms):
    """Metadata of one structure; energy in eV/atom, volume in A^3."""
    info = atoms.info
    return {
        "set": name,
        "kind": info.get("kind", ""),
        "path_id": info.get("path_id", -1),
        "strain": info.get("strain", ""),
        "mep": info.get("mep", ""),
        "image": info.get("image", ""),
        "n_atoms": len(atoms),
        "volume": atoms.get_volume(),
        "formula": atoms.get_chemical_formula(empirical=True),
        "energy": atoms.get_potential_energy() / len(atoms),
    }


# --------------------------------------------------------------------------- features stage


def scattering(beta, options):
    # Double: of the widest of these wavelets a cell holds only the tail, which single precision rounds away.
    grid = Grid.from_dict(options["grid"])
    return Scattering(beta=beta, scales=options["scales"], grid=grid, precision="double", products=None)


def chunk_file(cache, beta, start):
    return Path(cache) / f"beta-{beta:g}" / f"{start:06d}.npy"


def compute_chunk(task):
    """Features of one chunk and the seconds of each structure (last column), written as one file."""
    cache, beta, start, structures, options = task
    transform = compute_chunk.cache.setdefault(beta, scattering(beta, options))
    rows = []
    for atoms in structures:
        begin = time.perf_counter()
        features = transform.features(atoms)
        rows.append([*features, time.perf_counter() - begin])
    array = np.array(rows)
    write_atomically(chunk_file(cache, beta, start), lambda f: np.save(f, array, allow_pickle=False))
    return beta, len(structures)


compute_chunk.cache = {}


def same_or_new(path, content):
    """Write ``content``, or refuse a cache that was made from something else."""
    if path.exists() and path.read_bytes() != content.encode():
        raise SystemExit(f"{path} was made with other structures or settings: use another --cache folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, lambda f: f.write(content.encode()))


def features_stage(options):
    structures = read_sets(options)
    grid = Grid.from_dict(json.loads(options.grid)) if options.grid else Grid()
    settings = {"scales": max(options.scales), "grid": grid.to_dict()}
    content = io.StringIO()
    writer = csv.DictWriter(content, FIELDS)
    writer.writeheader()
    writer.writerows(row(name, atoms) for name, atoms in structures)
    positions = hashlib.sha256()
    for _, atoms in structures:
        positions.update(atoms.cell.array.tobytes() + atoms.positions.tobytes() + atoms.numbers.tobytes())
    settings["structures_sha256"] = positions.hexdigest()
    cache = Path(options.cache)
    same_or_new(cache / "settings.json", json.dumps(settings, indent=1, sort_keys=True) + "\n")
    same_or_new(cache / "structures.csv", content.getvalue())

    tasks = []
    for beta in sorted(options.betas, reverse=True):  # the cheap ones first
        (cache / f"beta-{beta:g}").mkdir(exist_ok=True)
        for start in range(0, len(structures), CHUNK):
            if not chunk_file(cache, beta, start).exists():
                chunk = [plain(atoms) for _, atoms in structures[start : start + CHUNK]]
                tasks.append((str(cache), beta, start, chunk, settings))
    print(f"{len(structures)} structures, {len(options.betas)} betas: {len(tasks)} chunks to compute")
    begin = time.perf_counter()
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for finished, (beta, _) in enumerate(pool.imap(compute_chunk, tasks), 1):
            if finished % 10 == 0 or finished == len(tasks):
                spent = time.perf_counter() - begin
                print(f"beta {beta:g}: {finished}/{len(tasks)} chunks, {spent:.0f} s", flush=True)


def plain(atoms):
    """Without calculator and info: cheap to send."""
    return ase.Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)


# --------------------------------------------------------------------------- fit stage


def read_structures(cache):
    with (Path(cache) / "structures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for r in rows:
        for key, kind in (("energy", float), ("volume", float), ("n_atoms", int), ("path_id", int)):
            r[key] = kind(r[key])
    return rows


def read_features(cache, beta, count):
    """Features (count, F) of one beta and the seconds of each structure (count,)."""
    files = [chunk_file(cache, beta, start) for start in range(0, count, CHUNK)]
    missing = [f for f in files if not f.exists()]
    if missing:
        raise SystemExit(f"{len(missing)} chunks of beta {beta:g} are missing: run the features stage")
    array = np.concatenate([np.load(f, allow_pickle=False) for f in files])
    return array[:, :-1], array[:, -1]


def columns(scales, computed):
    """Which feature columns of the ``computed`` scales belong to the first ``scales``."""
    labels = Scattering(scales=computed, products=None).labels
    return np.flatnonzero(
        [max(x for x in (label.j1, label.j2, 0) if x is not None) < scales for label in labels]
    )


def select(rows, **wanted):
    return np.flatnonzero([all(r[k] == v for k, v in wanted.items()) for r in rows])


def errors(rows, predicted, test_paths):
    """Every error of one averaged model, meV/atom (barriers meV, moduli GPa), from predictions in eV/atom."""
    energy = np.array([r["energy"] for r in rows])
    result = {}

    def add(name, indices):
        if len(indices):
            result[name] = 1000 * rmse(predicted[indices], energy[indices])

    paths = select(rows, set="paths")
    add("test paths", [i for i in paths if rows[i]["path_id"] in test_paths])
    add("diffusion", select(rows, set="diffusion"))
    for kind in ("scratch", "2x1x1", "2x2x2"):
        add(f"large {kind}", select(rows, set="large", kind=kind))
    add("bulk", select(rows, set="bulk"))
    for strain in sorted({r["strain"] for r in rows if r["set"] == "bulk"}, key=float):
        add(f"strain {100 * float(strain):+g} %", select(rows, set="bulk", strain=strain))
    result |= property_errors(rows, predicted, energy)
    return result


def property_errors(rows, predicted, energy):
    """Mean absolute error of migration barriers (meV) and bulk moduli (GPa; failed fits counted)."""
    result = {}
    meps = sorted({r["mep"] for r in rows if r["set"] == "diffusion"})
    if meps:
        paths = [
            sorted(select(rows, set="diffusion", mep=m), key=lambda i: int(rows[i]["image"])) for m in meps
        ]
        total = [(predicted[p] * rows[p[0]]["n_atoms"], energy[p] * rows[p[0]]["n_atoms"]) for p in paths]
        result["barrier MAE"] = 1000 * mae([barrier(a) for a, _ in total], [barrier(b) for _, b in total])
    moduli, failed = [], 0
    for path_id in sorted({r["path_id"] for r in rows if r["set"] == "bulk"}):
        series = select(rows, set="bulk", path_id=path_id)
        n_atoms, volumes = rows[series[0]]["n_atoms"], [rows[i]["volume"] for i in series]
        try:
            moduli.append([bulk_modulus(volumes, n_atoms * e[series]) for e in (predicted, energy)])
        except DataError:  # no minimum among the volumes
            failed += 1
    if moduli:
        result["bulk modulus MAE"] = mae(*np.array(moduli).T)
    if moduli or failed:
        result["moduli without minimum"] = failed
    return result


def fit_unit(task):
    """Models of one (beta, scales, fold), averaged; errors in meV/atom. Cached as one JSON file."""
    cache, beta, scales, fold, options = task
    target = Path(cache) / "fits" / f"beta-{beta:g}-scales-{scales}-fold-{fold}-{options['key']}.json"
    if target.exists():
        return json.loads(target.read_text())
    rows = read_structures(cache)
    X, _ = read_features(cache, beta, len(rows))
    X = X[:, columns(scales, options["computed"])]
    energy = np.array([r["energy"] for r in rows])
    paths = select(rows, set="paths")
    path_ids, first, path_of_row = np.unique(
        [rows[i]["path_id"] for i in paths], return_index=True, return_inverse=True
    )
    folds = path_folds([rows[paths[i]]["formula"] for i in first], options["folds"], options["seed"])
    training_paths = np.flatnonzero(folds != fold)

    scale = column_scales(X[paths])
    with_bias = np.hstack([X * scale, np.ones((len(X), 1))])
    predictions, oob_errors, sizes = [], [], []
    begin = time.perf_counter()
    for index in range(options["models"]):
        rng = model_rng(options["seed"], fold, index)
        draws = bootstrap_weights(training_paths, len(path_ids), rng)
        left_out = np.isin(path_of_row, training_paths[draws[training_paths] == 0])
        model = fit_model(
            with_bias[paths],
            energy[paths],
            draws[path_of_row].astype(float),
            np.flatnonzero(left_out),
            max_features=options["max_features"],
            n_draw=number_drawn(with_bias.shape[1]),
            rng=rng,
        )
        predictions.append(with_bias[:, model.columns] @ model.weights)
        oob_errors.append(1000 * model.oob_rmse.min())
        sizes.append(len(model.columns))
    result = {"beta": beta, "scales": scales, "fold": fold, "features": X.shape[1]}
    result["out-of-bag"] = float(np.mean(oob_errors))
    result |= errors(rows, np.mean(predictions, axis=0), set(path_ids[folds == fold]))
    result |= {"model size": float(np.mean(sizes)), "fit seconds": time.perf_counter() - begin}
    target.parent.mkdir(exist_ok=True)
    write_atomically(target, lambda f: f.write(json.dumps(result, indent=1).encode()))
    return result


def fit_stage(options):
    cache = Path(options.cache)
    settings = json.loads((cache / "settings.json").read_text())
    rows = read_structures(cache)
    fit = {k: getattr(options, k) for k in ("folds", "models", "max_features", "seed")}
    unit_options = fit | {"computed": settings["scales"]}
    unit_options["key"] = hashlib.sha256(json.dumps(fit).encode()).hexdigest()[:8]
    seconds = {}
    for beta in options.betas:  # also checks that everything is there
        X, spent = read_features(cache, beta, len(rows))
        on_paths = select(rows, set="paths")
        seconds[beta] = float(np.median(spent[on_paths]))
        print(f"beta {beta:g}: {X.shape}, {seconds[beta]:.3f} s per structure of the paths")
    folds = range(min(options.folds, options.use_folds or options.folds))
    tasks = [
        (str(cache), b, j, f, unit_options) for b in options.betas for j in options.scales for f in folds
    ]
    results = []
    with multiprocessing.get_context("spawn").Pool(options.processes) as pool:
        for result in pool.imap(fit_unit, tasks):
            results.append(result)
            line = {k: result.get(k) for k in ("beta", "scales", "fold", "out-of-bag", "test paths", "bulk")}
            print(f"{len(results)}/{len(tasks)}", line, flush=True)
    report(options, settings, rows, seconds, results)


def report(options, settings, rows, seconds, results):
    """Table of means over the folds, one line for each (beta, scales)."""
    skip = {"beta", "scales", "fold", "features"}
    measures = [k for k in results[0] if k not in skip]
    lines, averaged = [], []
    for beta in options.betas:
        for scales in options.scales:
            same = [r for r in results if (r["beta"], r["scales"]) == (beta, scales)]
            mean = {k: float(np.mean([r[k] for r in same])) for k in measures if all(k in r for r in same)}
            spread = {k: float(np.std([r[k] for r in same])) for k in mean}
            record = {"beta": beta, "scales": scales, "seconds": seconds[beta], "mean": mean, "std": spread}
            averaged.append(record | {"folds": len(same), "features": same[0]["features"]})
            lines.append([f"{beta:g}", scales, seconds[beta], *(mean.get(k) for k in measures)])
    about = machine("numba", "pyFFTW")
    n_folds = len({r["fold"] for r in results})
    counts = {k: sum(r["set"] == k for r in rows) for k in ("paths", "diffusion", "large", "bulk")}
    markdown = f"""# Scan of the wavelet width beta and the number of scales

{machine_line(about)}

RMSE in meV/atom unless named otherwise; barrier MAE in meV, bulk modulus MAE in GPa ("moduli without
minimum": predicted curves that have none among the strains). Structures: {counts}. {options.models} bagged
models for each of {n_folds} of {options.folds} test folds, at most {options.max_features} features, root seed
{options.seed}; every number is the mean over the folds of the fold's averaged model. "s" is the median time
of one structure of the paths, all {settings["scales"]} scales, on one core while the other worked too.
Large, bulk and diffusion structures derive from relaxed structures whose paths may be in the training set.
Grid: `{json.dumps(settings["grid"])}`.

{table(["beta (A)", "J", "s", *measures], lines)}
"""
    chosen = {k: str(v) for k, v in vars(options).items() if k not in ("cache", "out")}
    data = {"machine": about, "options": chosen, "results": averaged}
    write_results(options.name, markdown, data | {"folds": results}, options.out)


# --------------------------------------------------------------------------- command line


def numbers(kind):
    return lambda text: sorted({kind(part) for part in text.split(",")})


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=["features", "fit"])
    parser.add_argument("--cache", required=True, type=Path, help="folder of the cached feature matrices")
    parser.add_argument("--betas", type=numbers(float), default="0.25,0.3,0.36,0.43,0.5,0.6,0.75,0.9",
                        help="wavelet widths, Angstrom")  # fmt: skip
    parser.add_argument("--scales", type=numbers(int), default="3,4,5", help="numbers of scales")
    parser.add_argument("--processes", type=int, default=2)
    features = parser.add_argument_group("features stage")
    features.add_argument("--paths", type=Path, help="relaxation paths (info key path_id)")
    features.add_argument("--diffusion", type=Path, help="migration paths (info keys mep, image)")
    features.add_argument("--large", type=Path, help="larger cells (info key kind)")
    features.add_argument("--bulk", type=Path, help="strain series (info keys path_id, strain)")
    features.add_argument("--steps-per-path", type=int, default=4, help="evenly spaced; 0: all")
    features.add_argument("--large-per-kind", type=int, default=20, help="evenly spaced; 0: all")
    features.add_argument("--bulk-series", type=int, default=0, help="evenly spaced; 0: all")
    features.add_argument("--grid", help="JSON of the grid settings; default: the package's")
    fit = parser.add_argument_group("fit stage")
    fit.add_argument("--folds", type=int, default=5, help="test folds of the paths")
    fit.add_argument("--use-folds", type=int, default=0, help="evaluate only the first few of them; 0: all")
    fit.add_argument("--models", type=int, default=8, help="bootstraps of each fold")
    fit.add_argument("--max-features", type=int, default=400)
    fit.add_argument("--seed", type=int, default=0)
    fit.add_argument("--name", default="beta_scan", help="of the table")
    fit.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    options = parser.parse_args()
    if options.stage == "features" and not options.paths:
        parser.error("the features stage needs --paths")
    return options


if __name__ == "__main__":
    arguments_ = arguments()
    {"features": features_stage, "fit": fit_stage}[arguments_.stage](arguments_)
