import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from atomscatter.scattering import Scattering
from service.copies import with_translated_copies
from service.feature_store import FeatureStore
from service.reading import LabelledStructure, read_structures, structure_digest
from service.spool import StructureSpool
from tests.stores import content_hash


@pytest.fixture(scope="module")
def structures():
    rng = np.random.default_rng(0)
    made = [LabelledStructure(Atoms(), "empty", 0, "none", None)]
    for i in range(9):
        atoms = bulk("Si", cubic=i % 2 == 0, a=5.4 + 0.01 * i)
        atoms.numbers[0] = 3 + i
        atoms.rattle(0.1, rng=rng)
        atoms.pbc = (True, i % 2 == 0, True)
        energy = (None, 0.0, -1.5, np.nan)[i % 4]
        copy_of = i if i > 5 else None
        made.append(LabelledStructure(atoms, f"file {i // 4}", i, f"path {i // 3}", energy, copy_of))
    return made


def same(a, b):
    return (
        structure_digest(a.atoms) == structure_digest(b.atoms)
        and (a.source, a.index, a.path_id, a.copy_of) == (b.source, b.index, b.path_id, b.copy_of)
        and (a.energy is None) == (b.energy is None)
        and (a.energy is None or np.array_equal(a.energy, b.energy, equal_nan=True))
    )


def test_what_goes_in_comes_out(structures):
    spool = StructureSpool(iter(structures))
    assert len(spool) == 10
    for _ in range(2):
        assert all(same(a, b) for a, b in zip(spool, structures, strict=True))
    assert same(spool[-1], structures[9])
    assert [s.index for s in spool[2:5]] == [1, 2, 3]
    with pytest.raises(IndexError):
        spool[10]


def test_what_comes_out_may_be_changed(structures):
    spool = StructureSpool(structures)
    atoms = spool[3].atoms
    atoms.positions += 1
    atoms.numbers[:] = 1
    assert same(spool[3], structures[3])


def test_the_store_and_the_copies_are_those_of_a_list(structures, tmp_path):
    usable = structures[1:]
    scattering = Scattering.for_species({s for u in usable for s in u.atoms.get_chemical_symbols()})
    listed, spooled = (with_translated_copies(s, 0.5) for s in (usable, StructureSpool(usable)))
    assert len(listed) == len(spooled) > len(usable)
    stores = [
        FeatureStore.create(tmp_path / name, rows, scattering)
        for name, rows in (("list", listed), ("spool", spooled))
    ]
    assert content_hash(stores[0]) == content_hash(stores[1])
    stores[0].require_same(spooled, scattering)


def test_a_full_disk_is_named(structures, monkeypatch):
    def full(*_, **__):
        return open("/dev/full", "wb", buffering=0)  # noqa: PTH123

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    from atomscatter.errors import StoreError

    with pytest.raises(StoreError, match="no space left"):
        StructureSpool(structures)


def test_reading_in_one_go_is_reading_one_by_one(structures, tmp_path):
    atoms = [s.atoms for s in structures[1:]]
    for a in atoms:
        a.pbc = True
    write(tmp_path / "a.extxyz", [*atoms, atoms[2], atoms[0]])
    good, bad = read_structures([tmp_path / "a.extxyz"], unique=True)
    assert len(good) == 9
    assert [b.index for b in bad] == [9, 10]
    assert "duplicate of" in bad[0].reason
    assert "structure 2" in bad[0].reason
