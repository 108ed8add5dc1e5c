"""Featurization of real structures through Ray and the store, against the bare transform on as many cores.

    python benchmarks/featurize_rate.py REFERENCE_DIRECTORY [--every 10] [--precision double] [--out DIR]

Takes evenly spaced structures of alisi-sample.extxyz.xz. The bare transform computes every tenth of them,
alone and in two processes at once, before and after the whole job: two workers, from cold, into a new store.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
from common import RESULTS, machine, machine_line, table, write_results
from threadpoolctl import threadpool_limits

from atomscatter.scattering import Scattering
from service.reading import read_structures
from workers.featurize import featurize

BARE = 10  # the bare transform computes every tenth structure
WORKERS = 2


def bare(structures, config):
    """Seconds for one structure, the first ones not counted."""
    scattering = Scattering.from_config(config)
    with threadpool_limits(1):
        for structure in structures[:2]:
            scattering.features(structure.atoms)
        began = time.perf_counter()
        for structure in structures:
            scattering.features(structure.atoms)
        return (time.perf_counter() - began) / len(structures)


def bare_on_all_cores(structures, config):
    """The same in each of WORKERS processes at once, their mean."""
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        return float(np.mean(pool.starmap(bare, [(structures, config)] * WORKERS)))


def whole_job(structures, scattering):
    """Seconds from the call to the complete store, and structures per second after the first unit of each
    worker."""
    finished, began = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        featurize(
            structures,
            scattering,
            Path(folder) / "store",
            workers=WORKERS,
            on_progress=lambda n: finished.append((time.perf_counter(), n)) if n else None,
        )
    seconds = time.perf_counter() - began
    first, last = finished[WORKERS - 1][0], finished[-1][0]
    return seconds, sum(n for _, n in finished[WORKERS:]) / (last - first)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("reference", type=Path)
    parser.add_argument("--every", type=int, default=10)
    parser.add_argument("--precision", choices=("single", "double"), default="single")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    structures, _ = read_structures([given.reference / "alisi-sample.extxyz.xz"], path_key="path_id")
    # Sorted, as the workers get them: structures of a size share their plans.
    structures = sorted(structures[:: given.every], key=lambda s: -s.atoms.get_volume())
    scattering = Scattering(precision=given.precision)
    some, alone, together = structures[::BARE], [], []
    for turn in range(2):
        alone.append(bare(some, scattering.config))
        together.append(bare_on_all_cores(some, scattering.config))
        if turn == 0:
            seconds, rate = whole_job(structures, scattering)
    n, alone, together = len(structures), float(np.mean(alone)), float(np.mean(together))
    rows = [
        ["bare transform alone, s per structure", alone],
        ["bare transform, both cores busy, s per structure", together],
        ["whole job, s", seconds],
        ["whole job, structures per second after the start", rate],
        ["whole job / (structures x bare alone / 2)", seconds / (n * alone / WORKERS)],
        ["the same, after the start, bare alone", WORKERS / (rate * alone)],
        ["whole job / (structures x bare on busy cores / 2)", seconds / (n * together / WORKERS)],
        ["the same, after the start, bare on busy cores", WORKERS / (rate * together)],
    ]
    about = machine("numba", "pyFFTW", "ducc0", "ray", "zarr")
    markdown = f"""# Featurization against the bare transform

{machine_line(about)}

{n} structures of the relaxation paths, package default in {given.precision} precision, {WORKERS} workers on
{WORKERS} cores, from cold. Whole job: start of Ray, transform, store. The start takes as long for any number
of structures.

{table(["quantity", "value"], rows)}
"""
    data = {"machine": about, "structures": n, "precision": given.precision, "rows": rows}
    write_results("featurize_rate", markdown, data, given.out)


if __name__ == "__main__":
    main()
