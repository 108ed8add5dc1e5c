"""What a unit of work costs here, and what that makes of 10^6 and 10^8 structures on 100 and 1,000 nodes.

    python benchmarks/scaling_model.py [--out DIR]

First the costs are measured: processor seconds of a transform, of a chunk and of handing out a unit (which
depend little on what else the machine does), wall seconds of notes in the ledger (they wait for the disk),
bytes of everything; those of a fit are the recorded ones of fit_500.py. Then they are multiplied. The model
is simple on purpose: every stage has a rate that the hardware offers and one that the run needs, and the
stage with the largest quotient breaks first.
"""

import argparse
import json
import re
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from common import RESULTS, amorphous_li_si, machine, machine_line, table, write_results

from atomscatter.scattering import Scattering
from service.feature_store import ChunkWriter, FeatureStore, chunk_name
from service.ledger import Unit
from service.reading import LabelledStructure
from service.spool import StructureSpool
from workers.cluster import connect
from workers.pool import run_units

ROWS = 256  # of a chunk, for many structures
ATOMS = 64
# What a cluster is taken to be; not measured.
CORES = 64  # of a node
NODE_GIB = 256
NETWORK = 1.25e9  # bytes/s of a node (10 Gbit/s)
SHARED_STORAGE = 10e9  # bytes/s of a parallel file system or an object storage, in all
ACTORS_PER_SECOND = 390  # Ray's release log 1.12, many_actors.json: 10,000 actors at 388.9 per second
DRIVER_GIB = 64


def processor_seconds(function, repeats):
    function()
    began = time.process_time()
    for _ in range(repeats):
        function()
    return (time.process_time() - began) / repeats


def measure_featurization():
    scattering = Scattering()
    atoms = [amorphous_li_si(ATOMS, 11.0, seed) for seed in range(4)]
    rows = np.array([scattering.features(a) for a in atoms])
    transform = processor_seconds(lambda: scattering.features(atoms[0]), 6)
    noise = 1 + 1e-3 * np.random.default_rng(0).standard_normal((ROWS, rows.shape[1]))
    features = np.tile(rows, (ROWS // len(rows), 1)) * noise
    labelled = [LabelledStructure(atoms[i % 4], "file", i, f"path {i // 50}", -1.0) for i in range(4 * ROWS)]
    with tempfile.TemporaryDirectory() as folder:
        before = psutil.Process().memory_info().rss
        spool = StructureSpool(labelled[i % len(labelled)] for i in range(50_000))
        spool_bytes = (psutil.Process().memory_info().rss - before) / len(spool)
        store = FeatureStore.create(Path(folder) / "store", labelled, scattering, chunk_rows=ROWS)
        writer = ChunkWriter(store.path)
        write = processor_seconds(lambda: writer.write(0, features), 5)
        chunk = (Path(store.path) / chunk_name(0)).stat().st_size
        with store.writing() as ledger:
            began = time.perf_counter()
            for number in range(50):
                ledger.record(Unit(number % 4, "1" * 64, "2" * 64, "3" * 64))
            note = (time.perf_counter() - began) / 50
    return {
        "transform s": transform,
        "features": scattering.n_features,
        "chunk write s": write,
        "chunk bytes": chunk,
        "ledger note s (wall)": note,
        "input bytes of a structure": ATOMS * 32 + 9 * 8,
        "memory of a waiting structure, bytes": spool_bytes,
        "metadata of a structure, bytes": 32 + 8 * 4 + 3 * 16,
    }


def measure_handing_out():
    """Processor seconds of this process for each unit, with the arguments of a real one."""
    import ray

    class Actor:
        def take(self, unit, jobs):
            return "0" * 64

    job = ("file, structure 0", np.zeros(ATOMS, dtype=np.int64), np.zeros((ATOMS, 3)), np.eye(3))
    n_units = 400
    with connect(workers=2):
        actor = ray.remote(num_cpus=1)(Actor)
        units = {unit: (unit, [job] * ROWS) for unit in range(n_units)}
        began = time.process_time()
        run_units(actor.remote, units, "take", n_workers=2, on_result=lambda unit, result: None)
        handing_out = (time.process_time() - began) / n_units
        waiting = actor.remote()
        references = [waiting.take.remote(0, []) for _ in range(2000)]
        ray.get(references)
        wait = processor_seconds(
            lambda: ray.wait(references, num_returns=len(references), timeout=0, fetch_local=False), 3
        )
    return {"handing out s": handing_out, "ray.wait s for each reference": wait / len(references)}


def recorded_fit():
    """Processor seconds of the models of benchmarks/fit_500.py, as last recorded; both parts are taken to
    grow with the number of structures."""
    found = json.loads((RESULTS / "fit_500.json").read_text())
    numbers = re.findall(r"(\d+) (?:models|structures|columns)", found["what"])
    models, n, columns = map(int, numbers)
    return {
        "columns": columns,
        "Gram s of a model and a structure": found["processor_seconds_gram"] / models / n,
        "rest s of a model and a structure": found["processor_seconds_models"] / models / n,
        "Gram bytes of a model": 8 * columns**2,
    }


def featurization(costs, n, nodes):
    """Stages of featurization: name, need, offer, unit; need over offer above 1 breaks."""
    cores = nodes * CORES
    units = n / ROWS
    wall = max(n * costs["transform s"] / cores, ROWS * costs["transform s"])
    working = min(cores, units)
    rate = units / wall
    driver = costs["handing out s"] + working * costs["ray.wait s for each reference"] / max(rate, 1)
    memory = n * (costs["memory of a waiting structure, bytes"] + costs["metadata of a structure, bytes"])
    return wall, [
        ("ledger: notes of a worker, 1/s", rate / working, 1 / costs["ledger note s (wall)"]),
        ("driver: units handed out, 1/s", rate, 1 / driver),
        ("driver: memory, GiB", memory / 2**30, DRIVER_GIB),
        ("driver: inputs sent, bytes/s", rate * ROWS * costs["input bytes of a structure"], NETWORK),
        ("GCS: actors started within a tenth of the run, 1/s", working / (0.1 * wall), ACTORS_PER_SECOND),
        ("storage: chunks written and read back, bytes/s", 2 * rate * costs["chunk bytes"], SHARED_STORAGE),
        (
            "resuming: hashing all chunks within the run, bytes/s",
            units * costs["chunk bytes"] / wall,
            NETWORK,
        ),
    ]


def training(costs, n, nodes):
    """The same for 500 models. A unit is a batch of 25 models: more cores than batches have nothing to do."""
    models = 500
    batches = models // 25
    matrix = 8 * n * costs["columns"]
    each = costs["Gram s of a model and a structure"] + costs["rest s of a model and a structure"]
    wall = models * n * each / min(nodes * CORES, batches)
    return wall, [
        ("driver: the matrix of all features, GiB", matrix / 2**30, DRIVER_GIB),
        ("node: the matrix in its object store, GiB", matrix / 2**30, 0.3 * NODE_GIB),
        ("driver: matrix to the nodes with a batch, bytes/s", min(nodes, batches) * matrix / wall, NETWORK),
        ("node: Gram matrices of a batch, GiB", 25 * costs["Gram bytes of a model"] / 2**30, 0.5 * NODE_GIB),
        ("GCS: actors started within a tenth of the run, 1/s", batches / (0.1 * wall), ACTORS_PER_SECOND),
    ]


ANSWERS = {
    "ledger": "a note is for a whole chunk of 256 structures; each worker writes those of its chunks.",
    "driver: units": "several stores (`train --store` takes many), each with a driver of its own. All "
    "results that are there are taken at once, and a worker waits for its next unit only between units that "
    "last seconds.",
    "driver: memory": "several stores. Structures wait in a file; what remains is names and numbers.",
    "driver: inputs": "several stores on several nodes.",
    "GCS": "actors are started once for a run; units go from the driver to them and do not pass the GCS.",
    "storage": "one writer for each chunk and its note, no shared file; the storage has to be larger.",
    "resuming": "several stores, each checked by its own driver.",
    "driver: the matrix": "nothing yet: features are loaded into one process. Gram matrices are sums over "
    "paths, so workers could add those of their own chunks; that is not built.",
    "driver: matrix": "nothing yet; the same sum would need no copy of the matrix.",
    "node": "nothing yet; the same sum would need no copy of the matrix.",
}


def answer(stage):
    return next(text for name, text in ANSWERS.items() if stage.startswith(name))


def duration(seconds):
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def scenarios(costs):
    for n in (10**6, 10**8):
        for nodes in (100, 1000):
            for name, model in (("featurize", featurization), ("train 500 models", training)):
                wall, stages = model(costs, n, nodes)
                loads = sorted(
                    ((need / offer, stage, need, offer) for stage, need, offer in stages), reverse=True
                )
                yield {"structures": n, "nodes": nodes, "part": name, "wall s": wall, "stages": loads}


def markdown(about, costs, found):
    rows = [
        [f"{s['structures']:.0e}", s["nodes"], s["part"], duration(s["wall s"]), f"{name}: {load:.2g}"]
        for s in found
        for load, name, _, _ in s["stages"][:1]
    ]
    stages = [
        [f"{s['structures']:.0e}", s["nodes"], name, need, offer, load]
        for s in found
        for load, name, need, offer in s["stages"]
    ]
    broken = sorted({name for s in found for load, name, _, _ in s["stages"] if load > 1})
    answers = "\n".join(f"- {name}: {answer(name)}" for name in broken)
    return f"""# Scaling, on paper

{machine_line(about)}; load average of 15 minutes {about["load"]}

Measured here: the costs below. Taken for granted: nodes of {CORES} cores and {NODE_GIB} GiB,
{NETWORK / 1e9:g} GB/s of network for each, {SHARED_STORAGE / 1e9:g} GB/s of shared storage in all,
{ACTORS_PER_SECOND} actors started per second (Ray's release log 1.12), {DRIVER_GIB} GiB for the process that
hands out work. Structures of {ATOMS} atoms, units of {ROWS}. "Load" is need over offer: above 1, that part
breaks or sets the pace. The time is what the processors alone would need. Units never pass the GCS: the
driver sends them to the actors, so that its tasks per second are those of starting actors. 10^6 structures
are 3,907 units, which keep as many cores busy, not more. A training has 20 units (batches of 25 models, which
share the products of paths): it keeps 20 cores busy, not more.

{table(["cost", "value"], list(costs.items()))}

## What is loaded most

{table(["structures", "nodes", "part", "time of the processors", "largest load"], rows)}

## What answers it

{answers}

## All stages

{table(["structures", "nodes", "stage", "need", "offer", "load"], stages)}
"""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    costs = measure_featurization() | measure_handing_out() | recorded_fit()
    about = machine("numba", "ray", "zarr")
    found = list(scenarios(costs))
    data = {"machine": about, "costs": costs, "scenarios": found}
    write_results("scaling_model", markdown(about, costs, found), data, options.out)


if __name__ == "__main__":
    main()
