"""All steps of the relaxation paths (alisi-paths.npz) as extended XYZ files, in 32 interleaved parts.

    python benchmarks/full_paths.py REFERENCE_DIRECTORY OUTPUT_DIRECTORY

Part k holds the steps k, k+32, k+64, ... of every path, so that a model can be trained on the parts that are
there while the features of the others are still being computed:

    atomscatter featurize OUTPUT/part00.extxyz --store STORES/part00 --path-key path_id --copies 0.1

A store of several parts is named after them: STORES/part04-20-12-28 of OUTPUT/part04.extxyz, part20, part12
and part28. The stores behind paper.md are in single precision, the default.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import write_xyz

PARTS = 32


def files_of_store(name: str) -> list[str]:
    """Names of the files whose structures a store holds, in their order."""
    return [f"part{number}.extxyz" for number in name.removeprefix("part").split("-")]


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, output = Path(sys.argv[1]), Path(sys.argv[2])
    output.mkdir(parents=True, exist_ok=True)
    with np.load(source / "alisi-paths.npz", allow_pickle=False) as archive:
        data = {name: archive[name] for name in archive.files}
    counts = [0] * PARTS
    with contextlib.ExitStack() as stack:
        names = [output / f"part{k:02d}.extxyz" for k in range(PARTS)]
        files = [stack.enter_context(name.open("w", encoding="utf-8")) for name in names]
        for i, step in enumerate(data["step"]):
            part = int(step) % PARTS
            write_xyz(files[part], [structure(data, i)])
            counts[part] += 1
    for name, count in zip(names, counts, strict=True):
        print(f"{name.name}: {count} structures, {name.stat().st_size / 1e6:.0f} MB")


def structure(data: dict[str, np.ndarray], i: int) -> Atoms:
    """Structure ``i`` of the archive with its energy (eV) and path."""
    rows = slice(data["offsets"][i], data["offsets"][i + 1])
    atoms = Atoms(
        data["numbers"][rows],
        positions=data["positions"][rows].astype(float),
        cell=[float(data["cell_length"][i])] * 3,
        pbc=True,
        info={
            "path_id": int(data["path_id"][i]),
            "step": int(data["step"][i]),
            "alpha": float(data["alpha"][i]),
        },
    )
    atoms.calc = SinglePointCalculator(atoms, energy=float(data["energy"][i]))
    return atoms


if __name__ == "__main__":
    main()
