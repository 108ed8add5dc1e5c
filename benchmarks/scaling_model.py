"""Featurization and training of 10^6 and 10^8 structures on 100 and 1,000 nodes: what breaks first.

    python benchmarks/scaling_model.py [--out DIR] [--costs FILE]

1. scaling_costs.py measures what a structure, a unit and a model cost here, with the real classes.
2. On paper: every stage has a rate, a time or a size that the run needs and one that the hardware offers; the
   stage with the largest quotient breaks first.
3. scaling_simulation.py runs the units of each case as discrete events. Real runs on this machine, with
   workers that sleep, check it.

``--costs`` takes the measurements from an earlier JSON file.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from common import RESULTS, machine, machine_line, table, write_results
from scaling_costs import BATCH, ROWS, measure_all
from scaling_simulation import Cluster, Work, simulate

TEXT = Path(__file__).with_name("scaling_model_text.md")
MODELS = 500
COPIES = 0.4  # translated copies of a structure, the default of featurize
# What a cluster is taken to be; not measured.
CORES = 64  # of a node
NODE_GIB = 256
TEMPORARY_GIB = 1000  # of a node's disk, for temporary files
NETWORK = 1.25e9  # bytes/s of a node (10 Gbit/s)
STORAGE = 10e9  # bytes/s of a parallel file system or an object storage, in all
LATENCIES = {"file system": 0.003, "object storage": 0.02}  # s of a request
WRITES = 3500  # objects written per second under one prefix: the documentation of Amazon's S3
ACTORS_PER_SECOND = 390  # Ray's release log 1.12, many_actors.json: 10,000 actors at 388.9 per second
ACTORS = 20_000  # at a time; the most that a "scalability envelope" in Ray's repository names, that we found
SPREAD = 0.1  # units take 90 to 110 % of the mean time
CASES = [(n, nodes) for n in (10**6, 10**8) for nodes in (100, 1000)]
TENABLE = 2  # times the processors' own time


# Featurization


OBJECT_STORE = "waiting for Ray's object store at a unit, s (wall)"
FITS = f"fits on {MODELS // BATCH} cores"
GRAMS = f"products and Gram matrices of a batch of {BATCH}, s for each row"


def rows_of(n):
    return round(n * (1 + COPIES))


def serial_seconds(costs, n):
    """What the driver does before the first unit, structure after structure."""
    of_structure = costs["read, check, spool, s"] + costs["elements, s"]
    of_row = costs["digests, metadata (of a row), s"] + costs["volume (of a row), s"]
    return n * of_structure + rows_of(n) * of_row


def processors_seconds(costs, n, nodes):
    """Time of the transforms alone; a unit is not divided."""
    return max(rows_of(n) / (nodes * CORES), ROWS) * costs["transform, s"]


def unit_work(costs, units):
    """A unit for the simulation; its worker writes the chunk and the note."""
    writing = costs["chunk: encode, write, read back, hash, s"] + costs["note, s"]
    return Work(
        units=units,
        seconds=ROWS * costs["transform, s"] + writing,
        spread=SPREAD,
        input_bytes=costs["inputs of a unit, bytes"],
        output_bytes=costs["chunk, bytes"],
        hand_out=costs["driver thread: a unit in all, s"] + costs[OBJECT_STORE],
        wait=costs["ray.wait, s for each worker"],
        take_over=costs["search for a unit to take over, s for each worker"],
    )


def cluster_of(costs, nodes, latency, stores):
    """The share of a cluster that each of several stores has, with a driver of its own."""
    return Cluster(
        workers=max(1, nodes * CORES // stores),
        starts=ACTORS_PER_SECOND / stores,
        start_seconds=costs["start of a worker's process, s"],
        link=NETWORK,
        storage=STORAGE / stores,
        latency=latency,
    )


def featurization(costs, n, nodes, latency, stores=1):
    """Seconds before the first unit, outcome of the simulated units; of one of equal stores side by side."""
    units = max(1, rows_of(n) // (ROWS * stores))
    outcome = simulate(unit_work(costs, units), cluster_of(costs, nodes, latency, stores))
    return serial_seconds(costs, n / stores), outcome


def stores_needed(costs, n, nodes, latency):
    """How many stores with a driver each bring the whole to twice the processors' time; None: too many."""
    tenable = TENABLE * processors_seconds(costs, n, nodes)
    stores = 1
    while serial_seconds(costs, n / stores) > tenable:
        stores *= 2
    while stores <= nodes:
        before, outcome = featurization(costs, n, nodes, latency, stores)
        if before + outcome.seconds <= tenable:
            return stores, before, outcome
        stores *= 2
    return None


READING = "driver: read, spool, digest before the first unit, s"
THREAD = "driver's thread: spool, hand out, units/s"


def featurization_stages(costs, n, nodes):
    """Stage, need, offer."""
    wall = processors_seconds(costs, n, nodes)
    units = rows_of(n) / ROWS
    rate, working = units / wall, min(nodes * CORES, units)
    chunk = costs["chunk, bytes"]
    inputs = costs["inputs of a unit, bytes"]
    return [
        (READING, serial_seconds(costs, n), wall),
        (THREAD, rate, 1 / unit_work(costs, 1).hand_out),
        ("driver: memory, GiB", n * costs["memory while reading, bytes of a structure"] / 2**30, NODE_GIB),
        ("driver: temporary file, GiB", n * costs["spool, bytes of a structure"] / 2**30, TEMPORARY_GIB),
        ("driver: inputs sent, bytes/s", rate * inputs, NETWORK),
        ("driver's raylet: processor s per s", rate * costs["raylet of the driver's node: a unit, s"], 1.0),
        ("GCS: events of units, processor s per s", rate * costs["GCS: a unit, s"], 1.0),
        ("GCS: actors started within a tenth of the run, 1/s", working / (0.1 * wall), ACTORS_PER_SECOND),
        ("GCS: actors at a time, of those that Ray was tested with", working, ACTORS),
        ("storage: chunks written and read back, bytes/s", 2 * rate * chunk, STORAGE),
        ("storage: chunks and notes written, 1/s", 2 * rate, WRITES),
        ("driver, when resumed: hashing all chunks, bytes/s", rate * chunk, NETWORK),
    ]


def gigabytes_moved(costs, n):
    """In all, by what moves."""
    units, rows = rows_of(n) / ROWS, rows_of(n)
    stored = units * costs["chunk, bytes"]
    moved = {
        "structures read": n * costs["input file, bytes of a structure"],
        "temporary file": n * costs["spool, bytes of a structure"],
        "driver to workers": units * costs["inputs of a unit, bytes"],
        "chunks written, and again read back": stored,
        "read by a training, twice": stored,
        "matrix to a node that fits": 8 * rows * costs["columns"],
    }
    return {name: amount / 1e9 for name, amount in moved.items()}


# Training


def batch_seconds(costs, rows):
    """One worker's time for a batch of models."""
    gram = costs[GRAMS]
    rest = costs["rest of a model, s for each row"] * rows + costs["rest of a model, s whatever the rows"]
    return gram * rows + BATCH * rest


def training_seconds(costs, n, nodes):
    """Parts of a training as it is built, were there memory for it, by name."""
    rows, batches = rows_of(n), MODELS // BATCH
    stored = rows / ROWS * costs["chunk, bytes"]
    return {
        "check of the store": stored / NETWORK,
        "loading": stored / NETWORK,
        "matrix in the driver": rows * costs["driver of a training: s for each row"],
        FITS: batch_seconds(costs, rows) * batches / min(batches, nodes * CORES),
    }


def training_stages(costs, n, nodes):
    """Stage, need, offer."""
    rows, batches = rows_of(n), MODELS // BATCH
    matrix = 8 * rows * costs["columns"]
    driver = rows * costs["driver of a training: memory, bytes for each row"]
    beside = rows * costs["memory of a worker beside its Gram matrices, bytes for each row"]
    worker = beside + BATCH * costs["Gram matrix, bytes"]
    fits = training_seconds(costs, n, nodes)[FITS]
    return [
        ("driver: copies of all features in its memory, GiB", driver / 2**30, NODE_GIB),
        ("node: the matrix in Ray's object store, GiB", matrix / 2**30, 0.3 * NODE_GIB),
        ("node: memory of one worker beside the matrix, GiB", worker / 2**30, 0.7 * NODE_GIB),
        ("cores that batches of models can use", nodes * CORES, batches),
        (
            f"driver: matrix sent to {batches} nodes during the fits, bytes/s",
            batches * matrix / fits,
            NETWORK,
        ),
    ]


def training_where_the_rows_are(costs, n, nodes):
    """An estimate of what is not built: each node keeps its rows, all sums over rows are added up.

    Gram matrices (of all models), the QR of the chosen columns and the errors are such sums; the greedy
    choice from a Gram matrix is not, and does not depend on the number of rows.
    """
    rows, cores = rows_of(n), nodes * CORES
    of_row = costs[GRAMS] * MODELS / BATCH
    of_row += MODELS * costs["rest of a model, s for each row"]
    grams = MODELS * costs["Gram matrix, bytes"]
    choice = costs["rest of a model, s whatever the rows"]
    return {
        "features of a node, GiB": 8 * rows * costs["columns"] / nodes / 2**30,
        "loading, s": rows / ROWS * costs["chunk, bytes"] / min(STORAGE, nodes * NETWORK),
        "sums over rows, s": rows * of_row / cores,
        "500 Gram matrices, GiB": grams / 2**30,
        "adding them up over the network, s": 2 * grams / NETWORK,
        "greedy choice, s": choice * max(1.0, MODELS / cores),
    }


# Check of the simulation


def check(costs, run):
    """A run on this machine, with the simulated rate beside it: link and storage are not limits here."""
    slow = run["driver slowed by"]
    work = replace(
        unit_work(costs, run["units"]),
        seconds=run["s of a unit"],  # with the chunk and its note, where they are written
        spread=0.0,
        output_bytes=0.0,
        in_flight=run["in flight"],
    )
    # Only what it computes takes longer, not what it waits for.
    computing = (slow - 1) * (work.hand_out - costs[OBJECT_STORE])
    work = replace(work, hand_out=work.hand_out + computing)
    cluster = Cluster(run["workers"], 1e9, 0.0, 1e12, 1e12, 0.0)
    predicted = simulate(work, cluster).units_per_second
    driver = 1 / work.hand_out
    workers = run["workers"] / run["s of a unit"] if run["s of a unit"] else None
    return {
        **{key: run[key] for key in ("chunks", "workers", "s of a unit", "driver slowed by")},
        "driver alone, units/s": driver,
        "workers alone, units/s": workers,
        "simulated, units/s": predicted,
        "measured, units/s": run["measured"],
        "measured / simulated": run["measured"] / predicted,
    }


# Report


def ends_the_run(load, name):
    """What has no room fails; all else takes longer."""
    return load > 1 and name.endswith("GiB")


def loads(stages):
    """Stages as (load, name, need, offer): first those that end a run, as it reaches them, then the most
    loaded."""
    found = [(need / offer, name, need, offer) for name, need, offer in stages]
    ends = [stage for stage in found if ends_the_run(*stage[:2])]
    return ends + sorted((stage for stage in found if stage not in ends), reverse=True)


def duration(seconds):
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


TIMES = {"processors alone", "before the first unit", "units", "time with these"}


def case_name(n, nodes):
    return f"10^{len(str(n)) - 1} on {nodes:,} nodes"


def simulated(costs):
    """All cases and storages: one store, and as many as make it tenable."""
    for n, nodes in CASES:
        for storage, latency in LATENCIES.items():
            before, outcome = featurization(costs, n, nodes, latency)
            several = stores_needed(costs, n, nodes, latency)
            yield {
                "case": case_name(n, nodes),
                "storage": storage,
                "processors alone": processors_seconds(costs, n, nodes),
                "before the first unit": before,
                "units": outcome.seconds,
                "units/s": outcome.units_per_second,
                "workers busy, %": 100 * outcome.workers_busy * outcome.seconds / (before + outcome.seconds),
                "driver busy in units, %": 100 * outcome.driver_busy,
                "results waiting for it": outcome.most_waiting,
                "stores for twice the processors' time": several and several[0],
                "time with these": several and several[1] + several[2].seconds,
            }


def on_paper(costs):
    for n, nodes in CASES:
        found = loads(featurization_stages(costs, n, nodes))
        yield {"case": case_name(n, nodes), "part": "featurize", "stages": found}
        found = loads(training_stages(costs, n, nodes))
        yield {"case": case_name(n, nodes), "part": "train 500 models", "stages": found}


def shown_load(load):
    return f"{load:.0f}" if load >= 10 else f"{load:.2g}"


def spoken(costs):
    """The numbers of the text."""
    before, thread = serial_seconds(costs, 1), costs["driver thread: a unit in all, s"]
    spool = costs["of which structures from the spool, s"]
    biggest = training_stages(costs, *CASES[-1])
    seconds = training_seconds(costs, *CASES[-1])
    wanted = training_where_the_rows_are(costs, *CASES[-1])
    rate = rows_of(CASES[-1][0]) / ROWS / processors_seconds(costs, *CASES[-1])
    return {
        "before_ms": 1e3 * before,
        "read_share": 100 * costs["read, check, spool, s"] / before,
        "thread_ms": 1e3 * thread,
        "spool_ms": 1e3 * spool,
        "rest_ms": 1e3 * (thread - spool),
        "note_ms": 1e3 * costs["note, s"],
        "unit_s": ROWS * costs["transform, s"],
        "batch": BATCH,
        "batches": MODELS // BATCH,
        "arrays": 3 * ROWS,
        "gcs_ms": 1e3 * costs["GCS: a unit, s"],
        "gcs_share": 100 * rate * costs["GCS: a unit, s"],
        "rate": rate,
        "driver_gib": biggest[0][1],
        "store_gib": biggest[1][1],
        "worker_gib": biggest[2][1],
        "small_worker_gib": training_stages(costs, *CASES[0])[2][1],
        "fit": duration(seconds[FITS]),
        "small_fit": duration(training_seconds(costs, *CASES[0])[FITS]),
        "where": duration(sum(v for k, v in wanted.items() if k.endswith(", s"))),
    }


def markdown(about, data):
    costs = data["costs"]
    shown = [{k: duration(v) if v and k in TIMES else v for k, v in run.items()} for run in data["simulated"]]
    first = [
        [f["case"], f["part"], *[f"{name}: **{shown_load(load)}**" for load, name, _, _ in f["stages"][:3]]]
        for f in data["on paper"]
    ]
    stages = [
        [f["case"], f["part"], name, need, offer, load]
        for f in data["on paper"]
        for load, name, need, offer in f["stages"]
    ]
    training = [
        [case, *map(duration, parts.values()), duration(sum(parts.values()))]
        for case, parts in data["training as built"].items()
    ]
    parts, wanted = data["training as built"][case_name(*CASES[0])], data["training where the rows are"]
    ratios = [run["measured / simulated"] for run in data["checks"]]
    return TEXT.read_text().format(
        lowest=min(ratios),
        highest=max(ratios),
        **spoken(costs),
        machine=f"{machine_line(about)}; load average of 15 minutes {about['load']}",
        cores=CORES,
        node=NODE_GIB,
        network=NETWORK / 1e9,
        storage=STORAGE / 1e9,
        latencies=", ".join(f"{1000 * s:g} ms ({name})" for name, s in LATENCIES.items()),
        starts=ACTORS_PER_SECOND,
        actors=ACTORS,
        writes=WRITES,
        rows=ROWS,
        copies=100 * COPIES,
        spread=100 * SPREAD,
        first=table(["structures", "part", "most loaded", "then", "then"], first),
        simulated=table(list(shown[0]), [list(run.values()) for run in shown]),
        checks=table(list(data["checks"][0]), [list(run.values()) for run in data["checks"]]),
        training=table(["structures", *parts, "in all"], training),
        wanted=table(
            ["structures", *wanted[case_name(*CASES[0])]], [[k, *v.values()] for k, v in wanted.items()]
        ),
        moved=table(
            ["GB", *(case_name(*case).split(" on")[0] for case in CASES[::2])],
            [
                [name, *(moved[name] for moved in data["gigabytes moved"].values())]
                for name in gigabytes_moved(costs, 1)
            ],
        ),
        costs=table(["cost", "value"], list(costs.items())),
        stages=table(["structures", "part", "stage", "need", "offer", "load"], stages),
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--costs", type=Path, help="a JSON file of an earlier run")
    options = parser.parse_args()
    if options.costs:
        before = json.loads(options.costs.read_text())
        about, costs, runs = before["machine"], before["costs"], before["runs"]
    else:
        about = machine("numba", "ray", "zarr")
        costs, runs = measure_all()
    data = {
        "machine": about,
        "costs": costs,
        "runs": runs,
        "checks": [check(costs, run) for run in runs],
        "simulated": list(simulated(costs)),
        "on paper": list(on_paper(costs)),
        "gigabytes moved": {n: gigabytes_moved(costs, n) for n in (10**6, 10**8)},
        "training as built": {case_name(*case): training_seconds(costs, *case) for case in CASES},
        "training where the rows are": {
            case_name(*case): training_where_the_rows_are(costs, *case) for case in CASES
        },
    }
    write_results("scaling_model", markdown(about, data), data, options.out)


if __name__ == "__main__":
    main()
