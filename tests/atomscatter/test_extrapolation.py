import numpy as np
import pytest

from atomscatter.errors import FitError
from atomscatter.extrapolation import ExtrapolationModel


@pytest.fixture(scope="module")
def world():
    """Structures that vary along 6 hidden directions, 30 features of very different size, 20 of them used."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(6, 30))
    scales = 10.0 ** rng.uniform(-40, 4, size=30)
    weights = rng.normal(size=30) / scales
    weights[20:] = 0

    def structures(n, spread=1.0, seed=1, noise=0.02):
        local = np.random.default_rng(seed)
        hidden = spread * local.normal(size=(n, 6))
        return (5 + hidden @ mixing + noise * local.normal(size=(n, 30))) * scales

    train = structures(1000)
    groups = np.arange(1000) // 200
    return structures, train, weights, ExtrapolationModel.fit(train, weights, groups), scales


def test_new_structures_of_the_same_kind_are_rarely_flagged(world) -> None:
    structures, *_, model, _ = world
    flagged = model.scores(structures(5000, seed=7)) > 1
    assert 0.002 < flagged.mean() < 0.03


def test_training_structures_are_rarely_flagged(world) -> None:
    _, train, _, model, _ = world
    assert (model.scores(train) > 1).mean() < 0.02


def test_far_structures_are_flagged(world) -> None:
    structures, *_, model, _ = world
    assert (model.scores(structures(200, spread=6.0, seed=3)) > 1).mean() > 0.9
    assert (model.scores(structures(200, noise=0.5, seed=3)) > 1).all()  # off the 6 directions of the data


def test_one_absurd_feature_is_flagged(world) -> None:
    structures, *_, model, scales = world
    odd = structures(20, seed=4)
    for column in range(20):
        odd[column, column] += 1e3 * scales[column]
    assert (model.scores(odd) > 1).all()


def test_score_grows_with_the_distance(world) -> None:
    structures, train, _, model, _ = world
    direction = structures(1, seed=5)[0] - train.mean(axis=0)
    ray = train.mean(axis=0) + np.array([1.0, 3.0, 10.0, 1e3, 1e12])[:, None] * direction
    assert np.all(np.diff(model.scores(ray)) > 0)


def test_features_that_the_model_does_not_use_do_not_count(world) -> None:
    structures, *_, model, scales = world
    same = structures(10, seed=6)
    other = same.copy()
    other[:, 20:] += 1e6 * scales[20:]
    assert model.scores(same).tolist() == model.scores(other).tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_values_beyond_all_bounds(world, value) -> None:
    structures, *_, model, _ = world
    odd = structures(3, seed=8)
    odd[1, 2] = value
    scores = model.scores(odd)
    assert scores[1] == np.inf
    assert np.isfinite(scores[[0, 2]]).all()


def test_units_of_the_features_do_not_matter(world) -> None:
    structures, train, weights, model, _ = world
    factors = 2.0 ** np.arange(-15, 15)
    scaled = ExtrapolationModel.fit(train * factors, weights / factors, np.arange(1000) // 200)
    new = structures(50, seed=9)
    np.testing.assert_allclose(scaled.scores(new * factors), model.scores(new), rtol=1e-6)


def test_formula_with_one_feature() -> None:
    # One used feature: the distance is |z| / s, and there is no rest.
    rng = np.random.default_rng(0)
    train = rng.normal(size=(400, 1))
    model = ExtrapolationModel.fit(train, np.array([0.7]), np.arange(400) % 5)
    new = np.array([[-2.0], [0.1], [5.0]])
    expected = np.abs(new[:, 0] - train.mean()) / train.std() / model.unit
    np.testing.assert_allclose(model.scores(new), expected, rtol=1e-9)
    assert model.unit == pytest.approx(2.58, abs=0.25)  # 99th percentile of |z| of a normal distribution


def test_model_of_a_bias_only_never_extrapolates() -> None:
    train = np.random.default_rng(0).normal(size=(20, 4))
    model = ExtrapolationModel.fit(train, np.zeros(4), np.arange(20) % 5)
    assert model.scores(np.full((2, 4), 1e9)).tolist() == [0.0, 0.0]


def test_constant_features() -> None:
    model = ExtrapolationModel.fit(np.ones((20, 2)), np.array([1.0, 2.0]), np.arange(20) % 5)
    assert model.scores(np.ones((1, 2)))[0] == 0
    assert model.scores(np.array([[1.0, 1.5]]))[0] > 1


def test_training_features_must_be_finite() -> None:
    train = np.ones((5, 2))
    train[3, 1] = np.nan
    with pytest.raises(FitError, match="not finite"):
        ExtrapolationModel.fit(train, np.ones(2), np.arange(5))


def test_arrays_and_back(world) -> None:
    structures, *_, model, _ = world
    again = ExtrapolationModel.from_arrays(model.arrays())
    new = structures(20, seed=11)
    assert again.scores(new).tolist() == model.scores(new).tolist()


@pytest.mark.parametrize("name", ["weights", "mean", "axes", "spread", "scale"])
def test_arrays_of_wrong_shape(world, name) -> None:
    arrays = world[3].arrays()
    arrays[name] = arrays[name][:-1]
    with pytest.raises(ValueError, match="extrapolation model"):
        ExtrapolationModel.from_arrays(arrays)
