"""The greedy fit against brute-force least squares, scikit-learn and properties that must hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, orthogonal_mp

from atomscatter.errors import FitError
from atomscatter.greedy import greedy_gram, greedy_rows
from atomscatter.least_squares import qr_path
from atomscatter.selection import (
    column_scales,
    drawn_channels,
    fit_model,
    number_drawn,
    number_of_channels,
    squared_errors,
)

SOURCES = ["rows", "gram"]


def greedy(source, X, y, *, max_features=100, n_draw=None, seed=0, record=True):
    options = {
        "weight": len(X),
        "max_features": max_features,
        "n_draw": X.shape[1] if n_draw is None else n_draw,
        "rng": np.random.default_rng(seed),
        "record": record,
    }
    if source == "rows":
        return greedy_rows(X, y, **options)
    return greedy_gram(X.T @ X, X.T @ y, float(y @ y), **options)


def textbook(X, y, drawn):
    """At each step, try a least-squares fit with each drawn column and keep the best."""
    chosen, errors = [], []
    for candidates in drawn:
        trials = []
        for j in candidates[candidates >= 0]:
            columns = X[:, [*chosen, j]]
            scale = np.linalg.norm(columns, axis=0)
            weights = np.linalg.lstsq(columns / scale, y, rcond=None)[0]
            trials.append((np.sum((y - columns / scale @ weights) ** 2), j))
        error, best = min(trials)
        chosen.append(int(best))
        errors.append(error)
    return chosen, np.array(errors)


def textbook_qr(X, y, drawn):
    """Orthogonal least squares as in textbooks: Q of the chosen columns from a full QR at each step.

    The candidate whose part outside their span has the largest |cosine| with the residual is chosen; the
    weights of every size come from R w = Q^T y.
    """
    chosen, weights = [], []
    for candidates in drawn:
        Q = np.linalg.qr(X[:, chosen])[0]
        residual = y - Q @ (Q.T @ y)
        candidates = candidates[candidates >= 0]
        outside = X[:, candidates] - Q @ (Q.T @ X[:, candidates])
        chosen.append(
            int(candidates[np.argmax(np.abs(residual @ outside) / np.linalg.norm(outside, axis=0))])
        )
        Q, R = np.linalg.qr(X[:, chosen])
        weights.append(np.linalg.solve(R, Q.T @ y))
    return chosen, weights


def problem(seed, n=60, d=40, noise=0.3):
    """Correlated columns, bias last."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 8)) @ rng.normal(size=(8, d)) + 0.5 * rng.normal(size=(n, d))
    X = np.hstack([X, np.ones((n, 1))])
    y = X @ (rng.normal(size=d + 1) * (rng.random(d + 1) < 0.3)) - 4 + noise * rng.normal(size=n)
    return X, y


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("n_draw", [6, 41])
@pytest.mark.parametrize("seed", range(4))
def test_same_choice_and_weights_as_the_textbook(source, n_draw, seed) -> None:
    X, y = problem(seed)
    path = greedy(source, X, y, max_features=30, n_draw=n_draw, seed=seed)
    order, errors = textbook(X, y, path.drawn)
    assert path.order.tolist() == order
    np.testing.assert_allclose(path.residual, errors, rtol=1e-8)
    for size in (1, 2, 7, 30):
        expected = np.linalg.lstsq(X[:, order[:size]], y, rcond=None)[0]
        np.testing.assert_allclose(path.weights(size), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("n_draw", [6, 41])
@pytest.mark.parametrize("seed", range(4))
def test_same_features_and_weights_as_a_textbook_qr(source, n_draw, seed) -> None:
    X, y = problem(100 + seed)
    path = greedy(source, X, y, max_features=30, n_draw=n_draw, seed=seed)
    order, weights = textbook_qr(X, y, path.drawn)
    assert path.order.tolist() == order
    for size, expected in enumerate(weights, start=1):
        np.testing.assert_allclose(path.weights(size), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("source", SOURCES)
def test_many_blocks_of_steps(source) -> None:
    # 200 steps run through several blocks; here and nowhere else the block update matters.
    rng = np.random.default_rng(5)
    X = rng.normal(size=(400, 300)) @ (np.eye(300) + 0.3 * rng.normal(size=(300, 300)))
    y = X @ rng.normal(size=300) + rng.normal(size=400)
    path = greedy(source, X, y, max_features=200, n_draw=17)
    assert len(set(path.order.tolist())) == 200
    for size in (1, 50, 200):
        columns = path.order[:size]
        expected, error, *_ = np.linalg.lstsq(X[:, columns], y, rcond=None)
        np.testing.assert_allclose(path.weights(size), expected, rtol=1e-8, atol=1e-10)
        assert path.residual[size - 1] == pytest.approx(float(error[0]), rel=1e-9)
    # The choice itself, at steps on both sides of the block's end.
    for step in (47, 48, 49, 130, 199):
        chosen = path.order[:step].tolist()
        errors = [np.linalg.lstsq(X[:, [*chosen, j]], y, rcond=None)[1][0] for j in path.drawn[step]]
        assert path.drawn[step][int(np.argmin(errors))] == path.order[step]


@pytest.mark.parametrize("source", SOURCES)
def test_orthonormal_columns_as_orthogonal_matching_pursuit(source) -> None:
    # Matching pursuit and least squares choose alike only where columns do not overlap.
    rng = np.random.default_rng(1)
    X = np.linalg.qr(rng.normal(size=(50, 20)))[0]
    y = rng.normal(size=50)
    path = greedy(source, X, y, max_features=9)
    expected = orthogonal_mp(X, y, n_nonzero_coefs=9)
    weights = np.zeros(20)
    weights[path.order] = path.weights(9)
    np.testing.assert_allclose(weights, expected, atol=1e-12)


def split(seed, n_paths=20, length=5):
    """Path weights for a problem of ``n_paths`` * ``length`` rows, as row weights, and the out-of-bag
    rows."""
    rng = np.random.default_rng(seed)
    weights = np.bincount(rng.integers(n_paths, size=n_paths), minlength=n_paths)
    return np.repeat(weights, length).astype(float), np.flatnonzero(np.repeat(weights == 0, length))


def fit(X, y, row_weights, oob, *, source="rows", max_features=100, n_draw=6, seed=0, **options):
    gram = X.T @ (row_weights[:, None] * X) if source == "gram" else None
    return fit_model(
        X,
        y,
        row_weights,
        oob,
        max_features=max_features,
        n_draw=n_draw,
        rng=np.random.default_rng(seed),
        gram=gram,
        **options,
    )


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("factor", [0.01, 0.5, 1.5, 100.0])
def test_larger_and_smaller_models(source, factor) -> None:
    X, y = problem(11, n=100)
    row_weights, oob = split(11)
    best = fit(X, y, row_weights, oob, source=source)
    model = fit(X, y, row_weights, oob, source=source, size_factor=factor)
    size = {0.01: 1, 100.0: len(best.order)}.get(factor, round(factor * len(best.columns)))
    assert size != len(best.columns)
    assert size <= len(best.order)
    assert model.columns.tolist() == best.order[:size].tolist()
    oracle = LinearRegression(fit_intercept=False).fit(X[:, model.columns], y, sample_weight=row_weights)
    np.testing.assert_allclose(model.weights, oracle.coef_, rtol=1e-8)


@pytest.mark.parametrize("source", SOURCES)
def test_only_some_columns_may_be_chosen(source) -> None:
    X, y = problem(11, n=100)
    row_weights, oob = split(11)
    some = np.arange(1, X.shape[1], 3)
    model = fit(X, y, row_weights, oob, source=source, columns=some)
    alone = fit(X[:, some], y, row_weights, oob, source=source)
    assert model.columns.tolist() == some[alone.columns].tolist()
    assert model.order.tolist() == some[alone.order].tolist()
    np.testing.assert_allclose(model.weights, alone.weights, rtol=1e-12)
    np.testing.assert_allclose(model.oob_rmse, alone.oob_rmse, rtol=1e-12)


@pytest.mark.parametrize("source", SOURCES)
def test_model_against_weighted_linear_regression(source) -> None:
    X, y = problem(11, n=100)
    row_weights, oob = split(11)
    model = fit(X, y, row_weights, oob, source=source)
    oob_rmse, train_rmse = [], []
    for size in range(1, len(model.order) + 1):
        columns = model.order[:size]
        oracle = LinearRegression(fit_intercept=False).fit(X[:, columns], y, sample_weight=row_weights)
        errors = oracle.predict(X[:, columns]) - y
        oob_rmse.append(np.sqrt(np.mean(errors[oob] ** 2)))
        train_rmse.append(np.sqrt(np.average(errors**2, weights=row_weights)))
    np.testing.assert_allclose(model.oob_rmse, oob_rmse, rtol=1e-7)
    every = np.arange(1, len(model.order) + 1)
    np.testing.assert_allclose(model.train_rmse_at(every, X, y, row_weights), train_rmse, rtol=1e-7)
    best = int(np.argmin(oob_rmse)) + 1
    assert len(model.columns) == best < len(model.order)
    assert model.columns.tolist() == model.order[:best].tolist()
    oracle = LinearRegression(fit_intercept=False).fit(X[:, model.columns], y, sample_weight=row_weights)
    np.testing.assert_allclose(model.weights, oracle.coef_, rtol=1e-8)
    rows = np.array([3, 50, 51, 99])
    sizes = np.array([1, 4, best])
    expected = [
        np.sqrt(np.mean((X[np.ix_(rows, model.order[:s])] @ model.path.weights(s) - y[rows]) ** 2))
        for s in sizes
    ]
    np.testing.assert_allclose(model.rmse_at(sizes, X, y, rows), expected, rtol=1e-9)


@pytest.mark.parametrize("source", SOURCES)
def test_training_errors_are_those_of_the_structures(source) -> None:
    """Conditions on the weights take part in the fit and not in its error."""
    X, y = problem(11, n=100)
    row_weights, oob = split(11)
    is_structure = np.arange(len(X)) % 5 > 0
    y[~is_structure] = 0.0
    model = fit(X, y, row_weights, oob[is_structure[oob]], source=source)
    sizes = np.array([1, 3, 8, len(model.order)])
    train = np.flatnonzero((row_weights > 0) & is_structure)
    expected = []
    for size in sizes:
        columns = model.order[:size]
        oracle = LinearRegression(fit_intercept=False).fit(X[:, columns], y, sample_weight=row_weights)
        errors = oracle.predict(X[np.ix_(train, columns)]) - y[train]
        expected.append(np.sqrt(np.average(errors**2, weights=row_weights[train])))
    found = model.train_rmse_at(sizes, X, y, row_weights, is_structure)
    np.testing.assert_allclose(found, expected, rtol=1e-7)
    assert np.all(np.abs(found / model.train_rmse_at(sizes, X, y, row_weights) - 1) > 1e-3)


@pytest.mark.parametrize("source", SOURCES)
def test_out_of_bag_energies_do_not_reach_the_choice(source) -> None:
    X, y = problem(4, n=100)
    row_weights, oob = split(4)
    other = y.copy()
    other[oob] += np.random.default_rng(0).normal(size=len(oob))
    a, b = fit(X, y, row_weights, oob, source=source), fit(X, other, row_weights, oob, source=source)
    assert a.order.tolist() == b.order.tolist()
    assert a.path.residual.tolist() == b.path.residual.tolist()
    assert a.oob_rmse.tolist() != b.oob_rmse.tolist()


def test_out_of_bag_rows_in_the_training_set_are_refused() -> None:
    X, y = problem(4, n=100)
    row_weights, oob = split(4)
    with pytest.raises(FitError, match="training set"):
        fit(X, y, row_weights, np.append(oob, np.flatnonzero(row_weights)[0]))


@pytest.mark.parametrize(("rows", "oob"), [(0, 5), (5, 0)])
def test_nothing_to_train_or_validate_on(rows, oob) -> None:
    X, y = problem(0, n=10)
    weights = np.zeros(10)
    weights[:rows] = 1
    with pytest.raises(FitError, match="training and out-of-bag"):
        fit(X, y, weights, np.arange(5, 5 + oob))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("n_draw", [3, 100])
def test_rank_ends_the_choice(source, n_draw) -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(50, 5)) @ rng.normal(size=(5, 30))
    X = np.hstack([X, X[:, :4], np.zeros((50, 3))])  # rank 5, duplicates and zero columns
    y = rng.normal(size=50)
    path = greedy(source, X, y, n_draw=n_draw, max_features=1000)
    assert len(path.order) == 5
    expected = X @ np.linalg.lstsq(X, y, rcond=None)[0]
    np.testing.assert_allclose(X[:, path.order] @ path.weights(5), expected, atol=1e-8)


@pytest.mark.parametrize("source", SOURCES)
def test_more_columns_than_structures(source) -> None:
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(12, 80)), rng.normal(size=12)
    path = greedy(source, X, y, n_draw=9, max_features=1000)
    assert len(path.order) <= 12
    assert path.residual[-1] < 1e-9 * (y @ y)


@pytest.mark.parametrize("source", SOURCES)
def test_duplicate_columns_enter_once(source) -> None:
    X, y = problem(8)
    doubled = np.hstack([X, 3.0 * X, -X])
    path = greedy(source, doubled, y, n_draw=11, max_features=1000)
    originals = path.order % X.shape[1]
    assert len(set(originals.tolist())) == len(originals) == X.shape[1]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("n_draw", [4, 1000])
def test_constant_target(source, n_draw) -> None:
    X, _ = problem(9, n=100)
    row_weights, oob = split(9)
    model = fit(X, np.full(100, -3.7), row_weights, oob, source=source, n_draw=n_draw)
    np.testing.assert_allclose(X[:, model.columns] @ model.weights, -3.7, atol=2e-6)
    assert X.shape[1] - 1 in model.columns  # the bias column
    if n_draw == 1000:
        assert model.columns.tolist() == [X.shape[1] - 1]


@pytest.mark.parametrize("source", SOURCES)
def test_all_columns_zero(source) -> None:
    with pytest.raises(FitError, match="zero"):
        greedy(source, np.zeros((5, 3)), np.ones(5))


@pytest.mark.parametrize("source", SOURCES)
def test_scales_of_columns_do_not_matter(source) -> None:
    X, y = problem(12, n=100)
    row_weights, oob = split(12)
    scales = 10.0 ** np.random.default_rng(0).uniform(-60, 5, size=X.shape[1])
    plain = fit(X, y, row_weights, oob, source=source)
    scaled = fit(X * scales, y, row_weights, oob, source=source)
    assert scaled.order.tolist() == plain.order.tolist()
    np.testing.assert_allclose(scaled.weights * scales[scaled.columns], plain.weights, rtol=1e-8)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_column_scales_are_exact_and_bring_columns_to_size_one(values) -> None:
    column = np.array(values)[:, None]
    scale = float(column_scales(column)[0])
    assert np.frexp(scale)[0] == 0.5  # a power of two
    largest = np.abs(column).max()
    if largest == 0:
        assert scale == 1
    elif 1e-300 < largest < 1e300:
        assert 0.5 <= largest * scale < 1


@pytest.mark.parametrize(("scale", "used_qr"), [(3e5, False), (3e9, True)])
def test_inaccurate_gram_matrix_is_corrected_or_gives_way_to_qr(scale, used_qr) -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(size=(100, 12))
    near = base + 3e-5 * rng.normal(size=(100, 12))  # squared: 9e-10 of the column, above the guard
    X = np.hstack([base, near])
    y = (near - base) @ rng.normal(size=12) * scale
    row_weights, oob = split(0)
    model = fit(X, y, row_weights, oob, source="gram", n_draw=100)
    assert model.used_qr == used_qr
    expected = np.linalg.lstsq(
        X[:, model.columns] * np.sqrt(row_weights)[:, None], y * np.sqrt(row_weights), rcond=None
    )[0]
    np.testing.assert_allclose(X[:, model.columns] @ (model.weights - expected), 0, atol=1e-9 * y.std())


def test_qr_path_equals_the_path_from_rows() -> None:
    X, y = problem(21)
    path = greedy("rows", X, y, max_features=20, n_draw=7)
    again = qr_path(X[:, path.order], y, path.order)
    np.testing.assert_allclose(again.residual, path.residual, rtol=1e-9)
    np.testing.assert_allclose(again.weights(13), path.weights(13), rtol=1e-9)
    other, target = problem(22)
    expected = [np.mean((other[:, path.order[:m]] @ path.weights(m) - target) ** 2) for m in range(1, 21)]
    np.testing.assert_allclose(squared_errors(again, other, target, np.arange(60)), expected, rtol=1e-9)


def test_right_hand_side_may_be_given() -> None:
    X, y = problem(13, n=100)
    row_weights, oob = split(13)
    gram, products = X.T @ (row_weights[:, None] * X), X.T @ (row_weights * y)
    options = {"max_features": 30, "n_draw": 6, "gram": gram}
    given = fit_model(X, y, row_weights, oob, rng=np.random.default_rng(0), products=products, **options)
    made = fit_model(X, y, row_weights, oob, rng=np.random.default_rng(0), **options)
    assert given.order.tolist() == made.order.tolist()
    np.testing.assert_array_equal(given.weights, made.weights)


def test_number_of_columns_drawn() -> None:
    assert number_drawn(3741) == 61
    assert number_drawn(321) == 18  # the paper speaks of about 17
    assert number_drawn(1) == 1


@pytest.mark.parametrize("source", SOURCES)
def test_bagging_draws_without_replacement_from_columns_not_chosen(source) -> None:
    X, y = problem(1)
    k = number_drawn(X.shape[1])
    path = greedy(source, X, y, max_features=30, n_draw=k)
    for step, drawn in enumerate(path.drawn):
        assert len(set(drawn.tolist())) == k == 6
        assert not set(drawn.tolist()) & set(path.order[:step].tolist())
        assert path.order[step] in drawn


def test_every_column_is_drawn_equally_often() -> None:
    X, y = problem(1)
    k, n = 6, 3000
    counts = np.zeros(X.shape[1])
    for seed in range(n):
        counts[greedy("rows", X, y, max_features=1, n_draw=k, seed=seed).drawn[0]] += 1
    p = k / X.shape[1]
    # Five standard deviations of a binomial count; the bias, last, is a column like all others.
    assert np.abs(counts - n * p).max() < 5 * np.sqrt(n * p * (1 - p))


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(5, 30))
def test_both_sources_agree(seed, n_draw, n) -> None:
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, 12)), rng.normal(size=n)
    rows = greedy("rows", X, y, n_draw=n_draw, max_features=min(n, 12) - 2, seed=seed)
    gram = greedy("gram", X, y, n_draw=n_draw, max_features=min(n, 12) - 2, seed=seed)
    assert rows.order.tolist() == gram.order.tolist()
    np.testing.assert_allclose(rows.residual, gram.residual, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("n_channels", "share", "n_seen"),
    [
        (5, 0.6, 3),
        (5, 0.4, 2),
        (5, 0.5, 3),
        (5, 0.01, 1),
        (6, 0.6, 4),
        (5, 0.95, 5),
        (5, 1.0, 5),
        (0, 0.6, 0),
    ],
)
def test_drawn_channels(n_channels, share, n_seen) -> None:
    assert number_of_channels(n_channels, share) == n_seen
    drawn = [drawn_channels(n_channels, n_seen, np.random.default_rng(i)) for i in range(100)]
    assert {len(channels) for channels in drawn} == {n_seen}
    assert all((np.diff(channels) > 0).all() for channels in drawn)
    assert set(np.concatenate(drawn)) == set(range(n_channels))


def test_all_channels_need_no_random_number() -> None:
    rng = np.random.default_rng(0)
    drawn_channels(5, 5, rng)
    assert rng.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("offset", [5.0, 5e4, 5e5])
def test_the_zero_of_energies_does_not_end_the_choice(source, offset):
    """All-electron energies of heavy elements are 10^5 times as large as what is learned."""
    rng = np.random.default_rng(3)
    X = np.hstack([rng.normal(size=(200, 30)), np.ones((200, 1))])
    y = 0.005 * X[:, :30] @ rng.normal(size=30)
    path = greedy(source, X, y - offset)
    assert len(path.order) == 31
    weights = np.zeros(31)
    weights[path.order] = path.weights(31)
    assert np.abs(X @ weights - (y - offset)).max() < 1e-6
