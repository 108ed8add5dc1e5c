"""What a training starts from and what it finds: data, settings and report."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from atomscatter.arrays import FloatArray, IntArray
from atomscatter.errors import ConfigError, DataError, ModelError
from atomscatter.labels import PRODUCTS
from atomscatter.resampling import fold_of_new_path, path_folds
from atomscatter.scattering import Scattering
from atomscatter.selection import number_drawn, number_of_channels
from service import defaults
from service.differences import differences

if TYPE_CHECKING:
    from atomscatter.ensemble import Ensemble


NESTED_SPLITS = 4
"""Models for each test fold without randomisation (appendix C of the paper)."""


class Store(Protocol):
    """What training needs of a feature store; n structures."""

    @property
    def path(self) -> Any:
        """Where it is."""

    @property
    def features(self) -> Any:
        """Array-like, shape (n, n_features)."""

    @property
    def energies(self) -> Any:
        """Total energies, shape (n,), eV."""

    @property
    def n_atoms(self) -> Any:
        """Number of atoms, shape (n,)."""

    @property
    def path_ids(self) -> Sequence[str]:
        """Relaxation path of each structure."""

    @property
    def compositions(self) -> Sequence[str]:
        """Reduced formula of each structure."""

    @property
    def originals(self) -> Any:
        """Row of which each row is a translated copy, -1 for the structures themselves, shape (n,)."""

    @property
    def scattering_config(self) -> dict[str, Any]:
        """Configuration of the transform."""

    @property
    def data_hash(self) -> str:
        """Hash of structures and energies."""


@dataclass(frozen=True)
class TrainingData:
    """Features and energies of n structures in relaxation paths."""

    features: FloatArray
    """Shape (n, n_features)."""
    energies: FloatArray
    """Shape (n,), eV/atom."""
    path_ids: tuple[str, ...]
    """Relaxation path of each structure."""
    compositions: tuple[str, ...]
    """Reduced formula of each structure; a path has that of its first structure."""
    feature_orders: IntArray
    """Scattering order of each feature, shape (n_features,)."""
    scattering_config: dict[str, Any]
    data_hash: str
    differences: FloatArray | None = None
    """Features of translated copies minus those of their originals, shape (n_copies, n_features); None: no
    copies. Their grids stay in the cell (:mod:`service.copies`): exact ones would give zeros."""
    difference_paths: tuple[str, ...] = ()
    """Relaxation path of each difference."""
    feature_channels: NDArray[np.str_] | None = None
    """Channel of each feature, shape (n_features,); None: all of one."""

    def __post_init__(self) -> None:
        n = len(self.features)
        if n == 0:
            raise DataError("there are no structures to train on")
        if not len(self.energies) == len(self.path_ids) == len(self.compositions) == n:
            raise DataError(
                f"{n} structures have {len(self.energies)} energies, {len(self.path_ids)} path ids and "
                f"{len(self.compositions)} compositions"
            )
        for labels in (self.feature_orders, self.feature_channels):
            if labels is not None and self.features.shape[1:] != labels.shape:
                raise DataError(f"{self.features.shape[1]} features have {len(labels)} labels")
        bad = np.flatnonzero(~np.isfinite(self.energies))
        if len(bad):
            raise DataError(f"structure {bad[0]} (path {self.path_ids[bad[0]]}) has no finite energy")
        # One sum instead of a mask of the size of the features; it can only be finite when they all are, or
        # nearly.
        with np.errstate(invalid="ignore", over="ignore"):
            total = self.features.sum()
        if not np.isfinite(total):
            bad = np.flatnonzero(~np.isfinite(self.features).all(axis=1))
            if len(bad):
                raise DataError(
                    f"structure {bad[0]} (path {self.path_ids[bad[0]]}) has a feature that is not finite"
                )


def training_data(stores: Store | Sequence[Store]) -> TrainingData:
    """Training data of one or several feature stores; equal path ids in two stores are one path.

    Raises ConfigError when the stores were made with different scattering configurations, DataError for
    unusable energies or features, for a path with other atoms in another store, and for a structure that
    two stores hold.
    """
    found: list[Store] = list(stores) if isinstance(stores, (list, tuple)) else [stores]  # type: ignore[list-item]
    if not found:
        raise DataError("there is no feature store to train on")
    config = found[0].scattering_config
    for i, store in enumerate(found[1:], start=1):
        if store.scattering_config != config:
            raise ConfigError(
                f"feature store {i} was made with another scattering configuration than store 0 (there): "
                f"{differences(config, store.scattering_config)}"
            )
    parts = [np.asarray(s.features, dtype=np.float64) for s in found]
    if len(found) > 1:
        _require_same_atoms(found)
        _require_no_repeats(found, parts)
    features = np.concatenate(parts)
    energies = np.concatenate([np.asarray(s.energies, float) / np.asarray(s.n_atoms) for s in found])
    path_ids = [str(p) for s in found for p in s.path_ids]
    compositions = [str(c) for s in found for c in s.compositions]
    originals = _joined_originals(found)
    labels = Scattering.from_config(config).labels
    kept, copies = np.flatnonzero(originals < 0), np.flatnonzero(originals >= 0)
    return TrainingData(
        features=features[kept],
        energies=energies[kept],
        path_ids=tuple(path_ids[i] for i in kept),
        compositions=tuple(compositions[i] for i in kept),
        feature_orders=np.array([label.order for label in labels]),
        scattering_config=config,
        data_hash=joined_hash(found),
        differences=features[copies] - features[originals[copies]] if len(copies) else None,
        difference_paths=tuple(path_ids[i] for i in copies),
        feature_channels=np.array([label.channel for label in labels]),
    )


def joined_hash(stores: Sequence[Store]) -> str:
    """Hash of the structures and energies of one or several stores."""
    hashes = [store.data_hash for store in stores]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def require_trained_on(
    ensemble: Ensemble, data_hash: str, scattering_config: Mapping[str, Any], purpose: str
) -> None:
    """Raise ModelError unless an ensemble was trained on this data, ConfigError unless its features were
    made by this transform; ``purpose`` is for the message, e.g. "pruning"."""
    if ensemble.data_hash != data_hash:
        raise ModelError(
            f"model {ensemble.model_id} was trained on data {ensemble.data_hash[:12]}, the feature stores "
            f"hold {data_hash[:12]}; {purpose} needs the training data"
        )
    if ensemble.scattering_config != scattering_config:
        raise ConfigError(
            f"model {ensemble.model_id} (there) was trained on features of another transform than those of "
            f"the feature stores: {differences(ensemble.scattering_config, scattering_config)}"
        )


def _require_same_atoms(stores: Sequence[Store]) -> None:
    """Refuse path ids that mean one path in one store and another in the next, as of files of one name."""
    first: dict[str, tuple[str, int, Store]] = {}
    for store in stores:
        for path_id, composition, n_atoms in zip(
            store.path_ids, store.compositions, store.n_atoms, strict=True
        ):
            formula, n, there = first.setdefault(path_id, (composition, n_atoms, store))
            if there is not store and (formula, n) != (composition, n_atoms):
                raise DataError(
                    f"path id {path_id!r} is {formula} with {n:.0f} atoms in {there.path} and {composition}"
                    f" with {n_atoms:.0f} in {store.path}: featurize one of them with other path ids"
                    " (--path-key, or files named from another directory)"
                )


def _require_no_repeats(stores: Sequence[Store], features: Sequence[FloatArray]) -> None:
    """Refuse structures that several stores hold: they would sit on both sides of a validation."""
    first: dict[bytes, tuple[str, Store]] = {}
    for store, rows in zip(stores, features, strict=True):
        originals, energies = np.asarray(store.originals), np.asarray(store.energies, dtype=np.float64)
        for row in np.flatnonzero(originals < 0).tolist():
            digest = hashlib.sha256(energies[row].tobytes() + rows[row].tobytes()).digest()
            path_id, there = first.setdefault(digest, (store.path_ids[row], store))
            if there is not store:
                raise DataError(
                    f"{there.path} (path {path_id}) and {store.path} (path {store.path_ids[row]}) hold the"
                    " same structure: features and energy are equal"
                )


def _joined_originals(stores: Sequence[Store]) -> IntArray:
    """``originals`` of all stores, as rows of the stores one after the other."""
    parts, start = [], 0
    for store in stores:
        part = np.asarray(store.originals)
        parts.append(np.where(part < 0, -1, part + start))
        start += len(part)
    return np.concatenate(parts)


LARGEST_SIZE_FACTOR = 1000.0


@dataclass(frozen=True)
class FitSettings:
    """How the models are drawn and fitted. Raises ConfigError for a value that cannot work."""

    folds: int = defaults.FOLDS
    """Test folds."""
    bootstraps: int = defaults.BOOTSTRAPS
    """Models for each fold (bagged); without randomisation there are 4."""
    max_features: int = defaults.MAX_FEATURES
    """Largest number of features M_max, bias included."""
    seed: int = defaults.SEED
    """Root of all random numbers."""
    orders: defaults.Orders = defaults.ORDERS
    """Scattering orders of the features that may be chosen."""
    selection: defaults.Selection = defaults.SELECTION
    """``bagged``: bootstraps, about sqrt(d + 1) columns drawn at each step, of the d that a model sees and
    the bias. ``full``: appendix C of the paper, nested 4-fold cross-validation, all columns at each step."""
    invariance: float = defaults.INVARIANCE
    """Weight of invariance: features of translated copies, whose grids stay in the cell, differ from their
    originals by the error of the grids, and each difference d enters the training set as a condition
    (invariance * d) . w = 0. So the fit prefers combinations of features that the grids do not disturb. What
    it costs in accuracy is in benchmarks/results/fit_options.md. 0: the paper's fit."""
    size_factor: float = defaults.SIZE_FACTOR
    """Features of a model, as a multiple of the number M* with the smallest out-of-bag error, at most
    ``max_features``. What larger models than are best alone change is in
    benchmarks/results/fit_options_products.md. 1: the paper's fit."""
    channel_share: float = defaults.CHANNEL_SHARE
    """Share of the channels that a model sees, drawn anew for each model; features of order 0, which carry
    the composition, are seen by all. Products at the atoms are a channel of their own. 0.5 helps on
    diffusion, barriers and under strain and costs on larger cells
    (benchmarks/results/fit_options_products.md). 1: the paper's fit. Without randomisation models see all."""
    products: bool = defaults.PRODUCTS
    """Whether products at the atoms may be chosen, where the features have some. False: the paper's fit."""

    def __post_init__(self) -> None:
        for name, least in (("folds", 2), ("bootstraps", 1), ("max_features", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not (math.isfinite(self.invariance) and self.invariance >= 0):
            raise ConfigError(f"invariance must be a number >= 0, got {self.invariance}")
        if not 0 < self.size_factor <= LARGEST_SIZE_FACTOR:
            raise ConfigError(
                f"size_factor must be above 0 and at most {LARGEST_SIZE_FACTOR:g}, got {self.size_factor}"
            )
        if not 0 < self.channel_share <= 1:
            raise ConfigError(f"channel_share must be above 0 and at most 1, got {self.channel_share}")
        for name, choices in (("orders", defaults.Orders), ("selection", defaults.Selection)):
            if getattr(self, name) not in get_args(choices):
                known = " or ".join(get_args(choices))
                raise ConfigError(f"{name} must be {known}, got {getattr(self, name)!r}")

    @property
    def models_per_fold(self) -> int:
        """Models for each test fold."""
        return self.bootstraps if self.selection == "bagged" else NESTED_SPLITS

    def columns(self, data: TrainingData) -> IntArray:
        """Columns of the features that models may choose, ascending."""
        allowed = data.feature_orders <= int(self.orders[-1])
        if not self.products and data.feature_channels is not None:
            allowed &= data.feature_channels != PRODUCTS
        return np.flatnonzero(allowed)

    def n_channels_seen(self, n_channels: int) -> int:
        """Channels that a model sees."""
        share = self.channel_share if self.selection == "bagged" else 1.0
        return number_of_channels(n_channels, share)

    def n_drawn(self, n_columns: int) -> int:
        """Columns that are drawn at each greedy step."""
        return number_drawn(n_columns) if self.selection == "bagged" else n_columns


def folds_of_paths(card: Mapping[str, Any], data: TrainingData) -> dict[str, int]:
    """Test fold of each relaxation path, by the card of the model that was trained on ``data``.

    The paths of the training first, in alphabetical order, then those that joined the model since, in the
    order in which they did.
    """
    settings, added = card["settings"], card.get("added_paths", [])
    composition = dict(zip(reversed(data.path_ids), reversed(data.compositions), strict=True))
    names = sorted(set(data.path_ids) - set(added))
    dealt = path_folds([composition[name] for name in names], settings["folds"], settings["seed"])
    folds = dict(zip(names, dealt.tolist(), strict=True))
    for name in added:
        folds[name] = fold_of_new_path(
            composition[name], [composition[known] for known in folds], list(folds.values())
        )
    return folds


@dataclass(frozen=True)
class FoldErrors:
    """Errors of the averaged model of one fold on its test paths, eV/atom."""

    fold: int
    n_paths: int
    n_structures: int
    rmse: float
    mae: float


@dataclass(frozen=True)
class TrainingReport:
    """What is known about the errors of a trained ensemble. Energies and errors in eV/atom."""

    folds: tuple[FoldErrors, ...]
    sizes: IntArray
    """Numbers of features M for which the learning curves are given, shape (n_sizes,)."""
    train_rmse: FloatArray
    """Weighted training RMSE at each size, mean over the models that reached it, shape (n_sizes,)."""
    oob_rmse: FloatArray
    """RMSE on the out-of-bag paths, like ``train_rmse``."""
    test_rmse: FloatArray
    """RMSE of the single models on the test paths, like ``train_rmse``."""
    n_selected: IntArray
    """Features of each model (M*, times ``size_factor``), shape (n_models,)."""
    out_of_fold: FloatArray
    """Each structure predicted by the averaged model of the fold whose test set it is in, shape (n,),
    eV/atom."""
    energies: FloatArray
    """Reference energies, shape (n,), eV/atom."""
    fold_of_structure: IntArray
    """Test fold of each structure, shape (n,)."""
    n_used_qr: int
    """Models for which the Gram matrix was too inaccurate, so that a QR of the rows took its place."""
    processor_seconds: tuple[float, float]
    """Processor time of all workers for Gram matrices and for the rest of the fits."""
    others: FloatArray
    """Energies of the further structures by the models of each size, shape (n_models, n_sizes, n_others),
    eV/atom; NaN where a model did not reach a size."""
    seconds: float = 0.0
    """Wall time of the training."""

    def summary(self) -> dict[str, Any]:
        """The numbers for the model card, JSON values; errors in eV/atom, mean and standard deviation over
        the folds."""
        errors = {name: np.array([getattr(f, name) for f in self.folds]) for name in ("rmse", "mae")}
        return {
            "unit": "eV/atom",
            "folds": [asdict(f) for f in self.folds],
            **{f"{name}_mean": float(v.mean()) for name, v in errors.items()},
            **{f"{name}_std": float(v.std()) for name, v in errors.items()},
            "n_selected_mean": float(self.n_selected.mean()),
            "n_selected_std": float(self.n_selected.std()),
            "n_models_by_qr": self.n_used_qr,
        }
