"""What all tests share: which of them stay together when pytest-xdist spreads them, and small disks."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    """A module's tests share servers and clusters; those of the compose file share its running services."""
    for item in items:
        place = item.path.relative_to(HERE)
        name = "deploy" if place.parts[0] == "deploy" else str(place)
        item.add_marker(pytest.mark.xdist_group(name))


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
