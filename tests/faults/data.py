"""Training data that are quick to fit."""

import numpy as np

from atomscatter.scattering import Scattering
from service.training import TrainingData


def training_data(n_paths=40, length=5, n_features=200):
    """Relaxation paths whose energies follow from a few of the features, about; every other structure has a
    translated copy."""
    rng = np.random.default_rng(7)
    path = np.repeat(np.arange(n_paths), length)
    hidden = rng.normal(size=(n_paths, 5))[path] + 0.3 * rng.normal(size=(len(path), 5))
    features = 5 + hidden @ rng.normal(size=(5, n_features)) + 0.5 * rng.normal(size=(len(path), n_features))
    energies = -4 + 0.3 * hidden[:, 0] + 0.02 * rng.normal(size=len(path))
    return TrainingData(
        features=features,
        energies=energies,
        path_ids=tuple(f"path {p}" for p in path),
        compositions=tuple("AB"[p % 2] for p in path),
        feature_orders=np.repeat([0, 1, 2], [2, n_features // 2 - 2, n_features - n_features // 2]),
        scattering_config=Scattering(beta=1.0, scales=2).config,
        data_hash="hash of the data",
        differences=1e-4 * rng.normal(size=(len(path[::2]), n_features)),
        difference_paths=tuple(f"path {p}" for p in path[::2]),
    )
