"""The embedded sample: complete, labelled, and small."""

from collections import Counter
from importlib.resources import files

import numpy as np
import pytest

from atomscatter.errors import DataError
from atomscatter.origin import LEAST_WAVE
from service.demo_data import KINDS, REFERENCE_ENERGIES, load_sample, thinned


@pytest.fixture(scope="module")
def sample() -> dict[str, list]:
    return {kind: load_sample(kind) for kind in KINDS}


def test_all_paths_and_concentrations_are_there(sample: dict[str, list]) -> None:
    paths = sample["paths"]
    per_path = Counter(s.path_id for s in paths)
    assert len(per_path) == 370
    assert len(set(per_path.values())) == 1
    alphas = {round(s.atoms.info["alpha"], 6) for s in paths}
    assert len(alphas) == 37
    assert round(min(alphas), 2) == 0.11  # the ratios of whole atoms nearest to 0.1 and 3.75
    assert round(max(alphas), 2) == 3.76


def test_extrapolation_sets(sample: dict[str, list]) -> None:
    assert len(sample["diffusion"]) == 50
    assert len({s.atoms.info["mep"] for s in sample["diffusion"]}) == 6
    assert {s.atoms.info["kind"] for s in sample["large"]} == {"scratch", "2x1x1", "2x2x2"}
    strains: dict[str, list[float]] = {}
    for s in sample["bulk"]:
        strains.setdefault(s.path_id, []).append(round(s.atoms.info["strain"], 4))
    assert len(strains) == 37
    for values in strains.values():
        assert {-0.045, -0.0225, 0.0, 0.0225, 0.045} <= set(values)
        assert values == sorted(values)


def test_every_structure_is_labelled_and_bound(sample: dict[str, list]) -> None:
    for structures in sample.values():
        for s in structures:
            n_li = np.count_nonzero(s.atoms.numbers == 3)
            n_si = np.count_nonzero(s.atoms.numbers == 14)
            assert n_li + n_si == len(s.atoms)
            elements = n_li * REFERENCE_ENERGIES["Li"] + n_si * REFERENCE_ENERGIES["Si"]
            assert abs(s.energy - elements) / len(s.atoms) < 2.0  # eV/atom: a total energy of this cell


def test_paths_go_downhill(sample: dict[str, list]) -> None:
    paths: dict[str, list[float]] = {}
    for s in sample["paths"]:
        paths.setdefault(s.path_id, []).append(s.energy)
    assert all(energies[-1] == min(energies) for energies in paths.values())


def test_the_files_are_small() -> None:
    folder = files("service") / "data"
    assert sum(len((folder / f"{kind}.extxyz.xz").read_bytes()) for kind in KINDS) < 4e6


def test_thinned_keeps_whole_concentrations(sample: dict[str, list]) -> None:
    few = thinned(sample["paths"], 3)
    assert len({s.atoms.info["alpha"] for s in few}) == 3
    assert len({s.path_id for s in few}) == 30


def test_unknown_kind() -> None:
    with pytest.raises(DataError, match="'surface'"):
        load_sample("surface")


def test_the_longest_waves_are_weak_in_tilings_and_seldom_elsewhere(sample: dict[str, list]) -> None:
    """What the threshold of atomscatter/origin.py rests on."""

    def share_of_weak(structures: list) -> float:
        weak = []
        for atoms in (s.atoms for s in structures):
            waves = np.exp(-2j * np.pi * atoms.get_scaled_positions())
            weak.append((np.abs(atoms.numbers @ waves) < LEAST_WAVE * np.linalg.norm(atoms.numbers)).any())
        return float(np.mean(weak))

    tilings = [s for s in sample["large"] if s.atoms.info["kind"] != "scratch"]
    assert len(tilings) == 24
    assert share_of_weak(tilings) == 1.0
    assert share_of_weak(sample["paths"]) == pytest.approx(0.03, abs=0.005)
