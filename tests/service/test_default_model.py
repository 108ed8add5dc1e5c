"""The embedded model keeps what the README promises of it."""

import numpy as np
import pytest
from ase.build import bulk

from atomscatter.ensemble import Ensemble
from service.copies import with_translated_copies
from service.default_model import embedded_model
from service.demo_data import load_sample

ROUNDING, GRIDS = 1e-5, 1e-3  # eV/atom


def of_no_copy():
    """A structure of each kind that taught the fit no condition of invariance."""
    structures = load_sample("paths")
    copied = {structure.copy_of for structure in with_translated_copies(structures)}
    yield next(s for row, s in enumerate(structures) if row > 300 and row not in copied)
    for kind in ("diffusion", "bulk"):
        yield load_sample(kind)[-1]


STRUCTURES = dict(zip(("path", "diffusion", "bulk"), (s.atoms for s in of_no_copy()), strict=True)) | {
    # All atoms lie alike on a grid.
    "Li primitive": bulk("Li", "bcc", a=3.44),
    "Li16": bulk("Li", "bcc", a=3.44, cubic=True).repeat(2),
    "Li54": bulk("Li", "bcc", a=3.44, cubic=True).repeat(3),
    "Si8": bulk("Si", "diamond", a=5.43, cubic=True),
    "Si64": bulk("Si", "diamond", a=5.43, cubic=True).repeat(2),
    "LiSi": bulk("LiSi", "zincblende", a=5.9),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_translation_changes_no_energy_and_the_place_of_the_grids_little(name):
    ensemble, rng, atoms = Ensemble.load(embedded_model()), np.random.default_rng(5), STRUCTURES[name]
    as_given = ensemble.predict(atoms).energy_per_atom
    for _ in range(3):
        moved = atoms.copy()
        moved.translate(rng.random(3) @ moved.cell.array)
        assert abs(ensemble.predict(moved).energy_per_atom - as_given) < ROUNDING
        (by_other_grids,), *_ = ensemble.predict_features(
            ensemble.scattering.features(moved, origin="cell")[None]
        )
        assert ROUNDING / 100 < abs(by_other_grids - as_given) < GRIDS
