"""Examples in the description of the API; answers are what the embedded model gives for the requests."""

from __future__ import annotations

from typing import Any

Example = dict[str, Any]

_MODEL = "0a1432c35905cd37"
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
    "energy": -9.731206938646565,
    "energy_per_atom": -2.4328017346616413,
    "formation_energy_per_atom": 0.3450630153383587,
    "uncertainty": 0.16608872720370313,
    "extrapolating": True,
    "extrapolation_score": 6.373600483264137,
    "energy_per_atom_by_fold": [-2.44735, -2.41932, -2.45039, -2.4324, -2.41456],
}
PREDICTIONS_RESPONSE: Example = {
    "model": _MODEL,
    "data_hash": "2a36cf515608e6cc0416e76fc3f8004e49af4e58cc240770e6cb42256114b822",
    "predictions": [PREDICTION],
}

BULK_MODULUS_REQUEST: Example = {
    "structures": [
        {
            "lattice_vectors": [[4, 0, 0], [0, 4, 0], [0, 0, 4]],
            "cartesian_site_positions": [[0, 0, 0], [2, 2, 2], [0, 2, 2], [2, 0, 0]],
            "species_at_sites": STRUCTURE["species_at_sites"],
        }
    ],
    "strains": [-0.04, -0.02, 0.0, 0.02, 0.04],
}
BULK_MODULUS_RESPONSE: Example = {
    "bulk_modulus": 37.390894274442864,
    "bulk_modulus_spread": 4.058283485593281,
    "volume": 63.764856009128486,
    "energy": -10.130660212899976,
    "reason": None,
    "volumes": [56.623104, 60.236288, 64.0, 67.917312, 71.991296],
    "curve": [
        {"energy": -10.01388, "uncertainty": 0.64321, "extrapolating": True, "extrapolation_score": 15.8907},
        {"energy": -10.10442, "uncertainty": 0.50586, "extrapolating": True, "extrapolation_score": 13.6310},
        {"energy": -10.13195, "uncertainty": 0.3981, "extrapolating": True, "extrapolation_score": 11.7158},
        {"energy": -10.10165, "uncertainty": 0.31555, "extrapolating": True, "extrapolation_score": 10.1071},
        {"energy": -10.03258, "uncertainty": 0.25438, "extrapolating": True, "extrapolation_score": 8.7826},
    ],
    "model": _MODEL,
}

BARRIER_REQUEST: Example = {
    "structures": [
        _structure(STRUCTURE["species_at_sites"], [[0, y, 0], *_SITES[1:]]) for y in (0.0, 0.4, 0.8)
    ]
}
BARRIER_RESPONSE: Example = {
    "barrier": 0.1600014804912675,
    "barrier_spread": 0.06130831800718451,
    "relative_energies": [0.0, -0.04397832175269478, -0.1600014804912675],
    "profile": [
        {"energy": -9.73121, "uncertainty": 0.16609, "extrapolating": True, "extrapolation_score": 6.3736},
        {"energy": -9.77519, "uncertainty": 0.15864, "extrapolating": True, "extrapolation_score": 5.9495},
        {"energy": -9.89121, "uncertainty": 0.14951, "extrapolating": True, "extrapolation_score": 5.3054},
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
    "voltage": [-0.024605992965302192, -0.22954130576023557],
    "voltage_spread": [0.11744653481585222, 0.05970659074978857],
    "structure_x": [3.0, 1.0, 0.0],
    "formation_energies": [0.3450630153383587, 0.46058472491648184, 0.8965634568676615],
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
