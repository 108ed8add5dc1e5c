"""How far a structure lies from the training data, in the directions that matter for its predicted energy.

The averaged model predicts sum_j w_j phi_j + bias, so feature j contributes

    c_j = w_j (phi_j - mean_j)                                                       (eV/atom)

to the difference between a structure's energy and the mean of the training set. In these contributions
features are comparable, and a feature that the model does not use does not count. A principal component
analysis of the training structures' contributions gives directions with standard deviations s_k; the
leading ``MAX_COMPONENTS`` are kept. (A share of the variance would be no measure: two components, composition
and density, hold 99.95 %, and strain shows in the others.) With z_k the kept components of a structure, K
their number and rho the length of the rest of c,

    distance^2 = (1/K) sum_k (z_k / s_k)^2 + (rho / rho_train)^2 ,

rho_train being the root mean square of rho over the training structures. The score is the distance divided by
the 99th percentile of the training structures' own distances, each measured with an analysis that has not
seen its test fold. A score above 1 means extrapolation: one in a hundred structures like those in the
training set has it, too. A structure with a feature that is not finite has the score infinity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from atomscatter.arrays import FloatArray, IntArray
from atomscatter.errors import FitError

MAX_COMPONENTS = 64
PERCENTILE = 99.0

NEGLIGIBLE = 1e-4
"""eV/atom: the smallest spread of a component, and the smallest rho_train, by which a distance is divided.
Where training structures do not differ at all (a constant feature), a difference of this size is of no
consequence."""

MAX_STRUCTURES = 10_000
"""Training structures that the analysis uses; evenly spaced ones of a larger set."""

_OVERSAMPLING = 16
_POWER_ITERATIONS = 4


@dataclass(frozen=True)
class _Components:
    """Principal components of centred contributions."""

    axes: FloatArray  # (n_kept, n_used), orthonormal rows
    spread: FloatArray  # (n_kept,), eV/atom
    rest: float  # rho_train, eV/atom


@dataclass(frozen=True)
class ExtrapolationModel:
    """The analysis of the module's docstring, as it is stored with the averaged model."""

    columns: IntArray
    """Features that the averaged model uses, shape (n_used,)."""
    weights: FloatArray
    """Their averaged weights w_j, shape (n_used,), eV/atom per unit of the feature."""
    mean: FloatArray
    """Their means over the training structures, shape (n_used,)."""
    axes: FloatArray
    """Kept principal axes of the contributions, shape (n_kept, n_used), orthonormal rows."""
    spread: FloatArray
    """Standard deviation s_k of each kept component, shape (n_kept,), eV/atom."""
    rest: float
    """rho_train, eV/atom."""
    unit: float
    """Distance that has the score 1."""

    @classmethod
    def fit(cls, features: FloatArray, weights: FloatArray, groups: IntArray) -> ExtrapolationModel:
        """Learn from training structures.

        Args:
            features: shape (n_structures, n_features).
            weights: averaged weights, shape (n_features,), eV/atom per unit of the feature.
            groups: shape (n_structures,), the test fold of each structure.

        Raises:
            FitError: a feature that the model uses is not finite.
        """
        columns = np.flatnonzero(weights)
        n = len(features)
        rows = np.arange(n) if n <= MAX_STRUCTURES else np.linspace(0, n - 1, MAX_STRUCTURES).astype(np.int64)
        used = features[np.ix_(rows, columns)]
        if not np.isfinite(used).all():
            raise FitError("a training structure has a feature that is not finite")
        mean = used.mean(axis=0)
        contributions = (used - mean) * weights[columns]
        components = _principal_components(contributions)
        unit = float(np.percentile(_held_out_distances(contributions, groups[rows]), PERCENTILE))
        return cls(
            columns=columns,
            weights=weights[columns],
            mean=mean,
            axes=np.ascontiguousarray(components.axes),  # as they are read back: products round alike
            spread=components.spread,
            rest=components.rest,
            unit=unit if unit > 0 else 1.0,
        )

    def scores(self, features: FloatArray) -> FloatArray:
        """Scores of structures with ``features`` of shape (n, n_features); shape (n,), above 1:
        extrapolation."""
        finite = np.isfinite(features).all(axis=1)
        scores = np.full(len(features), np.inf)
        # Absurd features may overflow on the way: infinity is then the right answer.
        with np.errstate(over="ignore", invalid="ignore"):
            contributions = (features[finite][:, self.columns] - self.mean) * self.weights
            found = _distances(contributions, _Components(self.axes, self.spread, self.rest)) / self.unit
        scores[finite] = np.where(np.isnan(found), np.inf, found)
        return scores

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as named arrays, for storage."""
        return {
            "columns": self.columns,
            "weights": self.weights,
            "mean": self.mean,
            "axes": self.axes,
            "spread": self.spread,
            "scale": np.array([self.rest, self.unit]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> ExtrapolationModel:
        """Undo :meth:`arrays`. Raises ValueError for shapes that do not belong together, KeyError for a
        missing array."""
        columns, weights, mean = arrays["columns"], arrays["weights"], arrays["mean"]
        axes, spread, scale = arrays["axes"], arrays["spread"], arrays["scale"]
        n = len(columns)
        if not (weights.shape == mean.shape == columns.shape == (n,) and axes.shape == (len(spread), n)):
            raise ValueError("shapes of the extrapolation model do not belong together")
        if scale.shape != (2,):
            raise ValueError("the extrapolation model needs two scales")
        return cls(columns, weights, mean, axes, spread, float(scale[0]), float(scale[1]))


def _principal_components(contributions: FloatArray) -> _Components:
    """Principal components of the rows, shape (n, n_used), which have zero mean.

    The leading axes come from a randomised range finder (Halko, Martinsson, Tropp 2011) with a fixed seed.
    """
    n, n_used = contributions.shape
    total = float(np.sum(contributions**2))
    n_tried = min(MAX_COMPONENTS + _OVERSAMPLING, n, n_used)
    if total == 0.0 or n_tried == 0:
        return _Components(np.zeros((0, n_used)), np.zeros(0), NEGLIGIBLE)
    basis = np.random.default_rng(0).standard_normal((n_used, n_tried))
    for _ in range(_POWER_ITERATIONS):
        basis = np.linalg.qr(contributions.T @ (contributions @ basis))[0]
    _, singular, rows = np.linalg.svd(contributions @ basis, full_matrices=False)
    spread = singular / np.sqrt(n)
    kept = min(MAX_COMPONENTS, int(np.sum(spread > NEGLIGIBLE)))
    rest = np.sqrt(max(total - float(np.sum(singular[:kept] ** 2)), 0.0) / n)
    return _Components((basis @ rows.T).T[:kept], spread[:kept], max(float(rest), NEGLIGIBLE))


def _distances(contributions: FloatArray, components: _Components) -> FloatArray:
    """Distances of the module's docstring, shape (n,)."""
    along = contributions @ components.axes.T
    rest = contributions - along @ components.axes
    squared = np.einsum("ij,ij->i", rest, rest) / components.rest**2
    if len(components.spread):
        squared = squared + np.mean((along / components.spread) ** 2, axis=1)
    return np.asarray(np.sqrt(squared))


def _held_out_distances(contributions: FloatArray, groups: IntArray) -> FloatArray:
    """Distance of every training structure from an analysis of the other groups, shape (n,)."""
    distances = np.empty(len(contributions))
    for group in np.unique(groups):
        inside = groups == group
        others = contributions[~inside]
        if len(others) == 0:
            others = contributions
        mean = others.mean(axis=0)
        distances[inside] = _distances(contributions[inside] - mean, _principal_components(others - mean))
    return distances
