"""The embedded model keeps what the README promises of it."""

import numpy as np
import pytest
from ase.build import bulk

from atomscatter.ensemble import Ensemble
from service.copies import with_translated_copies
from service.default_model import embedded_model
from service.demo_data import load_sample

# eV/atom; in crystals fields vanish by symmetry, and what single precision leaves of them is rounding.
ROUNDING, ROUNDING_IN_CRYSTALS, GRIDS = 1e-7, 3e-6, 1e-3


def of_no_copy():
    """A structure of each kind that taught the fit no condition of invariance."""
    structures = load_sample("paths")
    copied = {structure.copy_of for structure in with_translated_copies(structures)}
    yield next(s for row, s in enumerate(structures) if row > 300 and row not in copied)
    for kind in ("diffusion", "bulk"):
        yield load_sample(kind)[-1]


SAMPLE = dict(zip(("path", "diffusion", "bulk"), (s.atoms for s in of_no_copy()), strict=True))
CRYSTALS = {  # all atoms lie alike on a grid
    "Li primitive": bulk("Li", "bcc", a=3.44),
    "Li16": bulk("Li", "bcc", a=3.44, cubic=True).repeat(2),
    "Li54": bulk("Li", "bcc", a=3.44, cubic=True).repeat(3),
    "Si8": bulk("Si", "diamond", a=5.43, cubic=True),
    "Si64": bulk("Si", "diamond", a=5.43, cubic=True).repeat(2),
    "LiSi": bulk("LiSi", "zincblende", a=5.9),
}


@pytest.mark.parametrize("name", SAMPLE | CRYSTALS)
def test_a_translation_changes_no_energy_and_the_place_of_the_grids_little(name):
    ensemble, rng = Ensemble.load(embedded_model()), np.random.default_rng(5)
    atoms = (SAMPLE | CRYSTALS)[name]
    moved = [atoms.copy() for _ in range(3)]
    for copy in moved:
        copy.translate(rng.random(3) @ copy.cell.array)

    def changes(origin):
        features = [ensemble.scattering.features(copy, origin=origin) for copy in moved]
        return np.abs(ensemble.predict_features(np.array(features))[0] - as_given)

    as_given = ensemble.predict(atoms).energy_per_atom
    rounding = ROUNDING if name in SAMPLE else ROUNDING_IN_CRYSTALS
    assert changes("atoms").max() < rounding
    assert rounding < changes("cell").max() < GRIDS
