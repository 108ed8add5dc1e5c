"""Which relaxation paths train, validate and test each model (section III A and appendix C of the paper).

Everything here draws whole relaxation paths, never single structures: the steps of one relaxation resemble
each other so closely that a structure is no test for a model trained on its neighbours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from atomscatter.arrays import IntArray
from atomscatter.errors import ConfigError, FitError


def model_rng(root_seed: int, fold: int, index: int) -> np.random.Generator:
    """Random generator of model ``index`` of a fold: the same in whatever process and order models are
    fitted."""
    return np.random.default_rng(np.random.SeedSequence(root_seed, spawn_key=(fold, index)))


def path_folds(path_composition: Sequence[str], n_folds: int, seed: int) -> IntArray:
    """Test fold of each relaxation path, shape (n_paths,), values 0 .. n_folds - 1.

    ``path_composition`` is the composition of each path (its reduced formula). Every fold gets the same
    number of paths of each composition; what is left of a composition whose path count ``n_folds`` does not
    divide goes to the folds that hold the fewest paths, so that fold sizes differ by at most one.

    Raises ConfigError for fewer than two folds, FitError for fewer paths than folds.
    """
    if n_folds < 2:
        raise ConfigError(f"folds must be at least 2, got {n_folds}")
    n_paths = len(path_composition)
    if n_paths < n_folds:
        raise FitError(f"{n_folds} test folds need at least {n_folds} relaxation paths, got {n_paths}")
    rng = np.random.default_rng(seed)
    compositions = np.asarray(path_composition, dtype=str)
    folds = np.full(n_paths, -1, dtype=np.int64)
    sizes = np.zeros(n_folds, dtype=np.int64)
    for composition in np.unique(compositions):
        members = rng.permutation(np.flatnonzero(compositions == composition))
        rounds, left = divmod(len(members), n_folds)
        smallest_first = np.lexsort((rng.random(n_folds), sizes))
        dealt = np.concatenate([np.tile(np.arange(n_folds), rounds), smallest_first[:left]])
        folds[members] = dealt
        sizes += np.bincount(dealt, minlength=n_folds)
    return folds


def bootstrap_weights(train_paths: IntArray, n_paths: int, rng: np.random.Generator) -> IntArray:
    """Draw as many paths as there are in ``train_paths``, with replacement; return how often each was drawn.

    ``train_paths`` are indices, shape (n_train,); the result has shape (n_paths,) and is 0 for every path
    outside ``train_paths``. The paths of ``train_paths`` with 0 draws are the out-of-bag paths that validate
    the model. A draw that leaves no path out of bag (likely for a handful of paths only) cannot validate
    anything and is repeated.

    Raises FitError for fewer than two training paths.
    """
    if len(train_paths) < 2:
        raise FitError(
            f"a bootstrap of {len(train_paths)} relaxation path(s) leaves no out-of-bag path to choose the "
            "number of features with; at least 2 training paths are needed"
        )
    while True:
        draws = np.bincount(rng.choice(train_paths, size=len(train_paths)), minlength=n_paths)
        if np.any(draws[train_paths] == 0):
            return draws.astype(np.int64)


def nested_split_weights(
    train_paths: IntArray, n_paths: int, n_splits: int, rng: np.random.Generator
) -> IntArray:
    """Nested cross-validation of appendix C: weights, shape (n_splits, n_paths).

    ``train_paths`` are split at random into ``n_splits`` sets of equal size (within one). Row i has 0 for the
    paths of set i, which validates, and 1 for the other training paths. Raises FitError for fewer paths than
    sets.
    """
    if len(train_paths) < n_splits:
        raise FitError(
            f"a split into {n_splits} sets needs at least {n_splits} training paths, got {len(train_paths)}"
        )
    weights = np.zeros((n_splits, n_paths), dtype=np.int64)
    weights[:, train_paths] = 1
    for i, validation in enumerate(np.array_split(rng.permutation(train_paths), n_splits)):
        weights[i, validation] = 0
    return weights


def fold_of_new_path(composition: str, path_composition: Sequence[str], path_fold: Sequence[int]) -> int:
    """Test fold of a path that joins others, whose folds stay as they are: the one with the fewest paths of
    its composition, of these the one with the fewest paths, of these the first.

    ``path_composition`` and ``path_fold`` are those of the paths that are there.
    """
    folds = np.asarray(path_fold)
    counts = np.arange(folds.max() + 1)
    same = np.asarray(path_composition, dtype=str) == composition
    alike = [int(np.sum(folds[same] == fold)) for fold in counts]
    overall = [int(np.sum(folds == fold)) for fold in counts]
    return int(np.lexsort((overall, alike))[0])


def new_path_draws(root_seed: int, path_id: str, test_fold: int, fold: IntArray) -> IntArray:
    """How often each model draws a path that joins the others, shape (n_models,).

    In a bootstrap of n paths each is drawn Binomial(n, 1/n) times, nearly Poisson(1): so often is the new one
    drawn, with a generator that depends on seed, path and model only. Thus nothing changes for the paths that
    are there. ``fold`` is the test fold of each model, shape (n_models,); models of ``test_fold`` draw 0.
    """
    key = int.from_bytes(hashlib.sha256(path_id.encode()).digest()[:8], "big")
    rng = np.random.default_rng(np.random.SeedSequence(root_seed, spawn_key=(key,)))
    return np.where(fold == test_fold, 0, rng.poisson(1.0, size=len(fold))).astype(np.int64)
