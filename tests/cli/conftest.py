"""A small data set and a model that was made from it with the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.app import app
from service.demo_data import load_sample, thinned
from service.result_files import write_extxyz
from workers.cluster import connect

REFERENCES = "Li=-1.895396,Si=-5.425271"
CONFIG = "beta = 1.0\nscales = 2\nn = 2\npowers = [1, 2]\n"


@dataclass(frozen=True)
class Workplace:
    """Files that all tests share; nobody writes to them."""

    data: Path
    store: Path
    model: Path
    train_output: str


def run(*arguments: Any) -> Any:
    """Run ``atomscatter`` in this process."""
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="package")
def ray() -> Iterator[None]:
    """A connection that the commands find and use: each would start a Ray of its own. Tests of other
    directories, which come after these in the same process, do."""
    with connect(workers=2):
        yield


@pytest.fixture(scope="package")
def workplace(ray: None, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    folder = tmp_path_factory.mktemp("cli")
    data, store, model = folder / "data.extxyz", folder / "store", folder / "model"
    sample = thinned(load_sample("paths"), 3)
    atoms = [s.atoms for s in sample]
    write_extxyz(data, atoms, [s.energy or 0.0 for s in sample], [{} for _ in sample])
    (folder / "transform.toml").write_text(CONFIG)
    made = run(
        "featurize", data, "--store", store, "--path-key", "path_id",
        "--config", folder / "transform.toml", "--chunk-rows", 2, "--workers", 2,
    )  # fmt: skip
    assert made.exit_code == 0, made.output
    trained = run(
        "train", "--store", store, "--model", model, "--folds", 2, "--bootstraps", 4, "--max-features", 12,
        "--size-factor", 1.5, "--channel-share", 0.6, "--references", REFERENCES, "--workers", 2,
    )  # fmt: skip
    assert trained.exit_code == 0, trained.output
    return Workplace(data, store, model, trained.stdout)
