"""What is refused of a training set, and what stays on disk."""

import io
import os
import time

import pytest

from service.datasets import DatasetReading, DatasetStore, describe
from service.uploads import MOST_PROBLEMS, UnsupportedUploadError, UploadError

READING = DatasetReading()


def frames(n, energy="energy=-3.0"):
    header = 'Lattice="{} 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3 pbc="T T T" ' + energy
    return "".join(f"1\n{header.format(5 + i / 1000)}\nSi 0 0 0\n" for i in range(n)).encode()


def described(path, content, reading=READING, name="a.extxyz"):
    path.write_bytes(content)
    return describe(name, path, reading)


def test_what_is_in_it(tmp_path):
    found = described(tmp_path / "a.extxyz", frames(3))
    assert (found.n_structures, found.n_paths, found.n_atoms, found.elements) == (3, 3, 3, ("Si",))


def test_a_bad_structure_names_itself_and_millions_do_not(tmp_path):
    with pytest.raises(UploadError) as refused:
        described(tmp_path / "a.extxyz", frames(2) + frames(1, energy="") + frames(3)[-100:])
    assert refused.value.problems[0][0] == 2
    with pytest.raises(UploadError) as refused:
        described(tmp_path / "a.extxyz", frames(MOST_PROBLEMS + 50, energy=""))
    assert len(refused.value.problems) == MOST_PROBLEMS


def test_limits(tmp_path):
    with pytest.raises(UploadError, match="more than 2 structures"):
        described(tmp_path / "a.extxyz", frames(3), DatasetReading(max_structures=2))
    with pytest.raises(UploadError, match="has 1 atoms; at most 0"):
        described(tmp_path / "a.extxyz", frames(3), DatasetReading(max_atoms=0))


@pytest.mark.parametrize("name", ["POSCAR", "a.cif"])
def test_formats_without_energies_are_not_read(tmp_path, name):
    with pytest.raises(UnsupportedUploadError, match="extended XYZ"):
        described(tmp_path / "a.extxyz", frames(1), name=name)


def test_the_same_file_is_kept_once_and_nothing_else_stays(tmp_path):
    store = DatasetStore(tmp_path / "datasets")
    abandoned = store.root / ".new-killed"
    abandoned.mkdir(parents=True)
    os.utime(abandoned, (0, time.time() - 2 * 86400))
    ids = []
    for _ in range(2):
        with store.received(io.BytesIO(frames(2))) as path:
            ids.append(store.add(path, READING, describe("a.xyz", path, READING)).id)
    with pytest.raises(UploadError), store.received(io.BytesIO(b"2\nno such thing")) as path:
        describe("a.xyz", path, READING)
    assert ids[0] == ids[1]
    assert [p.name for p in store.root.iterdir()] == [ids[0]]
    assert len(store.structures(ids[0])) == 2
