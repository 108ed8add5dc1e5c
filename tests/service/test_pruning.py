"""Pruned models against the whole model, on made-up data."""

from dataclasses import replace

import numpy as np
import pytest

from atomscatter.ensemble import Ensemble
from atomscatter.errors import ConfigError, DataError, ModelError
from atomscatter.needed import block_of
from service.pruning import Pruning
from service.training import FitSettings, TrainingData, training_data
from tests.made_data import made_store, trained_here
from workers.extend import extend

STORE = made_store([f"p{i}" for i in range(20)], 1)
SETTINGS = FitSettings(folds=3, bootstraps=12, max_features=9, seed=4, invariance=0)


@pytest.fixture(scope="module")
def ensemble() -> Ensemble:
    return trained_here(STORE, SETTINGS)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return training_data(STORE)


@pytest.fixture(scope="module")
def pruning(ensemble, data) -> Pruning:
    return Pruning(ensemble, data)


def test_the_whole_model_has_the_errors_of_its_card(ensemble, pruning):
    assert pruning.whole[0].mean() == pytest.approx(ensemble.card["errors"]["rmse_mean"], rel=1e-9)
    assert pruning.whole[1].mean() == pytest.approx(ensemble.card["errors"]["mae_mean"], rel=1e-9)


def test_an_extended_model_has_the_folds_that_it_was_extended_with(ensemble):
    more = made_store(["a new path"], 2)
    extended, _ = extend(ensemble, [STORE], [more])
    pruning = Pruning(extended, training_data([STORE, more]))
    assert pruning.whole[0].mean() == pytest.approx(extended.card["errors"]["rmse_mean"], rel=1e-9)


def test_a_model_of_nothing_but_composition_cannot_be_pruned(ensemble, data):
    above = [i for i, label in enumerate(ensemble.scattering.labels) if label.order > 0]
    weights = ensemble.weights.copy()
    weights[:, above] = 0
    with pytest.raises(DataError, match="nothing can be pruned"):
        Pruning(replace(ensemble, weights=weights), data)


def test_with_all_blocks_nothing_changes(ensemble, pruning, data):
    size = pruning.curve([pruning.n_blocks])[0]
    model = pruning.model(size)
    for before, after in zip(
        ensemble.predict_features(data.features), model.predict_features(data.features), strict=True
    ):
        np.testing.assert_allclose(after, before, atol=1e-6)


def test_the_smallest_model_within_a_rise(ensemble, pruning, data):
    size = pruning.smallest(max_rise=0.02)
    assert size.rise <= 0.02
    assert all(s.rise > 0.02 for s in pruning.curve(pruning.sizes()) if s.n_blocks < size.n_blocks)
    model = pruning.model(size)
    kept = np.flatnonzero(model.weights.any(axis=0))
    assert kept.tolist() == size.columns.tolist()
    assert len(kept) < np.count_nonzero(ensemble.weights.any(axis=0))
    labels = ensemble.scattering.labels
    of_model = {block_of(labels[i]) for i in kept}
    assert of_model <= {block_of(labels[i]) for i in np.flatnonzero(ensemble.weights.any(axis=0))}
    assert model.card["pruned"]["features"] == len(kept)
    assert model.card["pruned"]["from_model"] == ensemble.model_id != model.model_id
    # Predictions move less than they are wrong, and their uncertainty is about what it was.
    (before, spread), (after, spread_after) = (m.predict_features(data.features) for m in (ensemble, model))
    error = np.sqrt(np.mean((before - data.energies) ** 2))
    assert np.sqrt(np.mean((after - before) ** 2)) < error
    assert 0.7 < spread_after.mean() / spread.mean() < 1.4


def test_products_are_made_together(ensemble, pruning):
    labels = [ensemble.scattering.labels[columns[0]] for columns in pruning._blocks]
    products = [i for i, label in enumerate(labels) if label.center is not None]
    others = [i for i, label in enumerate(labels) if label.center is None]
    assert len(products) == 2  # of Li and of Si, l = 0
    before, after = pruning._costs([]), pruning._costs(products[:1])
    assert after[products[1]] < before[products[1]] / 10
    np.testing.assert_array_equal(after[others], before[others])


def test_errors_of_a_size_are_those_of_its_model(pruning, data):
    size = pruning.curve([2])[0]
    model = pruning.model(size)
    folds = model.fold_predictions(data.features)
    held_out = [
        np.sqrt(np.mean((folds[f] - data.energies)[pruning.folds == f] ** 2)) for f in range(len(folds))
    ]
    np.testing.assert_allclose(size.rmse, held_out, rtol=1e-7)
    assert model.card["errors"]["rmse_mean"] == pytest.approx(np.mean(held_out), rel=1e-7)
    assert [f["rmse"] for f in model.card["errors"]["folds"]] == pytest.approx(held_out, rel=1e-7)


def test_a_number_of_features(pruning):
    sizes = pruning.curve(range(1, pruning.n_blocks + 1))
    limit = len(sizes[3].columns) + 1
    assert len(pruning.smallest(features=limit).columns) == len(sizes[3].columns)
    with pytest.raises(DataError, match="the smallest pruned model has"):
        pruning.smallest(features=1)


def test_no_size_is_good_enough(pruning):
    with pytest.raises(DataError, match="no pruned model has an error rise of at most -50 %"):
        pruning.smallest(max_rise=-0.5)


def test_other_data_is_refused(ensemble):
    with pytest.raises(ModelError, match="pruning needs the training data"):
        Pruning(ensemble, training_data(made_store(["x", "y", "z"], 1)))


def test_features_of_another_transform_are_refused(ensemble, data):
    other = replace(data, scattering_config={**data.scattering_config, "beta": 0.25})
    with pytest.raises(ConfigError, match=r"another transform.*beta is .* there, 0.25 now"):
        Pruning(ensemble, other)


def test_pruned_models_are_stored_like_others(pruning, tmp_path):
    model = pruning.model(pruning.curve([3])[0])
    model.save(tmp_path / "model")
    assert Ensemble.load(tmp_path / "model").card["pruned"] == model.card["pruned"]
