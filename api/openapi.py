"""``python -m api.openapi`` prints the OpenAPI document that is committed as docs/openapi.json."""

from __future__ import annotations

import json

from api.app import create_app


def document() -> str:
    """The document as JSON, one value a line."""
    return json.dumps(create_app().openapi(), indent=1) + "\n"


if __name__ == "__main__":
    print(document(), end="")
