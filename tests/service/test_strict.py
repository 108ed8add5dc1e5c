"""A request with millions of mistakes is refused with a few of them named: a list of all fills the memory."""

import pytest
from pydantic import ValidationError

from api.schemas import BulkModulusRequest, PredictionsRequest
from service.job_parameters import TrainParameters

GOOD = {
    "lattice_vectors": [[10.0, 0, 0], [0, 10.0, 0], [0, 0, 10.0]],
    "cartesian_site_positions": [[0.0, 0, 0]],
    "species_at_sites": ["Li"],
}
MANY = 20_000
STORE = "0" * 16
BAD = {
    "species": (PredictionsRequest, {"structures": [{**GOOD, "species_at_sites": [1] * MANY}]}),
    "positions": (PredictionsRequest, {"structures": [{**GOOD, "cartesian_site_positions": [[]] * MANY}]}),
    "cell": (PredictionsRequest, {"structures": [{**GOOD, "lattice_vectors": [[None] * 3] * 3}]}),
    "unknown keys": (PredictionsRequest, {"structures": [GOOD], **dict.fromkeys(map(str, range(MANY)), 1)}),
    "strains": (BulkModulusRequest, {"structures": [GOOD], "strains": ["a"] * MANY}),
    "references": (
        TrainParameters,
        {"store": STORE, "references": dict.fromkeys(map(str, range(MANY)), "a")},
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_few_of_many_mistakes_are_named(name):
    model, content = BAD[name]
    with pytest.raises(ValidationError) as caught:
        model.model_validate(content)
    assert 1 <= caught.value.error_count() <= 4


def test_each_unknown_key_is_named_while_they_are_few():
    with pytest.raises(ValidationError) as caught:
        PredictionsRequest.model_validate({"structures": [{**GOOD, "a": 1, "b": 2}], "c": 3})
    places = {error["loc"] for error in caught.value.errors()}
    assert places == {("structures", 0, "a"), ("structures", 0, "b"), ("c",)}


def test_every_bad_structure_is_named():
    with pytest.raises(ValidationError) as caught:
        PredictionsRequest.model_validate({"structures": [{}, GOOD, {**GOOD, "species_at_sites": [1]}]})
    assert {error["loc"][1] for error in caught.value.errors()} == {0, 2}
