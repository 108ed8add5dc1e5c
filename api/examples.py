"""Examples in the description of the API; answers are what the embedded model gives for the requests."""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

_MODEL = "5394057ce7448096"
# Li3Si in the D0_3 structure.
_SITES: list[list[float]] = [[1.525, 1.525, 1.525], [3.05, 3.05, 3.05], [0, 0, 0], [4.575, 4.575, 4.575]]


def _structure(species: list[str], sites: list[list[float]]) -> Example:
    return {
        "lattice_vectors": [[0, 3.05, 3.05], [3.05, 0, 3.05], [3.05, 3.05, 0]],
        "cartesian_site_positions": sites,
        "species_at_sites": species,
    }


STRUCTURE = _structure(["Li", "Li", "Si", "Li"], _SITES)

FILE = """2
Lattice="4.39 0 0 0 4.39 0 0 0 4.39" Properties=species:S:1:pos:R:3 pbc="T T T"
Li 0 0 0
Si 2.195 2.195 2.195
"""

TRAINING_FILE = """2
Lattice="4.39 0 0 0 4.39 0 0 0 4.39" Properties=species:S:1:pos:R:3 path_id=mp-1 energy=-6.1 pbc="T T T"
Li 0 0 0
Si 2.195 2.195 2.195
"""

PREDICTIONS_REQUEST: Example = {"structures": [STRUCTURE]}
PREDICTION: Example = {
    "n_atoms": 4,
    "energy": -12.68519706915238,
    "energy_per_atom": -3.171299267288095,
    "formation_energy_per_atom": -0.3934345172880951,
    "uncertainty": 0.11917814971787198,
    "extrapolating": True,
    "extrapolation_score": 3.6822121885117394,
    "energy_per_atom_by_fold": [-3.18235, -3.17084, -3.1536, -3.14199, -3.20771],
}
PREDICTIONS_RESPONSE: Example = {
    "model": _MODEL,
    "data_hash": "2a36cf515608e6cc0416e76fc3f8004e49af4e58cc240770e6cb42256114b822",
    "predictions": [PREDICTION],
}

BULK_MODULUS_REQUEST: Example = {
    "structures": [STRUCTURE],
    "strains": [-0.06, -0.04, -0.02, 0.0, 0.02, 0.04, 0.06],
}
BULK_MODULUS_RESPONSE: Example = {
    "bulk_modulus": 27.613202519123423,
    "bulk_modulus_spread": 3.9257417468988502,
    "volume": 58.53852987549081,
    "energy": -12.689684277002367,
    "reason": None,
    "volumes": [47.1317, 50.20457, 53.40818, 56.74525, 60.21851, 63.83069, 67.5845],
    "curve": [
        {"energy": -12.60058, "uncertainty": 0.16394, "extrapolating": True, "extrapolation_score": 5.02926},
        {"energy": -12.61973, "uncertainty": 0.13317, "extrapolating": True, "extrapolation_score": 4.23595},
        {"energy": -12.65692, "uncertainty": 0.12215, "extrapolating": True, "extrapolation_score": 3.86216},
        {"energy": -12.6852, "uncertainty": 0.11918, "extrapolating": True, "extrapolation_score": 3.68221},
        {"energy": -12.68533, "uncertainty": 0.11878, "extrapolating": True, "extrapolation_score": 3.62519},
        {"energy": -12.64536, "uncertainty": 0.11966, "extrapolating": True, "extrapolation_score": 3.66933},
        {"energy": -12.55733, "uncertainty": 0.12167, "extrapolating": True, "extrapolation_score": 3.79434},
    ],
    "model": _MODEL,
}

BARRIER_REQUEST: Example = {
    "structures": [
        _structure(STRUCTURE["species_at_sites"], [[1.525, y, 1.525], *_SITES[1:]]) for y in (1.525, 1.9, 2.3)
    ]
}
BARRIER_RESPONSE: Example = {
    "barrier": 1.4674610299190292,
    "barrier_spread": 0.07160784612151665,
    "forward_barrier": 1.4674610299190292,
    "forward_barrier_spread": 0.07160784612151665,
    "backward_barrier": 0.0,
    "backward_barrier_spread": 0.0,
    "warning": "the highest image is the last, an end of the path: that is no saddle point "
    "(is the path complete, are its ends relaxed?)",
    "relative_energies": [0.0, 0.43618, 1.46746],
    "profile": [
        {"energy": -12.6852, "uncertainty": 0.11918, "extrapolating": True, "extrapolation_score": 3.68221},
        {"energy": -12.24902, "uncertainty": 0.11457, "extrapolating": True, "extrapolation_score": 3.42421},
        {"energy": -11.21774, "uncertainty": 0.18711, "extrapolating": True, "extrapolation_score": 5.25057},
    ],
    "model": _MODEL,
}

VOLTAGE_REQUEST: Example = {
    "structures": [
        _structure(["Li", "Li", "Si", "Li"], _SITES),
        _structure(["Li", "Li", "Si", "Si"], _SITES),
        _structure(["Si", "Si", "Si", "Si"], _SITES),
    ],
    "ion": "Li",
}
VOLTAGE_RESPONSE: Example = {
    "ion": "Li",
    "x": [0.0, 1.0, 3.0],
    "voltage": [1.31271, 0.71934],
    "voltage_spread": [0.0539, 0.02486],
    "structure_x": [3.0, 1.0, 0.0],
    "formation_energies": [-0.39343, -0.06753, 1.17766],
    "on_hull": [True, True, True],
    "extrapolating": [True, True, True],
    "model": _MODEL,
}

RADIAL_REQUEST: Example = {"structure": STRUCTURE, "cutoff": 3.5, "width": 0.5}
RADIAL_RESPONSE: Example = {
    "r": [0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25],
    "pairs": [
        {"elements": ["Li", "Li"], "g": [0.0, 0.0, 0.0, 0.0, 0.0, 2.1172, 1.1378]},
        {"elements": ["Li", "Si"], "g": [0.0, 0.0, 0.0, 0.0, 0.0, 3.1758, 1.7067]},
        {"elements": ["Si", "Si"], "g": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]},
    ],
}

_DATASET_ID = "6f1d2c3b4a596877"
_STORE_ID = "0123456789abcdef"

DATASET: Example = {
    "id": _DATASET_ID,
    "created": "2026-11-24T20:15:00+00:00",
    "n_structures": 160,
    "n_paths": 8,
    "n_atoms": 11520,
    "elements": ["Li", "Si"],
    "path_key": "path_id",
    "energy_key": None,
}

FEATURIZE: Example = {"type": "featurize", "parameters": {"dataset": _DATASET_ID, "beta": 0.9, "scales": 2}}
TRAIN: Example = {"type": "train", "parameters": {"store": _STORE_ID, "folds": 5, "bootstraps": 100}}
EVALUATE: Example = {"type": "evaluate", "parameters": {"dataset": _DATASET_ID, "model": _MODEL}}

JOB: Example = {
    "id": _STORE_ID,
    "type": "featurize",
    "parameters": {
        "dataset": _DATASET_ID,
        "beta": 0.9,
        "scales": 2,
        "precision": "single",
        "products": True,
        "steps": None,
        "copies": 0.4,
    },
    "state": "running",
    "created": "2026-11-24T20:16:00.000+00:00",
    "started": "2026-11-24T20:16:01.000+00:00",
    "ended": None,
    "done": 40,
    "total": 200,
    "unit": "structures",
    "error": None,
    "result": None,
}

IDEMPOTENCY_KEY = "featurize-2026-11-24"

JOB_NOT_ENDED = f"job {_STORE_ID} is running; it can resume once it has failed or was cancelled"
DATASET_IN_USE = f"data set {_DATASET_ID} is needed by job {_STORE_ID}, which is running"
MODEL_IN_USE = f"model {_MODEL} is the active one; activate another one first"

PROBLEM: Example = {
    "type": "about:blank",
    "title": "Unprocessable Content",
    "status": 422,
    "detail": "1 of the structures cannot be used",
    "errors": [{"pointer": "/structures/1", "index": 1, "detail": "contains Xe; known elements are Li, Si"}],
}

OF_SCHEMA: dict[str, Example] = {
    "Structure": STRUCTURE,
    "PredictionsRequest": PREDICTIONS_REQUEST,
    "PredictionOut": PREDICTION,
    "PredictionsResponse": PREDICTIONS_RESPONSE,
    "BulkModulusRequest": BULK_MODULUS_REQUEST,
    "BulkModulusResponse": BULK_MODULUS_RESPONSE,
    "BarrierRequest": BARRIER_REQUEST,
    "BarrierResponse": BARRIER_RESPONSE,
    "VoltageRequest": VOLTAGE_REQUEST,
    "VoltageResponse": VOLTAGE_RESPONSE,
    "RadialRequest": RADIAL_REQUEST,
    "RadialResponse": RADIAL_RESPONSE,
    "DatasetOut": DATASET,
    "FeaturizeRequest": FEATURIZE,
    "TrainRequest": TRAIN,
    "EvaluateRequest": EVALUATE,
    "JobOut": JOB,
    "Problem": PROBLEM,
}
"""Name of a schema -> example of it."""
