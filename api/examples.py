"""Examples in the description of the API; answers are what the embedded model gives for the requests."""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

_MODEL = "0c8d1827fd22007d"
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
    "energy": -9.724951593385088,
    "energy_per_atom": -2.431237898346272,
    "formation_energy_per_atom": 0.3466268516537281,
    "uncertainty": 0.14334544893995535,
    "extrapolating": True,
    "extrapolation_score": 6.996505411071886,
    "energy_per_atom_by_fold": [-2.46959, -2.41688, -2.41606, -2.41658, -2.43708],
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
    "bulk_modulus": 35.375296875255664,
    "bulk_modulus_spread": 6.31160277772185,
    "volume": 68.70644949853947,
    "energy": -9.956424899483046,
    "reason": None,
    "volumes": [57.24468, 60.97689, 64.867894, 68.921, 73.139517, 77.526752, 82.086014],
    "curve": [
        {"energy": -9.63259, "uncertainty": 0.72844, "extrapolating": True, "extrapolation_score": 18.8712},
        {"energy": -9.82657, "uncertainty": 0.55514, "extrapolating": True, "extrapolation_score": 15.6284},
        {"energy": -9.92895, "uncertainty": 0.42009, "extrapolating": True, "extrapolation_score": 12.9979},
        {"energy": -9.95648, "uncertainty": 0.31729, "extrapolating": True, "extrapolation_score": 10.9102},
        {"energy": -9.92942, "uncertainty": 0.24148, "extrapolating": True, "extrapolation_score": 9.3054},
        {"energy": -9.86476, "uncertainty": 0.18841, "extrapolating": True, "extrapolation_score": 8.1232},
        {"energy": -9.7776, "uncertainty": 0.15466, "extrapolating": True, "extrapolation_score": 7.3057},
    ],
    "model": _MODEL,
}

BARRIER_REQUEST: Example = {
    "structures": [
        _structure(STRUCTURE["species_at_sites"], [[0, y, 0], *_SITES[1:]]) for y in (0.0, 0.4, 0.8)
    ]
}
BARRIER_RESPONSE: Example = {
    "barrier": 0.17662837889430882,
    "barrier_spread": 0.07214122520072418,
    "relative_energies": [0.0, -0.049742311583770515, -0.17662837889430882],
    "profile": [
        {"energy": -9.72495, "uncertainty": 0.14335, "extrapolating": True, "extrapolation_score": 6.9965},
        {"energy": -9.77469, "uncertainty": 0.13557, "extrapolating": True, "extrapolation_score": 6.4875},
        {"energy": -9.90158, "uncertainty": 0.12881, "extrapolating": True, "extrapolation_score": 5.6721},
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
    "voltage": [0.12949077374997042, -0.2893515098205568],
    "voltage_spread": [0.21895184137579196, 0.08402220709842927],
    "structure_x": [3.0, 1.0, 0.0],
    "formation_energies": [0.3466268516537281, 0.4039021934868994, 0.9372951607237692],
    "on_hull": [True, True, True],
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
    "parameters": {"dataset": _DATASET_ID, "beta": 0.9, "scales": 2, "copies": 0.4},
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
