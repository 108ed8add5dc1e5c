import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomscatter.errors import ConfigError, FitError
from atomscatter.resampling import (
    bootstrap_weights,
    model_rng,
    model_starts,
    nested_split_weights,
    new_path_starts,
    path_folds,
    sampled_rows,
)


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


def rows_of_paths(lengths: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Path of each row, and which are structures; of each path so many structures and conditions."""
    path = np.repeat(np.arange(len(lengths)), [sum(both) for both in lengths])
    return path, np.concatenate([np.repeat([True, False], both) for both in lengths])


@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(0, 12)), min_size=1, max_size=6),
    st.integers(1, 35),
    st.integers(0, 2**32),
)
def test_sampled_steps_are_evenly_spaced_and_conditions_in_proportion(lengths, steps, seed) -> None:
    path, is_structure = rows_of_paths(lengths)
    starts = np.random.default_rng(seed).random(len(lengths))
    seen = sampled_rows(path, is_structure, steps, starts)
    for p, (n, n_conditions) in enumerate(lengths):
        taken = np.flatnonzero(seen[(path == p) & is_structure])
        assert len(taken) == min(steps, n)
        gaps = np.diff([*taken, taken[0] + n])  # the last and the first, too, as on a circle
        assert gaps.max() - gaps.min() <= 1
        expected = min(1, steps / n) * n_conditions
        assert abs(seen[(path == p) & ~is_structure].sum() - expected) < 1


def test_every_step_is_as_likely() -> None:
    lengths = [(7, 3), (20, 8), (3, 0)]
    path, is_structure = rows_of_paths(lengths)
    counts = np.zeros(len(path))
    for model in range(4000):
        counts += sampled_rows(path, is_structure, 5, model_starts(0, 1, model, 3))
    likely = np.concatenate([np.full(sum(both), min(1, 5 / both[0])) for both in lengths])
    np.testing.assert_allclose(counts / 4000, likely, atol=0.04)  # five standard deviations


def test_zero_steps_are_all() -> None:
    path, is_structure = rows_of_paths([(7, 3), (2, 0)])
    assert sampled_rows(path, is_structure, 0, np.array([0.3, 0.9])).all()


def test_starts_depend_on_seed_fold_model_and_path() -> None:
    of = [
        model_starts(s, f, i, 4).tolist()
        for s, f, i in ((0, 1, 2), (0, 1, 2), (1, 1, 2), (0, 2, 2), (0, 1, 3))
    ]
    assert of[0] == of[1]
    assert len({x for starts in of for x in starts}) == 16
    new = [new_path_starts(s, name, 4).tolist() for s, name in ((0, "a"), (0, "a"), (1, "a"), (0, "b"))]
    assert new[0] == new[1]
    assert len({x for starts in new for x in starts}) == 12
