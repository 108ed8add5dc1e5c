"""The demo with few concentrations and models: everything is written, and the numbers agree."""

import csv
import json
from collections.abc import Iterator

import ase.io
import numpy as np
import pytest
from matplotlib.image import imread

from atomscatter import Ensemble
from service.demo_report import DemoResult, print_result
from service.tables import terminal
from service.training import FitSettings
from workers.cluster import connect
from workers.demo import DemoSettings, run_demo

SETTINGS = DemoSettings(
    FitSettings(folds=2, bootstraps=3, max_features=25),
    n_alphas=2,
    transform={"beta": 1.0, "scales": 2, "n": 2},
)


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[None]:
    """A connection that both runs share."""
    with connect(workers=2):
        yield


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    return run_demo(tmp_path_factory.mktemp("demo") / "run", SETTINGS, workers=2)


def test_the_run_folder_is_complete(demo: DemoResult) -> None:
    names = {p.relative_to(demo.directory).as_posix() for p in demo.directory.rglob("*") if p.is_file()}
    expected = {
        "table.md",
        "table.json",
        "model_card.md",
        "model_card.json",
        "timings.json",
        "model/card.json",
        "model/weights.npz",
        *(f"predictions/{s}.{e}" for s in ("paths", "diffusion", "large", "bulk") for e in ("csv", "extxyz")),
        *(f"plots/{p}.png" for p in ("learning_curves", "parity", "bulk_moduli", "migration_paths")),
    }
    assert expected <= names
    for plot in (demo.directory / "plots").iterdir():
        assert imread(plot).std() > 0.02


def test_table_follows_from_the_predictions(demo: DemoResult) -> None:
    table = json.loads((demo.directory / "table.json").read_text())
    assert [row["set"] for row in table["energies"]][:3] == ["relaxation paths", "diffusion", "large states"]
    with (demo.directory / "predictions" / "paths.csv").open() as file:
        rows = list(csv.DictReader(file))
    wrong = np.array([float(row["error (meV/atom)"]) for row in rows])
    folds = np.array([int(row["predicted by fold"]) for row in rows])
    per_fold = [np.sqrt(np.mean(wrong[folds == f] ** 2)) for f in (0, 1)]
    assert table["energies"][0]["rmse_mean"] == pytest.approx(np.mean(per_fold), abs=0.01)
    assert table["energies"][0]["rmse_std"] == pytest.approx(np.std(per_fold), abs=0.01)
    assert "not DFT" in " ".join(table["notes"])


def test_predictions_are_those_of_the_saved_model(demo: DemoResult) -> None:
    ensemble = Ensemble.load(demo.directory / "model")
    assert ensemble.model_id == demo.model_id
    frames = ase.io.read(demo.directory / "predictions" / "diffusion.extxyz", ":")
    prediction = ensemble.predict(frames[3])
    assert frames[3].get_potential_energy() == pytest.approx(prediction.energy, abs=1e-5)
    assert frames[3].info["uncertainty_per_atom"] == pytest.approx(prediction.uncertainty, abs=1e-8)


def test_again_uses_the_features_that_are_there(demo: DemoResult) -> None:
    stores = [demo.directory / "features" / name for name in ("paths", "extrapolation")]
    before = {f: f.stat().st_mtime_ns for store in stores for f in store.rglob("c/*") if f.is_file()}
    assert before
    again = run_demo(demo.directory, SETTINGS, workers=1)
    assert again.model_id == demo.model_id
    assert {f: f.stat().st_mtime_ns for f in before} == before


def test_what_is_printed(demo: DemoResult, capsys: pytest.CaptureFixture[str]) -> None:
    print_result(terminal(), demo)
    shown = capsys.readouterr().out
    for part in (
        "(meV/atom)",
        "parents held",
        "relaxation paths",
        "2x2x2",
        "migration barriers",
        "GPa",
        "not DFT",
        "M*",
    ):
        assert part in shown
    assert f"atomscatter predict --model {demo.directory}/model" in shown.replace("\n", "")
