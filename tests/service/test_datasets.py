"""What is refused of a training set, and what stays on disk."""

import io
import json
import os
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from atomscatter.errors import DataError, StorageError
from service.datasets import DatasetReading, DatasetStore, UnknownIdError, describe
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


def added(store, reading=READING, content=None):
    """Id of a data set in a store."""
    frames_of_it = frames(2) if content is None else content
    with store.received(io.BytesIO(frames_of_it)) as path:
        return store.add(path, reading, describe("a.xyz", path, reading)).id


def names(store, dataset_id):
    return [(s.source, s.path_id) for s in store.structures(dataset_id)]


def test_names_are_the_same_in_every_state_directory(tmp_path):
    stores = [DatasetStore(tmp_path / place) for place in "ab"]
    (dataset_id,) = {added(store) for store in stores}
    source = f"{dataset_id}/structures.extxyz"
    for store in stores:
        assert names(store, dataset_id) == [(source, f"{source}#0"), (source, f"{source}#1")]
    other = added(stores[0], content=frames(3))
    assert not {path for _, path in names(stores[0], other)} & {f"{source}#0", f"{source}#1"}


def test_names_that_the_sender_gave_are_kept(tmp_path):
    store = DatasetStore(tmp_path)
    path = f"{tmp_path}/run/OUTCAR"
    dataset_id = added(store, DatasetReading("p"), frames(2, energy=f"energy=-3.0 p={path}"))
    assert [found for _, found in names(store, dataset_id)] == [path] * 2


def test_a_set_of_an_earlier_version_keeps_the_names_that_stores_were_made_with(tmp_path):
    store = DatasetStore(tmp_path)
    dataset_id = added(store)
    description = tmp_path / dataset_id / "dataset.json"
    values = json.loads(description.read_text())
    del values["named_by_id"]
    description.write_text(json.dumps(values))
    assert added(store) == dataset_id, "sent again, it is the same"
    source = str(tmp_path / dataset_id / "structures.extxyz")
    assert names(store, dataset_id) == [(source, f"{source}#0"), (source, f"{source}#1")]


def test_a_structure_that_is_there_twice_is_named_by_the_file_that_was_sent(tmp_path):
    with pytest.raises(UploadError) as refused:
        described(tmp_path / "a.extxyz", frames(1) * 2, name="mine.xyz")
    assert refused.value.problems == [(1, "is a duplicate of mine.xyz, structure 0")]


def half_of_the_file(directory):
    file = directory / "structures.extxyz"
    file.write_bytes(file.read_bytes()[: len(frames(1))])


def a_bad_structure(directory):
    file = directory / "structures.extxyz"
    file.write_bytes(file.read_bytes().replace(b"Si 0", b"Si x", 1))


def no_file(directory):
    (directory / "structures.extxyz").unlink()


def no_description(directory):
    (directory / "dataset.json").unlink()


def half_of_the_description(directory):
    (directory / "dataset.json").write_text('{"id": ')


def another_description(directory):
    (directory / "dataset.json").write_text("[]")


@pytest.mark.parametrize("damage", [half_of_the_file, a_bad_structure, no_file])
def test_a_damaged_set_is_not_used_and_replaced(tmp_path, damage):
    store = DatasetStore(tmp_path)
    dataset_id = added(store)
    damage(tmp_path / dataset_id)
    with pytest.raises(DataError, match=f"data set {dataset_id} is damaged"):
        store.structures(dataset_id)
    assert added(store) == dataset_id
    assert len(store.structures(dataset_id)) == 2
    assert [p.name for p in tmp_path.iterdir()] == [dataset_id]


@pytest.mark.parametrize("damage", [no_description, half_of_the_description, another_description])
def test_one_unreadable_set_does_not_hide_the_others(tmp_path, damage):
    store = DatasetStore(tmp_path)
    damaged, other = added(store), added(store, content=frames(3))
    damage(tmp_path / damaged)
    with capture_logs() as told:
        assert [found.id for found in store.all()] == [other]
    assert [line["dataset"] for line in told] == [damaged]
    added(store)
    assert {found.id for found in store.all()} == {damaged, other}


def test_a_set_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    store, synced = DatasetStore(tmp_path), []
    fsync = os.fsync

    def noted(file):
        synced.append(Path(f"/proc/self/fd/{file}").readlink())
        fsync(file)

    monkeypatch.setattr(os, "fsync", noted)
    added(store)
    scratch = synced[0].parent
    assert scratch.name.startswith(".new-"), "not yet under its name"
    assert synced == [scratch / "structures.extxyz", scratch / "dataset.json", scratch, tmp_path]


@pytest.mark.parametrize("damage", [None, no_file, no_description, half_of_the_description])
def test_a_deleted_set_is_unknown_damaged_or_not(tmp_path, damage):
    store = DatasetStore(tmp_path)
    dataset_id, other = added(store), added(store, content=frames(3))
    if damage is not None:
        damage(tmp_path / dataset_id)
    store.delete(dataset_id)
    assert [p.name for p in tmp_path.iterdir()] == [other]
    for unknown in (dataset_id, "..", ""):
        with pytest.raises(UnknownIdError, match="no data set"):
            store.delete(unknown)
    assert added(store) == dataset_id, "it can be sent again"


def test_on_a_full_disk_a_set_makes_room(small_disk):
    disk = small_disk("1m")
    store = DatasetStore(disk / "datasets")
    dataset_id = added(store)
    with pytest.raises(OSError, match="No space"), (disk / "filler").open("wb") as filler:
        filler.write(bytes(2**21))
    with pytest.raises(StorageError, match="no space left"):
        added(store, content=frames(3))
    store.delete(dataset_id)
    assert store.all() == []
