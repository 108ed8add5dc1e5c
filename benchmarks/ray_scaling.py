"""Two Ray workers against one, and the peak memory of a worker.

    python benchmarks/ray_scaling.py [--structures 96] [--rounds 3] [--out DIR]

Featurizes the same random 64-atom structures into a new store with one worker and with two, in turn, after
a round that is not counted. Time runs from the first finished unit to the last one, so that the start of Ray
and of the worker processes is not part of the rate; the time with everything is given beside it. Memory: the
largest resident set of any worker process, sampled ten times a second.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from common import RESULTS, amorphous_li_si, machine, machine_line, table, write_results

from atomscatter.scattering import Scattering
from service.reading import LabelledStructure
from workers.featurize import featurize

UNIT = 4  # structures of one unit of work


class WorkerMemory:
    """Largest resident set (MiB) of any Ray worker among the descendants of this process."""

    def __enter__(self):
        self.peak = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _watch(self):
        while not self._stop.wait(0.1):
            for process in psutil.Process().children(recursive=True):
                try:
                    if "Featurizer" in " ".join(process.cmdline()):
                        self.peak = max(self.peak, process.memory_info().rss / 2**20)
                except psutil.Error:  # it ended meanwhile
                    continue


def structures(count):
    return [
        LabelledStructure(amorphous_li_si(64, 11.0, seed), "random", seed, f"path {seed}", None)
        for seed in range(count)
    ]


def run(labelled, scattering, workers):
    """Structures per second between the first and the last finished unit, total seconds, peak MiB."""
    finished = []  # (time, structures)
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, WorkerMemory() as memory:
        featurize(
            labelled,
            scattering,
            Path(folder) / "store",
            workers=workers,
            chunk_rows=UNIT,
            on_progress=lambda n: finished.append((time.perf_counter(), n)) if n else None,
        )
    total = time.perf_counter() - begin
    # With two workers two units start together: count from the time at which each has finished one.
    first, last = finished[workers - 1][0], finished[-1][0]
    rate = sum(n for _, n in finished[workers:]) / (last - first)
    return {"workers": workers, "rate": rate, "seconds": total, "peak MiB": memory.peak}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--structures", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    labelled, scattering = structures(options.structures), Scattering()
    run(labelled[: 4 * UNIT], scattering, 2)  # compiled code into its cache, files into memory
    runs = []
    for _ in range(options.rounds):
        for workers in (1, 2):
            runs.append(run(labelled, scattering, workers))
            print(runs[-1], flush=True)
    median = {w: float(np.median([r["rate"] for r in runs if r["workers"] == w])) for w in (1, 2)}
    ratio, peak = median[2] / median[1], max(r["peak MiB"] for r in runs)
    header = ["workers", "structures/s", "s with start of Ray", "peak MiB of a worker"]
    about = machine("numba", "pyFFTW", "ducc0", "ray", "zarr")
    markdown = f"""# Ray workers

{machine_line(about)}

{options.structures} random structures of 64 atoms (11 A), package default (beta {scattering.beta:g} A,
{scattering.scales} scales); rates from the first finished unit on, without the start of Ray.

Two workers against one: **{ratio:.2f}x** (medians). Largest memory of a worker: **{peak:.0f} MiB**.

{table(header, [list(r.values()) for r in runs])}
"""
    write_results("ray_scaling", markdown, {"machine": about, "runs": runs, "ratio": ratio}, options.out)


if __name__ == "__main__":
    main()
