import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from atomscatter.scattering import Scattering
from service.feature_store import FeatureStore
from service.reading import read_structures
from tests.faults.driver import SETTINGS
from tests.faults.table import FaultTable
from workers.cluster import connect
from workers.featurize import Featurizer, UnitsOfWork, featurize

CHUNK_ROWS = 3  # units of about 50 ms


@pytest.fixture(scope="session")
def data_file(request, tmp_path_factory):
    """Structures of 8 atoms in cells of different size, as a user would have them.

    32 units of work for the fault table, whose tests injure one run many times, and half of them for the
    ordinary suite.
    """
    rng = np.random.default_rng(0)
    frames = []
    for i in range(96 if request.config.option.markexpr == "chaos" else 48):
        atoms = bulk("Si", cubic=True, a=5.2 + 0.01 * (i % 40))
        atoms.numbers[: i % 8] = 3
        atoms.rattle(0.05, rng=rng)
        atoms.calc = SinglePointCalculator(atoms, energy=-float(i))
        frames.append(atoms)
    path = tmp_path_factory.mktemp("data") / "structures.extxyz"
    write(path, frames)
    return path


@pytest.fixture(scope="session")
def structures(data_file):
    good, bad = read_structures([data_file], need_energy=True)
    assert bad == []
    return good


@pytest.fixture(scope="session")
def larger_file(structures, tmp_path_factory):
    """The structures in cells of eight times the volume: they take long enough to be interrupted."""
    frames = []
    for structure in structures:
        atoms = structure.atoms.repeat(2)
        atoms.calc = SinglePointCalculator(atoms, energy=8 * structure.energy)
        frames.append(atoms)
    path = tmp_path_factory.mktemp("larger") / "structures.extxyz"
    write(path, frames)
    return path


@pytest.fixture(scope="session")
def run(structures):
    """Function that featurizes the structures into a store."""

    def run(path, on_progress=None):
        return featurize(
            structures,
            Scattering(**SETTINGS),
            path,
            workers=2,
            chunk_rows=CHUNK_ROWS,
            on_progress=on_progress,
        )

    return run


@pytest.fixture(scope="session")
def undisturbed(structures, tmp_path_factory):
    """A store that nothing happened to."""
    return made_here(tmp_path_factory.mktemp("undisturbed") / "store", structures, CHUNK_ROWS)


def made_here(path, structures, chunk_rows):
    """A store made by this process, unit after unit, without Ray."""
    store = FeatureStore.create(path, structures, Scattering(**SETTINGS), chunk_rows=chunk_rows)
    worker = Featurizer(store.scattering_config, str(path))
    jobs = UnitsOfWork(store, structures, range(store.n_units))
    for unit in jobs:
        worker.featurize(*jobs[unit])
    return FeatureStore.open(path)


@pytest.fixture(scope="module")
def local_ray():
    """A connection that the runs of a module share."""
    with connect(workers=2):
        yield


# What a run with "-m chaos" found goes into benchmarks/results/faults.md.

_TABLE = pytest.StashKey[FaultTable]()
_COUNTS = pytest.StashKey[list]()


def pytest_configure(config):
    config.addinivalue_line("markers", "fault(row): row of the fault table that the test is for")
    config.stash[_TABLE] = FaultTable()
    if config.option.markexpr == "chaos" and config.getoption("numprocesses", None):
        raise pytest.UsageError("the fault table is filled by one process: -m chaos needs -n 0")


@pytest.fixture
def injected(request):
    """Function that notes how many faults were injected, and what was seen to hold."""
    counts = request.node.stash[_COUNTS] = []

    def note(times, outcome):
        counts.append((times, outcome))

    return note


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    fault = item.get_closest_marker("fault")
    decided = call.when == "call" or report.failed  # also where something it needs could not be made
    if decided and fault is not None and item.get_closest_marker("chaos"):
        counts = item.stash.get(_COUNTS, [])
        outcome = counts[-1][1] if report.passed else f"**{report.outcome}**"
        times = sum(times for times, _ in counts)
        item.config.stash[_TABLE].add(fault.args[0], times, outcome, item.nodeid)
    return report


def pytest_sessionfinish(session):
    table = session.config.stash[_TABLE]
    if table.rows:
        table.write()
