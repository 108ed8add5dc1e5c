"""What single precision changes: features, energies of the embedded model, and time.

    python benchmarks/precision.py [--structures 24] [--rounds 3] [--out DIR]

Structures of the embedded sample, evenly over its kinds; one core, precisions in turn, round after round.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from common import RESULTS, machine, machine_line, table, write_results

from atomscatter.ensemble import Ensemble
from atomscatter.scattering import Scattering
from service.default_model import embedded_model
from service.demo_data import KINDS, load_sample

PRECISIONS = ("double", "single")


def sample(count):
    """Structures of all kinds."""
    structures = []
    for kind in KINDS:
        found = load_sample(kind)
        rows = np.linspace(0, len(found) - 1, count // len(KINDS)).round().astype(int)
        structures += [found[row].atoms for row in rows]
    return structures


def measure(ensemble, structures, rounds):
    """{precision: features}, {precision: seconds of each round}."""
    config = ensemble.scattering_config
    transforms = {p: Scattering.from_config({**config, "precision": p}) for p in PRECISIONS}
    features = {p: np.array([t.features(a) for a in structures]) for p, t in transforms.items()}
    seconds = {p: [] for p in PRECISIONS}
    for _ in range(rounds):
        for precision, transform in transforms.items():
            began = time.perf_counter()
            for atoms in structures:
                transform.features(atoms)
            seconds[precision].append((time.perf_counter() - began) / len(structures))
    return features, seconds


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--structures", type=int, default=24, help="in all kinds together")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    ensemble, structures = Ensemble.load(embedded_model()), sample(options.structures)
    features, seconds = measure(ensemble, structures, options.rounds)
    double, single = features["double"], features["single"]
    errors = np.abs(single - double)[double != 0] / np.abs(double)[double != 0]
    energies = {p: ensemble.predict_features(f)[0] for p, f in features.items()}
    moves = 1000 * np.abs(energies["single"] - energies["double"])
    medians = {p: float(np.median(s)) for p, s in seconds.items()}
    found = {
        "relative change of a feature, largest": float(errors.max()),
        "relative change of a feature, median": float(np.median(errors)),
        "change of an energy, largest (meV/atom)": float(moves.max()),
        "change of an energy, rms (meV/atom)": float(np.sqrt(np.mean(moves**2))),
        "seconds per structure, double": medians["double"],
        "seconds per structure, single": medians["single"],
        "double / single": medians["double"] / medians["single"],
    }
    about = machine("numba", "pyFFTW", "ducc0")
    markdown = f"""# Single precision

{machine_line(about)}

{len(structures)} structures of the sample; model {ensemble.model_id}; medians of {options.rounds} rounds.

{table(["quantity", "value"], [list(row) for row in found.items()])}
"""
    write_results("precision", markdown, {"machine": about, "model": ensemble.model_id, **found}, options.out)
    print(markdown)


if __name__ == "__main__":
    main()
