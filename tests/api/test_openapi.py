"""The committed description of the API is that of the app, and its examples are answered."""

import json
from pathlib import Path

import jsonschema
import pytest

from api import examples as documented
from api.openapi import document

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def without_version(text):
    described = json.loads(text)
    described["info"].pop("version")  # of the installed package; none in a checkout
    return described


def test_the_committed_document_is_the_apps():
    """After a change: python -m api.openapi > docs/openapi.json"""
    assert without_version(COMMITTED.read_text()) == without_version(document())


def resolved(described, node):
    return described["components"]["schemas"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node


def bodies(described):
    """Path, media type and schema of each request body; one for each of the kinds that a body may have."""
    for path, methods in described["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        for media_type, body in content.items():
            for kind in resolved(described, body["schema"]).get("oneOf", [body["schema"]]):
                yield path, media_type, resolved(described, kind)


def examples(schema):
    """Those of a body; of a form, made of those of its fields."""
    if "examples" in schema:
        return schema["examples"]
    return [{name: field["examples"][0] for name, field in schema["properties"].items()}]


def assert_valid(described, schema, example):
    jsonschema.Draft202012Validator({**schema, "components": described["components"]}).validate(example)


def test_every_body_has_an_example_that_its_schema_accepts_and_the_service_understands(client):
    described = client.get("/openapi.json").json()
    statuses = {}
    for path, media_type, schema in bodies(described):
        for example in examples(schema):
            assert_valid(described, schema, example)
            if media_type == "application/json":
                answer = client.post(path, json=example)
            else:
                content = example.pop("file")
                answer = client.post(path, files={"file": content}, data=example)
            statuses.setdefault(path, []).append(answer.status_code)
    assert statuses.pop("/v1/jobs") == [404, 404, 404], "there are no such data sets and stores"
    assert statuses.pop("/v1/datasets") == [201]
    assert len(statuses) == 7, "every other route that takes a body"
    assert {status for found in statuses.values() for status in found} == {200}, statuses


@pytest.mark.parametrize(
    "name",
    [
        "PredictionsResponse",
        "BulkModulusResponse",
        "BarrierResponse",
        "VoltageResponse",
        "RadialResponse",
        "DatasetOut",
        "JobOut",
        "Problem",
    ],
)
def test_answers_have_examples_that_their_schemas_accept(name):
    described = json.loads(document())
    schema = described["components"]["schemas"][name]
    assert set(schema["examples"][0]) == set(schema["properties"])
    assert_valid(described, schema, schema["examples"][0])


def test_examples_of_answers_are_those_to_the_examples_of_requests(client):
    for path, sent, expected in (
        ("predictions", documented.PREDICTIONS_REQUEST, documented.PREDICTIONS_RESPONSE),
        ("properties/bulk-modulus", documented.BULK_MODULUS_REQUEST, documented.BULK_MODULUS_RESPONSE),
        ("properties/migration-barrier", documented.BARRIER_REQUEST, documented.BARRIER_RESPONSE),
        ("properties/voltage-curve", documented.VOLTAGE_REQUEST, documented.VOLTAGE_RESPONSE),
        ("properties/radial-distribution", documented.RADIAL_REQUEST, documented.RADIAL_RESPONSE),
    ):
        answer = client.post(f"/v1/{path}", json=sent).json()
        found, shown = dict(leaves(answer)), dict(leaves(expected))
        assert list(found) == list(shown), path
        different = {k: v for k, v in found.items() if v != pytest.approx(shown[k], abs=1e-3)}
        assert not different, path


def leaves(value, place=()):
    """Place -> value of everything in a JSON document that is neither list nor object."""
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if children is None:
        yield place, value
        return
    for key, child in children:
        yield from leaves(child, (*place, key))


def test_headers_have_examples():
    paths = json.loads(document())["paths"]
    submit = paths["/v1/jobs"]["post"]
    (key,) = [p for p in submit["parameters"] if p["name"] == "idempotency-key"]
    assert key["schema"]["examples"]
    assert submit["responses"]["202"]["headers"]["Location"]["example"].startswith("/v1/jobs/")
    assert paths["/v1/predictions"]["post"]["responses"]["503"]["headers"]["Retry-After"]["example"] >= 1


def test_conflicts_have_examples():
    described = json.loads(document())
    conflicts = [
        operation["responses"]["409"]["content"]["application/problem+json"]
        for methods in described["paths"].values()
        for operation in methods.values()
        if "409" in operation["responses"]
    ]
    assert len(conflicts) == 3
    for content in conflicts:
        assert content["example"]["status"] == 409
        assert_valid(described, resolved(described, content["schema"]), content["example"])
