import numpy as np
import pytest
from ase.build import bulk

from atomscatter.errors import DataError, StoreError
from atomscatter.scattering import Scattering
from service.copies import with_translated_copies
from service.feature_store import FeatureStore
from service.reading import LabelledStructure
from tests.stores import content_hash
from workers.cluster import connect
from workers.featurize import Featurizer, featurize

SETTINGS = {"beta": 1.0, "scales": 2}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with connect(workers=2):
        yield


@pytest.fixture(scope="module")
def structures():
    rng = np.random.default_rng(0)
    made = []
    for i in range(13):
        atoms = bulk("Si", a=5.0 + 0.1 * i)
        atoms.numbers[0] = 3
        atoms.rattle(0.05, rng=rng)
        atoms.positions += 20 * i  # outside of the cell
        made.append(LabelledStructure(atoms, "data.xyz", i, str(i), -1.0 * i))
    return made


@pytest.fixture(scope="module")
def expected(structures):
    scattering = Scattering(**SETTINGS)
    return np.array([scattering.features(s.atoms) for s in structures])


@pytest.mark.parametrize(("workers", "chunk_rows"), [(1, None), (2, 4), (2, 200)])
def test_rows_are_the_features_in_the_order_of_the_structures(
    tmp_path, structures, expected, workers, chunk_rows
):
    progress = []
    store = featurize(
        structures,
        Scattering(**SETTINGS),
        tmp_path / "store",
        workers=workers,
        chunk_rows=chunk_rows,
        on_progress=progress.append,
    )
    assert np.array_equal(store.features[:], expected)  # the bytes of another process
    assert progress[0] == 0
    assert sum(progress) == 13
    assert store.is_complete
    FeatureStore.open(tmp_path / "store")


def test_grids_move_with_structures_and_not_with_copies(tmp_path, structures, expected):
    rows, scattering = with_translated_copies(structures, 0.3), Scattering(**SETTINGS)
    found = featurize(rows, scattering, tmp_path / "store", workers=1).features[:]
    assert np.array_equal(found[:13], expected)
    for row, copy in zip(rows[13:], found[13:], strict=True):
        assert np.array_equal(copy, scattering.features(row.atoms, origin="cell"))
        original = expected[row.copy_of]
        assert scattering.features(row.atoms) == pytest.approx(original, rel=1e-5)
        assert copy != pytest.approx(original, rel=1e-4), "the error of the grids"


@pytest.fixture(scope="module")
def made(tmp_path_factory, structures):
    """A complete store."""
    path = tmp_path_factory.mktemp("made") / "store"
    return featurize(structures, Scattering(**SETTINGS), path, workers=2, chunk_rows=4)


def test_a_complete_store_is_left_as_it_is(made, structures):
    times = {file: file.stat().st_mtime_ns for file in (made.path / "features").rglob("*")}
    progress = []
    featurize(structures, Scattering(**SETTINGS), made.path, workers=2, on_progress=progress.append)
    assert progress == [13]
    assert {file: file.stat().st_mtime_ns for file in (made.path / "features").rglob("*")} == times


def test_a_relative_path_is_meant_from_here(tmp_path, structures, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = FeatureStore.create("store", structures[:2], Scattering(**SETTINGS))
    assert store.path == tmp_path / "store"  # as workers are told, whose directory may be another


def test_another_configuration_other_data_and_other_chunks_are_refused(made, structures):
    before = content_hash(made)
    with pytest.raises(StoreError, match=r"beta is 1\.0 there, 1\.1 now"):
        featurize(structures, Scattering(beta=1.1, scales=2), made.path, workers=2)
    with pytest.raises(StoreError, match="other data"):
        featurize(structures[::-1], Scattering(**SETTINGS), made.path, workers=2)
    with pytest.raises(StoreError, match="chunks of 4 rows, not 5"):
        featurize(structures, Scattering(**SETTINGS), made.path, workers=2, chunk_rows=5)
    assert content_hash(FeatureStore.open(made.path)) == before


def test_a_structure_that_cannot_be_featurized_is_named(tmp_path, structures):
    bad = bulk("Ge")
    mixed = [*structures[:5], LabelledStructure(bad, "other.cif", 3, "x", 0.0), *structures[5:]]
    with pytest.raises(DataError, match=r"other\.cif, structure 3: contains Ge"):
        featurize(mixed, Scattering(**SETTINGS), tmp_path / "store", workers=2)


def test_the_actor_is_a_plain_class(tmp_path, structures, expected):
    store = FeatureStore.create(tmp_path / "store", structures, Scattering(**SETTINGS), chunk_rows=5)
    worker = Featurizer(store.scattering_config, str(store.path))
    jobs = [
        ("a", s.atoms.numbers, s.atoms.positions, np.asarray(s.atoms.cell.array), False)
        for s in structures[10:]
    ]
    worker.featurize(2, store.unit_input_hash(2), jobs)
    assert list(store.completed_units()) == [2]
    assert store.verify() == []
    rows = store.features[:]
    assert np.array_equal(rows[10:], expected[10:])
    assert np.isnan(rows[:10]).all()
