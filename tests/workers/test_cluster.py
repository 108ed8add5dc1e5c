import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

from atomscatter.errors import ConfigError, WorkerError
from tests.ports import unused_port
from tests.ray_nodes import ray_nodes
from workers.cluster import available_cores, connect
from workers.pool import run_units


def environment_reader():
    import ray

    @ray.remote(num_cpus=1)
    class Reader:
        def read(self, name):
            return os.environ.get(name)

    return Reader.remote


def read_in_worker(name):
    results = {}
    run_units(environment_reader(), {name: (name,)}, "read", n_workers=1, on_result=results.__setitem__)
    return results[name]


@pytest.fixture
def short_directory():
    """A directory for temporary files, with a path that is short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="t", dir="/tmp", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


def run_python(code, *arguments, **environment):
    """A process of its own, for what concerns the terminal or the whole process."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
        timeout=120,
    )


def test_available_cores_are_at_most_those_of_the_affinity_mask():
    assert 1 <= available_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize("workers", [0, -1])
def test_fewer_than_one_worker_is_refused(workers):
    with pytest.raises(ConfigError, match="at least 1"), connect(workers=workers):
        pass


def test_a_local_ray_ends_with_the_block_and_keeps_the_sigterm_handler(short_directory, monkeypatch):
    import ray

    def handler(signum, frame):
        raise AssertionError

    before = signal.signal(signal.SIGTERM, handler)
    monkeypatch.setattr(tempfile, "tempdir", str(short_directory))
    try:
        with connect(workers=1) as n_workers:
            assert n_workers == 1
            assert signal.getsignal(signal.SIGTERM) is handler
            assert read_in_worker("OPENBLAS_NUM_THREADS") == "1"
            assert "RAY_USAGE_STATS_ENABLED" not in os.environ
            assert {"raylet", "gcs_server"} <= (programs := daemons(short_directory))
            assert programs.isdisjoint({"monitor.py", "log_monitor.py", "dashboard.py"}), "nobody needs them"
            with connect() as again:  # a connection that exists is used, and left open
                assert again is None  # as many as it has CPUs
            assert ray.is_initialized()
        assert not ray.is_initialized()
        assert signal.getsignal(signal.SIGTERM) is handler
        assert list(short_directory.iterdir()) == []
    finally:
        signal.signal(signal.SIGTERM, before)


def daemons(directory):
    """Names of the programs that a Ray in a directory started."""
    lines = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it may have ended meanwhile
            lines.append(process.cmdline())
    of_ray = [line for line in lines if any(str(directory) in argument for argument in line)]
    return {Path(argument).name for line in of_ray for argument in line if not argument.startswith("-")}


def test_a_ray_that_comes_up_too_late_is_started_again(short_directory, monkeypatch):
    import ray

    monkeypatch.setattr(tempfile, "tempdir", str(short_directory))
    init, daemons = ray.init, []

    def late(**options):
        """As on a machine so busy that Ray's own patience ends when its daemons have just started."""
        before = set(psutil.Process().children(recursive=True))  # servers of other tests
        init(**options)
        if not daemons:
            daemons.extend(set(psutil.Process().children(recursive=True)) - before)
            ray._private.worker._global_node = None
            raise RuntimeError("The current node timed out during startup.")

    monkeypatch.setattr(ray, "init", late)
    with connect(workers=1) as n_workers:
        assert n_workers == 1
        assert read_in_worker("OPENBLAS_NUM_THREADS") == "1"
        assert len(list(short_directory.iterdir())) == 1
        _, alive = psutil.wait_procs(daemons, timeout=30)
        assert alive == []
    assert list(short_directory.iterdir()) == []


def test_a_local_ray_is_quiet_even_when_a_worker_dies(tmp_path):
    code = """
import os, signal, structlog
structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
import ray
from workers.cluster import connect
from workers.pool import run_units
class Actor:
    def die(self, path):
        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        print("from the worker")
        return 1
with connect(workers=1):
    run_units(ray.remote(num_cpus=1)(Actor).remote, {0: (PATH,)}, "die", n_workers=1, on_result=print)
"""
    # A directory for temporary files whose name is too long for Ray's sockets is no obstacle either.
    directory = tmp_path / ("long" * 30)
    directory.mkdir()
    done = run_python(code.replace("PATH", repr(f"{tmp_path}/died")), TMPDIR=str(directory))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0 1\n"
    assert done.stderr == ""


def test_nothing_outlives_a_killed_driver_for_long(short_directory):
    code = """
import os, signal, psutil
from workers.cluster import connect
with connect(workers=1):
    print(*[p.pid for p in psutil.Process().children(recursive=True)], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = run_python(code, TMPDIR=str(short_directory))
    assert done.returncode == -signal.SIGKILL
    children = [int(pid) for pid in done.stdout.split()]
    assert children
    alive = [psutil.Process(pid) for pid in children if psutil.pid_exists(pid)]
    # Ray's own agents notice later; what computes and what holds memory must be gone.
    computing = [
        p for p in alive if name_of(p) in {"raylet", "gcs_server"} or name_of(p).startswith("ray::IDLE")
    ]
    _, survivors = psutil.wait_procs(computing, timeout=30)
    assert survivors == []
    assert len(list(short_directory.glob("atomscatter-ray-*"))) == 1
    # The next one tidies up; it starts a Ray of its own, whatever cluster the environment names.
    code = "from workers.cluster import connect\nwith connect(workers=1) as n: print(n)"
    done = run_python(code, TMPDIR=str(short_directory), RAY_ADDRESS="127.0.0.1:1")
    assert done.stdout == "1\n", done.stderr
    assert list(short_directory.glob("atomscatter-ray-*")) == []


def name_of(process):
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def test_a_running_cluster_is_joined_used_and_left_running(tmp_path):
    # A process of its own for the driver, since the token must be known before Ray is imported.
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import ray
from ase.build import bulk
from atomscatter.scattering import Scattering
from service.reading import LabelledStructure
from workers.featurize import featurize
from test_cluster import connect, read_in_worker
address = sys.argv[1]
with connect(address, 1) as n_workers:
    print(n_workers, read_in_worker("NUMBA_NUM_THREADS"), ray.cluster_resources()["CPU"])
structures = [LabelledStructure(bulk("Si", a=5.4 + 0.1 * i), "x.cif", i, str(i), None) for i in range(3)]
store = featurize(structures, Scattering(beta=1.0, scales=1), {str(tmp_path / "store")!r}, address=address)
print(store.is_complete, store.verify())
"""
    with ray_nodes(tmp_path, cpus=2) as cluster:
        done = run_python(code, cluster.address, **cluster.credentials)
        assert done.stdout == "1 1 2.0\nTrue []\n", done.stderr + cluster.head.log.read_text()
        assert cluster.head.process.poll() is None


def test_an_address_where_nothing_answers_is_a_clear_error():
    address = f"127.0.0.1:{unused_port()}"
    with pytest.raises(WorkerError, match=address), connect(address):
        pass
