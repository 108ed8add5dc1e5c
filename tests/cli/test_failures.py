"""Failures that are nobody's input: exit code 1, and what failed is named."""

import fcntl
from pathlib import Path
from typing import Any

import ase.io
from ase.build import bulk

from service.local_storage import LOCK
from tests.cli.conftest import Workplace, run


def test_a_full_disk_under_an_output_and_a_store(
    workplace: Workplace, tmp_path: Path, small_disk: Any
) -> None:
    ase.io.write(tmp_path / "many.extxyz", [bulk("Si", a=a / 100) for a in range(530, 560)])
    output, store = small_disk("4k") / "out.extxyz", tmp_path / "disk" / "store"
    result = run("predict", "--model", workplace.model, tmp_path / "many.extxyz", "--output", output, "-q")
    assert result.exit_code == 1, result.output
    assert f"Error: {output}: no space left" in result.stderr
    result = run("featurize", workplace.data, "--store", store, "--path-key", "path_id", "--workers", 1)
    assert result.exit_code == 1, result.output
    assert str(store.parent) in result.stderr
    assert "no space left" in result.stderr
    assert list(output.parent.iterdir()) == []


def test_a_missing_permission(workplace: Workplace) -> None:
    output = Path("/proc/out.extxyz")  # nobody may make files there
    result = run("predict", "--model", workplace.model, workplace.data, "--output", output, "-q")
    assert result.exit_code == 1, result.output
    assert f"Error: {output}: cannot be written: " in result.stderr


def test_a_store_that_another_process_writes_to(workplace: Workplace) -> None:
    with (workplace.store / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = run(
            "featurize", workplace.data, "--store", workplace.store, "--path-key", "path_id",
            "--config", workplace.data.parent / "transform.toml", "--workers", 1,
        )  # fmt: skip
    assert result.exit_code == 1, result.output
    assert "another process is writing" in result.stderr
