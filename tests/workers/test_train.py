import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from sklearn.linear_model import LinearRegression

import workers.train as train_module
from atomscatter.channels import channels_for
from atomscatter.ensemble import Ensemble
from atomscatter.errors import ConfigError, DataError, FitError
from atomscatter.labels import PRODUCTS
from atomscatter.resampling import bootstrap_weights, model_rng, path_folds
from atomscatter.scattering import Scattering
from service.training import FitSettings, TrainingData, training_data
from tests.made_data import shared_here
from workers.cluster import connect
from workers.fit_worker import FitWorker, Problem
from workers.train import train_on

SETTINGS = FitSettings(folds=3, bootstraps=13, max_features=15, seed=4, channel_share=1.0)
SOME_CHANNELS = replace(SETTINGS, channel_share=0.4)  # two of the five of make_data


@pytest.fixture(scope="module")
def ray():
    with connect(workers=4):
        yield


@pytest.fixture
def here(monkeypatch):
    """Training in this process: these fits take milliseconds, and Ray's actors seconds to start."""
    monkeypatch.setattr(train_module, "_shared", shared_here)


def make_data(n_paths=12, length=4, n_features=40, seed=0) -> TrainingData:
    """Paths of different length, in mixed order; the first half of the features is of order 0 or 1."""
    rng = np.random.default_rng(seed)
    path = rng.permutation(np.repeat(np.arange(n_paths), length + np.arange(n_paths) % 3))
    hidden = rng.normal(size=(n_paths, 5))[path] + 0.3 * rng.normal(size=(len(path), 5))
    features = 5 + hidden @ rng.normal(size=(5, n_features)) + 0.5 * rng.normal(size=(len(path), n_features))
    features *= 10.0 ** rng.uniform(-60, 5, size=n_features)
    return TrainingData(
        features=features,
        energies=-4 + 0.3 * hidden[:, 0] - 0.1 * hidden[:, 1] + 0.02 * rng.normal(size=len(path)),
        path_ids=tuple(f"path {p}" for p in path),
        compositions=tuple("AB"[p % 2] for p in path),
        feature_orders=np.repeat([0, 1, 2], [2, n_features // 2 - 2, n_features - n_features // 2]),
        scattering_config={"beta": 0.5},
        data_hash="hash of the data",
        feature_channels=np.array(["abcde"[i % 5] for i in range(n_features)]),
    )


def files(ensemble: Ensemble, directory) -> bytes:
    ensemble.save(directory)
    return (directory / "weights.npz").read_bytes()


@pytest.fixture(scope="module")
def trained(ray):
    data = make_data()
    return data, *train_on(data, SETTINGS, workers=2)


@pytest.mark.parametrize(
    ("gram_from_rows", "numbers"), [(0, (1, 2, 4)), (10**9, (1, 3))], ids=["gram", "rows"]
)
def test_same_bytes_for_any_number_of_workers_and_any_order(
    ray, tmp_path, monkeypatch, gram_from_rows, numbers
) -> None:
    monkeypatch.setattr(train_module, "_GRAM_BATCH", 5)
    monkeypatch.setattr(train_module, "GRAM_FROM_ROWS", gram_from_rows)
    plan = train_module._units

    def shuffled(problem):
        assert problem.by_gram == (gram_from_rows == 0)
        units = plan(problem)
        assert len(units) >= 6
        return {name: units[name] for name in np.random.default_rng(1).permutation(list(units))}

    results = set()
    for n_workers in numbers:
        ensemble, _ = train_on(make_data(), SOME_CHANNELS, workers=n_workers)
        results.add((ensemble.model_id, files(ensemble, tmp_path / str(n_workers))))
        monkeypatch.setattr(train_module, "_units", shuffled)  # from the second run on
    assert len(results) == 1


@pytest.mark.parametrize(
    ("n_rows", "n_columns", "batch"), [(39_999, 3741, 25), (40_000, 3741, 50), (40_000, 8000, 11)]
)
def test_models_in_a_batch_are_limited_by_memory_and_shared_among_workers(n_rows, n_columns, batch) -> None:
    problem = Problem(
        np.zeros(n_rows),
        np.array([0, n_rows]),
        np.zeros(1, dtype=int),
        FitSettings(folds=2, bootstraps=100),
        by_gram=True,
        is_structure=np.ones(n_rows, dtype=bool),
        others=np.empty((0, n_columns)),
        channel=np.zeros(n_columns, dtype=int),
    )
    units = list(train_module._units(problem).values())
    assert units[0] == (0, 0, batch)
    assert [sum(stop - first for fold, first, stop in units if fold == f) for f in (0, 1)] == [100, 100]


def test_features_are_in_memory_once(ray) -> None:
    X = np.ones((3, 2))
    own = weakref.ref(X)
    with train_module._shared(X, 1, None) as (X, _):
        assert own() is None
        np.testing.assert_array_equal(X, np.ones((3, 2)))


def test_shape_of_the_result(trained) -> None:
    data, ensemble, report = trained
    assert ensemble.weights.shape == (39, 40)
    assert ensemble.fold.tolist() == [0] * 13 + [1] * 13 + [2] * 13
    used = np.count_nonzero(ensemble.weights, axis=1) + (ensemble.bias != 0)
    assert ensemble.n_selected.tolist() == used.tolist()
    assert used.max() <= 15
    assert ensemble.data_hash == data.data_hash
    assert ensemble.card["settings"]["columns_drawn"] == 6  # round(sqrt(41))
    assert len(report.sizes) == len(report.train_rmse) == len(report.oob_rmse) == len(report.test_rmse)
    assert np.all(np.diff(report.train_rmse) <= 0)
    assert report.oob_rmse[-1] < report.oob_rmse[0]
    assert report.test_rmse[-1] < report.test_rmse[0]


def test_each_model_is_the_least_squares_fit_of_its_own_bootstrap(trained) -> None:
    data, ensemble, _ = trained
    names = sorted(set(data.path_ids))
    path = np.array([names.index(p) for p in data.path_ids])
    compositions = [data.compositions[data.path_ids.index(name)] for name in names]
    path_fold = path_folds(compositions, 3, seed=4)
    largest = np.abs(data.features).max(axis=0)
    for i in (0, 5, 20, 38):
        fold, index = divmod(i, 13)
        draws = bootstrap_weights(np.flatnonzero(path_fold != fold), len(names), model_rng(4, fold, index))
        assert not draws[path_fold == fold].any()
        used = np.flatnonzero(ensemble.weights[i])
        with_bias = ensemble.bias[i] != 0
        oracle = LinearRegression(fit_intercept=bool(with_bias))
        oracle.fit((data.features / largest)[:, used], data.energies, sample_weight=draws[path])
        np.testing.assert_allclose(ensemble.weights[i, used] * largest[used], oracle.coef_, rtol=1e-7)
        if with_bias:
            assert ensemble.bias[i] == pytest.approx(oracle.intercept_, rel=1e-7)


def test_errors_come_from_models_that_never_saw_the_path(trained) -> None:
    data, ensemble, report = trained
    folds = ensemble.fold_predictions(data.features)
    expected = folds[report.fold_of_structure, np.arange(len(data.features))]
    np.testing.assert_allclose(report.out_of_fold, expected, rtol=1e-9)
    np.testing.assert_array_equal(report.energies, data.energies)
    for errors in report.folds:
        inside = report.fold_of_structure == errors.fold
        difference = (expected - data.energies)[inside]
        assert errors.n_structures == inside.sum()
        assert errors.rmse == pytest.approx(np.sqrt(np.mean(difference**2)), rel=1e-7)
        assert errors.mae == pytest.approx(np.mean(np.abs(difference)), rel=1e-7)
    for path_id in set(data.path_ids):
        inside = np.array(data.path_ids) == path_id
        assert len(set(report.fold_of_structure[inside].tolist())) == 1


def test_learning_from_the_data(trained) -> None:
    data, _, report = trained
    spread = data.energies.std()
    assert np.sqrt(np.mean((report.out_of_fold - data.energies) ** 2)) < 0.4 * spread


def test_order_of_the_structures_does_not_matter_to_the_errors(trained, here) -> None:
    # Rows of one path keep their order, so even the bytes are the same.
    data, ensemble, report = trained
    order = np.argsort(np.array(data.path_ids), kind="stable")
    moved = replace(
        data,
        features=data.features[order],
        energies=data.energies[order],
        path_ids=tuple(data.path_ids[i] for i in order),
        compositions=tuple(data.compositions[i] for i in order),
    )
    again, other = train_on(moved, SETTINGS)
    np.testing.assert_array_equal(again.weights, ensemble.weights)
    np.testing.assert_array_equal(other.out_of_fold, report.out_of_fold[order])


def test_gram_and_rows_give_the_same_models(here) -> None:
    data = make_data()
    ensemble, _ = train_on(data, SOME_CHANNELS)
    row_order, offsets, compositions = train_module.sort_by_path(data, 0)
    X, scales = train_module.design_matrix(data, 0.0, row_order, np.arange(40))
    problem = Problem(
        data.energies[row_order],
        offsets,
        path_folds(compositions, 3, 4),
        SOME_CHANNELS,
        by_gram=True,
        is_structure=np.ones(len(X), dtype=bool),
        others=np.empty((0, 41)),
        channel=train_module._channels(data, np.arange(40), np.ones(40, dtype=bool)),
    )
    for i, result in enumerate(FitWorker(X, problem).fit(1, 0, 13)):
        weights = np.zeros(41)
        weights[result.columns] = result.weights * scales[result.columns]
        np.testing.assert_allclose(weights[:40], ensemble.weights[13 + i], rtol=1e-7)
        assert weights[40] == pytest.approx(ensemble.bias[13 + i], rel=1e-7)


def test_first_order_features_only(here) -> None:
    data = make_data()
    ensemble, _ = train_on(data, replace(SETTINGS, orders="0-1", bootstraps=3))
    assert ensemble.weights.shape == (9, 40)
    assert not ensemble.weights[:, data.feature_orders == 2].any()
    assert ensemble.weights[:, data.feature_orders == 1].any()
    assert ensemble.card["settings"]["columns"] == 21
    assert ensemble.card["settings"]["columns_drawn"] == 5


def test_full_selection_has_four_models_for_each_fold(here) -> None:
    data = make_data()
    settings = replace(SETTINGS, selection="full", max_features=6)
    ensemble, _ = train_on(data, settings)
    assert ensemble.fold.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert ensemble.card["settings"]["columns_drawn"] == 41
    # Without bagging, the first column is the best of all; here the bias, since energies are near -4.
    assert (ensemble.bias != 0).all()


def test_progress_counts_models(ray) -> None:
    seen: list[int] = []
    train_on(make_data(), SETTINGS, workers=2, on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 39


def test_constant_energies(here) -> None:
    data = replace(make_data(), energies=np.full(60, -3.25))
    ensemble, report = train_on(data, replace(SETTINGS, selection="full"))
    np.testing.assert_allclose(report.out_of_fold, -3.25, atol=1e-6)
    assert not ensemble.weights.any()


@pytest.mark.parametrize(
    ("n_paths", "folds", "selection", "message"),
    [
        (1, 2, "bagged", "2 test folds need at least 2"),
        (2, 2, "bagged", "leave 1 to train on, where at least 2 are needed"),
        (3, 2, "bagged", "leave 1 to train on, where at least 2 are needed"),  # one fold tests two of them
        (5, 3, "full", "leave 3 to train on, where at least 4 are needed"),
    ],
)
def test_too_few_paths(n_paths, folds, selection, message) -> None:
    data = make_data(n_paths=n_paths)
    with pytest.raises(FitError, match=message):
        train_on(data, replace(SETTINGS, folds=folds, selection=selection), workers=1)


def test_three_paths_are_enough(here) -> None:
    ensemble, _ = train_on(make_data(n_paths=3), SETTINGS)
    assert ensemble.n_models == 39


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"energies": np.array([-1.0, np.nan, -2.0])}, r"structure 1 \(path q\) has no finite energy"),
        ({"features": np.array([[1.0], [2.0], [np.inf]])}, r"structure 2 \(path q\) has a feature"),
        ({"features": np.array([[1.0], [np.inf], [-np.inf]])}, r"structure 1 \(path q\) has a feature"),
        ({"path_ids": ("p", "q")}, "2 path ids"),
        ({"features": np.ones((3, 2))}, "2 features have 1 labels"),
        ({"feature_channels": np.array(["Li", "Si"])}, "1 features have 2 labels"),
        ({"features": np.ones((0, 1))}, "no structures"),
    ],
)
def test_unusable_data(change, message) -> None:
    good = {
        "features": np.ones((3, 1)),
        "energies": -np.ones(3),
        "path_ids": ("p", "q", "q"),
        "compositions": ("A", "A", "A"),
        "feature_orders": np.zeros(1, dtype=int),
        "scattering_config": {},
        "data_hash": "",
    }
    with pytest.raises(DataError, match=message):
        TrainingData(**(good | change))


def test_the_size_factor_reaches_every_model(trained, here) -> None:
    data, ensemble, report = trained
    larger, of_larger = train_on(data, replace(SETTINGS, size_factor=1.5))
    expected = np.minimum([round(1.5 * n) for n in report.n_selected], SETTINGS.max_features)
    equal = of_larger.n_selected == expected
    assert equal.mean() > 0.9
    assert (of_larger.n_selected <= expected).all()  # where the choice ended before
    assert larger.card["settings"]["size_factor"] == 1.5
    assert ensemble.card["settings"]["size_factor"] == 1.0


def test_a_model_sees_its_share_of_the_channels(trained, here) -> None:
    data, of_all, _ = trained
    same, _ = train_on(replace(data, feature_channels=None), SETTINGS)
    np.testing.assert_array_equal(same.weights, of_all.weights)
    ensemble, report = train_on(data, SOME_CHANNELS)
    assert ensemble.model_id != of_all.model_id
    of_order = data.feature_orders > 0
    seen = [set(data.feature_channels[of_order & (weights != 0)]) for weights in ensemble.weights]
    assert max(map(len, seen)) == 2
    assert set.union(*seen) == set("abcde")
    settings = ensemble.card["settings"]
    assert (settings["channels"], settings["channels_seen"]) == (5, 2)
    assert settings["columns"] == 41
    # Two features are of order 0; two channels have up to eight of the others each; and the bias.
    assert settings["columns_seen"] == 2 + 16 + 1
    assert settings["columns_drawn"] == 4
    assert report.sizes.max() <= 19
    full = replace(SETTINGS, selection="full", max_features=6)
    nested = [train_on(data, replace(full, channel_share=s))[0] for s in (0.2, 1.0)]
    np.testing.assert_array_equal(nested[0].weights, nested[1].weights)


def test_products_may_be_left_out(trained, here) -> None:
    data, with_products, _ = trained
    channels = np.where(data.feature_channels == "e", PRODUCTS, data.feature_channels)
    data = replace(data, feature_channels=channels)
    every, _ = train_on(data, SETTINGS)
    np.testing.assert_array_equal(every.weights, with_products.weights)
    ensemble, _ = train_on(data, replace(SETTINGS, products=False))
    assert not ensemble.weights[:, channels == PRODUCTS].any()
    assert ensemble.card["settings"]["columns"] == 40 - 8 + 1
    assert ensemble.card["settings"]["channels"] == 4


def test_order_0_and_the_bias_are_seen_by_all_and_channels_of_zeros_are_not_drawn() -> None:
    data = make_data()
    nonzero = data.feature_channels != "c"
    channel = train_module._channels(data, np.arange(40), nonzero)
    assert channel[[0, 1, 40]].tolist() == [-1, -1, -1]
    assert (channel[np.flatnonzero(~nonzero)] == -1).all()
    assert channel[2:7].tolist() == [-1, 2, 3, 0, 1]
    first_order = np.flatnonzero(data.feature_orders <= 1)
    assert train_module._channels(data, first_order, nonzero[first_order]).tolist() == [
        *channel[:20].tolist(),
        -1,
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folds": 1}, "folds must be at least 2, got 1"),
        ({"bootstraps": 0}, "bootstraps"),
        ({"max_features": 0}, "max_features"),
        ({"seed": -1}, "seed"),
        ({"orders": "0-3"}, "orders"),
        ({"selection": "lasso"}, "selection"),
        ({"invariance": -1.0}, "invariance"),
        ({"invariance": np.nan}, "invariance"),
        ({"size_factor": 0.0}, "size_factor"),
        ({"size_factor": np.nan}, "size_factor"),
        ({"size_factor": 1001.0}, "size_factor"),
        ({"channel_share": 0.0}, "channel_share"),
        ({"channel_share": 1.1}, "channel_share"),
        ({"channel_share": np.nan}, "channel_share"),
    ],
)
def test_unusable_settings(change, message) -> None:
    with pytest.raises(ConfigError, match=message):
        FitSettings(**change)


@pytest.fixture(scope="module")
def store():
    """What a feature store offers: rattled silicon with a harmonic energy, 10 structures of one step each."""
    scattering = Scattering(scales=2, n=2, powers=(1.0, 2.0), channels=channels_for(("Si",)))
    structures: list[Atoms] = []
    for i in range(20):
        atoms = bulk("Si", "diamond", a=5.47 * (1 + 0.01 * np.sin(3 * i)), cubic=True)
        atoms.rattle(0.03, seed=i // 2)
        structures.append(atoms)
    volumes = np.array([atoms.get_volume() / 8 for atoms in structures])
    return SimpleNamespace(
        features=np.array([scattering.features(atoms) for atoms in structures]),
        energies=8 * (-5.4 + 0.01 * (volumes - volumes.mean()) ** 2),
        n_atoms=np.full(20, 8),
        path_ids=[str(i // 2) for i in range(20)],
        compositions=["Si"] * 20,
        originals=np.full(20, -1),
        scattering_config=scattering.config,
        data_hash="d0",
        path="store a",
    )


def continued(store, **changes):
    """A store with further structures of the same paths."""
    more = {"features": 1.01 * store.features, "energies": store.energies + 0.01, "path": "store b"}
    return SimpleNamespace(**(vars(store) | more | changes))


def test_from_store_to_prediction(ray, store, tmp_path) -> None:
    settings = FitSettings(folds=5, bootstraps=4, max_features=10, seed=1)
    ensemble, report = train_on(training_data(store), settings, workers=2, references={"Si": -5.4})
    assert len(report.folds) == 5
    ensemble.save(tmp_path / "model")
    atoms = bulk("Si", "diamond", a=5.47, cubic=True)
    atoms.rattle(0.03, seed=3)
    p = Ensemble.load(tmp_path / "model").predict(atoms)
    assert p.energy_per_atom == pytest.approx(-5.4, abs=0.05)
    assert p.formation_energy_per_atom == pytest.approx(p.energy_per_atom + 5.4)
    assert p.energy == pytest.approx(8 * p.energy_per_atom)


def test_several_stores(store) -> None:
    other = continued(store, data_hash="d1")
    data = training_data([store, other])
    assert data.features.shape == (40, store.features.shape[1])
    assert len(set(data.path_ids)) == 10
    np.testing.assert_allclose(data.energies[:20], store.energies / 8)
    assert data.data_hash not in ("d0", "d1")
    assert training_data(store).data_hash == "d0"
    different = SimpleNamespace(**(vars(store) | {"scattering_config": Scattering().config}))
    with pytest.raises(ConfigError, match=r"store 1 .*; scales is 2 there, 3 now"):
        training_data([store, different])
    with pytest.raises(DataError, match="no feature store"):
        training_data([])


def test_a_structure_in_two_stores_is_refused(store) -> None:
    features, energies = 1.01 * store.features, store.energies + 0.01
    features[7], energies[7] = store.features[12], store.energies[12]
    renamed = continued(store, features=features, energies=energies, path_ids=[f"new {i}" for i in range(20)])
    with pytest.raises(DataError, match=r"store a \(path 6\) and store b \(path new 7\) hold the same"):
        training_data([store, renamed])
    with pytest.raises(DataError, match=r"store a .*store a .*the same structure"):
        training_data([store, SimpleNamespace(**vars(store))])
    energies[7] += 1e-3  # another calculation of the same structure is not the same measurement
    assert len(training_data([store, renamed]).features) == 40


@pytest.mark.parametrize(
    "change", [{"compositions": ["Si"] * 19 + ["Ge"]}, {"n_atoms": np.array([8] * 19 + [16])}]
)
def test_a_path_has_the_same_atoms_in_all_stores(store, change) -> None:
    with pytest.raises(DataError, match=r"path id '9' is Si with 8 atoms in store a and .* in store b"):
        training_data([store, continued(store, **change)])


def test_copies_become_differences_of_their_originals(store) -> None:
    features = store.features.copy()
    features[[3, 4]] = [features[0] * 1.01, features[7] * 0.98]  # copies of rows 0 and 7
    originals = np.full(20, -1)
    originals[[3, 4]] = [0, 7]
    copied = SimpleNamespace(**(vars(store) | {"features": features, "originals": originals}))
    data = training_data([continued(store), copied])
    assert len(data.features) == len(data.energies) == 38
    np.testing.assert_allclose(data.differences, [0.01 * features[0], -0.02 * features[7]], rtol=1e-12)
    assert data.difference_paths == ("1", "2")  # rows 3 and 4
    assert training_data(store).differences is None


def _disturbed(strength=0.3):
    """Data whose features 0-9 are shaken by the grids; without the disturbance they would predict best."""
    data = make_data()
    rng = np.random.default_rng(5)
    paths = data.path_ids[::2]
    differences = np.zeros((len(paths), data.features.shape[1]))
    differences[:, :10] = strength * rng.normal(size=(len(paths), 10)) * data.features[:, :10].std(axis=0)
    return replace(data, differences=differences, difference_paths=paths)


def test_invariance_quiets_the_disturbed_features(here) -> None:
    data = _disturbed()
    noise = {}
    for invariance in (0.0, 3.0, 100.0):
        ensemble, report = train_on(data, replace(SETTINGS, invariance=invariance))
        noise[invariance] = np.sqrt(np.mean((data.differences @ ensemble.weights.mean(axis=0)) ** 2))
        assert len(report.out_of_fold) == len(data.features)
        assert max(fold.rmse for fold in report.folds) < data.energies.std()
    assert noise[0.0] > 3 * noise[3.0]
    assert noise[3.0] > 3 * noise[100.0]


def test_no_weight_of_invariance_is_the_fit_without_copies(here, tmp_path) -> None:
    settings = replace(SETTINGS, invariance=0.0)
    with_copies, _ = train_on(_disturbed(), settings)
    without, _ = train_on(make_data(), settings)
    assert files(with_copies, tmp_path / "a") == files(without, tmp_path / "b")


def test_conditions_are_rows_of_their_path_in_each_model(here) -> None:
    """Least squares on the drawn structures and conditions, by scikit-learn, gives each model's weights."""
    data = _disturbed()
    settings = replace(SETTINGS, invariance=3.0)
    ensemble, _ = train_on(data, settings)
    names = sorted(set(data.path_ids))
    path = np.array([names.index(p) for p in data.path_ids])
    condition_path = np.array([names.index(p) for p in data.difference_paths])
    compositions = [data.compositions[data.path_ids.index(name)] for name in names]
    folds = path_folds(compositions, settings.folds, settings.seed)
    rows = np.hstack([data.features, np.ones((len(path), 1))])
    conditions = 3.0 * np.hstack([data.differences, np.zeros((len(condition_path), 1))])
    for model in range(len(ensemble.bias)):
        fold, index = divmod(model, settings.bootstraps)
        rng = model_rng(settings.seed, fold, index)
        drawn = bootstrap_weights(np.flatnonzero(folds != fold), len(names), rng)
        weights = np.append(ensemble.weights[model], ensemble.bias[model])
        used = np.flatnonzero(weights)
        scale = 1 / np.abs(rows[:, used]).max(axis=0)
        fit = LinearRegression(fit_intercept=False).fit(
            np.vstack([rows[:, used], conditions[:, used]]) * scale,
            np.append(data.energies, np.zeros(len(conditions))),
            sample_weight=np.append(drawn[path], drawn[condition_path]),
        )
        np.testing.assert_allclose(
            fit.coef_ * scale, weights[used], rtol=1e-6, atol=1e-9 * np.abs(scale).max()
        )


def test_predictions_of_further_structures_by_models_of_each_size(here) -> None:
    data = make_data()
    settings = replace(SETTINGS, bootstraps=3)
    ensemble, report = train_on(data, settings, curve_features=data.features[:9])
    assert report.others.shape == (9, len(report.sizes), 9)
    plain, _ = train_on(data, settings)
    assert plain.model_id == ensemble.model_id
    energies = ensemble.weights @ data.features[:9].T + ensemble.bias[:, None]
    found = 0
    for model, size in enumerate(ensemble.n_selected.tolist()):
        for i in np.flatnonzero(report.sizes == size):
            np.testing.assert_allclose(report.others[model, i], energies[model], rtol=1e-9)
            found += 1
    assert found > 3
