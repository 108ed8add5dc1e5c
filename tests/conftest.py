"""What all tests share: which of them stay together when pytest-xdist spreads them, which may be skipped, and
small disks."""

import os
import subprocess

import pytest
import structlog
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# A machine that stands still for a moment is no failure of the example that it was at.
settings.register_profile("atomscatter", deadline=None)
settings.load_profile("atomscatter")

# Ray's workers otherwise give way to all other processes (nice 15): beside four busy processes on two cores
# one took minutes to start, and its test gave up. All Rays of the tests inherit this.
AS_OTHERS = {"RAY_worker_niceness": "0"}
os.environ.update(AS_OTHERS)

# Modules that share what takes long to start or to make; those of tests/api one server.
TOGETHER = (
    ("tests/cli/",),
    ("tests/deploy/",),
    tuple(
        f"tests/api/test_{name}.py"
        for name in ("bad_input", "client", "openapi", "operation", "page_files", "predictions", "properties")
    ),
)
# What takes longest goes first, the longest of all at the head: begun last, one of them would keep a single
# worker busy at the end. By measured durations.
FIRST = (
    "tests/deploy/",
    "tests/integration/test_submit.py",
    "tests/browser/",
    "tests/api/test_jobs.py",
    "tests/integration/",
    "tests/api/test_fuzz.py",
    "tests/api/",
    "tests/faults/",
    "tests/cli/",
    "tests/workers/",
)


class ByModule(LoadScopeScheduling):
    """A module's tests share servers and clusters; some modules share them with others.

    Own code, because pytest 9.2 ignores the groups of ``--dist loadgroup`` (pytest-xdist 3.8), and then every
    worker makes every fixture.
    """

    def _split_scope(self, nodeid):
        module = nodeid.partition("::")[0]
        return next((modules[0] for modules in TOGETHER if module.startswith(modules)), module)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: _place(item.nodeid))


def _place(nodeid):
    """Of a test in the order of the run."""
    return next((i for i, start in enumerate(FIRST) if nodeid.startswith(start)), len(FIRST))


@pytest.hookimpl(optionalhook=True)  # also without pytest-xdist
def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False  # by the number of tests
    return ByModule(config, log)


# Also in CI, which has no kubectl: it compares what other tests make by code of ours with what kubectl makes.
MAY_BE_SKIPPED = ("tests/deploy/test_kubernetes.py::test_kustomize_makes_the_same",)
NO_OTHERS = "NO_SKIPS" in os.environ


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    return _without_skips((yield))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    return _without_skips((yield))


def _without_skips(report):
    """CI installs all that tests need, and forbids to skip any: nobody would notice."""
    forbidden = NO_OTHERS and not report.nodeid.startswith(MAY_BE_SKIPPED)
    if forbidden and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which NO_SKIPS forbids: {report.longrepr[2]}"
    return report


@pytest.fixture(autouse=True)
def _every_message_is_logged():
    """What a command of an earlier test set in this process would drop messages of the next."""
    structlog.reset_defaults()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own: function that mounts it with a size, or gives it another one."""
    target = tmp_path / "disk"
    target.mkdir()
    mounted = []

    def resize(size):
        options = f"remount,size={size}" if mounted else f"size={size}"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(target)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            assert not mounted, done.stderr
            pytest.skip(f"a small disk needs the permission to mount one: {done.stderr.strip()}")
        mounted.append(size)
        return target

    yield resize
    if mounted:
        subprocess.run(["umount", "--lazy", str(target)], check=True)
