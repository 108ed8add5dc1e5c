"""Translated copies: same energy and path, moved as a whole, marked with their original."""

import numpy as np
import pytest
from ase.build import bulk

from atomscatter.errors import ConfigError
from atomscatter.scattering import Scattering
from service.copies import with_translated_copies
from service.feature_store import FeatureStore
from service.reading import LabelledStructure


@pytest.fixture
def structures():
    atoms = bulk("Si", "diamond", a=5.4)
    return [LabelledStructure(atoms.copy(), "file", i, f"path {i // 2}", -5.0 - i) for i in range(12)]


def test_copies_follow_the_originals_and_are_moved_as_a_whole(structures):
    rows = with_translated_copies(structures, 0.25)
    assert rows[:12] == structures
    assert [row.copy_of for row in rows[12:]] == [0, 6, 11]
    for copy in rows[12:]:
        original = structures[copy.copy_of]
        assert (copy.energy, copy.path_id) == (original.energy, original.path_id)
        moves = copy.atoms.positions - original.atoms.positions
        np.testing.assert_allclose(moves, moves[:1].repeat(len(moves), axis=0), atol=1e-12)
        assert np.abs(moves).max() > 0.01
    moves = [row.atoms.positions[0] - structures[row.copy_of].atoms.positions[0] for row in rows[12:]]
    assert len({tuple(m) for m in moves}) == 3


def test_same_seed_same_copies(structures):
    first, again = (with_translated_copies(structures, 0.5, seed=3) for _ in range(2))
    other = with_translated_copies(structures, 0.5, seed=4)
    for a, b, c in zip(first[12:], again[12:], other[12:], strict=True):
        np.testing.assert_array_equal(a.atoms.positions, b.atoms.positions)
        assert (a.atoms.positions != c.atoms.positions).any()


@pytest.mark.parametrize("share", [-0.1, 1.1, np.nan])
def test_share_out_of_range(structures, share):
    with pytest.raises(ConfigError, match="share of translated copies"):
        with_translated_copies(structures, share)


def test_no_copies(structures):
    assert list(with_translated_copies(structures, 0)) == structures


def test_store_knows_the_originals_and_its_hash_depends_on_them(tmp_path, structures):
    rows = list(with_translated_copies(structures, 0.25))
    scattering = Scattering.for_species(["Si"], scales=1)
    store = FeatureStore.create(tmp_path / "a", rows, scattering)
    np.testing.assert_array_equal(store.originals, [-1] * 12 + [0, 6, 11])
    rows[12].copy_of = 1
    assert FeatureStore.create(tmp_path / "b", rows, scattering).data_hash != store.data_hash
