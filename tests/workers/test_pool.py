import os
import signal
import tempfile
import time
from pathlib import Path

import psutil
import pytest

import workers.pool
from atomscatter.errors import DataError, WorkerError
from workers.cluster import connect
from workers.pool import run_units


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with connect(workers=2):
        yield


def make_actor_factory(**options):
    """Defined in a function, so that Ray ships the class itself and not the name of a test module."""
    import ray

    class Actor:
        def square(self, x):
            return x * x

        def wait(self, seconds, folder, for_others=0):
            """Leave a file after some time, and before that wait for the files of others."""
            time.sleep(seconds)
            deadline = time.monotonic() + 120
            while len(list(Path(folder).iterdir())) < for_others:
                if time.monotonic() > deadline:
                    return "others are held up"
                time.sleep(0.01)
            tempfile.mkstemp(dir=folder)
            return "all others are done"

        def meet(self, folder, n):
            """Wait until as many processes are at work at once; their number."""
            (Path(folder) / str(os.getpid())).touch()
            deadline = time.monotonic() + 120
            while len(list(Path(folder).iterdir())) < n and time.monotonic() < deadline:
                time.sleep(0.01)
            return len(list(Path(folder).iterdir()))

        def fail(self, x):
            if x == 3:
                raise DataError("three is not wanted")
            return x

        def die(self, x, marker, times):
            """Kill this process, but only the first ``times`` times that ``x`` is 3."""
            if x == 3:
                deaths = len(list(Path(marker).glob("death-*")))
                if deaths < times:
                    (Path(marker) / f"death-{deaths}").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
            return x

        def fail_or_die(self, x, folder):
            """Of the units of one process, in threads: 2 fails, and then 1 kills the process."""
            process = Path(folder) / "process"
            if x == 2:
                process.write_text(str(os.getpid()))
                raise DataError("two is not wanted")
            while x == 1 and not process.exists():
                time.sleep(0.01)
            if x == 1:
                time.sleep(3)  # for the answer of the other
                os.kill(os.getpid(), signal.SIGKILL)
            return x

    remote = ray.remote(num_cpus=1, max_restarts=0, **options)(Actor)
    return remote.remote


def collect(units, method, **kwargs):
    results = {}

    def on_result(unit, result):
        assert unit not in results, "a result was delivered twice"
        results[unit] = result

    run_units(make_actor_factory(), units, method, on_result=on_result, **kwargs)
    return results


@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("in_flight", [1, 2, 5])
def test_every_unit_is_run_once(n_workers, in_flight):
    results = collect({i: (i,) for i in range(23)}, "square", n_workers=n_workers, in_flight=in_flight)
    assert results == {i: i * i for i in range(23)}


def test_unit_ids_may_be_names():
    assert collect({"a": (2,), "b": (3,)}, "square", n_workers=2) == {"a": 4, "b": 9}


def test_no_units_need_no_worker():
    assert collect({}, "square", n_workers=2) == {}


def test_all_workers_take_part_even_when_there_are_few_units(tmp_path):
    results = collect(dict.fromkeys(range(2), (str(tmp_path), 2)), "meet", n_workers=2)
    assert results == {0: 2, 1: 2}


@pytest.mark.parametrize("place", [0, 100, 199], ids=["first", "in the middle", "last"])
def test_one_long_unit_holds_no_other_up(place, tmp_path):
    """It lasts until all others are done, on whichever worker they were."""
    units = {i: (0.01, str(tmp_path), 199 if i == place else 0) for i in range(200)}
    results = collect(units, "wait", n_workers=2)
    assert results[place] == "all others are done"
    assert len(results) == 200


def most_held(n, seconds, folder):
    """Largest number of units that a worker had been given and not ended, when another one had ended."""
    folder.mkdir()
    given, held = [], []

    class Units(dict):
        def __getitem__(self, unit):
            given.append(unit)
            return super().__getitem__(unit)

    def on_result(unit, result):
        held.append(len(given) - len(list(folder.iterdir())))

    units = Units({i: (seconds, str(folder)) for i in range(n)})
    run_units(make_actor_factory(), units, "wait", n_workers=1, on_result=on_result)
    return max(held)


def test_short_units_are_held_ready_and_long_ones_are_not(tmp_path):
    assert most_held(5, 0.8, tmp_path / "long") == 0
    assert most_held(200, 0.02, tmp_path / "short") >= 3


def test_more_workers_than_cpus_do_not_block():
    results = collect({i: (i,) for i in range(9)}, "square", n_workers=5)
    assert len(results) == 9


def test_a_cpu_that_joins_in_the_middle_of_a_unit_is_used(tmp_path, monkeypatch):
    """The first unit ends when all others have: it takes another worker for them."""
    cpus = iter([1])
    monkeypatch.setattr(workers.pool, "cluster_cpus", lambda: next(cpus, 2))
    units = {i: (0.0, str(tmp_path), 0 if i else 9) for i in range(10)}
    results = collect(units, "wait", n_workers=None)
    assert set(results.values()) == {"all others are done"}


def test_an_exception_names_the_unit_and_keeps_its_cause():
    with pytest.raises(WorkerError, match=r"unit 3 failed: DataError: three is not wanted") as caught:
        collect({i: (i,) for i in range(6)}, "fail", n_workers=2)
    assert isinstance(caught.value.__cause__, DataError)


def test_an_exception_keeps_its_cause_when_its_worker_is_dead(tmp_path):
    """While the first result is looked at, the process fails with one unit and dies of another."""

    def on_result(unit, result):
        process, deadline = tmp_path / "process", time.monotonic() + 60
        while not (pid := process.read_text() if process.exists() else "") or psutil.pid_exists(int(pid)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1)  # until Ray knows

    units = {i: (i, str(tmp_path)) for i in range(6)}
    make_actor = make_actor_factory(max_concurrency=3)
    with pytest.raises(WorkerError, match=r"unit 2 failed: DataError: two is not wanted") as caught:
        run_units(make_actor, units, "fail_or_die", n_workers=1, in_flight=3, on_result=on_result)
    assert isinstance(caught.value.__cause__, DataError)


@pytest.mark.parametrize("n_workers", [1, 2])
def test_a_dead_worker_is_replaced_and_nothing_is_lost(tmp_path, n_workers):
    units = {i: (i, str(tmp_path), 2) for i in range(12)}
    results = collect(units, "die", n_workers=n_workers, in_flight=3)
    assert results == {i: i for i in range(12)}
    assert len(list(tmp_path.glob("death-*"))) == 2


def test_a_unit_that_always_kills_its_worker_is_given_up_by_name(tmp_path):
    units = {i: (i, str(tmp_path), 99) for i in range(12)}
    with pytest.raises(WorkerError, match="unit 3 lost its worker 3 times"):
        collect(units, "die", n_workers=2)
    assert len(list(tmp_path.glob("death-*"))) == 3


def test_a_worker_that_cannot_start_is_an_error():
    import ray

    @ray.remote(num_cpus=1)
    class Broken:
        def __init__(self):
            raise RuntimeError("no such device")

        def run(self):
            return None

    with pytest.raises(WorkerError, match=r"could not be started.*no such device"):
        run_units(Broken.remote, {0: ()}, "run", n_workers=1, on_result=lambda unit, result: None)


def test_an_exception_of_the_callback_ends_the_run_and_frees_the_workers():
    import ray

    def on_result(unit, result):
        raise KeyError(unit)

    with pytest.raises(KeyError):
        run_units(
            make_actor_factory(), {i: (i,) for i in range(50)}, "square", n_workers=2, on_result=on_result
        )
    # Both CPUs can be had again.
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU", 0) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ray.available_resources()["CPU"] == 2
