"""Faults injected while features go into an object storage: a real S3 server, Ray workers, the command.

Each test asserts that its fault took place. Object versions tell how often each chunk was written.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from ase.io import read, write
from s3fs import S3FileSystem
from structlog.testing import capture_logs
from typer.testing import CliRunner

from atomscatter.scattering import Scattering
from cli.app import app
from service.chunks import chunk_name
from service.feature_store import FeatureStore
from service.reading import read_structures
from tests.faults.conftest import made_here
from tests.faults.driver import SETTINGS
from tests.faults.marked import Marks, marks_left
from tests.s3_server import BUCKET, s3_server
from tests.stores import content_hash
from workers.cluster import connect
from workers.featurize import featurize

N_STRUCTURES = 48
N_WORKERS = 2


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, s3_server(tmp_path_factory.mktemp("s3") / "log") as found:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        found.keep_versions()
        yield found


@pytest.fixture(scope="module")
def local_ray(server):
    """Workers that have the credentials in their environment."""
    with connect(workers=N_WORKERS):
        yield


@pytest.fixture(scope="module")
def data_file(data_file, tmp_path_factory):
    """So many of the structures, each a unit of a few requests."""
    path = tmp_path_factory.mktemp("data") / "some.extxyz"
    write(path, read(data_file, index=f":{N_STRUCTURES}"))
    return path


@pytest.fixture(scope="module")
def structures(data_file):
    good, bad = read_structures([data_file], need_energy=True)
    assert bad == []
    return good


@pytest.fixture(scope="module")
def settings_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("settings") / "settings.json"
    file.write_text(json.dumps(SETTINGS))
    return file


@pytest.fixture(scope="module")
def undisturbed(structures, tmp_path_factory):
    """A store on a disk that nothing happened to."""
    return made_here(tmp_path_factory.mktemp("undisturbed") / "store", structures, chunk_rows=1)


@pytest.fixture
def key(request):
    return f"runs/{request.node.name}"


@pytest.fixture
def url(server, key):
    return f"s3://{BUCKET}/{key}"


def run(structures, place, on_progress=None):
    scattering = Scattering(**SETTINGS)
    return featurize(structures, scattering, place, workers=N_WORKERS, chunk_rows=1, on_progress=on_progress)


def command(*arguments):
    """``atomscatter`` in this process."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


def featurizing(data_file, url, settings_file):
    """Arguments of ``atomscatter``."""
    return [
        "featurize", str(data_file), "--store", url, "--config", str(settings_file),
        "--copies", "0", "--chunk-rows", "1", "--workers", str(N_WORKERS), "--quiet",
    ]  # fmt: skip


@contextlib.contextmanager
def started(arguments, **variables):
    """``atomscatter`` as a process."""
    arguments = [sys.executable, "-c", "from cli.app import main; main()", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())} | variables
    process = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def recorded_units(server, key):
    names = (
        re.fullmatch(rf"{re.escape(key)}/ledger/units/(\d+)\.json", k) for k in server.keys(f"{key}/ledger/")
    )
    return {int(name[1]) for name in names if name}


def wait_for_units(server, key, n, process):
    """Until so many units are recorded and the work goes on."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read()
        found = recorded_units(server, key)
        if len(found) >= n:
            return found
        time.sleep(0.02)
    raise TimeoutError(f"{n} units are not recorded")


def chunk_writes(server, key):
    """Unit -> how often its chunk was written."""
    prefix = f"{key}/features/c/"
    return {int(k.removeprefix(prefix).split("/")[0]): n for k, n in server.times_written(prefix).items()}


def test_from_structures_to_a_model_as_on_a_disk(
    server, url, data_file, settings_file, undisturbed, local_ray, tmp_path
):
    made = command(
        "featurize", data_file, "--store", url, "--config", settings_file, "--copies", 0,
        "--chunk-rows", 1, "--workers", N_WORKERS,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    assert content_hash(FeatureStore.open(url)) == content_hash(undisturbed)
    told = json.loads(command("info", url, "--json").stdout)
    assert (told["complete"], told["damaged"], told["structures"]) == (True, [], N_STRUCTURES)
    models = []
    for place in (url, undisturbed.path):
        model = tmp_path / f"model-{len(models)}"
        trained = command(
            "train", "--store", place, "--model", model, "--folds", 2, "--bootstraps", 2, "--max-features", 9,
            "--workers", N_WORKERS,
        )  # fmt: skip
        assert trained.exit_code == 0, trained.output
        models.append(json.loads(command("info", model, "--json").stdout)["model"])
    assert models[0] == models[1]

    other = tmp_path / "other.json"
    other.write_text(json.dumps(SETTINGS | {"beta": 1.1}))
    refused = command("featurize", data_file, "--store", url, "--config", other, "--copies", 0)
    assert refused.exit_code == 2
    assert f"Error: {url}: was made with another feature configuration" in refused.stderr
    assert "beta is 1.0 there, 1.1 now" in refused.stderr


@pytest.mark.chaos
def test_a_killed_driver_is_resumed_where_it_was(server, key, url, data_file, settings_file, undisturbed):
    n_kills = 0
    recorded: set[int] = set()
    writes_when_recorded: dict[int, int] = {}
    for more in (4, 8):
        with started(featurizing(data_file, url, settings_file)) as process:
            wait_for_units(server, key, len(recorded) + more, process)
            workers = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGKILL)
            assert process.wait(60) == -signal.SIGKILL
        _, survivors = psutil.wait_procs([p for p in workers if is_working(p)], timeout=120)
        assert survivors == [], "workers outlive their driver"
        n_kills += 1
        now = recorded_units(server, key)
        assert recorded < now
        recorded = now
        writes_when_recorded = {u: n for u, n in chunk_writes(server, key).items() if u in now} | (
            writes_when_recorded
        )
        assert not FeatureStore.open(url, check=False).is_complete
    with started(featurizing(data_file, url, settings_file)) as process:
        assert process.wait(400) == 0, process.stderr.read()

    assert n_kills == 2
    writes = chunk_writes(server, key)
    assert set(writes) == set(range(N_STRUCTURES))
    after = {unit: writes[unit] for unit in recorded}
    assert after == writes_when_recorded, "a complete unit was computed again"
    again = sum(writes.values()) - N_STRUCTURES
    assert again <= n_kills * N_WORKERS, "at most one unit for each worker is written again"
    assert content_hash(FeatureStore.open(url)) == content_hash(undisturbed)


def is_working(process):
    try:
        return process.name().startswith("ray::Featurizer")
    except psutil.NoSuchProcess:
        return False


@pytest.mark.chaos
def test_killed_workers_are_replaced_and_the_bytes_are_the_same(
    structures, local_ray, undisturbed, url, tmp_path
):
    marks, killed = Marks(tmp_path / "marks"), []
    calls: list[int] = []
    ended = threading.Event()

    def kill_one_after_another():
        while not ended.wait(0.002) and len(killed) < 3:
            if len(calls) >= 5 * (len(killed) + 1):
                killed.append(marks.stop_at_work())
                os.kill(killed[-1].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_one_after_another)
    killer.start()
    try:
        with capture_logs() as logs, marks_left(marks.file):
            store = run(structures, url, calls.append)
    finally:
        ended.set()
        killer.join()
    assert len({mark.unit for mark in killed}) == 3
    assert sum(entry["event"] == "a worker died" for entry in logs) == 3
    assert sum(calls) == len(structures)
    assert content_hash(FeatureStore.open(store.path)) == content_hash(undisturbed)


def flip(server, file, rng):
    content = bytearray(server.read(file))
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    server.write(file, content)


def truncate(server, file, rng):
    content = server.read(file)
    server.write(file, content[: rng.integers(len(content))])


def delete(server, file, rng):
    server.delete(file)


@pytest.mark.parametrize(
    "times",
    [
        pytest.param({flip: 10, truncate: 5, delete: 5}, id="short"),
        pytest.param({flip: 200, truncate: 20, delete: 20}, id="full", marks=pytest.mark.chaos),
    ],
)
def test_damaged_objects_are_named_and_computed_again(
    times, server, key, structures, local_ray, undisturbed, url
):
    store = run(structures, url)
    rng = np.random.default_rng(3)
    wanted = [damage for damage, n in times.items() for _ in range(n)]
    n_detected = 0
    while wanted:
        now, wanted = wanted[:20], wanted[20:]
        units = sorted(int(u) for u in rng.choice(store.n_units, size=len(now), replace=False))
        for damage, unit in zip(now, units, strict=True):
            damage(server, f"{key}/{chunk_name(unit)}", rng)
        names = [chunk_name(unit) for unit in units]
        assert json.loads(command("info", url, "--json").stdout)["damaged"] == names
        refused = command("train", "--store", url, "--model", "never")
        assert refused.exit_code == 2
        assert f"{url}: damaged: {', '.join(names)}." in refused.stderr
        with capture_logs() as logs:
            run(structures, url)
        assert [entry["chunks"] for entry in logs if "chunks" in entry] == [names]
        assert content_hash(FeatureStore.open(url)) == content_hash(undisturbed)
        n_detected += len(names)
    assert n_detected == sum(times.values())


def test_a_server_that_pauses_is_waited_for(server, structures, local_ray, undisturbed, url):
    calls: list[int] = []
    paused = threading.Event()

    def pause():
        while len(calls) < 10:
            time.sleep(0.002)
        server.process.send_signal(signal.SIGSTOP)
        try:
            before = len(calls)
            time.sleep(3)
            if len(calls) <= before + 1 and len(calls) < N_STRUCTURES - 5:  # nothing went on meanwhile
                paused.set()
        finally:
            server.process.send_signal(signal.SIGCONT)

    pausing = threading.Thread(target=pause)
    pausing.start()
    try:
        run(structures, url, calls.append)
    finally:
        calls.extend([0] * 10)
        pausing.join()
    assert paused.is_set()
    assert content_hash(FeatureStore.open(url)) == content_hash(undisturbed)


def test_a_server_that_disappears_ends_the_run_with_its_name(data_file, settings_file, tmp_path):
    with contextlib.ExitStack() as stack:
        with s3_server(tmp_path / "log") as server:
            arguments = featurizing(data_file, f"s3://{BUCKET}/store", settings_file)
            variables = server.environment | {"AWS_MAX_ATTEMPTS": "2"}
            process = stack.enter_context(started(arguments, **variables))
            wait_for_units(server, "store", 5, process)
        assert process.wait(400) == 1
        told = process.stderr.read()
    assert re.search(rf"^Error: s3://{BUCKET}/store/\S+: the storage cannot be used: ", told, re.MULTILINE), (
        told
    )
    assert "Traceback" not in told.partition("Error: ")[0]
    assert "not-a-secret" not in told


@pytest.mark.parametrize(
    ("variables", "url", "code", "message"),
    [
        ({}, "s3://no-such-bucket/store", 2, "bucket does not exist"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, None, 2, "Unable to locate credentials"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "2"}, None, 1, "127.0.0.1:9"),
        ({}, "memory://store", 2, "memory of one process"),
        ({}, "s3://me:hunter2@bucket/store", 2, "s3://bucket/store: the URL of a store has no user"),
    ],
)
def test_what_cannot_work_is_told_before_the_work(
    variables, url, code, message, server, data_file, settings_file, monkeypatch, fresh_client
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    done = command(*featurizing(data_file, url or f"s3://{BUCKET}/x", settings_file))
    assert done.exit_code == code
    assert message in done.stderr
    assert "hunter2" not in done.output
    assert done.stderr.startswith("Error: ")


@pytest.fixture
def fresh_client():
    """File systems that are made anew, as in a new process."""
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()
