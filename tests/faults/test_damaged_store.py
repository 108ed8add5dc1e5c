"""Flipped bytes, truncated and deleted files in a store: each is noticed, and chunks are computed again."""

import contextlib
import os
import shutil

import numpy as np
import pytest
from structlog.testing import capture_logs

from atomscatter.errors import StoreError
from service.chunks import chunk_name
from service.feature_store import FeatureStore
from tests.stores import content_hash


def flip(file, rng):
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= int(rng.integers(1, 256))
    file.write_bytes(content)


def truncate(file, rng):
    os.truncate(file, int(rng.integers(file.stat().st_size)))


def delete(file, rng):
    file.unlink()


DAMAGES = {
    "flip": (flip, 200, "flipped byte in a store"),
    "truncate": (truncate, 20, "truncated file in a store"),
    "delete": (delete, 20, "deleted file in a store"),
}


def cases():
    for name, (damage, full, fault) in DAMAGES.items():
        mark = pytest.mark.fault(fault)
        yield pytest.param(damage, 20, id=f"{name}-short", marks=mark)
        yield pytest.param(damage, full, id=f"{name}-full", marks=(mark, pytest.mark.chaos))


@pytest.fixture
def copy(undisturbed, tmp_path):
    return shutil.copytree(undisturbed.path, tmp_path / "store")


def files_of(store, *, ledger=False):
    """All files but the lock: those of the ledger, or the others."""
    files = [file for file in sorted(store.rglob("*")) if file.is_file() and file.name != "writer.lock"]
    return [file for file in files if file.relative_to(store).parts[0].startswith("ledger") == ledger]


@contextlib.contextmanager
def damaged(file, damage, rng):
    """The file is damaged in the block, and whole again after it."""
    content = file.read_bytes()
    damage(file, rng)
    assert not file.exists() or file.read_bytes() != content
    try:
        yield
    finally:
        file.write_bytes(content)


@pytest.mark.parametrize(("damage", "times"), list(cases()))
def test_every_damage_is_noticed_and_named(damage, times, copy, injected):
    rng = np.random.default_rng(11)
    files = files_of(copy)
    hit = [files[i % len(files)] for i in rng.permutation(max(times, len(files)))[:times]]
    for file in hit:
        name = file.relative_to(copy).as_posix()
        with damaged(file, damage, rng), pytest.raises(StoreError, match=f"damaged.*{name}"):
            FeatureStore.open(copy)
    FeatureStore.open(copy)
    chunks = sum(file.parts[-3:-2] == ("c",) for file in hit)
    injected(times, f"all {times} detected and named, {chunks} of them in chunks of features")


@pytest.mark.parametrize("damage", [flip, truncate, delete])
def test_damaged_chunks_are_computed_again(damage, local_ray, copy, run, undisturbed):
    rng = np.random.default_rng(3)
    store = FeatureStore.open(copy)
    units = sorted(int(u) for u in rng.choice(store.n_units, size=10, replace=False))
    for unit in units:
        damage(copy / chunk_name(unit), rng)
    names = [chunk_name(unit) for unit in units]
    assert store.verify() == names
    progress = []
    with capture_logs() as logs:
        run(copy, progress.append)
    assert [entry["chunks"] for entry in logs if "chunks" in entry] == [names]
    assert progress[0] == len(store) - sum(len(store.unit_rows(unit)) for unit in units)
    assert content_hash(FeatureStore.open(copy)) == content_hash(undisturbed)


@pytest.mark.parametrize("damage", [flip, truncate, delete])
def test_a_damaged_ledger_is_refused(damage, copy):
    rng = np.random.default_rng(4)
    ledgers = files_of(copy, ledger=True)
    for _ in range(20):
        file = ledgers[rng.integers(len(ledgers))]
        with damaged(file, damage, rng), pytest.raises(StoreError, match=r"damaged|deleted"):
            FeatureStore.open(copy)
