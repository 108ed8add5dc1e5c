import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomscatter.errors import ConfigError, FitError
from atomscatter.resampling import bootstrap_weights, model_rng, nested_split_weights, path_folds


def test_paper_has_two_paths_of_each_composition_in_each_fold() -> None:
    composition = np.repeat([f"Li{i}Si10" for i in range(1, 38)], 10)
    folds = path_folds(list(composition), 5, seed=3)
    for name in np.unique(composition):
        assert np.bincount(folds[composition == name]).tolist() == [2] * 5


@given(st.lists(st.sampled_from("ABCDE"), min_size=7, max_size=60), st.integers(2, 7), st.integers(0, 10**6))
def test_folds_are_balanced(compositions, n_folds, seed) -> None:
    folds = path_folds(compositions, n_folds, seed)
    sizes = np.bincount(folds, minlength=n_folds)
    assert sizes.sum() == len(compositions)
    assert sizes.max() - sizes.min() <= 1
    for name in set(compositions):
        inside = np.bincount(folds[np.array(compositions) == name], minlength=n_folds)
        assert inside.max() - inside.min() <= 1


def test_folds_depend_on_the_seed_only() -> None:
    compositions = ["A"] * 20 + ["B"] * 20
    assert path_folds(compositions, 5, 1).tolist() == path_folds(compositions, 5, 1).tolist()
    assert path_folds(compositions, 5, 1).tolist() != path_folds(compositions, 5, 2).tolist()


def test_too_few_paths_or_folds() -> None:
    with pytest.raises(FitError, match="at least 5 relaxation paths, got 1"):
        path_folds(["LiSi"], 5, 0)
    with pytest.raises(ConfigError, match="folds"):
        path_folds(["LiSi"] * 4, 1, 0)


def test_bootstrap_draws_training_paths_only() -> None:
    train = np.array([1, 3, 4, 6, 9, 11])
    for i in range(50):
        weights = bootstrap_weights(train, 14, model_rng(0, 2, i))
        assert weights.shape == (14,)
        assert weights.sum() == len(train)
        assert not np.delete(weights, train).any()
        assert (weights[train] == 0).any()


def test_bootstrap_leaves_about_a_third_out_of_bag() -> None:
    train = np.arange(296)
    left = [np.mean(bootstrap_weights(train, 296, model_rng(0, 0, i)) == 0) for i in range(200)]
    assert np.mean(left) == pytest.approx((1 - 1 / 296) ** 296, abs=0.005)


def test_two_paths_always_leave_one_out_of_bag() -> None:
    for i in range(20):
        weights = bootstrap_weights(np.array([0, 1]), 2, model_rng(0, 0, i))
        assert sorted(weights.tolist()) == [0, 2]


def test_one_path_cannot_be_validated() -> None:
    with pytest.raises(FitError, match="out-of-bag"):
        bootstrap_weights(np.array([0]), 1, model_rng(0, 0, 0))


def test_nested_splits_validate_every_path_once() -> None:
    train = np.arange(3, 299)
    weights = nested_split_weights(train, 300, 4, np.random.default_rng(0))
    assert weights.shape == (4, 300)
    assert not weights[:, [0, 1, 2, 299]].any()
    validated = weights[:, train] == 0
    assert validated.sum(axis=0).tolist() == [1] * 296
    assert validated.sum(axis=1).tolist() == [74] * 4
    with pytest.raises(FitError, match="at least 4"):
        nested_split_weights(np.arange(3), 3, 4, np.random.default_rng(0))


def test_random_numbers_of_a_model() -> None:
    def first(*key) -> float:
        return model_rng(*key).random()

    assert first(1, 2, 3) == first(1, 2, 3)
    assert len({first(1, 2, 3), first(1, 3, 2), first(2, 2, 3), first(1, 2, 4)}) == 4
