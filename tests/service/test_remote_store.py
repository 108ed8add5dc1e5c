"""Feature stores on a real S3 server, a process of its own: the guarantees of a store on a disk."""

import importlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from atomscatter.errors import ConfigError, StorageError, StoreError
from atomscatter.scattering import Scattering
from service import local_storage
from service.chunks import chunk_name
from service.feature_store import FeatureStore
from service.lease import LEASE, Lease
from service.ledger import Unit
from service.local_storage import LocalStorage
from service.storage import open_storage
from tests.s3_server import BUCKET, s3_server
from tests.stores import SCATTERING, content_hash, fill, make_structures

N_UNITS = 6


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, s3_server(tmp_path_factory.mktemp("s3") / "log") as found:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        yield found


@pytest.fixture
def fresh_client():
    """File systems that are made anew, as in a new process."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def structures():
    return make_structures(22)


@pytest.fixture
def key(request):
    """Prefix of the test's store in the bucket."""
    return f"dir/{request.node.name}"


@pytest.fixture
def url(server, key):
    return f"s3://{BUCKET}/{key}"


@pytest.fixture
def store(url, structures):
    return FeatureStore.create(url, structures, SCATTERING, chunk_rows=4)


def test_a_store_is_the_same_bytes_at_every_kind_of_place(server, key, url, structures, tmp_path):
    places = url, f"{url}-2/", tmp_path / "disk", f"file://{tmp_path}/by-url"
    stores = [FeatureStore.create(place, structures, SCATTERING, chunk_rows=4) for place in places]
    features = [fill(store) for store in stores]
    assert len({content_hash(store) for store in stores}) == 1
    for place, store, expected in zip(places, stores, features, strict=True):
        again = FeatureStore.open(place)
        assert again.is_complete
        assert np.array_equal(again.features[:], expected)
        assert again.path_ids == [s.path_id for s in structures]
        assert again.completed_units() == store.completed_units()
    assert stores[3].path == tmp_path / "by-url"
    names = [name.removeprefix(f"{key}/") for name in server.keys(f"{key}/")]
    on_disk = [
        f.relative_to(tmp_path / "disk").as_posix() for f in (tmp_path / "disk").rglob("*") if f.is_file()
    ]
    assert sorted(names) == sorted(set(on_disk) - {"writer.lock"})


def test_an_incomplete_store_is_refused_for_use(store, url):
    fill(store, [0, 2, 3])
    with pytest.raises(StoreError, match=f"{url}: 3 of 6 units are not computed yet"):
        FeatureStore.open(url)
    assert sorted(FeatureStore.open(url, check=False).completed_units()) == [0, 2, 3]


def test_damaged_chunks_are_found_by_name(server, key, url, store):
    fill(store)
    rng = np.random.default_rng(7)
    files = {unit: f"{key}/{chunk_name(unit)}" for unit in range(N_UNITS)}
    sound = {unit: server.read(file) for unit, file in files.items()}
    n_flipped = n_truncated = n_deleted = 0
    while n_flipped < 50 or n_truncated < 8 or n_deleted < 8:
        damaged = []
        for unit, file in files.items():
            content = bytearray(sound[unit])
            kind = rng.choice(["none", "flip", "flip", "flip", "flip", "truncate", "delete"])
            if kind == "flip":
                content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
                n_flipped += 1
            elif kind == "truncate":
                del content[rng.integers(len(content)) :]
                n_truncated += 1
            elif kind == "delete":
                n_deleted += 1
            server.write(file, content)
            if kind == "delete":
                server.delete(file)
            if kind != "none":
                damaged.append(chunk_name(unit))
        assert store.verify() == damaged
    with pytest.raises(StoreError, match=f"{url}: damaged: {', '.join(damaged)}"):
        FeatureStore.open(url)
    for unit, file in files.items():
        server.write(file, sound[unit])
    FeatureStore.open(url)


def test_damaged_metadata_are_found_by_name(server, key, store, url):
    rng = np.random.default_rng(8)
    files = [file for file in server.keys(f"{key}/") if "/ledger/" not in file]
    assert len(files) == 18
    for file in files:
        sound = server.read(file)
        content = bytearray(sound)
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        server.write(file, content)
        with pytest.raises(StoreError, match=f"damaged or deleted: {file.removeprefix(f'{key}/')}"):
            FeatureStore.open(url, check=False)
        server.write(file, sound)
    FeatureStore.open(url, check=False)


def test_another_configuration_or_other_data_are_refused(store, url, structures):
    with pytest.raises(StoreError, match=rf"{url}: .*beta is 1\.0 there, 0\.75 now"):
        store.require_same(structures, Scattering(beta=0.75, scales=1))
    with pytest.raises(StoreError, match=f"{url}: was made from other data"):
        store.require_same(structures[1:], SCATTERING)


def test_an_interrupted_creation_is_completed_and_other_objects_are_left_alone(server, key, url, structures):
    whole = FeatureStore.create(f"{url}/a", structures, SCATTERING, chunk_rows=4)
    for name in ("ledger/files.json", "digests/c/0/0", "sources/zarr.json"):
        server.delete(f"{key}/a/{name}")
    assert not FeatureStore.is_at(whole.path)
    again = FeatureStore.create(whole.path, structures, SCATTERING, chunk_rows=4)
    assert again.sources == [s.source for s in structures]

    server.write(f"{key}/b/thesis.tex", b"precious")
    with pytest.raises(StoreError, match=rf"{url}/b: exists already.*\(thesis\.tex is there\)"):
        FeatureStore.create(f"{url}/b", structures, SCATTERING)
    with pytest.raises(StoreError, match=f"{url}/b: is not a feature store"):
        FeatureStore.open(f"{url}/b")
    assert server.keys(f"{key}/b/") == [f"{key}/b/thesis.tex"]


def test_a_prefix_of_another_name_is_another_place(url, store, structures):
    with pytest.raises(StoreError, match=f"{url[:-1]}: there is no feature store"):
        FeatureStore.open(url[:-1])
    assert FeatureStore.create(url[:-1], structures, SCATTERING).path == url[:-1]


# One process hands out work


def test_a_living_process_is_not_disturbed(store, server, key):
    with store.writing():
        with pytest.raises(StoreError, match="another process is writing"), store.writing():
            pass
        assert f"{key}/{LEASE}" in server.keys(key)
    assert f"{key}/{LEASE}" not in server.keys(key)
    with store.writing():
        pass


def test_a_dead_process_of_this_machine_is_followed_at_once(store, url):
    code = f"""
import os
from service.feature_store import FeatureStore
with FeatureStore.open({url!r}, check=False).writing():
    print("writing", flush=True)
    os.kill(os.getpid(), 9)
"""
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert (done.stdout, done.returncode) == (b"writing\n", -9), done.stderr
    with store.writing() as ledger:
        ledger.record(Unit(0, "1", "2", "3"))


def claim(storage, beats):
    """What a process of another machine writes."""
    values = {"owner": "somebody", "machine": "elsewhere", "pid": 1, "started": 0.0, "beats": beats}
    storage.write(LEASE, json.dumps(values).encode())


@pytest.mark.parametrize("kind", ["s3", "disk"])
def test_a_process_of_another_machine_is_followed_when_it_is_silent(kind, request, tmp_path):
    storage = open_storage(request.getfixturevalue("url") if kind == "s3" else tmp_path)
    claim(storage, 1)
    with Lease(storage, beat_seconds=0.1).held():
        assert b"somebody" not in storage.read(LEASE)

    claim(storage, 1)
    ended = threading.Event()

    def be_alive():
        beats = 1
        while not ended.wait(0.05):
            beats += 1
            claim(storage, beats)

    other = threading.Thread(target=be_alive)
    other.start()
    try:
        with pytest.raises(StoreError, match="another process"), Lease(storage, beat_seconds=1).held():
            pass
    finally:
        ended.set()
        other.join()
    assert b"somebody" in storage.read(LEASE)


def until_it_raises(function):
    for _ in range(1000):
        time.sleep(0.01)
        function()


def test_who_has_lost_the_lease_stops(url):
    storage = open_storage(url)
    taken = Lease(storage, beat_seconds=0.05)
    with taken.held() as require_writer:
        require_writer()
        claim(storage, 1)
        with pytest.raises(StoreError, match="another process"):
            until_it_raises(require_writer)
    assert b"somebody" in storage.read(LEASE)


def test_a_file_system_without_locks_gets_a_lease(tmp_path, structures, monkeypatch):
    def no_locks(file, operation):
        raise OSError(38, "Function not implemented")  # as Lustre without -o flock

    store = FeatureStore.create(tmp_path / "store", structures, SCATTERING, chunk_rows=4)
    monkeypatch.setattr(local_storage.fcntl, "flock", no_locks)
    with store.writing():
        assert (tmp_path / "store" / LEASE).exists()
        with pytest.raises(StoreError, match="another process is writing"), store.writing():
            pass
    fill(store)
    assert FeatureStore.open(store.path).is_complete
    assert not (tmp_path / "store" / LEASE).exists()


class WithoutConditions(LocalStorage):
    """As servers that take each write (rclone's does)."""

    def write_new(self, name, content):
        self.write(name, content)
        return True


def test_a_server_without_conditional_writes_keeps_others_out_too(tmp_path):
    storage = WithoutConditions(tmp_path)
    with Lease(storage, beat_seconds=0.1).held() as require_writer:
        # The other one watches for longer than the first could stand still.
        with pytest.raises(StoreError, match="another process"), Lease(storage, beat_seconds=1).held():
            pass
        require_writer()


def test_of_two_that_begin_at_once_one_writes(tmp_path):
    storage = LocalStorage(tmp_path)
    assert storage.write_new("a", b"1")
    assert not storage.write_new("a", b"2")
    assert storage.read("a") == b"1"
    assert [f.name for f in tmp_path.iterdir()] == ["a"]


# What cannot work


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("memory://store", "the memory of one process"),
        ("file://store", "absolute path"),
        ("foo://bucket/store", "foo://bucket/store: Protocol not known: foo"),
        ("s3://", "names no bucket"),
        ("simplecache::s3://bucket/store", "chained URLs"),
    ],
)
def test_urls_that_cannot_hold_a_store(place, message):
    with pytest.raises(ConfigError, match=message):
        open_storage(place)


@pytest.mark.parametrize(
    "url", ["s3://me:hunter2@bucket/store", "abfs://c/store?sig=hunter2", "s3://bucket/store#hunter2"]
)
def test_secrets_in_a_url_are_refused_and_not_repeated(url):
    with pytest.raises(ConfigError, match="Credentials belong into the environment") as caught:
        open_storage(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("package", "url", "message"),
    [
        ("s3fs", "s3://b/store", r"pip install 'atomscatter\[s3\]'"),
        ("gcsfs", "gs://b/store", "Please install gcsfs"),
    ],
)
def test_a_package_that_is_not_installed_is_named(package, url, message, monkeypatch):
    registry = importlib.import_module("fsspec.registry")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(registry._registry, url.partition(":")[0], raising=False)
    with pytest.raises(ConfigError, match=f"{url}: .*{message}"):
        open_storage(url)


def test_a_bucket_that_does_not_exist_is_named(server, structures):
    url = "s3://no-such-bucket/store"
    for use in (FeatureStore.open, lambda place: FeatureStore.create(place, structures, SCATTERING)):
        with pytest.raises(StoreError, match=f"{url}.*bucket does not exist"):
            use(url)


def test_missing_credentials_are_named(url, monkeypatch, fresh_client, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(ConfigError, match=f"{url}.*Unable to locate credentials.*AWS_ACCESS_KEY_ID"):
        FeatureStore.open(url)


def test_a_server_that_does_not_answer_is_named(structures, tmp_path, monkeypatch, fresh_client):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with s3_server(tmp_path / "log") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        store = FeatureStore.create(f"s3://{BUCKET}/store", structures, SCATTERING, chunk_rows=4)
        fill(store)
    with pytest.raises(StorageError, match=rf"s3://{BUCKET}/store/features/c/\d/0: .*{server.endpoint}"):
        store.features[:]
    with pytest.raises(StorageError, match=f"s3://{BUCKET}/store/ledger/files.json: .*{server.endpoint}"):
        FeatureStore.open(store.path)
    with pytest.raises(StorageError, match=f"s3://{BUCKET}/other"):
        FeatureStore.create(f"s3://{BUCKET}/other", structures, SCATTERING)
