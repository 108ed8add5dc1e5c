"""Figures of the paper that need no model: 1 (energies), 2-4 (wavelets and fields), 11 (voltage), 12 (g(r)).

    python benchmarks/paper_figures.py REFERENCE_DIRECTORY [--output benchmarks/results/paper]

Energies are labels of an ANN potential (PBE-trained), not DFT. The fields are those of the straightforward
implementation in tests/reference, which holds them on one grid.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import common
import numpy as np
from ase import Atoms
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from PIL import Image
from scipy.special import eval_genlaguerre, sph_harm_y

from atomscatter.radial import radial_distribution
from atomscatter.voltage import average_voltages
from service.demo_data import LABELS, REFERENCE_ENERGIES
from service.plots import BLUE, GREY, save
from tests.reference.slow_scattering import channel_weights, frequencies, scattering_maps, wavelet_hat

BETA = 0.5  # Angstrom: the package's default
SCALES = 5  # those of the paper's figures
N = 3
FIELD_POINTS = 72
LIGHT = "#bcd9ea"  # of a band around a blue line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--output", type=Path, default=common.RESULTS / "paper")
    given = parser.parse_args()
    draw_all(given.reference, given.output)


def draw_all(reference: Path, output: Path) -> None:
    """Draw all of them from the reference directory."""
    relaxed = common.read_frames(reference / "relaxed.extxyz.xz")
    with np.load(reference / "alisi-paths.npz", allow_pickle=False) as archive:
        energy_histogram(archive, output / "energies.png")
    wavelets(output / "wavelets.png")
    example = min(relaxed, key=lambda atoms: abs(atoms.info["alpha"] - 1.0))
    fields(example, output)
    voltage(relaxed, output / "voltage.png")
    radial_functions(relaxed, output / "radial_functions.png")
    for file in sorted(output.glob("*.png")):
        print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


def by_alpha(structures: Sequence[Atoms]) -> dict[float, list[Atoms]]:
    """Structures of each lithium content, in ascending order."""
    groups: dict[float, list[Atoms]] = {}
    for atoms in sorted(structures, key=lambda atoms: atoms.info["alpha"]):
        groups.setdefault(float(atoms.info["alpha"]), []).append(atoms)
    return groups


def energy_histogram(paths: Mapping[str, np.ndarray], file: Path) -> None:
    """Fig. 1: how many structures have which formation energy at which lithium content."""
    n_atoms, alpha = paths["n_atoms"], paths["alpha"]
    is_lithium = np.add.reduceat(paths["numbers"] == 3, paths["offsets"][:-1])
    elements = is_lithium * REFERENCE_ENERGIES["Li"] + (n_atoms - is_lithium) * REFERENCE_ENERGIES["Si"]
    formation = (paths["energy"] - elements) / n_atoms
    contents = np.unique(alpha)
    edges = np.concatenate([[contents[0] - 0.05], (contents[1:] + contents[:-1]) / 2, [contents[-1] + 0.05]])
    figure = Figure(figsize=(7, 4.6), layout="constrained")
    axes = figure.add_subplot()
    *_, mesh = axes.hist2d(alpha, formation, bins=(edges, 90), norm=LogNorm(), cmap="viridis")
    figure.colorbar(mesh, ax=axes, label="structures in the bin")
    axes.set_xlabel("lithium content α of Li$_α$Si")
    axes.set_ylabel("formation energy (eV/atom)")
    what = f"{len(alpha):,} structures of {len(np.unique(paths['path_id']))} relaxation paths"
    axes.set_title(f"{what}; labels: {LABELS}", loc="left", fontsize=9)
    save(figure, file)


def wavelets(file: Path) -> None:
    """Fig. 2: wavelets of n = 3, m = 0 in the xz plane, and hydrogen's orbitals below."""
    names = ("3s", "3p", "3d")
    figure = Figure(figsize=(8, 5.6), layout="constrained")
    for column in range(N):
        rows = (
            (wavelet(column), 2.5, f"wavelet (n, l, m) = (3, {column}, 0)"),
            (hydrogen(column), 12.0, f"hydrogen {names[column]}"),
        )
        for row, (values, extent, title) in enumerate(rows):
            axes = figure.add_subplot(2, N, row * N + column + 1)
            largest = np.abs(values).max()
            axes.imshow(
                values.T,
                origin="lower",
                cmap="RdBu_r",
                vmin=-largest,
                vmax=largest,
                extent=(-extent, extent, -extent, extent),
                interpolation="bilinear",
            )
            axes.set_title(title, fontsize=10)
            axes.set_xlabel("x (Å)" if row == 0 else "x (Bohr radii)")
            axes.set_ylabel("z (Å)" if row == 0 else "z (Bohr radii)")
    figure.suptitle(
        f"β = {BETA} Å; each panel scaled to its largest value (blue negative, red positive)", fontsize=10
    )
    save_small(figure, file)


def wavelet(angular: int, points: int = 128, length: float = 10.0) -> np.ndarray:
    """psi_{3,l}^0 at scale 0 in the xz plane, from its Fourier transform (appendix B) in a box of
    ``length`` Angstrom; the middle half of the box, shape (points/2 + 1, points/2 + 1)."""
    omega = frequencies(np.eye(3) * length, (points,) * 3)
    values = np.fft.fftshift(np.fft.ifftn(wavelet_hat(omega, N, angular, 0, BETA)).real)
    middle = slice(points // 4, 3 * points // 4 + 1)
    return values[middle, points // 2, middle]


def hydrogen(angular: int, points: int = 96, extent: float = 12.0) -> np.ndarray:
    """Hydrogen's orbital (3, l, 0) in the xz plane, lengths in Bohr radii."""
    x, z = np.meshgrid(*[np.linspace(-extent, extent, points)] * 2, indexing="ij")
    r = np.hypot(x, z)
    radial = np.exp(-r / N) * (2 * r / N) ** angular
    radial *= eval_genlaguerre(N - angular - 1, 2 * angular + 1, 2 * r / N)
    return radial * sph_harm_y(angular, 0, np.arctan2(np.abs(x), z), 0.0).real


def fields(atoms: Atoms, output: Path) -> None:
    """Figs. 3 and 4: cross-sections of first-order fields, and of the second-order ones of (j1, l1) = (1, 1).

    Silicon channel, plane z = 0.
    """
    silicon = channel_weights(("Li", "Si"))[1:2]
    silicon_only = atoms[[atom.symbol == "Si" for atom in atoms]]
    first, second = {}, {}
    shape = (FIELD_POINTS,) * 3
    for (order, _, *label), values in scattering_maps(
        silicon_only, beta=BETA, scales=SCALES, shape=shape, channels=silicon, n=N
    ):
        if order == 1:
            first[tuple(label)] = values[:, :, 0]
        elif label[:2] == [1, 1]:
            second[tuple(label[2:])] = values[:, :, 0]
            if len(second) == SCALES * N:
                break
    length = float(atoms.cell.lengths()[0])
    what = f"{atoms.get_chemical_formula()}, silicon channel, plane z = 0, β = {BETA} Å"
    _maps(first, length, "j", "l", f"First-order fields; {what}", output / "fields_order1.png")
    _maps(
        second,
        length,
        "j₂",
        "l₂",
        f"Second-order fields of j₁ = 1, l₁ = 1; {what}",
        output / "fields_order2.png",
    )


def _maps(
    maps: Mapping[tuple[int, ...], np.ndarray],
    length: float,
    scale: str,
    angular: str,
    title: str,
    file: Path,
) -> None:
    figure = Figure(figsize=(10, 6.6), layout="constrained")
    axes = figure.subplots(N, SCALES, sharex=True, sharey=True)
    for (j, l), values in maps.items():  # noqa: E741 (the angular number, as in the paper)
        panel = axes[l, j]
        image = panel.imshow(values.T, origin="lower", cmap="viridis", extent=(0, length, 0, length))
        figure.colorbar(image, ax=panel, shrink=0.62).ax.tick_params(labelsize=7)
        panel.set_title(f"{scale} = {j}, {angular} = {l}", fontsize=9)
    for panel in axes[-1]:
        panel.set_xlabel("x (Å)")
    for panel in axes[:, 0]:
        panel.set_ylabel("y (Å)")
    figure.suptitle(f"{title}; a colour scale for each panel", fontsize=10)
    save_small(figure, file)


def save_small(figure: Figure, file: Path) -> None:
    """Write a figure with 256 colours: a third of the bytes, and no difference to the eye."""
    save(figure, file)
    shrink(file)


def shrink(file: Path) -> None:
    """Reduce a PNG file to 256 colours."""
    Image.open(file).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
        file, optimize=True
    )


def voltage(relaxed: Sequence[Atoms], file: Path) -> None:
    """Fig. 11: average voltage of lithiation from the smallest lithium content (equation C1)."""
    groups = by_alpha(relaxed)
    alpha, volts, spread = average_voltages(
        {a: [_energy_per_silicon(s) for s in group] for a, group in groups.items()}, REFERENCE_ENERGIES["Li"]
    )
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.errorbar(alpha, volts, spread, fmt="o-", ms=4, color=BLUE, ecolor=GREY, capsize=2)
    axes.set_xlabel("lithium content α of Li$_α$Si")
    axes.set_ylabel("voltage against Li/Li$^+$ (V)")
    axes.set_title(
        f"Mean and standard deviation of 10 relaxed structures; labels: {LABELS}", loc="left", fontsize=9
    )
    axes.grid(alpha=0.3)
    save(figure, file)


def _energy_per_silicon(atoms: Atoms) -> float:
    return float(atoms.get_potential_energy()) / atoms.get_chemical_symbols().count("Si")


def radial_functions(relaxed: Sequence[Atoms], file: Path) -> None:
    """Fig. 12: g(r) of the three pairs, mean and standard deviation over the structures of each content."""
    groups = by_alpha(relaxed)
    chosen = [list(groups)[i] for i in np.linspace(0, len(groups) - 1, 13).round().astype(int)]
    figure = Figure(figsize=(10, 7.5), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    shift = 5.0
    for axes, pair in zip(panels, (("Si", "Si"), ("Li", "Si"), ("Li", "Li")), strict=True):
        for i, alpha in enumerate(chosen):
            found = [radial_distribution(atoms, cutoff=6.0) for atoms in groups[alpha]]
            r = found[0][0]
            g = np.array([functions[pair] for _, functions in found])
            mean, std, base = g.mean(axis=0), g.std(axis=0), -i * shift
            axes.fill_between(r, base + mean - std, base + mean + std, color=LIGHT, lw=0)
            axes.plot(r, base + mean, color=BLUE, lw=1.1)
            axes.axhline(base, color=GREY, lw=0.4, zorder=0)
            if pair == ("Si", "Si"):
                axes.annotate(f"α = {alpha:.2f}", (0.2, base + 0.5), fontsize=8)
        axes.set_title("-".join(pair))
        axes.set_xlabel("r (Å)")
        axes.set_xlim(0, 6)
        axes.set_ylim(-(len(chosen) - 1) * shift - 0.5, 13)
    panels[0].set_yticks([-i * shift for i in range(len(chosen))], ["0"] * len(chosen))
    panels[0].set_ylabel(f"g(r) (dimensionless), one line to the next: {shift:g}")
    figure.suptitle(
        f"{len(chosen)} of {len(groups)} contents, relaxed with the {LABELS}; "
        "band: standard deviation over the structures of a content",
        fontsize=10,
    )
    save_small(figure, file)


if __name__ == "__main__":
    main()
