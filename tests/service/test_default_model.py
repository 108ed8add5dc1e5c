"""The embedded model keeps what the README promises of it."""

import numpy as np
import pytest

from atomscatter.ensemble import Ensemble
from service.copies import with_translated_copies
from service.default_model import embedded_model
from service.demo_data import load_sample

LIMIT = 0.1e-3  # eV/atom


def of_no_copy():
    """A structure of each kind that taught the fit no condition of invariance."""
    structures = load_sample("paths")
    copied = {structure.copy_of for structure in with_translated_copies(structures)}
    yield next(s for row, s in enumerate(structures) if row > 300 and row not in copied)
    for kind in ("diffusion", "bulk"):
        yield load_sample(kind)[-1]


@pytest.mark.parametrize("structure", list(of_no_copy()), ids=["path", "diffusion", "bulk"])
def test_a_translation_moves_no_energy_by_a_tenth_of_a_milli_electronvolt(structure):
    ensemble, rng = Ensemble.load(embedded_model()), np.random.default_rng(5)
    as_given = ensemble.predict(structure.atoms).energy_per_atom
    for _ in range(3):
        moved = structure.atoms.copy()
        moved.translate(rng.random(3) @ moved.cell.array)
        assert abs(ensemble.predict(moved).energy_per_atom - as_given) < LIMIT
