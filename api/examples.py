"""Examples in the description of the API; answers are what the embedded model gives for the requests."""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

_MODEL = "16c4f5a602930e2b"
_SITES: list[list[float]] = [[0, 0, 0], [2.195, 2.195, 2.195], [0, 2.195, 2.195], [2.195, 0, 0]]


def _structure(species: list[str], sites: list[list[float]]) -> Example:
    return {
        "lattice_vectors": [[4.39, 0, 0], [0, 4.39, 0], [0, 0, 4.39]],
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
    "energy": -9.488612189433168,
    "energy_per_atom": -2.372153047358292,
    "formation_energy_per_atom": 0.4057117026417081,
    "uncertainty": 0.14205483528605636,
    "extrapolating": True,
    "extrapolation_score": 6.04877463020187,
    "energy_per_atom_by_fold": [-2.36526, -2.39301, -2.38302, -2.35103, -2.36845],
}
PREDICTIONS_RESPONSE: Example = {
    "model": _MODEL,
    "data_hash": "2a36cf515608e6cc0416e76fc3f8004e49af4e58cc240770e6cb42256114b822",
    "predictions": [PREDICTION],
}

BULK_MODULUS_REQUEST: Example = {
    "structures": [
        {
            "lattice_vectors": [[4.1, 0, 0], [0, 4.1, 0], [0, 0, 4.1]],
            "cartesian_site_positions": [[0, 0, 0], [2.05, 2.05, 2.05], [0, 2.05, 2.05], [2.05, 0, 0]],
            "species_at_sites": STRUCTURE["species_at_sites"],
        }
    ],
    "strains": [-0.06, -0.04, -0.02, 0.0, 0.02, 0.04, 0.06],
}
BULK_MODULUS_RESPONSE: Example = {
    "bulk_modulus": 33.36103173152856,
    "bulk_modulus_spread": 4.247609897838884,
    "volume": 69.26964917429045,
    "energy": -9.725245003828963,
    "reason": None,
    "volumes": [57.24468, 60.97689, 64.86789, 68.921, 73.13952, 77.52675, 82.08601],
    "curve": [
        {"energy": -9.43419, "uncertainty": 0.43994, "extrapolating": True, "extrapolation_score": 14.00018},
        {"energy": -9.59561, "uncertainty": 0.3581, "extrapolating": True, "extrapolation_score": 11.98827},
        {"energy": -9.69195, "uncertainty": 0.29217, "extrapolating": True, "extrapolation_score": 10.27253},
        {"energy": -9.72597, "uncertainty": 0.23978, "extrapolating": True, "extrapolation_score": 8.84161},
        {"energy": -9.70416, "uncertainty": 0.19948, "extrapolating": True, "extrapolation_score": 7.70624},
        {"energy": -9.64163, "uncertainty": 0.16978, "extrapolating": True, "extrapolation_score": 6.85627},
        {"energy": -9.54797, "uncertainty": 0.14947, "extrapolating": True, "extrapolation_score": 6.26751},
    ],
    "model": _MODEL,
}

BARRIER_REQUEST: Example = {
    "structures": [
        _structure(STRUCTURE["species_at_sites"], [[0, y, 0], *_SITES[1:]]) for y in (0.0, 0.4, 0.8)
    ]
}
BARRIER_RESPONSE: Example = {
    "barrier": 0.15326445223952234,
    "barrier_spread": 0.0394908975833861,
    "relative_energies": [0.0, -0.0509909449589383, -0.15326445223952234],
    "profile": [
        {"energy": -9.48861, "uncertainty": 0.14205, "extrapolating": True, "extrapolation_score": 6.04877},
        {"energy": -9.5396, "uncertainty": 0.13302, "extrapolating": True, "extrapolation_score": 5.63129},
        {"energy": -9.64188, "uncertainty": 0.12036, "extrapolating": True, "extrapolation_score": 5.01849},
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
    "x": [0.0, 3.0],
    "voltage": [-0.22970152235602193],
    "voltage_spread": [0.02519530963089658],
    "structure_x": [3.0, 1.0, 0.0],
    "formation_energies": [0.4057117026417081, 0.6999613902490713, 0.9337422434987666],
    "on_hull": [True, False, True],
    "extrapolating": [True, True, True],
    "model": _MODEL,
}

RADIAL_REQUEST: Example = {"structure": STRUCTURE, "cutoff": 3.5, "width": 0.5}
RADIAL_RESPONSE: Example = {
    "r": [0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.25],
    "pairs": [
        {"elements": ["Li", "Li"], "g": [0.0, 0.0, 0.0, 0.0, 1.1773, 0.0, 1.1309]},
        {"elements": ["Li", "Si"], "g": [0.0, 0.0, 0.0, 0.0, 1.7659, 0.0, 1.6964]},
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
