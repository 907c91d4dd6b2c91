# ruff: noqa: T201 - a script, which prints
"""Make the document of a large API: openapi.yaml and more operations, each with its own models.

python -m tests.spec.specs.many 400 > many.json
make generate SPEC=many.json OUT=/tmp/many/kyc_openapi
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from ruamel.yaml import YAML

from tests.support.paths import OPENAPI

TEXT = {"type": "string"}
PER_TAG = 25


def document(count: int) -> dict[str, Any]:
    """Return the document, with `count` operations besides the ones of openapi.yaml."""
    spec: dict[str, Any] = YAML(typ="safe").load(OPENAPI)
    spec["components"]["schemas"] |= {"ThingStatus": {"type": "string", "enum": ["open", "closed"]}}
    for number in range(count):
        spec["paths"] |= {f"/api/v1/things{number}/{{thing_id}}": {"put": operation(number)}}
        spec["components"]["schemas"] |= schemas(number)
    return spec


def operation(number: int) -> dict[str, Any]:
    """Describe one operation, with its parameters, its body and its answers."""
    return {
        "operationId": f"put_thing{number}",
        "tags": [f"things{number // PER_TAG}"],
        "summary": f"Put thing {number}",
        "parameters": [
            {"name": "thing_id", "in": "path", "required": True, "schema": TEXT},
            {"name": "status", "in": "query", "schema": {"$ref": "#/components/schemas/ThingStatus"}},
        ],
        "requestBody": {"required": True, "content": body(f"Thing{number}")},
        "responses": {
            "200": {"description": "The thing.", "content": body(f"Thing{number}")},
            "401": {"$ref": "#/components/responses/Unauthorized"},
        },
    }


def body(name: str) -> dict[str, Any]:
    """Describe a body in JSON."""
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def schemas(number: int) -> dict[str, Any]:
    """Describe the models of one operation: the model that is sent and returned, and the models inside it."""
    parts = {"type": "array", "items": {"$ref": f"#/components/schemas/Part{number}"}}
    return {
        f"Thing{number}": {"type": "object", "required": ["id"], "properties": {"id": TEXT, "parts": parts}},
        f"Part{number}": {"type": "object", "properties": {"size": {"type": "integer"}}},
    }


def main() -> None:
    """Print the document as JSON."""
    parser = argparse.ArgumentParser(description="Print the OpenAPI document of a large API, as JSON.")
    parser.add_argument("count", type=int, nargs="?", default=400, help="how many operations to add (400)")
    print(json.dumps(document(parser.parse_args().count)))


if __name__ == "__main__":
    main()
