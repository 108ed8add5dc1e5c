"""Every figure is written as an image that shows something."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from service import plots
from service.evaluation import Moduli

RNG = np.random.default_rng(0)


def is_figure(path: Path) -> bool:
    """Whether a PNG is large enough to read and not blank."""
    image = imread(path)
    return min(image.shape[:2]) > 300 and float((image[..., :3].mean(axis=-1) < 0.8).mean()) > 0.005


def test_learning_curves(tmp_path: Path) -> None:
    sizes = np.unique(np.geomspace(1, 1000, 60).astype(int))
    curves = plots.LearningCurves(
        sizes, 0.3 / sizes**0.7, 0.3 / sizes**0.5, 0.31 / sizes**0.5, RNG.integers(60, 250, 500)
    )
    plots.learning_curves(curves, tmp_path / "a" / "curves.png")
    assert is_figure(tmp_path / "a" / "curves.png")


@pytest.mark.parametrize("coloured", [True, False])
def test_parity(tmp_path: Path, coloured: bool) -> None:
    reference = RNG.uniform(-5, -2, 300)
    colours = plots.Colours(reference, "lithium content") if coloured else None
    plots.parity(reference, reference + RNG.normal(0, 0.01, 300), tmp_path / "parity.png", colours=colours)
    assert is_figure(tmp_path / "parity.png")


@pytest.mark.parametrize("n", [1, 37])
def test_energy_volume(tmp_path: Path, n: int) -> None:
    volume = 18 * (1 + np.linspace(-0.09, 0.09, 9)) ** 3
    energy = 0.004 * (volume - 18) ** 2
    alpha = np.linspace(0.1, 3.75, n)
    curves = [
        plots.EnergyVolume(a, volume, energy - a, energy - a + RNG.normal(0, 0.01, (5, 9))) for a in alpha
    ]
    folds = np.tile(100 - 10 * alpha, (5, 1)) + RNG.normal(0, 3, (5, n))
    folds[:, 0] = np.nan  # no curve could be fitted
    moduli = Moduli(alpha, 100 - 10 * alpha, folds, folds.mean(axis=0))
    plots.energy_volume(curves, moduli, tmp_path / "bulk.png")
    assert is_figure(tmp_path / "bulk.png")


def test_migration_paths(tmp_path: Path) -> None:
    energy = -344 + np.sin(np.linspace(0, np.pi, 8))
    paths = [plots.MigrationPath(f"path {i}", energy, energy + RNG.normal(0, 0.1, (5, 8))) for i in range(6)]
    plots.migration_paths(paths, tmp_path / "paths.png")
    assert is_figure(tmp_path / "paths.png")
