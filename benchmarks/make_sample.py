"""Make the embedded sample (service/data) from the full reference files.

    python benchmarks/make_sample.py REFERENCE_DIRECTORY [OUTPUT_DIRECTORY]

The reference directory holds alisi-sample.extxyz.xz, diffusion.extxyz, large.extxyz.xz and
bulk.extxyz.xz. The counts below set how long ``atomscatter demo`` takes.
"""

from __future__ import annotations

import io
import lzma
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.extxyz import write_xyz
from common import read_frames

from service.spacing import evenly

# Which of the 20 evenly spaced steps to keep; the paths take turns. Energies fall fast in the beginning
# (median above the last step: 226 meV/atom at step 0, 69 at 2), and the other sets derive from the end.
PATH_STEPS = ((0, 19), (2, 19))
# How many of each kind of large structure to keep, spread evenly over the concentrations.
LARGE = {"scratch": 19, "2x1x1": 19, "2x2x2": 5}
STRAINS = (-0.09, -0.0675, -0.045, -0.0225, 0.0, 0.0225, 0.045, 0.0675, 0.09)
DECIMALS = 6  # of positions, Angstrom
OUTPUT = Path(__file__).parents[1] / "service" / "data"


def spread_frames(frames: Sequence[Atoms], count: int) -> list[Atoms]:
    """``count`` frames evenly spread over the concentrations, alpha."""
    ordered = sorted(frames, key=lambda a: float(a.info["alpha"]))
    return [ordered[i] for i in evenly(len(ordered), count)]


def relaxation_paths(frames: Iterable[Atoms]) -> list[Atoms]:
    paths: dict[int, list[Atoms]] = {}
    for atoms in frames:
        paths.setdefault(int(atoms.info["path_id"]), []).append(atoms)
    ordered = [sorted(path, key=lambda a: int(a.info["step"])) for _, path in sorted(paths.items())]
    return [path[i] for n, path in enumerate(ordered) for i in PATH_STEPS[n % len(PATH_STEPS)]]


def large(frames: Sequence[Atoms]) -> list[Atoms]:
    return [
        a
        for kind, count in LARGE.items()
        for a in spread_frames([f for f in frames if f.info["kind"] == kind], count)
    ]


def strained(frames: Iterable[Atoms]) -> list[Atoms]:
    return [a for a in frames if np.isclose(float(a.info["strain"]), STRAINS, atol=1e-6).any()]


def lean(atoms: Atoms) -> Atoms:
    """The structure with its energy and info, without forces, positions rounded."""
    copy = atoms.copy()
    copy.positions = copy.positions.round(DECIMALS)
    copy.info = {
        key: value.item() if isinstance(value, np.generic) else value for key, value in atoms.info.items()
    }
    copy.calc = SinglePointCalculator(copy, energy=atoms.get_potential_energy())
    return copy


def write(path: Path, frames: Iterable[Atoms]) -> None:
    text = io.StringIO()
    frames = [lean(a) for a in frames]
    write_xyz(text, frames)
    path.write_bytes(lzma.compress(text.getvalue().encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{path.name}: {len(frames)} structures, {path.stat().st_size / 1e6:.2f} MB")


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    source = Path(sys.argv[1])
    output = Path(sys.argv[2]) if len(sys.argv) > 2 else OUTPUT
    output.mkdir(parents=True, exist_ok=True)
    write(output / "paths.extxyz.xz", relaxation_paths(read_frames(source / "alisi-sample.extxyz.xz")))
    write(output / "diffusion.extxyz.xz", read_frames(source / "diffusion.extxyz"))
    write(output / "large.extxyz.xz", large(read_frames(source / "large.extxyz.xz")))
    write(output / "bulk.extxyz.xz", strained(read_frames(source / "bulk.extxyz.xz")))


if __name__ == "__main__":
    main()
