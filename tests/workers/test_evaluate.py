"""Evaluate jobs on a cluster: its workers compute the features that the model needs, the driver none."""

import contextlib

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from atomscatter.ensemble import Ensemble
from atomscatter.extrapolation import ExtrapolationModel
from atomscatter.scattering import Scattering
from service.default_model import embedded_model
from service.demo_data import load_sample
from service.evaluation import evaluate, evaluate_blocks, needed_features, summary
from service.feature_store import FeatureStore
from service.reading import LabelledStructure
from service.result_files import write_extxyz
from service.state import StateDirectory
from workers.cluster import connect
from workers.evaluate import features_by_workers
from workers.job import _Run
from workers.job_desk import JobDesk
from workers.job_places import LOCAL


@pytest.fixture(scope="module", autouse=True)
def cluster():
    with connect(workers=2):
        yield


@pytest.fixture
def driver_only_drives(monkeypatch):
    """This process cannot compute features."""

    def refused(*_, **__):
        raise AssertionError("the driver computes features")

    monkeypatch.setattr(Scattering, "features", refused)


def silicon(n):
    return [LabelledStructure(bulk("Si", a=5.0 + 0.01 * i), "made.xyz", i, str(i), -1.0) for i in range(n)]


def model_of_few_columns(structures):
    scattering = Scattering.for_species(["Si"], beta=1.0, scales=2)
    features = np.array([scattering.features(s.atoms) for s in structures])
    weights = np.zeros((4, scattering.n_features))
    weights[:, [0, 5, 40]] = np.random.default_rng(0).normal(size=(4, 3))
    fold = np.array([0, 0, 1, 1])
    learnt = ExtrapolationModel.fit(features, weights.mean(axis=0), np.arange(len(structures)) % 2)
    return Ensemble(weights, np.zeros(4), fold, np.full(4, 4), scattering.config, learnt, "made")


def test_an_interrupted_one_goes_on(tmp_path, monkeypatch, request):
    structures = silicon(100)
    ensemble = model_of_few_columns(structures[:10])
    request.getfixturevalue("driver_only_drives")
    monkeypatch.setattr("service.chunks._LEAST_UNIT_SECONDS", 0.0)  # every structure is a unit
    monkeypatch.setattr("service.evaluation._ROWS", 30)
    place = tmp_path / "stores" / "x"

    def compute(seen):
        return list(features_by_workers(structures, ensemble, place, "auto", seen))

    done = []

    def interrupted(n):
        done.append(n)
        if sum(done) >= 4:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        compute(interrupted)
    before = len(FeatureStore.open(place, check=False).completed_units())
    assert 4 <= before < 100
    (tmp_path / "stores" / "x.gone").mkdir()  # of an attempt that was killed at its very end
    done.clear()
    blocks = compute(done.append)
    # A worker may have ended one more before it noticed that nobody waits for it.
    assert before <= done[0] < 100, "those are not computed again"
    assert sum(done) == 100
    assert list((tmp_path / "stores").iterdir()) == []
    monkeypatch.undo()
    assert [len(block) for block in blocks] == [30, 30, 30, 10]
    here = list(needed_features(ensemble, structures, lambda _: None))
    assert np.array_equal(np.concatenate(blocks), np.concatenate(here)), "as those of a prediction"
    unused = np.setdiff1d(np.arange(ensemble.n_features), ensemble.needed.columns)
    assert unused.size
    assert not np.concatenate(blocks)[:, unused].any(), "they are not computed"


def run_job(state, frames, energies, on_cluster):
    """The last status of a job that evaluates these structures."""
    data = state.root.with_name("data.extxyz")
    write_extxyz(data, frames, energies, [{} for _ in frames])
    with contextlib.closing(JobDesk(state, None)) as desk:
        job = desk.submit("evaluate", {"dataset": desk.add_dataset(data, None, None)})
    files = state.job_files()
    files.write_request(job, on_cluster=on_cluster, place="http://head:8265" if on_cluster else LOCAL)
    _Run(files.request(job.id), state, files).run()
    return files.status(job.id, job.attempts)


@pytest.mark.parametrize("on_cluster", [True, False], ids=["by workers", "here"])
def test_a_structure_that_is_too_large_is_named(tmp_path, on_cluster):
    large = Atoms("Si4", [[5.0 * i, 0, 0] for i in range(4)], cell=[60, 60, 110], pbc=True)
    state = StateDirectory(tmp_path / "state")
    status = run_job(state, [bulk("Si"), large], [-10.0, -20.0], on_cluster)
    assert status.state == "failed"
    assert "structures.extxyz, structure 1: cell of 60 x 60 x 110 Angstrom" in status.error
    assert str(tmp_path) not in status.error


def test_a_job(tmp_path, monkeypatch, driver_only_drives):
    sample = load_sample("paths")[:4]
    state = StateDirectory(tmp_path / "state")
    status = run_job(state, [s.atoms for s in sample], [s.energy for s in sample], on_cluster=True)
    assert (status.state, status.done, status.total) == ("succeeded", 4, 4)
    assert list((tmp_path / "state" / "stores").iterdir()) == []
    monkeypatch.undo()
    ensemble = Ensemble.load(embedded_model())
    features = np.array([ensemble.scattering.features(s.atoms) for s in sample])
    of_all = summary(evaluate(ensemble, sample, features))
    assert status.result["averaged_model"] == pytest.approx(of_all["averaged_model"])
    of_needed = evaluate_blocks(ensemble, sample, needed_features(ensemble, sample, lambda _: None))
    assert status.result["averaged_model"] == summary(of_needed)["averaged_model"], "to the last bit"
