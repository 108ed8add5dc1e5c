"""Memory of the process that hands out work, object store and the cost of handing out, with small units.

    python benchmarks/backpressure.py [--structures 100000] [--rows 256 16] [--out DIR]

1. Memory: random 64-atom structures go the way of ``atomscatter featurize``: into the spool that reading
   fills, into a new store, and through the pool to two workers. Only the transform is replaced, by a row of
   constants of the default configuration's length, so that hundreds of thousands of structures pass in
   minutes; everything that this process does is what it does in a real run. Once with the units that the
   package chooses for so many (256 rows) and once with units of 16 rows, sixteen times as many.
   Sampled ten times a second: resident set of this process, use of Ray's object store (which is first seen
   to show an object of a known size). Ray puts arguments there from 100 KB on; shorter ones go with the
   message: so units of 16 structures leave it empty.
2. Handing out: units that sleep for a known time, on two workers. What a worker waits for its next unit,
   between the first and the last, as a share of its time: "idle". Sleep and not work, so that it does not
   depend on what else the machine does. "held" is the largest number of units that were given out at a time.
3. A straggler: 400 such units of 20 ms and one in the middle of 6 s, which outlasts the rest of the others on
   the other worker; when the last of the others was done.

What has to hold is in :func:`broken_claims`; where it does not, nothing is written and the exit code is 1.
"""

import argparse
import gc
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
from ase import Atoms
from common import RESULTS, machine, machine_line, table, write_results

import workers.featurize
from atomscatter.scattering import Scattering
from service.reading import LabelledStructure
from service.spool import StructureSpool
from workers.cluster import connect
from workers.featurize import Featurizer, featurize
from workers.pool import run_units

LIMIT_MIB = 500
LIMIT_IDLE = 2.0  # %
IDLE_FROM = 0.1  # seconds of a unit from which on the limit holds
STRAGGLER_SLACK = 1.2
OBJECT_STORE_BYTES = 200 * 2**20
DURATIONS = (0.002, 0.01, 0.05, 0.1, 0.2, 1.0)  # seconds of a unit


def synthetic_featurizer():
    class SyntheticFeaturizer(Featurizer):
        def _features(self, job):
            return np.full(self._scattering.n_features, float(job[1][0]))

    return SyntheticFeaturizer


def random_structures(count):
    rng = np.random.default_rng(0)
    numbers = np.repeat([3, 14], 32)
    for i in range(count):
        atoms = Atoms(numbers, positions=11 * rng.random((64, 3)), cell=[11.0] * 3, pbc=True)
        yield LabelledStructure(atoms, f"file {i // 1000}", i % 1000, f"path {i // 50}", -4.0 * i)


class Memory:
    """Largest resident set of this process, largest use of the object store, and all that went through it,
    MiB; while Ray is connected."""

    def __enter__(self):
        self.peak, self.store = 0.0, 0.0
        self._before = object_store().cumulative_created_bytes
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._watching = self._pool.submit(self._watch)
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._pool.shutdown()
        self._watching.result()  # what it did not see is no result
        self.through = (object_store().cumulative_created_bytes - self._before) / 2**20

    def _watch(self):
        while not self._stop.wait(0.1):
            self.peak = max(self.peak, psutil.Process().memory_info().rss / 2**20)
            self.store = max(self.store, object_store().object_store_bytes_used / 2**20)


def object_store():
    import ray
    from ray._private.internal_api import node_stats

    (node,) = ray.nodes()
    address, port = node["NodeManagerAddress"], node["NodeManagerPort"]
    return node_stats(address, port, include_memory_info=False).store_stats


def require_true_reading():
    """See that an object of a known size shows in what is read, and no longer when it is gone."""
    import ray

    size = 20 * 2**20
    reference = ray.put(np.zeros(size, dtype=np.uint8))
    wait_until(lambda: size <= object_store().object_store_bytes_used < 1.01 * size)
    del reference
    wait_until(lambda: object_store().object_store_bytes_used == 0)


def wait_until(holds, seconds=30):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "the reading of the object store is not true"
        time.sleep(0.1)


def measure_memory(count, chunk_rows):
    """Featurize ``count`` structures, synthetic transform; what it took."""
    gc.collect()
    before = psutil.Process().memory_info().rss / 2**20
    workers.featurize.Featurizer = synthetic_featurizer()
    with (
        tempfile.TemporaryDirectory() as folder,
        connect(workers=2, object_store_bytes=OBJECT_STORE_BYTES),
    ):
        require_true_reading()
        took = measure_featurize(count, chunk_rows, Path(folder) / "store")
    workers.featurize.Featurizer = Featurizer
    return {"structures": count, "before MiB": before, **took}


def measure_featurize(count, chunk_rows, path):
    began = time.perf_counter()
    with Memory() as memory:
        spool = StructureSpool(random_structures(count))
        read = time.perf_counter()
        store = featurize(spool, Scattering(), path, workers=2, chunk_rows=chunk_rows)
        ended = time.perf_counter()
        rows = [0, count // 2, count - 1]
        assert store.is_complete
        assert (store.features.oindex[rows, 0] == 3.0).all()
    return {
        "units": store.n_units,
        "peak MiB": memory.peak,
        "object store peak MiB": memory.store,
        "through it MiB": memory.through,
        "object store limit MiB": OBJECT_STORE_BYTES / 2**20,
        "s to spool": read - began,
        "s to featurize": ended - read,
    }


def sleeper():
    import os

    import ray

    class Sleeper:
        def sleep(self, seconds):
            began = time.time()
            time.sleep(seconds)
            return os.getpid(), began, time.time()

    return ray.remote(num_cpus=1)(Sleeper).remote


def run_sleeping(durations):
    """Result of each unit, in the order of arrival, and the largest number that were held at a time."""
    given, results, held = [], {}, [0]

    class Units(dict):
        def __getitem__(self, unit):
            given.append(unit)
            held.append(len(given) - len(results))
            return super().__getitem__(unit)

    units = Units({i: (seconds,) for i, seconds in enumerate(durations)})
    run_units(sleeper(), units, "sleep", n_workers=2, on_result=results.__setitem__)
    return results, max(held)


def measure_idle(seconds):
    """Share of the time that workers wait for their next unit."""
    count = int(np.clip(8 / seconds, 30, 3000))
    results, held = run_sleeping([seconds] * count)
    idle, total = 0.0, 0.0
    for pid in {pid for pid, _, _ in results.values()}:
        times = sorted((begin, end) for p, begin, end in results.values() if p == pid)
        total += times[-1][1] - times[0][0]
        idle += sum(after[0] - before[1] for before, after in pairwise(times))
    return {"s of a unit": seconds, "units": count, "held": held, "idle %": 100 * idle / total}


def measure_straggler():
    durations = [0.02] * 200 + [6.0] + [0.02] * 200
    results, _ = run_sleeping(durations)
    end = {unit: result[2] for unit, result in results.items()}
    begin = min(result[1] for result in results.values())
    others = max(end[unit] for unit in end if unit != 200) - begin
    return {"others s": others, "straggler s": end[200] - begin, "at best s": (200 / 2 + 200) * 0.02}


def broken_claims(memory, idle, straggler):
    """What does not hold of: memory and object store under their limits, workers idle for less than 2 % of
    the time, and the others of a straggler done as soon as the other worker can, but for a fifth."""
    for row in memory:
        if row["peak MiB"] >= LIMIT_MIB:
            yield f"the process that hands out work takes {row['peak MiB']:.0f} MiB, limit {LIMIT_MIB}"
        if row["object store peak MiB"] >= row["object store limit MiB"]:
            yield f"the object store is full, with units of {row['structures'] // row['units']} structures"
    for row in idle:
        if row["s of a unit"] >= IDLE_FROM and row["idle %"] >= LIMIT_IDLE:
            yield f"workers of units of {row['s of a unit']} s are idle for {row['idle %']:.2f} % of the time"
    if straggler["others s"] > STRAGGLER_SLACK * straggler["at best s"]:
        yield f"a straggler holds others up: {straggler}"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--structures", type=int, default=100_000)
    parser.add_argument("--rows", type=int, nargs="+", default=[256, 16], help="of a unit")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    memory = [measure_memory(options.structures, rows) for rows in options.rows]
    for row in memory:
        print(row, flush=True)
    with connect(workers=2):
        idle = [measure_idle(seconds) for seconds in DURATIONS]
        straggler = measure_straggler()
    print(*idle, straggler, sep="\n")
    broken = list(broken_claims(memory, idle, straggler))
    if broken:
        print("does not hold:", *broken, sep="\n  ")
        return 1
    print("all limits hold")
    about = machine("numba", "ray", "zarr")
    markdown = f"""# Back-pressure

{machine_line(about)}; load average of 15 minutes {about["load"]}

## Memory of the process that hands out work (limit {LIMIT_MIB} MiB)

Random structures of 64 atoms, the whole way of `featurize` with a synthetic transform, 2 workers. Arguments
under 100 KB do not go through the object store but with the message, so that short units leave it empty.
The limits of both columns of peaks were checked before this was written.

{table(list(memory[0]), [list(row.values()) for row in memory])}

## Handing out

Units that sleep, 2 workers; a worker holds one unit, or as many as it works on in half a second. Checked:
idle for less than {LIMIT_IDLE:.0f} % of the time with units of {1000 * IDLE_FROM:.0f} ms or more.

{table(list(idle[0]), [list(row.values()) for row in idle])}

## A straggler

400 units of 20 ms and one of 6 s in the middle, 2 workers. The others, half of them on the other worker
alone, take {straggler["at best s"]:.1f} s at best; they were done after **{straggler["others s"]:.2f} s**,
the straggler after {straggler["straggler s"]:.2f} s. Checked: the others take at most {STRAGGLER_SLACK} times
as long as at best.
"""
    data = {"machine": about, "memory": memory, "handing out": idle, "straggler": straggler}
    write_results("backpressure", markdown, data, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
