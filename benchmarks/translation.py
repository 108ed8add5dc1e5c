"""By how much predicted energies move when structures are translated: the embedded model, or another one.

    python benchmarks/translation.py [--model DIR] [--structures 120] [--vectors 4] [--out DIR]

An exact transform would not notice; what moves energies is the error of the grids. Structures of the embedded
sample, evenly over its kinds, without those whose translated copies taught the fit; and perfect crystals.
"""

import argparse
from pathlib import Path

import numpy as np
from ase.build import bulk
from common import RESULTS, machine, machine_line, table, write_results

from atomscatter.ensemble import Ensemble
from service.copies import with_translated_copies
from service.default_model import embedded_model
from service.demo_data import KINDS, load_sample

LIMIT = 0.1  # meV/atom


def unseen(kind):
    """Structures of a kind that no translated copy was made of."""
    structures = load_sample(kind)
    if kind != "paths":
        return structures
    copied = {s.copy_of for s in with_translated_copies(structures)}
    return [s for row, s in enumerate(structures) if row not in copied]


def perfect_crystals():
    """Far from the sample: all atoms lie alike on a grid, and the errors at different atoms add up."""
    for a in (3.3, 3.44, 3.6):
        yield bulk("Li", "bcc", a=a)
        lithium = bulk("Li", "bcc", a=a, cubic=True)
        yield from (lithium, *(lithium.repeat(times) for times in (2, 3, 4)))
    for a in (5.2, 5.43, 5.7):
        yield bulk("Si", "diamond", a=a)
        silicon = bulk("Si", "diamond", a=a, cubic=True)
        yield from (silicon, *(silicon.repeat(times) for times in ((2, 1, 1), (3, 1, 1), 2)))
    yield bulk("Li", "fcc", a=4.3, cubic=True)
    yield bulk("Li", "bct", a=3.2, c=3.8)
    yield bulk("Si", "diamond", a=5.43, orthorhombic=True)
    for structure, a in (("zincblende", 5.9), ("rocksalt", 5.2)):
        yield bulk("LiSi", structure, a=a)
        yield bulk("LiSi", structure, a=a, cubic=True)
    yield from (bulk("LiSi", "cesiumchloride", a=3.2).repeat(times) for times in (1, 2))


def moves(ensemble, structures, vectors):
    """|energy of a translated structure - energy as given|, meV/atom, shape (structures, vectors)."""
    scattering, result = ensemble.scattering, []
    for seed, atoms in enumerate(structures):
        shifts = np.random.default_rng(seed).random((vectors, 3)) @ atoms.cell.array
        features = [scattering.features(atoms)]
        for shift in shifts:
            moved = atoms.copy()
            moved.translate(shift)
            features.append(scattering.features(moved))
        energies = ensemble.predict_features(np.array(features))[0]
        result.append(1000 * np.abs(energies[1:] - energies[0]))
    return np.array(result)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=embedded_model())
    parser.add_argument("--structures", type=int, default=120, help="in all kinds together")
    parser.add_argument("--vectors", type=int, default=4, help="for each structure")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    ensemble = Ensemble.load(options.model)
    found = {}
    for kind in KINDS:
        structures = unseen(kind)
        rows = np.linspace(0, len(structures) - 1, options.structures // len(KINDS)).round().astype(int)
        found[kind] = moves(ensemble, [structures[i].atoms for i in np.unique(rows)], options.vectors)
    found["all"] = np.vstack(list(found.values()))
    crystals = list(perfect_crystals())
    flagged = sum(ensemble.predict(atoms).extrapolating for atoms in crystals)
    name = f"perfect crystals, {flagged} flagged as extrapolating"
    found[name] = moves(ensemble, crystals, options.vectors)
    rows = [
        [kind, len(m), m.size, float(m.max()), float(np.sqrt(np.mean(m**2))), int((m > LIMIT).sum())]
        for kind, m in found.items()
    ]
    header = ["set", "structures", "translations", "largest (meV/atom)", "rms (meV/atom)", f"above {LIMIT}"]
    about = machine("numba", "pyFFTW", "ducc0")
    markdown = f"""# Energies under translation

{machine_line(about)}

Model {ensemble.model_id}: {ensemble.n_models} models, grid `{ensemble.scattering.grid.to_dict()}`.
|energy of the translated structure - energy as given|; no translated copy of these structures taught the fit.

{table(header, rows)}
"""
    data = {
        "machine": about,
        "model": ensemble.model_id,
        "rows": [dict(zip(header, r, strict=True)) for r in rows],
    }
    write_results("translation", markdown, data, options.out)
    print(markdown)


if __name__ == "__main__":
    main()
