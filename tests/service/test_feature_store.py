import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atomscatter.errors import StoreError
from atomscatter.scattering import Scattering
from service.chunks import ChunkWriter, chunk_name, chunk_rows_for
from service.feature_store import FeatureStore
from tests.stores import SCATTERING, content_hash, fill, make_structures


@pytest.fixture
def structures():
    return make_structures(22)


@pytest.fixture
def store(tmp_path, structures):
    return FeatureStore.create(tmp_path / "store", structures, SCATTERING, chunk_rows=4)


class OfEqualCost(Scattering):
    """Estimates that every structure takes as long."""

    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def estimated_seconds(self, atoms):
        return self.seconds


@pytest.mark.parametrize(
    ("n", "rows"), [(1, 1), (64, 1), (127, 1), (128, 2), (1110, 16), (7400, 64), (83681, 256), (10**6, 256)]
)
def test_small_data_have_small_chunks(structures, n, rows):
    assert chunk_rows_for([structures[0]] * n, OfEqualCost(0.2)) == rows


@pytest.mark.parametrize(
    ("seconds", "rows"), [(0.1, 1), (0.09, 2), (0.03, 4), (0.01, 16), (1e-3, 128), (1e-5, 256)]
)
def test_units_are_worth_handing_out(structures, seconds, rows):
    """At least a tenth of a second of work, however few structures there are."""
    for n in (1, 22):
        assert chunk_rows_for([structures[0]] * n, OfEqualCost(seconds)) == rows


def test_metadata_are_there_from_the_start(store, structures):
    store = FeatureStore.open(store.path, check=False)
    assert len(store) == 22
    assert store.features.shape == (22, SCATTERING.n_features)
    assert store.features.chunks == (4, SCATTERING.n_features)
    assert store.n_units == 6
    assert np.isnan(store.features[:]).all()
    np.testing.assert_array_equal(store.energies, [*(-3.5 * np.arange(21)), np.nan])
    np.testing.assert_array_equal(store.n_atoms, 2)
    np.testing.assert_array_equal(store.indices, np.arange(22))
    assert store.path_ids == [s.path_id for s in structures]
    assert store.sources == [s.source for s in structures]
    assert store.compositions == ["Si", "LiSi"] * 11
    assert store.scattering_config_hash == SCATTERING.config_hash
    assert Scattering.from_config(store.scattering_config).config_hash == SCATTERING.config_hash
    assert not store.is_complete


def test_layout_on_disk(store):
    array = json.loads((store.path / "features" / "zarr.json").read_text())
    assert array["zarr_format"] == 3
    assert array["fill_value"] == "NaN"
    assert [codec["name"] for codec in array["codecs"]] == ["bytes", "zstd", "crc32c"]


def test_features_come_back_bit_for_bit(store):
    X = fill(store)
    again = FeatureStore.open(store.path)
    assert again.is_complete
    assert np.array_equal(again.features[:], X)
    assert np.array_equal(again.features[5:9], X[5:9])
    assert again.verify() == []


def test_bytes_do_not_depend_on_the_order_of_the_work(tmp_path, structures):
    hashes = set()
    for name, order in (("a", range(6)), ("b", [5, 0, 3, 2, 4, 1, 5, 5])):
        store = FeatureStore.create(tmp_path / name, structures, SCATTERING, chunk_rows=4)
        before = content_hash(store)
        fill(store, order)
        assert content_hash(store) != before
        hashes.add(content_hash(store))
    assert len(hashes) == 1


def test_an_incomplete_store_is_refused_for_use(store):
    fill(store, [0, 2, 3])
    with pytest.raises(StoreError, match="3 of 6 units are not computed yet"):
        FeatureStore.open(store.path)
    assert sorted(FeatureStore.open(store.path, check=False).completed_units()) == [0, 2, 3]


def test_every_flipped_bit_is_found_by_name(store):
    fill(store)
    rng = np.random.default_rng(7)
    for _ in range(60):
        unit = int(rng.integers(store.n_units))
        file = store.path / chunk_name(unit)
        sound = file.read_bytes()
        damaged = bytearray(sound)
        damaged[rng.integers(len(sound))] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        assert store.verify() == [f"features/c/{unit}/0"]
        with pytest.raises(StoreError, match=f"damaged: features/c/{unit}/0"):
            FeatureStore.open(store.path)
        file.write_bytes(sound)
    assert FeatureStore.open(store.path).verify() == []


def test_truncated_and_deleted_chunks_are_found_by_name(store):
    fill(store)
    os.truncate(store.path / chunk_name(1), 100)
    os.truncate(store.path / chunk_name(2), 0)
    (store.path / chunk_name(4)).unlink()
    shutil.rmtree(store.path / "features" / "c" / "5")
    with pytest.raises(StoreError) as caught:
        FeatureStore.open(store.path)
    assert "features/c/1/0, features/c/2/0, features/c/4/0, features/c/5/0" in str(caught.value)


def test_swapped_chunks_are_found(store):
    fill(store)
    a, b = store.path / chunk_name(1), store.path / chunk_name(3)
    content = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(content)
    assert store.verify() == ["features/c/1/0", "features/c/3/0"]


def test_damaged_metadata_are_found_by_name(store):
    fill(store)
    rng = np.random.default_rng(8)
    files = [
        p
        for p in store.path.rglob("*")
        if p.is_file() and "ledger" not in p.parts and p.name != "writer.lock" and "features/c/" not in str(p)
    ]
    assert len(files) == 2 + 2 * 8  # zarr.json of group and features; two files of each metadata array
    for file in files:
        sound = file.read_bytes()
        damaged = bytearray(sound)
        damaged[rng.integers(len(sound))] ^= 1 << int(rng.integers(8))
        name = file.relative_to(store.path).as_posix()
        for content in (damaged, sound[: len(sound) // 2]):
            file.write_bytes(content)
            with pytest.raises(StoreError, match=f"damaged or deleted: {name}"):
                FeatureStore.open(store.path, check=False)
        file.unlink()
        with pytest.raises(StoreError, match=f"damaged or deleted: {name}"):
            FeatureStore.open(store.path, check=False)
        file.write_bytes(sound)
    FeatureStore.open(store.path)


def test_a_deleted_ledger_is_named(store):
    (store.path / "ledger" / "files.json").unlink()
    with pytest.raises(StoreError, match=r"ledger/files\.json was deleted"):
        FeatureStore.open(store.path)


def test_every_flipped_bit_of_the_ledger_is_found(store):
    fill(store)
    rng = np.random.default_rng(9)
    files = store.path / "ledger" / "files.json"
    record = store.path / "ledger" / "units" / "3.json"
    for file, message in ((files, "damaged"), (record, f"damaged: {chunk_name(3)}")):
        sound = file.read_bytes()
        for _ in range(20):
            damaged = bytearray(sound)
            damaged[rng.integers(len(sound))] ^= 1 << int(rng.integers(8))
            for content in (damaged, sound[: rng.integers(len(sound))]):
                file.write_bytes(content)
                with pytest.raises(StoreError, match=message):
                    FeatureStore.open(store.path)
        file.write_bytes(sound)
    record.unlink()
    with pytest.raises(StoreError, match="1 of 6 units are not computed yet"):
        FeatureStore.open(store.path)


def test_another_configuration_is_refused_with_what_differs(store, structures):
    other = Scattering(beta=0.75, scales=2)
    with pytest.raises(StoreError) as caught:
        store.require_same(structures, other)
    message = str(caught.value)
    assert SCATTERING.config_hash[:12] in message
    assert other.config_hash[:12] in message
    assert "beta is 1.0 there, 0.75 now" in message
    assert "scales is 1 there, 2 now" in message
    store.require_same(structures, SCATTERING)


def change_position(s):
    s.atoms.positions[1, 1] = np.nextafter(s.atoms.positions[1, 1], 9)


def change_cell(s):
    s.atoms.cell[0, 0] += 1e-15


def change_species(s):
    s.atoms.numbers[1] = 32


def change_energy(s):
    s.energy += 1e-9


@pytest.mark.parametrize("change", [change_position, change_cell, change_species, change_energy])
def test_other_data_are_refused_with_the_first_difference(store, structures, change):
    change(structures[7])
    with pytest.raises(StoreError, match=r"first that differs is number 7 \(dir/é-1.xyz, structure 7\)"):
        store.require_same(structures, SCATTERING)


def test_other_path_ids_are_named_when_nothing_else_differs(store, structures):
    structures[7].path_id += "x"
    with pytest.raises(StoreError, match=r"only path ids differ, first that of number 7: .* there, .*x'"):
        store.require_same(structures, SCATTERING)
    structures[3].energy += 1.0
    with pytest.raises(StoreError, match=r"first that differs is number 3"):
        store.require_same(structures, SCATTERING)


def test_the_same_data_in_another_order_are_refused_as_such(store, structures):
    with pytest.raises(StoreError, match="the same in another order; name the files in that of the store"):
        store.require_same(structures[::-1], SCATTERING)


def test_more_or_fewer_data_are_refused(store, structures):
    with pytest.raises(StoreError, match="22 structures there, 21 now"):
        store.require_same(structures[:-1], SCATTERING)


def test_only_one_process_hands_out_work(store):
    with store.writing(), pytest.raises(StoreError, match="another process is writing"), store.writing():
        pass
    with store.writing():
        pass


def test_leftovers_of_a_killed_worker_are_removed_and_do_not_count(store):
    fill(store)
    before = content_hash(store)
    leftover = store.path / "features" / "c" / "1" / "0.0123456789abcdef.partial"
    leftover.write_bytes(b"half a chunk")
    assert content_hash(store) == before
    with store.writing():
        assert not leftover.exists()


def test_creation_leaves_nothing_behind_when_it_fails(tmp_path, structures):
    class Broken(Scattering):
        @property
        def config(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FeatureStore.create(tmp_path / "store", structures, Broken(beta=1.0, scales=1))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_store_is_left_alone(tmp_path, structures):
    target = tmp_path / "data"
    target.mkdir()
    (target / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match="exists already and is not a feature store"):
        FeatureStore.create(target, structures, SCATTERING)
    with pytest.raises(StoreError, match="is not a feature store"):
        FeatureStore.open(target)
    with pytest.raises(StoreError, match="there is no feature store"):
        FeatureStore.open(tmp_path / "nowhere")
    assert (target / "thesis.tex").read_text() == "precious"


def test_an_empty_directory_that_is_there_stays_where_it_is(tmp_path, structures, monkeypatch, small_disk):
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    assert len(FeatureStore.create(".", structures, SCATTERING)) == len(structures)
    assert Path.cwd() == place
    expected = sorted(file.relative_to(place) for file in place.rglob("*"))
    mounted = small_disk("8m")
    assert len(FeatureStore.create(mounted, structures, SCATTERING)) == len(structures)
    assert sorted(file.relative_to(mounted) for file in mounted.rglob("*")) == expected
    with pytest.raises(StoreError, match="exists already"):
        FeatureStore.create(mounted, structures, SCATTERING)


def test_a_store_that_was_begun_in_a_directory_is_completed(tmp_path, structures):
    whole, begun = tmp_path / "whole", tmp_path / "begun"
    FeatureStore.create(whole, structures, SCATTERING)
    (begun / "features").mkdir(parents=True)
    for name in ("zarr.json", "features/zarr.json"):
        shutil.copy(whole / name, begun / name)
    (begun / "zarr.json.0123.partial").write_text("half")
    FeatureStore.create(begun, structures, SCATTERING)
    files = [file.relative_to(whole) for file in whole.rglob("*") if file.is_file()]
    assert all((begun / file).read_bytes() == (whole / file).read_bytes() for file in files)
    (begun / "ledger" / "files.json").unlink()
    with pytest.raises(StoreError, match="exists already"):
        FeatureStore.create(begun, structures[1:], SCATTERING)


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_to_where_the_store_is_to_be_stays_one(tmp_path, structures, exists):
    target, link = tmp_path / "scratch" / "x", tmp_path / "features"
    target.parent.mkdir()
    if exists:
        target.mkdir()
    link.symlink_to(target)
    store = FeatureStore.create(link, structures, SCATTERING)
    fill(store)
    assert link.is_symlink()
    assert store.path == link
    assert content_hash(FeatureStore.open(target)) == content_hash(FeatureStore.open(link))
    assert [place.name for place in target.parent.iterdir()] == ["x"]


def test_refused_arguments(tmp_path, structures):
    with pytest.raises(StoreError, match="at least one structure"):
        FeatureStore.create(tmp_path / "store", [], SCATTERING)
    with pytest.raises(StoreError, match="1 to 256"):
        FeatureStore.create(tmp_path / "store", structures, SCATTERING, chunk_rows=257)


def test_features_that_are_not_finite_are_never_stored(store):
    X = np.zeros((4, store.n_features))
    X[2, 3] = np.nan
    with pytest.raises(StoreError, match="unit 1 are not finite"):
        ChunkWriter(store.path).write(1, X)
    assert not (store.path / chunk_name(1)).exists()


def test_a_limit_on_file_size_is_a_clear_error_and_can_be_lifted(store):
    code = f"""
import resource, sys
import numpy as np
from atomscatter.errors import StoreError
from service.chunks import ChunkWriter
writer = ChunkWriter({str(store.path)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, {resource.RLIM_INFINITY}))
try:
    writer.write(1, np.random.default_rng(0).normal(size=(4, {store.n_features})))
except StoreError as error:
    print(error)
"""
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "features/c/1/0: no space left" in done.stdout
    assert "MiB free" in done.stdout
    assert list((store.path / "features" / "c").rglob("*.partial")) == []
    fill(store)
    assert FeatureStore.open(store.path).verify() == []


def test_a_place_where_no_directory_can_be_is_a_clear_error(tmp_path, structures):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be written"):
        FeatureStore.create(tmp_path / "file" / "store", structures, SCATTERING)
