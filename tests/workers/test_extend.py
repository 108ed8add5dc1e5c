"""New paths in a trained ensemble: what changes, what does not, and against a fit from scratch."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from atomscatter.ensemble import Ensemble
from atomscatter.errors import ConfigError, DataError, ModelError
from atomscatter.resampling import fold_of_new_path, new_path_draws
from service.training import FitSettings, training_data
from tests.made_data import made_store, trained_here, with_copies
from workers.extend import extend, resampling_of

SETTINGS = FitSettings(folds=3, bootstraps=12, max_features=9, seed=4, invariance=0)
BASE = made_store([f"p{i}" for i in range(14)], 1)
NEW = made_store(["new a"], 2)
MORE = made_store(["a second", "another one"], 3)


@pytest.fixture(scope="module", params=[1.0, 0.6], ids=["all channels", "some channels"])
def trained(request) -> Ensemble:
    return trained_here(BASE, replace(SETTINGS, channel_share=request.param))


def test_models_without_the_new_path_stay_and_the_others_are_fits_from_scratch(trained):
    extended, changed = extend(trained, [BASE], [NEW])
    data = training_data([BASE, NEW])
    resampling = resampling_of(trained, data, ["new a"])
    place = resampling.names.index("new a")
    drawn = np.flatnonzero(resampling.draws[:, place])
    assert changed.tolist() == drawn.tolist()
    assert 5 < len(changed) < trained.n_models * 0.8
    assert not set(changed.tolist()) & set(
        np.flatnonzero(trained.fold == resampling.path_fold[place]).tolist()
    )
    same = np.setdiff1d(np.arange(trained.n_models), changed)
    assert extended.weights[same].tobytes() == trained.weights[same].tobytes()
    assert extended.bias[same].tobytes() == trained.bias[same].tobytes()

    path = np.array([resampling.names.index(p) for p in data.path_ids])
    for model in changed.tolist():
        used = np.flatnonzero(extended.weights[model])
        assert used.tolist() == np.flatnonzero(trained.weights[model]).tolist()
        oracle = LinearRegression(fit_intercept=bool(trained.bias[model]))
        oracle.fit(data.features[:, used], data.energies, sample_weight=resampling.draws[model, path])
        np.testing.assert_allclose(extended.weights[model, used], oracle.coef_, rtol=1e-6, atol=1e-9)
        assert extended.bias[model] == pytest.approx(oracle.intercept_, rel=1e-6, abs=1e-9)


def test_draws_of_the_known_paths_are_those_of_the_training(trained):
    data = training_data([BASE, NEW])
    extended = resampling_of(trained, data, ["new a"])
    rows = _Check(data, extended)
    known = trained.card["errors"]["folds"]
    for fold in known:
        inside = [n for n, f in zip(extended.names, extended.path_fold, strict=True) if f == fold["fold"]]
        assert len(set(inside) - {"new a"}) == fold["n_paths"]
    # The stored weights are the fits to these draws: the bootstraps of the training are drawn again.
    for model in (0, 11, 20, 35):
        used = np.flatnonzero(trained.weights[model])
        oracle = LinearRegression(fit_intercept=bool(trained.bias[model]))
        oracle.fit(data.features[:, used], data.energies, sample_weight=rows.without_new(model))
        np.testing.assert_allclose(trained.weights[model, used], oracle.coef_, rtol=1e-6, atol=1e-9)


class _Check:
    def __init__(self, data, resampling):
        self.path = np.array([resampling.names.index(p) for p in data.path_ids])
        self.draws = resampling.draws
        self.new = resampling.names.index("new a")

    def without_new(self, model):
        return np.where(self.path == self.new, 0, self.draws[model, self.path])


def test_one_after_the_other_is_the_same_as_both_at_once(trained, tmp_path):
    once, changed = extend(trained, [BASE], [NEW, MORE])
    first, _ = extend(trained, [BASE], [NEW])
    second, _ = extend(first, [BASE, NEW], [MORE])
    assert once.weights.tobytes() == second.weights.tobytes()
    assert once.model_id == second.model_id
    assert second.card["added_paths"] == ["new a", "a second", "another one"]
    assert second.card["n_paths"] == 17
    assert len(changed) > 12
    second.save(tmp_path / "model")
    assert Ensemble.load(tmp_path / "model").model_id == second.model_id


def test_errors_of_the_card_are_those_on_held_out_paths(trained):
    extended, _ = extend(trained, [BASE], [NEW])
    data = training_data([BASE, NEW])
    resampling = resampling_of(trained, data, ["new a"])
    fold_of = dict(zip(resampling.names, resampling.path_fold.tolist(), strict=True))
    folds = extended.fold_predictions(data.features)
    for errors in extended.card["errors"]["folds"]:
        rows = np.array([fold_of[p] == errors["fold"] for p in data.path_ids])
        difference = (folds[errors["fold"]] - data.energies)[rows]
        assert errors["rmse"] == pytest.approx(np.sqrt(np.mean(difference**2)), rel=1e-9)
        assert errors["n_structures"] == rows.sum()


def test_the_card_counts_what_the_models_have_now(trained):
    extended, changed = extend(trained, [BASE], [NEW])
    used = np.count_nonzero(extended.weights, axis=1) + (extended.bias != 0)
    assert extended.n_selected[changed].tolist() == used[changed].tolist()
    assert extended.card["errors"]["n_selected_mean"] == pytest.approx(extended.n_selected.mean())
    assert extended.card["n_invariance_conditions"] == 0  # neither store has copies


def test_conditions_of_invariance_of_old_and_new_paths_count():
    base, new = with_copies(BASE, (3, 20, 41, 60)), with_copies(NEW, (1, 2))
    settings = replace(SETTINGS, invariance=5.0)
    extended, changed = extend(trained_here(base, settings), [base], [new])
    assert extended.card["n_structures"] == 75
    assert extended.card["n_invariance_conditions"] == 6

    # A condition is a row without bias and with energy 0, times the weight of invariance.
    data = training_data([base, new])
    draws = resampling_of(extended, data, []).draws
    names = sorted(set(data.path_ids))
    path = np.array([names.index(p) for p in data.path_ids + data.difference_paths])
    X = np.vstack([
        np.column_stack([data.features, np.ones(75)]),
        np.column_stack([5.0 * data.differences, np.zeros(6)]),
    ])  # fmt: skip
    y = np.append(data.energies, np.zeros(6))
    assert len(changed) > 5
    for model in changed.tolist():
        used = np.append(extended.weights[model] != 0, extended.bias[model] != 0)
        oracle = LinearRegression(fit_intercept=False).fit(X[:, used], y, sample_weight=draws[model, path])
        found = np.append(extended.weights[model], extended.bias[model])[used]
        np.testing.assert_allclose(found, oracle.coef_, rtol=1e-6, atol=1e-9)


def test_fold_of_a_new_path_keeps_folds_even():
    folds, compositions = [0, 1, 2, 0, 1], ["A", "A", "A", "B", "B"]
    assert fold_of_new_path("B", compositions, folds) == 2
    assert fold_of_new_path("A", compositions, folds) == 2  # as many of A everywhere, fewest paths in all
    assert fold_of_new_path("C", [*compositions, "B"], [*folds, 2]) == 0


def test_draws_of_a_new_path_are_nearly_those_of_a_bootstrap():
    fold = np.repeat(np.arange(5), 2000)
    draws = new_path_draws(0, "a path", 3, fold)
    assert not draws[fold == 3].any()
    others = draws[fold != 3]
    assert others.mean() == pytest.approx(1.0, abs=0.05)
    assert np.mean(others == 0) == pytest.approx(np.exp(-1), abs=0.03)
    assert draws.tolist() == new_path_draws(0, "a path", 3, fold).tolist()
    assert draws.tolist() != new_path_draws(0, "b path", 3, fold).tolist()


def test_what_cannot_be_extended(trained):
    with pytest.raises(DataError, match="no new path"):
        extend(trained, [BASE], [])
    with pytest.raises(DataError, match="path p0 is known already"):
        extend(trained, [BASE], [made_store(["p0", "fresh"], 5)])
    with pytest.raises(ModelError, match="needs the training data"):
        extend(trained, [NEW], [MORE])
    other = {**BASE.scattering_config, "beta": 0.25}
    with pytest.raises(ConfigError, match=r"another transform.*beta is .* there, 0.25 now"):
        extend(trained, [replace(BASE, scattering_config=other)], [replace(NEW, scattering_config=other)])
    full = trained.card["settings"] | {"selection": "full"}
    with pytest.raises(ConfigError, match="cannot be extended"):
        extend(replace(trained, card=trained.card | {"settings": full}), [BASE], [NEW])
