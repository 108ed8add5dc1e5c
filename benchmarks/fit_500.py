"""Time and memory of 5 x 100 models at the size of the paper's fit: 3,741 columns, up to 1,000 features.

    python benchmarks/fit_500.py --rows 84000 --copies 0.1 --invariance 400 --channel-share 1 --name fit_84000
    python benchmarks/fit_500.py [--rows 20000] [--max-features 1000] [--workers 2] [--out DIR]

The features are synthetic unless ``--features FILE.npz`` names arrays ``features`` (n, n_features),
``energies`` (n,) eV/atom, ``path_ids`` (n,) and ``compositions`` (n,). Synthetic features are exponentials of
a few hidden variables that change slowly along a path, over many orders of magnitude: as strongly correlated
as real ones. Some of the structures (--copies) have a translated copy, as ``atomscatter featurize`` makes
them: a condition of invariance in the fit. The first command made the record.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import threading
import time
from pathlib import Path

import numpy as np
import psutil
from common import RESULTS, machine, machine_line, table, write_results

from atomscatter.scattering import Scattering
from service import defaults
from service.training import FitSettings, TrainingData
from workers.train import train_on


def synthetic(n_rows: int, n_paths: int, n_features: int, copies: float) -> TrainingData:
    """Training data with ten paths of each composition; the features of copies differ by 0.1 per mille."""
    rng = np.random.default_rng(0)
    path = np.arange(n_rows) * n_paths // n_rows
    hidden = rng.normal(size=(n_paths, 12))[path] + 0.15 * rng.normal(size=(n_rows, 12))
    X = np.empty((n_rows, n_features))
    for j in range(n_features):
        X[:, j] = np.exp(hidden @ rng.normal(size=12) / 6) + 0.02 * rng.normal(size=n_rows)
    X *= 10.0 ** rng.uniform(-12, 3, size=n_features)
    energies = -4 + 0.3 * np.tanh(hidden[:, 0]) + 0.05 * hidden[:, 1] * hidden[:, 2]
    # A part that belongs to the path and cannot be learned, as in real data, sets the size of the models.
    energies += 0.03 * rng.normal(size=n_paths)[path] + 0.005 * rng.normal(size=n_rows)
    data = _data(X, energies, path.astype(str), (path // 10).astype(str))
    copied = np.linspace(0, n_rows - 1, round(copies * n_rows)).astype(int)
    if not len(copied):
        return data
    return dataclasses.replace(
        data,
        differences=1e-4 * X[copied] * rng.normal(size=(len(copied), n_features)),
        difference_paths=tuple(data.path_ids[i] for i in copied),
    )


def read(file: Path) -> TrainingData:
    """Training data from an .npz file."""
    with np.load(file, allow_pickle=False) as arrays:
        return _data(arrays["features"], arrays["energies"], arrays["path_ids"], arrays["compositions"])


def _data(features, energies, path_ids, compositions) -> TrainingData:
    return TrainingData(
        features=features,
        energies=energies,
        path_ids=tuple(path_ids.astype(str).tolist()),
        compositions=tuple(compositions.astype(str).tolist()),
        feature_orders=np.full(features.shape[1], 2),
        scattering_config=Scattering().config,
        data_hash="benchmark",
    )


class PeakMemory:
    """Largest proportional set size of this process and its children, GiB: shared pages count once."""

    def __enter__(self) -> PeakMemory:
        self.total, self.largest_worker, self._stop = 0.0, 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(2.0):
            sizes = []
            for process in [me, *me.children(recursive=True)]:
                with contextlib.suppress(psutil.Error):
                    sizes.append(
                        (process.memory_full_info().pss, "ray::FitWorker" in " ".join(process.cmdline()))
                    )
            self.total = max(self.total, sum(s for s, _ in sizes) / 2**30)
            self.largest_worker = max([self.largest_worker, *(s / 2**30 for s, worker in sizes if worker)])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--features", type=Path, help="an .npz file instead of synthetic features")
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--paths", type=int, default=370)
    parser.add_argument("--columns", type=int, default=3740, help="features, without the bias")
    parser.add_argument(
        "--copies", type=float, default=defaults.COPIES, help="translated copies per structure, if synthetic"
    )
    parser.add_argument("--bootstraps", type=int, default=100)
    parser.add_argument("--max-features", type=int, default=1000)
    parser.add_argument("--selection", default="bagged", choices=["bagged", "full"])
    parser.add_argument("--invariance", type=float, default=FitSettings.invariance)
    parser.add_argument("--channel-share", type=float, default=FitSettings.channel_share)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--name", default="fit_500")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()

    data = (
        read(args.features) if args.features else synthetic(args.rows, args.paths, args.columns, args.copies)
    )
    settings = FitSettings(
        bootstraps=args.bootstraps,
        max_features=args.max_features,
        selection=args.selection,
        invariance=args.invariance,
        channel_share=args.channel_share,
    )
    began = time.perf_counter()
    load, about = psutil.getloadavg()[0], machine("numba", "ray")

    def progress(ready: int) -> None:
        print(f"{time.perf_counter() - began:7.1f} s  {ready} models", flush=True)

    with PeakMemory() as memory:
        ensemble, report = train_on(data, settings, workers=args.workers, on_progress=progress)
    n_copies = 0 if data.differences is None else len(data.differences)
    result = {
        "what": f"{ensemble.n_models} models, {len(data.features)} structures and "
        f"{n_copies} translated copies in "
        f"{len(set(data.path_ids))} paths, {data.features.shape[1] + 1} columns, "
        f"at most {args.max_features} features, {args.selection}",
        "data": args.features.name if args.features else "synthetic",
        "copies_per_structure": round(n_copies / len(data.features), 4),
        "invariance": settings.invariance,
        "channel_share": settings.channel_share,
        "workers": args.workers,
        "seconds": round(report.seconds, 1),
        "processor_seconds_gram": round(report.processor_seconds[0], 1),
        "processor_seconds_models": round(report.processor_seconds[1], 1),
        "peak_memory_gib": round(memory.total, 2),
        "peak_memory_worker_gib": round(memory.largest_worker, 2),
        "models_by_qr": report.n_used_qr,
        "n_selected_mean": round(float(report.n_selected.mean()), 1),
        "load_average_at_start": round(load, 2),
        "model_id": ensemble.model_id,
        "machine": about,
        "environment": ensemble.card["environment"],
    }
    write_results(args.name, _markdown(result), result, args.out)
    print(_markdown(result))


def _markdown(result) -> str:
    rows = {
        "wall time": f"{result['seconds']} s",
        "workers": result["workers"],
        "processor time for Gram matrices, all workers": f"{result['processor_seconds_gram']} s",
        "processor time for the rest, all workers": f"{result['processor_seconds_models']} s",
        "peak memory, all processes": f"{result['peak_memory_gib']} GiB",
        "peak memory of a worker": f"{result['peak_memory_worker_gib']} GiB",
        "models that needed a QR of all steps": result["models_by_qr"],
        "mean number of features M*": result["n_selected_mean"],
        "data": result["data"],
        "translated copies per structure": result["copies_per_structure"],
        "weight of invariance": result["invariance"],
        "share of the channels for each model": result["channel_share"],
        "memory": f"{result['environment']['memory_gib']} GiB",
        "load average at the start": result["load_average_at_start"],
    }
    gram, rest = result["processor_seconds_gram"], result["processor_seconds_models"]
    note = (
        f"What limits it: {gram / (gram + rest):.0%} of the processor time goes into the Gram matrices "
        f"(matrix products, in proportion to the structures), {rest / (gram + rest):.0%} into the greedy "
        "choice, the validation curves and the weights (in proportion to the models).\n"
        "Wall time includes the start of a local Ray, the report and the extrapolation model."
    )
    parts = ["# Time of the fit", machine_line(result["machine"]), result["what"]]
    return "\n\n".join([*parts, table(["", ""], rows.items()), note])


if __name__ == "__main__":
    main()
