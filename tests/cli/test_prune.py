"""Pruning a model by the command."""

import json

import numpy as np
import pytest

from atomscatter import Ensemble
from atomscatter.needed import block_of
from service.feature_store import FeatureStore
from service.pruning import Pruning
from service.training import training_data
from tests.cli.conftest import Workplace, run


def test_a_pruned_model_has_fewer_features_and_almost_the_same_predictions(workplace: Workplace, tmp_path):
    out = tmp_path / "pruned"
    result = run(
        "prune", "--model", workplace.model, "--store", workplace.store, "--out", out, "--max-rise", 0.02
    )
    assert result.exit_code == 0, result.output
    assert "features; RMSE on held-out paths" in result.stdout
    whole, pruned = Ensemble.load(workplace.model), Ensemble.load(out)
    card = pruned.card["pruned"]
    kept = np.flatnonzero(pruned.weights.any(axis=0))
    assert len(kept) == card["features"]
    assert card["from_model"] == whole.model_id != pruned.model_id
    assert card["rmse_rise"] <= 0.02
    labels = pruned.scattering.labels
    kept_blocks = {block_of(labels[i]) for i in kept}
    used_blocks = {block_of(labels[i]) for i in np.flatnonzero(whole.weights.any(axis=0))}
    assert kept_blocks <= used_blocks

    data = training_data(FeatureStore.open(workplace.store))
    before, spread_before = whole.predict_features(data.features)
    after, spread_after = pruned.predict_features(data.features)
    error = np.sqrt(np.mean((before - data.energies) ** 2))
    assert np.sqrt(np.mean((after - before) ** 2)) < 0.3 * error
    assert 0.5 < spread_after.mean() / spread_before.mean() < 2
    told = run("predict", workplace.data, "--model", out, "--json")
    assert told.exit_code == 0
    assert json.loads(told.stdout.splitlines()[0])["model"] == pruned.model_id


def test_the_number_of_features_can_be_given(workplace: Workplace, tmp_path):
    ensemble = Ensemble.load(workplace.model)
    pruning = Pruning(ensemble, training_data(FeatureStore.open(workplace.store)))
    curve = pruning.curve(range(1, pruning.n_blocks + 1))
    limit = len(curve[len(curve) // 2].columns)
    out = tmp_path / "pruned"
    result = run(
        "prune",
        "--model",
        workplace.model,
        "--store",
        workplace.store,
        "--out",
        out,
        "--features",
        limit,
        "--quiet",
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert np.count_nonzero(Ensemble.load(out).weights.any(axis=0)) == limit


def test_errors_of_the_curve_are_those_of_the_pruned_models(workplace: Workplace):
    ensemble = Ensemble.load(workplace.model)
    data = training_data(FeatureStore.open(workplace.store))
    pruning = Pruning(ensemble, data)
    assert pruning.whole[0].mean() == pytest.approx(ensemble.card["errors"]["rmse_mean"], rel=1e-6)
    size = pruning.curve([2])[0]
    model = pruning.model(size)
    folds = model.fold_predictions(data.features)
    held_out = [
        np.sqrt(np.mean((folds[f] - data.energies)[pruning.folds == f] ** 2)) for f in range(len(folds))
    ]
    np.testing.assert_allclose(size.rmse, held_out, rtol=1e-6)
    assert model.card["errors"]["rmse_mean"] == pytest.approx(np.mean(held_out), rel=1e-6)


def test_what_cannot_be_pruned(workplace: Workplace, tmp_path):
    other = tmp_path / "store"
    config = workplace.data.parent / "transform.toml"
    made = run(
        "featurize",
        workplace.data,
        "--store",
        other,
        "--config",
        config,
        "--copies",
        0,
        "--workers",
        1,
        "--quiet",
    )
    assert made.exit_code == 0, made.output
    result = run("prune", "--model", workplace.model, "--store", other, "--out", tmp_path / "a")
    assert result.exit_code == 2
    assert "pruning needs the training data" in result.stderr
    few = run(
        "prune",
        "--model",
        workplace.model,
        "--store",
        workplace.store,
        "--out",
        tmp_path / "a",
        "--features",
        1,
    )
    assert few.exit_code == 2
    assert "the smallest pruned model has" in few.stderr
    assert not (tmp_path / "a").exists()
