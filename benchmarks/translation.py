"""How exact predicted energies are: under translation, and when the grids move against the atoms.

    python benchmarks/translation.py [--model DIR] [--structures 120] [--vectors 4] [--out DIR]

Grids move with the atoms (atomscatter/origin.py), so a translation should change nothing but last digits.
Where atoms lie on the grids changes when they move against each other, and then the error of the grids shows:
how large it is, is seen when the grids are moved by random vectors, and what it does to relative energies,
along migration paths. Structures: of the embedded sample, evenly over its kinds, without those whose
translated copies taught the fit; and perfect crystals. The model is the embedded one, or another.
"""

import argparse
from pathlib import Path

import numpy as np
from ase.build import bulk, make_supercell, niggli_reduce
from ase.spacegroup import crystal
from common import RESULTS, machine, machine_line, table, write_results
from grid_convergence import finer, translated

from atomscatter.ensemble import Ensemble
from atomscatter.grids import Grid
from atomscatter.scattering import Scattering
from service.copies import with_translated_copies
from service.default_model import embedded_model
from service.demo_data import KINDS, load_sample


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
    # Cells in which the longest waves vanish, or which the crystal's rotations do not map onto themselves.
    for primitive in (bulk("Li", "bcc", a=3.44), bulk("Si", "diamond", a=5.43)):
        for multiple in (5, 7, 13):
            sheared = make_supercell(primitive, [[1, 0, 0], [0, 1, 0], [1, 2, multiple]])
            yield sheared.copy()
            niggli_reduce(sheared)
            yield sheared
    sites = [(0, 0, 0), (0.25, 0, 0.5)]
    a15 = crystal(["Si", "Li"], sites, spacegroup=223, cellpar=[5, 5, 5, 90, 90, 90])
    yield from (a15, a15.repeat((3, 2, 1)))
    screw = crystal(["Si"], [(0.15, 0.3, 0.05)], spacegroup=76, cellpar=[5, 5, 7, 90, 90, 90])
    yield from (screw, screw.repeat((2, 1, 1)))


def energies(ensemble, structures, origin="atoms", scattering=None):
    """meV/atom, shape (structures,)."""
    scattering = scattering or ensemble.scattering
    features = [scattering.features(atoms, origin=origin) for atoms in structures]
    return 1000 * ensemble.predict_features(np.array(features))[0]


def moves(ensemble, structures, vectors):
    """|energy of a translated structure - energy|, and |energy with moved grids - energy|, meV/atom.

    Shape (2, structures, vectors).
    """
    result = []
    for seed, atoms in enumerate(structures):
        copies = translated(atoms, vectors, seed)
        (energy,) = energies(ensemble, [atoms])
        result.append([np.abs(energies(ensemble, copies, o) - energy) for o in ("atoms", "cell")])
    return np.array(result).swapaxes(0, 1)


def errors_along_paths(ensemble, origin):
    """Largest minus smallest error of the grids over the images of each path of diffusion, meV of the cell.

    Against grids with twice the points of each axis.
    """
    grid = Grid(first=finer(Grid().first, 2.0), second=finer(Grid().second, 2.0))
    fine = Scattering.from_config(ensemble.scattering.config | {"grid": grid.to_dict()})
    paths = {}
    for structure in load_sample("diffusion"):
        paths.setdefault(structure.atoms.info["mep"], []).append(structure.atoms)
    result = []
    for images in paths.values():
        by_both = [energies(ensemble, images, origin, scattering) for scattering in (None, fine)]
        result.append(np.ptp(np.subtract(*by_both)) * len(images[0]))
    return np.array(result)


def summary(errors):
    return [float(np.max(np.abs(errors))), float(np.sqrt(np.mean(errors**2)))]


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
    found["all"] = np.concatenate(list(found.values()), axis=1)
    crystals = list(perfect_crystals())
    flagged = sum(ensemble.predict(atoms).extrapolating for atoms in crystals)
    found[f"perfect crystals, {flagged} flagged as extrapolating"] = moves(
        ensemble, crystals, options.vectors
    )
    rows = [[kind, m.shape[1], m[0].size, *summary(m[0]), *summary(m[1])] for kind, m in found.items()]
    unit = "(meV/atom)"
    header = ["set", "structures", "vectors"]
    header += [f"{m}: {s} {unit}" for m in ("translated", "grids moved") for s in ("largest", "rms")]
    along = {origin: errors_along_paths(ensemble, origin) for origin in ("atoms", "cell")}
    names = {"atoms": "move with the atoms", "cell": "stay in the cell"}
    of_paths = {names[o]: [float(e.mean()), float(e.max())] for o, e in along.items()}
    about = machine("numba", "pyFFTW", "ducc0")
    markdown = f"""# Energies under translation, and the error of the grids

{machine_line(about)}

Model {ensemble.model_id}: {ensemble.n_models} models, grid `{ensemble.scattering.grid.to_dict()}`.
Changes of the energy by random vectors: of the structure, whose grids move with it, and of the grids alone.
No translated copy of these structures taught the fit.

{table(header, rows)}

Relative energies along a path of diffusion ({len(along["atoms"])} paths, energies of the cell): largest minus
smallest error of the grids, against grids with twice the points of each axis.

{table(["grids", "mean over the paths (meV)", "largest (meV)"], [[k, *v] for k, v in of_paths.items()])}
"""
    data = {
        "machine": about,
        "model": ensemble.model_id,
        "rows": [dict(zip(header, r, strict=True)) for r in rows],
        "along paths, meV": {origin: e.tolist() for origin, e in along.items()},
    }
    write_results("translation", markdown, data, options.out)
    print(markdown)


if __name__ == "__main__":
    main()
