"""Features that are needed once, computed on a cluster."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from atomscatter.arrays import FloatArray
from atomscatter.ensemble import Ensemble
from service.evaluation import blocks_of_rows
from service.reading import LabelledStructure
from workers.featurize import featurize


def features_by_workers(
    structures: Sequence[LabelledStructure],
    ensemble: Ensemble,
    place: Path,
    address: str,
    on_progress: Callable[[int], None],
) -> Iterator[FloatArray]:
    """Features that a model needs, through a feature store that is gone after the last of them.

    Repeated after an interruption with the same model, it goes on where it was.

    Args:
        structures: n structures.
        ensemble: the model.
        place: directory that all nodes see, for the store; of this model alone.
        address: running Ray cluster.
        on_progress: as of :func:`workers.featurize.featurize`, which tells the errors, too.

    Yields:
        Blocks for :func:`service.evaluation.evaluate_blocks`.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    store = featurize(
        structures,
        ensemble.scattering,
        place,
        address=address,
        only=ensemble.needed,
        on_progress=on_progress,
    )
    for rows in blocks_of_rows(len(structures)):
        yield np.asarray(store.features[rows], dtype=np.float64)
    # Renamed first: half of a store would be in the way of another attempt.
    abandoned = place.with_name(f"{place.name}.gone")
    shutil.rmtree(abandoned, ignore_errors=True)
    shutil.rmtree(place.rename(abandoned), ignore_errors=True)
