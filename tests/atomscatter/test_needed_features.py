"""Features of some columns only: the same numbers as when all are computed."""

import numpy as np
import pytest
from ase.build import bulk

from atomscatter.needed import needed
from atomscatter.scattering import Scattering


@pytest.fixture(scope="module")
def computed():
    atoms = bulk("Si", cubic=True)
    atoms.symbols[:3] = "Li"
    atoms.rattle(0.1, seed=0)
    scattering = Scattering(beta=0.7, scales=3, n=3)
    return scattering, atoms, scattering.features(atoms)


@pytest.mark.parametrize("count", [0, 1, 3, 20, 300])
def test_columns_that_are_needed_are_the_same_and_others_zero(computed, count):
    scattering, atoms, features = computed
    columns = np.random.default_rng(count).choice(scattering.n_features, count, replace=False)
    only = needed(scattering.labels, columns)
    found = scattering.features(atoms, only=only)
    inside = np.isin(np.arange(scattering.n_features), only.columns)
    np.testing.assert_allclose(found[inside], features[inside], rtol=1e-12)
    assert not found[~inside].any()
    assert set(columns) <= set(only.columns.tolist())
