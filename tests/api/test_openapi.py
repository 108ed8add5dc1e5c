"""The committed description of the API is that of the app, and its examples are answered."""

import json
from pathlib import Path

from api.openapi import document

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


def without_version(text):
    described = json.loads(text)
    described["info"].pop("version")  # of the installed package; none in a checkout
    return described


def test_the_committed_document_is_the_apps():
    """After a change: python -m api.openapi > docs/openapi.json"""
    assert without_version(COMMITTED.read_text()) == without_version(document())


def examples(schema):
    """Names of the request bodies, by path, with an example made of those of the schema."""
    components = schema["components"]["schemas"]

    def example(node):
        node = components[node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node
        if "examples" in node:
            return node["examples"][0]
        if node.get("type") == "array":
            return [example(node["items"])]
        if "oneOf" in node:
            return example(node["oneOf"][0])
        if "const" in node:
            return node["const"]
        if "pattern" in node:
            return "0" * 16  # an id
        assert node.get("type") == "object", node
        return {name: example(node["properties"][name]) for name in node.get("required", [])}

    for path, methods in schema["paths"].items():
        content = methods.get("post", {}).get("requestBody", {}).get("content", {})
        if "application/json" in content:
            yield path, example(content["application/json"]["schema"])


def test_every_json_body_has_an_example_that_is_understood(client):
    found = dict(examples(client.get("/openapi.json").json()))
    assert len(found) >= 5
    statuses = {path: client.post(path, json=body).status_code for path, body in found.items()}
    # One image is no migration path: understood, and refused for what it says.
    assert statuses.pop("/v1/properties/migration-barrier") == 422
    assert statuses.pop("/v1/jobs") == 404, "there is no such data set"
    assert set(statuses.values()) == {200}, statuses
